"""The files of a log for caches, mirrors and auditors (C2SP tlog-tiles v1.0.0).

    tile/<L>/<N>[.p/<W>]        256 (or W) hashes of level 8·L, side by side
    tile/entries/<N>[.p/<W>]    256 (or W) entries, each a uint16 length (big-endian) and its bytes

N is written in groups of three digits, all but the last with an x before them: 1234067 is x001/x234/067. A
tile is partial (W of 1 to 255) only at the right edge of the tree.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from security.digests import HASHES, HashName
from security.errors import Check, LedgerRefused
from security.tree import Frontier, Reader, root_over

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
MAX_ENTRY = 0xFFFF

_PATH = re.compile(
    r"tile/(?P<level>entries|0|[1-9][0-9]?)/(?P<index>(?:x[0-9]{3}/)*[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)


def tile_path(level: int, index: int, width: int = TILE_WIDTH) -> str:
    """The path of a tile of hashes."""
    return f"tile/{level}/{_number(index)}{_partial(width)}"


def entries_path(index: int, width: int = TILE_WIDTH) -> str:
    """The path of a bundle of entries."""
    return f"tile/entries/{_number(index)}{_partial(width)}"


def parse_path(path: str) -> tuple[int | None, int, int]:
    """(level, index, width) of a path; level is None for entries. Raises LedgerRefused on other paths."""
    match = _PATH.fullmatch(path)
    if match:
        level = None if match["level"] == "entries" else int(match["level"])
        index = int(match["index"].replace("/", "").replace("x", ""))
        width = int(match["width"] or TILE_WIDTH)
        # compared with the written form, which also refuses leading groups of zeros and a width of 256
        written = entries_path(index, width) if level is None else tile_path(level, index, width)
        if width <= TILE_WIDTH and path == written:
            return level, index, width
    raise LedgerRefused(Check.REPLAY, "not the path of a tile or an entry bundle")


def tiles_of(size: int) -> Iterator[tuple[int, int, int]]:
    """(level, index, width) of every tile of hashes of a tree of `size` leaves."""
    level, count = 0, size
    while count:
        full, rest = divmod(count, TILE_WIDTH)
        yield from ((level, index, TILE_WIDTH) for index in range(full))
        if rest:
            yield level, full, rest
        level, count = level + 1, full


def bundles_of(size: int) -> Iterator[tuple[int, int]]:
    """(index, width) of every bundle of entries of a tree of `size` leaves."""
    return ((index, width) for level, index, width in tiles_of(size) if level == 0)


def tile_bytes(read: Reader, level: int, index: int, width: int = TILE_WIDTH) -> bytes:
    """The content of a tile of hashes."""
    first = index * TILE_WIDTH
    return b"".join(read(level * TILE_HEIGHT, position) for position in range(first, first + width))


def encode_entries(entries: Iterable[bytes]) -> bytes:
    """The content of a bundle. Raises LedgerRefused for an entry beyond 65,535 bytes."""
    out = bytearray()
    for entry in entries:
        if len(entry) > MAX_ENTRY:
            raise LedgerRefused(Check.REPLAY, f"an entry of {len(entry)} bytes; the most is {MAX_ENTRY}")
        out += len(entry).to_bytes(2, "big") + entry
    return bytes(out)


def decode_entries(bundle: bytes) -> list[bytes]:
    """The entries of a bundle. Raises LedgerRefused when it is cut short or holds more than 256."""
    entries: list[bytes] = []
    position, end = 0, len(bundle)
    while position < end:
        start = position + 2
        position = start + (bundle[start - 2] << 8 | bundle[start - 1] if start <= end else 0)
        if position > end or start > end or len(entries) == TILE_WIDTH:
            raise LedgerRefused(Check.REPLAY, "an entry bundle is cut short or too long")
        entries.append(bundle[start:position])
    return entries


class Builder:
    """Makes the tiles of a tree from its leaf hashes, in memory that does not grow with the tree.

    `emit(level, index, tile)` gets every full tile as it fills, and the partial ones from `finish`. A writer
    of an export stores them, an auditor compares them.
    """

    def __init__(self, hash_name: HashName, emit: Callable[[int, int, bytes], None]) -> None:
        self._hash = hash_name
        self._emit = emit
        self._levels: list[list[bytes]] = [[]]  # of each tile level, the hashes of its last, unfilled tile
        self._full = [0]  # and how many tiles before it are full
        self.size = 0

    def extend(self, leaves: Sequence[bytes]) -> None:
        """Take at most as many leaf hashes as fill the lowest tile (all 256 when it is empty)."""
        self.size += len(leaves)
        self._push(0, leaves)

    def finish(self) -> None:
        """Emit the partial tiles at the right edge."""
        for level, hashes in enumerate(self._levels):
            if hashes:
                self._emit(level, self._full[level], b"".join(hashes))

    def root(self, further: Sequence[bytes] = ()) -> bytes:
        """The root over the leaves so far, and over a few `further` ones in the lowest tile."""
        parts: list[bytes] = []
        for hashes in self._levels[:0:-1]:
            parts += Frontier().extend(hashes, self._hash).hashes
        parts += Frontier().extend([*self._levels[0], *further], self._hash).hashes
        return root_over(parts, self._hash)

    def _push(self, level: int, hashes: Sequence[bytes]) -> None:
        if level == len(self._levels):
            self._levels.append([])
            self._full.append(0)
        tile = self._levels[level]
        tile += hashes
        if len(tile) < TILE_WIDTH:
            return
        self._emit(level, self._full[level], b"".join(tile))
        self._full[level] += 1
        self._levels[level] = []
        digest = HASHES[self._hash]
        while len(tile) > 1:
            tile = [digest(b"\1" + left + right) for left, right in zip(tile[::2], tile[1::2], strict=True)]
        self._push(level + 1, tile)


def _number(index: int) -> str:
    digits = str(index)
    digits = digits.rjust(-(-len(digits) // 3) * 3, "0")
    groups = [digits[start : start + 3] for start in range(0, len(digits), 3)]
    return "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])


def _partial(width: int) -> str:
    return "" if width == TILE_WIDTH else f".p/{width}"
