"""A search of DICOMweb as it was asked (PS3.18 sections 8.3.4 and 10.6): conditions, fields, and how many.

Every condition is applied here, to what the archives answered. They are asked for no less than that: only a
Study Instance UID, or the like, and the days of a study are passed on, because archives differ in how they
read names, lists and times, and what an archive leaves out nobody can put back.

A parameter of this gateway or of the standard with a wrong value is refused, and so is an attribute that
nobody knows: a search that is wider than what was asked for misleads. Other parameters are passed over with a
warning (section 8.3).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from gateway.errors import BadParameter
from gateway.imaging.keywords import (
    HOUSE,
    KEYWORD,
    LEVELS,
    OPTIONAL,
    REQUIRED,
    TAG,
    Attribute,
    attribute_of,
    below,
)
from gateway.imaging.matching import (
    EMPTY,
    PAIRS,
    Condition,
    Dataset,
    Modes,
    combined,
    condition,
    universal,
    within,
)
from gateway.imaging.values import Level

Pairs = Sequence[tuple[str, str]]

_FLAGS = ("fuzzymatching", "emptyvaluematching", "multiplevaluematching", "nodestates")
CONTROLS = frozenset(("includefield", "limit", "offset", *_FLAGS))
"""Parameters that are no attributes: those of PS3.18 table 8.3.4-1, and this gateway's."""
ELSEWHERE = frozenset(("accept", "charset", "token"))
"""Parameters that are read by others here (section 8.3.3)."""
_PARTS = frozenset(("limit", "offset", "nodestates"))
_FIELDS, _DEPTH, _TEXT, _NAMED = 512, 8, 1024, 8
"""How many attributes a search may include, how deep they may stand, how many characters all its conditions
may have (UIDs apart), and how many parameters that were passed over are named."""
_NUMBER = re.compile(r"[0-9]{1,9}")
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")

_PATIENT_ID = "00100020"
_CHARSET, _OFFSET = "00080005", "00080201"
"""Of the question, and never matched (PS3.4 C.2.2.2): an address is in UTF-8, and no times are adjusted."""
_KEYS = {"studies": "0020000D", "series": "0020000E", "instances": "00080018"}
_STUDY_DATE = "00080020"


class DicomQuery(Struct, frozen=True, kw_only=True):
    """A search.

    ``returned`` are the tags that each match shows; None where ``includefield=all`` asks for whatever there
    is. ``passed_on`` is what archives are asked for, which is never less than what is wanted, and names the
    fields that the conditions look at. ``warnings`` are sentences for the header of that name. ``told`` is
    what was understood, as it was sent, without what part of the matches is wanted: by it a search is the
    same as another, while its conditions are compiled anew each time.
    """

    level: Level
    conditions: tuple[Condition, ...] = ()
    returned: frozenset[str] | None = None
    limit: int | None = None
    offset: int = 0
    nodestates: bool = False
    fuzzy: bool = False
    passed_on: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()
    told: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        return f"DicomQuery({self.level!r}, {self.told!r})"


class _Asked(Struct, frozen=True):
    """One attribute of a search: the way to it through sequences, its parameter, and the text."""

    path: tuple[Attribute, ...]
    name: str
    text: str


def query_of(level: Level, pairs: Pairs, *, under: Level | None = None) -> DicomQuery:
    """Read a search of a level.

    Args:
        level: what is searched.
        pairs: the parameters of the address, decoded, in their order.
        under: the lowest resource in whose address the search stands: ``studies`` for
            ``studies/<uid>/series``, ``series`` for ``studies/<uid>/series/<uid>/instances``.

    Raises:
        BadParameter: ``field`` names a parameter that cannot be, and the message says why.
    """
    controls = _controls(pairs)
    asked, ignored = _attributes(level, pairs)
    fuzzy, empty, multiple, nodestates = (_flag(controls, name) for name in _FLAGS)
    modes = Modes(fuzzy, empty, multiple)
    everything, fields = _fields(pairs)
    named = dict.fromkeys(
        tag
        for path in (*(one.path for one in asked), *fields)
        for tag in _with_creator(path[0].tag)
        if not below(level, tag)  # of a lower level, never told (PS3.18 section 10.6.3.3)
    )
    levels = _shown(level, under)
    shown = {tag for one in levels for tag in REQUIRED[one]}
    wanted = dict.fromkeys([*named, *(tag for one in levels for tag in OPTIONAL[one] if everything)])
    return DicomQuery(
        level=level,
        conditions=tuple(_conditions(asked, modes)),
        returned=None if everything else frozenset({*shown, *named}),
        limit=_whole(controls, "limit"),
        offset=_whole(controls, "offset") or 0,
        nodestates=nodestates,
        fuzzy=fuzzy,
        passed_on=(*_bounds(level, asked), *_included(wanted, everything)),
        warnings=_warnings(ignored),
        told=tuple(pair for pair in pairs if pair[0] not in {*ELSEWHERE, *ignored, *_PARTS}),
    )


