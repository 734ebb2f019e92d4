"""A PostgreSQL that is restarted, killed, or replaced by its standby, under a store that goes on."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import asyncpg
import pytest

from adapters.errors import KeyTaken, StoreError, StoreUnavailable
from adapters.postgres import PostgresStore
from adapters.store import Held
from gateway.demo.peers import postgres
from gateway.demo.processes import Peer, free_port
from security.ledger import Sealed
from tests.peers import started

pytestmark = pytest.mark.anyio

Seal = Callable[[int], list[Sealed]]
AT = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)
HELD = Held(person="p1", at=AT, node="cq-his", id="Observation/1", body=b"held", saved=AT)


def host(address: str) -> str:
    return urlsplit(address).netloc.partition("@")[2]


async def told(address: str, query: str) -> Any:
    connection = cast("Any", await asyncpg.connect(address))
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def cut(address: str, name: str) -> None:
    """End the connections of an application, as a server that restarts does."""
    ends = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name ="
    await told(address, f"{ends} '{name}'")


async def test_a_read_on_a_connection_that_was_cut_is_repeated(store_schema: str) -> None:
    store = PostgresStore(f"{store_schema}&application_name=reads")
    await store.open()
    await store.hold([HELD])
    for _ in range(3):
        await cut(store_schema, "reads")
        assert await store.held(["p1"], AT, ["cq-his"]) == [HELD]
    await store.close()


async def test_the_first_host_that_takes_writes_is_used(store_schema: str, store_seal: Seal) -> None:
    away = f"127.0.0.1:{free_port()}"
    store = PostgresStore(store_schema.replace("@", f"@{away},"))
    await store.open()
    assert (await store.commit(store_seal(1), [])).size == 1
    await store.close()


@pytest.mark.slow
async def test_a_host_that_never_answers_leaves_time_for_the_next(
    store_schema: str,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent_host = f"127.0.0.1:{silent.getsockname()[1]}"
        address = store_schema.replace("@", f"@{silent_host},")
        store = PostgresStore(f"{address}&application_name=silent")
        await store.open()
        await cut(store_schema, "silent")
        async with asyncio.timeout(2):  # the host that answered is the first to be asked again
            await asyncio.gather(*(store.ping() for _ in range(2)))
        await store.close()


async def test_a_call_that_is_given_up_leaves_no_transaction_to_the_next(
    store_schema: str, store_seal: Seal
) -> None:
    store, other = PostgresStore(store_schema, connections=1), PostgresStore(store_schema)
    await store.open()
    await other.open()
    for steps in range(20):
        holding = asyncio.create_task(store.hold([HELD]))
        for _ in range(steps):
            await asyncio.sleep(0.0003)
        holding.cancel()
        await asyncio.wait((holding,))
        entries = store_seal(1)
        await store.commit(entries, [])
        assert await other.index_of(entries[0].entry_id) == steps
    await store.close()
    await other.close()


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://u:geheim@a:1,b:port/name",
        "postgresql://u:ge/heim@host/name",
        "postgresql://u:1/geheim@host/db",
    ],
)
def test_hosts_that_cannot_be_read_are_not_repeated(address: str) -> None:
    with pytest.raises(StoreError) as caught:
        PostgresStore(address)
    assert "heim" not in str(caught.value)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Peer, Peer]]:
    """A server, and a standby that has what it committed before it says so."""
    with (
        started(lambda: postgres(tmp_path / "a", name="a")) as primary,
        started(lambda: postgres(tmp_path / "b", name="b", of=primary)) as standby,
    ):
        asyncio.run(told(primary.url, "ALTER SYSTEM SET synchronous_standby_names = '*'"))
        asyncio.run(told(primary.url, "SELECT pg_reload_conf()"))
        yield primary, standby


@pytest.mark.slow
async def test_a_standby_that_takes_over_has_every_answer_once(
    pair: tuple[Peer, Peer], store_seal: Seal
) -> None:
    primary, standby = pair
    store = PostgresStore(primary.url.replace("/postgres", f",{host(standby.url)}/postgres"))
    await store.open()
    answered: list[str] = []
    refusals = 0
    stop = asyncio.Event()

    async def client() -> None:
        """Commits, and repeats what was not answered, as the sequencer does."""
        nonlocal refusals
        while not stop.is_set():
            entries = store_seal(2)
            while True:
                try:
                    await store.commit(entries, [])
                except StoreUnavailable:
                    refusals += 1
                    await asyncio.sleep(0.05)
                    continue
                except KeyTaken:  # it was kept, and the answer was lost
                    pass
                break
            answered.extend(entry.entry_id for entry in entries)

    clients = [asyncio.create_task(client()) for _ in range(4)]
    await asyncio.sleep(0.5)
    before = len(answered)
    primary.process.send_signal(signal.SIGQUIT)  # as in a power cut
    primary.process.wait()
    await asyncio.sleep(0.2)
    with pytest.raises(StoreUnavailable):
        await store.head()
    await told(standby.url, "SELECT pg_promote()")
    async with asyncio.timeout(20):
        while len(answered) < before + 100:  # noqa: ASYNC110 - counted by four
            await asyncio.sleep(0.05)
    stop.set()
    await asyncio.gather(*clients)
    assert refusals
    places = [await store.index_of(entry_id) for entry_id in answered]
    assert None not in places
    assert len(set(places)) == len(answered) == (await store.head()).size
    await store.close()


@pytest.mark.slow
async def test_a_server_that_became_a_standby_is_left(pair: tuple[Peer, Peer], store_seal: Seal) -> None:
    primary, standby = pair
    store = PostgresStore(primary.url.replace("/postgres", f",{host(standby.url)}/postgres"))
    await store.open()
    await store.commit(store_seal(1), [])
    await told(primary.url, "ALTER SYSTEM SET default_transaction_read_only = on")  # as one that is demoted
    await told(primary.url, "SELECT pg_reload_conf()")
    await told(standby.url, "SELECT pg_promote()")
    await asyncio.sleep(0.3)
    with suppress(StoreUnavailable):
        await store.commit(store_seal(1), [])
    entries = store_seal(1)
    await store.commit(entries, [])
    found = "SELECT count(*) FROM entry WHERE entry_id = '{}'"
    assert await told(standby.url, found.format(entries[0].entry_id)) == 1
    await store.close()
