"""A name is read whole, or not at all; and what is read projects onto items without guessing."""

from __future__ import annotations

import pytest

from catalog import load
from mapping import REASONS, LocalName, Normaliser

CATALOGUE = load()
NORMALISER = Normaliser(CATALOGUE)
SPECIMENS = {"S": "血清", "P": "血浆", "B": "全血", "U": "尿液", "CSF": "脑脊液", "BG": "动脉血"}


def read(name: str, **fields: str) -> tuple[str | None, str]:
    named = NORMALISER.read(LocalName(name=name, **fields))
    return named.target, named.reason


@pytest.mark.parametrize("item", CATALOGUE.items.values(), ids=lambda item: item.code)
def test_an_items_own_name_is_read_as_that_item(item) -> None:  # type: ignore[no-untyped-def]
    modality, slot = item.concept.split("|")[:2]
    fields = {"modality": modality} if item.kind == "imaging" else {"specimen": SPECIMENS[slot]}
    named = NORMALISER.read(LocalName(name=item.name, kind=item.kind, **fields))
    assert (named.item, named.items) == (item.code, (item.code,))


def test_every_name_of_the_catalogue_is_read_as_its_item_beside_its_modality_or_specimen() -> None:
    wrong = {}
    for item in CATALOGUE.items.values():
        modality, slot = item.concept.split("|")[:2]
        fields = {"modality": modality} if item.kind == "imaging" else {"specimen": SPECIMENS[slot]}
        for name in (item.name, *item.aliases):
            named = NORMALISER.read(LocalName(name=name, kind=item.kind, **fields))
            if named.item != item.code:
                wrong[name] = (item.code, named.item, named.reason)
    assert wrong == {}


def test_no_name_of_the_catalogue_is_read_as_another_item() -> None:
    wrong = {}
    for item in CATALOGUE.items.values():
        for name in (item.name, *item.aliases):
            found = NORMALISER.read(LocalName(name=name)).item
            if found not in (None, item.code):
                wrong[name] = (item.code, found)
    assert wrong == {}


@pytest.mark.parametrize(
    ("name", "items"),
    [
        ("头颅CT平扫+胸部CT平扫", {"CT-001", "CT-013"}),
        ("胸部CT平扫,上腹部CT平扫", {"CT-013", "CT-016"}),
        ("上腹部MR平扫+MRCP", {"MR-019", "MR-021"}),
    ],
)
def test_several_examinations_in_one_name_are_several_items(name: str, items: set[str]) -> None:
    named = NORMALISER.read(LocalName(name=name))
    assert (named.item, set(named.items), named.reason) == (None, items, "several")


@pytest.mark.parametrize(
    ("name", "target", "reason"),
    [
        ("颅脑CT", "CT|颅脑|-|U|-", "method_unsaid"),
        ("膝关节正侧位", "DR|膝关节|U|-|正侧位", "side_unsaid"),
        ("胸片", "DR|胸部|-|-|U", "view_unsaid"),
        ("甲胎蛋白", "AFP|S|?|-", "scale_unsaid"),
        ("胸部CT平扫+三维重建", "CT|胸部|-|plain|三维", "not_listed"),
        ("空腹血糖", "GLU|S|QN|fasting", "not_listed"),
        ("尿素氮", "UREA|S|QN|尿素氮", "not_listed"),
        ("血常规", "PANEL|CBC|B", "panel"),
    ],
)
def test_a_concept_with_an_unsaid_or_further_slot_has_no_item(name: str, target: str, reason: str) -> None:
    named = NORMALISER.read(LocalName(name=name))
    assert (named.target, named.item, named.reason) == (target, None, reason)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "empty"),
        ("★【全国HR】", "empty"),
        ("血\ue5c7尿酸", "lost_character"),
        ("特需套餐", "unknown"),
        ("胸部平扫", "no_modality"),
        ("CT平扫", "part_unsaid"),
        ("四肢CT平扫", "part_undivided"),
        ("胸部+上腹部CT平扫", "several_regions"),
        ("颈椎四位", "view_unsaid"),
        ("白细胞", "specimen_unsaid"),
        ("中性粒细胞", "share_unsaid"),
        ("血糖(30分钟)", "time_unsaid"),
        ("甘油三酯(PCT)", "conflict"),
        ("PCT", "ambiguous"),
        ("颈部血管超声", "out_of_scope"),
        ("内听道CT平扫", "not_listed"),
    ],
)
def test_an_abstention_says_why(name: str, reason: str) -> None:
    assert read(name) == (None, reason)


def test_every_reason_is_a_listed_one() -> None:
    assert len(set(REASONS)) == len(REASONS)


def test_an_abstention_shows_what_is_unexplained() -> None:
    assert NORMALISER.read(LocalName(name="谷丙转氨酶壹号")).residue == "壹号"


def test_an_abstention_shows_what_competes_and_the_slot_that_differs() -> None:
    named = NORMALISER.read(LocalName(name="中性粒细胞"))
    assert (named.candidates, named.differs) == (("NEUT#", "NEUT%"), "share")


@pytest.mark.parametrize(
    "name", ["左膝关节 正侧位", " 左膝關節（正側位）", "★左膝关节正侧位", "左膝关节正侧位"]
)
def test_the_spans_explain_the_name_as_it_was_written(name: str) -> None:
    named = NORMALISER.read(LocalName(name=name))
    said = {slot: name[start:end].replace(" ", "") for start, end, slot in named.spans}
    assert (said["side"], said["part"][:2], said["view"][0]) == (
        "左",
        "膝关" if "关" in name else "膝關",
        "正",
    )


def test_the_answer_names_the_versions_it_was_read_with() -> None:
    catalogue, tables = NORMALISER.read(LocalName(name="ALT")).tables.split(";")
    assert (catalogue, tables[:6]) == (CATALOGUE.version, "names-")


def test_a_panel_is_found_by_its_name() -> None:
    assert NORMALISER.panel("肝功能12项") == "LFT"
