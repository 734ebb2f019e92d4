"""The bundled catalogue: its size, its honesty about itself, and its words, all of the vocabulary."""

from __future__ import annotations

import csv
import re
import unicodedata
from pathlib import Path

import pytest

import catalog
from catalog import BUNDLED, Catalogue, Item

NAMES = Path(__file__).resolve().parents[3] / "shared/names"
CERTAINTIES = {
    *("seen-official", "seen-press", "seen-code"),
    *("general-knowledge", "borrowed", "derived", "illustrative"),
}
LFT = (
    "1100204A 1100104A 1102904A 1500104A 1500204A 1500404A "
    "1500904A 1501104A 1700504A 1700604A 1700704A 1500704A"
)
TABLES = sorted(BUNDLED.glob("*/*.csv"))


@pytest.fixture(scope="module")
def bundled() -> Catalogue:
    return catalog.load()


@pytest.fixture(scope="module")
def vocabulary() -> dict[str, set[str]]:
    if not NAMES.is_dir():
        pytest.skip("the vocabulary lies beside the checkout (shared/names) and is not here")
    slots: dict[str, set[str]] = {}
    with (NAMES / "vocabulary.csv").open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            slots.setdefault(row["slot"], set()).add(row["code"])
    return slots


def members(bundled: Catalogue, list_id: str) -> list[Item]:
    return [item for item in bundled.items.values() if list_id in item.lists]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_chuanyu_imaging_list_has_141_items(bundled: Catalogue) -> None:
    assert len(members(bundled, "cy-imaging")) == 141


def test_the_chuanyu_laboratory_list_has_81_items(bundled: Catalogue) -> None:
    assert len(members(bundled, "cy-lab")) == 81


def test_the_alliance_list_has_every_chuanyu_laboratory_item_and_more(bundled: Catalogue) -> None:
    alliance = {item.code for item in members(bundled, "lab8-lab")}
    assert alliance > {item.code for item in members(bundled, "cy-lab")}


def test_the_catalogue_says_in_both_languages_that_it_is_illustrative(bundled: Catalogue) -> None:
    assert bundled.illustrative
    zh, en = bundled.notices
    assert "示例" in zh
    assert "illustrative" in en
    assert bundled.version.endswith("-illustrative")


