"""What only the PostgreSQL store has: a server that can be elsewhere, away, or set up carelessly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import asyncpg
import pytest

from adapters.errors import StoreError, StoreUnavailable
from adapters.postgres import PostgresStore
from gateway.demo.processes import free_port
from security.ledger import Sealed

pytestmark = pytest.mark.anyio

WAITS_FOR_A_LOCK = (
    "SELECT 1 FROM pg_stat_activity WHERE application_name = 'cut' AND wait_event_type = 'Lock'"
)


async def test_a_server_that_does_not_flush_commits_is_refused(store_schema: str) -> None:
    with pytest.raises(StoreError, match="synchronous_commit is off"):
        await PostgresStore(f"{store_schema}&synchronous_commit=off").open()


async def test_a_server_that_is_away_is_named_without_the_password() -> None:
    port = free_port()
    with pytest.raises(StoreUnavailable) as caught:
        await PostgresStore(f"postgresql://lianren:geheim@127.0.0.1:{port}/lianren").open()
    assert str(caught.value).startswith(f"PostgreSQL at 127.0.0.1:{port}/lianren: ")
    assert "geheim" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "address", ["postgresql://lianren:geheim@host:port/name", "http://lianren:geheim@host/name"]
)
async def test_an_address_that_cannot_be_read_is_not_repeated(address: str) -> None:
    with pytest.raises(StoreError) as caught:
        await PostgresStore(address).open()
    assert "geheim" not in str(caught.value)


async def test_a_database_that_does_not_exist_makes_the_store_unavailable(store_postgres: str) -> None:
    with pytest.raises(StoreUnavailable, match="does not exist"):
        await PostgresStore(store_postgres.replace("/postgres", "/missing")).open()


async def test_a_commit_whose_connection_is_cut_is_unavailable_and_the_next_one_connects_again(
    store_schema: str, store_seal: Callable[[int], list[Sealed]]
) -> None:
    store = PostgresStore(f"{store_schema}&application_name=cut")
    await store.open()
    operator = await asyncpg.connect(store_schema)
    async with operator.transaction():
        await operator.execute("SELECT size FROM log_head FOR UPDATE")
        waiting = asyncio.create_task(store.commit(store_seal(1), []))
        while not await operator.fetchval(WAITS_FOR_A_LOCK):
            pass
        await operator.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'cut'"
        )
        with pytest.raises(StoreUnavailable):
            await waiting
    await operator.close()
    assert (await store.commit(store_seal(1), [])).size == 1
    await store.close()


async def test_an_idle_connection_that_was_cut_costs_at_most_one_refusal(
    store_schema: str, store_seal: Callable[[int], list[Sealed]]
) -> None:
    store = PostgresStore(f"{store_schema}&application_name=idle")
    await store.open()
    operator = await asyncpg.connect(store_schema)
    await operator.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'idle'"
    )
    with suppress(StoreUnavailable):  # whether the driver has noticed already is a matter of time
        await store.ping()
    assert (await store.commit(store_seal(1), [])).size == 1
    await operator.close()
    await store.close()


async def test_a_server_that_isolates_strictly_by_default_does_not_fail_concurrent_commits(
    store_schema: str, store_seal: Callable[[int], list[Sealed]]
) -> None:
    store = PostgresStore(f"{store_schema}&default_transaction_isolation=serializable")
    await store.open()
    await asyncio.gather(*(store.commit(store_seal(1), []) for _ in range(10)))
    assert (await store.head()).size == 10
    await store.close()


async def test_a_commit_that_meets_a_lock_for_too_long_is_unavailable_and_keeps_nothing(
    store_schema: str, store_seal: Callable[[int], list[Sealed]]
) -> None:
    store = PostgresStore(f"{store_schema}&lock_timeout=50")
    await store.open()
    other = await asyncpg.connect(store_schema)
    async with other.transaction():
        await other.execute("SELECT size FROM log_head FOR UPDATE")
        with pytest.raises(StoreUnavailable, match="lock timeout"):
            await store.commit(store_seal(1), [])
    await other.close()
    assert (await store.head()).size == 0
    await store.close()
