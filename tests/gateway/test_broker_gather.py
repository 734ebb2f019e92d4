"""One question over many nodes: who is asked, who is waited for, and what is said of each."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from adapters import Answer, Node, Question
from security.errors import KeyStoreError
from tests.gateway.brokers import (
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
from tests.node_cases import NOW

pytestmark = pytest.mark.anyio


async def never(question: Question) -> Answer:
    await asyncio.sleep(60)
    raise AssertionError


async def test_nine_nodes_are_complete_and_the_tenth_that_hangs_is_late(tmp_path: Path) -> None:
    nodes = [Fake(f"n{number}") for number in range(9)]
    hanging = Fake("hanging", say=never)
    async with broker_over(tmp_path, [placed(node) for node in (*nodes, hanging)]) as b:
        await b.ask(budget=0.2)
        began = time.monotonic()
        answers = await b.ask(budget=0.2)
        took = time.monotonic() - began
    assert [a.report.state for a in answers] == ["answered"] * 9 + ["late"]
    assert 0.2 <= took < 0.3


async def test_an_answer_is_there_as_soon_as_the_last_node_is(tmp_path: Path) -> None:
    async with broker_over(tmp_path, [placed(Fake()), placed(Fake("two", say=slow(0.02)))]) as b:
        began = time.monotonic()
        await b.ask()
        assert time.monotonic() - began < 0.25


async def test_a_node_has_its_own_time_only(tmp_path: Path) -> None:
    async with broker_over(tmp_path, [placed(Fake(say=never), timeout_ms=50)]) as b:
        began = time.monotonic()
        report = await b.report(budget=5.0)
        assert time.monotonic() - began < 1.0
    assert (report.state, report.fault) == ("late", "node")


async def test_a_node_is_asked_only_for_its_kinds(tmp_path: Path) -> None:
    node = Fake()
    async with broker_over(tmp_path, [placed(node, kinds=["lab"])]) as b:
        await b.ask(kinds=("imaging", "lab"))
    assert node.asked[0].kinds == ("lab",)


async def test_a_node_without_any_of_the_kinds_is_skipped_and_leaves_nothing_out(tmp_path: Path) -> None:
    node = Fake()
    async with broker_over(tmp_path, [placed(node, kinds=["lab"])]) as b:
        gathered = await b.broker.gather(question(kinds=("imaging",)), rules())
    (report,) = gathered.reports
    assert (report.state, report.fault, gathered.complete, node.asked) == ("skipped", "", True, [])


async def test_a_node_that_announces_everything_is_not_asked_where_it_announced_nothing(
    tmp_path: Path,
) -> None:
    node = Fake()
    async with broker_over(tmp_path, [placed(node, publishes=True)]) as b:
        gathered = await b.broker.gather(question(), rules())
    (report,) = gathered.reports
    assert (report.state, report.fault, gathered.complete) == ("skipped", "", True)
    assert report.detail == "not asked: it announced nothing for this person"


async def test_a_node_that_announced_something_is_asked(tmp_path: Path) -> None:
    node = Fake()
    async with broker_over(tmp_path, [placed(node, publishes=True)]) as b:
        await b.announce("one")
        assert (await b.report()).state == "answered"


async def test_a_node_that_announced_only_older_things_is_not_asked(tmp_path: Path) -> None:
    async with broker_over(tmp_path, [placed(Fake(), publishes=True)]) as b:
        await b.announce("one")
        assert (await b.report(since=NOW - timedelta(days=1))).state == "skipped"


async def test_a_node_that_announces_everything_is_asked_while_the_index_cannot_be_read(
    tmp_path: Path,
) -> None:
    async with broker_over(tmp_path, [placed(Fake(), publishes=True)]) as b:
        await b.store.close()
        assert (await b.report()).state == "answered"


async def test_what_a_node_showed_is_in_the_index_afterwards(tmp_path: Path) -> None:
    async with broker_over(tmp_path, [placed(Fake())]) as b:
        await b.ask()
        await b.pointers.flush()
        (pointer,) = await b.store.pointers(("p1",))
    assert (pointer.node, pointer.group, pointer.published) == ("one", "lab", False)


async def test_of_a_node_that_fails_is_said_what_it_is_known_to_hold(tmp_path: Path) -> None:
    async with broker_over(tmp_path, [placed(Fake(say=says(failed())))]) as b:
        await b.announce("one")
        report = await b.report()
    assert report.detail == "said nothing of use; it is known to hold laboratory results of 2026-11"


async def test_a_node_that_breaks_here_is_this_gateways_fault_and_costs_no_other_answer(
    tmp_path: Path,
) -> None:
    async def broken(question: Question) -> Answer:
        raise KeyStoreError("the device does not answer")

    async with broker_over(tmp_path, [placed(Fake(say=broken)), placed(Fake("two"))]) as b:
        first, second = await b.ask()
    assert (first.report.state, first.report.fault) == ("faulty", "gateway")
    assert first.report.detail == "asking it failed here: KeyStoreError"
    assert second.report.state == "answered"


@pytest.mark.parametrize(
    ("report", "complete"),
    [
        ({"state": "answered"}, True),
        ({"state": "empty"}, True),
        ({"state": "skipped"}, True),
        ({"state": "skipped", "fault": "node"}, False),
        ({"state": "skipped", "fault": "gateway"}, False),
        ({"state": "late", "fault": "node"}, False),
        ({"state": "refused", "fault": "node"}, False),
        ({"state": "unreachable", "fault": "node"}, False),
        ({"state": "faulty", "fault": "node"}, False),
    ],
)
async def test_an_answer_is_complete_where_nothing_was_left_out(
    tmp_path: Path, report: dict[str, Any], complete: bool
) -> None:
    async with broker_over(tmp_path, [placed(Fake(say=says(answer("one", **report))))]) as b:
        assert (await b.broker.gather(question(), rules())).complete is complete


async def test_nodes_may_change_between_two_questions(tmp_path: Path) -> None:
    async with broker_over(tmp_path, [placed(Fake())]) as b:
        await b.ask()
        b.nodes = [*b.nodes, placed(Fake("two"))]
        assert [a.report.node for a in await b.ask()] == ["one", "two"]
        b.nodes = [b.nodes[1]]
        assert [a.report.node for a in await b.ask()] == ["two"]


async def test_who_asked_a_node_before_it_was_taken_away_is_answered_by_it(tmp_path: Path) -> None:
    node, other = Fake(say=slow(0.05)), Fake()
    async with broker_over(tmp_path, [placed(node)], cache_s=60) as b:
        asking = asyncio.create_task(b.report())
        await asyncio.sleep(0.02)
        b.nodes = [placed(other, url="http://127.0.0.1:2")]
        assert (await b.report()).state == "answered"
        b.nodes = []
        assert await b.ask() == ()
        assert (await asking).state == "answered"
    assert (len(node.asked), len(other.asked)) == (1, 1)


async def test_a_node_that_was_changed_is_tried_without_its_history(tmp_path: Path) -> None:
    async with broker_over(tmp_path, [placed(Fake(say=says(failed())), breaker_failures=1)]) as b:
        await b.ask()
        assert (await b.report()).state == "skipped"
        b.nodes = [placed(Fake())]
        assert (await b.report()).state == "answered"


async def test_without_consent_every_node_is_skipped_and_leaves_something_out(tmp_path: Path) -> None:
    async with broker_over(tmp_path, [placed(Fake()), placed(Fake("two"))]) as b:
        reports = b.broker.skip("not asked: the patient has not consented")
    assert [(r.node, r.state, r.complete) for r in reports] == [
        ("one", "skipped", False),
        ("two", "skipped", False),
    ]


async def test_what_is_known_of_a_person_is_in_no_log(tmp_path: Path) -> None:
    async with broker_over(tmp_path, [placed(Fake(say=says(failed())))]) as b:
        await b.announce("one")
        await b.ask()
        (event,) = b.events("node_failed")
    assert event["detail"] == "said nothing of use"


# breakers


async def test_a_node_that_fails_again_and_again_is_left_alone(tmp_path: Path) -> None:
    node = Fake(say=says(failed()))
    async with broker_over(tmp_path, [placed(node, breaker_failures=3)]) as b:
        for _ in range(3):
            await b.ask()
        gathered = await b.broker.gather(question(), rules())
        assert b.metric("lianren_node_left_alone", node="one") == 1
    (report,) = gathered.reports
    assert (report.state, report.fault, gathered.complete) == ("skipped", "node", False)
    assert report.detail.startswith("left alone: it failed 3 times in a row (unreachable); tried again in ")
    assert len(node.asked) == 3


async def test_a_node_that_was_left_alone_is_tried_again_and_comes_back(tmp_path: Path) -> None:
    node = Fake(say=says(failed(), failed(), answer("one", result())))
    async with broker_over(tmp_path, [placed(node, breaker_failures=2, breaker_s=0.1)]) as b:
        await b.ask()
        await b.ask()
        assert (await b.report()).state == "skipped"
        await asyncio.sleep(0.12)
        assert (await b.report()).state == "answered"
        assert (await b.report()).state == "answered"
        assert [event["reason"] for event in b.events("node_left_alone")] == ["unreachable"]
        assert len(b.events("node_back")) == 1


async def test_nodes_that_have_nothing_are_no_failures(tmp_path: Path) -> None:
    async with broker_over(tmp_path, [placed(Fake(say=says(answer("one"))), breaker_failures=1)]) as b:
        for _ in range(5):
            assert (await b.report()).state == "empty"


async def test_what_fails_here_is_not_held_against_the_node(tmp_path: Path) -> None:
    async def broken(question: Question) -> Answer:
        raise KeyStoreError("the device does not answer")

    async with broker_over(tmp_path, [placed(Fake(say=broken), breaker_failures=1)]) as b:
        for _ in range(3):
            assert (await b.report()).state == "faulty"


async def test_a_caller_with_no_patience_is_not_held_against_the_node(tmp_path: Path) -> None:
    async with broker_over(tmp_path, [placed(Fake(say=slow(0.1)), breaker_failures=1)]) as b:
        for _ in range(3):
            assert (await b.report(budget=0.02)).state == "late"
        assert (await b.report()).state == "answered"


async def test_states_say_how_it_stands_with_a_node(tmp_path: Path) -> None:
    async with broker_over(tmp_path, [placed(Fake(say=says(failed())), breaker_failures=1)]) as b:
        await b.ask()
        (state,) = b.broker.states()
    assert (state.node, state.breaker, state.failures, state.in_flight) == ("one", "open", 1, 0)
    assert state.last is not None
    assert state.last.state == "unreachable"


# turns


async def test_a_node_gets_no_more_requests_at_a_time_than_it_is_set_to(tmp_path: Path) -> None:
    at_once = most = 0

    async def counting(question: Question) -> Answer:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.01)
        at_once -= 1
        return answer("one", result())

    async with broker_over(tmp_path, [placed(Fake(say=counting), connections=2)]) as b:
        questions = [b.report(pseudonyms=(f"p{n}",)) for n in range(8)]
        assert {report.state for report in await asyncio.gather(*questions)} == {"answered"}
    assert most == 2


async def test_where_too_many_wait_a_node_is_skipped_for_the_rest_by_this_gateways_fault(
    tmp_path: Path,
) -> None:
    async with broker_over(tmp_path, [placed(Fake(say=slow(0.05)), connections=1, waiting=1)]) as b:
        questions = [b.report(pseudonyms=(f"p{n}",)) for n in range(3)]
        reports = await asyncio.gather(*questions)
    assert sorted((r.state, r.fault) for r in reports) == [
        ("answered", ""),
        ("answered", ""),
        ("skipped", "gateway"),
    ]


async def test_who_gets_no_turn_in_time_is_told_so(tmp_path: Path) -> None:
    async with broker_over(tmp_path, [placed(Fake(say=never), connections=1, timeout_ms=100)]) as b:
        first, second = await asyncio.gather(b.report(), b.report(pseudonyms=("p2",)))
    assert (first.fault, second.fault) == ("node", "gateway")
    assert second.detail == "no turn before the deadline: 1 requests to it were under way"


# hedging


async def test_a_slow_read_is_made_a_second_time_and_the_first_good_answer_counts(tmp_path: Path) -> None:
    tries = 0

    async def once_slow(question: Question) -> Answer:
        nonlocal tries
        tries += 1
        await asyncio.sleep(60 if tries == 1 else 0)
        return answer("one", result())

    node = Fake(say=once_slow)
    async with broker_over(tmp_path, [placed(node, hedge_ms=20)]) as b:
        assert (await b.report()).state == "answered"
        assert b.metric("lianren_node_hedges_total", node="one") == 1
        assert b.broker.states()[0].in_flight == 0
    assert (tries, node.ended) == (2, 2)


async def test_where_the_first_of_two_fails_the_second_counts(tmp_path: Path) -> None:
    tries = 0

    async def first_fails(question: Question) -> Answer:
        nonlocal tries
        tries += 1
        if tries == 1:
            await asyncio.sleep(0.03)
            return failed()
        await asyncio.sleep(0.05)
        return answer("one", result())

    async with broker_over(tmp_path, [placed(Fake(say=first_fails), hedge_ms=10)]) as b:
        assert (await b.report()).state == "answered"


async def test_another_gateway_is_never_asked_a_second_time(tmp_path: Path) -> None:
    node = Fake("gw", kind="gateway", say=slow(0.05, answer("gw", kind="gateway")))
    async with broker_over(tmp_path, [placed(node, hedge_ms=10, owner="sc")]) as b:
        await b.ask()
    assert len(node.asked) == 1


# other gateways


async def test_other_gateways_are_asked_only_while_the_question_has_hops(tmp_path: Path) -> None:
    node = Fake("gw", kind="gateway")
    async with broker_over(tmp_path, [placed(node, owner="sc")]) as b:
        assert await b.ask(hops=0) == ()
        assert len(await b.ask(hops=1)) == 1


async def test_a_gateway_hears_whom_the_question_is_on_its_way_to(tmp_path: Path) -> None:
    gateways = [Fake(f"gw-{owner}", kind="gateway") for owner in ("sc", "lab8")]
    nodes = [placed(node, owner=node.id.removeprefix("gw-")) for node in gateways]
    async with broker_over(tmp_path, nodes) as b:
        await b.ask(hops=2, asked=("hb",))
    assert gateways[0].asked[0].asked == ("cq", "hb", "lab8", "sc")


async def test_a_gateway_that_the_question_came_by_is_not_asked_again(tmp_path: Path) -> None:
    node = Fake("gw-sc", kind="gateway")
    async with broker_over(tmp_path, [placed(node, owner="sc")]) as b:
        gathered = await b.broker.gather(question(asked=("sc",)), rules())
    (report,) = gathered.reports
    assert (report.state, report.fault, gathered.complete, node.asked) == ("skipped", "", True, [])


async def test_another_gateway_gets_every_question_for_itself(tmp_path: Path) -> None:
    node = Fake("gw", kind="gateway", say=slow(0.02, answer("gw", kind="gateway")))
    async with broker_over(tmp_path, [placed(node, owner="sc")], cache_s=60, cache_empty_s=60) as b:
        await asyncio.gather(b.ask(), b.ask())
        await b.ask()
    assert len(node.asked) == 3


async def test_a_question_that_is_being_answered_is_known_by_its_id(tmp_path: Path) -> None:
    async with (
        broker_over(tmp_path, []) as b,
        b.broker.answering("q-1", 5) as first,
        b.broker.answering("q-1", 5) as second,
        b.broker.answering("q-2", 5) as other,
    ):
        assert (first, second, other) == (True, False, True)


async def test_a_question_that_was_answered_may_be_asked_again(tmp_path: Path) -> None:
    async with broker_over(tmp_path, []) as b:
        for _ in range(2):
            async with b.broker.answering("q-1", 5) as first:
                assert first


# joining


async def test_equal_questions_at_one_time_are_one_request(tmp_path: Path) -> None:
    node = Fake(say=slow(0.05))
    async with broker_over(tmp_path, [placed(node)]) as b:
        reports = await asyncio.gather(*(b.report() for _ in range(5)))
        assert b.metric("lianren_node_reused_total", node="one", how="joined") == 4
    assert {report.state for report in reports} == {"answered"}
    assert len(node.asked) == 1


async def test_who_joins_a_wider_question_gets_its_own_answer(tmp_path: Path) -> None:
    both = answer("one", result(), result(id_="s1", kind="imaging", days=10))
    node = Fake(say=slow(0.05, both))
    async with broker_over(tmp_path, [placed(node)]) as b:
        wide, lab, recent = await asyncio.gather(
            b.ask(), b.ask(kinds=("lab",)), b.ask(since=NOW - timedelta(days=5))
        )
    assert len(node.asked) == 1
    assert [len(a[0].results) for a in (wide, lab, recent)] == [2, 1, 1]
    assert lab[0].report.results == 1


async def test_of_two_questions_at_one_time_the_later_may_be_on_its_way_first(tmp_path: Path) -> None:
    node = Fake(say=slow(0.05))
    since = NOW - timedelta(days=90)
    async with broker_over(tmp_path, [placed(node)]) as b:
        await asyncio.gather(b.ask(since=since), b.ask(since=since - timedelta(seconds=1)))
    assert len(node.asked) == 1


async def test_what_a_node_has_of_the_day_before_the_question_is_not_shown(tmp_path: Path) -> None:
    since = NOW.astimezone(UTC).replace(hour=12) - timedelta(days=5)
    older, newer = (replace(result(id_=f"o{d}"), performed=since + timedelta(hours=d)) for d in (-1, 1))
    said = answer("one", replace(older, reported=older.performed), newer)
    async with broker_over(tmp_path, [placed(Fake(say=says(said)))]) as b:
        (told,) = await b.ask(since=since)
    assert ([r.id for r in told.results], told.report.results) == (["one/o1"], 1)


async def test_who_joins_a_wider_question_that_is_answered_in_part_gets_its_own_part(tmp_path: Path) -> None:
    part = {"fault": "node", "detail": "1 resources could not be read: Observation/o2"}
    both = answer("one", result(), result(id_="s1", kind="imaging", days=10), **part)
    node = Fake(say=slow(0.05, both))
    async with broker_over(tmp_path, [placed(node)]) as b:
        _, lab, imaging = await asyncio.gather(
            b.ask(), b.ask(kinds=("lab",)), b.ask(kinds=("imaging",), since=NOW - timedelta(days=5))
        )
    assert len(node.asked) == 1
    assert [[r.id for r in answers[0].results] for answers in (lab, imaging)] == [["one/o1"], []]
    assert (imaging[0].report.state, imaging[0].report.fault) == ("answered", "node")


async def test_who_has_time_does_not_join_who_may_get_no_turn(tmp_path: Path) -> None:
    tries = 0

    async def once_slow(question: Question) -> Answer:
        nonlocal tries
        tries += 1
        await asyncio.sleep(0.15 if tries == 1 else 0)
        return answer("one", result())

    node = Fake(say=once_slow)
    async with broker_over(tmp_path, [placed(node, connections=1)], cache_s=60) as b:
        before = asyncio.create_task(b.report(pseudonyms=("p2",)))
        await asyncio.sleep(0.01)
        hasty, patient = await asyncio.gather(b.report(budget=0.05), b.report(budget=1.0))
        assert (await before).state == "answered"
    assert (hasty.state, patient.state) == ("late", "answered")


@pytest.mark.parametrize(
    "changes",
    [
        {"pseudonyms": ("p2",)},
        {"since": NOW - timedelta(days=100)},
        {"pseudonyms": ()},
    ],
    ids=["another person", "a longer time", "no pseudonym"],
)
async def test_what_another_question_does_not_hold_is_asked(tmp_path: Path, changes: dict[str, Any]) -> None:
    node = Fake(say=slow(0.05))
    async with broker_over(tmp_path, [placed(node)]) as b:
        await asyncio.gather(b.ask(), b.ask(**changes))
    assert len(node.asked) == 2


async def test_questions_under_other_rules_are_not_joined(tmp_path: Path) -> None:
    node = Fake(say=slow(0.05))
    async with broker_over(tmp_path, [placed(node)]) as b:
        await asyncio.gather(b.ask(), b.ask(by=rules("sites-2")))
    assert len(node.asked) == 2


async def test_a_doctor_does_not_wait_for_what_the_background_asks(tmp_path: Path) -> None:
    node = Fake(say=slow(0.05))
    async with broker_over(tmp_path, [placed(node)]) as b:
        await asyncio.gather(b.ask(background=True), b.ask())
    assert len(node.asked) == 2


async def test_who_joins_has_read_the_names_too(tmp_path: Path) -> None:
    node = Fake(say=None)
    by, heard = hearing()
    other, also = hearing()

    async def reads(question: Question) -> Answer:
        await asyncio.sleep(0.02)
        node.say = None
        return await Fake("one").prior(question)

    node.say = reads
    async with broker_over(tmp_path, [placed(node)]) as b:
        await asyncio.gather(b.ask(by=by), b.ask(by=other))
    assert (len(node.asked), heard.names, also.names) == (1, [NAME.name], [NAME.name])


async def test_a_question_that_everybody_gave_up_is_ended(tmp_path: Path) -> None:
    node = Fake(say=never)
    async with broker_over(tmp_path, [placed(node)], cache_s=60) as b:
        asking = asyncio.create_task(b.ask())
        await asyncio.sleep(0.02)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await asyncio.sleep(0)
        assert node.ended == 1
        assert b.broker.states()[0].in_flight == 0


async def test_a_question_that_one_of_two_gave_up_goes_on_for_the_other(tmp_path: Path) -> None:
    node = Fake(say=slow(0.1))
    async with broker_over(tmp_path, [placed(node)]) as b:
        given_up, kept = asyncio.create_task(b.ask()), asyncio.create_task(b.report())
        await asyncio.sleep(0.02)
        given_up.cancel()
        assert (await kept).state == "answered"
    assert len(node.asked) == 1


# something else than prior results


async def test_a_node_that_is_not_asked_something_leaves_no_trace_in_its_states_and_times(
    tmp_path: Path,
) -> None:
    async def call(node: Node, _: Question) -> Answer:
        return answer(node.id, state="skipped")

    async with broker_over(tmp_path, [placed(Fake())]) as b:
        await b.broker.ask(question(), call)
        assert b.broker.states()[0].last is None
        assert b.metric("lianren_node_seconds_count", node="one") == 0


async def test_something_else_is_put_to_every_node_with_the_same_care(tmp_path: Path) -> None:
    nodes = [placed(Fake()), placed(Fake("two"), kinds=["imaging"]), placed(Fake("three"))]

    async def call(node: Node, _: Question) -> Answer:
        return answer(node.id, result(node.id)) if node.id == "one" else failed(node.id)

    async with broker_over(tmp_path, [*nodes[:2], replace(nodes[2])]) as b:
        answers = await b.broker.ask(question(kinds=("lab",)), call)
    assert [a.report.state for a in answers] == ["answered", "skipped", "unreachable"]


async def test_something_else_that_hangs_is_late_at_the_deadline(tmp_path: Path) -> None:
    ended = asyncio.Event()

    async def call(node: Node, _: Question) -> Answer:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()
        raise AssertionError

    async with broker_over(tmp_path, [placed(Fake())], cache_s=60) as b:
        (late,) = await b.broker.ask(question(budget=0.05), call)
        await asyncio.sleep(0)
        assert (late.report.state, ended.is_set()) == ("late", True)


async def test_something_else_is_put_to_the_named_nodes_alone(tmp_path: Path) -> None:
    async def call(node: Node, _: Question) -> Answer:
        return answer(node.id)

    async with broker_over(tmp_path, [placed(Fake(name)) for name in ("one", "two", "three")]) as b:
        answers = await b.broker.ask(question(), call, ["two"])
        nobody = await b.broker.ask(question(), call, ["four"])
    assert ([a.report.node for a in answers], nobody) == (["two"], ())


@pytest.mark.parametrize(("state", "alone"), [("refused", False), ("faulty", False), ("unreachable", True)])
async def test_what_a_node_refuses_of_what_a_caller_chose_does_not_count_against_it(
    tmp_path: Path, state: str, alone: bool
) -> None:
    async def call(node: Node, _: Question) -> Answer:
        return failed(node.id, state)

    async with broker_over(tmp_path, [placed(Fake(), breaker_failures=2)]) as b:
        for _ in range(3):
            await b.broker.ask(question(), call)
        assert (b.broker.states()[0].breaker == "open") == alone


async def test_a_gateway_hears_who_else_is_asked_something_else(tmp_path: Path) -> None:
    heard: dict[str, tuple[str, ...]] = {}

    async def call(node: Node, asked: Question) -> Answer:
        heard[node.id] = asked.asked
        return answer(node.id, kind=node.kind)

    nodes = [placed(Fake()), *(placed(Fake(f"gw-{o}", kind="gateway"), owner=o) for o in ("sc", "hb"))]
    async with broker_over(tmp_path, nodes) as b:
        answers = await b.broker.ask(question(hops=2, asked=("hb",)), call)
    assert heard == {"one": ("hb",), "gw-sc": ("cq", "hb", "sc")}
    assert [a.report.state for a in answers] == ["empty", "empty", "skipped"]
