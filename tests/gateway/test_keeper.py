"""The trust list of a gateway: the own key list and its ledger entries, the others' lists and how fresh."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from adapters.sequencer import Sequencer
from adapters.store import Document, Store
from gateway.keeper import OTHERS, OWN, TrustKeeper, key_history, own_key_list, roots_of
from gateway.keyring import Signers, make_keys, open_keys, rotate
from gateway.log import Log
from gateway.settings import PinSettings, Settings
from gateway.wiring import open_store
from security.errors import KeyStoreError
from security.keystore import KeyStore
from security.ledger import read_entry
from security.trust import read_key_list, signed_by
from tests.gateway.live import PASSPHRASE
from tests.serving import serve

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


def settings_of(folder: Path, owner: str = "cq", pins: tuple[PinSettings, ...] = ()) -> Settings:
    """The settings of a gateway whose keys are made; its roots are a month old."""
    folder.mkdir(exist_ok=True)
    (folder / "passphrase").write_bytes(PASSPHRASE)
    (folder / "passphrase").chmod(0o600)
    settings = Settings(
        name=f"{owner} 示例",
        owner=owner,
        region="500000",
        base_url="http://127.0.0.1",
        data_dir=folder / "data",
        key_passphrase_file=folder / "passphrase",
        pins=list(pins),
    )
    for algorithm in ("Ed25519", "SM2"):
        open_keys(settings).new(algorithm, owner, "root", NOW - 30 * DAY)
    make_keys(settings)
    return settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_of(tmp_path / "cq")


@pytest.fixture
def keys(settings: Settings) -> KeyStore:
    return open_keys(settings)


@pytest.fixture
def log() -> io.StringIO:
    return io.StringIO()


@asynccontextmanager
async def opened(settings: Settings, log: io.StringIO) -> AsyncIterator[TrustKeeper]:
    """A keeper over the gateway's own store, as a starting gateway opens it."""
    keys = open_keys(settings)
    store = open_store(settings, keys)
    await store.open()
    signers = Signers(keys, lead=timedelta(0))
    sequencer = Sequencer(store, signers.each("log", "Ed25519"), "cq.lianren.example/exchange")
    await sequencer.start()
    trust = TrustKeeper(settings, keys, signers, sequencer, Log(log))
    try:
        await trust.open()
        yield trust
    finally:
        await trust.aclose()
        await sequencer.close()
        await store.close()


