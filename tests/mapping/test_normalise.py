"""A name is read whole, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog import load
from mapping import BARE, REASONS, LocalName, Normaliser

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
    assert named.item == item.code


@pytest.mark.parametrize(
    "name", ["胸部CT平扫", "CT胸部平扫", " 胸部 ＣＴ 平扫 ", "CT 胸部平扫", "【川渝HR】胸部CT平扫"]
)
def test_one_examination_is_read_from_its_usual_spellings(name: str) -> None:
    assert read(name) == ("CT|胸部|-|plain|-", "")


def test_the_messages_modality_completes_a_name_without_one() -> None:
    assert read("胸部平扫", modality="CT", kind="imaging") == ("CT|胸部|-|plain|-", "")


def test_a_name_without_any_modality_is_not_read() -> None:
    assert read("胸部平扫", kind="imaging") == (None, "no_modality")


def test_a_modality_that_contradicts_the_name_is_a_conflict() -> None:
    assert read("胸部CT平扫", modality="MR") == (None, "conflict")


@pytest.mark.parametrize(
    "name", ["CT胸部平扫(HR)", "胸部CT(HR)平扫", "胸部CT平扫(胸部HR)", "★胸部CT[HR]平扫"]
)
def test_an_imaging_name_with_a_bare_hr_may_mean_high_resolution(name: str) -> None:
    assert read(name) == (None, "ambiguous")


@pytest.mark.parametrize(
    "mark", sorted({region.mark for region in CATALOGUE.regions.values() if region.mark})
)
def test_no_regions_mark_is_taken_for_high_resolution(mark: str) -> None:
    assert read(f"【{mark.removesuffix('HR')}HR】胸部CT平扫") == ("CT|胸部|-|plain|-", "")


@pytest.mark.parametrize("name", sorted(BARE))
def test_a_bare_name_that_means_several_items_needs_its_specimen(name: str) -> None:
    assert read(name, kind="lab") == (None, "specimen_unsaid")


@pytest.mark.parametrize(
    "name",
    [
        "葡萄糖测定",
        "葡萄糖(GLU)",
        "葡萄糖（GLU）测定",
        "白细胞计数",
        "红细胞数目",
        "白细胞总数",
        "pH值",
        "PH测定",
    ],
)
def test_a_bare_name_stays_bare_at_any_length(name: str) -> None:
    assert read(name) == (None, "specimen_unsaid")


@pytest.mark.parametrize(
    ("name", "specimen", "target"),
    [
        ("葡萄糖", "血清", "GLU|S|QN|-"),
        ("葡萄糖", "血浆", "GLU|S|QN|-"),
        ("GLU", "血清", "GLU|S|QN|-"),
        ("葡萄糖(GLU)", "血清", "GLU|S|QN|-"),
        ("葡萄糖", "脑脊液", "GLU|CSF|QN|-"),
        ("WBC", "全血", "WBC|B|QN|-"),
        ("ALB", "血清", "ALB|S|QN|-"),
        ("PH", "动脉血", "PH|BG|QN|-"),
    ],
)
def test_a_bare_name_is_read_with_its_specimen(name: str, specimen: str, target: str) -> None:
    assert read(name, specimen=specimen) == (target, "")


@pytest.mark.parametrize("name", ["葡萄糖", "葡萄糖测定", "GLU", "葡萄糖(GLU)", "蛋白", "白蛋白", "TP"])
def test_a_name_on_a_urine_report_is_no_measurement_unless_it_says_so(name: str) -> None:
    assert read(name, specimen="尿液") == (None, "scale_unsaid")


@pytest.mark.parametrize("name", ["尿液葡萄糖", "尿液白蛋白", "尿液总蛋白"])
def test_a_urine_name_with_a_strip_analyte_is_no_measurement_unless_it_says_so(name: str) -> None:
    assert read(name) == (None, "scale_unsaid")


@pytest.mark.parametrize("name", ["尿葡萄糖定量", "尿糖定量", "尿液葡萄糖测定"])
@pytest.mark.parametrize("specimen", ["", "尿液"])
def test_a_urine_measurement_is_read_by_its_own_name_or_by_quantity(name: str, specimen: str) -> None:
    assert read(name, specimen=specimen) == ("GLU|U|QN|-", "")


@pytest.mark.parametrize(
    ("name", "specimen", "target"),
    [
        ("UREA", "尿", "UREA|U|QN|-"),
        ("尿素", "尿液", "UREA|U|QN|-"),
        ("肌酐", "尿", "CREA|U|QN|-"),
        ("免疫球蛋白G", "脑脊液", "IGG|CSF|QN|-"),
        ("香草扁桃酸", "尿", "VMA|U|QN|-"),
    ],
)
def test_the_specimen_chooses_for_a_name_that_says_none(name: str, specimen: str, target: str) -> None:
    assert read(name, specimen=specimen) == (target, "")


@pytest.mark.parametrize(
    ("name", "specimen"),
    [
        ("肌酐(尿)", "血清"),
        ("肌酐(血)", "尿"),
        ("SCr", "尿"),
        ("肌酐(SCr)", "尿"),
        ("尿尿素", "血清"),
        ("血糖", "尿"),
        ("血清白蛋白", "血浆"),
        ("mALB", "血清"),
        ("尿液葡萄糖测定", "血清"),
        ("凝血酶原时间", "血清"),
        ("钾", "24小时尿"),
    ],
)
def test_a_specimen_that_contradicts_the_name_is_a_conflict(name: str, specimen: str) -> None:
    assert read(name, specimen=specimen) == (None, "conflict")


@pytest.mark.parametrize("specimen", ["?", "-", "胸水", "咽拭子", "*"])
def test_a_stated_specimen_that_nobody_knows_is_a_conflict(specimen: str) -> None:
    assert read("白蛋白", specimen=specimen) == (None, "conflict")


@pytest.mark.parametrize("specimen", ["", " ", "血清", "Serum", "血", "静脉血"])
def test_a_specimen_that_agrees_changes_nothing(specimen: str) -> None:
    assert read("血肌酐", specimen=specimen) == ("CREA|S|QN|-", "")


def test_no_name_of_the_catalogue_contradicts_the_specimen_of_its_item() -> None:
    lab = [item for item in CATALOGUE.items.values() if item.kind == "lab"]
    read_as = {
        (name, item.code): NORMALISER.read(
            LocalName(name=name, kind="lab", specimen=SPECIMENS[item.concept.split("|")[1]])
        ).item
        for item in lab
        for name in (item.name, *item.aliases)
    }
    assert {name: code for (name, own), code in read_as.items() if code != own} == {}


@pytest.mark.parametrize("name", ["谷丙转氨酶（ALT）", "血清丙氨酸氨基转移酶测定（ALT）"])
def test_a_bracketed_abbreviation_of_the_same_item_is_read_over(name: str) -> None:
    assert read(name) == ("ALT|S|QN|-", "")


@pytest.mark.parametrize("name", ["谷丙转氨酶(AST)", "血小板(PCT)", "甘油三酯(TG)", "总蛋白(ALB)"])
def test_a_bracketed_abbreviation_of_another_or_no_item_is_not_read(name: str) -> None:
    assert read(name, kind="lab") == (None, "unknown")


@pytest.mark.parametrize(
    "name",
    [
        *("Mb", "Fg", "GHb", "C3", "C4", "T3", "T4", "C-P", "Na", "Mg", "Pb"),
        *("TG", "PCT", "CA", "AG", "PT", "TT", "P", "K"),
    ],
)
def test_an_abbreviation_that_collides_in_practice_is_not_read(name: str) -> None:
    assert read(name, kind="lab") == (None, "unknown")


@pytest.mark.parametrize("name", ["颈部CT平扫", "降钙素原x", "胸部CT平扫及三维", "谷丙转氨酶2"])
def test_a_name_with_a_part_that_nobody_explained_is_not_read(name: str) -> None:
    assert read(name)[1] in ("unknown", "no_modality")


def test_a_lost_character_is_said() -> None:
    assert read("血\ue5c7尿酸") == (None, "lost_character")


@given(st.text(max_size=40), st.sampled_from(["", "imaging", "lab"]), st.text(max_size=8))
def test_any_text_is_read_or_abstained_from_with_a_reason(name: str, kind: str, specimen: str) -> None:
    named = NORMALISER.read(LocalName(name=name, kind=kind, specimen=specimen))
    assert named.reason in (("",) if named.item else REASONS)
