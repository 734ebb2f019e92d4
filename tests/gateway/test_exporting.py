"""What leaves the house for an auditor: the ledger or one decision, by a selection, and never unrecorded."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from adapters.store import Store
from gateway.audit.exporting import export_ledger, pins_of
from gateway.audit.proving import prove_decision
from gateway.errors import NotFound
from gateway.keyring import open_keys
from gateway.model import CheckAnswer
from security import export, proof_file
from security.audit import AuditReport, Pinned, verify_export
from security.export import Disclosure, MarkClaim, Selection
from security.ledger import Entry, read_entry
from tests.gateway.live import OTHER, OWN, PATIENT, Live, ask, body, gateway_over_source, persons_in, reading


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A gateway that answered one institution, and then another one."""
    with gateway_over_source(tmp_path_factory.mktemp("live")) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def answers(live: Live) -> list[CheckAnswer]:
    """The answer to the own institution, which has a mark, and that to the other one."""
    return [ask(live.client("his"), body()), ask(live.client("other"), body("血钾"))]


def exported(live: Live, folder: Path, *, disclose: bool = True, **selection: object) -> AuditReport:
    """The audit of an export by these words of a selection."""
    chosen = Selection(**selection)  # type: ignore[arg-type]
    asyncio.run(export_ledger(live.settings, folder, disclose=disclose, selection=chosen))
    pins = msgspec.json.decode((folder / "pinned.json").read_bytes(), type=Pinned)
    return verify_export(folder, pins)


def disclosed(folder: Path) -> list[bytes]:
    """The payloads that an export discloses."""
    lines = (folder / export.SECRETS).read_bytes().splitlines()
    return [msgspec.json.decode(line, type=Disclosure).payload for line in lines]


def newest_entry(live: Live) -> tuple[Entry, bytes]:
    """The newest entry of the ledger and its payload."""

    async def work(store: Store) -> tuple[Entry, bytes]:
        (found,) = await store.entries((await store.head()).size - 1, 1)
        secret = await store.secret(read_entry(found).commit)
        assert secret
        return read_entry(found), secret.payload

    return reading(live, work)


def test_a_whole_export_passes_the_audit(live: Live, answers: list[CheckAnswer], tmp_path: Path) -> None:
    report = exported(live, tmp_path)
    assert report.passed, report


def test_nobody_else_on_the_machine_reads_an_export(
    live: Live, answers: list[CheckAnswer], tmp_path: Path
) -> None:
    exported(live, tmp_path / "export")
    assert (tmp_path / "export").stat().st_mode & 0o777 == 0o700


def test_an_export_without_disclosure_holds_marks_alone(
    live: Live, answers: list[CheckAnswer], tmp_path: Path
) -> None:
    report = exported(live, tmp_path, disclose=False)
    assert (report.passed, disclosed(tmp_path)) == (True, [])
    assert (tmp_path / export.MARKS).read_bytes()


def test_an_export_is_itself_the_newest_entry_that_it_holds(
    live: Live, answers: list[CheckAnswer], tmp_path: Path
) -> None:
    asyncio.run(export_ledger(live.settings, tmp_path, disclose=True, recipient="court-7"))
    entry, payload = newest_entry(live)
    assert (entry.type, entry.to) == ("export", "court-7")
    assert disclosed(tmp_path)[-1] == payload


def test_what_an_export_selected_is_written_into_the_ledger(
    live: Live, answers: list[CheckAnswer], tmp_path: Path
) -> None:
    exported(live, tmp_path, institution=OWN)
    _, payload = newest_entry(live)
    assert msgspec.json.decode(payload)["selection"]["institution"] == OWN


def test_one_decision_alone_is_disclosed(live: Live, answers: list[CheckAnswer], tmp_path: Path) -> None:
    report = exported(live, tmp_path, decision=answers[0].id)
    assert report.passed, report
    told = [payload for payload in disclosed(tmp_path) if payload.startswith(b"{")]
    checks = {msgspec.json.decode(payload).get("check", answers[0].id) for payload in told}
    assert checks == {answers[0].id}
    assert any(b'"verdicts"' in payload for payload in told)


def test_the_marks_of_a_decision_come_with_it(live: Live, answers: list[CheckAnswer], tmp_path: Path) -> None:
    exported(live, tmp_path, decision=answers[0].id)
    lines = (tmp_path / export.MARKS).read_bytes().splitlines()
    signed = {msgspec.json.decode(line, type=MarkClaim).mark for line in lines}
    assert signed == {v.mark.signed for v in answers[0].verdicts if v.mark and v.mark.signed}


