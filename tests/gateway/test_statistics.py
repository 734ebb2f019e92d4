"""Statistics: what is counted, what is hidden, who may read it, and that reading it is recorded."""

from __future__ import annotations

import csv
import io
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from typer.testing import CliRunner

from adapters.store import Document
from catalog import load
from gateway._statistics_counting import (
    AnswerShown,
    By,
    CheckShown,
    ResultShown,
    Side,
    Tally,
    Told,
    VerdictShown,
)
from gateway._statistics_hiding import TOTAL, Cell, hidden_cells
from gateway._statistics_words import COUNTS, RATES
from gateway.cli import app
from gateway.ids import new_id
from gateway.model import Coded, OutcomeCode
from gateway.statistics import Statistics
from quality import Event
from recognition import VerdictCode
from security.keys import SHANGHAI
from tests.docs.pages import ROOT
from tests.docs.pages import table as documented
from tests.gateway.live import OTHER, OWN, Live, ask, audit, body, gateway_over_source, reading

CATALOGUE = load()
AT = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)
CT, ALB = "CT-001", "1100104A"
Rows = Mapping[str, Mapping[str, int]]


# what is counted


def shown(
    result: str, item: str = CT, verdict: VerdictCode = "recognised", issuer: str = OTHER
) -> VerdictShown:
    return VerdictShown(verdict, ResultShown(result, Coded(issuer, "")), Coded(item, ""), Coded(item, ""))


def check(*verdicts: VerdictShown, receiver: str = OWN, at: datetime = AT) -> CheckShown:
    return CheckShown(receiver, AnswerShown(uuid.uuid4().hex, at, verdicts))


def told(result: str, outcome: OutcomeCode, at: int, reason: str = "", *, refusal: bool = False) -> Told:
    return Told(result, outcome, at, reason, refusal)


def counted(
    one: CheckShown, *said: Told, by: By = "institution", side: Side = "receiver", institution: str = ""
) -> dict[str, dict[str, int]]:
    """Row → the counts of a check that are not 0."""
    tally = Tally(CATALOGUE, by, side, institution)
    tally.add(one, said)
    return {key: {name: n for name, n in row.items() if n} for key, row in tally.rows.items()}


def only(rows: dict[str, dict[str, int]]) -> dict[str, int]:
    (row,) = rows.values()
    return row


def test_several_recognised_results_of_one_item_are_one_reminder() -> None:
    assert only(counted(check(shown("a"), shown("b"))))["reminders"] == 1


def test_two_items_of_one_check_are_two_reminders() -> None:
    assert only(counted(check(shown("a"), shown("b", ALB))))["reminders"] == 2


def test_a_result_that_stands_in_for_another_item_is_counted_under_the_planned_one() -> None:
    verdict = VerdictShown(
        "recognised", ResultShown("a", Coded(OTHER, "")), Coded("CT-002", ""), Coded(CT, "")
    )
    assert counted(check(verdict), by="item").keys() == {CT}


def test_a_result_that_may_only_be_viewed_is_on_record_and_no_reminder() -> None:
    row = only(counted(check(shown("a", verdict="view_only"))))
    assert row == {"on_record": 1, "not_reminded": 1}


def test_a_result_of_no_item_of_the_catalogue_is_not_counted() -> None:
    strange = VerdictShown("not_recognised", ResultShown("a", Coded(OTHER, "")), None, None)
    assert counted(check(strange)) == {}


def test_a_reminder_without_a_decision_is_without_feedback_even_where_it_was_viewed() -> None:
    row = only(counted(check(shown("a")), told("a", "viewed", 1), told("a", "cited", 2)))
    assert row == {"on_record": 1, "reminders": 1, "without_feedback": 1, "viewed": 1, "cited": 1}


def test_every_viewing_counts() -> None:
    assert only(counted(check(shown("a")), told("a", "viewed", 1), told("a", "viewed", 2)))["viewed"] == 2


def test_what_was_accepted_and_then_withdrawn_is_withdrawn() -> None:
    row = only(counted(check(shown("a")), told("a", "accepted", 1), told("a", "withdrawn", 2)))
    assert row == {"on_record": 1, "reminders": 1, "withdrawn": 1}


