"""Checkpoints cosigned by other gateways; witnesses that are away, lag or lie; ledgers that lost entries."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse, Response

from adapters import StoreError, StoreUnavailable
from adapters.postgres import PostgresStore
from adapters.sequencer import Sequencer
from adapters.sqlite import SqliteStore
from adapters.store import Store
from gateway.demo.peers import postgres
from gateway.metrics import Metrics
from gateway.witness.comparing import Comparer
from gateway.witness.cosigning import Cosigner, log_id, log_name, witness_name
from gateway.witness.published import Published
from gateway.witness.witnessing import Witnesses, newest_cosigned
from security import note
from security.digests import sha256
from security.errors import WitnessRefused
from security.ledger import Sealed, read_entry
from security.note import Checkpoint
from security.witness import Stale, Submission
from tests.gateway.sites import KEYS, TRUST, Host, Site, entries, of, pins_of, post, serving, site, verifiers
from tests.peers import started

pytestmark = pytest.mark.anyio
ORIGIN = log_name("cq")


@pytest.fixture(scope="module")
async def host() -> AsyncIterator[Host]:
    async with serving() as found:
        yield found


@dataclass
class Three:
    """重庆 and the two gateways that witness its ledger."""

    host: Host
    cq: Site
    sc: Site
    lab8: Site
    folder: Path
    stack: AsyncExitStack

    async def stop(self) -> None:
        """Stop 重庆."""
        await self.stack.aclose()

    async def start(self) -> Site:
        """Start 重庆 again on what its folder holds."""
        self.cq = await self.stack.enter_async_context(site(self.host, self.folder, "cq", ("sc", "lab8")))
        return self.cq


@pytest.fixture
async def three(host: Host, tmp_path: Path) -> AsyncIterator[Three]:
    async with (
        AsyncExitStack() as stack,
        site(host, tmp_path, "sc") as sc,
        site(host, tmp_path, "lab8") as lab8,
    ):
        cq = await stack.enter_async_context(site(host, tmp_path, "cq", ("sc", "lab8")))
        yield Three(host, cq, sc, lab8, tmp_path, stack)


async def test_the_newest_checkpoint_is_cosigned_by_every_witness(three: Three) -> None:
    await three.cq.append(3)
    await three.cq.round()
    verified = await three.cq.cosigned("sc", "lab8")
    assert verified.checkpoint.size == 3
    assert set(verified.names) == {ORIGIN, witness_name("sc"), witness_name("lab8")}


async def test_every_witness_signs_with_both_algorithms_and_the_time(three: Three) -> None:
    await three.cq.append()
    await three.cq.round()
    verified = await three.cq.cosigned("sc")
    found = zip(verified.signed_by, verified.times, strict=True)
    assert [(verifier.algorithm, time is not None) for verifier, time in found] == [
        ("Ed25519", False),
        ("SM2", False),
        ("Ed25519", True),
        ("SM2", True),
    ]


@pytest.mark.parametrize("more", [0, 1, 5, 300])
async def test_a_ledger_that_grew_by_any_number_is_cosigned_again(three: Three, more: int) -> None:
    await three.cq.append(3)
    await three.cq.round()
    if more:
        await three.cq.append(more)
    await three.cq.round()
    assert (await three.cq.cosigned("sc", "lab8")).checkpoint.size == 3 + more


async def test_the_cosigned_checkpoint_and_what_a_witness_holds_can_be_fetched(three: Three) -> None:
    await three.cq.append()
    await three.cq.round()
    async with httpx.AsyncClient(trust_env=False) as client:
        cosigned = await client.get(f"{three.cq.url}/ledger/checkpoint/cosigned")
        held = await client.get(f"{three.sc.url}/witness/{log_id(ORIGIN)}/checkpoint")
    assert note.verify_checkpoint(cosigned.text, verifiers("sc", "lab8"), required=3).checkpoint.size == 1
    assert note.verify_checkpoint(held.text, verifiers()).checkpoint.size == 1


async def test_what_no_witness_holds_and_no_quorum_signed_is_not_found(three: Three) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        for url in (f"{three.cq.url}/ledger/checkpoint/cosigned", f"{three.sc.url}/witness/00/checkpoint"):
            assert (await client.get(url)).is_client_error


# a witness that is away, lags or lies


async def test_a_witness_that_is_away_is_named_and_the_other_one_is_enough(three: Three) -> None:
    three.sc.answers = lambda body: Response(status_code=503)
    await three.cq.append()
    await three.cq.round()
    reports = await three.cq.reports()
    assert (reports["sc"].state, reports["lab8"].state) == ("refuses", "cosigns")
    assert [event["owner"] for event in three.cq.events("witness_missing")] == ["sc"]
    assert (await three.cq.cosigned("sc", "lab8")).names == (ORIGIN, witness_name("lab8"))


async def test_a_witness_that_cannot_be_reached_is_away(tmp_path: Path) -> None:
    nowhere = Host()
    nowhere.url = "http://127.0.0.1:9"
    async with site(nowhere, tmp_path, "cq", ("sc",)) as cq:
        await cq.append()
        await cq.round()
        assert (await cq.reports())["sc"].state == "away"


async def test_without_a_quorum_the_former_cosigned_checkpoint_stays(three: Three) -> None:
    await three.cq.append()
    await three.cq.round()
    for other in (three.sc, three.lab8):
        other.answers = lambda body: Response(status_code=503)
    await three.cq.append()
    await three.cq.round()
    assert (await three.cq.cosigned("sc", "lab8")).checkpoint.size == 1
    assert (await three.cq.witnesses.report()).cosigned_size == 1


async def test_a_witness_that_comes_back_catches_up(three: Three) -> None:
    three.sc.answers = lambda body: Response(status_code=503)
    await three.cq.append(4)
    await three.cq.round()
    three.sc.answers = lambda body: None
    await three.cq.append(4)
    await three.cq.round()
    assert len((await three.cq.cosigned("sc", "lab8")).names) == 3
    assert [event["owner"] for event in three.cq.events("witness_cosigns")] == ["lab8", "sc"]


async def test_a_gateway_that_started_again_learns_what_its_witnesses_hold(three: Three) -> None:
    await three.cq.append(4)
    await three.cq.round()
    await three.stop()
    cq = await three.start()
    await cq.append(4)
    await cq.round()
    assert (await cq.cosigned("sc", "lab8")).checkpoint.size == 8


async def test_a_witness_that_forgot_is_shown_the_ledger_again(three: Three, tmp_path: Path) -> None:
    await three.cq.append(4)
    await three.cq.round()
    for kind in ("witnessed", "witnessed-step"):
        await three.sc.store.prune(kind, "~")
    await three.cq.append(4)
    await three.cq.round()
    assert (await three.cq.cosigned("sc")).checkpoint.size == 8


async def test_a_witness_that_knows_no_such_log_refuses(three: Three) -> None:
    name = log_name("nobody")
    other = note.sign(Checkpoint(name, 0, b"\0" * 32).to_text(), name, of("cq", "log"))
    assert (await post(three.sc.url, Submission(0, (), other).to_bytes())).status_code == 404


def shown(body: bytes) -> str:
    return Submission.from_bytes(body).note


def lines(text: str, owner: str, ahead: timedelta = timedelta()) -> str:
    now = datetime.now(UTC) + ahead
    return "".join(note.cosignatures(text, witness_name("sc"), of(owner, "witness"), now))


ANOTHER = note.sign(Checkpoint(ORIGIN, 9, b"\1" * 32).to_text(), ORIGIN, of("cq", "log"))
LIES: dict[str, Callable[[bytes], str]] = {
    "the signature that a log makes": lambda body: note.sign(
        note.split(shown(body))[0], witness_name("sc"), of("sc", "witness")
    ).partition("\n\n")[2],
    "a cosignature of another checkpoint": lambda body: lines(ANOTHER, "sc"),
    "a cosignature by a stranger": lambda body: lines(shown(body), "lab8"),
    "a cosignature of a time to come": lambda body: lines(shown(body), "sc", timedelta(minutes=6)),
    "nothing": lambda body: "",
    "no signature lines": lambda body: "{}",
}


@pytest.mark.parametrize("what", LIES)
async def test_a_witness_that_answers_with_something_else_than_its_cosignature_counts_for_nothing(
    three: Three, what: str
) -> None:
    three.sc.answers = lambda body: Response(LIES[what](body))
    await three.cq.append()
    await three.cq.round()
    assert (await three.cq.reports())["sc"].state == "faulty"
    assert (await three.cq.cosigned("sc", "lab8")).names == (ORIGIN, witness_name("lab8"))


@pytest.mark.parametrize("size", [b"1000000\n", b"0\n", b"1\n", b"a\n", b"", b"9" * 30 + b"\n"])
async def test_a_witness_that_claims_what_it_cannot_show_stops_nothing(three: Three, size: bytes) -> None:
    three.sc.answers = lambda body: Response(size, 409, media_type="text/x.tlog.size")
    await three.cq.append()
    await three.cq.round()
    assert (await three.cq.reports())["sc"].state == "refuses"
    await three.cq.append()
    assert (await three.cq.witnesses.report()).refusal == ""


async def test_a_witness_that_answers_without_end_is_given_up(three: Three) -> None:
    three.sc.answers = lambda body: Response(b"x" * (9 * 1024 * 1024))
    await three.cq.append()
    await three.cq.round()
    assert (await three.cq.reports())["sc"].state == "faulty"


# each fault once without and once with its effect


@pytest.mark.parametrize("breaks", ["before", "after"])
async def test_a_request_that_is_lost_is_made_up_for_by_the_next_round(three: Three, breaks: str) -> None:
    await three.cq.append(2)
    three.sc.breaks = breaks
    await three.cq.round()
    assert (await three.cq.reports())["sc"].state == "refuses"
    await three.cq.append(2)
    await three.cq.round()
    assert len((await three.cq.cosigned("sc", "lab8")).names) == 3


@pytest.mark.parametrize("effect", ["before", "after"])
@pytest.mark.parametrize("call", ["commit", "replace", "prune", "document", "find"])
async def test_a_witness_whose_database_fails_cosigns_nothing_and_goes_on_afterwards(
    three: Three, call: str, effect: str
) -> None:
    await three.cq.append(2)
    three.sc.store.armed[call] = effect
    await three.cq.round()
    assert (await three.cq.reports())["sc"].state != "cosigns"
    await three.cq.append(2)
    await three.cq.round()
    assert len((await three.cq.cosigned("sc", "lab8")).names) == 3
    held = await three.sc.cosigner.held(ORIGIN)
    assert held is not None
    assert held.size == 4


@pytest.mark.parametrize("fails", ["before", "after"])
async def test_a_witness_whose_signer_fails_cosigns_the_next_time(three: Three, fails: str) -> None:
    await three.cq.append(2)
    three.sc.signer.fails = fails
    await three.cq.round()
    assert (await three.cq.reports())["sc"].state != "cosigns"
    await three.cq.round()
    assert len((await three.cq.cosigned("sc", "lab8")).names) == 3


async def test_a_witness_whose_signer_is_slow_answers_others_meanwhile(three: Three) -> None:
    await three.cq.append()
    key, asked, go_on = three.sc.signer.key, threading.Event(), threading.Event()

    class Slow:
        def sign(self, message: bytes) -> bytes:
            asked.set()
            go_on.wait(1)
            return key.sign(message)

    three.sc.signer.key = Slow()  # type: ignore[assignment]
    round_ = asyncio.create_task(three.cq.round())
    await asyncio.to_thread(asked.wait)
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"{three.sc.url}/ledger/checkpoint")).is_success
    assert not round_.done()
    go_on.set()
    await round_
    assert (await three.cq.reports())["sc"].state == "cosigns"


@pytest.mark.parametrize("effect", ["before", "after"])
@pytest.mark.parametrize("call", ["note", "head", "replace"])
async def test_a_log_whose_database_fails_in_a_round_makes_the_next_one(
    three: Three, call: str, effect: str
) -> None:
    await three.cq.append(2)
    three.cq.store.armed[call] = effect
    if call == "head":  # read where a published checkpoint is compared
        three.cq.store.armed.clear()
        await three.cq.round()
        three.cq.store.armed[call] = effect
    with pytest.raises(StoreUnavailable):
        await three.cq.round()
    await three.cq.round()
    assert len((await three.cq.cosigned("sc", "lab8")).names) == 3


# a database that came back from a backup


async def lose_entries(three: Three) -> None:
    """Two entries, a backup, three more that the witnesses saw, a newer backup, and the first put back."""
    await three.cq.append(2)
    await three.cq.round()
    await three.stop()
    three.cq.copy("backup.db")
    cq = await three.start()
    await cq.append(3)
    await cq.round()
    await three.stop()
    cq.copy("newest.db")
    cq.put_back("backup.db")


def go_away(three: Three, away: bool = True) -> None:
    three.sc.away = three.lab8.away = away


async def unguarded(three: Three, count: int) -> None:
    """What a gateway without a guard would have done with the restored database."""
    store = SqliteStore(three.cq.file)
    await store.open()
    sequencer = Sequencer(store, of("cq", "log"), ORIGIN)
    await sequencer.start()
    await sequencer.append(entries(count, "another"))
    await sequencer.close()
    await store.close()


async def test_a_restored_database_does_not_start_because_of_what_was_published(three: Three) -> None:
    await lose_entries(three)
    go_away(three)
    with pytest.raises(StoreError, match="holds 2 entries, but 5 were published"):
        await three.start()


async def test_a_restored_folder_does_not_start_because_of_what_a_witness_holds(three: Three) -> None:
    await lose_entries(three)
    three.cq.published.unlink()
    with pytest.raises(StoreError, match="holds 2 entries, but 5 were published"):
        await three.start()


async def test_one_witness_is_enough_to_know_of_what_was_lost(three: Three) -> None:
    await lose_entries(three)
    three.cq.published.unlink()
    three.sc.away = True
    with pytest.raises(StoreError, match="but 5 were published"):
        await three.start()


@pytest.mark.parametrize("more", [3, 7])
async def test_a_restored_ledger_that_went_on_otherwise_does_not_start(three: Three, more: int) -> None:
    await lose_entries(three)
    await unguarded(three, more)
    with pytest.raises(StoreError, match="first 5 entries are not those that were published"):
        await three.start()


async def test_the_newest_copy_starts_again(three: Three) -> None:
    await lose_entries(three)
    with pytest.raises(StoreError):
        await three.start()
    three.cq.put_back("newest.db")
    cq = await three.start()
    await cq.append()
    await cq.round()
    assert (await cq.cosigned("sc", "lab8")).checkpoint.size == 6


async def test_replicas_that_share_a_folder_remember_the_newest_checkpoint_together(three: Three) -> None:
    folder = three.folder / "shared"
    folder.mkdir()
    keys = [key.public for key in of("cq", "log")]
    for size in range(1, 30):
        text = Checkpoint(ORIGIN, size, sha256(b"%d" % size)).to_text()
        signed = note.sign(text, ORIGIN, of("cq", "log"))
        replicas = [Published(ORIGIN, lambda: keys, three.cq.store, folder) for _ in range(4)]
        await asyncio.gather(*(replica.remember(signed) for replica in replicas))
        assert await replicas[0].read() == signed
    assert [file.name for file in folder.iterdir()] == ["published-checkpoint"]


async def test_a_file_of_another_ledger_does_not_start(three: Three) -> None:
    await three.stop()
    text = Checkpoint(log_name("sc"), 0, b"\0" * 32).to_text()
    three.cq.published.write_text(note.sign(text, log_name("sc"), of("sc", "log")))
    with pytest.raises(StoreError, match="holds no checkpoint of this ledger"):
        await three.start()


@pytest.mark.parametrize("more", [1, 3, 4])
async def test_a_ledger_whose_loss_shows_while_it_runs_is_not_continued(three: Three, more: int) -> None:
    """The witnesses were away at the start, and the file was lost with the folder."""
    await lose_entries(three)
    three.cq.published.unlink()
    go_away(three)
    cq = await three.start()
    await cq.append(more)
    go_away(three, away=False)
    await cq.round()
    assert "published" in (await cq.witnesses.report()).refusal
    assert len(cq.events("ledger_refused")) == 1
    with pytest.raises(StoreUnavailable, match="not continued"):
        await cq.append()


async def test_what_contradicts_a_lost_ledger_is_kept_by_it(three: Three) -> None:
    await lose_entries(three)
    three.cq.published.unlink()
    go_away(three)
    cq = await three.start()
    await cq.append(3)
    go_away(three, away=False)
    await cq.round()
    (conflict,) = (await cq.cosigner.conflicts()).conflicts
    held, shown = (
        note.verify_checkpoint(text, verifiers()).checkpoint for text in (conflict.held, conflict.shown)
    )
    assert held.size == shown.size == 5
    assert held.root != shown.root


async def test_a_database_replaced_under_a_running_gateway_is_not_continued(three: Three) -> None:
    await three.cq.append(3)
    await three.cq.round()
    other = SqliteStore(three.folder / "other.db")
    await other.open()
    await other.commit(entries(2), [])
    inner, three.cq.store.inner = three.cq.store.inner, other
    signed = await inner.note()
    assert signed is not None
    await three.cq.round()
    with pytest.raises(StoreUnavailable, match="the database holds 2 entries, but 3 were published"):
        await three.cq.append()
    three.cq.store.inner = inner
    await other.close()


async def test_what_another_replica_signed_before_entries_were_lost_stops_this_one(three: Three) -> None:
    await three.cq.append(3)
    signed = note.sign(Checkpoint(ORIGIN, 5, b"\0" * 32).to_text(), ORIGIN, of("cq", "log"))
    await three.cq.store.inner.put_note(5, b"\0" * 32, signed)
    await three.cq.round()
    with pytest.raises(StoreUnavailable, match="the database holds 3 entries, but 5 were published"):
        await three.cq.append()


async def test_a_witness_that_lost_entries_itself_cosigns_nothing(three: Three) -> None:
    await lose_entries(three)
    three.cq.published.unlink()
    go_away(three)
    cq = await three.start()
    await cq.append()
    go_away(three, away=False)
    await cq.round()
    text = Checkpoint(log_name("sc"), 0, sha256(b"")).to_text()
    signed = note.sign(text, log_name("sc"), of("sc", "log"))
    assert (await post(cq.url, Submission(0, (), signed).to_bytes())).status_code == 503


# a log that shows two ledgers


async def two_ledgers(three: Three) -> None:
    """The witnesses see one ledger of five entries, then one of them another."""
    await lose_entries(three)
    await unguarded(three, 3)
    three.cq.published.unlink()
    go_away(three)
    cq = await three.start()
    go_away(three, away=False)
    await cq.round()


async def test_two_heads_of_one_size_are_kept_as_evidence_with_an_alarm(three: Three) -> None:
    await two_ledgers(three)
    for other in (three.sc, three.lab8):
        (conflict,) = (await other.cosigner.conflicts()).conflicts
        held = note.verify_checkpoint(conflict.held, verifiers()).checkpoint
        shown = note.verify_checkpoint(conflict.shown, verifiers()).checkpoint
        assert (held.size, held.origin) == (shown.size, shown.origin) == (5, ORIGIN)
        assert held.root != shown.root
        assert other.events("heads_conflict") == [{"origin": ORIGIN, "size": 5}]


async def test_conflicts_on_record_are_a_metric_after_a_start_too(three: Three) -> None:
    await two_ledgers(three)
    metrics = Metrics()
    again = Witnesses("sc", [], list, three.sc.store, three.folder, 2, lambda _, **__: None, metrics)
    assert (await again.report()).conflicts == 1
    assert b"\nlianren_ledger_conflicts 1.0\n" in metrics.render()


async def test_two_heads_of_one_size_stand_in_the_ledger_of_the_witness_once(three: Three) -> None:
    await two_ledgers(three)
    signed = await three.cq.store.note()
    for _ in range(3):
        assert (await post(three.sc.url, Submission(5, (), signed).to_bytes())).status_code == 409
    found = [read_entry(body) for body in await three.sc.store.entries(0, 10)]
    assert [(entry.type, entry.from_, entry.to) for entry in found] == [("conflict", "cq", "sc")]


async def test_the_other_head_is_never_cosigned(three: Three) -> None:
    await two_ledgers(three)
    held = await three.sc.cosigner.held(ORIGIN)
    assert held is not None
    assert held.root != (await three.cq.store.head()).root
    assert (
        await newest_cosigned(three.cq.store) is None or (await three.cq.cosigned("sc")).checkpoint.size < 5
    )


async def test_a_witness_whose_ledger_cannot_keep_the_conflict_does_not_cosign_either(three: Three) -> None:
    await lose_entries(three)
    await unguarded(three, 3)
    store = SqliteStore(three.cq.file)
    await store.open()
    signed = await store.note()
    await store.close()
    three.sc.store.armed["commit"] = "before"
    with pytest.raises(StoreError):
        await three.sc.cosigner.add(Submission(5, (), signed or "").to_bytes())
    assert (await post(three.sc.url, Submission(5, (), signed or "").to_bytes())).status_code == 409
    assert len((await three.sc.cosigner.conflicts()).conflicts) == 1


async def forks(folder: Path, count: int) -> tuple[list[Sealed], list[bytes]]:
    """The first four entries of a ledger, and requests that go on from there in different ways."""
    first, bodies = entries(4), []
    for number in range(count):
        store = SqliteStore(folder / f"fork-{number}.db")
        await store.open()
        sequencer = Sequencer(store, of("cq", "log"), ORIGIN)
        await sequencer.start()
        await sequencer.append(first)
        await sequencer.append(entries(1 + number, f"fork {number}"))
        proof = await sequencer.consistency(4, 5 + number)
        bodies.append(Submission(4, tuple(proof), await store.note() or "").to_bytes())
        await sequencer.close()
        await store.close()
    return first, bodies


async def test_of_ledgers_that_part_ways_the_replicas_of_a_witness_cosign_one(three: Three) -> None:
    first, bodies = await forks(three.folder, 4)
    await three.cq.sequencer.append(first)
    await three.cq.round()
    async with replica(three.sc) as other:
        tried = [(three.sc.cosigner, other)[n % 2].add(body) for n, body in enumerate(bodies)]
        answers = await asyncio.gather(*tried, return_exceptions=True)
    assert sum(isinstance(answer, str) for answer in answers) == 1
    assert all(isinstance(answer, str | WitnessRefused) for answer in answers)
    held = await three.sc.cosigner.held(ORIGIN)
    assert held is not None
    assert isinstance(answers[held.size - 5], str)


async def test_a_request_sent_to_both_replicas_of_a_witness_is_cosigned_by_one_or_both(three: Three) -> None:
    first, (body,) = await forks(three.folder, 1)
    await three.cq.sequencer.append(first)
    await three.cq.round()
    async with replica(three.sc) as other:
        answers = await asyncio.gather(
            *(cosigner.add(body) for cosigner in (three.sc.cosigner, other) * 3), return_exceptions=True
        )
    assert any(isinstance(answer, str) for answer in answers)
    assert all(isinstance(answer, str | Stale) for answer in answers)


@pytest.mark.slow
async def test_replicas_on_postgresql_cosign_one_of_ledgers_that_part_ways(tmp_path: Path) -> None:
    _, bodies = await forks(tmp_path, 6)
    base = Submission.from_bytes(bodies[0])
    async with AsyncExitStack() as stack:
        peer = stack.enter_context(started(lambda: postgres(tmp_path / "postgres")))
        cosigners = []
        for _ in range(3):
            store = PostgresStore(peer.url)
            await store.open()
            stack.push_async_callback(store.close)
            cosigners.append(cosigner_on("sc", store))
        await cosigners[0].add(Submission(0, (), base.note).to_bytes())
        grown = [await more(tmp_path, number) for number in range(6)]
        tried = [cosigners[n % 3].add(body) for n, body in enumerate(grown)]
        answers = await asyncio.gather(*tried, return_exceptions=True)
        held = await cosigners[1].held(ORIGIN)
    assert sum(isinstance(answer, str) for answer in answers) == 1
    assert all(isinstance(answer, str | WitnessRefused) for answer in answers)
    assert held is not None
    assert isinstance(answers[held.size - 6], str)


async def more(folder: Path, number: int) -> bytes:
    """A request that goes on from the first fork's five entries, each time otherwise."""
    shutil.copy(folder / "fork-0.db", file := folder / f"more-{number}.db")
    store = SqliteStore(file)
    await store.open()
    sequencer = Sequencer(store, of("cq", "log"), ORIGIN)
    await sequencer.start()
    await sequencer.append(entries(1 + number, f"more {number}"))
    proof = await sequencer.consistency(5, 6 + number)
    body = Submission(5, tuple(proof), await store.note() or "").to_bytes()
    await sequencer.close()
    await store.close()
    return body


