"""Instances between the archive and their reader: bounded, each once, and only what is wanted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from adapters.errors import NodeFaulty, NodeLate
from gateway.bridge.transfer import CANNOT_UNDERSTAND, FULL, KEPT, NOT_WANTED, Transfer
from gateway.bridge.values import Wanted
from gateway.demo.people import BY_KEY
from gateway.demo.studies import study, uid_for
from tests.node_cases import NOW

pytestmark = pytest.mark.anyio

IMAGES = study(
    BY_KEY["jia"],
    "EX-CQ-01",
    description="CT",
    modality="CT",
    body_part="CHEST",
    performed=NOW,
    instances=3,
    charset="utf-8",
    uid=uid_for("transfer"),
)
STUDY = Wanted(str(IMAGES[0].StudyInstanceUID))
PLENTY = 1 << 30

Send = Callable[[int], Path]


@pytest.fixture
def file(tmp_path: Path) -> Send:
    def written(number: int) -> Path:
        path = tmp_path / str(number)
        IMAGES[number].save_as(path, enforce_file_format=True)
        return path

    return written


async def test_what_is_taken_is_given_on_and_then_the_end(file: Send) -> None:
    transfer = Transfer(STUDY, PLENTY)
    assert transfer.take(file(0)) == KEPT
    transfer.finish()
    arrived = await transfer.next(1)
    assert arrived is not None
    assert arrived.which.instance == IMAGES[0].SOPInstanceUID
    assert await transfer.next(1) is None
    transfer.close()


async def test_what_came_is_given_before_the_error(file: Send) -> None:
    transfer = Transfer(STUDY, PLENTY)
    transfer.take(file(0))
    transfer.finish(NodeFaulty("broke off"))
    assert await transfer.next(1)
    with pytest.raises(NodeFaulty):
        await transfer.next(1)
    transfer.close()


async def test_an_instance_that_comes_twice_is_given_once(file: Send) -> None:
    transfer = Transfer(STUDY, PLENTY)
    assert [transfer.take(file(0)), transfer.take(file(0))] == [KEPT, KEPT]
    assert transfer.count == 1
    transfer.close()


async def test_nothing_else_is_taken(file: Send, tmp_path: Path) -> None:
    transfer = Transfer(Wanted("1.2"), PLENTY)
    broken = tmp_path / "broken"
    broken.write_bytes(b"no DICOM")
    assert [transfer.take(file(0)), transfer.take(broken)] == [NOT_WANTED, CANNOT_UNDERSTAND]
    transfer.close()


async def test_the_archive_waits_while_the_spool_is_full(file: Send) -> None:
    transfer = Transfer(STUDY, 1)
    transfer.take(file(0))
    second = asyncio.ensure_future(asyncio.to_thread(transfer.take, file(1)))
    await asyncio.sleep(0.05)
    assert not second.done()
    await transfer.next(1)
    assert await second == KEPT
    transfer.close()


async def test_an_archive_that_waits_is_refused_when_the_reader_goes(file: Send) -> None:
    transfer = Transfer(STUDY, 1)
    transfer.take(file(0))
    second = asyncio.ensure_future(asyncio.to_thread(transfer.take, file(1)))
    await asyncio.sleep(0.05)
    transfer.close()
    assert await second == FULL


async def test_silence_is_late() -> None:
    transfer = Transfer(STUDY, PLENTY)
    with pytest.raises(NodeLate):
        await transfer.next(0.01)
    transfer.close()
