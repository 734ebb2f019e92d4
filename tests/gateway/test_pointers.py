"""The pointer index: what is learned from answers, what is told of it, and what a lost store means."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from adapters import Answer, Question, Report
from adapters.sqlite import SqliteStore
from adapters.store import Pointer
from gateway import pointers as module
from gateway.pointers import Known, Pointers, pointers_of
from recognition import Reading, Result
from tests.node_cases import question

T = TypeVar("T")
NOW = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)
PERSON, FORMER = "e2.person", "e1.person"
DAY = timedelta(days=1)


def asked(**changes: Any) -> Question:
    return question(**{"pseudonyms": (PERSON, FORMER)} | changes)


def result(id_: str = "r1", kind: str = "lab", days: int = 3, **changes: Any) -> Result:
    at = NOW - days * DAY
    values: dict[str, Any] = {
        "id": id_,
        "node": "cq-his",
        "kind": kind,
        "institution": "EX-CQ-01",
        "local_name": "白蛋白",
        "reading": Reading(None, None, "unknown"),
        "identity": "strong",
        "status": "final",
        "performed": at,
        "reported": at + timedelta(hours=3),
        "version_key": id_,
    }
    return Result(**values | changes)


def said(*results: Result, node: str = "cq-his", **more: Any) -> Answer:
    report = Report(node=node, kind="fhir", state="answered", took_ms=1, results=len(results))
    return Answer(report=report, results=results, **more)


def pointer(group: str = "lab", days: int = 3, **changes: Any) -> Pointer:
    at = NOW - days * DAY
    values: dict[str, Any] = {"person": PERSON, "node": "cq-his", "first": at, "last": at, "noted": NOW}
    return Pointer(**values | {"group": group} | changes)


def with_index(folder: Path, work: Callable[[Pointers, SqliteStore], Awaitable[T]]) -> T:
    """What this comes to over an open store."""

    async def run() -> T:
        store = SqliteStore(folder / "store.sqlite3")
        await store.open()
        try:
            return await work(Pointers(store), store)
        finally:
            await store.close()

    return asyncio.run(run())


def test_what_was_seen_is_known_at_the_next_question(tmp_path: Path) -> None:
    async def work(index: Pointers, _: SqliteStore) -> Known:
        index.seen(asked(), said(result(days=5), result("r2", days=3)), Known())
        await index.flush()
        return await index.of((PERSON,))

    (known,) = with_index(tmp_path, work).pointers
    assert (known.node, known.group, known.published) == ("cq-his", "lab", False)
    assert (known.first, known.last) == (NOW - 5 * DAY, NOW - 3 * DAY + timedelta(hours=3))


def test_images_stand_by_the_modality_that_the_archive_states_else_by_their_name() -> None:
    read = result("r2", "imaging", reading=Reading(None, "DR|胸部|-|-|正位", "not_listed"))
    found = pointers_of(
        PERSON, "n", [result("r1", "imaging"), read, result("r3", "imaging")], NOW, {"r1": "CT"}
    )
    assert [one.group for one in found] == ["imaging", "imaging:CT", "imaging:DR"]


def test_a_result_without_a_time_has_no_pointer() -> None:
    assert pointers_of(PERSON, "n", [result(performed=None, reported=None)], NOW) == []


def test_what_was_known_is_not_written_again(tmp_path: Path) -> None:
    async def work(index: Pointers, store: SqliteStore) -> bool:
        index.seen(asked(), said(result()), Known())
        await index.flush()
        known = await index.of((PERSON,))
        await store.unhold(persons=(PERSON,))
        index.seen(asked(), said(result()), known)
        await index.flush()
        return bool((await index.of((PERSON,))).pointers)

    assert not with_index(tmp_path, work)


def test_what_is_seen_of_nobody_in_particular_is_not_kept(tmp_path: Path) -> None:
    async def work(index: Pointers, _: SqliteStore) -> Known:
        index.seen(question(), said(result()), Known())
        await index.flush()
        return await index.of((PERSON,))

    assert with_index(tmp_path, work) == Known((), whole=True)


def test_pointers_under_a_former_pseudonym_are_found(tmp_path: Path) -> None:
    async def work(index: Pointers, store: SqliteStore) -> Known:
        await store.hold((), [pointer(person=FORMER)])
        return await index.of((PERSON, FORMER))

    assert len(with_index(tmp_path, work).pointers) == 1


def test_a_node_that_moved_takes_its_pointers_along(tmp_path: Path) -> None:
    async def work(index: Pointers, store: SqliteStore) -> Known:
        await store.hold((), [pointer(published=True)])
        await store.repoint("cq-his", "cq-new")
        return await index.of((PERSON,))

    known = with_index(tmp_path, work)
    assert known.announced_nothing("cq-his", asked())
    assert not known.announced_nothing("cq-new", asked())


def test_while_the_store_is_away_nothing_is_known_and_nobody_is_left_out(tmp_path: Path) -> None:
    known = asyncio.run(Pointers(SqliteStore(tmp_path / "gone" / "store.sqlite3")).of((PERSON,)))
    assert known == Known()
    assert not known.announced_nothing("cq-his", asked())


def test_what_was_seen_while_the_store_was_away_is_written_later(tmp_path: Path) -> None:
    async def run() -> Known:
        store = SqliteStore(tmp_path / "store.sqlite3")
        index = Pointers(store)
        index.seen(asked(), said(result()), Known())
        await index.flush()  # not open yet
        await store.open()
        await index.aclose()
        known = await index.of((PERSON,))
        await store.close()
        return known

    assert len(asyncio.run(run()).pointers) == 1


def test_what_waits_is_bounded(tmp_path: Path) -> None:
    async def work(index: Pointers, store: SqliteStore) -> tuple[int, bool]:
        for number in range(module.WAITING + 10):
            index.seen(asked(pseudonyms=(f"e2.{number}",)), said(result()), Known())
        await index.flush()
        persons = [f"e2.{number}" for number in range(module.WAITING + 10)]
        found = [one.person for one in await store.pointers(persons)]
        return len(found), persons[-1] in found

    assert with_index(tmp_path, work) == (module.WAITING, True)


def test_a_node_that_announced_something_older_than_the_question_has_nothing_of_it() -> None:
    known = Known((pointer(days=200, published=True),), whole=True)
    assert known.announced_nothing("cq-his", asked())
    assert not known.announced_nothing("cq-his", asked(since=NOW - 300 * DAY))


@pytest.mark.parametrize(("group", "kinds"), [("lab", ("imaging",)), ("imaging:CT", ("lab",))])
def test_a_node_that_announced_another_kind_has_nothing_of_this_one(
    group: str, kinds: tuple[str, ...]
) -> None:
    known = Known((pointer(group, published=True),), whole=True)
    assert known.announced_nothing("cq-his", asked(kinds=kinds))


def test_what_a_silent_node_is_known_to_hold_is_said_in_words() -> None:
    known = Known((pointer("imaging:CT", days=40), pointer("lab", days=9), pointer("lab", node="other")))
    assert known.told("cq-his", asked()) == "is known to hold imaging (CT), laboratory results of 2026-11"
    assert known.told("cq-his", asked(kinds=("imaging",))) == "is known to hold imaging (CT) of 2026-10"
    assert known.told("nobody", asked()) == ""
