"""A join on the disk: records by key in parts that fit into memory, however many there are.

A record goes into the part that the hash of its key says, in the order in which it comes, and a part is gone
through alone. The hash is Python's own, seeded anew in each process: nobody can make all keys fall into one
part.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

ROOM = 50_000  # records that a part is made for
MOST = 2000  # parts
BUFFER = 1 << 14  # bytes of a part before they are written

_RECORD = struct.Struct(">32sQ12s")


class Parts:
    """Records of a key (32 bytes), a number and a word (at most 12 bytes); `folder` is empty and stays so."""

    def __init__(self, folder: Path, expected: int) -> None:
        self._folder = folder
        self._buffers = [bytearray() for _ in range(min(expected // ROOM, MOST) + 1)]

    def put(self, key: bytes, number: int, word: bytes) -> None:
        """One more record."""
        part = hash(key) % len(self._buffers)
        buffer = self._buffers[part]
        buffer += _RECORD.pack(key, number, word)
        if len(buffer) >= BUFFER:
            self._flush(part)

    def read(self) -> Iterator[Iterator[tuple[bytes, int, bytes]]]:
        """The records of each part in their order; all records of a key are in one part."""
        for part in range(len(self._buffers)):
            self._flush(part)
            file = self._folder / str(part)
            yield _records(file)
            file.unlink()

    def _flush(self, part: int) -> None:
        with (self._folder / str(part)).open("ab") as file:
            file.write(self._buffers[part])
        self._buffers[part].clear()


def _records(file: Path) -> Iterator[tuple[bytes, int, bytes]]:
    """A few at a time: many records may have one key, and so be in one part."""
    with file.open("rb") as records:
        while some := records.read(_RECORD.size * 1000):
            for key, number, word in _RECORD.iter_unpack(some):
                yield key, number, word.rstrip(b"\0")