@pytest.mark.parametrize("path", TABLES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_row_names_its_source(path: Path) -> None:
    assert all(row["source"].strip() for row in rows(path))


@pytest.mark.parametrize("path", TABLES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_certainty_is_one_that_the_model_explains(path: Path) -> None:
    assert {row["certainty"] for row in rows(path) if "certainty" in row} <= CERTAINTIES


def test_every_institution_says_that_it_is_made_up(bundled: Catalogue) -> None:
    assert all("示例" in entry.name and "示例" in entry.source for entry in bundled.institutions.values())


def test_every_qualification_says_that_its_basis_is_made_up(bundled: Catalogue) -> None:
    assert all("示例" in entry.basis for entry in bundled.qualifications)


def test_imaging_concepts_use_the_vocabulary_only(
    bundled: Catalogue, vocabulary: dict[str, set[str]]
) -> None:
    for item in (item for item in bundled.items.values() if item.kind == "imaging"):
        modality, part, side, method, _ = item.concept.split("|")
        assert modality in vocabulary["modality"], item.code
        assert part in vocabulary["body_part"], item.code
        assert side in vocabulary["laterality"], item.code
        assert method in vocabulary["method"], item.code


def test_laboratory_concepts_use_the_vocabulary_only(
    bundled: Catalogue, vocabulary: dict[str, set[str]]
) -> None:
    for item in members(bundled, "lab8-lab"):
        analyte, specimen, scale, qualifier = item.concept.split("|")
        assert analyte in vocabulary["analyte"], item.code
        assert specimen in vocabulary["specimen"], item.code
        assert scale in vocabulary["scale"], item.code
        assert qualifier in vocabulary["qualifier"], item.code


def test_a_side_belongs_to_paired_parts_only(bundled: Catalogue, vocabulary: dict[str, set[str]]) -> None:
    with (NAMES / "vocabulary.csv").open(encoding="utf-8-sig", newline="") as file:
        paired = {
            r["code"] for r in csv.DictReader(file) if r["slot"] == "body_part" and r["note"] == "paired"
        }
    for item in (item for item in bundled.items.values() if item.kind == "imaging"):
        _, part, side, _, _ = item.concept.split("|")
        assert (side in "LRB") == (part in paired), item.code


def test_no_item_leaves_side_method_or_scale_unsaid(bundled: Catalogue) -> None:
    for item in bundled.items.values():
        slots = item.concept.split("|")
        assert "U" not in slots[2:4] if item.kind == "imaging" else slots[2] != "?", item.code


def test_plain_ct_of_the_neck_is_no_item(bundled: Catalogue) -> None:
    assert bundled.item_for("CT|颈部|-|plain|-") is None
    assert bundled.item_for("CT|颈部|-|plain+contrast|-") is not None


def test_common_names_of_real_lists_project_onto_items(bundled: Catalogue) -> None:
    concepts = ("CT|胸部|-|plain|-", "DR|胸部|-|-|正位", "DR|膝关节|L|-|正侧位", "MR|颅脑|-|plain|-")
    assert all(bundled.item_for(concept) for concept in concepts)


@pytest.mark.parametrize(
    ("serum", "urine"),
    [("GLU|S|QN|-", "GLU|U|QN|-"), ("CREA|S|QN|-", "CREA|U|QN|-"), ("TP|S|QN|-", "PRO|U|QN|-")],
)
def test_serum_and_urine_are_two_items(bundled: Catalogue, serum: str, urine: str) -> None:
    one, other = bundled.item_for(serum), bundled.item_for(urine)
    assert one is not None
    assert other is not None
    assert one.code != other.code


@pytest.mark.parametrize(
    "name", ["白细胞", "红细胞", "葡萄糖", "蛋白", "TG", "PCT", "UA", "P", "甲胎蛋白", "空腹血糖"]
)
def test_a_name_that_means_several_things_is_no_alias(bundled: Catalogue, name: str) -> None:
    assert not [item.code for item in bundled.items.values() if name in (item.name, *item.aliases)]


def test_an_alias_never_carries_a_remark_about_itself(bundled: Catalogue) -> None:
    remarks = re.compile("需核对|同缩写|另计|另记|口径|同次")
    assert not [a for item in bundled.items.values() for a in item.aliases if remarks.search(a)]


def test_aliases_that_a_person_labelled_mean_the_concept_of_their_item(
    bundled: Catalogue, vocabulary: dict[str, set[str]]
) -> None:
    def fold(name: str) -> str:
        return "".join(unicodedata.normalize("NFKC", name).casefold().split())

    labelled: dict[str, set[str]] = {}
    with (NAMES / "dev.csv").open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            labelled.setdefault(fold(row["local_name"]), set()).add(row["target"])
    wrong = [
        (name, item.concept)
        for item in bundled.items.values()
        for name in (item.name, *item.aliases)
        if labelled.get(fold(name), {item.concept}) != {item.concept}
    ]
    assert not wrong


def test_the_liver_panel_has_the_twelve_members_of_the_demonstration(bundled: Catalogue) -> None:
    assert bundled.panels["LFT"].members == tuple(LFT.split())


def test_names_of_laboratory_panels_carry_the_number_of_members_or_the_scale(bundled: Catalogue) -> None:
    panels = [p for p in bundled.panels.values() if bundled.item(p.members[0]).kind == "lab"]
    names = [name for panel in panels for name in (panel.name, *panel.aliases)]
    assert [name for name in names if not re.search(r"[0-9一二三四五六七八九十]+项|两对半", name)] == []


def test_every_list_has_a_default_window_of_thirty_days(bundled: Catalogue) -> None:
    defaults = {w.list: w.days for w in bundled.windows if w.is_default}
    assert defaults == dict.fromkeys(bundled.lists, 30)


def test_windows_borrowed_from_another_region_say_so(bundled: Catalogue) -> None:
    own = {w.certainty for w in bundled.windows if w.list == "cy-lab" and not w.institution}
    assert own == {"borrowed"}


def test_there_are_28_reason_codes_and_two_do_not_count_as_refusal(bundled: Catalogue) -> None:
    codes = bundled.reason_codes
    assert len(codes) == 28
    uncounted = {key for key, entry in codes.items() if not entry.counts_as_refusal}
    assert uncounted == {("platform-A", "98"), ("platform-A", "99")}


def test_every_rule_of_a_decision_is_there(bundled: Catalogue) -> None:
    assert set(catalog.RULES) == {rule.id for rule in bundled.rules.values() if not rule.when}


def test_rules_are_told_apart_by_the_letter_of_their_id(bundled: Catalogue) -> None:
    letters = {"R": set(range(10)), "L": {6}, "N": {8}}
    assert all(rule.step in letters[rule.id[0]] for rule in bundled.rules.values())


def test_the_negative_list_holds_the_first_five_national_situations(bundled: Catalogue) -> None:
    codes = {rule.reason_code for rule, _ in bundled.conditions if rule.region == "CN"}
    assert codes >= {f"national-2022:{number}" for number in range(1, 6)}


@pytest.mark.parametrize("rule", ["N9", "N11"])
def test_a_series_of_examinations_is_no_refusal(bundled: Catalogue, rule: str) -> None:
    system, _, code = bundled.rule(rule).reason_code.partition(":")
    assert not bundled.reason_codes[system, code].counts_as_refusal


@pytest.mark.parametrize("code", ["DR-049", "DR-050", "DR-028", "DR-048", "CT-013", "CT-E03", "MR-E02"])
def test_hand_ankle_foot_chest_and_liver_are_in_the_list_of_endemic_diseases(
    bundled: Catalogue, code: str
) -> None:
    assert "cy-imaging-endemic" in bundled.item(code).lists


@pytest.mark.parametrize(
    ("facts", "rules"),
    [
        ({"disease": "kashin-beck", "endemic_area": False, "abnormal": True, "sites": 2}, {"N10a"}),
        ({"disease": "kashin-beck", "endemic_area": True, "abnormal": True, "sites": 1}, {"N10b"}),
        ({"disease": "kashin-beck", "endemic_area": True, "abnormal": True, "sites": 2}, set()),
        ({"disease": "kashin-beck", "endemic_area": True, "abnormal": False, "sites": 1}, set()),
        ({"disease": "", "endemic_area": False, "abnormal": True, "sites": 1}, set()),
    ],
)
def test_kashin_beck_disease_asks_for_an_endemic_area_and_for_more_than_one_site(
    bundled: Catalogue, facts: dict[str, bool | int | str], rules: set[str]
) -> None:
    hand = bundled.conditions_for(8, bundled.item("DR-049"), "510100", "EX-SC-01")
    asked = {rule.id: condition for rule, condition in hand if "disease" in condition.facts}
    assert {name for name, condition in asked.items() if condition.holds(facts)} == rules


def test_plain_and_contrast_make_up_plain_with_contrast(bundled: Catalogue) -> None:
    for code in ("CT-015", "CT-018", "CT-024"):
        methods = [bundled.item(member).concept.split("|")[3] for member in bundled.panels[code].members]
        assert methods == ["plain", "contrast"]


def test_some_items_of_a_laboratory_may_be_qualified_in_a_batch_of_their_own(bundled: Catalogue) -> None:
    batches = {record.batch for record in bundled.qualifications_of("EX-CQ-02", bundled.item("1700104A"))}
    assert batches == {"", "川渝检验质评2025年第2批(示例)"}
    assert len(bundled.qualifications_of("EX-CQ-02", bundled.item("1100104A"))) == 1


def test_the_liver_panel_of_wuhan_is_national_for_ten_of_twelve_members(bundled: Catalogue) -> None:
    national = [
        code
        for code in bundled.panels["LFT"].members
        if any(
            record.scope == "CN" and record.status == "active"
            for record in bundled.qualifications_of("EX-HB-01", bundled.item(code))
        )
    ]
    assert sorted(set(bundled.panels["LFT"].members) - set(national)) == ["1500104A", "1500204A"]


def test_every_institution_is_qualified_for_something(bundled: Catalogue) -> None:
    assert {record.institution for record in bundled.qualifications} == set(bundled.institutions)
