"""The contract of a store, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import KeyTaken, StoreError, StoreUnavailable
from adapters.schema import pack_frontier, unpack_frontier
from adapters.store import TALLIES, Document, Secret, Store, Tally
from security.errors import LedgerRefused
from security.ledger import Sealed
from security.tree import Frontier, inclusion_proof, leaf_hash, root_of, verify_inclusion

pytestmark = pytest.mark.anyio

Seal = Callable[..., list[Sealed]]
NewStore = Callable[..., Store]
AT = datetime(2026, 11, 20, 16, 30, 0, 123456, tzinfo=timezone(timedelta(hours=8)))


def doc(id_: str, key: str = "", kind: str = "check", body: bytes = b"{}") -> Document:
    return Document(kind=kind, id=id_, key=key, body=body, at=AT)


async def test_entries_stand_densely_in_the_order_of_commits(store_open: Store, store_seal: Seal) -> None:
    first, second = store_seal(3), store_seal(2)
    await store_open.commit(first, [])
    committed = await store_open.commit(second, [])
    assert committed.first_index == 3
    assert await store_open.entries(0, 10) == [entry.body for entry in first + second]


async def test_a_commit_returns_the_size_and_root_that_the_head_has(
    store_open: Store, store_seal: Seal
) -> None:
    committed = await store_open.commit(store_seal(5), [])
    head = await store_open.head()
    assert (committed.size, committed.root) == (head.size, head.root)


async def test_a_new_ledger_is_empty_and_has_no_note(store_open: Store) -> None:
    assert (await store_open.head()).size == 0
    assert await store_open.note() is None


async def test_a_document_comes_back_equal_with_the_offset_of_its_time(store_open: Store) -> None:
    document = doc("D-1", "request-1", body=b"\0\xff")
    await store_open.commit([], [document])
    found = await store_open.document("check", "D-1")
    assert found == document
    assert found.at.isoformat() == AT.isoformat()


async def test_a_document_is_found_by_its_key(store_open: Store) -> None:
    await store_open.commit([], [doc("D-1", "request-1"), doc("D-2", "request-2")])
    assert await store_open.find("check", "request-2") == doc("D-2", "request-2")


async def test_documents_of_another_kind_are_not_found(store_open: Store) -> None:
    await store_open.commit([], [doc("D-1", "request-1")])
    assert await store_open.document("outcome", "D-1") is None
    assert await store_open.find("outcome", "request-1") is None


@pytest.mark.parametrize("name", ["", "missing", "\0", "\ud800", "检查"])
async def test_names_that_nothing_has_find_nothing(store_open: Store, name: str) -> None:
    await store_open.commit([], [doc("D-1")])
    assert await store_open.document("check", name) is None
    assert await store_open.find("check", name) is None
    assert await store_open.index_of(name) is None
    assert await store_open.secret(name) is None
    assert not await store_open.erase(name)


@pytest.mark.parametrize("second", [doc("D-2", "request-1"), doc("D-1", "request-2"), doc("D-1")])
async def test_a_taken_key_or_id_keeps_nothing_of_the_commit(
    store_open: Store, store_seal: Seal, second: Document
) -> None:
    await store_open.commit(store_seal(), [doc("D-1", "request-1")])
    with pytest.raises(KeyTaken):
        await store_open.commit(store_seal(), [doc("D-3"), second])
    assert (await store_open.head()).size == 1
    assert await store_open.document("check", "D-3") is None


async def test_a_refused_key_is_named_in_the_error_but_not_in_its_message(store_open: Store) -> None:
    await store_open.commit([], [doc("D-1", "request-1")])
    with pytest.raises(KeyTaken) as caught:
        await store_open.commit([], [doc("D-9", "request-9"), doc("D-2", "request-1")])
    assert (caught.value.kind, caught.value.key) == ("check", "request-1")
    assert "request-1" not in str(caught.value)


async def test_documents_without_a_key_do_not_take_each_others(store_open: Store) -> None:
    await store_open.commit([], [doc("D-1"), doc("D-2")])
    assert len(await store_open.documents("check")) == 2


async def test_a_stored_entry_id_is_refused_and_its_place_is_known(
    store_open: Store, store_seal: Seal
) -> None:
    entries = store_seal(3)
    await store_open.commit(entries, [])
    with pytest.raises(KeyTaken) as caught:
        await store_open.commit([*store_seal(), entries[2]], [])
    assert (caught.value.kind, caught.value.key) == ("entry", entries[2].entry_id)
    assert await store_open.index_of(entries[2].entry_id) == 2
    assert (await store_open.head()).size == 3


async def test_an_entry_that_stands_twice_in_one_commit_is_refused(
    store_open: Store, store_seal: Seal
) -> None:
    with pytest.raises(KeyTaken):
        await store_open.commit(store_seal() * 2, [])


@pytest.mark.parametrize("second", [doc("D-1"), doc("D-2", "request-1")])
async def test_a_document_that_stands_twice_in_one_commit_is_refused(
    store_open: Store, second: Document
) -> None:
    with pytest.raises(KeyTaken):
        await store_open.commit([], [doc("D-1", "request-1"), second])


async def test_an_entry_sealed_for_another_hash_is_refused(store_open: Store, store_seal: Seal) -> None:
    with pytest.raises(LedgerRefused):
        await store_open.commit(store_seal(1, "sm3"), [])


async def test_documents_page_in_the_order_of_their_ids_bytes(store_open: Store) -> None:
    ids = ["1", "A", "a", "é", "检", "𠮷"]
    await store_open.commit([], [doc(id_) for id_ in reversed(ids)])
    first = await store_open.documents("check", limit=4)
    rest = await store_open.documents("check", after=first[-1].id, limit=4)
    assert [document.id for document in first + rest] == ids


async def test_documents_are_paged_by_what_their_keys_begin_with(store_open: Store) -> None:
    keys = ["a|1", "a|10", "a|2", "a|检", "a|𠮷"]
    others = [doc("5", "a}"), doc("6", "a"), doc("7", "b|1"), doc("8"), doc("9", "a|3", kind="outcome")]
    await store_open.commit([], [*others, *(doc(str(-n), key) for n, key in enumerate(keys))])
    first = await store_open.keyed("check", "a|", limit=3)
    rest = await store_open.keyed("check", "a|", after=first[-1].key, limit=3)
    assert [document.key for document in first + rest] == keys
    assert await store_open.document("check", first[0].id) == first[0]


async def test_pruning_takes_the_documents_of_a_kind_before_an_id(store_open: Store) -> None:
    await store_open.commit(
        [], [doc(id_, f"key-{id_}") for id_ in ("1", "2", "3")] + [doc("1", kind="outcome")]
    )
    assert await store_open.prune("check", "3") == 2
    assert [document.id for document in await store_open.documents("check")] == ["3"]
    assert [document.id for document in await store_open.documents("outcome")] == ["1"]


async def test_a_pruned_key_may_be_taken_again(store_open: Store) -> None:
    await store_open.commit([], [doc("1", "request-1")])
    await store_open.prune("check", "2")
    await store_open.commit([], [doc("3", "request-1")])
    assert await store_open.find("check", "request-1") == doc("3", "request-1")


@pytest.mark.parametrize("name", ["", "0", "\0", "\ud800"])
async def test_pruning_before_the_first_id_takes_nothing(store_open: Store, name: str) -> None:
    await store_open.commit([], [doc("1")])
    assert await store_open.prune("check", name) == 0
    assert await store_open.prune(name, "2") == 0


async def test_removing_takes_the_documents_that_are_named(store_open: Store) -> None:
    await store_open.commit([], [doc("1"), doc("2"), doc("3"), doc("1", kind="outcome")])
    assert await store_open.remove("check", "1", "3", "missing", "\0") == 2
    assert await store_open.remove("check") == 0
    assert [document.id for document in await store_open.documents("check")] == ["2"]
    assert [document.id for document in await store_open.documents("outcome")] == ["1"]


async def test_erasing_several_says_how_many_there_were(store_open: Store, store_seal: Seal) -> None:
    entries = store_seal(4)
    await store_open.commit(entries, [])
    assert await store_open.erase(*(entry.entry_id for entry in entries[:2]), "missing", "\0") == 2
    assert await store_open.erase() == 0
    assert [(index, id_) for index, id_, _ in await store_open.secrets(0)] == [
        (2, entries[2].entry_id), (3, entries[3].entry_id),
    ]  # fmt: skip


async def test_secrets_page_in_the_order_of_the_entries(store_open: Store, store_seal: Seal) -> None:
    entries = store_seal(5)
    await store_open.commit(entries, [])
    (one, two) = await store_open.secrets(1, 2)
    assert one == (1, entries[1].entry_id, Secret(entries[1].salt, entries[1].payload))
    assert two[0] == 2
    assert await store_open.secrets(5) == await store_open.secrets(2**63) == []


async def test_replacing_keeps_the_newest_state(store_open: Store) -> None:
    await store_open.replace(doc("cq", "1", "keys", b"old"))
    await store_open.replace(doc("cq", "2", "keys", b"new"))
    assert await store_open.document("keys", "cq") == doc("cq", "2", "keys", b"new")
    assert await store_open.find("keys", "1") is None


async def test_replacing_may_not_take_the_key_of_another_document(store_open: Store) -> None:
    await store_open.replace(doc("cq", "1", "keys"))
    with pytest.raises(KeyTaken):
        await store_open.replace(doc("sc", "1", "keys"))


async def test_erasing_takes_the_secret_and_leaves_the_proof(store_open: Store, store_seal: Seal) -> None:
    entries = store_seal(3)
    committed = await store_open.commit(entries, [])
    assert await store_open.secret(entries[1].entry_id) == Secret(entries[1].salt, entries[1].payload)
    assert await store_open.erase(entries[1].entry_id)
    assert await store_open.secret(entries[1].entry_id) is None
    body = (await store_open.entries(1, 1))[0]
    leaves = await store_open.leaves(0, 3)
    proof = inclusion_proof(
        1, 3, lambda level, index: root_of(leaves[index << level :][: 1 << level], "sha256"), "sha256"
    )
    verify_inclusion(leaf_hash(body, "sha256"), 1, 3, proof, committed.root, "sha256")


async def test_erasing_twice_says_that_nothing_was_there(store_open: Store, store_seal: Seal) -> None:
    (entry,) = store_seal()
    await store_open.commit([entry], [])
    assert await store_open.erase(entry.entry_id)
    assert not await store_open.erase(entry.entry_id)


async def test_the_first_note_of_a_size_stays(store_raw: Store) -> None:
    await store_raw.put_note(1, bytes(32), "first")
    await store_raw.put_note(1, bytes(32), "second")
    assert await store_raw.note(1) == "first"


async def test_the_newest_note_is_that_of_the_largest_size(store_raw: Store) -> None:
    for size in (9, 10, 2):
        await store_raw.put_note(size, bytes(32), str(size))
    assert await store_raw.note() == "10"
    assert await store_raw.note(3) is None


@pytest.mark.parametrize(
    ("start", "count"), [(2, 1), (0, 0), (0, -1), (2**63, 1), (0, 10**30), (-(10**3), 10)]
)
async def test_ranges_outside_the_ledger_give_what_there_is(
    store_open: Store, store_seal: Seal, start: int, count: int
) -> None:
    entries = store_seal(2)
    await store_open.commit(entries, [])
    expected = [entry.leaf for entry in entries] if count == 10**30 else []
    assert await store_open.leaves(start, count) == expected
    assert await store_open.note(2**70) is None


async def test_what_was_committed_is_there_when_the_store_opens_again(
    store_open: Store, store_new: NewStore, store_seal: Seal
) -> None:
    await store_open.commit(store_seal(7), [doc("D-1")])
    again = store_new()
    await again.open()
    assert await again.head() == await store_open.head()
    assert await again.document("check", "D-1") == doc("D-1")
    await again.close()


async def test_two_processes_may_open_one_new_database_at_once(store_new: NewStore) -> None:
    stores = [store_new(), store_new()]
    await asyncio.gather(*(store.open() for store in stores))
    assert await stores[0].head() == await stores[1].head()
    for store in stores:
        await store.close()


async def test_commits_of_two_processes_follow_one_another(
    store_open: Store, store_new: NewStore, store_seal: Seal
) -> None:
    other = store_new()
    await other.open()
    committed = await asyncio.gather(*(store.commit(store_seal(3), []) for store in [store_open, other] * 10))
    await other.close()
    assert sorted(one.first_index for one in committed) == list(range(0, 60, 3))


async def test_a_ledger_keeps_the_hash_it_was_born_with(store_raw: Store, store_new: NewStore) -> None:
    other = store_new("sm3")
    with pytest.raises(StoreError, match="hashes with sha256, not sm3"):
        await other.open()


async def test_a_ledger_may_hash_with_sm3(store_new: NewStore, store_seal: Seal) -> None:
    store = store_new("sm3")
    await store.open()
    committed = await store.commit(store_seal(3, "sm3"), [])
    assert committed.root == root_of(await store.leaves(0, 3), "sm3")
    await store.close()


async def test_a_closed_store_is_unavailable(store_new: NewStore) -> None:
    store = store_new()
    await store.open()
    await store.close()
    await store.close()
    for call in (store.ping, store.head, lambda: store.commit([], [])):
        with pytest.raises(StoreUnavailable, match="not open"):
            await call()


async def test_an_open_store_answers_a_ping(store_open: Store) -> None:
    await store_open.ping()


@pytest.mark.parametrize(
    "fields",
    [{"id": "\0"}, {"key": "\ud800"}, {"kind": ""}, {"id": ""}, {"at": datetime(2026, 11, 20)}],  # noqa: DTZ001
)
def test_a_document_that_a_database_cannot_hold_is_not_made(fields: dict[str, object]) -> None:
    good: dict[str, object] = {"kind": "check", "id": "D-1", "body": b"", "at": AT}
    with pytest.raises(StoreError):
        Document(**(good | fields))  # type: ignore[arg-type]


@given(st.integers(0, 200))
def test_a_frontier_is_read_as_it_was_written(size: int) -> None:
    frontier = Frontier().extend((leaf_hash(b"%d" % n, "sha256") for n in range(size)), "sha256")
    assert unpack_frontier(size, pack_frontier(frontier)) == frontier


def test_a_damaged_frontier_is_refused() -> None:
    with pytest.raises(StoreError, match="damaged"):
        unpack_frontier(3, bytes(32))


def tally(id_: str = "T-1", body: bytes = b"{}", after: int = 0, count: int = 1) -> Tally:
    at = AT + timedelta(seconds=after)
    return Tally(kind="review", id=id_, body=body, first=at, last=at, count=count)


async def test_a_tally_adds_up_and_keeps_its_newest_body(store_open: Store) -> None:
    await store_open.commit([], [], [tally()])
    await store_open.commit([], [], [tally(body=b"new", after=5, count=2)])
    found = await store_open.tally("review", "T-1")
    assert found == Tally(
        kind="review", id="T-1", body=b"new", first=AT, last=AT + timedelta(seconds=5), count=3
    )


async def test_a_tally_may_stand_twice_in_one_commit(store_open: Store) -> None:
    await store_open.commit([], [], [tally(), tally("T-2"), tally(after=1)])
    assert [(one.id, one.count) for one in await store_open.tallies("review")] == [("T-1", 2), ("T-2", 1)]


async def test_tallies_are_paged_by_their_ids(store_open: Store) -> None:
    await store_open.commit([], [], [tally(f"T-{number}") for number in range(5)])
    assert [one.id for one in await store_open.tallies("review", "T-1", 2)] == ["T-2", "T-3"]
    assert await store_open.tallies("other") == []


async def test_a_commit_that_is_refused_counts_nothing(store_open: Store) -> None:
    await store_open.commit([], [doc("D-1")], [tally()])
    with pytest.raises(KeyTaken):
        await store_open.commit([], [doc("D-1")], [tally()])
    (found,) = await store_open.tallies("review")
    assert found.count == 1


async def test_many_commits_at_once_lose_no_count(store_open: Store) -> None:
    await asyncio.gather(*(store_open.commit([], [], [tally(f"T-{n % 3}")]) for n in range(30)))
    assert [one.count for one in await store_open.tallies("review")] == [10, 10, 10]


async def test_a_forgotten_tally_is_gone(store_open: Store) -> None:
    await store_open.commit([], [], [tally(), tally("T-2")])
    assert await store_open.forget("review", "T-1")
    assert not await store_open.forget("review", "T-1")
    assert await store_open.tally("review", "T-1") is None
    assert [one.id for one in await store_open.tallies("review")] == ["T-2"]


async def test_a_full_group_of_tallies_keeps_those_met_most_and_last(store_open: Store) -> None:
    met_once = [tally(f"11111111{number:05d}", after=number) for number in range(TALLIES)]
    await store_open.commit([], [], [tally("11111111often", count=2), tally("22222222")])
    await store_open.commit([], [], met_once)
    await store_open.commit([], [], [tally("11111111new", after=TALLIES)])
    ids = [one.id for one in await store_open.tallies("review", "", 2 * TALLIES)]
    assert len(ids) == TALLIES + 1
    assert {"11111111often", "11111111new", "22222222"} < set(ids)
    assert not {"1111111100000", "1111111100001"} & set(ids)


def test_a_tally_without_a_time_zone_is_refused() -> None:
    with pytest.raises(StoreError):
        Tally(kind="review", id="T-1", body=b"", first=AT, last=AT.replace(tzinfo=None))