def cosigner_on(owner: str, store: Store) -> Cosigner:
    """A cosigner of an owner on an open store."""
    owners = [other for other in KEYS if other != owner]
    sequencer = Sequencer(store, of(owner, "log"), log_name(owner))
    return Cosigner(
        owner,
        owners,
        of(owner, "witness"),
        lambda: TRUST,
        sequencer,
        lambda event, **_: None,
    )


@asynccontextmanager
async def replica(of_: Site) -> AsyncIterator[Cosigner]:
    """Another process's cosigner on the database of a site."""
    store = SqliteStore(of_.file)
    await store.open()
    yield cosigner_on(of_.owner, store)
    await store.close()


# a log that shows each witness another ledger


@asynccontextmanager
async def compared(three: Three) -> AsyncIterator[list[tuple[str, dict[str, Any]]]]:
    """What 四川 logs when it compared what it holds with what 检验联盟 holds."""
    log: list[tuple[str, dict[str, Any]]] = []
    pins = pins_of(three.host, ("cq", "lab8"))
    comparer = Comparer(
        "sc", pins, three.sc.cosigner, lambda: TRUST, lambda event, **fields: log.append((event, fields))
    )
    await comparer.round()
    yield log
    await comparer.aclose()


async def part_ways(three: Three, ours: int, theirs: int) -> None:
    """四川 is shown a ledger of so many entries, 检验联盟 another one that begins alike."""
    first, bodies = await forks(three.folder, theirs - 4)
    await three.cq.sequencer.append(first)
    await three.cq.round()
    assert (await post(three.lab8.url, bodies[-1])).status_code == 200
    await three.cq.append(ours - 4)
    three.lab8.away = True
    await three.cq.round()
    three.lab8.away = False