def test_the_last_word_is_the_last_by_its_time_and_not_the_last_that_came_in() -> None:
    said = told("a", "declined", 2, "platform-A:01", refusal=True), told("a", "accepted", 1)
    row = only(counted(check(shown("a")), *said))
    assert row == {"on_record": 1, "reminders": 1, "declined": 1, "declined:platform-A:01": 1}


def test_what_was_withdrawn_and_then_declined_is_declined() -> None:
    said = told("a", "withdrawn", 1), told("a", "declined", 2, "platform-A:99")
    row = only(counted(check(shown("a")), *said))
    assert row == {"on_record": 1, "reminders": 1, "set_apart": 1, "set_apart:platform-A:99": 1}


def test_an_item_is_accepted_when_another_of_its_results_was_declined_later() -> None:
    said = told("a", "accepted", 1), told("b", "declined", 2, "platform-A:01", refusal=True)
    assert only(counted(check(shown("a"), shown("b")), *said))["accepted"] == 1


def test_the_very_same_result_of_two_nodes_is_one_whichever_of_them_was_meant() -> None:
    one, other = structs.replace(shown("a"), also=("b",)), structs.replace(shown("b"), also=("a",))
    said = told("a", "viewed", 1), told("a", "accepted", 2), told("b", "withdrawn", 3)
    row = only(counted(check(one, other), *said))
    assert row == {"on_record": 1, "reminders": 1, "withdrawn": 1, "viewed": 1}


def test_what_was_accepted_without_a_reminder_is_counted_apart() -> None:
    row = only(counted(check(shown("a", verdict="not_recognised")), told("a", "accepted", 1)))
    assert row == {"on_record": 1, "accepted_otherwise": 1}


def test_to_decline_what_was_not_recommended_is_no_refusal() -> None:
    said = told("a", "declined", 1, "platform-A:01", refusal=True)
    assert only(counted(check(shown("a", verdict="view_only")), said)) == {"on_record": 1, "not_reminded": 1}


def test_receivers_and_issuers_are_counted_apart() -> None:
    one = check(shown("a", issuer="EX-SC-01"), shown("b", issuer="EX-SC-02"))
    assert counted(one).keys() == {OWN}
    assert counted(one, side="issuer").keys() == {"EX-SC-01", "EX-SC-02"}


def test_an_institution_sees_what_it_asked_and_not_what_others_asked() -> None:
    assert counted(check(shown("a"), receiver=OTHER), institution=OWN) == {}


def test_an_issuer_sees_what_became_of_its_own_results_only() -> None:
    one = check(shown("a", issuer=OTHER), shown("b", issuer="EX-SC-02"))
    assert counted(one, side="issuer", institution=OTHER).keys() == {OTHER}


@pytest.mark.parametrize(
    ("by", "key"),
    [("day", "2026-12-01"), ("week", "2026-W49"), ("month", "2026-12"), ("region", "500103"), ("item", CT)],
)
def test_rows_are_cut_in_the_time_of_shanghai(by: By, key: str) -> None:
    midnight = datetime(2026, 12, 1, tzinfo=SHANGHAI)
    assert counted(check(shown("a"), at=midnight.astimezone(UTC)), by=by).keys() == {key}


def test_the_last_moment_of_a_day_in_shanghai_belongs_to_it() -> None:
    moment = datetime(2026, 12, 1, tzinfo=SHANGHAI) - timedelta(microseconds=1)
    assert counted(check(shown("a"), at=moment.astimezone(UTC)), by="day").keys() == {"2026-11-30"}


def test_by_reason_only_what_was_declined_is_counted() -> None:
    said = told("a", "declined", 1, "platform-A:98"), told("b", "accepted", 1)
    assert counted(check(shown("a"), shown("b", ALB)), *said, by="reason").keys() == {"platform-A:98"}


def test_a_saving_is_the_price_of_the_item_where_it_would_have_been_made_again() -> None:
    tally = Tally(CATALOGUE, "institution", "issuer")
    tally.add(check(shown("a"), shown("b")), [told("a", "accepted", 1), told("b", "accepted", 2)])
    price = CATALOGUE.price(CATALOGUE.item(CT), CATALOGUE.institution(OWN).region)
    assert price is not None
    assert dict(tally.saved) == {OTHER: Decimal(price.amount)}


