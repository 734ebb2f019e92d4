"""Writing a name in another way changes no answer; damaging it never makes another examination of it."""

from __future__ import annotations

import csv
import time
from importlib import resources

from hypothesis import given, settings
from hypothesis import strategies as st

from catalog import load
from mapping import REASONS, LocalName, Named, Normaliser
from mapping.tables import tables
from mapping.text import folded

CATALOGUE = load()
NORMALISER = Normaliser(CATALOGUE)
PARTS = (
    "头颅",
    "胸部",
    "上腹部",
    "左膝关节",
    "右侧肩关节",
    "双手",
    "腰椎",
    "腰椎间盘",
    "盆腔",
    "眼眶",
    "前列腺",
)
MODALITIES = ("CT", "MR", "MRI", "磁共振", "多排螺旋CT")
METHODS = ("平扫", "增强", "平扫+增强", "增强扫描", "")
VIEWS = ("正侧位", "正位", "侧位", "正斜位片", "正侧位+双斜位")
ANALYTES = sorted({name for item in CATALOGUE.items.values() if item.kind == "lab"
                   for name in (item.name, *item.aliases)})  # fmt: skip
scans = st.tuples(st.sampled_from(PARTS), st.sampled_from(MODALITIES), st.sampled_from(METHODS)).map("".join)
films = st.tuples(st.sampled_from(PARTS), st.sampled_from(VIEWS)).map("".join)
names = st.one_of(scans, films, st.sampled_from(ANALYTES))
with (resources.files("mapping") / "data" / "script.csv").open(encoding="utf-8") as script:
    TRADITIONAL = {row["simplified"]: row["traditional"] for row in csv.DictReader(script)}
WIDE = {chr(c): chr(c + 0xFEE0) for c in range(0x21, 0x7F)}


def read(name: str) -> Named:
    return NORMALISER.read(LocalName(name=name))


def answer(name: str) -> tuple[str | None, tuple[str, ...]]:
    named = read(name)
    return named.target, named.items


@given(names, st.data())
def test_blanks_anywhere_change_nothing(name: str, data: st.DataObject) -> None:
    blanks = st.sampled_from(["", "", " ", "\u3000", "\t", "\u200b", "\xa0"])
    spaced = "".join(data.draw(blanks) + c for c in name) + data.draw(blanks)
    assert answer(spaced) == answer(name)


@given(names)
def test_width_changes_nothing(name: str) -> None:
    assert answer("".join(WIDE.get(c, c) for c in name)) == answer(name)


@given(names)
def test_traditional_script_changes_nothing(name: str) -> None:
    assert answer("".join(TRADITIONAL.get(c, c) for c in name)) == answer(name)


@given(names)
def test_case_changes_nothing(name: str) -> None:
    assert answer(name.swapcase()) == answer(name)


@given(names, st.sampled_from(["（）", "【】", "[]", "〔〕", "｛｝"]))
def test_the_kind_of_bracket_changes_nothing(name: str, brackets: str) -> None:
    assert answer(name.replace("(", brackets[0]).replace(")", brackets[1])) == answer(name)


@given(st.sampled_from(PARTS), st.sampled_from(MODALITIES), st.sampled_from(METHODS))
def test_the_order_of_the_slots_changes_nothing(part: str, modality: str, method: str) -> None:
    orders = (
        f"{part}{modality}{method}",
        f"{modality}{part}{method}",
        f"{modality}{method}({part})",
        f"{part}{method}({modality})",
        f"{part}-{modality}-{method}",
    )
    assert len({answer(order) for order in orders}) == 1


@given(st.lists(scans, min_size=2, max_size=3, unique=True), st.randoms(use_true_random=False))
def test_the_order_of_independent_examinations_changes_nothing(parts: list[str], random) -> None:  # type: ignore[no-untyped-def]
    shuffled = list(parts)
    random.shuffle(shuffled)
    assert answer(",".join(shuffled)) == answer(",".join(parts))


@given(names, st.data())
@settings(max_examples=300)
def test_a_damaged_character_makes_another_concept_only_of_a_legitimate_name(
    name: str, data: st.DataObject
) -> None:
    """Legitimate: every character of the damaged name belongs to a word of the tables or the catalogue."""
    at = data.draw(st.integers(0, len(name) - 1))
    other = data.draw(st.sampled_from("左右双平增上下颈胸腰正侧斜CMRABT1234血尿抗酶素蛋白高低一乙甲"))
    damaged = data.draw(
        st.sampled_from(
            [
                name[:at] + name[at + 1 :],
                name[:at] + name[at + 1 : at + 2] + name[at] + name[at + 2 :],
                name[:at] + other + name[at + 1 :],
            ]
        )
    )
    found = read(damaged)
    if found.target and found.target != read(name).target:
        assert unexplained(damaged, found) == ""


def unexplained(name: str, found: Named) -> str:
    """The letters and digits of a name under no span, or under one that is no word."""
    known = tables()
    covered = set()
    for start, end, slot in found.spans:
        text = folded(name[start:end])
        bare = "".join(c for c in text if c.isalnum() or c in "+#%()/、")
        if slot in ("alias", "noise") or text in known.imaging.words or bare in known.laboratory.words:
            covered |= set(range(start, end))
    return "".join(c for place, c in enumerate(name) if place not in covered and c.isalnum())


@given(
    st.text(max_size=60), st.sampled_from(["", "imaging", "lab"]), st.text(max_size=8), st.text(max_size=8)
)
def test_any_text_is_read_or_abstained_from_with_a_reason(
    name: str, kind: str, field: str, other: str
) -> None:
    local = LocalName(name=name, kind=kind, specimen=field, modality=other, unit=field, context=other,
                      side=field, contrast=other, dicom_protocol=field, body_part=other)  # fmt: skip
    named = NORMALISER.read(local)
    assert (named.reason == "") == (named.item is not None)
    assert named.reason in ("", *REASONS)


@given(st.lists(st.sampled_from(sorted({*tables().laboratory.words, *tables().imaging.words})), max_size=6))
@settings(max_examples=300)
def test_any_words_of_the_tables_are_read_or_abstained_from_with_a_reason(words: list[str]) -> None:
    for kind in ("imaging", "lab"):
        named = NORMALISER.read(LocalName(name="".join(words), kind=kind))
        assert named.reason in ("", *REASONS)


def test_monstrous_texts_are_refused_quickly() -> None:
    texts = (
        "胸" * 100_000,
        "🫁" * 100_000,
        "\x00" * 100_000,
        "\u202e胸部CT平扫" * 9_000,
        "(" * 400,
        "CT+" * 130,
    )
    for text in texts:
        started = time.process_time()
        assert read(text).target is None
        assert time.process_time() - started < 0.05


def test_text_in_two_directions_is_a_lost_character() -> None:
    assert read("胸部\u202eCT\u202c平扫").reason == "lost_character"


def test_emoji_are_no_part_of_a_name() -> None:
    assert read("胸部CT平扫🫁").reason == "unknown"