def matches(query: DicomQuery, dataset: Dataset, numbers: Collection[str] = ()) -> bool:
    """Whether an object of DICOM JSON meets all conditions of a search.

    Args:
        query: the search.
        dataset: the object, decoded: texts repaired, and with the attributes of this gateway if there are
            conditions on them. Of a series or an instance it has to have what is asked of its study.
        numbers: further Patient IDs of its person, each as good as the one that stands in it.
    """
    if numbers and query.conditions:
        held = dataset.get(_PATIENT_ID)
        there = held.get("Value") if isinstance(held, Mapping) else None
        both = [*(there if isinstance(there, list) else ()), *numbers]
        dataset = {**dataset, _PATIENT_ID: {"vr": "LO", "Value": both}}
    return all(one.holds(dataset) for one in query.conditions)


def shaped(dataset: Dataset, query: DicomQuery) -> dict[str, Any]:
    """What a match shows: the attributes of PS3.18 tables 10.6.3-3 to -5, those that were asked for, and this
    gateway's own, in the order of their tags (F.2.2)."""
    keep = query.returned
    return {tag: dataset[tag] for tag in sorted(dataset) if keep is None or tag in keep or tag[:4] == HOUSE}


def _shown(level: Level, under: Level | None) -> Sequence[Level]:
    """The levels whose attributes a match shows: those that its address does not settle, and its own."""
    return LEVELS[0 if under is None else LEVELS.index(under) + 1 : LEVELS.index(level) + 1]


def _attributes(level: Level, pairs: Pairs) -> tuple[list[_Asked], list[str]]:
    """The attributes that are asked for, and what is no attribute and no parameter."""
    asked: dict[tuple[str, ...], _Asked] = {}
    ignored: list[str] = []
    length = 0
    for name, text in pairs:
        if name in CONTROLS or name in ELSEWHERE:
            continue
        first = name.partition(".")[0]
        if not (TAG.fullmatch(first) or KEYWORD.fullmatch(first)):
            ignored.append(name)
            continue
        path = _path(name, name)
        if path[0].tag in (_CHARSET, _OFFSET) and text:
            if path[0].tag == _OFFSET:
                ignored.append(name)
            continue
        elsewhere = below(level, path[0].tag) or (level != "studies" and path[0].tag.startswith(HOUSE))
        if elsewhere and not universal(path[0].vr, text):
            todo = "; use ModalitiesInStudy" if path[0].keyword == "Modality" else ""
            raise BadParameter(f"is not told of {level}, which are searched{todo}", field=name[:64])
        key = tuple(one.tag for one in path)
        if key in asked:
            raise BadParameter("names an attribute twice: send it once", field=name[:64])
        asked[key] = _Asked(path, name[:64], text)
        length += 0 if path[-1].vr == "UI" else len(text)
        if length > _TEXT:
            raise BadParameter(
                f"with the other conditions is longer than {_TEXT} characters", field=name[:64]
            )
    return list(asked.values()), list(dict.fromkeys(ignored))


def _with_creator(tag: str) -> tuple[str, ...]:
    """A private attribute is told with the one that says whose it is (PS3.18 section 10.6.3.3)."""
    private = int(tag[3], 16) % 2 and tag[4:6] != "00"
    return (f"{tag[:4]}00{tag[4:6]}", tag) if private else (tag,)


