"""What nodes said is told again for a moment, to whoever it answers, and never when it may be otherwise."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from adapters import Answer, FhirNode, Line, LocalShared
from catalog import Kind
from gateway.broker.memory import ROOM, Memory, Told, covers, narrowed
from gateway.rules import normaliser_of_question
from recognition import Images
from tests.gateway.brokers import (
    ENVELOPE,
    NAME,
    Fake,
    answer,
    broker_over,
    failed,
    hearing,
    placed,
    question,
    result,
    rules,
    says,
    slow,
)
from tests.node_cases import NOW, searchset
from tests.serving import http_answer, misbehave

pytestmark = pytest.mark.anyio


class Clock:
    """A wall clock that can be set."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC).timestamp()

    def __call__(self) -> float:
        return self.now


async def test_results_are_told_again_with_their_age(tmp_path: Path) -> None:
    node, clock = Fake(), Clock()
    async with broker_over(tmp_path, [placed(node)], cache_s=60, clock=clock) as b:
        first = await b.ask()
        clock.now += 5
        again = await b.ask()
        assert b.metric("lianren_node_reused_total", node="one", how="told") == 1
    assert (len(node.asked), first[0].report.age_ms) == (1, 0)
    assert (again[0].results, again[0].digest) == (first[0].results, first[0].digest)
    assert 5000 <= again[0].report.age_ms <= 6000


async def test_results_are_asked_for_again_after_their_time(tmp_path: Path) -> None:
    node, clock = Fake(), Clock()
    async with broker_over(tmp_path, [placed(node)], cache_s=2, clock=clock) as b:
        await b.ask()
        clock.now += 3
        await b.ask()
    assert len(node.asked) == 2


async def test_an_archive_that_did_not_show_its_images_in_time_is_asked_again(tmp_path: Path) -> None:
    unseen = replace(result(kind="imaging"), images=Images(None))
    node = Fake(say=says(answer("one", unseen, kind="dicomweb")))
    async with broker_over(tmp_path, [placed(node)], cache_s=60) as b:
        await b.ask()
        await b.ask()
    assert len(node.asked) == 2


async def test_that_a_node_had_nothing_has_a_time_of_its_own(tmp_path: Path) -> None:
    node, clock = Fake(say=says(answer("one"))), Clock()
    async with broker_over(tmp_path, [placed(node)], cache_s=60, cache_empty_s=1, clock=clock) as b:
        await b.ask()
        await b.ask()
        assert len(node.asked) == 1
        clock.now += 2
        await b.ask()
    assert len(node.asked) == 2


async def test_nothing_is_told_again_where_that_is_switched_off(tmp_path: Path) -> None:
    node = Fake()
    async with broker_over(tmp_path, [placed(node)]) as b:
        await b.ask()
        await b.ask()
    assert len(node.asked) == 2


async def test_a_clock_that_was_set_back_tells_nothing_again(tmp_path: Path) -> None:
    node, clock = Fake(), Clock()
    async with broker_over(tmp_path, [placed(node)], cache_s=60, clock=clock) as b:
        await b.ask()
        clock.now -= 3600
        await b.ask()
    assert len(node.asked) == 2


@pytest.mark.parametrize(
    "said",
    [
        failed(),
        answer("one", result(), fault="node", detail="1 resources could not be read: Observation/o2"),
        answer("one", state="refused", fault="node"),
        answer("one", state="skipped"),
    ],
    ids=["unreachable", "answered in part", "refused", "skipped"],
)
async def test_only_a_whole_answer_is_told_again(tmp_path: Path, said: Answer) -> None:
    node = Fake(say=says(said))
    async with broker_over(tmp_path, [placed(node)], cache_s=60, cache_empty_s=60) as b:
        await b.ask()
        await b.ask()
    assert len(node.asked) == 2


@pytest.mark.parametrize(
    "changes",
    [{"pseudonyms": ("p2",)}, {"pseudonyms": ()}, {"since": NOW - timedelta(days=91)}],
    ids=["another person", "no pseudonym", "a longer time"],
)
async def test_what_was_not_asked_for_is_asked(tmp_path: Path, changes: dict[str, Any]) -> None:
    node = Fake()
    async with broker_over(tmp_path, [placed(node)], cache_s=60) as b:
        await b.ask()
        await b.ask(**changes)
    assert len(node.asked) == 2


async def test_what_was_read_by_other_rules_is_read_anew(tmp_path: Path) -> None:
    node = Fake()
    async with broker_over(tmp_path, [placed(node)], cache_s=60) as b:
        await b.ask()
        await b.ask(by=rules("sites-2"))
    assert len(node.asked) == 2


async def test_what_a_node_said_at_another_address_is_not_told_again(tmp_path: Path) -> None:
    node = Fake()
    async with broker_over(tmp_path, [placed(node)], cache_s=60) as b:
        await b.ask()
        b.nodes = [placed(node, url="http://127.0.0.1:2")]
        await b.ask()
    assert len(node.asked) == 2


