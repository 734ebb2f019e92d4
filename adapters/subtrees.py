"""Roots of complete subtrees of the ledger's tree, kept as rows, so that proofs and tiles read O(log n).

A subtree of level 8, 16, 24 … spans 256, 65,536 … leaves, which are the hashes of the C2SP tiles above the
lowest. Its row is written by the commit that completes it; a leaf costs no more hashing than without. What
stands between two of these levels is computed from at most 256 hashes of the lower one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct

from security.digests import HashName
from security.tiles import TILE_HEIGHT, TILE_WIDTH
from security.tree import Frontier, Reader


class Subtree(Struct, frozen=True):
    """The root over the leaves [index·2^level, (index+1)·2^level); ``level`` is a multiple of 8 above 0."""

    level: int
    index: int
    root: bytes


class Subtrees(Protocol):
    """Where the roots stand: the part of a store that proofs read."""

    @property
    def hash_name(self) -> HashName:
        """The hash of the tree."""
        ...

    async def subtrees(self, level: int, start: int, count: int) -> list[bytes]:
        """Roots of complete subtrees; see :meth:`adapters.store.Store.subtrees`."""
        ...


def grow(
    frontier: Frontier, leaves: Sequence[bytes], hash_name: HashName, level: int = 0
) -> tuple[Frontier, list[Subtree]]:
    """The frontier after more leaves, and the subtrees that they complete, of all levels.

    ``level`` is that of the leaves: the tree above level 8 is one whose leaves are the roots of level 8.
    """
    partial = frontier.size % TILE_WIDTH
    cut = len(frontier.hashes) - partial.bit_count()
    above = Frontier(frontier.size // TILE_WIDTH, frontier.hashes[:cut])
    tile, begin = Frontier(partial, frontier.hashes[cut:]), 0
    roots: list[bytes] = []
    while (end := begin + TILE_WIDTH - tile.size) <= len(leaves):
        roots += tile.extend(leaves[begin:end], hash_name).hashes
        tile, begin = Frontier(), end
    tile = tile.extend(leaves[begin:], hash_name)
    complete: list[Subtree] = []
    if roots:
        complete = [Subtree(level + TILE_HEIGHT, above.size + n, root) for n, root in enumerate(roots)]
        above, higher = grow(above, roots, hash_name, level + TILE_HEIGHT)
        complete += higher
    return Frontier(frontier.size + len(leaves), above.hashes + tile.hashes), complete


async def proof(store: Subtrees, make: Callable[[Reader], list[bytes]]) -> list[bytes]:
    """The proof that ``make`` makes of what it reads, read from the store: about two tiles a level.

    ``make`` is called twice, first to learn what it reads. Raises what it raises, and StoreUnavailable.
    """
    needed: list[tuple[int, int]] = []

    def learn(level: int, index: int) -> bytes:
        needed.append((level, index))
        return b""

    make(learn)
    tiles: dict[tuple[int, int], list[bytes]] = {}
    found: dict[tuple[int, int], bytes] = {}
    for level, index in needed:
        above = level % TILE_HEIGHT
        first = index << above
        tile, place = divmod(first, TILE_WIDTH)
        if (hashes := tiles.get((level - above, tile))) is None:
            hashes = await store.subtrees(level - above, tile * TILE_WIDTH, TILE_WIDTH)
            tiles[level - above, tile] = hashes
        (found[level, index],) = (
            Frontier().extend(hashes[place : place + (1 << above)], store.hash_name).hashes
        )
    return make(lambda level, index: found[level, index])


def root_at(size: int, read: Reader, hash_name: HashName) -> bytes:
    """The root over the first ``size`` leaves, from the complete subtrees that they consist of."""
    levels = [level for level in range(size.bit_length() - 1, -1, -1) if size >> level & 1]
    return Frontier(size, tuple(read(level, (size >> level) - 1) for level in levels)).root(hash_name)