async def until(true: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for something that the background does."""
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - it is another task's own state
            await asyncio.sleep(0.02)


def look(settings: Settings, work: Callable[[Store], Awaitable[Any]]) -> Any:
    """What stands in the store afterwards."""

    async def run() -> Any:
        store = open_store(settings)
        await store.open()
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


async def entries(store: Store) -> list[tuple[str, bytes]]:
    """Type and payload of every ledger entry of type ``keys``."""
    found: list[tuple[str, bytes]] = []
    for body in await store.entries(0, 100):
        entry = read_entry(body)
        secret = await store.secret(entry.commit)
        assert secret is not None
        found.append((entry.type, secret.payload))
    return found


def opening(settings: Settings, log: io.StringIO) -> bytes:
    """Open and close a keeper, and give the envelope that it had."""

    async def run() -> bytes:
        async with opened(settings, log) as trust:
            return trust.envelope

    return asyncio.run(run())


def told(log: io.StringIO, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    return [line for line in lines if line["event"] == event]


def refused(log: io.StringIO, why: str) -> bool:
    """Whether a list was refused for that reason; on a slow machine a fetch may first have been late."""
    return any(why in line["detail"] for line in told(log, "key_list_missing"))


# the own list


def test_the_first_list_is_signed_by_every_root_and_lists_every_other_key(
    settings: Settings, keys: KeyStore, log: io.StringIO
) -> None:
    envelope = opening(settings, log)
    roots = roots_of(keys, "cq")
    assert signed_by(envelope) == {root.kid for root in roots}
    listed = {key.kid for key in read_key_list(envelope, roots).keys}
    assert listed == {key.kid for key in keys.list()} - {root.kid for root in roots}


def test_the_list_is_in_the_ledger_before_it_is_served(settings: Settings, log: io.StringIO) -> None:
    envelope = opening(settings, log)
    assert look(settings, entries) == [("keys", envelope)]


def test_a_start_without_a_change_issues_nothing(settings: Settings, log: io.StringIO) -> None:
    assert opening(settings, log) == opening(settings, log)
    assert len(look(settings, key_history)) == 1


def test_a_key_that_turned_is_listed_by_the_next_start(
    settings: Settings, keys: KeyStore, log: io.StringIO
) -> None:
    former = opening(settings, log)
    (new,) = rotate(keys, "cq", "mark", datetime.now(UTC), 7 * DAY, ["SM2"])
    later = opening(settings, log)
    assert look(settings, key_history) == [former, later]
    before, after = (read_key_list(envelope, roots_of(keys, "cq")) for envelope in (former, later))
    assert {key.kid for key in after.keys} - {key.kid for key in before.keys} == {new.kid}
    assert after.version > before.version


def test_a_list_is_issued_anew_well_before_it_expires(
    settings: Settings, keys: KeyStore, log: io.StringIO
) -> None:
    opening(settings, log)
    old = own_key_list(keys, "cq", NOW - 4 * DAY, 1)

    async def age(store: Store) -> None:
        (listed,) = await store.documents(OWN)
        await store.replace(msgspec.structs.replace(listed, body=old))

    look(settings, age)
    assert read_key_list(opening(settings, log), roots_of(keys, "cq")).expires > NOW + 6 * DAY


def test_a_list_laid_into_the_store_by_somebody_else_is_not_taken(
    settings: Settings, keys: KeyStore, log: io.StringIO, tmp_path: Path
) -> None:
    envelope = opening(settings, log)
    other = open_keys(settings_of(tmp_path / "thief"))
    forged = own_key_list(other, "cq", datetime.now(UTC), 2_000_000_000)
    laid = Document(kind=OWN, id="002000000000", body=forged, at=NOW)
    look(settings, lambda store: store.replace(laid))
    again = read_key_list(opening(settings, log), roots_of(keys, "cq"))
    assert again.keys == read_key_list(envelope, roots_of(keys, "cq")).keys
    assert again.version > 2_000_000_000
    assert "does not verify" in told(log, "key_list_missing")[0]["detail"]


def test_of_two_replicas_that_issue_at_once_both_serve_the_first_list(
    settings: Settings, log: io.StringIO
) -> None:
    async def run() -> tuple[bytes, bytes]:
        async with opened(settings, log) as one, opened(settings, log) as two:
            rotate(open_keys(settings), "cq", "peer", datetime.now(UTC), 7 * DAY)
            await asyncio.gather(one._follow(), two._follow())
            await asyncio.gather(one._follow(), two._follow())
            return one.envelope, two.envelope

    one, two = asyncio.run(run())
    assert one == two == look(settings, key_history)[-1]
    assert len(look(settings, key_history)) == 2


def test_with_an_older_copy_of_the_keys_a_compromised_one_does_not_count_again(
    settings: Settings, keys: KeyStore, log: io.StringIO
) -> None:
    kid = next(key.kid for key in keys.list() if key.purpose == "mark")
    file = settings.data_dir / "keys" / f"{kid}.json"
    older = file.read_bytes()
    keys.retire(kid, datetime.now(UTC), "compromised")
    opening(settings, log)
    file.write_bytes(older)
    with pytest.raises(KeyStoreError, match=f"lianren keys compromise {kid}"):
        opening(settings, log)


def test_a_running_gateway_takes_up_a_new_key_and_lists_it(
    settings: Settings, keys: KeyStore, log: io.StringIO
) -> None:
    async def run() -> None:
        async with opened(settings, log) as trust:
            trust.start()
            signer = trust._signers.of("mark", "Ed25519")
            (new,) = rotate(keys, "cq", "mark", datetime.now(UTC), timedelta(0), ["Ed25519"])
            await until(lambda: signer.kid == new.kid)
            await until(lambda: new.kid in {key.kid for key in trust.list.lists["cq"].keys})
            assert new.kid.encode() in trust.envelope

    asyncio.run(run())
    assert len(look(settings, key_history)) == 2


def test_a_new_root_signs_beside_the_old_one(settings: Settings, keys: KeyStore, log: io.StringIO) -> None:
    former = roots_of(keys, "cq")
    rotate(keys, "cq", "root", datetime.now(UTC), 30 * DAY)
    envelope = opening(settings, log)
    for pins in (former, roots_of(keys, "cq"), [key for key in keys.list() if key.status == "active"]):
        assert read_key_list(envelope, pins).owner == "cq"


def test_without_a_root_that_counts_there_is_no_list(
    settings: Settings, keys: KeyStore, log: io.StringIO
) -> None:
    for root in roots_of(keys, "cq"):
        keys.retire(root.kid, NOW, "compromised")
    with pytest.raises(KeyStoreError, match="no root key counts"):
        opening(settings, log)


# the others' lists


class Served:
    """A gateway that serves a key list, as far as it is there."""

    def __init__(self, envelope: bytes) -> None:
        self.envelope = envelope
        self.asked = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        self.asked += 1
        answer: ASGIApp = Response(self.envelope, media_type="application/json")
        await answer(scope, receive, send)


@pytest.fixture
def theirs(tmp_path: Path) -> KeyStore:
    """The keys of another gateway."""
    return open_keys(settings_of(tmp_path / "sc", "sc"))


@contextmanager
def pinned(folder: Path, theirs: KeyStore, served: Served) -> Iterator[Settings]:
    """The settings of a gateway that pins another one."""
    file = folder / "sc-roots.json"
    file.write_bytes(msgspec.json.encode(roots_of(theirs, "sc")))
    with serve(served) as url:
        yield settings_of(folder / "cq", pins=(PinSettings(owner="sc", url=url, keys_file=file),))


def fetching(settings: Settings, log: io.StringIO, done: Callable[[TrustKeeper], bool]) -> TrustKeeper:
    """A keeper that ran until something was so."""

    async def run() -> TrustKeeper:
        async with opened(settings, log) as trust:
            trust.start()
            await until(lambda: done(trust))
            return trust

    return asyncio.run(run())


def test_a_list_of_another_gateway_is_fetched_and_kept(
    tmp_path: Path, theirs: KeyStore, log: io.StringIO
) -> None:
    envelope = own_key_list(theirs, "sc", NOW)
    with pinned(tmp_path, theirs, Served(envelope)) as settings:
        fetching(settings, log, lambda trust: bool(told(log, "key_list_fetched")))
    kept = look(settings, lambda store: store.document(OTHERS, "sc"))
    assert kept.body == envelope


def test_after_a_restart_a_kept_list_counts_while_its_gateway_is_away(
    tmp_path: Path, theirs: KeyStore, log: io.StringIO
) -> None:
    with pinned(tmp_path, theirs, Served(own_key_list(theirs, "sc", NOW))) as settings:
        fetching(settings, log, lambda trust: bool(told(log, "key_list_fetched")))

    async def restarted() -> tuple[str, ...]:
        async with opened(settings, log) as trust:
            return trust.missing

    assert asyncio.run(restarted()) == ()


def test_a_kept_list_that_has_expired_meanwhile_does_not_count(
    tmp_path: Path, theirs: KeyStore, log: io.StringIO
) -> None:
    with pinned(tmp_path, theirs, Served(b"")) as settings:
        old = Document(kind=OTHERS, id="sc", body=own_key_list(theirs, "sc", NOW - 8 * DAY), at=NOW)
        look(settings, lambda store: store.replace(old))

        async def restarted() -> tuple[str, ...]:
            async with opened(settings, log) as trust:
                return trust.missing

        assert asyncio.run(restarted()) == ("sc",)
    assert "expired" in told(log, "key_list_missing")[0]["detail"]


def test_after_a_restart_no_older_list_is_taken(tmp_path: Path, theirs: KeyStore, log: io.StringIO) -> None:
    served = Served(own_key_list(theirs, "sc", NOW, version=7))
    with pinned(tmp_path, theirs, served) as settings:
        fetching(settings, log, lambda trust: bool(told(log, "key_list_fetched")))
        served.envelope = own_key_list(theirs, "sc", NOW, version=6)
        trust = fetching(settings, log, lambda trust: refused(log, "versions only grow"))
    assert trust.list.lists["sc"].version == 7


def test_an_older_list_is_not_kept_over_the_newer_one_of_another_replica(
    tmp_path: Path, theirs: KeyStore, log: io.StringIO
) -> None:
    async def run(settings: Settings) -> Document | None:
        async with opened(settings, log) as trust:
            replica = open_store(settings)
            await replica.open()
            newer = own_key_list(theirs, "sc", NOW, version=9)
            await replica.replace(Document(kind=OTHERS, id="sc", body=newer, at=NOW))
            trust.start()
            await until(lambda: refused(log, "versions only grow"))
            kept = await replica.document(OTHERS, "sc")
            await replica.close()
            return kept

    with pinned(tmp_path, theirs, Served(own_key_list(theirs, "sc", NOW, version=7))) as settings:
        kept = asyncio.run(run(settings))
    assert kept is not None
    assert read_key_list(kept.body, roots_of(theirs, "sc")).version == 9


def test_a_list_that_the_pinned_roots_did_not_sign_is_not_taken(
    tmp_path: Path, theirs: KeyStore, log: io.StringIO
) -> None:
    thief = open_keys(settings_of(tmp_path / "thief", "sc"))
    with pinned(tmp_path, theirs, Served(own_key_list(thief, "sc", NOW))) as settings:
        trust = fetching(settings, log, lambda trust: refused(log, "does not verify"))
    assert trust.missing == ("sc",)