def test_an_item_without_a_price_is_said_and_not_estimated() -> None:
    item = next(item for item in CATALOGUE.items.values() if CATALOGUE.price(item, "500000") is None)
    tally = Tally(CATALOGUE, "month", "receiver")
    tally.add(check(shown("a", item.code)), [told("a", "accepted", 1)])
    assert (dict(tally.saved), dict(tally.unpriced)) == ({}, {"2026-11": {item.code}})


# what is hidden

PART_OF = {
    "on_record": "",
    "reminders": "on_record",
    "accepted": "reminders",
    "declined": "reminders",
    "declined:x": "declined",
    "declined:y": "declined",
    "without_feedback": "reminders",
    "not_reminded": "on_record",
    "viewed": "",
}
LEAVES = [column for column in PART_OF if column not in PART_OF.values()]
COUNT = st.one_of(st.sampled_from([0, 1, 1, 2, 4, 5]), st.integers(0, 40))


def whole(leaves: Mapping[str, int]) -> dict[str, int]:
    """A row with the sums of its parts."""
    row = dict(leaves)
    for column in reversed(PART_OF):
        if column not in row:
            row[column] = sum(row[part] for part, above in PART_OF.items() if above == column)
    return row


TABLES = st.dictionaries(
    st.sampled_from("abcd"), st.fixed_dictionaries(dict.fromkeys(LEAVES, COUNT)).map(whole), max_size=4
)


def cells(rows: Rows) -> dict[Cell, int]:
    """Every count, those of the totals too."""
    found: dict[Cell, int] = {(key, column): row[column] for key, row in rows.items() for column in PART_OF}
    for column in PART_OF:
        found[TOTAL, column] = sum(row[column] for row in rows.values())
    return found


class Attacker:
    """Knows what is shown, how columns and rows add up, and that no hidden count is 0."""

    def __init__(self, rows: Rows, hidden: frozenset[Cell]) -> None:
        self._true = cells(rows)
        lines = [*rows, TOTAL]
        sums: list[dict[Cell, int]] = []
        for column in PART_OF:
            sums.append({(TOTAL, column): 1, **{(key, column): -1 for key in rows}})
            parts = [part for part, above in PART_OF.items() if above == column]
            if parts:
                sums += [{(key, column): 1, **{(key, part): -1 for part in parts}} for key in lines]
        self._sums = [{c: sign for c, sign in one.items() if c in hidden} for one in sums]

    def another(self, cell: Cell) -> dict[Cell, int] | None:
        """Another table that fits what is shown and has another count in this cell: how it differs."""
        near, ahead = [cell], 0
        while ahead < len(near):  # the cells that hang together with this one
            for one in self._sums:
                if near[ahead] in one:
                    near += [further for further in one if further not in near]
            ahead += 1
        return self._try(near, {})

    def _try(self, near: list[Cell], differs: dict[Cell, int]) -> dict[Cell, int] | None:
        if len(differs) == len(near):
            return differs
        cell = near[len(differs)]
        for step in (0, 1, -1) if differs else (1, -1):
            tried = {**differs, cell: step}
            fits = self._true[cell] + step >= 1 and all(
                self._may_add_up(one, tried) for one in self._sums if cell in one
            )
            if fits and (found := self._try(near, tried)):
                return found
        return None

    def _may_add_up(self, one: dict[Cell, int], tried: dict[Cell, int]) -> bool:
        open_cells = sum(cell not in tried for cell in one)
        return abs(sum(sign * tried.get(cell, 0) for cell, sign in one.items())) <= open_cells


def test_the_attacker_finds_a_count_that_alone_is_hidden_in_its_row() -> None:
    row = whole(dict.fromkeys(LEAVES, 10) | {"accepted": 3})
    rows = {"a": row, "b": row}
    alone = frozenset(cell for cell, count in cells(rows).items() if 0 < count < 5)
    assert Attacker(rows, alone).another(("a", "accepted")) is None


@pytest.mark.slow
@given(TABLES)
@settings(max_examples=150)
def test_no_hidden_count_can_be_computed_from_what_is_shown(rows: Rows) -> None:
    hidden = hidden_cells(rows, PART_OF, 5)
    attacker = Attacker(rows, hidden)
    assert [cell for cell in hidden if attacker.another(cell) is None] == []


