"""Whether the images that an archive lists are really there: one of them has to begin to come.

A count in a list proves nothing: an index outlives its files. So of every study that a question finds, one
instance of its largest series is asked for; when its first piece is a DICOM file the call is given up, and
that piece is the header that :mod:`quality.headers` reads. Key object notes (modality KO) are read whole:
they say what was rejected (IHE Radiology TF-2 4.66, Image Object Change Management) and how many there ought
to be (a manifest).

What was seen is remembered by study and count: for minutes where the images came, for seconds where they did
not, so that an archive which is mended is heard. What is not seen in the time of a question goes on behind
it, for the next one; until then what was seen within the hour counts, and where that is nothing it cannot be
said whether the images are there, which is not that they are not.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import msgspec
from msgspec import Struct, field

from adapters._asking import all_of
from adapters.errors import NodeError, NodeFaulty, NodeMissing, NodeRefused
from adapters.fhir_results import ACCOMPANYING
from adapters.http import Line
from quality.headers import READER, Header, begins, header_of
from quality.key_objects import Note, note_of
from quality.record import DICOM_UID
from recognition import Images

DICOM_JSON = "application/dicom+json"
SEEN_S = 300.0
KEPT_S = 3600.0
"""How long images that came are there for a question that is over before they came again."""
UNSEEN_S = 3.0
LONGEST_S = 10.0
"""How long one study may be looked at, in all."""
ROOM = 4096
AT_ONCE = 6
MOST_LOOKED = 64
"""How many studies that were not seen yet are looked at for one question."""
MOST_WAITING = 512
"""How many studies are looked at, or wait for their turn, for all questions together."""
FIRST = 32_768
"""How much of an image is read, in bytes: what comes before its pixels."""
WHOLE = 524_288
NOTES = 8
"""How many key object notes of a study are read."""

_ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_MANY = "10000"
_HEAD = 4096  # what boundary and headers of a part may take
_T = TypeVar("_T")


class Shown(Struct, frozen=True):
    """What an archive showed of a study. ``images.held`` is None where it did not show any in time."""

    images: Images
    header: Header | None = None


def count_of(text: str) -> int | None:
    """A number of instances, where this is one that can be (an IS has twelve characters at most)."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else None


class _Values(Struct, frozen=True):
    values: tuple[str | int | float | None, ...] = field(default=(), name="Value")

    @property
    def text(self) -> str:
        return str(next((value for value in self.values if value is not None), "")).strip(" \0")


_NONE = _Values()


class _Entry(Struct, frozen=True):
    """A series or an instance, as a list tells it."""

    modality: _Values = field(default=_NONE, name="00080060")
    instance: _Values = field(default=_NONE, name="00080018")
    series: _Values = field(default=_NONE, name="0020000E")
    count: _Values = field(default=_NONE, name="00201209")

    @property
    def size(self) -> int:
        return count_of(self.count.text) or 0


class _Kept(Struct, frozen=True):
    shown: Shown
    at: float


_Key = tuple[str, int]


