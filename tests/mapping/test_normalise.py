"""A name is read whole, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog import load
from mapping import BARE, LocalName, Normaliser

CATALOGUE = load()
NORMALISER = Normaliser(CATALOGUE)


def read(name: str, **fields: str) -> tuple[str | None, str]:
    named = NORMALISER.read(LocalName(name=name, **fields))
    return named.target, named.reason


@pytest.mark.parametrize("item", CATALOGUE.items.values(), ids=lambda item: item.code)
def test_an_items_own_name_is_read_as_that_item(item) -> None:  # type: ignore[no-untyped-def]
    modality = item.concept.split("|")[0] if item.kind == "imaging" else ""
    named = NORMALISER.read(LocalName(name=item.name, kind=item.kind, modality=modality))
    assert named.item == item.code


@pytest.mark.parametrize(
    "name", ["胸部CT平扫", "CT胸部平扫", " 胸部 ＣＴ 平扫 ", "CT 胸部平扫", "【川渝HR】胸部CT平扫"]
)
def test_one_examination_is_read_from_its_usual_spellings(name: str) -> None:
    assert read(name) == ("CT|胸部|-|plain|-", "")


@pytest.mark.parametrize(
    ("name", "mark"),
    [
        ("【全国HR】白蛋白", "全国"),
        ("★白蛋白", ""),
        ("*白蛋白", ""),
        ("白蛋白(鄂HR)", "鄂"),
        ("白蛋白[HR]", ""),
        ("白蛋白", None),
    ],
)
def test_a_mark_inside_the_name_is_kept_and_is_no_part_of_the_name(name: str, mark: str | None) -> None:
    named = NORMALISER.read(LocalName(name=name))
    assert (named.target, named.mark) == ("ALB|S|QN|-", mark)


def test_the_messages_modality_completes_a_name_without_one() -> None:
    assert read("胸部平扫", modality="CT", kind="imaging") == ("CT|胸部|-|plain|-", "")


def test_a_name_without_any_modality_is_not_read() -> None:
    assert read("胸部平扫", kind="imaging") == (None, "no_modality")


def test_a_modality_that_contradicts_the_name_is_a_conflict() -> None:
    assert read("胸部CT平扫", modality="MR") == (None, "conflict")


@pytest.mark.parametrize("name", sorted(BARE))
def test_a_bare_name_that_means_several_items_needs_its_specimen(name: str) -> None:
    assert read(name, kind="lab") == (None, "specimen_unsaid")


def test_the_specimen_chooses_between_the_items_of_one_analyte() -> None:
    assert read("葡萄糖", specimen="血清")[0] == "GLU|S|QN|-"
    assert read("葡萄糖", specimen="尿液")[0] == "GLU|U|QN|-"


def test_a_specimen_that_contradicts_the_name_is_a_conflict() -> None:
    assert read("尿液葡萄糖测定", specimen="血清") == (None, "conflict")


@pytest.mark.parametrize("name", ["颈部CT平扫", "降钙素原x", "胸部CT平扫及三维", "谷丙转氨酶2"])
def test_a_name_with_a_part_that_nobody_explained_is_not_read(name: str) -> None:
    assert read(name)[1] in ("unknown", "no_modality")


def test_a_lost_character_is_said() -> None:
    assert read("血\ue5c7尿酸") == (None, "lost_character")


@given(st.text(max_size=40), st.sampled_from(["", "imaging", "lab"]), st.text(max_size=8))
def test_any_text_is_read_or_abstained_from_with_a_reason(name: str, kind: str, specimen: str) -> None:
    named = NORMALISER.read(LocalName(name=name, kind=kind, specimen=specimen))
    assert bool(named.item) != bool(named.reason)