async def test_two_witnesses_that_were_shown_two_ledgers_of_one_size_have_the_evidence(three: Three) -> None:
    await part_ways(three, 6, 6)
    async with compared(three):
        (conflict,) = (await three.sc.cosigner.conflicts()).conflicts
    held = note.verify_checkpoint(conflict.held, verifiers()).checkpoint
    shown_to_the_other = note.verify_checkpoint(conflict.shown, verifiers()).checkpoint
    assert held.size == shown_to_the_other.size == 6
    assert held.root != shown_to_the_other.root


@pytest.mark.parametrize(("ours", "theirs"), [(8, 6), (6, 8)])
async def test_two_ledgers_of_two_sizes_that_the_log_cannot_join_are_an_alarm(
    three: Three, ours: int, theirs: int
) -> None:
    await part_ways(three, ours, theirs)
    async with compared(three) as log:
        assert log == [("heads_not_joined", {"origin": ORIGIN, "size": 8, "former": 6, "witness": "lab8"})]


@pytest.mark.parametrize("proof", [{"hashes": 5}, {"hashes": ["xyz"]}, {"hashes": []}, []])
async def test_a_log_that_answers_with_something_else_than_a_proof_is_an_alarm(
    three: Three, proof: object
) -> None:
    await part_ways(three, 8, 6)
    three.host.sites["cq"] = JSONResponse(proof)  # type: ignore[assignment]
    async with compared(three) as log:
        assert [event for event, _ in log] == ["heads_not_joined"]


async def test_a_witness_that_lags_behind_another_is_no_alarm(three: Three) -> None:
    await three.cq.append(5)
    await three.cq.round()
    three.lab8.away = True
    await three.cq.append(5)
    await three.cq.round()
    three.lab8.away = False
    async with compared(three) as log:
        assert log == []
        assert (await three.sc.cosigner.conflicts()).conflicts == ()


async def test_a_log_that_is_away_is_no_alarm(three: Three) -> None:
    await part_ways(three, 8, 6)
    three.cq.away = True
    async with compared(three) as log:
        assert log == []