class Presence:
    """What one archive has shown; one for each archive, in one event loop."""

    def __init__(self, line: Line, clock: Callable[[], float] = time.monotonic) -> None:
        self._line = line
        self._clock = clock
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()
        self._looking: dict[_Key, asyncio.Task[Shown]] = {}
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def of(self, studies: Sequence[_Key], end: float) -> dict[str, Shown]:
        """What is shown of these studies (UID and stated count), those of most interest first, by the loop's
        time ``end``. One that nothing was seen of by then is told as such."""
        looked = self._soon(studies)
        tasks = [one for one in looked.values() if isinstance(one, asyncio.Task)]
        if tasks:
            left = max(0.0, end - asyncio.get_running_loop().time())
            await asyncio.wait(tasks, timeout=left)
        return {key[0]: self._said(key, seen) for key, seen in looked.items()}

    async def aclose(self) -> None:
        """Give up what is being looked at."""
        looking = list(self._looking.values())
        for task in looking:
            task.cancel()
        await asyncio.gather(*looking, return_exceptions=True)

    def _soon(self, studies: Sequence[_Key]) -> dict[_Key, Shown | asyncio.Task[Shown] | None]:
        """What was seen of them, and the looks at as many of the others as one question may begin."""
        seen: dict[_Key, Shown | asyncio.Task[Shown] | None] = {}
        begun = 0
        for key in studies:
            known = self._seen(key) or self._looking.get(key)
            if known is None and begun < MOST_LOOKED and len(self._looking) < MOST_WAITING:
                known, begun = self._look(key), begun + 1
            seen[key] = known
        return seen

    def _said(self, key: _Key, seen: Shown | asyncio.Task[Shown] | None) -> Shown:
        if isinstance(seen, asyncio.Task):
            seen = seen.result() if seen.done() and not seen.cancelled() else None
        return seen or self._seen(key, KEPT_S) or _UNSEEN

    def _seen(self, key: _Key, seconds: float = SEEN_S) -> Shown | None:
        kept = self._kept.get(key)
        if kept is None:
            return None
        counts = seconds if kept.shown.images.held else UNSEEN_S
        return kept.shown if self._clock() - kept.at < counts else None

    def _look(self, key: _Key) -> asyncio.Task[Shown]:
        task = self._looking[key] = asyncio.create_task(self._shown(*key))
        task.add_done_callback(partial(self._back, key))
        return task

    def _back(self, key: _Key, task: asyncio.Task[Shown]) -> None:
        del self._looking[key]
        if task.cancelled():
            return
        self._kept[key] = _Kept(task.result(), self._clock())
        self._kept.move_to_end(key)
        if len(self._kept) > ROOM:
            self._kept.popitem(last=False)

    async def _shown(self, uid: str, stated: int) -> Shown:
        try:
            async with asyncio.timeout(LONGEST_S), self._turns:
                return await self._find(uid, stated)
        except (NodeError, TimeoutError):
            return _UNSEEN

    async def _find(self, uid: str, stated: int) -> Shown:
        """Raises NodeError where it cannot be said what is there."""
        path = f"studies/{uid}/series"
        series = await self._list(path, [("includefield", "00201209"), ("limit", _MANY)])
        notes = [one for one in series if one.modality.text == "KO"]
        images = [one for one in series if one.modality.text not in ACCOMPANYING]
        if not images:
            raise NodeFaulty("listed images of a study, and no series of it that has any")
        largest = min(images, key=lambda one: (-one.size, one.series.text))
        place = f"{path}/{largest.series.text}/instances"
        found = await self._list(place, [("limit", "1")])
        if not found:
            raise NodeFaulty("listed a series, and no instance of it")
        try:
            data = await self._file(f"{place}/{found[0].instance.text}", FIRST)
        except NodeMissing:
            return _GONE
        written = await self._notes(path, notes)
        header = await _read(header_of, data)
        if header is None or header.study not in ("", uid):
            raise NodeFaulty("answered with an image of another study, or none that can be read")
        telling = [note for note in written if note.about and (note.rejects or note.manifest)]
        held, expected = stated, None
        if telling:
            listed = await self._instances(path, series)
            rejected = {uid for note in telling if note.rejects for uid in (note.instance, *note.about)}
            meant = {uid for note in telling if note.manifest for uid in note.about}
            held -= len(rejected & listed)
            expected = held + len(meant - listed - rejected) if meant else None
        return Shown(Images(max(held, 0), expected), header)

    async def _notes(self, path: str, series: Sequence[_Entry]) -> list[Note]:
        places = [
            f"{path}/{one.series.text}/instances/{instance.instance.text}"
            for one in series
            for instance in await self._list(f"{path}/{one.series.text}/instances", [("limit", _MANY)])
        ]
        if len(places) > NOTES:
            raise NodeFaulty("more key object notes than are read")
        files = await all_of([self._file(place, WHOLE) for place in places])
        notes = [note for data in files if len(data) < WHOLE and (note := await _read(note_of, data))]
        if len(notes) < len(files):
            raise NodeFaulty("a key object note that cannot be read")
        return notes

    async def _instances(self, path: str, series: Sequence[_Entry]) -> set[str]:
        """All instances that are listed."""
        lists = [self._list(f"{path}/{one.series.text}/instances", [("limit", _MANY)]) for one in series]
        return {entry.instance.text for found in await all_of(lists) for entry in found}

    async def _list(self, path: str, params: Sequence[tuple[str, str]]) -> list[_Entry]:
        body = await self._line.get_json(path, params, accept=DICOM_JSON)
        try:
            found = msgspec.json.decode(body, type=list[_Entry]) if body else []
        except msgspec.MsgspecError:
            raise NodeFaulty("a list that cannot be read") from None
        uid = "instance" if path.endswith("/instances") else "series"
        if not all(DICOM_UID.fullmatch(getattr(one, uid).text) for one in found):
            raise NodeFaulty("a list with an entry that has no UID")
        return found

    async def _file(self, path: str, most: int) -> bytes:
        """The beginning of a DICOM file, from the multipart answer that it comes in.

        Raises:
            NodeMissing: it is gone. Not found is not gone: so answers an archive without WADO-RS, too.
            NodeError: it did not come, or something else did.
        """
        async with self._line.stream(path, accept=_ACCEPT) as incoming:
            if incoming.status != 200:
                gone = incoming.status == 410
                raise (NodeMissing if gone else NodeRefused)(f"refused with status {incoming.status}")
            single = incoming.headers.get("content-type", "").startswith("application/dicom")
            body = bytearray()
            async for piece in incoming:
                body += piece
                if len(body) >= most + _HEAD:
                    break
        start = 0 if single else body.find(b"\r\n\r\n") + 4
        data = bytes(body[start : start + most])
        if not begins(data):
            raise NodeFaulty("answered with something that is no DICOM file")
        return data


def _read(work: Callable[[bytes], _T], data: bytes) -> asyncio.Future[_T]:
    """Read a file beside the event loop; the first one waits until that is loaded which reads."""
    return asyncio.get_running_loop().run_in_executor(READER, work, data)


_UNSEEN = Shown(Images(None))
_GONE = Shown(Images(0))
