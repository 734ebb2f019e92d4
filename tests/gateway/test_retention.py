"""What is erased when it is due, or when asked for, and what stays: on a running gateway's own store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from typer.testing import CliRunner

from adapters.store import Store
from gateway.audit.retention import Daily, Erased, Retention
from gateway.commands.erasing import erase
from gateway.errors import NotFound, SettingsError
from gateway.keyring import open_keys
from gateway.model import CheckAnswer
from gateway.persons.pseudonyms import Persons
from gateway.settings import load_settings
from gateway.wiring import open_ledger
from gateway.witness.cosigning import log_name
from security.identity import identifier
from security.ledger import read_entry, seal
from security.note import hash_of
from tests.gateway.live import (
    NODE,
    OWN,
    PATIENT,
    STRANGER,
    Live,
    ask,
    audit,
    body,
    gateway_with,
    reading,
    source_of,
)
from tests.gateway.publishing import config_of

pytestmark = pytest.mark.slow

T = TypeVar("T")
DAY = timedelta(days=1)
NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with source_of(tmp_path_factory.mktemp("source")) as (url, _):
        yield {"id": NODE, "kind": "fhir", "url": url, "institution": OWN, "timeout_ms": 7000}


@pytest.fixture
def live(tmp_path: Path, node: dict[str, Any]) -> Iterator[Live]:
    days = {"copies_days": 2, "access_days": 180, "decisions_days": 200, "cited_days": 300}
    with gateway_with(tmp_path, [node], retention=days) as running:
        yield running


def retaining(live: Live, work: Callable[[Retention], Awaitable[T]]) -> T:
    """What the retention does, beside the running gateway."""

    async def run() -> T:
        async with open_ledger(live.settings, open_keys(live.settings)) as sequencer:
            await sequencer.start()
            return await work(Retention(live.settings.retention, live.settings.owner, sequencer))

    return asyncio.run(run())


def outcome(live: Live, answer: CheckAnswer, code: str) -> None:
    sent = {"result": answer.verdicts[0].result.id, "outcome": code}
    assert live.client().post(f"/api/v1/checks/{answer.id}/outcomes", json=sent).status_code == 200


def left(live: Live) -> list[str]:
    """The types of the entries whose payload is still there, in the order of the ledger."""

    async def read(store: Store) -> list[str]:
        bodies = await store.entries(0, 10_000)
        return [read_entry(bodies[index]).type for index, _, _ in await store.secrets(0, 10_000)]

    return [kind for kind in reading(live, read) if kind not in ("keys", "catalogue", "erasure")]


def documents(live: Live, kind: str) -> int:
    async def read(store: Store) -> int:
        return len(await store.documents(kind, limit=10_000))

    return reading(live, read)


def erasures(live: Live) -> list[dict[str, Any]]:
    """The payloads of the entries of type erasure."""

    async def read(store: Store) -> list[dict[str, Any]]:
        bodies = await store.entries(0, 10_000)
        return [
            msgspec.json.decode(secret.payload)
            for index, _, secret in await store.secrets(0, 10_000)
            if read_entry(bodies[index]).type == "erasure"
        ]

    return reading(live, read)


def test_what_is_not_due_yet_is_kept_and_nothing_is_said(live: Live) -> None:
    ask(live.client(), body())
    assert retaining(live, lambda retention: retention.expire(NOW)) == Erased()
    assert erasures(live) == []


def test_each_class_is_erased_when_it_is_due(live: Live, tmp_path: Path) -> None:
    outcome(live, ask(live.client(), body()), "accepted")
    days = live.settings.retention
    assert left(live) == ["question", "answer", "mark", "verdict", "outcome"]
    assert documents(live, "facts") > 0

    retaining(live, lambda retention: retention.expire(NOW + (days.copies_days + 1) * DAY))
    assert left(live) == ["question", "answer", "mark", "verdict", "outcome"]
    assert [documents(live, kind) for kind in ("case", "facts", "check", "outcome")] == [0, 0, 1, 1]

    retaining(live, lambda retention: retention.expire(NOW + (days.access_days + 1) * DAY))
    assert left(live) == ["mark", "verdict", "outcome"]

    retaining(live, lambda retention: retention.expire(NOW + (days.decisions_days + 1) * DAY))
    assert left(live) == ["mark"]
    assert [documents(live, kind) for kind in ("check", "outcome", "recognised")] == [0, 0, 0]
    assert [said["class"] for said in erasures(live)] == ["copies", "access", "decisions"]
    assert audit(live, tmp_path / "export") == []


def test_what_is_cited_in_a_record_is_kept_whole_for_as_long_as_the_record(live: Live) -> None:
    outcome(live, ask(live.client(), body()), "cited")
    ask(live.client(), body())
    days = live.settings.retention
    retaining(live, lambda retention: retention.expire(NOW + (days.decisions_days + 1) * DAY))
    assert sorted(left(live)) == ["answer", "mark", "outcome", "question", "verdict"]
    assert documents(live, "check") == 1
    retaining(live, lambda retention: retention.expire(NOW + (days.cited_days + 1) * DAY))
    assert left(live) == ["mark"]
    assert documents(live, "check") == 0


def test_a_second_run_finds_nothing_more_to_do(live: Live) -> None:
    ask(live.client(), body())
    late = NOW + 400 * DAY
    assert retaining(live, lambda retention: retention.expire(late)).entries == 3
    assert retaining(live, lambda retention: retention.expire(late)).entries == 0


def test_what_is_cited_is_never_erased_before_what_is_not(live: Live, tmp_path: Path) -> None:
    config = config_of(live, tmp_path)
    with config.open("a", encoding="utf-8") as file:
        file.write("[retention]\ncited_days = 400\n")
    with pytest.raises(SettingsError, match="cited_days"):
        load_settings(config)


def test_what_is_cited_while_a_run_goes_on_is_kept(live: Live) -> None:
    answers = [ask(live.client(), body()) for _ in range(80)]  # more than a page of entries

    async def cite(retention: Retention) -> Erased:
        def progress(done: int, of: int) -> None:
            if done < of:
                outcome(live, answers[-1], "cited")

        person = identifier("resident-id", PATIENT)
        pseudonyms = await Persons(open_keys(live.settings), 100).pseudonyms(person, live.settings.owner)
        return await retention.person(pseudonyms, datetime.now(UTC), progress=progress)

    assert retaining(live, cite).cited == 3
    assert live.client().get(f"/api/v1/checks/{answers[-1].id}").status_code == 200


def test_one_decision_is_erased_and_the_others_stay(live: Live, tmp_path: Path) -> None:
    gone, kept = ask(live.client(), body()), ask(live.client(), body())
    outcome(live, gone, "viewed")
    erased = retaining(live, lambda retention: retention.decision(gone.id, datetime.now(UTC)))
    assert erased.entries == 4
    assert live.client().get(f"/api/v1/checks/{gone.id}").status_code == 404
    assert live.client().get(f"/api/v1/checks/{kept.id}").status_code == 200
    assert [(said["why"], said["check"]) for said in erasures(live)] == [("decision", gone.id)]
    with pytest.raises(NotFound, match="was erased before"):
        retaining(live, lambda retention: retention.decision(gone.id, datetime.now(UTC)))
    assert audit(live, tmp_path / "export") == []


def test_a_cited_decision_is_erased_only_when_that_is_said(live: Live) -> None:
    answer = ask(live.client(), body())
    outcome(live, answer, "cited")
    erased = retaining(live, lambda retention: retention.decision(answer.id, datetime.now(UTC)))
    assert (erased.entries, erased.cited) == (0, 4)
    erased = retaining(
        live, lambda retention: retention.decision(answer.id, datetime.now(UTC), even_cited=True)
    )
    assert (erased.entries, erased.cited) == (4, 0)


def test_all_exchanges_of_a_person_are_erased_and_the_entry_tells_nothing_of_him(live: Live) -> None:
    for patient in (PATIENT, STRANGER, PATIENT):
        ask(live.client(), body(patient=patient))
    assert retaining(live, lambda retention: forget_patient(retention, live)).entries == 6
    assert left(live) == ["mark", "question", "answer", "verdict"]
    assert documents(live, "check") == 1
    (said,) = erasures(live)
    assert set(said) == {"why", "from", "to", "even_cited"}


async def forget_patient(retention: Retention, live: Live) -> Erased:
    person = identifier("resident-id", PATIENT)
    pseudonyms = await Persons(open_keys(live.settings), 100).pseudonyms(person, live.settings.owner)
    return await retention.person(pseudonyms, datetime.now(UTC))


def test_with_a_person_go_the_facts_beside_the_marks_of_his_results(live: Live) -> None:
    his = ask(live.client(), body()).verdicts[0].mark
    assert his is not None
    assert documents(live, "facts") > 0
    assert live.client("auditor").get(f"/fhir/Provenance/{his.id}").status_code == 200
    retaining(live, lambda retention: forget_patient(retention, live))
    assert [documents(live, kind) for kind in ("facts", "provenance", "case", "recognised")] == [0, 0, 0, 0]
    assert documents(live, "mark") > 0


def test_a_person_is_found_after_the_questions_about_him_were_erased(live: Live) -> None:
    outcome(live, ask(live.client(), body()), "accepted")
    days = live.settings.retention.access_days
    retaining(live, lambda retention: retention.expire(NOW + (days + 1) * DAY))
    assert left(live) == ["mark", "verdict", "outcome"]
    assert retaining(live, lambda retention: forget_patient(retention, live)).entries == 2
    assert left(live) == ["mark"]
    assert [documents(live, kind) for kind in ("check", "outcome")] == [0, 0]


def test_cases_are_erased_after_it_was_announced_also_where_nothing_was_marked(live: Live) -> None:
    ask(live.client(), body(patient=STRANGER))
    assert documents(live, "case") == 1
    retaining(live, lambda retention: retention.expire(NOW + 3 * DAY))
    assert documents(live, "case") == 0
    assert [said["class"] for said in erasures(live)] == ["copies"]


@pytest.mark.parametrize("older", [True, False])
def test_an_entry_of_a_time_that_has_not_come_holds_up_nothing(live: Live, older: bool) -> None:
    """A clock was wrong for a while: what stands before and after it is erased when it is due."""
    wrong = seal(
        "question", b"{}", time=NOW + 4000 * DAY, from_="cq", to="cq", hash_name=hash_of(log_name("cq"))
    )

    async def append(store: Store) -> None:
        await store.commit([wrong], [])

    if older:
        ask(live.client(), body())
    reading(live, append)
    ask(live.client(), body())
    late = NOW + 190 * DAY
    assert retaining(live, lambda retention: retention.expire(late)).entries == (5 if older else 3)
    assert "question" not in left(live)


def test_of_several_replicas_one_has_the_run_of_the_day(live: Live) -> None:
    async def twice() -> list[Erased | None]:
        async with open_ledger(live.settings, open_keys(live.settings)) as sequencer:
            await sequencer.start()
            retention = Retention(live.settings.retention, live.settings.owner, sequencer)
            one, other = (Daily(retention, sequencer, lambda *_, **__: None) for _ in range(2))  # type: ignore[arg-type]
            later = NOW + DAY
            return [await one.once(later), await other.once(later), await other.once(later + DAY)]

    first, second, next_day = asyncio.run(twice())
    assert (first is None, second is None, next_day is None) == (False, True, False)


def test_the_command_erases_a_person_whose_number_comes_by_standard_input(live: Live, tmp_path: Path) -> None:
    from typer import Typer

    app = Typer()
    app.command()(erase)
    ask(live.client(), body())
    words = ["--config", str(config_of(live, tmp_path)), "--person", "-"]
    told = msgspec.json.encode({"type": "resident-id", "value": PATIENT})
    result = CliRunner().invoke(app, words, input=told)
    assert result.exit_code == 0, result.output
    assert "3 条载荷" in result.output
    assert PATIENT not in result.output
    assert "consents" in result.output
