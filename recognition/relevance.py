"""Which earlier images to look at first: priors in the order of their relevance, with the reason. Pure.

A prior is compared by concept, never by the words of its name, with every examination that is planned or
open, and stands where the nearest of them puts it. What decides, in this order:

1. the body part: the same, one that shows it (whole abdomen for the upper), one inside it, a part of the
   other side, one of the same region, another. The other side never counts as the same;
2. the modality: the same, a comparable one (CT and MR), another;
3. the side said: a paired part whose side is not said comes after one whose side is;
4. the very same examination (method and view too) before another of that part and modality;
5. how long ago: within a week, a month, a year, three years, longer, not known;
6. the verdict: recognised, view only, not judged, not recognised;
7. the later time, then the study's UID, which makes the order total.

Where nothing is planned or open, only 5 to 7 are left. The order is a help to the reader and no rule of the
decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from recognition.model import VerdictCode
from recognition.parts import relation
from recognition.window import in_shanghai

_COMPARABLE = frozenset({"CT", "MR"})

_PART = {
    "same": (0, "部位相同", "the same part"),
    "wider": (1, "部位包含所需部位", "a part that shows it"),
    "narrower": (2, "部位在所需部位之内", "a part inside it"),
    "other side": (3, "对侧部位", "a part of the other side"),
    "region": (4, "部位相邻", "a part of the same region"),
    "": (5, "其他部位", "another part"),
}
_UNSAID = (5, "部位未知", "an unknown part")
_PERIODS = (
    (timedelta(days=7), 0),
    (timedelta(days=31), 1),
    (timedelta(days=366), 2),
    (timedelta(days=3 * 366), 3),
)
_UNDATED = len(_PERIODS) + 1
_VERDICT: dict[VerdictCode | None, tuple[int, str, str]] = {
    "recognised": (0, "可互认", "recognised"),
    "view_only": (1, "仅供调阅", "view only"),
    None: (2, "未判定", "not judged"),
    "not_recognised": (3, "不予互认", "not recognised"),
}


class Candidate(Struct, frozen=True, kw_only=True):
    """An earlier study: its concept (several joined by `` ;; ``; empty where it could not be read), when it
    was performed (aware), and what was decided of it (None: not judged)."""

    uid: str
    concept: str = ""
    performed: datetime | None = None
    verdict: VerdictCode | None = None


class Ranked(Struct, frozen=True):
    """A study with its place (1 is the most relevant), and why it stands there in Chinese and English."""

    uid: str
    rank: int
    zh: str
    en: str


class _Place(Struct, frozen=True):
    """Where something stands (less is nearer), and the words for it."""

    key: tuple[float, ...]
    zh: tuple[str, ...] = ()
    en: tuple[str, ...] = ()


def ranked(targets: Sequence[str], priors: Sequence[Candidate], now: datetime) -> list[Ranked]:
    """The priors in the order of their relevance, each with its rank.

    ``targets`` are the concepts of what is planned, or of the study that is open; there may be none. Those
    that are no imaging concept count for nothing. The order depends on the values alone, not on the order
    in which they are given.
    """
    wanted = [slots for target in targets for slots in _examinations(target)]
    placed = [(_place(wanted, prior, now), prior.uid) for prior in priors]
    placed.sort(key=lambda one: (one[0].key, one[1]))
    return [
        Ranked(uid, rank, "，".join(place.zh), ", ".join(place.en))
        for rank, (place, uid) in enumerate(placed, start=1)
    ]


def _place(wanted: Sequence[tuple[str, ...]], prior: Candidate, now: datetime) -> _Place:
    own = _examinations(prior.concept) or [("", "", "-", "U", "-")]
    found = (_nearness(target, slots) for target in wanted for slots in own)
    near = min(found, key=lambda place: (place.key, place.zh), default=_Place(()))
    age = _age(prior.performed, now)
    verdict, zh, en = _VERDICT[prior.verdict]
    period, seconds = age.key
    return _Place((*near.key, period, verdict, seconds), (*near.zh, *age.zh, zh), (*near.en, *age.en, en))


def _examinations(concept: str) -> list[tuple[str, ...]]:
    slots = [tuple(one.strip().split("|")) for one in concept.split(";;")]
    return [one for one in slots if len(one) == 5]


def _nearness(target: tuple[str, ...], prior: tuple[str, ...]) -> _Place:
    modality, part, side, *_ = prior
    found: str = relation(part, target[1])
    if found in ("same", "wider", "narrower"):
        if {side, target[2]} == {"L", "R"}:
            found = "other side"
        elif found == "same" and (target[2], side) in (("L", "B"), ("R", "B")):
            found = "wider"
        elif found == "same" and target[2] == "B" and side in ("L", "R"):
            found = "narrower"
    place, zh, en = _PART[found] if part else _UNSAID
    if modality == target[0]:
        alike, zh_modality, en_modality = 0, f"检查类型相同（{modality}）", f"the same modality ({modality})"
    elif _COMPARABLE.issuperset((modality, target[0])):
        alike, zh_modality, en_modality = (
            1,
            f"检查类型可比（{modality}）",
            f"a comparable modality ({modality})",
        )
    elif modality:
        alike, zh_modality, en_modality = 2, f"检查类型不同（{modality}）", f"another modality ({modality})"
    else:
        alike, zh_modality, en_modality = 2, "检查类型未知", "an unknown modality"
    unsaid = side == "U" and target[2] != "U"
    shown = f"{zh}（{part}）" if part else zh
    words = (shown, *(["侧别未写明"] if unsaid else []), zh_modality)
    words_en = (en, *(["side not said"] if unsaid else []), en_modality)
    return _Place((place, alike, unsaid, prior != target), words, words_en)


def _age(performed: datetime | None, now: datetime) -> _Place:
    """The period, the seconds since, and words; a time in the future is as good as none."""
    if performed is None or performed > now:
        return _Place((_UNDATED, 0.0), ("检查时间不明",), ("of an unknown time",))
    age = now - performed
    period = next((place for within, place in _PERIODS if age <= within), len(_PERIODS))
    days = (in_shanghai(now).date() - in_shanghai(performed).date()).days
    ago = "today" if days == 0 else "1 day ago" if days == 1 else f"{days} days ago"
    return _Place((period, age.total_seconds()), (f"{days}天前" if days else "当天",), (ago,))