async def test_what_an_archive_said_of_patients_known_by_another_node_is_not_told_again(
    tmp_path: Path,
) -> None:
    archive = Fake("pacs", kind="dicomweb")
    over = [placed(Fake("his")), placed(archive, identity="his")]
    async with broker_over(tmp_path, over, cache_s=60) as b:
        await b.ask()
        b.nodes = [placed(Fake("his"), url="http://127.0.0.1:2"), placed(archive, identity="his")]
        await b.ask()
    assert len(archive.asked) == 2


async def test_after_something_was_published_a_node_is_asked_again(tmp_path: Path) -> None:
    node = Fake()
    async with broker_over(tmp_path, [placed(node)], cache_s=60) as b:
        await b.ask()
        await b.broker.forget("one", ("p1",))
        await b.ask()
    assert len(node.asked) == 2


async def test_after_another_replica_heard_of_a_publication_a_node_is_asked_again(tmp_path: Path) -> None:
    node = Fake()
    async with broker_over(tmp_path, [placed(node)], cache_s=60) as b:
        await b.ask()
        await b.announce("one", noted=datetime.now(UTC))
        await b.ask()
        await b.ask()
    assert len(node.asked) == 2


async def test_what_was_on_its_way_when_something_was_published_is_told_to_nobody_else(
    tmp_path: Path,
) -> None:
    node = Fake(say=slow(0.05))
    async with broker_over(tmp_path, [placed(node)], cache_s=60) as b:
        first = asyncio.create_task(b.ask())
        await asyncio.sleep(0.02)
        await b.broker.forget("one", ("p1",))
        await asyncio.gather(first, b.ask())
        assert len(node.asked) == 2


async def test_publishing_about_one_person_leaves_the_others_alone(tmp_path: Path) -> None:
    node = Fake()
    async with broker_over(tmp_path, [placed(node)], cache_s=60) as b:
        await b.ask()
        await b.broker.forget("one", ("p2",))
        await b.ask()
    assert len(node.asked) == 1


async def test_who_is_told_again_has_read_the_names_too(tmp_path: Path) -> None:
    by, heard = hearing()
    async with broker_over(tmp_path, [placed(Fake())], cache_s=60) as b:
        await b.ask()
        await b.ask(by=by)
    assert heard.names == [NAME.name]


async def test_a_node_that_is_left_alone_may_still_be_told_again(tmp_path: Path) -> None:
    node = Fake(say=says(answer("one", result()), failed()))
    async with broker_over(tmp_path, [placed(node, breaker_failures=1)], cache_s=60) as b:
        await b.ask()
        await b.ask(pseudonyms=("p2",))
        assert (await b.report(pseudonyms=("p3",))).state == "skipped"
        assert (await b.report()).state == "answered"


# late answers


async def test_an_answer_that_comes_too_late_is_there_for_the_next_question(tmp_path: Path) -> None:
    node = Fake(say=slow(0.12))
    async with broker_over(tmp_path, [placed(node, timeout_ms=50)], cache_s=60) as b:
        assert (await b.report()).state == "late"
        await asyncio.sleep(0.12)
        assert (await b.report()).state == "answered"
        assert b.metric("lianren_node_late_total", node="one") == 1
    assert len(node.asked) == 1


async def test_who_asks_while_a_late_answer_is_on_its_way_waits_for_that(tmp_path: Path) -> None:
    node = Fake(say=slow(0.12))
    async with broker_over(tmp_path, [placed(node, timeout_ms=100)], cache_s=60) as b:
        assert (await b.report()).state == "late"
        assert (await b.report()).state == "answered"
    assert len(node.asked) == 1


async def test_an_answer_that_comes_too_late_makes_up_for_the_failure(tmp_path: Path) -> None:
    node = Fake(say=slow(0.1))
    async with broker_over(tmp_path, [placed(node, timeout_ms=30, breaker_failures=1)], cache_s=60) as b:
        await b.ask()
        assert (await b.report(pseudonyms=("p2",))).state == "skipped"
        await asyncio.sleep(0.12)
        assert (await b.report(pseudonyms=("p2",))).state == "late"


async def test_patience_has_an_end(tmp_path: Path) -> None:
    node = Fake(say=slow(60))
    async with broker_over(tmp_path, [placed(node, timeout_ms=30, late_ms=30)], cache_s=60) as b:
        await b.ask()
        assert node.ended == 0
        await asyncio.sleep(0.05)
        assert node.ended == 1


async def test_late_requests_leave_half_of_the_turns_to_others(tmp_path: Path) -> None:
    node = Fake(say=slow(60))
    settings = {"timeout_ms": 30, "connections": 4, "breaker_failures": 99}
    async with broker_over(tmp_path, [placed(node, **settings)], cache_s=60) as b:
        await asyncio.gather(*(b.ask(pseudonyms=(f"p{n}",)) for n in range(4)))
        await asyncio.sleep(0)
        assert b.broker.states()[0].in_flight == 2


