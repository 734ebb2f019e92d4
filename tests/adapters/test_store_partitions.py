"""PostgreSQL's partitions: made ahead, never missed, dropped when they expire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import asyncpg
import pytest
from msgspec.structs import replace

from adapters._postgres_partitions import AHEAD, ENTRIES, keep
from adapters.errors import KeyTaken
from adapters.postgres import PostgresStore
from adapters.store import Document, Held, Pointer
from gateway.ids import new_id, since
from security.ledger import Sealed

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

NOW = datetime.now(UTC)
THIS = NOW.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def months(count: int) -> datetime:
    """The first moment of the month that many months from now."""
    month = THIS.year * 12 + THIS.month - 1 + count
    return datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC)


def held(at: datetime, id_: str = "Observation/1") -> Held:
    return Held(person="p1", at=at, node="cq-his", id=id_, body=b"held", saved=NOW)


def doc(at: datetime, kind: str = "check", key: str = "") -> Document:
    return Document(kind=kind, id=new_id(at), key=key, body=b"{}", at=at, person="p1")


@pytest.fixture
async def store(store_schema: str) -> AsyncIterator[PostgresStore]:
    opened = PostgresStore(store_schema)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
async def database(store: PostgresStore, store_schema: str) -> AsyncIterator[Any]:
    """A connection to the database of the store."""
    connection = cast("Any", await asyncpg.connect(store_schema))
    yield connection
    await connection.close()


async def partitions(database: Any, table: str) -> list[str]:
    query = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = $1::regclass ORDER BY 1"
    return [row[0] for row in await database.fetch(query, table)]


async def places(database: Any, table: str) -> list[str]:
    query = f"SELECT tableoid::regclass::text FROM {table} ORDER BY 1"  # noqa: S608
    return [row[0] for row in await database.fetch(query)]


async def test_a_new_store_has_partitions_ahead(store: PostgresStore, database: Any) -> None:
    for table in ("held", "token", "document_case", "document_record"):
        ahead = [f"{table}_{months(n):%Y%m}" for n in range(AHEAD + 1)]
        assert await partitions(database, table) == [*ahead, f"{table}_rest"]
    assert await store.partitioned_until() == months(AHEAD + 1)


async def test_what_grows_stands_in_the_partition_of_its_month(
    store: PostgresStore, database: Any, store_seal: Callable[[int], list[Sealed]]
) -> None:
    await store.commit(store_seal(1), [doc(NOW, kind) for kind in ("check", "publication", "case", "keys")])
    await store.hold([held(NOW), held(months(-1), "Observation/2")])
    assert await places(database, "document") == [
        f"document_case_{THIS:%Y%m}", *2 * [f"document_record_{THIS:%Y%m}"], "document_rest",
    ]  # fmt: skip
    assert await places(database, "held") == [f"held_{months(-1):%Y%m}", f"held_{THIS:%Y%m}"]
    assert await places(database, "secret") == ["secret_000000"]


@pytest.mark.parametrize("at", [datetime(1926, 1, 1, tzinfo=UTC), datetime(2926, 1, 1, tzinfo=UTC)])
async def test_what_no_partition_takes_is_kept_too(store: PostgresStore, database: Any, at: datetime) -> None:
    await store.hold([held(at)])
    await store.keep_partitions()
    assert await places(database, "held") == ["held_rest"]
    assert await store.held(["p1"], at, ["cq-his"]) == [held(at)]


async def test_what_was_caught_moves_into_its_partition_when_that_is_made(
    store: PostgresStore, database: Any
) -> None:
    later = months(AHEAD + 1)
    kept = doc(later)
    await store.commit([], [kept])
    await store.hold([held(later)])
    assert await places(database, "held") == ["held_rest"]
    await store.keep_partitions(later)
    assert await places(database, "held") == [f"held_{later:%Y%m}"]
    assert await places(database, "document") == [f"document_record_{later:%Y%m}"]
    assert await store.document("check", kept.id) == kept


async def test_what_comes_late_has_the_partition_of_its_month(store: PostgresStore, database: Any) -> None:
    await asyncio.gather(*(store.hold([held(months(-n), str(n))]) for n in (20, 20, 8, 8)))
    assert await places(database, "held") == [f"held_{months(-20):%Y%m}", f"held_{months(-8):%Y%m}"]


async def test_secrets_have_partitions_ahead_of_the_ledger(database: Any) -> None:
    await keep(database, NOW, 5 * ENTRIES + 1)
    assert await partitions(database, "secret") == [
        *(f"secret_{number:06}" for number in (0, 1, 5, 6)), "secret_rest",
    ]  # fmt: skip


async def test_replicas_that_make_partitions_at_once_make_each_once(
    store: PostgresStore, store_schema: str, database: Any
) -> None:
    others = [PostgresStore(store_schema) for _ in range(3)]
    for other in others:
        await other.open()
    later = months(5)
    await asyncio.gather(*(one.keep_partitions(later) for one in (store, *others)))
    for other in others:
        await other.close()
    assert await store.partitioned_until() == months(5 + AHEAD + 1)


async def test_partitions_are_made_while_commits_and_reads_go_on(
    store: PostgresStore, store_schema: str, store_seal: Callable[[int], list[Sealed]]
) -> None:
    other = PostgresStore(store_schema)
    await other.open()
    making = asyncio.create_task(other.keep_partitions(months(7)))
    while not making.done():
        await store.commit(store_seal(2), [doc(NOW, "case"), doc(months(6))])
        await store.hold([held(months(6))])
        assert await store.held(["p1"], months(6), ["cq-his"]) == [held(months(6))]
    await making
    await other.close()


async def test_pruned_cases_go_with_their_months(store: PostgresStore, database: Any) -> None:
    await store.keep_partitions(months(-2))
    old = [doc(months(-2), "case", "k1"), doc(months(-2) + timedelta(days=1), "case")]
    kept = doc(NOW, "case")
    early = doc(months(0) + timedelta(seconds=1), "case", "k2")
    await store.commit([], [*old, kept, early])
    assert await store.prune("case", since(months(0) + timedelta(seconds=2))) == 3
    assert f"document_case_{months(-2):%Y%m}" not in await partitions(database, "document_case")
    assert await store.documents("case") == [kept]
    await store.commit([], [doc(NOW, "case", "k1"), doc(NOW, "case", "k2")])


async def test_pruning_another_kind_drops_nothing(store: PostgresStore, database: Any) -> None:
    before = await partitions(database, "document_record")
    await store.commit([], [doc(NOW), doc(NOW, "outcome")])
    assert await store.prune("check", since(months(5))) == 1
    assert await partitions(database, "document_record") == before
    assert len(await store.documents("outcome")) == 1


async def test_expired_results_go_with_their_months(store: PostgresStore, database: Any) -> None:
    await store.hold([held(months(-3), "a"), held(months(-1), "b"), held(NOW, "c"), held(months(-30), "d")])
    assert await store.unhold(before=months(-1)) == 2
    assert (await partitions(database, "held"))[0] == f"held_{months(-1):%Y%m}"
    assert [one.id for one in await store.held(["p1"], months(-40), ["cq-his"])] == ["c", "b"]


async def test_what_expires_is_deleted_where_a_month_cannot_be_dropped(
    store: PostgresStore, database: Any
) -> None:
    await store.hold([held(months(-3)), held(months(-2), "Observation/2")])
    async with database.transaction():
        await database.execute("SELECT count(*) FROM held")  # as a backup does, for long
        assert await store.unhold(before=months(-1)) == 2
    assert f"held_{months(-3):%Y%m}" in await partitions(database, "held")


async def test_nobody_is_locked_out_while_what_expires_is_deleted_row_by_row(
    store: PostgresStore, database: Any
) -> None:
    old = Pointer(person="p1", node="cq-his", group="lab", first=NOW, last=months(-3), noted=NOW)
    await store.hold([held(months(-3), "Observation/2"), held(NOW)], [old])
    async with database.transaction():
        await database.execute("SELECT FROM pointer FOR UPDATE")
        expiring = asyncio.create_task(store.unhold(before=months(-1)))
        while f"held_{months(-3):%Y%m}" in await partitions(database, "held"):
            pass
        async with asyncio.timeout(2):
            assert await store.held(["p1"], months(-3), ["cq-his"]) == [held(NOW)]
        assert not expiring.done()
    assert await expiring == 2


async def test_what_comes_while_a_person_is_erased_is_whole(store: PostgresStore, database: Any) -> None:
    await store.hold([replace(held(NOW), tokens=("T1",))])
    late = replace(held(NOW, "Observation/2"), tokens=("T2",))
    async with database.transaction():
        await database.execute("SELECT FROM token FOR UPDATE")
        erasing = asyncio.create_task(store.unhold(persons=["p1"]))
        while not await database.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            pass
        await store.hold([late])
    assert await erasing == 1
    assert [row[0] for row in await database.fetch("SELECT token FROM token")] == ["T2"]
    assert [one.id for one in await store.listed("cq-his", "Observation", ["T2"], 5)] == [late.id]


async def test_one_patients_reports_are_looked_for_in_the_asked_months_alone(
    store: PostgresStore, database: Any
) -> None:
    await store.hold([held(months(-n), str(n)) for n in range(5)])
    query = "EXPLAIN SELECT * FROM held WHERE person = ANY('{p1}') AND at >= "
    plan = await database.fetch(f"{query} {int(months(-1).timestamp()) * 1_000_000}")
    read = {name for name in await partitions(database, "held") if any(f" {name} " in row[0] for row in plan)}
    assert read == {f"held_{months(n):%Y%m}" for n in range(-1, AHEAD + 1)} | {"held_rest"}


async def test_a_document_is_read_from_one_partition(database: Any) -> None:
    query = "EXPLAIN SELECT * FROM document WHERE kind = 'check' AND id = "
    plan = await database.fetch(f"{query} '{new_id(NOW)}'")
    assert " ".join(row[0] for row in plan).count(" on document_record_") == 1


@pytest.mark.parametrize("table", ["held", "pointer", "document"])
async def test_what_citus_would_shard_by_is_in_every_unique_key(database: Any, table: str) -> None:
    query = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = $1::regclass"
    keys = await database.fetch(f"{query} AND contype IN ('p', 'u')", table)
    assert keys
    assert all("person" in row[0] for row in keys)


async def test_a_key_is_unique_over_all_partitions(store: PostgresStore) -> None:
    await store.commit([], [doc(NOW, key="request-1")])
    with pytest.raises(KeyTaken):
        await store.commit([], [doc(months(1), key="request-1")])
