"""The results index of a store, on SQLite, PostgreSQL and sealed alike."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from msgspec.structs import replace

from adapters.errors import StoreError, StoreUnavailable
from adapters.sealing import CLOSED, SealedStore, blind, is_sealed
from adapters.sqlite import SqliteStore
from adapters.store import Document, Held, Pointer, Store
from security.envelope import Envelope

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 20, 8, 30, 0, 123456, tzinfo=UTC)
LONG_AGO = datetime(1926, 1, 1, tzinfo=UTC)
NODES = ["cq-his", "sc-his"]


def held(id_: str = "Observation/1", days: float = 1, person: str = "p1", node: str = "cq-his") -> Held:
    at = NOW - timedelta(days=days)
    return Held(person=person, at=at, node=node, id=id_, body=id_.encode(), saved=NOW)


def pointer(days: float = 1, person: str = "p1", node: str = "cq-his", group: str = "lab") -> Pointer:
    at = NOW - timedelta(days=days)
    return Pointer(person=person, node=node, group=group, first=at, last=at, noted=at)


async def ids(store: Store, *persons: str, since: datetime = LONG_AGO) -> list[str]:
    return [one.id for one in await store.held(persons or ["p1"], since, NODES)]


async def test_a_held_resource_comes_back_equal(store_raw: Store) -> None:
    one = replace(held(), at=NOW.astimezone(timezone(timedelta(hours=8))))
    await store_raw.hold([one])
    assert await store_raw.held(["p1"], NOW, ["cq-his"]) == [one]


async def test_held_resources_are_those_asked_for_and_the_newest_come_first(store_raw: Store) -> None:
    await store_raw.hold(
        [held("a", 3), held("b", 1), held("c", 2, "p2"), held("d", 400), held("e", 1, "p3"),
         held("f", 1, node="other")]
    )  # fmt: skip
    assert await ids(store_raw, "p1", "p2", since=NOW - timedelta(days=30)) == ["b", "c", "a"]
    assert [one.id for one in await store_raw.held(["p1"], LONG_AGO, NODES, limit=2)] == ["b", "a"]


@pytest.mark.parametrize(("persons", "nodes"), [([], NODES), (["p1"], []), (["\0"], NODES), (["p1"], ["\0"])])
async def test_nobody_and_no_node_have_nothing(
    store_raw: Store, persons: list[str], nodes: list[str]
) -> None:
    await store_raw.hold([held()], [pointer()])
    assert await store_raw.held(persons, LONG_AGO, nodes) == []
    assert await store_raw.pointers(["", "\0"]) == []


async def test_the_time_from_which_on_is_asked_belongs_to_it(store_raw: Store) -> None:
    await store_raw.hold([held()])
    assert await ids(store_raw, since=held().at) == ["Observation/1"]
    assert await ids(store_raw, since=held().at + timedelta(microseconds=1)) == []


async def test_a_new_version_stands_in_place_of_the_former_even_at_another_time(store_raw: Store) -> None:
    await store_raw.hold([held(days=400)])
    new = replace(held(days=2), body=b"new")
    await store_raw.hold([held(days=3), new])
    assert await store_raw.held(["p1"], LONG_AGO, NODES) == [replace(new, version=2)]


async def test_versions_that_come_at_once_leave_one(store_raw: Store) -> None:
    await asyncio.gather(*(store_raw.hold([held(days=days)]) for days in range(1, 41, 2)))
    assert await ids(store_raw) == ["Observation/1"]


async def test_what_comes_afresh_takes_the_place_of_all_that_stood_there(store_raw: Store) -> None:
    await store_raw.hold([held("a"), held("b", node="sc-his")], [pointer(400)])
    assert (await store_raw.hold([held("c")], [pointer()], afresh=[("p1", "cq-his")])).gone == 2
    assert sorted(await ids(store_raw)) == ["b", "c"]
    assert await store_raw.pointers(["p1"]) == [pointer()]


async def test_one_persons_resources_and_pointers_are_deleted(store_raw: Store) -> None:
    await store_raw.hold([held("a"), held("b", person="p2")], [pointer(), pointer(person="p2")])
    assert await store_raw.unhold(persons=["p1", "p9"]) == 2
    assert await ids(store_raw, "p1", "p2") == ["b"]
    assert [one.person for one in await store_raw.pointers(["p1", "p2"])] == ["p2"]


async def test_all_the_conditions_of_a_deletion_hold(store_raw: Store) -> None:
    await store_raw.hold([held("a", 10), held("b", 1), held("c", 10, node="sc-his"), held("d", 10, "p2")])
    assert await store_raw.unhold(persons=["p1"], node="cq-his", before=NOW - timedelta(days=5)) == 1
    assert sorted(await ids(store_raw, "p1", "p2")) == ["b", "c", "d"]


async def test_what_is_older_is_deleted_and_pointers_by_their_last(store_raw: Store) -> None:
    spans = replace(pointer(), first=LONG_AGO)
    await store_raw.hold([held("a", 400), held("b", 1)], [spans, pointer(400, group="imaging:CT")])
    assert await store_raw.unhold(before=NOW - timedelta(days=300)) == 2
    assert await ids(store_raw) == ["b"]
    assert await store_raw.pointers(["p1"]) == [spans]


@pytest.mark.parametrize(
    "conditions", [{"persons": ["\0"]}, {"node": "\0"}, {"persons": ["p1"], "node": "x"}]
)
async def test_names_that_nothing_has_delete_nothing(store_raw: Store, conditions: dict[str, object]) -> None:
    await store_raw.hold([held()], [pointer()])
    assert await store_raw.unhold(**conditions) == 0  # type: ignore[arg-type]


async def test_a_deletion_without_a_condition_is_refused(store_raw: Store) -> None:
    with pytest.raises(StoreError, match="say of which"):
        await store_raw.unhold()


async def test_pointers_are_ordered_by_node_and_group(store_raw: Store) -> None:
    given = [pointer(node="b"), pointer(node="a"), pointer(node="a", group="imaging:CT")]
    await store_raw.hold([], given)
    assert [(one.node, one.group) for one in await store_raw.pointers(["p1"])] == [
        ("a", "imaging:CT"), ("a", "lab"), ("b", "lab"),
    ]  # fmt: skip


@pytest.mark.parametrize("in_one_call", [True, False])
async def test_a_pointer_is_widened(store_raw: Store, in_one_call: bool) -> None:
    new, old = replace(pointer(1), published=True), pointer(9)
    for given in [[new, old]] if in_one_call else [[new], [old]]:
        await store_raw.hold([], given)
    assert await store_raw.pointers(["p1"]) == [replace(new, first=old.first)]


async def test_a_node_that_gets_another_id_takes_what_it_has_along(store_raw: Store) -> None:
    await store_raw.hold([held("a"), held("b", 2)], [pointer(), pointer(group="imaging:CT")])
    await store_raw.hold([replace(held("b", 3, node="sc-his"), body=b"new")], [pointer(9, node="sc-his")])
    assert await store_raw.repoint("cq-his", "sc-his") == 4
    found = await store_raw.held(["p1"], LONG_AGO, NODES)
    assert [(one.node, one.id, one.body) for one in found] == [
        ("sc-his", "a", b"a"), ("sc-his", "b", b"new"),
    ]  # fmt: skip
    lab = replace(pointer(node="sc-his"), first=pointer(9).first)
    assert await store_raw.pointers(["p1"]) == [pointer(node="sc-his", group="imaging:CT"), lab]


async def test_a_node_keeps_its_own_id(store_raw: Store) -> None:
    await store_raw.hold([held()], [pointer()])
    assert await store_raw.repoint("cq-his", "cq-his") == await store_raw.repoint("cq-his", "\0") == 0
    assert await ids(store_raw) == ["Observation/1"]


async def test_a_document_keeps_whom_it_is_about(store_raw: Store) -> None:
    one = Document(kind="check", id="D-1", key="k", body=b"{}", at=NOW, person="p1")
    await store_raw.commit([], [one])
    told = replace(one, person="") if isinstance(store_raw, SealedStore) else one
    assert await store_raw.document("check", "D-1") == await store_raw.find("check", "k") == told
    newer = replace(one, person="p2")
    await store_raw.replace(newer)
    inner = store_raw.inner if isinstance(store_raw, SealedStore) else store_raw
    (found,) = await inner.documents("check")
    assert found.person == ("p2" if inner is store_raw else blind("p2"))


async def test_a_closed_store_holds_nothing(store_new: Callable[..., Store]) -> None:
    store = store_new()
    for call in (store.hold([held()]), store.held(["p1"], NOW, NODES), store.pointers(["p1"]),
                 store.unhold(node="cq-his"), store.repoint("cq-his", "sc-his")):  # fmt: skip
        with pytest.raises(StoreUnavailable, match="not open"):
            await call


@pytest.mark.parametrize(
    "wrong",
    [{"id": "\0"}, {"person": "\ud800"}, {"node": ""}, {"at": datetime(2026, 11, 20)}],  # noqa: DTZ001
)
def test_a_resource_that_a_database_cannot_hold_is_not_made(wrong: dict[str, object]) -> None:
    good: dict[str, object] = {"person": "p1", "at": NOW, "node": "n", "id": "Observation/1", "body": b""}
    with pytest.raises(StoreError):
        Held(**(good | wrong))  # type: ignore[arg-type]


def test_a_pointer_without_a_time_zone_is_not_made() -> None:
    with pytest.raises(StoreError):
        replace(pointer(), noted=NOW.replace(tzinfo=None))


async def test_pseudonyms_stand_in_no_sealed_file(tmp_path: Path) -> None:
    store = SealedStore(
        SqliteStore(tmp_path / "store.db"), Envelope({"payload-202611a": bytes(32)}, "payload-202611a")
    )
    await store.open()
    await store.hold([held(person="pseudonym")], [pointer(person="pseudonym")])
    await store.commit([], [Document(kind="check", id="D-1", body=b"", at=NOW, person="pseudonym")])
    await store.close()
    assert b"pseudonym" not in (tmp_path / "store.db").read_bytes()


async def test_a_held_body_is_sealed_and_does_not_open_in_another_row(tmp_path: Path) -> None:
    inner = SqliteStore(tmp_path / "store.db")
    store = SealedStore(inner, Envelope({"payload-202611a": bytes(32)}, "payload-202611a"))
    await store.open()
    await store.hold([held("a"), held("b")])
    (a, b) = sorted(await inner.held([blind("p1")], LONG_AGO, NODES), key=lambda one: one.id)
    assert is_sealed(a.body)
    await inner.hold([replace(a, body=b.body)])
    bodies = {one.id: one.body for one in await store.held(["p1"], LONG_AGO, NODES)}
    assert bodies == {"a": CLOSED, "b": b"b"}
    await store.close()