async def test_a_late_request_that_somebody_waits_for_is_not_given_up_for_another(tmp_path: Path) -> None:
    node = Fake(say=slow(0.36))
    async with broker_over(tmp_path, [placed(node, timeout_ms=200, connections=2)], cache_s=60) as b:
        first = asyncio.create_task(b.report())
        await asyncio.sleep(0.1)
        other = asyncio.create_task(b.report(pseudonyms=("p2",)))
        assert (await first).state == "late"
        joined = asyncio.create_task(b.report())
        assert (await other).state == "late"
        assert (await joined).state == "answered"
    assert len(node.asked) == 2


async def test_nothing_goes_on_after_the_end(tmp_path: Path) -> None:
    node = Fake(say=slow(60))
    async with broker_over(tmp_path, [placed(node, timeout_ms=30)], cache_s=60) as b:
        await b.ask()
    assert node.ended == 1


async def test_a_server_that_is_late_over_the_wire_is_heard_by_the_next_question(tmp_path: Path) -> None:
    requests: list[str] = []

    def late(first: str, _: bytes) -> bytes:
        requests.append(first)
        time.sleep(0.2)
        return http_answer(msgspec.json.encode(searchset()))

    with misbehave(late) as url:
        node = FhirNode("one", url, "EX-CQ-01", normaliser_of_question, timeout=0.1, line=Line(url))
        async with broker_over(tmp_path, [placed(node, timeout_ms=100)], cache_s=60, cache_empty_s=60) as b:
            assert (await b.report()).state == "late"
            await asyncio.sleep(0.2)
            report = await b.report()
        await node.aclose()
    assert (report.state, report.age_ms > 0, len(requests)) == ("empty", True, 1)


# the memory itself


def told(said: Answer, **changes: Any) -> Told:
    now = datetime.now(UTC).timestamp()
    values: dict[str, Any] = {
        "answer": said,
        "place": "here",
        "under": "rules",
        "kinds": ("lab", "imaging"),
        "since": NOW - timedelta(days=90),
        "asked": now,
        "told": now,
        "names": (NAME,),
    }
    return Told(**values | changes)


def test_no_more_is_kept_than_there_is_room_for() -> None:
    memory = Memory(LocalShared(), lambda: ENVELOPE, 60, 60)
    many = answer("one", *(result(id_=f"o{n}") for n in range(500)))
    for n in range(ROOM // 500 + 5):
        memory.keep("one", f"p{n}", told(many))
    assert memory.results <= ROOM
    assert memory.find("one", "p0") is None


def test_an_answer_that_was_asked_for_earlier_does_not_take_the_place_of_a_newer_one() -> None:
    memory, said = Memory(LocalShared(), lambda: ENVELOPE, 60, 60), told(answer("one"))
    memory.keep("one", "p1", said)
    memory.keep("one", "p1", replace(said, asked=said.asked - 1))
    assert memory.find("one", "p1") == said


def test_what_is_over_makes_room_by_itself() -> None:
    clock = Clock()
    memory = Memory(LocalShared(), lambda: ENVELOPE, 1, 1, clock)
    for n in range(10):
        memory.keep("one", f"p{n}", told(answer("one"), told=clock.now))
        clock.now += 1
    assert memory.results == 1


def test_what_replicas_share_comes_back_as_it_was() -> None:
    said = told(answer("one", result(), result(id_="s1", kind="imaging")))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(said), type=Told) == said


KINDS = st.sampled_from([("lab",), ("imaging",), ("lab", "imaging")])
DAYS = st.integers(1, 200)
RESULTS = st.lists(st.tuples(st.sampled_from(["lab", "imaging"]), DAYS), max_size=8)


def said_to(held: list[tuple[Kind, int]], kinds: tuple[Kind, ...], days: int) -> Answer:
    """What a node with these results answers to a question of these kinds and days."""
    found = [
        result(id_=f"r{n}", kind=kind, days=age)
        for n, (kind, age) in enumerate(held)
        if kind in kinds and age <= days
    ]
    return answer("one", *found)


@given(RESULTS, KINDS, DAYS, KINDS, DAYS)
def test_of_a_wider_answer_is_told_what_the_narrower_question_would_have_got(
    held: list[tuple[Kind, int]],
    kinds: tuple[Kind, ...],
    days: int,
    fewer: tuple[Kind, ...],
    less: int,
) -> None:
    since, later = NOW - timedelta(days=days), NOW - timedelta(days=less)
    if covers(kinds, since, fewer, later):
        asked = question(kinds=fewer, since=later)
        assert narrowed(said_to(held, kinds, days), asked) == said_to(held, fewer, less)
