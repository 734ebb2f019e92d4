"""The caches: in this process against a model, and a real Redis."""

from __future__ import annotations

import asyncio
import socket
import tracemalloc
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.cache import ITEM_BYTES, Cache, LocalCache
from adapters.errors import StoreError
from adapters.redis_cache import RedisCache
from gateway.demo.processes import free_port

pytestmark = pytest.mark.anyio


class Clock:
    """A clock that stands until it is moved."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Errors(list[tuple[str, str]]):
    """What a cache told of its failures: operation and kind of error."""

    def __call__(self, operation: str, error: Exception) -> None:
        self.append((operation, type(error).__name__))


@pytest.fixture(params=["local", "redis"])
async def store_cache(request: pytest.FixtureRequest) -> AsyncIterator[Cache]:
    cache: Cache = (
        LocalCache() if request.param == "local" else RedisCache(request.getfixturevalue("store_redis"))
    )
    yield cache
    await cache.close()


async def test_a_value_is_found_until_it_is_deleted(store_cache: Cache) -> None:
    await store_cache.set("deleted", b"\0\xff", 60)
    assert await store_cache.get("deleted") == b"\0\xff"
    await store_cache.delete("deleted")
    assert await store_cache.get("deleted") is None


async def test_the_last_value_counts(store_cache: Cache) -> None:
    await store_cache.set("twice", b"1", 60)
    await store_cache.set("twice", b"2", 60)
    assert await store_cache.get("twice") == b"2"


async def test_a_value_ends_with_its_time(store_cache: Cache) -> None:
    await store_cache.set("short", b"1", 0.02)
    await asyncio.sleep(0.03)
    assert await store_cache.get("short") is None


async def test_what_was_never_set_is_a_miss(store_cache: Cache) -> None:
    assert await store_cache.get("never") is None
    await store_cache.delete("never")


async def test_the_least_recently_used_value_makes_room() -> None:
    cache = LocalCache(max_bytes=3 * (10 + ITEM_BYTES))
    for key in "abc":
        await cache.set(key, bytes(9), 60)
    await cache.get("a")
    await cache.set("d", bytes(9), 60)
    assert [key for key in "abcd" if await cache.get(key)] == ["a", "c", "d"]


async def test_a_value_larger_than_the_cache_is_not_kept() -> None:
    cache = LocalCache(max_bytes=ITEM_BYTES + 30)
    await cache.set("large", bytes(30), 60)
    assert await cache.get("large") is None


async def test_time_is_taken_from_the_clock_that_was_given() -> None:
    clock = Clock()
    cache = LocalCache(clock=clock)
    await cache.set("key", b"1", 5)
    clock.now += 4.9
    assert await cache.get("key") == b"1"
    clock.now += 0.1
    assert await cache.get("key") is None


async def test_values_that_ended_make_room_without_being_asked_for() -> None:
    clock = Clock()
    cache = LocalCache(clock=clock)
    await cache.set("long", bytes(10), 1000)
    tracemalloc.start()
    for number in range(20_000):
        clock.now += 0.01
        await cache.set(f"short-{number}", b"", 1)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 100 * 1000
    assert await cache.get("long") == bytes(10)


@pytest.mark.parametrize("names", [10, 20_000])
async def test_long_lived_values_that_were_replaced_or_displaced_leave_nothing_behind(names: int) -> None:
    cache = LocalCache(max_bytes=100 * ITEM_BYTES)
    tracemalloc.start()
    for number in range(20_000):
        await cache.set(f"long-{number % names}", b"", 3600)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 100 * 1000


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.one_of(st.none(), st.integers(0, 12)))))
def test_a_local_cache_never_finds_what_was_not_the_last_value(steps: list[tuple[str, int | None]]) -> None:
    async def walk() -> None:
        cache, last = LocalCache(max_bytes=2 * ITEM_BYTES + 20), dict[str, bytes]()
        for n, (key, size) in enumerate(steps):
            if size is None:
                await cache.delete(key)
                last.pop(key, None)
            else:
                last[key] = bytes([n % 256]) * size
                await cache.set(key, last[key], 60)
            found = {name: value for name in "abcdef" if (value := await cache.get(name)) is not None}
            assert found.items() <= last.items()
            assert sum(len(name) + len(value) for name, value in found.items()) <= 20

    asyncio.run(walk())


async def test_a_redis_that_is_away_is_a_miss_and_an_event() -> None:
    errors = Errors()
    cache = RedisCache(f"redis://127.0.0.1:{free_port()}/0", errors, rest_seconds=0)
    await cache.set("key", b"1", 60)
    assert await cache.get("key") is None
    await cache.delete("key")
    await cache.close()
    assert errors == [("set", "ConnectionError"), ("get", "ConnectionError"), ("delete", "ConnectionError")]


async def test_a_redis_that_hangs_is_a_miss_after_a_short_time_and_then_rests() -> None:
    errors = Errors()
    with socket.create_server(("127.0.0.1", 0)) as hanging:  # takes connections and says nothing
        address = f"redis://127.0.0.1:{hanging.getsockname()[1]}/0"
        cache = RedisCache(address, errors, timeout_seconds=0.02, rest_seconds=60)
        assert await cache.get("key") is None
        assert await cache.get("key") is None
        await cache.set("key", b"1", 60)
        await cache.close()
    assert errors == [("get", "TimeoutError")]


async def test_a_redis_address_that_cannot_be_read_is_not_repeated() -> None:
    with pytest.raises(StoreError) as caught:
        RedisCache("http://lianren:geheim@host/0")
    assert "geheim" not in str(caught.value)
