"""Stored cases: the same decision again under the same version, and what another version makes of them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import msgspec
import pytest
from msgspec.structs import replace

from adapters import Document, SqliteStore, Store
from catalog import Catalogue, UnknownEntry
from gateway.cases import KIND, PAGE, Said, StoredCase, case_document, cases, read_case, replay, said, shifts
from gateway.ids import new_id
from recognition import Check, Result, decide
from tests.gateway.live import Live, ask, body, persons_in, reading
from tests.recognition.cases import ALBUMIN, CHEST_PLAIN, NOW, POTASSIUM, catalogue, check, ct, lab

OLD = Said("r1", ALBUMIN, ALBUMIN, "recognised", ("R0.1",), NOW)


def stored(asked: Check, *results: Result) -> StoredCase:
    """A case as it comes back from the store."""
    decision = decide(asked, results, catalogue())
    return read_case(case_document(new_id(NOW), asked, results, decision, NOW))


def version(name: str, **tables: object) -> Catalogue:
    """The bundled catalogue as another version."""
    editions = tuple(replace(edition, version=name) for edition in catalogue().editions)
    return replace(catalogue(), editions=editions, **tables)


def windows_of(days: int) -> Catalogue:
    """A version in which every window has so many days."""
    return version("windows", windows=tuple(replace(w, days=days) for w in catalogue().windows))


@pytest.mark.parametrize(
    ("asked", "results"),
    [
        (check(ALBUMIN), (lab(),)),
        (check(ALBUMIN, POTASSIUM), (lab(), lab(POTASSIUM, days_ago=30), lab(days_ago=2, id="other"))),
        (check(CHEST_PLAIN, emergency=True), (ct(), lab())),
        (check(ALBUMIN), (lab(identity="weak"), lab(id="2", mark=None, flags=("completeness:no-status",)))),
        (check(ALBUMIN), ()),
    ],
    ids=["one", "several", "imaging", "withheld", "nothing"],
)
def test_a_stored_case_gives_the_identical_decision_again(asked: Check, results: tuple[Result, ...]) -> None:
    case = stored(asked, *results)
    decision = replay(case, catalogue())
    assert decision == decide(asked, results, catalogue())
    assert case.holds(decision)


def test_a_case_that_was_changed_no_longer_holds() -> None:
    case = stored(check(ALBUMIN), lab())
    changed = replace(case, results=(replace(case.results[0], value="41.3"),))
    assert not changed.holds(replay(changed, catalogue()))


def test_what_is_not_part_of_the_question_leaves_its_case_as_it_is() -> None:
    case = stored(check(ALBUMIN), lab())
    assert case.holds(replay(case, replace(catalogue(), prices=())))


def test_a_renumbered_item_is_met_under_its_new_number() -> None:
    code = CHEST_PLAIN
    item = catalogue().item(code)
    renumbered = {**catalogue().items, "CT-900": replace(item, code="CT-900")}
    del renumbered[code]
    case = stored(check("CT-002"), ct())
    decision = replay(case, version("renumbered", items=renumbered))
    assert {verdict.item for verdict in decision.verdicts} <= {"CT-900"}


def test_a_planned_item_that_is_gone_cannot_be_decided() -> None:
    items = {code: item for code, item in catalogue().items.items() if code != ALBUMIN}
    with pytest.raises(UnknownEntry):
        replay(stored(check(ALBUMIN), lab()), version("less", items=items))


def test_the_same_verdicts_are_no_shift() -> None:
    case = stored(check(ALBUMIN), lab())
    assert shifts(case.verdicts, tuple(map(said, replay(case, catalogue()).verdicts))) == []


def test_a_shorter_window_shifts_the_verdict_of_its_result() -> None:
    case = stored(check(ALBUMIN), lab(days_ago=5))
    after = tuple(map(said, replay(case, windows_of(3)).verdicts))
    ((shift),) = shifts(case.verdicts, after)
    assert (shift.before and shift.before.verdict, shift.after and shift.after.verdict) == (
        "recognised",
        "not_recognised",
    )


@pytest.mark.parametrize(
    ("after", "pairs"),
    [
        ((), [(OLD, None)]),
        ((replace(OLD, serves=None),), [(OLD, replace(OLD, serves=None))]),
        ((OLD, replace(OLD, result="r2")), [(None, replace(OLD, result="r2"))]),
        ((replace(OLD, expires=None), replace(OLD, serves="x")), 2),
    ],
    ids=["gone", "no longer serves", "another result", "two"],
)
def test_verdicts_are_paired_by_result_and_planned_item(
    after: tuple[Said, ...], pairs: list[tuple[Said | None, Said | None]] | int
) -> None:
    found = [(shift.before, shift.after) for shift in shifts((OLD,), after)]
    assert (len(found) if isinstance(pairs, int) else found) == pairs


def test_cases_come_page_by_page_in_the_order_of_time(tmp_path: Path) -> None:
    case = stored(check(ALBUMIN))
    times = [NOW + timedelta(minutes=n) for n in range(PAGE + 20)]

    async def run() -> list[datetime]:
        store = SqliteStore(tmp_path / "store")
        await store.open()
        decision = decide(case.check, (), catalogue())
        asked = [replace(case.check, at=time) for time in times]
        documents = [case_document(new_id(one.at), one, (), decision, one.at) for one in reversed(asked)]
        await store.commit((), documents)
        found = [kept.check.at async for _, kept in cases(store, times[1], times[-1])]
        await store.close()
        return found

    assert asyncio.run(run()) == times[1:-1]


def kept_cases(gateway: Live) -> dict[str, bytes]:
    async def read(store: Store) -> dict[str, bytes]:
        found: list[Document] = []
        while page := await store.documents(KIND, found[-1].id if found else ""):
            found += page
        return {document.id: document.body for document in found}

    return reading(gateway, read)


def test_every_answered_check_keeps_its_case_under_its_id(gateway: Live, his: httpx.Client) -> None:
    answer = ask(his, body())
    case = msgspec.json.decode(kept_cases(gateway)[answer.id], type=StoredCase)
    assert (case.check.at, case.check.receiver) == (answer.answered_at, answer.receiver.code)
    assert [one.verdict for one in case.verdicts] == [verdict.verdict for verdict in answer.verdicts]
    assert case.catalogue == answer.catalogue.version


def test_ids_of_checks_are_in_the_order_of_time(gateway: Live, his: httpx.Client) -> None:
    answers = [ask(his, body()) for _ in range(3)]
    assert [a.id for a in answers] == sorted(a.id for a in answers)
    assert answers[0].answered_at <= datetime.now(UTC)


def test_no_case_tells_a_person(gateway: Live, his: httpx.Client) -> None:
    ask(his, body())
    assert [
        persons_in(kept.decode()) for kept in kept_cases(gateway).values() if persons_in(kept.decode())
    ] == []