def test_the_exchanges_of_one_institution_alone_are_disclosed(
    live: Live, answers: list[CheckAnswer], tmp_path: Path
) -> None:
    report = exported(live, tmp_path, institution=OTHER)
    assert report.passed, report
    told = disclosed(tmp_path)
    receivers = {msgspec.json.decode(payload).get("receiver", OTHER) for payload in told}
    assert (bool(told), receivers) == (True, {OTHER})


@pytest.mark.parametrize(("hours", "some"), [(-1, True), (1, False)])
def test_what_came_before_a_time_is_not_disclosed(
    live: Live, answers: list[CheckAnswer], tmp_path: Path, hours: int, some: bool
) -> None:
    report = exported(live, tmp_path, from_=datetime.now(UTC) + timedelta(hours=hours))
    assert (report.passed, bool(disclosed(tmp_path))) == (True, some)


def test_the_manifest_states_the_selection(live: Live, answers: list[CheckAnswer], tmp_path: Path) -> None:
    exported(live, tmp_path, institution=OTHER)
    manifest = msgspec.json.decode((tmp_path / export.MANIFEST).read_bytes(), type=export.Manifest)
    assert manifest.selection == Selection(institution=OTHER)


def test_an_unknown_decision_is_not_exported(live: Live, answers: list[CheckAnswer], tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no decision"):
        exported(live, tmp_path / "none", decision="f" * 32)
    assert not (tmp_path / "none").exists()


def test_no_export_holds_a_persons_number(live: Live, answers: list[CheckAnswer], tmp_path: Path) -> None:
    exported(live, tmp_path)
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert not [file.name for file in files if PATIENT.encode() in file.read_bytes()]


# Evidence of one decision


@pytest.fixture(scope="module")
def evidence(live: Live, answers: list[CheckAnswer]) -> bytes:
    """The evidence file of the decision for the own institution."""
    return asyncio.run(prove_decision(live.settings, answers[0].id, "court-7"))


def test_the_evidence_of_a_decision_passes_by_the_pins_alone(live: Live, evidence: bytes) -> None:
    report = proof_file.verify(evidence, pins_of(open_keys(live.settings), live.settings))
    assert report.passed, report
    assert [check.state for check in report.checks] == ["passed", "passed", "not_made", *["passed"] * 3]


def test_the_evidence_holds_the_question_the_verdict_and_the_marks(
    evidence: bytes, answers: list[CheckAnswer]
) -> None:
    found = proof_file.read(evidence)
    types = [read_entry(piece.body.encode()).type for piece in found.entries]
    assert {"question", "answer", "verdict", "mark"} <= set(types)
    assert set(found.marks) == {v.mark.signed for v in answers[0].verdicts if v.mark and v.mark.signed}


def test_the_evidence_names_no_person(evidence: bytes) -> None:
    assert persons_in(evidence.decode()) == []


def test_handing_out_evidence_is_recorded_and_bound_to_the_verdict(
    live: Live, answers: list[CheckAnswer]
) -> None:
    asyncio.run(prove_decision(live.settings, answers[1].id, "court-8"))
    entry, _ = newest_entry(live)
    assert (entry.type, entry.to, entry.binds) == ("export", "court-8", answers[1].ledger.entry)


def test_there_is_no_evidence_of_an_unknown_decision(live: Live) -> None:
    with pytest.raises(NotFound, match="no decision"):
        asyncio.run(prove_decision(live.settings, "f" * 32))


@pytest.mark.slow
def test_the_evidence_says_that_a_cited_mark_was_withdrawn_later(tmp_path: Path) -> None:
    with gateway_over_source(tmp_path) as live:
        answer = ask(live.client("his"), body())
        mark = next(v.mark.id for v in answer.verdicts if v.mark and v.mark.signed)
        told = live.client("steward").post(f"/api/v1/marks/{mark}/withdrawal", json={"reason": "amended"})
        assert told.status_code == 200, told.text
        found = asyncio.run(prove_decision(live.settings, answer.id))
        report = proof_file.verify(found, pins_of(open_keys(live.settings), live.settings))
    assert report.passed, report
    assert f"withdrawn since: {mark}" in report.checks[3].en
