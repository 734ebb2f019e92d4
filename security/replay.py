"""Replay of an exported ledger: every entry is hashed into the tree again, and every tile compared.

One bundle of 256 entries is in memory at a time, and of the tree the tiles at its right edge, so that memory
does not grow with the ledger. Whoever wants more of the entries (`audit`) looks at each bundle as it passes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from security import export, tiles
from security._findings import Broken
from security.digests import HASHES
from security.errors import Check, TrustError
from security.note import Checkpoint
from security.tree import HASH_SIZE

Visit = Callable[[int, Sequence[bytes]], None]
"""Called with each bundle: the index of its first entry, and the entries."""


class Replay:
    """A replay of the export in `folder` to the checkpoint `head`.

    `roots` gets the root at each size in `sizes`, which an earlier checkpoint is compared with.
    """

    def __init__(self, folder: Path, head: Checkpoint, sizes: Sequence[int] = ()) -> None:
        self.folder = folder
        self.head = head
        self.sizes = sizes
        self.roots: dict[int, bytes] = {}
        self.examined = 0
        self._builder = tiles.Builder(head.hash_name, self._compare)
        self._misfit: Broken | None = None  # the first entry whose hash is not in its tile
        self._tile: Broken | None = None  # the first tile that differs from the replay

    def run(self, visit: Visit | None = None) -> None:
        """Replay everything. Raises Broken for the first record that is wrong."""
        digest, builder = HASHES[self.head.hash_name], self._builder
        self._note_roots([])
        try:
            for bundle in export.read_bundles(self.folder, self.head.size):
                leaves = [digest(b"\0" + body) for body in bundle]
                self._note_roots(leaves)
                builder.extend(leaves)
                if visit is not None:
                    visit(self.examined, bundle)
                self.examined = builder.size
            builder.finish()
            export.check_root(builder, self.head)
        except TrustError as wrong:
            raise self._misfit or Broken("tile/entries", "重放全部条目得不到检查点的根", str(wrong)) from None
        if self._tile is not None:
            raise self._tile

    def _note_roots(self, leaves: Sequence[bytes]) -> None:
        start = self._builder.size
        for size in self.sizes:
            if start <= size <= start + len(leaves) and size not in self.roots:
                self.roots[size] = self._builder.root(leaves[: size - start])

    def _compare(self, level: int, index: int, tile: bytes) -> None:
        path = tiles.tile_path(level, index, len(tile) // HASH_SIZE)
        try:
            found = export.read_file(self.folder, path, Check.REPLAY)
        except TrustError as wrong:
            self._tile = self._tile or Broken(path, "文件缺失或无法读取", str(wrong))
            return
        if found == tile:
            return
        self._tile = self._tile or Broken(path, "哈希块与重放结果不同", "the tile differs from the replay")
        starts = range(0, len(tile), HASH_SIZE)
        other = [at for at in starts if found[at : at + HASH_SIZE] != tile[at : at + HASH_SIZE]]
        if level == 0 and self._misfit is None and other:
            name, place = tiles.entries_path(index, len(starts)), other[0] // HASH_SIZE
            self._misfit = Broken(
                f"#{index * tiles.TILE_WIDTH + place}",
                f"{name} 的第 {place} 条与其哈希块不符（自 0 计）",
                f"entry {place} of {name} does not fit its tile",
            )
