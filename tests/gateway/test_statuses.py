"""A withdrawal by one gateway reaches the other that recognised the mark, over its status list."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from adapters.sequencer import Sequencer
from adapters.sqlite import SqliteStore
from adapters.store import Document
from gateway.demo.people import BY_KEY
from gateway.keeper import roots_of
from gateway.keyring import open_keys
from gateway.log import Log
from gateway.marks.index import RECOGNISED, Recognition, recognition_id, recognitions
from gateway.marks.statuses import Statuses
from gateway.marks.withdrawing import Withdrawals
from gateway.model import NoticesOut, VerdictOut
from gateway.readiness import status_findings
from gateway.signing import Signing
from gateway.wiring import open_store
from security import status
from security.keys import KeyPair
from security.mark import Claims
from security.status import Withdrawn
from security.trust import TrustList
from tests.gateway.live import OTHER, Live, ask, body, gateway_over_source, gateway_with
from tests.security.material import CLAIMS, DAY, LOG_KEY, MARK_KEY, key_list
from tests.serving import serve

NOW = datetime.now(UTC).replace(microsecond=0)
WHITE, RED, PLATELETS = "白细胞计数", "血红蛋白", "血小板计数"


@dataclass
class Lists:
    """Stands before a gateway for its key list and its status list, which a test may replace."""

    behind: Live
    status: bytes | None = None
    away: bool = False

    async def pass_on(self, request: Request) -> Response:
        place = request.url.path
        if self.away or (place == "/trust/status" and self.status is not None):
            return Response(self.status or b"", 503 if self.away else 200)
        answer = self.behind.client("").get(place)
        return Response(answer.content, answer.status_code, media_type=answer.headers["content-type"])


@dataclass
class Two:
    """重庆, whose node has the results, and 四川, which asks it."""

    cq: Live
    sc: Live
    lists: Lists


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    tmp_path = tmp_path_factory.mktemp("statuses")
    (tmp_path / "cq").mkdir()
    with ExitStack() as stack:
        cq = stack.enter_context(gateway_over_source(tmp_path / "cq"))
        lists = Lists(cq)
        routes = [Route("/{path:path}", lists.pass_on)]
        url = stack.enter_context(serve(Starlette(routes=routes)))
        (tmp_path / "token").write_text(cq.tokens["peer"])
        (tmp_path / "roots.json").write_bytes(msgspec.json.encode(roots_of(open_keys(cq.settings), "cq")))
        peer = {"id": "gw-cq", "kind": "gateway", "url": cq.url, "owner": "cq", "timeout_ms": 7000}
        pin = {"owner": "cq", "url": url, "keys_file": tmp_path / "roots.json"}
        (tmp_path / "sc").mkdir()
        more: dict[str, Any] = {"region": "510000", "pins": [pin], "status_s": 1}
        nodes = [{**peer, "token_file": tmp_path / "token"}]
        sc = stack.enter_context(gateway_with(tmp_path / "sc", nodes, owner="sc", **more))
        until(lambda: bool(sc.events("status_fetched")))
        yield Two(cq, sc, lists)


@pytest.fixture
def two(both: Two) -> Two:
    """The two as they are, whatever the test before did to the lists."""
    both.lists.status, both.lists.away = None, False
    return both


def until(holds: Callable[[], bool]) -> None:
    """Wait for something that happens in the background."""
    ends = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.02)


def checked(two: Two, name: str, person: str = "jia") -> VerdictOut:
    """The verdict that a hospital in 四川 gets on the result in 重庆."""
    answer = ask(two.sc.client("other"), body(name, patient=BY_KEY[person].number))
    (verdict,) = answer.verdicts
    return verdict


def mark_of(verdict: VerdictOut) -> str:
    assert verdict.mark is not None
    return verdict.mark.id


def withdraw(two: Two, mark_id: str) -> None:
    response = two.cq.client("steward").post(
        f"/api/v1/marks/{mark_id}/withdrawal", json={"reason": "evaluation-failed"}
    )
    assert response.status_code == 200, response.text


def notices(two: Two) -> NoticesOut:
    return msgspec.json.decode(two.sc.client("other").get("/api/v1/withdrawals").content, type=NoticesOut)


def listed(two: Two, mark_id: str, number: int) -> None:
    """Let 重庆 sign a list that withdraws a mark, and wait until 四川 has it."""
    key, now = open_keys(two.cq.settings).signer("mark", "Ed25519"), datetime.now(UTC)
    withdrawn = [Withdrawn(bytes.fromhex(mark_id), "amended", now)]
    two.lists.status = status.issue(withdrawn, key, number=number, issued=now, fresh=timedelta(hours=1))
    until(lambda: two.sc.events("status_fetched")[-1]["version"] == number)


def test_who_recognised_a_mark_of_another_gateway_is_told_of_its_withdrawal(two: Two) -> None:
    answer = ask(two.sc.client("other"), body(WHITE, patient=BY_KEY["jia"].number))
    (verdict,) = answer.verdicts
    assert verdict.verdict == "recognised", verdict.reasons
    withdraw(two, mark_of(verdict))
    until(lambda: bool(notices(two).withdrawals))
    (told,) = notices(two).withdrawals
    assert (told.mark, told.issuer, told.check) == (mark_of(verdict), "cq", answer.id)
    again = two.sc.client("other").get(f"/api/v1/checks/{answer.id}").json()
    assert [one["mark"] for one in again["withdrawn"]] == [mark_of(verdict)]


def test_a_withdrawal_holds_at_the_other_gateway_before_the_list_arrives(two: Two) -> None:
    verdict = checked(two, RED)
    two.lists.away = True
    withdraw(two, mark_of(verdict))
    after = checked(two, RED)
    assert [reason.rule for reason in after.reasons] == ["R4.4"]
    assert mark_of(after) == mark_of(verdict)


@pytest.mark.slow
def test_an_older_list_is_refused_and_the_held_one_goes_on(two: Two) -> None:
    verdict = checked(two, WHITE, "ji")
    before = two.cq.client("").get("/trust/status").content
    size = two.sc.events("status_fetched")[-1]["withdrawn"]
    withdraw(two, mark_of(verdict))
    until(lambda: two.sc.events("status_fetched")[-1]["withdrawn"] > size)
    two.lists.status, told = before, len(two.sc.events("status_missing"))
    until(lambda: len(two.sc.events("status_missing")) > told)
    assert "withdrawals are not taken back" in two.sc.events("status_missing")[-1]["detail"]


def test_a_mark_on_the_held_list_is_withdrawn_whatever_its_gateway_answers(two: Two) -> None:
    """The list says so, and the gateway still hands the mark out."""
    verdict = checked(two, PLATELETS)
    listed(two, mark_of(verdict), 1000)
    after = checked(two, PLATELETS)
    assert [reason.rule for reason in after.reasons] == ["R4.4"]


def answered(two: Two, key: KeyPair, number: int, *claims: Claims) -> None:
    """Let 重庆 answer with a list of these marks, signed by this key."""
    withdrawn = [Withdrawn(one.mark_id, "amended", NOW) for one in claims]
    two.lists.status = status.issue(withdrawn, key, number=number, issued=NOW, fresh=timedelta(hours=1))


def test_what_could_not_be_passed_on_comes_again_with_the_next_list(two: Two, tmp_path: Path) -> None:
    async def run() -> None:
        store = SqliteStore(tmp_path / "store")
        await store.open()
        sequencer = Sequencer(store, [LOG_KEY], "sc.lianren.example/exchange")  # takes nothing yet
        withdrawals = Withdrawals("sc", sequencer, Signing([]))
        trust = TrustList([], [key_list(MARK_KEY)])
        statuses = Statuses(two.sc.settings, store, lambda: trust, withdrawals, Log(io.StringIO()))
        mark_id = CLAIMS.mark_id.hex()
        recognised = msgspec.json.encode(Recognition("cq", OTHER, "a result", "an item"))
        await store.replace(Document(kind=RECOGNISED, id=f"{mark_id}|a check", body=recognised, at=NOW))
        answered(two, MARK_KEY, 1, CLAIMS)
        await statuses.fetch("cq")
        assert withdrawals.of_mark(mark_id) is None
        await sequencer.start()
        await statuses.fetch("cq")
        assert withdrawals.of_mark(mark_id) is not None
        await statuses.aclose()
        await sequencer.close()
        await store.close()

    asyncio.run(run())


def test_a_list_of_a_thief_is_replaced_once_the_key_is_known_to_be_compromised(
    two: Two, tmp_path: Path
) -> None:
    async def run() -> None:
        store = SqliteStore(tmp_path / "store")
        await store.open()
        withdrawals = Withdrawals("sc", Sequencer(store, [], "sc.lianren.example/exchange"), Signing([]))
        thief, key = (KeyPair.generate("Ed25519", "cq", "mark", NOW - DAY, letter=letter) for letter in "tu")
        lists = [key_list(thief, key)]
        statuses = Statuses(
            two.sc.settings, store, lambda: TrustList([], lists), withdrawals, Log(io.StringIO())
        )
        (finding,) = await status_findings(statuses)
        assert (finding.part, finding.level) == ("status_lists", "warn")
        answered(two, thief, 2**60, CLAIMS)
        await statuses.fetch("cq")
        assert await status_findings(statuses) == []
        answered(two, key, 7)
        await statuses.fetch("cq")
        assert "withdrew" in statuses.withdrawn(CLAIMS)  # a lower number is refused
        known = replace(thief.public, status="compromised")
        lists[0] = replace(lists[0], keys=(known, key.public))
        await statuses.fetch("cq")
        assert statuses.withdrawn(CLAIMS) == ""
        await statuses.aclose()
        await store.close()

    asyncio.run(run())


def test_a_gateway_cannot_withdraw_marks_of_another(two: Two) -> None:
    """四川 recognised a mark that is not of 重庆, which lists it as withdrawn."""
    mark_id = "ff" * 16
    recognised = msgspec.json.encode(Recognition("sc", OTHER, "a result", "an item"))
    document = Document(kind=RECOGNISED, id=f"{mark_id}|a check", body=recognised, at=datetime.now(UTC))

    async def keep() -> None:
        store = open_store(two.sc.settings)
        await store.open()
        await store.replace(document)
        await store.close()

    asyncio.run(keep())
    listed(two, mark_id, 1001)
    assert mark_id not in [one.mark for one in notices(two).withdrawals]


def test_a_check_is_found_by_each_mark_that_it_recognised_in_rows_of_now_and_of_before(
    tmp_path: Path,
) -> None:
    """One row says it of all marks of a moment; before 0.4 each mark had its own."""
    first, second, other = (f"{'0a' * 6}{letter * 20}" for letter in "123")
    one, two_ = (Recognition("cq", OTHER, result, "an item") for result in ("one", "two"))

    async def run() -> dict[str, list[tuple[str, Recognition]]]:
        store = SqliteStore(tmp_path / "store")
        await store.open()
        body = msgspec.json.encode({"check": "new", "marks": {first: one, second: two_}})
        await store.replace(Document(kind=RECOGNISED, id=recognition_id(first, "new"), body=body, at=NOW))
        await store.replace(
            Document(kind=RECOGNISED, id=f"{first}|old", body=msgspec.json.encode(one), at=NOW)
        )
        found = {mark: await recognitions(store, mark) for mark in (first, second, other)}
        await store.close()
        return found

    assert asyncio.run(run()) == {
        first: [("old", one), ("new", one)],
        second: [("new", two_)],
        other: [],
    }
