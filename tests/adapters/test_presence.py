"""Whether listed images are there: an archive is asked for the beginning of one, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from threading import Event
from typing import TypeVar

import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from adapters.http import Line
from adapters.presence import KEPT_S, MOST_WAITING, SEEN_S, UNSEEN_S, Presence, Shown
from adapters.transport import Timeouts
from quality.headers import READER
from recognition import Images
from tests.adapters.dicom_archive import archive, dicom, note, part
from tests.serving import Reply, http_answer, misbehave

UID = "2.25.1"
IMAGE = dicom(Modality="CT", KVP="120", BodyPartExamined="CHEST")
CT = {"2.25.1.1": "CT"}
THREE = {"2.25.1.1": ("2.25.1.1.1", "2.25.1.1.2", "2.25.1.1.3")}
WITH_NOTE = {**CT, "2.25.1.9": "KO"}
UNSEEN = Shown(Images(None))
T = TypeVar("T")


def images(_: str) -> bytes:
    return part(IMAGE)


def looked(
    reply: Callable[[str, bytes], Reply],
    asking: Callable[[Presence], Awaitable[T]],
    clock: Callable[[], float] = lambda: 0.0,
) -> T:
    async def run(url: str) -> T:
        line = Line(url, timeout=Timeouts.within(2.0))
        presence = Presence(line, clock)
        try:
            return await asking(presence)
        finally:
            await presence.aclose()
            await line.aclose()

    with misbehave(reply) as url:
        return asyncio.run(run(url))


async def once(presence: Presence, stated: int = 3, seconds: float = 2.0) -> Shown:
    end = asyncio.get_running_loop().time() + seconds
    return (await presence.of([(UID, stated)], end))[UID]


def test_a_study_whose_image_begins_to_come_is_there() -> None:
    assert looked(archive(CT, THREE, images), once).images == Images(3)


def test_the_header_of_that_image_is_read() -> None:
    header = looked(archive(CT, THREE, images), once).header
    assert header is not None
    assert (header.kind, header.part) == ("CT", "CHEST")


def test_an_image_that_is_listed_and_gone_is_missing() -> None:
    assert looked(archive(CT, THREE, lambda _: http_answer(b"", "410 Gone")), once) == Shown(Images(0))


def test_what_reads_images_is_waited_for_and_nothing_is_there_without_its_header() -> None:
    loaded = Event()

    async def twice(presence: Presence) -> tuple[Shown, Shown]:
        READER.submit(loaded.wait, 5)
        before = await once(presence, seconds=0.2)
        loaded.set()
        return before, await once(presence)

    before, after = looked(archive(CT, THREE, images), twice)
    assert (before, after.images, after.header is None) == (UNSEEN, Images(3), False)


@pytest.mark.parametrize(
    "answer",
    [
        http_answer(b"", "500 Internal Server Error"),
        http_answer(b"", "404 Not Found"),
        http_answer(b"", "403 Forbidden"),
        http_answer(b"<html>", media="text/html"),
        part(b"no DICOM"),
        part(bytes(128) + b"DICM" + b"\2\0\x10\0UI\2\0??" + b"\xff" * 200),
        part(b""),
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
    ],
    ids=["500", "404", "403", "html", "other part", "damaged", "empty part", "no answer", "cut"],
)
def test_what_cannot_be_seen_cannot_be_said(answer: bytes) -> None:
    assert looked(archive(CT, THREE, lambda _: answer), once) == UNSEEN


def test_an_archive_that_sends_a_bare_file_shows_it() -> None:
    shown = looked(archive(CT, THREE, lambda _: part(IMAGE, "application/dicom")), once)
    assert shown.images == Images(3)


def test_a_file_without_its_preamble_is_an_image() -> None:
    assert looked(archive(CT, THREE, lambda _: part(IMAGE[132:])), once).images == Images(3)


def test_an_image_of_another_study_shows_nothing() -> None:
    assert looked(archive(CT, THREE, lambda _: part(dicom(StudyInstanceUID="2.25.7"))), once) == UNSEEN


def test_a_study_without_a_series_of_images_cannot_be_said() -> None:
    assert looked(archive({"2.25.1.9": "SR"}, {}, images), once) == UNSEEN


def test_a_series_that_lists_no_instance_cannot_be_said() -> None:
    assert looked(archive(CT, {}, images), once) == UNSEEN


def test_an_instance_whose_uid_leads_elsewhere_is_not_asked_for() -> None:
    asked: list[str] = []

    def files(uid: str) -> bytes:
        asked.append(uid)
        return part(IMAGE)

    shown = looked(archive(CT, {"2.25.1.1": ("../../x",)}, files), once)
    assert (shown, asked) == (UNSEEN, [])


def test_an_archive_that_hangs_is_not_waited_for() -> None:
    assert looked(archive(CT, THREE, lambda _: None), lambda one: once(one, seconds=0.2)) == UNSEEN


def test_an_archive_that_knows_no_lists_of_series_has_not_lost_the_images() -> None:
    assert looked(lambda *_: http_answer(b"", "404 Not Found"), once) == UNSEEN


def test_a_note_that_is_gone_leaves_the_images_unsaid() -> None:
    assert of_note(b"") == Images(None)


def test_what_came_too_late_for_one_question_is_there_for_the_next() -> None:
    async def twice(presence: Presence) -> Shown:
        assert await once(presence, seconds=0.0) == UNSEEN
        return await once(presence)

    assert looked(archive(CT, THREE, images), twice).images == Images(3)


def counted(changes: Callable[[], None], stated: int = 3, status: str = "200 OK") -> int:
    """How many images are asked for by two questions with something in between."""
    asked: list[str] = []

    def files(uid: str) -> bytes:
        asked.append(uid)
        return part(IMAGE) if status == "200 OK" else http_answer(b"", status)

    async def twice(presence: Presence) -> Shown:
        await once(presence)
        changes()
        return await once(presence, stated)

    looked(archive(CT, THREE, files), twice, lambda: NOW[0])
    return len(asked)


NOW = [0.0]


def later() -> None:
    NOW[0] += UNSEEN_S


def test_what_was_seen_is_not_asked_for_again() -> None:
    assert counted(later) == 1


def test_another_count_is_another_study() -> None:
    assert counted(later, stated=4) == 2


def test_what_was_not_seen_is_asked_for_again_after_seconds() -> None:
    assert counted(later, status="500 Internal Server Error") == 2


def test_and_not_before() -> None:
    assert counted(lambda: None, status="500 Internal Server Error") == 1


@pytest.mark.parametrize(("seconds", "held"), [(SEEN_S, 3), (KEPT_S, None)], ids=["minutes", "an hour"])
def test_images_that_came_within_the_hour_are_there_while_they_are_looked_at_again(
    seconds: float, held: int | None
) -> None:
    now = [0.0]

    async def twice(presence: Presence) -> Shown:
        await once(presence)
        now[0] += seconds
        return await once(presence, seconds=0.0)

    assert looked(archive(CT, THREE, images), twice, lambda: now[0]).images == Images(held)


def test_images_that_do_not_come_again_are_there_no_longer() -> None:
    now, replies = [0.0], [part(IMAGE), http_answer(b"", "500 Internal Server Error")]

    async def twice(presence: Presence) -> Shown:
        await once(presence)
        now[0] += SEEN_S
        return await once(presence)

    assert looked(archive(CT, THREE, lambda _: replies.pop(0)), twice, lambda: now[0]) == UNSEEN


def test_no_archive_makes_more_looks_than_there_is_room_for() -> None:
    async def many(presence: Presence) -> int:
        before = len(asyncio.all_tasks())
        for person in range(20):
            await presence.of([(f"2.25.{person}.{n}", 1) for n in range(64)], 0.0)
        return len(asyncio.all_tasks()) - before

    assert looked(archive(CT, THREE, lambda _: None), many) == MOST_WAITING


def of_note(data: bytes, stated: int = 4) -> Images:
    def files(uid: str) -> bytes:
        if uid != "2.25.1.9.1":
            return part(IMAGE)
        return part(data) if data else http_answer(b"", "404 Not Found")

    held = {**THREE, "2.25.1.9": ("2.25.1.9.1",)}
    return looked(archive(WITH_NOTE, held, files), lambda one: once(one, stated)).images


@pytest.mark.parametrize("title", ["113001", "113037", "113038", "113039"])
def test_what_a_note_rejects_is_not_there(title: str) -> None:
    assert of_note(note(title, *THREE["2.25.1.1"])) == Images(0)


def test_the_note_itself_is_no_image() -> None:
    assert of_note(note("113001", "2.25.1.1.2")) == Images(2)


def test_what_is_rejected_and_not_listed_any_more_is_not_taken_away_twice() -> None:
    assert of_note(note("113001", "2.25.1.1.7", "2.25.1.1.8")) == Images(3)


@pytest.mark.parametrize(
    "other",
    [
        note("113000", "2.25.1.1.1"),
        note("113001", "2.25.1.1.1", scheme="99X"),
        note("113001", "2.25.1.1.1", study="2.25.7"),
    ],
    ids=["of interest", "another scheme", "another study"],
)
def test_any_other_note_takes_nothing_away(other: bytes) -> None:
    assert of_note(other) == Images(4)


def test_a_manifest_says_how_many_there_ought_to_be() -> None:
    assert of_note(note("113030", *(f"2.25.1.1.{n}" for n in range(1, 6)))) == Images(4, 6)


def test_by_a_manifest_that_is_met_a_study_is_complete() -> None:
    assert of_note(note("113030", *THREE["2.25.1.1"])) == Images(4, 4)


def test_a_deflated_note_is_not_read() -> None:
    deflated = note("113001", "2.25.1.1.2", syntax=DeflatedExplicitVRLittleEndian)
    assert of_note(deflated) == Images(None)


def test_a_note_that_cannot_be_read_leaves_the_images_unsaid() -> None:
    assert of_note(dicom(Modality="KO")) == Images(None)
