"""Who a person is at a node: looked up together, remembered shortly, and only for so many persons."""

from __future__ import annotations

import asyncio
import weakref

import pytest

from adapters._patients import PERSONS, SECONDS, Known, Patients
from adapters.errors import NodeFaulty
from adapters.fhir_read import Patient
from adapters.node import Question
from security.identity import Identifier
from tests.node_cases import question

FOUND = Known((Patient(id="p1"),), (b"digest",))


class Server:
    """Answers look-ups when it is let, and counts them."""

    def __init__(self, *answers: Known | NodeFaulty) -> None:
        self.answers = list(answers)
        self.asked = 0
        self.open = asyncio.Event()
        self.open.set()

    async def look_up(self, person: Identifier) -> Known:
        self.asked += 1
        await self.open.wait()
        answer = self.answers.pop(0) if self.answers else FOUND
        if isinstance(answer, NodeFaulty):
            raise answer
        return answer


def of(number: int) -> Question:
    return question(pseudonyms=(f"e1.{number}",))


@pytest.mark.anyio
async def test_those_who_ask_in_the_same_moment_share_a_look_up() -> None:
    server = Server()
    server.open.clear()
    patients = Patients(server.look_up)
    asking = [asyncio.create_task(patients.of(of(1))) for _ in range(5)]
    await asyncio.sleep(0)
    server.open.set()
    assert await asyncio.gather(*asking) == [(FOUND, False)] * 5
    assert (server.asked, await patients.of(of(1))) == (1, (FOUND, True))


@pytest.mark.anyio
async def test_a_look_up_that_failed_is_made_again() -> None:
    server = Server(NodeFaulty("broken"))
    patients = Patients(server.look_up)
    with pytest.raises(NodeFaulty):
        await patients.of(of(1))
    assert await patients.of(of(1)) == (FOUND, False)


@pytest.mark.anyio
async def test_what_is_too_old_is_not_kept() -> None:
    class Watched(Known, frozen=True, weakref=True):
        """One that can be seen to be gone."""

    now, found = 0.0, Watched((Patient(id="p1"),), (b"digest",))
    gone = weakref.ref(found)
    patients = Patients(Server(found).look_up, lambda: now)
    await patients.of(of(1))
    now += SECONDS + 1
    await patients.of(of(2))
    del found
    assert gone() is None


@pytest.mark.anyio
async def test_who_asks_anew_is_told_what_is_so_now() -> None:
    other = Known((Patient(id="p2"),), ())
    server = Server(FOUND, other)
    patients = Patients(server.look_up)
    await patients.of(of(1))
    assert await patients.of(of(1), anew=True) == (other, False)
    assert await patients.of(of(1)) == (other, True)


@pytest.mark.anyio
async def test_only_so_many_persons_are_remembered_the_oldest_forgotten_first() -> None:
    server = Server()
    patients = Patients(server.look_up)
    for number in range(PERSONS + 1):
        await patients.of(of(number))
    _, last = await patients.of(of(PERSONS))
    _, first = await patients.of(of(0))
    assert (last, first) == (True, False)


@pytest.mark.anyio
async def test_closing_ends_what_is_being_looked_up() -> None:
    server = Server()
    server.open.clear()
    patients = Patients(server.look_up)
    asking = asyncio.create_task(patients.of(of(1)))
    await asyncio.sleep(0)
    await patients.aclose()
    with pytest.raises(asyncio.CancelledError):
        await asking
