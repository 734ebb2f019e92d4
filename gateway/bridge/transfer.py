"""Instances on their way from the archive to one reader: written by DIMSE threads, read on the event loop.

The spool between them is bounded: when so many bytes wait, the thread that took the last instance waits
before it confirms, and so does the archive. Whoever stops reading ends it all (:meth:`Transfer.close`).
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from pydicom import dcmread

from adapters.errors import NodeLate
from gateway.bridge.values import Arrived, Wanted

KEPT, CANNOT_UNDERSTAND, NOT_WANTED, FULL = 0x0000, 0xC000, 0xA900, 0xA700
"""C-STORE status (PS3.4 Table B.2-1)."""

_KEYS = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "PatientID"]


class Transfer:
    """What of ``wanted`` comes. Made on the event loop; ``most`` bytes may wait.

    Attributes:
        over: set when the archive has said its last word.
        gone: set when nobody reads any more.
    """

    def __init__(self, wanted: Wanted, most: int) -> None:
        self.wanted = wanted
        self.over = threading.Event()
        self.gone = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._more = asyncio.Event()
        self._folder = TemporaryDirectory(prefix="lianren-bridge-", ignore_cleanup_errors=True)
        self._room = threading.Condition()
        self._ready: deque[Arrived] = deque()
        self._seen: set[str] = set()
        self._held, self._most = 0, most
        self._error: Exception | None = None
        self._patient = ""

    @property
    def count(self) -> int:
        """How many instances have come."""
        return len(self._seen)

    def take(self, file: Path) -> int:
        """Take an instance into the spool, from a DIMSE thread; waits while that is full.

        Returns the status to confirm it with. The file may go then.
        """
        try:
            header = dcmread(file, specific_tags=[*_KEYS], stop_before_pixels=True)
            study, series, instance, patient = (str(header.get(key, "")) for key in _KEYS)
            syntax = str(header.file_meta.TransferSyntaxUID)
        except Exception:  # pydicom raises whatever a broken file makes it stumble over
            return CANNOT_UNDERSTAND
        if not self.wanted.holds(study, series, instance):
            return NOT_WANTED
        with self._room:
            self._room.wait_for(lambda: self.gone.is_set() or self._held < self._most)
            if self.gone.is_set():
                return FULL
            if instance in self._seen:
                return KEPT
            if self._seen and patient != self._patient:  # a study is of one patient (PS3.3 §A.1.2)
                return NOT_WANTED
            place = Path(self._folder.name) / str(len(self._seen))
            os.link(file, place)
            self._patient = patient
            size = place.stat().st_size
            self._seen.add(instance)
            self._held += size
            self._ready.append(Arrived(place, size, Wanted(study, series, instance), syntax))
        self._wake()
        return KEPT

    def finish(self, error: Exception | None = None) -> None:
        """Nothing more comes; ``error`` says why something is missing."""
        self._error = error
        self.over.set()
        self._wake()

    async def next(self, patience: float) -> Arrived | None:
        """The next instance, whose file is the reader's to remove; None after the last.

        Raises:
            NodeError: the rest does not come, or nothing came for ``patience`` seconds.
        """
        while True:
            over = self.over.is_set()  # asked first: the last instance lies there before it is set
            if self._ready:
                break
            if over:
                if self._error:
                    raise self._error
                return None
            self._more.clear()
            if self._ready or self.over.is_set():
                continue
            try:
                async with asyncio.timeout(patience):
                    await self._more.wait()
            except TimeoutError:
                raise NodeLate(f"sent nothing of a retrieval for {patience:g} s") from None
        arrived = self._ready.popleft()
        with self._room:
            self._held -= arrived.size
            self._room.notify_all()
        return arrived

    def close(self) -> None:
        """Nobody reads any more: what lies in the spool is removed, and what still comes is refused."""
        with self._room:
            self.gone.set()
            self._ready.clear()
            self._room.notify_all()
        self._folder.cleanup()

    def _wake(self) -> None:
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._more.set)
