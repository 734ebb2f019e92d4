"""Versions of held resources and what they are found by, on SQLite, PostgreSQL and sealed alike."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from adapters.errors import StoreError, VersionTaken
from adapters.rewrapping import rewrap, sqlite_rows
from adapters.sealing import SealedStore
from adapters.sqlite import SqliteStore
from adapters.store import AT_ONCE, Held, Pointer, Store, attribute
from security.envelope import Envelope

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 20, 8, 30, 0, 123456, tzinfo=UTC)
LONG_AGO = datetime(1926, 1, 1, tzinfo=UTC)
NODE, PLACE = "cq-index", "Observation/1"
THEIRS = "urn:oid:2.16.156.10011.1.3|made up"
KEYS = {"payload-202611a": b"1" * 32, "payload-202611b": b"2" * 32}


def held(body: bytes = b"first", id_: str = PLACE, person: str = "p1", **more: Any) -> Held:
    given: dict[str, Any] = {"at": NOW - timedelta(days=1), "saved": NOW, "node": NODE} | more
    return Held(person=person, id=id_, body=body, **given)


async def bodies(store: Store, person: str = "p1") -> list[bytes]:
    return [one.body for one in await store.held([person], LONG_AGO, [NODE])]


async def listed(store: Store, *tokens: str, type_: str = "Observation", limit: int = 10) -> list[str]:
    return [one.id for one in await store.listed(NODE, type_, tokens, limit)]


async def versions(store: Store) -> list[tuple[int, bytes]]:
    return [(one.version, one.body) for one in await store.versions(NODE, PLACE, 10)]


async def test_a_new_state_is_the_next_version_and_the_one_before_stays(store_raw: Store) -> None:
    first = await store_raw.hold([held()])
    second = await store_raw.hold([held(b"second", saved=NOW + timedelta(hours=1))])
    assert [one.held[0].version for one in (first, second)] == [1, 2]
    (newest,) = await store_raw.place(NODE, [PLACE])
    assert (newest.version, newest.body, newest.saved) == (2, b"second", NOW + timedelta(hours=1))
    former = await store_raw.version(NODE, PLACE, 1)
    assert former
    assert (former.body, former.saved) == (b"first", NOW)
    assert await versions(store_raw) == [(2, b"second"), (1, b"first")]
    assert await bodies(store_raw) == [b"second"]


async def test_history_is_told_from_its_newest_end(store_raw: Store) -> None:
    for number in range(4):
        await store_raw.hold([held(b"%d" % number)])
    assert [one.version for one in await store_raw.versions(NODE, PLACE, 2)] == [4, 3]


async def test_what_never_was_has_no_version(store_raw: Store) -> None:
    await store_raw.hold([held()])
    assert await store_raw.place(NODE, ["Observation/2", "\0"]) == []
    assert await store_raw.place("elsewhere", [PLACE]) == await store_raw.place(NODE, []) == []
    assert await store_raw.version(NODE, PLACE, 2) is None
    assert await store_raw.version(NODE, PLACE, 10**30) is None
    assert await store_raw.versions(NODE, "\0", 5) == []


async def test_the_same_bytes_make_no_new_version(store_raw: Store) -> None:
    await store_raw.hold([held()])
    again = await store_raw.hold([held(saved=NOW + timedelta(hours=1))])
    assert [(one.version, one.saved) for one in again.held] == [(1, NOW)]
    assert await versions(store_raw) == [(1, b"first")]


async def test_the_same_bytes_are_found_as_was_said_last(store_raw: Store) -> None:
    await store_raw.hold([held(person="", tokens=("identifier||a",))])
    await store_raw.hold([held(whose=THEIRS, at=NOW, tokens=("identifier||b",))])
    (one,) = await store_raw.held(["p1"], NOW, [NODE])
    assert (one.version, one.whose) == (1, THEIRS)
    assert await listed(store_raw, "identifier||a") == []
    assert await listed(store_raw, "identifier||b") == [PLACE]


async def test_what_was_deleted_is_known_to_have_been(store_raw: Store) -> None:
    await store_raw.hold([held(tokens=("t",))])
    gone = await store_raw.hold([held(b"")])
    assert [one.version for one in gone.held] == [2]
    (newest,) = await store_raw.place(NODE, [PLACE])
    assert (newest.version, newest.deleted) == (2, True)
    assert await bodies(store_raw) == []
    assert await listed(store_raw) == await listed(store_raw, "t") == []
    assert await versions(store_raw) == [(2, b""), (1, b"first")]


async def test_what_is_deleted_twice_is_deleted_once(store_raw: Store) -> None:
    await store_raw.hold([held()])
    await store_raw.hold([held(b"")])
    again = await store_raw.hold([held(b"", saved=NOW + timedelta(hours=1))])
    assert [(one.version, one.saved) for one in again.held] == [(2, NOW)]


async def test_what_never_was_cannot_be_deleted(store_raw: Store) -> None:
    assert [one.version for one in (await store_raw.hold([held(b"")])).held] == [0]
    assert await store_raw.place(NODE, [PLACE]) == []


async def test_what_comes_again_after_it_was_deleted_counts_on(store_raw: Store) -> None:
    for body in (b"first", b"", b"first"):
        await store_raw.hold([held(body)])
    assert await versions(store_raw) == [(3, b"first"), (2, b""), (1, b"first")]
    assert await bodies(store_raw) == [b"first"]


@pytest.mark.parametrize("expected", [0, 1, 3])
async def test_another_version_than_expected_keeps_all_of_it_out(store_raw: Store, expected: int) -> None:
    await store_raw.hold([held()])
    await store_raw.hold([held(b"second")])
    pointer = Pointer(person="p1", node=NODE, group="lab", first=NOW, last=NOW, noted=NOW)
    with pytest.raises(VersionTaken) as taken:
        await store_raw.hold(
            [held(id_="Observation/0"), held(b"third")], [pointer], expected={(NODE, PLACE): expected}
        )
    assert (taken.value.node, taken.value.id) == (NODE, PLACE)
    assert await store_raw.place(NODE, ["Observation/0"]) == []
    assert await store_raw.pointers(["p1"]) == []
    assert [version for version, _ in await versions(store_raw)] == [2, 1]


async def test_the_expected_version_lets_a_change_in(store_raw: Store) -> None:
    for version, body in enumerate((b"first", b"second", b"")):
        await store_raw.hold([held(body)], expected={(NODE, PLACE): version})
    assert [version for version, _ in await versions(store_raw)] == [3, 2, 1]


async def test_of_many_that_expect_one_version_one_comes_in(store_raw: Store) -> None:
    await store_raw.hold([held()])

    async def change(number: int) -> bool:
        try:
            await store_raw.hold([held(b"%d" % number)], expected={(NODE, PLACE): 1})
        except VersionTaken:
            return False
        return True

    assert sum(await asyncio.gather(*map(change, range(8)))) == 1
    assert [version for version, _ in await versions(store_raw)] == [2, 1]


async def test_changes_that_come_at_once_are_counted_one_by_one(store_raw: Store) -> None:
    await asyncio.gather(*(store_raw.hold([held(b"%d" % number)]) for number in range(12)))
    assert [version for version, _ in await versions(store_raw)] == [*range(10 + 2, 2, -1)]
    assert len(await bodies(store_raw)) == 1


async def test_a_place_that_stands_in_a_call_twice_has_its_last_state(store_raw: Store) -> None:
    told = await store_raw.hold([held(), held(b"second")])
    assert [one.version for one in told.held] == [1, 1]
    assert await versions(store_raw) == [(1, b"second")]


async def test_resources_are_listed_by_type_and_the_newest_saved_first(store_raw: Store) -> None:
    saved = [NOW + timedelta(hours=hours) for hours in (1, 3, 2)]
    await store_raw.hold(
        [held(id_=f"Observation/{n}", saved=at, person="") for n, at in enumerate(saved)]
        + [held(id_="ObservationDefinition/9"), held(id_="Patient/1"), held(node="elsewhere")]
    )
    assert await listed(store_raw) == ["Observation/1", "Observation/2", "Observation/0"]
    assert await listed(store_raw, limit=1) == ["Observation/1"]
    assert await listed(store_raw, type_="Patient") == ["Patient/1"]


async def test_a_resource_is_found_by_each_of_its_tokens(store_raw: Store) -> None:
    await store_raw.hold(
        [held(id_="Observation/1", tokens=("a", "b", "b")), held(id_="Observation/2", tokens=("b",)),
         held(id_="Patient/1", tokens=("a",)), held(id_="Observation/3"),
         held(id_="Observation/4", node="elsewhere", tokens=("a",))]
    )  # fmt: skip
    assert await listed(store_raw, "a") == ["Observation/1"]
    assert sorted(await listed(store_raw, "b", "a")) == ["Observation/1", "Observation/2"]
    assert await listed(store_raw, "c", "\0") == []


async def test_a_resource_is_found_by_whom_it_names(store_raw: Store) -> None:
    await store_raw.hold([held(subject="Patient/1", tokens=("a",)), held(b"", "Patient/1")])
    assert await listed(store_raw, "Patient/1") == await listed(store_raw, "Patient/1", "a") == [PLACE]
    await store_raw.hold([held(b"second", subject="Patient/2")])
    assert await listed(store_raw, "Patient/1") == []


async def test_a_former_version_is_not_found_by_its_tokens(store_raw: Store) -> None:
    await store_raw.hold([held(tokens=("old", "both"))])
    await store_raw.hold([held(b"second", tokens=("both", "new"))])
    assert await listed(store_raw, "old") == []
    assert await listed(store_raw, "new") == await listed(store_raw, "both") == [PLACE]


async def test_whose_a_resource_is_comes_back_and_whom_it_names_does_not(store_raw: Store) -> None:
    await store_raw.hold([held(whose=THEIRS, subject="Patient/1", tokens=("t",))])
    (one,) = await store_raw.place(NODE, [PLACE])
    assert (one.whose, one.subject, one.tokens, one.body) == (THEIRS, "", (), b"first")


@pytest.mark.parametrize("body", [b"\0", b"\0\0x", "值".encode()])
@pytest.mark.parametrize("theirs", ["", THEIRS])
async def test_bytes_come_back_as_they_came(store_raw: Store, body: bytes, theirs: str) -> None:
    await store_raw.hold([held(body, whose=theirs)])
    (one,) = await store_raw.place(NODE, [PLACE])
    assert (one.body, one.whose) == (body, theirs)


async def test_what_is_nobodys_is_found_by_its_place_alone(store_raw: Store) -> None:
    await store_raw.hold([held(person="", subject="Patient/1")])
    assert [one.body for one in await store_raw.place(NODE, [PLACE])] == [b"first"]
    assert await bodies(store_raw) == []


async def test_what_named_a_patient_before_he_was_known_becomes_his(store_raw: Store) -> None:
    for body in (b"first", b"second"):
        await store_raw.hold([held(body, person="", subject="Patient/1", tokens=("t",))])
    await store_raw.hold([held(id_="Observation/2", person="", subject="Patient/2")])
    adopted = await attribute(store_raw, NODE, "Patient/1", "p1", THEIRS)
    assert sorted((one.version, one.body, one.person) for one in adopted) == [
        (1, b"first", "p1"), (2, b"second", "p1"),
    ]  # fmt: skip
    (one,) = await store_raw.held(["p1"], LONG_AGO, [NODE])
    assert (one.version, one.body, one.whose) == (2, b"second", THEIRS)
    assert [one.whose for one in await store_raw.versions(NODE, PLACE, 5)] == [THEIRS, THEIRS]
    assert await listed(store_raw, "t") == [PLACE]
    assert await attribute(store_raw, NODE, "Patient/1", "p1", THEIRS) == []
    await store_raw.unhold(persons=["p1"])
    assert await store_raw.versions(NODE, PLACE, 5) == await store_raw.listed(NODE, "Observation", ["t"], 5)


async def test_who_else_has_what_names_a_patient_is_known(store_raw: Store) -> None:
    named: dict[str, Any] = {"subject": "Patient/1"}
    await store_raw.hold([held(id_="Observation/1", **named), held(id_="Observation/2", person="", **named)])
    await store_raw.hold([held(id_="Observation/3", subject="Patient/3")])
    assert await store_raw.others(NODE, "Patient/1", ["p2", "\0"]) == ["Observation/1"]
    assert await store_raw.others(NODE, "Patient/1", ["p1", "p2"]) == []
    await store_raw.hold([held(b"", subject="Patient/1")])
    assert await store_raw.others(NODE, "Patient/1", ["p2"]) == []


async def test_what_becomes_another_persons_is_his_alone(store_raw: Store) -> None:
    await store_raw.hold([held()])
    await store_raw.hold([held(b"second", person="p2")])
    assert (await bodies(store_raw), await bodies(store_raw, "p2")) == ([], [b"second"])


async def test_with_a_person_all_his_versions_and_tokens_go(store_raw: Store) -> None:
    await store_raw.hold([held(tokens=("t",)), held(id_="Observation/2", person="p2", tokens=("t",))])
    await store_raw.hold([held(b"second", tokens=("t",))])
    assert await store_raw.unhold(persons=["p1"]) == 2
    assert await versions(store_raw) == []
    assert await listed(store_raw, "t") == ["Observation/2"]
    assert [one.version for one in (await store_raw.hold([held()])).held] == [1]


async def test_what_a_person_was_before_a_correction_goes_with_him(store_raw: Store) -> None:
    await store_raw.hold([held()])
    await store_raw.hold([held(b"second", person="p2")])
    await store_raw.unhold(persons=["p1"])
    assert await versions(store_raw) == [(2, b"second")]


async def test_where_the_newest_version_expired_nothing_stands_and_numbers_go_on(store_raw: Store) -> None:
    await store_raw.hold([held(at=NOW)])
    await store_raw.hold([held(b"second", at=NOW - timedelta(days=400), tokens=("t",))])
    assert await store_raw.unhold(before=NOW - timedelta(days=300)) == 1
    assert await store_raw.place(NODE, [PLACE]) == []
    assert await listed(store_raw, "t") == []
    assert await bodies(store_raw) == []
    again = await store_raw.hold([held(b"third")], expected={(NODE, PLACE): 0})
    assert [one.version for one in again.held] == [2]


async def test_with_a_node_its_versions_and_tokens_go(store_raw: Store) -> None:
    await store_raw.hold([held(person="", tokens=("t",))])
    assert await store_raw.unhold(node=NODE) == 1
    assert await listed(store_raw, "t") == []
    assert await versions(store_raw) == []


async def test_a_node_that_gets_another_id_takes_versions_and_tokens_along(store_raw: Store) -> None:
    for body in (b"first", b"second"):
        await store_raw.hold([held(body, tokens=("t",)), held(body, "Observation/2", tokens=("u",))])
    await store_raw.hold([held(b"there", "Observation/2", node="new", tokens=("v",))])
    await store_raw.repoint(NODE, "new")
    assert [one.version for one in await store_raw.versions("new", PLACE, 5)] == [2, 1]
    assert [one.body for one in await store_raw.versions("new", "Observation/2", 5)] == [b"there"]
    found = [[one.id for one in await store_raw.listed("new", "Observation", [t], 5)] for t in "tuv"]
    assert found == [[PLACE], [], ["Observation/2"]]
    assert await versions(store_raw) == []
    assert await listed(store_raw, "t") == []


async def test_what_comes_afresh_deletes_what_does_not_come(store_raw: Store) -> None:
    await store_raw.hold([held(), held(id_="Observation/2"), held(id_="Observation/3", person="p2")])
    told = await store_raw.hold([held(id_="Observation/2")], afresh=[("p1", NODE), ("p9", NODE)])
    assert told.gone == 1
    assert await versions(store_raw) == [(2, b""), (1, b"first")]
    assert [one.version for one in await store_raw.place(NODE, ["Observation/2"])] == [1]
    assert await bodies(store_raw, "p2") == [b"first"]


@pytest.mark.parametrize("wrong", [{"whose": "\0"}, {"subject": "\ud800"}, {"tokens": ("a", "\0")}])
def test_what_a_database_cannot_hold_is_not_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(StoreError):
        held(**wrong)


def sealed(path: Path, *, current: str = "payload-202611a") -> SealedStore:
    return SealedStore(SqliteStore(path), Envelope(KEYS, current))


async def test_neither_whose_nor_tokens_nor_subjects_stand_in_a_sealed_file(tmp_path: Path) -> None:
    store = sealed(tmp_path / "store.db")
    await store.open()
    await store.hold([held(person="", whose="whose it is", subject="whom it names", tokens=("found by",))])
    await store.close()
    file = (tmp_path / "store.db").read_bytes()
    assert [word for word in (b"whose it is", b"whom it names", b"found by") if word in file] == []


async def test_a_body_does_not_open_under_another_person(tmp_path: Path) -> None:
    store = sealed(tmp_path / "store.db")
    await store.open()
    await store.hold([held(person="", subject="Patient/1")])
    (laid,) = await store.inner.place(NODE, [PLACE])
    await store.inner.adopt([replace(laid, person="somebody")])
    with pytest.raises(StoreError, match="does not open"):
        await store.place(NODE, [PLACE])
    await store.close()


async def test_the_same_bytes_are_known_again_after_the_key_was_turned(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = sealed(path)
    await store.open()
    await store.hold([held(tokens=("t",)), held(id_="Observation/2"), held(b"", "Observation/2")])
    await store.close()
    async with sqlite_rows(path) as rows:
        await rewrap(rows, Envelope(KEYS, "payload-202611b"))
    turned = SealedStore(SqliteStore(path), Envelope({"payload-202611b": b"2" * 32}, "payload-202611b"))
    await turned.open()
    assert [one.version for one in (await turned.hold([held(tokens=("t",))])).held] == [1]
    assert await listed(turned, "t") == [PLACE]
    await turned.close()


async def test_others_have_their_turn_while_much_is_listed(store_raw: Store) -> None:
    await store_raw.hold([held(id_=f"Observation/{number}") for number in range(5 * AT_ONCE)])
    listing = asyncio.create_task(store_raw.listed(NODE, "Observation", (), 5 * AT_ONCE))
    turns = 0
    while not listing.done():
        await asyncio.sleep(0)
        turns += 1
    assert (len(await listing), turns > 4) == (5 * AT_ONCE, True)