def _warnings(ignored: Sequence[str]) -> tuple[str, ...]:
    named = [
        name if _PLAIN.fullmatch(name) else "one whose name is not repeated" for name in ignored[:_NAMED]
    ]
    further = [f"{len(ignored) - _NAMED} more"] if len(ignored) > _NAMED else []
    return (f"Parameters that were passed over: {', '.join([*named, *further])}",) if ignored else ()


def _path(words: str, field: str) -> tuple[Attribute, ...]:
    """Raises BadParameter."""
    path: list[Attribute] = []
    names = words.split(".", _DEPTH)
    for word in names:
        found = attribute_of(word)
        if found is None:
            raise BadParameter(
                "names no DICOM attribute: write its keyword or the eight digits of its tag", field=field[:64]
            )
        if path and path[-1].vr != "SQ":
            raise BadParameter("looks into an attribute that is no sequence", field=field[:64])
        path.append(found)
    return tuple(path)


def _conditions(asked: Iterable[_Asked], modes: Modes) -> list[Condition]:
    """The conditions on an object, or on an item: dates with their times, and sequences item by item."""
    here: dict[str, _Asked] = {}
    inside: dict[str, list[_Asked]] = {}
    for one in asked:
        first, *further = one.path
        if further:
            inside.setdefault(first.tag, []).append(_Asked(tuple(further), one.name, one.text))
        elif not universal(first.vr, one.text):
            here[first.tag] = one
    found: list[Condition] = []
    for day, time in PAIRS:
        if day in here and time in here:
            both = combined(here[day].name, here[day].text, here[time].text, (day, time))
            if both:
                found.append(both)
                del here[day], here[time]
    found += [condition(one.name, tag, one.path[0].vr, one.text, modes) for tag, one in here.items()]
    found += [within(tag, of_item) for tag, items in inside.items() if (of_item := _conditions(items, modes))]
    return found


def _bounds(level: Level, asked: Iterable[_Asked]) -> list[tuple[str, str]]:
    """The conditions that every archive reads as they are read here."""
    uids = {_KEYS[each] for each in LEVELS[: LEVELS.index(level) + 1]}
    return [
        (one.path[0].keyword, one.text)
        for one in asked
        if len(one.path) == 1 and one.text not in ("", EMPTY)
        if (one.path[0].tag in uids and not set(one.text) & set(",\\"))
        or (level == "studies" and one.path[0].tag == _STUDY_DATE)
    ]


def _included(tags: Iterable[str], everything: bool) -> list[tuple[str, str]]:
    """Each tag on its own, and the outermost sequence for what is inside: what every archive reads."""
    words = [*(["all"] if everything else []), *(tag for tag in tags if tag[:4] != HOUSE)]
    return [("includefield", word) for word in words]


def _fields(pairs: Pairs) -> tuple[bool, list[tuple[Attribute, ...]]]:
    """Whether all fields are asked for, and those that are named."""
    words = [word for name, text in pairs if name == "includefield" for word in text.split(",") if word]
    if len(words) > _FIELDS:
        raise BadParameter(f"names more than {_FIELDS} attributes", field="includefield")
    return "all" in words, [_path(word, "includefield") for word in words if word != "all"]


def _controls(pairs: Pairs) -> dict[str, str]:
    """Raises BadParameter for one that is sent twice."""
    controls: dict[str, str] = {}
    for name, text in pairs:
        if name in CONTROLS and name != "includefield":
            if name in controls:
                raise BadParameter("is sent twice", field=name)
            controls[name] = text
    return controls


def _flag(controls: dict[str, str], name: str) -> bool:
    text = controls.get(name, "false")
    if text not in ("true", "false"):
        raise BadParameter("must be true or false", field=name)
    return text == "true"


def _whole(controls: dict[str, str], name: str) -> int | None:
    text = controls.get(name)
    if text is None:
        return None
    if not _NUMBER.fullmatch(text):
        raise BadParameter("must be a whole number, zero or more, of at most nine digits", field=name)
    return int(text)
