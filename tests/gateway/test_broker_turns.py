"""Turns at a node: bounded, a doctor's question first."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.broker.turns import NoTurn, Turns

pytestmark = pytest.mark.anyio


async def waiting(turns: Turns, *, background: bool = False) -> asyncio.Task[None]:
    """A question that waits for its turn."""
    task = asyncio.create_task(turns.take(background=background))
    await asyncio.sleep(0)
    return task


async def test_so_many_turns_are_taken_at_once() -> None:
    turns = Turns(2, 5)
    await turns.take()
    await turns.take()
    third = await waiting(turns)
    assert (turns.taken, turns.waiting, third.done()) == (2, 1, False)
    turns.give()
    await third


async def test_more_than_may_wait_are_refused() -> None:
    turns = Turns(1, 1)
    await turns.take()
    first = await waiting(turns)
    with pytest.raises(NoTurn):
        await turns.take()
    turns.give()
    await first


async def test_who_waits_longest_is_first() -> None:
    turns = Turns(1, 5)
    await turns.take()
    first, second = await waiting(turns), await waiting(turns)
    turns.give()
    await first
    assert not second.done()
    turns.give()
    await second


async def test_a_doctor_passes_what_waits_in_the_background() -> None:
    turns = Turns(1, 5)
    await turns.take()
    behind, doctor = await waiting(turns, background=True), await waiting(turns)
    turns.give()
    await doctor
    assert not behind.done()
    turns.give()
    await behind


async def test_where_too_many_wait_the_background_makes_room() -> None:
    turns = Turns(1, 1)
    await turns.take()
    behind = await waiting(turns, background=True)
    doctor = await waiting(turns)
    with pytest.raises(NoTurn):
        await behind
    turns.give()
    await doctor


async def test_the_background_never_pushes_a_doctor_out() -> None:
    turns = Turns(1, 1)
    await turns.take()
    doctor = await waiting(turns)
    with pytest.raises(NoTurn):
        await turns.take(background=True)
    turns.give()
    await doctor


async def test_who_is_given_up_while_waiting_leaves_the_queue() -> None:
    turns = Turns(1, 5)
    await turns.take()
    task = await waiting(turns)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert turns.waiting == 0
    turns.give()
    assert turns.taken == 0


async def test_a_turn_that_came_in_the_moment_of_giving_up_goes_to_the_next() -> None:
    turns = Turns(1, 5)
    await turns.take()
    gone, following = await waiting(turns), await waiting(turns)
    turns.give()
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    await following
    turns.give()
    assert turns.taken == 0


async def test_a_doctor_is_not_refused_for_who_gives_up_in_the_same_moment() -> None:
    turns = Turns(1, 1)
    await turns.take()
    behind = await waiting(turns, background=True)
    behind.cancel()
    asyncio.get_running_loop().call_soon(turns.give)
    await turns.take()  # before the other one could leave the queue


STEPS = st.lists(st.sampled_from(["take", "behind", "give", "cancel"]), max_size=40)


@given(STEPS, st.integers(1, 3), st.integers(0, 4), st.randoms())
@settings(max_examples=60)
def test_no_turn_is_lost_and_none_is_given_twice(
    steps: list[str], together: int, most: int, chance: random.Random
) -> None:
    async def run() -> None:
        turns, asked = Turns(together, most), list[asyncio.Task[None]]()
        held = 0

        async def settle() -> None:
            nonlocal held
            for _ in range(3):
                await asyncio.sleep(0)
            for task in [task for task in asked if task.done()]:
                asked.remove(task)
                held += not task.cancelled() and task.exception() is None

        for step in steps:
            if step == "give" and held:
                held -= 1
                turns.give()
            elif step == "cancel" and asked:
                chance.choice(asked).cancel()
            elif step in ("take", "behind"):
                asked.append(asyncio.create_task(turns.take(background=step == "behind")))
            if chance.random() < 0.7:
                await settle()
            assert turns.taken <= together
            assert turns.waiting <= most
        await settle()
        assert turns.taken == held
        assert turns.waiting == len(asked)
        for task in asked:
            task.cancel()
        await settle()
        for _ in range(held):
            turns.give()
        assert (turns.taken, turns.waiting) == (0, 0)

    asyncio.run(run())
