"""Confirmed names of sites: whose they are, when they count, who has to confirm them, and how they end."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from catalog import load
from mapping import LocalName, Named, Normaliser
from mapping.sites import FIELDS, SiteNormaliser, SiteTable, Step, key_of, keys_of
from mapping.slots import decided, differing, persons_for

CATALOGUE = load()
GRAMMARS = Normaliser(CATALOGUE)
AT = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
NAME = LocalName(name="特约白蛋白", kind="lab", site="EX-CQ-01", code="L-7", unit="g/L", specimen="血清")
ALB, TP = "ALB|S|QN|-", "TP|S|QN|-"


def said(number: int, by: str, local: LocalName = NAME, concept: str = ALB) -> Step:
    """A confirmation as the gateway makes one."""
    own = GRAMMARS.read(local)
    slots = decided(own, concept)
    return Step(
        id=f"{number:08d}",
        act="confirm",
        by=by,
        at=AT,
        key=key_of(local),
        local=local,
        token=own.residue,
        concept=concept,
        decides=slots,
        persons=persons_for(slots),
    )


def taken_back(number: int, mapping: str) -> Step:
    return Step(id=f"{number:08d}", act="revoke", by="a", at=AT, note="错了", mapping=mapping)


def confirmed(local: LocalName = NAME, concept: str = ALB) -> SiteTable:
    """A table in which two persons have confirmed one name."""
    return SiteTable().after([said(1, "a", local, concept), said(2, "b", local, concept)])


def read(local: LocalName, table: SiteTable | None = None) -> Named:
    return SiteNormaliser(GRAMMARS, CATALOGUE, table or confirmed()).read(local)


def test_a_confirmed_name_is_read_as_it_was_confirmed() -> None:
    named = read(NAME)
    assert (named.target, named.item, named.reason) == (ALB, "1100104A", "")
    assert named.confirmed == next(iter(confirmed().active.values())).id
    assert named.tables.endswith(confirmed().version)


@pytest.mark.parametrize("field", ["site", "code", "name", *FIELDS])
def test_with_anything_else_about_it_a_name_is_not_the_confirmed_one(field: str) -> None:
    other = replace(NAME, **{field: f"{getattr(NAME, field)}X"})
    assert read(other).confirmed == ""
    assert read(other) == GRAMMARS.read(other)


@pytest.mark.parametrize("written", ["特约 白蛋白", "特約白蛋白", "【川渝HR】特约白蛋白", "★特约白蛋白"])
def test_another_writing_of_the_name_is_the_confirmed_one(written: str) -> None:
    assert read(replace(NAME, name=written)).target == ALB


def test_the_mark_of_a_confirmed_name_is_kept() -> None:
    assert read(replace(NAME, name="【川渝HR】特约白蛋白")).mark == "川渝"


def test_a_field_that_contradicts_makes_the_name_a_conflict_with_both_readings() -> None:
    urine = replace(NAME, specimen="尿液")
    named = read(urine, confirmed(urine))
    assert (named.target, named.item, named.reason) == (None, None, "conflict")
    assert named.candidates[0] == ALB


@pytest.mark.parametrize("specimen", ["脑脊液", "粪便"])
@pytest.mark.parametrize("concept", ["CU|S|QN|-", "ZN|S|QN|-", "PH|BG|QN|-"])
def test_a_specimen_contradicts_also_where_the_item_s_own_name_cannot_be_read(
    concept: str, specimen: str
) -> None:
    other = replace(NAME, name="特约项目", specimen=specimen)
    assert read(other, confirmed(other, concept)).reason == "conflict"


def test_what_the_grammars_read_otherwise_by_now_is_a_conflict() -> None:
    learnt = replace(NAME, name="总蛋白")
    named = read(learnt, confirmed(learnt))
    assert (named.item, named.reason, named.candidates) == (None, "conflict", (ALB, TP))


def test_a_confirmed_concept_without_an_item_in_force_is_not_listed() -> None:
    named = read(NAME, confirmed(concept="ZZZ|S|QN|-"))
    assert (named.item, named.reason, named.target) == (None, "not_listed", "ZZZ|S|QN|-")


def test_a_name_that_lost_a_character_is_never_read_by_a_confirmation() -> None:
    lost = replace(NAME, name="特约\ufffd蛋白")
    assert read(lost, confirmed(lost)).reason == "lost_character"


# two persons


@pytest.mark.parametrize(
    ("name", "kind", "concept", "persons"),
    [
        ("特约白蛋白", "lab", ALB, 2),
        ("胸片特约", "imaging", "DR|胸部|-|-|正位", 1),
        ("颅脑CT特约", "imaging", "CT|颅脑|-|plain|-", 2),
        ("颅脑CT", "imaging", "CT|颅脑|-|plain|-", 2),
        ("膝关节特约DR", "imaging", "DR|膝关节|L|-|正侧位", 2),
        ("白细胞", "lab", "WBC|B|QN|-", 2),
    ],
)
def test_what_decides_side_method_specimen_or_scale_takes_two_persons(
    name: str, kind: str, concept: str, persons: int
) -> None:
    assert persons_for(decided(GRAMMARS.read(LocalName(name=name, kind=kind)), concept)) == persons


def test_only_the_slots_that_the_name_leaves_open_are_decided() -> None:
    named = GRAMMARS.read(LocalName(name="颅脑CT", kind="imaging"))
    assert decided(named, "CT|颅脑|-|plain|-") == ("method",)


def test_the_slots_in_which_two_concepts_differ_are_named() -> None:
    assert differing("CT|颅脑|-|plain|-", "CT|颅脑|-|contrast|-") == ("method",)
    assert differing(ALB, "ALB|CSF|QN|-") == ("specimen",)


def test_one_person_is_not_two() -> None:
    table = SiteTable().after([said(1, "a"), said(2, "a")])
    assert not table.active
    assert [step.by for step in table.waiting[key_of(NAME)]] == ["a"]


def test_two_persons_of_two_minds_do_not_confirm() -> None:
    table = SiteTable().after([said(1, "a"), said(2, "b", concept=TP)])
    assert not table.active


def test_who_changes_his_mind_may_be_the_second_person() -> None:
    table = SiteTable().after([said(1, "a"), said(2, "b", concept=TP), said(3, "b")])
    assert [mapping.concept for mapping in table.active.values()] == [ALB]


def test_a_confirmation_after_the_fact_does_not_change_a_mapping() -> None:
    assert confirmed().after([said(3, "c", concept=TP), said(4, "d", concept=TP)]) == confirmed()


# revocation


def test_a_revoked_mapping_counts_no_longer_and_stays_known() -> None:
    table = confirmed()
    (mapping,) = table.active.values()
    ended = table.after([taken_back(3, mapping.id)])
    assert read(NAME, ended) == GRAMMARS.read(NAME)
    assert ended.revoked[mapping.id].mapping == mapping


def test_after_a_revocation_two_persons_have_to_confirm_anew() -> None:
    table = confirmed()
    (mapping,) = table.active.values()
    again = table.after([taken_back(3, mapping.id), said(4, "a")])
    assert not again.active
    (new,) = again.after([said(5, "b")]).active.values()
    assert new.id != mapping.id


def test_a_revocation_of_nothing_does_nothing() -> None:
    assert confirmed().after([taken_back(3, "never")]) == confirmed()


# drift


@pytest.mark.parametrize(
    ("changed", "drifts"),
    [
        ({}, False),
        ({"name": "总蛋白"}, True),
        ({"unit": "mg/L"}, True),
        ({"unit": ""}, False),
        ({"code": ""}, False),
        ({"code": "L-8", "name": "总蛋白"}, False),
        ({"site": "EX-SC-01", "name": "总蛋白"}, False),
    ],
)
def test_a_known_code_with_another_name_or_unit_has_drifted(changed: dict[str, str], drifts: bool) -> None:
    assert confirmed().drifted(replace(NAME, **changed)) == drifts


def test_a_drifted_code_that_is_confirmed_anew_drifts_no_more() -> None:
    other = replace(NAME, name="特约总蛋白")
    table = confirmed().after([said(3, "a", other, TP), said(4, "b", other, TP)])
    assert not table.drifted(other)
    assert not table.drifted(NAME)


# tables as values

NAMES = [replace(NAME, name=name, code=code) for name in ("甲特约", "乙特约") for code in ("", "1")]
STEPS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(NAMES), st.sampled_from((ALB, TP)), st.booleans()),
    max_size=12,
)


def steps_of(drawn: Sequence[tuple[str, LocalName, str, bool]]) -> list[Step]:
    """Confirmations, and revocations of what they may have put in force."""
    steps = []
    for number, (by, local, concept, ends) in enumerate(drawn, start=1):
        key = key_of(local)
        step = said(number, by, local, concept)
        steps.append(taken_back(number, f"{key[:16]}-{number - 1:08d}") if ends else step)
    return steps


@given(STEPS, st.integers(0, 12))
def test_a_table_is_the_same_however_its_steps_come_in(
    drawn: list[tuple[str, LocalName, str, bool]], at: int
) -> None:
    steps = steps_of(drawn)
    assert SiteTable().after(steps[:at]).after(steps[at:]) == SiteTable().after(steps)


@given(STEPS)
def test_a_mapping_in_force_has_as_many_persons_of_one_mind_as_it_needs(
    drawn: list[tuple[str, LocalName, str, bool]],
) -> None:
    for mapping in SiteTable().after(steps_of(drawn)).active.values():
        assert {step.concept for step in mapping.steps} == {mapping.concept}
        assert len({step.by for step in mapping.steps}) >= max(step.persons for step in mapping.steps)


@given(STEPS)
def test_tables_with_the_same_mappings_have_the_same_version(
    drawn: list[tuple[str, LocalName, str, bool]],
) -> None:
    steps = steps_of(drawn)
    one, other = SiteTable().after(steps), SiteTable().after([*steps, taken_back(99, "never")])
    assert one.version == other.version
    assert (one.version == SiteTable().version) == (not one.active)


@given(st.text(max_size=40), st.text(max_size=10), st.sampled_from(["", "EX-CQ-01", "EX-SC-01"]))
def test_reading_behind_a_table_never_raises_and_leaves_other_names_alone(
    name: str, unit: str, site: str
) -> None:
    local = LocalName(name=name, unit=unit, site=site, kind="lab")
    assert read(local) == GRAMMARS.read(local)


@given(st.builds(LocalName, name=st.text(max_size=8), site=st.text(max_size=4), code=st.text(max_size=4)))
def test_a_key_is_short_and_always_the_same(local: LocalName) -> None:
    assert key_of(local) == key_of(replace(local))
    assert len(key_of(local)) == 40
    assert key_of(local).startswith(keys_of(local.site))