@given(TABLES, st.integers(5, 12))
@settings(max_examples=100)
def test_every_small_count_is_hidden_and_no_zero(rows: Rows, threshold: int) -> None:
    hidden, counts = hidden_cells(rows, PART_OF, threshold), cells(rows)
    assert {cell for cell, count in counts.items() if 0 < count < threshold} <= hidden
    assert all(counts[cell] for cell in hidden)


def test_nothing_is_hidden_where_nothing_is_small() -> None:
    rows = {key: whole(dict.fromkeys(LEAVES, 7)) for key in "abc"}
    assert hidden_cells(rows, PART_OF, 5) == frozenset()


def test_a_small_count_takes_the_smallest_of_its_row_and_column_with_it() -> None:
    rows = {key: whole(dict.fromkeys(LEAVES, 50)) for key in "abc"}
    rows["a"]["viewed"], rows["b"]["viewed"] = 2, 20
    assert hidden_cells(rows, PART_OF, 5) == {("a", "viewed"), ("b", "viewed")}


def test_what_is_hidden_helps_the_equation_that_lacks_it() -> None:
    rows = {
        "a": whole(dict.fromkeys(LEAVES, 0) | {"accepted": 2, "declined:x": 3, "without_feedback": 10}),
        "b": whole(dict.fromkeys(LEAVES, 0) | {"accepted": 12, "declined:x": 40}),
    }
    hidden = hidden_cells(rows, PART_OF, 5)
    assert ("b", "accepted") in hidden
    assert ("a", "without_feedback") not in hidden


def test_the_totals_that_are_hidden_do_not_hang_on_how_the_rows_are_cut() -> None:
    one = whole(dict.fromkeys(LEAVES, 0) | {"accepted": 3, "declined:x": 30})
    other = whole(dict.fromkeys(LEAVES, 0) | {"without_feedback": 20, "not_reminded": 50})
    both = {column: one[column] + other[column] for column in PART_OF}
    for rows in ({"a": one, "b": other}, {"all": both}):
        hidden = hidden_cells(rows, PART_OF, 5)
        assert {(TOTAL, "accepted"), (TOTAL, "without_feedback")} <= hidden


# over HTTP

