"""Explain: a stored decision replayed, under other rules or at another time; a hypothetical one; who may."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from typer.testing import CliRunner

from catalog import BUNDLED
from gateway.cli import app
from gateway.commands.explaining import LOOKED
from gateway.explaining import ExplainAnswer
from gateway.hypothetical import ResultIn
from gateway.ids import new_id
from gateway.model import CheckAnswer
from recognition import Result
from tests.gateway.live import NODE, OTHER, OWN, Live, ask, body, gateway_with, source_of, started
from tests.recognition.cases import ALBUMIN, NOW

EXPLAIN = "/api/v1/explain"
RESULT: dict[str, Any] = {
    "id": "r1",
    "kind": "lab",
    "institution": "EX-HB-01",
    "local_name": "白蛋白",
    "specimen": "血清",
    "performed": "2026-11-15T08:00:00+08:00",
    "reported": "2026-11-15T10:00:00+08:00",
    "value": "41.2",
    "unit": "g/L",
    "mark": {"scope": "CN", "printed": "全国HR", "state": "valid"},
}
LATER = {"kind": "operation", "at": "2026-11-21T10:00:00+08:00"}
HYPOTHETICAL: dict[str, Any] = {
    "check": {"receiver": OWN, "planned": [ALBUMIN]},
    "results": [RESULT],
    "at": "2026-11-20T10:00:00+08:00",
}


@pytest.fixture
def answer(his: httpx.Client) -> CheckAnswer:
    return ask(his, body())


def explained(client: httpx.Client, **asked: Any) -> ExplainAnswer:
    response = client.post(EXPLAIN, json=asked)
    assert response.status_code == 200, response.text
    return msgspec.json.decode(response.content, type=ExplainAnswer)


def refused(client: httpx.Client, asked: dict[str, Any]) -> tuple[int, str]:
    response = client.post(EXPLAIN, json=asked)
    return response.status_code, response.json()["field"]


# a stored decision


def test_a_stored_decision_comes_out_identical(his: httpx.Client, answer: CheckAnswer) -> None:
    found = explained(his, id=answer.id)
    assert found.stored is not None
    assert (found.stored.identical, found.stored.verdicts, found.stored.orders) == (True, (), ())
    assert (found.id, found.at, found.catalogue.version) == (
        answer.id,
        answer.answered_at,
        answer.catalogue.version,
    )


def test_every_step_of_every_verdict_is_shown(his: httpx.Client, answer: CheckAnswer) -> None:
    traces = explained(his, id=answer.id).explanation.traces
    assert [trace.verdict for trace in traces] == [verdict.verdict for verdict in answer.verdicts]
    assert [step.number for step in traces[0].steps] == list(range(1, 10))


def test_codes_are_named(his: httpx.Client, answer: CheckAnswer) -> None:
    names = explained(his, id=answer.id).names
    assert names[OWN] == answer.receiver.name
    assert answer.verdicts[0].item is not None
    assert names[answer.verdicts[0].item.code] == answer.verdicts[0].item.name


def test_at_a_later_time_it_says_what_differs(his: httpx.Client, answer: CheckAnswer) -> None:
    later = (answer.answered_at + timedelta(days=60)).isoformat()
    stored = explained(his, id=answer.id, at=later).stored
    assert stored is not None
    (difference,) = stored.verdicts
    assert (difference.stored and difference.stored.verdict) == "recognised"
    assert (difference.now and (difference.now.verdict, difference.now.rules[0])) == (
        "not_recognised",
        "R7.1",
    )
    assert [(order.stored, order.now) for order in stored.orders] == [((), (ALBUMIN,))]
    assert not stored.identical


def test_reading_a_stored_decision_is_an_entry_of_the_ledger(
    gateway: Live, his: httpx.Client, answer: CheckAnswer
) -> None:
    before = gateway.kept()
    found = explained(his, id=answer.id)
    assert gateway.kept() == (before[0] + 1, before[1], before[2])
    assert found.ledger is not None
    assert found.ledger.index == before[0]


@pytest.mark.parametrize("reader", ["auditor", "reader", "steward"])
def test_auditors_and_stewards_may_have_every_decision_explained(
    gateway: Live, answer: CheckAnswer, reader: str
) -> None:
    assert explained(gateway.client(reader), id=answer.id).id == answer.id


def test_another_institution_learns_nothing_of_a_decision(gateway: Live, answer: CheckAnswer) -> None:
    before = gateway.kept()
    there = gateway.client("other")
    assert refused(there, {"id": answer.id}) == refused(there, {"id": new_id(NOW)}) == (404, "id")
    assert gateway.kept() == before


def test_a_gateway_is_explained_nothing(gateway: Live, answer: CheckAnswer) -> None:
    assert gateway.client("peer").post(EXPLAIN, json={"id": answer.id}).status_code == 403


def test_a_version_that_was_never_published_is_refused_with_those_that_were(
    his: httpx.Client, answer: CheckAnswer
) -> None:
    response = his.post(EXPLAIN, json={"id": answer.id, "catalogue": "1999"})
    assert (response.status_code, response.json()["field"]) == (422, "catalogue")
    assert answer.catalogue.version in response.json()["detail"]


def test_editions_that_are_no_catalogue_together_are_the_callers_fault(
    his: httpx.Client, answer: CheckAnswer
) -> None:
    version = answer.catalogue.version
    label = f"cy-lab@{version}+lab8-lab@{version}"
    assert refused(his, {"id": answer.id, "catalogue": label}) == (422, "catalogue")


def test_results_are_not_taken_beside_a_stored_decision(his: httpx.Client, answer: CheckAnswer) -> None:
    assert refused(his, {"id": answer.id, "results": [RESULT]}) == (422, "results")


@pytest.fixture
def republished(tmp_path: Path) -> Iterator[tuple[Live, CheckAnswer]]:
    """A gateway that was started again with windows of one day, and an answer from before."""
    folder = tmp_path / "catalogue"
    shutil.copytree(BUNDLED, folder)
    with source_of(tmp_path) as (url, _):
        fhir = {"id": NODE, "kind": "fhir", "url": url, "institution": OWN, "timeout_ms": 7000}
        with gateway_with(tmp_path, [fhir], catalogue=folder) as live:
            answer = ask(live.client(), body())
            live.stop()
        windows, head = folder / "cy-lab/windows.csv", folder / "cy-lab/catalogue.toml"
        windows.write_text(windows.read_text().replace(f"{ALBUMIN},30,", f"{ALBUMIN},1,"))
        head.write_text(head.read_text().replace("2026.11-illustrative", "2027.01-trial"))
        with started(live.settings, live.tokens) as again:
            yield again, answer


def test_under_another_version_it_says_what_differs(republished: tuple[Live, CheckAnswer]) -> None:
    live, answer = republished
    found = explained(live.client(), id=answer.id, catalogue="cy-lab@2027.01-trial")
    assert found.stored is not None
    assert "cy-lab@2027.01-trial" in found.catalogue.version
    assert (found.stored.catalogue, found.stored.identical) == (answer.catalogue.version, False)
    (difference,) = found.stored.verdicts
    assert (difference.now and difference.now.rules) == ("R7.1",)


def test_a_decision_of_a_superseded_version_still_comes_out_identical(
    republished: tuple[Live, CheckAnswer],
) -> None:
    live, answer = republished
    stored = explained(live.client(), id=answer.id).stored
    assert stored is not None
    assert stored.identical


# a hypothetical one


def test_a_hypothetical_result_is_decided_and_explained(his: httpx.Client) -> None:
    found = explained(his, **HYPOTHETICAL)
    (verdict,) = found.explanation.decision.verdicts
    assert (verdict.item, verdict.verdict, verdict.reasons[0].rule) == (ALBUMIN, "recognised", "R0.1")
    assert (found.id, found.stored, found.ledger) == ("", None, None)


def test_the_context_of_a_hypothetical_check_counts(his: httpx.Client) -> None:
    asked = HYPOTHETICAL | {"check": HYPOTHETICAL["check"] | {"context": {"pre_transfusion": True}}}
    (verdict,) = explained(his, **asked).explanation.decision.verdicts
    assert verdict.reasons[0].rule == "N3b"


def test_a_reading_that_is_given_is_taken_for_the_name(his: httpx.Client) -> None:
    unread = RESULT | {"reading": {"reason": "ambiguous"}}
    (verdict,) = explained(his, **HYPOTHETICAL | {"results": [unread]}).explanation.decision.verdicts
    assert verdict.reasons[0].rule == "R2.1"


def test_a_hypothetical_check_leaves_nothing_behind(gateway: Live, his: httpx.Client) -> None:
    before = gateway.kept()
    explained(his, **HYPOTHETICAL)
    assert gateway.kept() == before


def test_a_panel_is_planned_by_its_code(his: httpx.Client) -> None:
    asked = HYPOTHETICAL | {"check": {"receiver": OWN, "planned": ["LFT"]}}
    (advice,) = explained(his, **asked).explanation.decision.advice
    assert (advice.panel, advice.served, len(advice.to_order)) == ("LFT", (ALBUMIN,), 11)


def test_the_receiver_is_the_clients_institution_if_left_out(his: httpx.Client) -> None:
    asked = HYPOTHETICAL | {"check": {"planned": [ALBUMIN]}}
    assert explained(his, **asked).receiver.code == OWN


def test_a_hospital_asks_for_itself_alone(gateway: Live, his: httpx.Client) -> None:
    asked = HYPOTHETICAL | {"check": {"receiver": OTHER, "planned": [ALBUMIN]}}
    assert his.post(EXPLAIN, json=asked).status_code == 403
    assert explained(gateway.client("steward"), **asked).receiver.code == OTHER


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"id": "0" * 32}, "id"),
        ({"check": None}, "id"),
        ({"check": {"receiver": OWN, "planned": [ALBUMIN, "CT-999"]}}, "check.planned[1]"),
        ({"check": {"receiver": OWN, "planned": []}}, "check.planned"),
        ({"results": [RESULT, RESULT]}, "results[1].id"),
        ({"results": [RESULT | {"patient": "x"}]}, "results[0].patient"),
        ({"results": [RESULT | {"mark": {"scope": "CN"}}]}, "results[0].mark.printed"),
        ({"results": [RESULT | {"performed": "2026-11-15T08:00:00"}]}, "results[0].performed"),
        ({"results": [RESULT | {"reported": "9999-12-31T23:59:59Z"}]}, "results[0].reported"),
        ({"at": "0001-01-01T00:00:00+14:00"}, "at"),
        ({"at": "1950-01-01T00:00:00+08:00"}, "at"),
        ({"check": {"planned": [ALBUMIN], "context": {"events": [LATER]}}}, "check.context.events[0].at"),
        ({"catalogue": "1999"}, "catalogue"),
    ],
)
def test_what_is_wrong_with_a_hypothetical_check_is_named(
    his: httpx.Client, changes: dict[str, Any], field: str
) -> None:
    assert refused(his, HYPOTHETICAL | changes) == (422, field)


def test_an_institution_that_no_catalogue_has_is_refused(gateway: Live) -> None:
    asked = HYPOTHETICAL | {"check": {"receiver": "EX-XX-99", "planned": [ALBUMIN]}}
    response = gateway.client("auditor").post(EXPLAIN, json=asked)
    assert (response.status_code, response.json()["code"]) == (422, "unknown-entry")


def test_a_hypothetical_result_has_the_fields_of_a_result() -> None:
    assert set(ResultIn.__struct_fields__) == set(Result.__struct_fields__)


# the command


def test_what_the_steps_look_at_has_a_name_in_chinese(his: httpx.Client) -> None:
    steps = [step for trace in explained(his, **HYPOTHETICAL).explanation.traces for step in trace.steps]
    assert {name for step in steps for name in step.looked} <= LOOKED.keys()


def lianren(gateway: Live, folder: Path, *words: str, client: str = "his") -> tuple[int, str]:
    (folder / "token").write_text(gateway.tokens[client])
    told = ["explain", *words, "--gateway", gateway.url, "--token-file", str(folder / "token")]
    done = CliRunner().invoke(app, told)
    return done.exit_code, done.stdout + done.stderr


def test_the_command_shows_the_steps_of_a_stored_decision_and_that_it_is_the_same(
    gateway: Live, answer: CheckAnswer, tmp_path: Path
) -> None:
    status, said = lianren(gateway, tmp_path, answer.id)
    assert status == 0
    assert "重放结果逐字节一致 replayed: identical to the byte" in said
    assert "时限 window" in said


def test_the_command_ends_with_1_where_the_decision_comes_out_otherwise(
    gateway: Live, answer: CheckAnswer, tmp_path: Path
) -> None:
    later = (answer.answered_at + timedelta(days=60)).isoformat()
    status, said = lianren(gateway, tmp_path, answer.id, "--at", later)
    assert status == 1
    assert "✓ 可互认 recognised R0.1" in said
    assert "✗ 不予互认 not recognised R7.1" in said


def test_the_command_reads_a_hypothetical_check_and_prints_json(gateway: Live, tmp_path: Path) -> None:
    (tmp_path / "check.json").write_text(json.dumps(HYPOTHETICAL), encoding="utf-8")
    status, said = lianren(gateway, tmp_path, str(tmp_path / "check.json"), "--json")
    assert status == 0
    assert json.loads(said)["explanation"]["decision"]["verdicts"][0]["verdict"] == "recognised"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("nowhere.json",), "cannot be read"),
        (("0" * 32,), "404 not-found"),
        (("0" * 32, "--at", "yesterday"), "is no time"),
        (("0" * 32, "--at", "2026-11-22T08:00:00"), "has no time zone"),
    ],
)
def test_the_command_says_in_a_line_what_is_wrong(
    gateway: Live, tmp_path: Path, words: tuple[str, ...], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "token").write_text(gateway.tokens["his"])
    done = CliRunner().invoke(
        app, ["explain", *words, "--gateway", gateway.url, "--token-file", str(tmp_path / "token")]
    )
    assert told in str(done.exception)
