"""What follows from evaluation results: which item of which laboratory is qualified on which day, how far."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from datetime import date, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from typer.testing import CliRunner, Result

from catalog import Item, Qualification, load, read_files
from catalog.load import BUNDLED
from gateway.cli import app
from quality import UNVERIFIED, Event, EventsRefused, qualifications_from, read_events, satisfactory, score

CATALOGUE = load()
START = date(2026, 1, 10)
ALB, ALT, CQ, SC = "1100104A", "1500104A", "EX-CQ-01", "EX-SC-02"
PASSED, FAILED = 5, 3
EVENT = Event(
    id="e1",
    institution=CQ,
    item=ALB,
    kind="eqa",
    day=START,
    samples=5,
    acceptable=5,
    score="",
    required="",
    level="national",
    scope="",
    organiser="示例质评中心",
    batch="2026-1",
    valid_to=None,
    source="made up (示例)",
)


def event(month: int = 0, acceptable: int = PASSED, **more: Any) -> Event:
    """A round of five samples, so many months of thirty days after the first."""
    day = START + timedelta(30 * month)
    return replace(EVENT, **{"id": f"e{month}", "day": day, "acceptable": acceptable} | more)


def rounds(*acceptable: int) -> list[Event]:
    """One round a month."""
    return [event(month, correct) for month, correct in enumerate(acceptable)]


def held(records: Sequence[Qualification], month: int, days: int = 0) -> bool:
    """Whether any record holds so many days after the round of a month."""
    return any(record.holds(START + timedelta(30 * month + days)) for record in records)


# score


@pytest.mark.parametrize(("acceptable", "scored"), [(5, 100), (4, 80), (3, 60), (0, 0)])
def test_the_score_is_the_share_of_acceptable_results(acceptable: int, scored: int) -> None:
    assert score(event(acceptable=acceptable)) == scored


def test_a_score_is_exact() -> None:
    assert score(event(samples=3, acceptable=2)) == Fraction(200, 3)


def test_a_score_that_the_organiser_gave_is_taken() -> None:
    assert score(event(samples=0, acceptable=0, score="92.5")) == Fraction(185, 2)


def test_who_does_not_take_part_scores_0() -> None:
    assert score(event(samples=0, acceptable=0)) == 0
    assert not satisfactory(event(acceptable=0), CATALOGUE)


@pytest.mark.parametrize(("acceptable", "good"), [(4, True), (3, False)])
def test_four_of_five_are_satisfactory_and_three_are_not(acceptable: int, good: bool) -> None:
    assert satisfactory(event(acceptable=acceptable), CATALOGUE) is good


@pytest.mark.parametrize(("text", "good"), [("80", True), ("79.99", False)])
def test_80_per_cent_is_satisfactory_and_a_little_less_is_not(text: str, good: bool) -> None:
    assert satisfactory(event(samples=0, acceptable=0, score=text), CATALOGUE) is good


@pytest.mark.parametrize(("acceptable", "good"), [(5, True), (4, False)])
def test_blood_typing_needs_every_sample_right(acceptable: int, good: bool) -> None:
    typing = Item(
        "ABO-1", "ABO血型", "lab", "ABO|WB|NOM|-", "typing", (), (), (), False, "示例", "illustrative"
    )
    catalogue = replace(CATALOGUE, items={**CATALOGUE.items, "ABO-1": typing})
    assert satisfactory(event(item="ABO-1", acceptable=acceptable), catalogue) is good


def test_what_the_organiser_asks_for_goes_before_the_criteria() -> None:
    assert not satisfactory(event(acceptable=4, required="90"), CATALOGUE)


def test_the_criteria_say_that_they_are_unverified() -> None:
    assert "unverified" in UNVERIFIED.source


# qualifications


def test_a_satisfactory_round_qualifies_from_its_day_on() -> None:
    records = qualifications_from(rounds(PASSED), CATALOGUE)
    assert (held(records, 0), held(records, 0, -1)) == (True, False)


def test_a_round_counts_for_a_year_and_no_day_longer() -> None:
    records = qualifications_from(rounds(PASSED), CATALOGUE)
    assert (held(records, 0, 365), held(records, 0, 366)) == (True, False)


def test_the_last_day_that_the_organiser_grants_counts() -> None:
    records = qualifications_from([event(valid_to=START + timedelta(90))], CATALOGUE)
    assert (held(records, 0, 90), held(records, 0, 91)) == (True, False)


def test_a_further_satisfactory_round_prolongs_the_qualification() -> None:
    (record,) = qualifications_from(rounds(PASSED, PASSED), CATALOGUE)
    assert (record.valid_from, record.valid_to) == (START, START + timedelta(30 + 365))


def test_a_round_on_the_last_day_prolongs_it_too() -> None:
    (record,) = qualifications_from([event(0, valid_to=START + timedelta(30)), event(1)], CATALOGUE)
    assert record.valid_from == START


def test_a_round_with_a_shorter_grant_shortens_nothing() -> None:
    (record,) = qualifications_from([event(0), event(1, valid_to=START + timedelta(60))], CATALOGUE)
    assert record.valid_to == START + timedelta(365)


def test_a_record_names_the_last_round_that_counted() -> None:
    (record,) = qualifications_from([event(0), event(1, batch="2026-2")], CATALOGUE)
    assert record.batch == "2026-2"


def test_a_round_after_the_end_begins_a_new_qualification() -> None:
    records = qualifications_from([event(0), event(14)], CATALOGUE)
    assert [record.valid_from for record in records] == [START, START + timedelta(420)]
    assert not held(records, 13)


def test_an_unsatisfactory_round_suspends_from_its_day_on() -> None:
    (record,) = qualifications_from(rounds(PASSED, FAILED), CATALOGUE)
    assert record.status == "suspended"
    assert (held([record], 1, -1), held([record], 1)) == (True, False)
    assert "不满意" in record.reason


def test_one_unsatisfactory_round_is_made_good_by_the_next() -> None:
    records = qualifications_from(rounds(PASSED, PASSED, FAILED, PASSED), CATALOGUE)
    assert (held(records, 2), held(records, 3)) == (False, True)


def test_two_unsatisfactory_rounds_of_three_are_unsuccessful() -> None:
    records = qualifications_from(rounds(PASSED, FAILED, PASSED, FAILED), CATALOGUE)
    assert "不成功" in records[-1].reason
    assert "2 of 3" in records[-1].reason


def test_after_two_unsatisfactory_rounds_one_satisfactory_is_not_enough() -> None:
    records = qualifications_from(rounds(FAILED, FAILED, PASSED, PASSED), CATALOGUE)
    assert (held(records, 2), held(records, 3)) == (False, True)


def test_two_unsatisfactory_rounds_further_apart_are_not_unsuccessful() -> None:
    records = qualifications_from(rounds(FAILED, PASSED, PASSED, FAILED), CATALOGUE)
    assert "不成功" not in records[-1].reason


def test_an_unsatisfactory_round_alone_qualifies_nobody() -> None:
    assert qualifications_from(rounds(FAILED), CATALOGUE) == []


def test_internal_control_qualifies_nobody() -> None:
    assert qualifications_from([event(kind="iqc")], CATALOGUE) == []


def test_internal_control_out_of_order_suspends_until_it_is_in_order_again() -> None:
    bad, good = event(1, FAILED, kind="iqc"), event(2, kind="iqc")
    records = qualifications_from([event(0), bad, good], CATALOGUE)
    assert [held(records, month) for month in (0, 1, 2)] == [True, False, True]
    assert "室内质控" in records[0].reason
    assert records[1].valid_to == START + timedelta(365)


def test_internal_control_in_order_again_on_the_last_day_still_counts() -> None:
    first = event(0, valid_to=START + timedelta(60))
    records = qualifications_from([first, event(1, FAILED, kind="iqc"), event(2, kind="iqc")], CATALOGUE)
    assert (held(records, 2), held(records, 2, 1)) == (True, False)


def test_internal_control_of_another_item_suspends_nothing() -> None:
    records = qualifications_from([event(0), event(1, FAILED, kind="iqc", item=ALT)], CATALOGUE)
    assert held(records, 2)


def test_a_laboratory_is_qualified_for_the_items_that_passed_and_no_other() -> None:
    (record,) = qualifications_from([event(item=ALB), event(item=ALT, acceptable=FAILED)], CATALOGUE)
    assert record.items == ALB


def test_items_with_one_fate_share_a_record() -> None:
    (record,) = qualifications_from([event(item=ALT), event(item=ALB)], CATALOGUE)
    assert record.items == f"{ALB} {ALT}"


def test_levels_are_judged_apart() -> None:
    records = qualifications_from([event(), event(level="provincial", acceptable=FAILED)], CATALOGUE)
    assert [record.scope for record in records] == ["CN"]


@pytest.mark.parametrize(
    ("institution", "level", "scope"),
    [
        (CQ, "national", "CN"),
        (CQ, "provincial", "500000"),
        (CQ, "district", "500103"),
        (SC, "provincial", "510000"),
        (SC, "prefecture", "510700"),
    ],
)
def test_the_level_gives_the_scope(institution: str, level: str, scope: str) -> None:
    (record,) = qualifications_from([event(institution=institution, level=level)], CATALOGUE)
    assert record.scope == scope


def test_an_agreement_names_its_scope() -> None:
    (record,) = qualifications_from([event(level="agreement", scope="CHUANYU")], CATALOGUE)
    assert (record.level, record.scope) == ("agreement", "CHUANYU")


def test_a_level_without_an_area_around_the_institution_is_refused() -> None:
    with pytest.raises(EventsRefused, match="name the scope"):
        qualifications_from([event(level="prefecture")], CATALOGUE)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_on_the_day_of_a_round_it_holds_just_if_the_round_and_the_last_three_allow_it(
    results: list[int],
) -> None:
    records = qualifications_from(rounds(*results), CATALOGUE)
    for month, acceptable in enumerate(results):
        recent = results[max(0, month - 2) : month + 1]
        failed = sum(correct < 4 for correct in recent)
        assert held(records, month) == (acceptable >= 4 and failed < 2)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.randoms())
def test_the_order_of_the_rows_does_not_matter(results: list[int], random: Any) -> None:
    events = rounds(*results)
    mixed = random.sample(events, len(events))
    assert qualifications_from(mixed, CATALOGUE) == qualifications_from(events, CATALOGUE)


# the table

HEADING = "id,institution,item,kind,day,samples,acceptable,level,organiser,source"
GOOD = f"e1,{CQ},{ALB},eqa,2026-01-10,5,5,national,示例质评中心,示例"


def refused(row: str, heading: str = HEADING) -> list[tuple[int, str]]:
    """Where the findings are: row and column."""
    with pytest.raises(EventsRefused) as caught:
        read_events(f"{heading}\n{row}\n".encode(), "events.csv", CATALOGUE)
    return [(finding.row, finding.column) for finding in caught.value.findings]


def test_a_table_is_read() -> None:
    (one,) = read_events(f"{HEADING}\n{GOOD}\n".encode(), "events.csv", CATALOGUE)
    assert (one.institution, one.day, one.acceptable, one.valid_to) == (CQ, START, 5, None)


@pytest.mark.parametrize(
    ("wrong", "column"),
    [
        (f"e1,EX-XX-99,{ALB},eqa,2026-01-10,5,5,national,示例,示例", "institution"),
        (f"e1,{CQ},NO-SUCH,eqa,2026-01-10,5,5,national,示例,示例", "item"),
        (f"e1,{CQ},{ALB} {ALT},eqa,2026-01-10,5,5,national,示例,示例", "item"),
        (f"e1,{CQ},*,eqa,2026-01-10,5,5,national,示例,示例", "item"),
        (f"e1,{CQ},kind:lab,iqc,2026-01-10,5,5,national,示例,示例", "item"),
        (f"e1,{CQ},*,imaging-qc,2026-01-10,5,5,national,示例,示例", "item"),
        (f"e1,{CQ},{ALB},eqa,9999-12-31,5,5,national,示例,示例", "day"),
        (f"e1,{CQ},{ALB},pt,2026-01-10,5,5,national,示例,示例", "kind"),
        (f"e1,{CQ},{ALB},eqa,2026-02-30,5,5,national,示例,示例", "day"),
        (f"e1,{CQ},{ALB},eqa,2026-01-10,five,5,national,示例,示例", "samples"),
        (f"e1,{CQ},{ALB},eqa,2026-01-10,,,national,示例,示例", "samples"),
        (f"e1,{CQ},{ALB},eqa,2026-01-10,5,6,national,示例,示例", "acceptable"),
        (f"e1,{CQ},{ALB},eqa,2026-01-10,5,5,global,示例,示例", "level"),
        (f"e1,{CQ},{ALB},eqa,2026-01-10,5,5,agreement,示例,示例", "scope"),
        (f"e1,{CQ},{ALB},eqa,2026-01-10,5,5,national,,示例", "organiser"),
    ],
)
def test_a_fault_is_named_by_row_and_column(wrong: str, column: str) -> None:
    assert refused(wrong) == [(2, column)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("required", "101"),
        ("required", "-1"),
        ("required", "8O"),
        ("scope", "ATLANTIS"),
        ("scope", "510000"),
        ("valid_to", "2026-01-09"),
    ],
)
def test_a_fault_in_what_may_be_left_out_is_named_too(name: str, value: str) -> None:
    assert refused(f"{GOOD},{value}", f"{HEADING},{name}") == [(2, name)]


def test_every_fault_of_a_table_is_named_at_once() -> None:
    later = GOOD.replace("2026-01-10", "2026-05-10")
    assert refused(f"{GOOD}\ne2,X,{ALB},eqa,x,5,5,national,示例,示例\n{later}") == [(3, "day"), (4, "id")]


def test_a_round_has_one_result_for_an_item() -> None:
    assert refused(f"{GOOD}\n{GOOD.replace('e1', 'e2', 1)}") == [(3, "day")]


# the command


def lianren(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["catalog", "qualify", *map(str, words)])


@pytest.fixture
def table(tmp_path: Path) -> Path:
    file = tmp_path / "events.csv"
    file.write_text(f"{HEADING}\n{GOOD}\n", encoding="utf-8")
    return file


def test_the_command_writes_a_table_that_a_catalogue_reads(table: Path, tmp_path: Path) -> None:
    done = lianren(table, "--out", tmp_path / "qualifications.csv")
    assert done.exit_code == 0, done.output
    head = (BUNDLED / "national/catalogue.toml").read_bytes()
    written = (tmp_path / "qualifications.csv").read_bytes()
    read_files({"catalogue.toml": head, "qualifications.csv": written})
    (row,) = csv.DictReader(io.StringIO(written.decode()))
    assert (row["institution"], row["items"], row["scope"], row["status"]) == (CQ, ALB, "CN", "active")


def test_a_dry_run_writes_nothing(table: Path, tmp_path: Path) -> None:
    assert "EX-CQ-01 1100104A: national CN 2026-01-10 – 2027-01-10" in lianren(table, "--dry-run").stdout
    assert list(tmp_path.iterdir()) == [table]


def test_the_command_names_faults_and_writes_nothing(table: Path, tmp_path: Path) -> None:
    table.write_text(f"{HEADING}\n{GOOD.replace(ALB, 'NO-SUCH')}\n", encoding="utf-8")
    done = lianren(table, "--out", tmp_path / "q.csv")
    assert (done.exit_code, done.stdout.startswith("events.csv:2 item:")) == (1, True)
    assert not (tmp_path / "q.csv").exists()


def test_an_existing_file_is_never_touched(table: Path) -> None:
    before = table.read_bytes()
    assert "exists already" in str(lianren(table, "--out", table).exception)
    assert table.read_bytes() == before


def test_the_command_prints_json_for_machines(table: Path) -> None:
    told = json.loads(lianren(table, "--dry-run", "--json").stdout)
    assert [record["items"] for record in told["qualifications"]] == [ALB]