ALBUMIN = "白蛋白"


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A gateway of its own, asked eleven times about one item: six accepted after a look, five set apart."""
    with gateway_over_source(tmp_path_factory.mktemp("asked")) as live:
        for number in range(11):
            accepted: list[dict[str, Any]] = [{"outcome": "viewed"}, {"outcome": "accepted"}]
            serial = [{"outcome": "declined", "system": "platform-A", "code": "99", "text": "慢性肝病"}]
            say(live, accepted if number < 6 else serial)
        yield live


def say(live: Live, outcomes: list[dict[str, Any]]) -> None:
    """Ask about albumin, and tell what was done about the result that is recognised."""
    his = live.client()
    answer = ask(his, body(ALBUMIN))
    result = next(v.result.id for v in answer.verdicts if v.verdict == "recognised")
    for outcome in outcomes:
        sent = his.post(f"/api/v1/checks/{answer.id}/outcomes", json={"result": result} | outcome)
        assert sent.status_code == 200, sent.text


def today() -> str:
    return datetime.now(SHANGHAI).date().isoformat()


def read(live: Live, client: str = "auditor", **query: str) -> httpx.Response:
    given = {"from": today(), "to": today(), "by": "item"} | query
    return live.client(client).get("/api/v1/statistics", params=given)


def table(response: httpx.Response) -> Statistics:
    assert response.status_code == 200, response.text
    return msgspec.json.decode(response.content, type=Statistics)


def test_what_is_not_small_is_shown(asked: Live) -> None:
    found = table(read(asked))
    counts = found.total.counts
    assert {row.key: row.counts for row in found.rows} == {ALB: counts}
    assert {name: count for name, count in counts.items() if count} == {
        "on_record": 11,
        "reminders": 11,
        "accepted": 6,
        "set_apart": 5,
        "viewed": 6,
    }


def test_a_code_that_is_no_refusal_is_kept_apart_from_refusals(asked: Live) -> None:
    found = table(read(asked)).total
    (reason,) = found.reasons
    assert (reason.system, reason.code, reason.counts_as_refusal, reason.count) == (
        "platform-A",
        "99",
        False,
        5,
    )
    assert found.counts["declined"] == 0


def test_what_is_small_is_hidden_with_what_would_tell_it(asked: Live) -> None:
    found = table(read(asked, threshold="6"))
    hidden = {name for name, count in found.total.counts.items() if count is None}
    assert hidden == {"accepted", "set_apart"}
    assert found.total.reasons[0].count is None


def test_nothing_else_tells_a_hidden_count(asked: Live) -> None:
    found = table(read(asked, threshold="6"))
    for row in (*found.rows, found.total):
        assert {rate.undefined for rate in row.rates} == {"hidden"}
    assert found.rows[0].saving is None
    assert found.total.saving is not None
    assert (found.total.saving.yuan, found.total.saving.rows_hidden) == ("0.00", 1)


def test_the_three_rates_differ_in_their_denominator_and_name_it(asked: Live) -> None:
    found = table(read(asked))
    assert [(rate.id, rate.numerator, rate.denominator, rate.decimal) for rate in found.total.rates] == [
        ("accepted_of_reminders", 6, 11, "0.5455"),
        ("accepted_of_viewed", 6, 6, "1.0000"),
        ("accepted_of_on_record", 6, 11, "0.5455"),
    ]
    assert len({rate.name_zh for rate in found.definitions.rates}) == 3
    assert all(rate.source and rate.denominator_zh for rate in found.definitions.rates)


def test_a_rate_over_nothing_is_undefined_and_not_0(asked: Live) -> None:
    found = table(read(asked, **{"from": "2020-01-01", "to": "2020-01-31"}))
    assert found.rows == ()
    assert {(rate.denominator, rate.decimal, rate.undefined) for rate in found.total.rates} == {
        (0, None, "empty_denominator")
    }


def test_the_saving_is_the_listed_price_of_what_was_accepted_and_says_it_is_an_estimate(asked: Live) -> None:
    found = table(read(asked))
    price = CATALOGUE.price(CATALOGUE.item(ALB), CATALOGUE.institution(OWN).region)
    assert price is not None
    assert found.total.saving is not None
    assert Decimal(found.total.saving.yuan) == 6 * price.amount
    assert found.definitions.saving.sources == (price.source,)
    assert "估算" in found.definitions.saving.zh


def test_a_period_longer_than_a_page_is_counted_to_its_last_moment_and_no_further(asked: Live) -> None:
    """Checks of other days, kept as the gateway keeps them: 250 in one day, and one at the next midnight."""
    midnight = datetime(2025, 6, 1, tzinfo=SHANGHAI)
    moments = [midnight - timedelta(microseconds=1 + number) for number in range(250)]
    documents = []
    for moment in (*moments, midnight):
        one = check(shown("a"), at=moment)
        kept = Document(kind="check", id=new_id(moment), body=msgspec.json.encode(one), at=moment)
        documents.append(kept)
    reading(asked, lambda store: store.commit([], documents))
    found = table(read(asked, by="day", **{"from": "2025-05-31", "to": "2025-05-31"}))
    assert [(row.key, row.counts["reminders"]) for row in found.rows] == [("2025-05-31", 250)]


def test_by_reason_there_is_a_row_for_each_reason_and_no_rate(asked: Live) -> None:
    found = table(read(asked, by="reason"))
    assert [(row.key, row.counts["set_apart"], row.rates, row.saving) for row in found.rows] == [
        ("platform-A:99", 5, (), None)
    ]


def test_reminders_at_reception_are_counted_apart(asked: Live) -> None:
    before = table(read(asked)).total.counts["reminders"]
    for number in range(5):  # small counts are hidden
        visit = body(request_id=f"visit-{number}", moment="reception")
        del visit["planned"]
        assert asked.client().post("/api/v1/reminders", json=visit).status_code == 200
    assert table(read(asked)).total.counts["reminders"] == before
    found = table(read(asked, moment="reception"))
    assert (found.moment, found.total.counts["reminders"]) == ("reception", 5)


def test_a_hospital_reads_its_own(asked: Live) -> None:
    found = table(read(asked, "his"))
    assert (found.institution, found.total.counts["reminders"]) == (OWN, 11)


def test_a_hospital_does_not_read_what_another_asked(asked: Live) -> None:
    assert table(read(asked, "other")).rows == ()


def test_an_auditor_reads_everything_also_with_an_institution_of_its_own(asked: Live) -> None:
    assert table(read(asked, "reader")).institution == ""


@pytest.mark.parametrize(("client", "status"), [("", 401), ("peer", 403), ("nobody", 403)])
def test_who_may_not_read_is_refused(asked: Live, client: str, status: int) -> None:
    assert read(asked, client).status_code == status


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"from": "yesterday"}, "from"),
        ({"from": "2026-02-30"}, "from"),
        ({"to": "2026-11-20T00:00:00"}, "to"),
        ({"to": "1999-12-31"}, "to"),
        ({"from": "2100-01-01"}, "to"),
        ({"by": "doctor"}, "by"),
        ({"side": "both"}, "side"),
        ({"moment": "discharge"}, "moment"),
        ({"threshold": "4"}, "threshold"),
        ({"threshold": "-9"}, "threshold"),
        ({"institution": OTHER}, "institution"),
    ],
)
def test_a_wrong_parameter_is_named(asked: Live, query: dict[str, str], field: str) -> None:
    response = read(asked, **query)
    assert (response.status_code, response.json()["field"]) == (422, field)


def test_a_refused_reading_leaves_nothing_behind(asked: Live) -> None:
    before = asked.kept()
    read(asked, by="doctor")
    assert asked.kept() == before


def test_reading_statistics_is_recorded_in_the_ledger(asked: Live, tmp_path: Path) -> None:
    before = asked.kept()[0]
    read(asked)
    assert asked.kept()[0] == before + 1
    assert audit(asked, tmp_path) == []
    assert b'"type":"view"' in b"".join(f.read_bytes() for f in (tmp_path / "tile").rglob("*") if f.is_file())


def test_csv_has_the_same_counts(asked: Live) -> None:
    client = asked.client("auditor")
    given = {"from": today(), "to": today(), "by": "item"}
    response = client.get("/api/v1/statistics", params=given, headers={"Accept": "text/csv"})
    assert response.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(response.text)))
    assert [(row["item"], row["reminders"], row["set_apart:platform-A:99"]) for row in rows] == [
        (ALB, "11", "5"),
        ("total", "11", "5"),
    ]


# on the command line


@pytest.fixture
def token(asked: Live, tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(asked.tokens["auditor"])
    return file


def printed(asked: Live, token: Path, *words: str) -> str:
    given = ["--from", today(), "--to", today(), "--gateway", asked.url, "--token-file", str(token)]
    done = CliRunner().invoke(app, ["statistics", *given, *words])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_command_prints_rows_rates_and_where_they_come_from(asked: Live, token: Path) -> None:
    text = printed(asked, token, "--by", "item")
    assert "同期互认率 accepted among reminders: 6 ÷ 11 = 0.5455" in text
    assert "Dy.MedicalRecognition" in text
    assert "预计节省 estimated saving" in text


def test_the_command_prints_a_star_for_what_is_hidden(asked: Live, token: Path) -> None:
    lines = printed(asked, token, "--by", "item", "--threshold", "6").splitlines()
    assert next(line for line in lines if line.startswith(ALB)).split().count("*") == 2


def test_the_command_prints_json_and_csv_for_machines(asked: Live, token: Path) -> None:
    found = msgspec.json.decode(printed(asked, token, "--json"), type=Statistics)
    assert found.total.counts["reminders"] == 11
    assert printed(asked, token, "--csv").startswith("institution,name,on_record,")


def test_the_command_says_what_the_gateway_refused(asked: Live, token: Path) -> None:
    given = ["--from", today(), "--to", today(), "--gateway", asked.url, "--token-file", str(token)]
    done = CliRunner().invoke(app, ["statistics", *given, "--by", "doctor"])
    assert "422 bad-request" in str(done.exception)


# the page


def test_every_count_and_rate_is_documented_as_it_is_defined() -> None:
    page = ROOT / "docs/statistics.md"
    assert documented(page, "## What is counted") == [
        (count.id, count.name_zh, count.words_en, count.part_of or "–") for count in COUNTS
    ]
    assert documented(page, "## The three rates") == [
        (rate.id, rate.name_zh, f"{' + '.join(rate.numerator)} ÷ {' + '.join(rate.denominator)}", rate.source)
        for rate in RATES
    ]


def test_every_column_of_evaluation_results_is_documented() -> None:
    rows = documented(ROOT / "docs/statistics.md", "## From evaluation results to qualifications")
    assert [column for column, _ in rows] == list(Event.__struct_fields__)
