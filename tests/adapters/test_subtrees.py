"""Subtrees as rows: written by the commits that complete them, read by proofs and tiles."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.sequencer import Sequencer
from adapters.store import Store
from adapters.subtrees import Subtree, grow, proof, root_at
from security.digests import HashName
from security.errors import LedgerRefused
from security.ledger import Sealed
from security.tree import Frontier, Tree, consistency_proof, inclusion_proof, leaf_hash

pytestmark = pytest.mark.anyio

Seal = Callable[..., list[Sealed]]
LEAVES = [leaf_hash(b"%d" % n, "sha256") for n in range(70_000)]
TREE = Tree(LEAVES, "sha256")
SIZE = len(LEAVES)


class Levels:
    """The subtrees of the tree above, read one range at a time."""

    hash_name: HashName = "sha256"

    def __init__(self) -> None:
        self.reads = 0

    async def subtrees(self, level: int, start: int, count: int) -> list[bytes]:
        self.reads += 1
        return TREE.levels[level][start : start + count]


def rows_of(leaves: Sequence[bytes]) -> list[Subtree]:
    tree = Tree(leaves, "sha256")
    return [
        Subtree(level, index, root)
        for level in range(8, len(tree.levels), 8)
        for index, root in enumerate(tree.levels[level])
    ]


@given(st.lists(st.integers(0, 900), max_size=6))
def test_growing_in_any_steps_gives_the_frontier_and_every_subtree_once(steps: list[int]) -> None:
    frontier, found = Frontier(), []
    for count in steps:
        frontier, complete = grow(frontier, LEAVES[frontier.size : frontier.size + count], "sha256")
        found += complete
    assert frontier == Frontier().extend(LEAVES[: sum(steps)], "sha256")
    assert sorted(found, key=lambda one: (one.level, one.index)) == rows_of(LEAVES[: sum(steps)])


def test_a_level_above_is_complete_with_the_last_subtree_below_it() -> None:
    frontier, _ = grow(Frontier(), LEAVES[:65_535], "sha256")
    _, complete = grow(frontier, LEAVES[65_535:65_536], "sha256")
    assert [(one.level, one.index) for one in complete] == [(8, 255), (16, 0)]


async def inclusion(levels: Levels, index: int, size: int) -> list[bytes]:
    return await proof(levels, lambda read: inclusion_proof(index, size, read, "sha256"))


async def consistency(levels: Levels, old: int, new: int) -> list[bytes]:
    return await proof(levels, lambda read: consistency_proof(old, new, read, "sha256"))


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 65_535, 65_536, 65_537, SIZE])
async def test_proofs_from_subtrees_are_those_of_the_tree(size: int) -> None:
    for index in {0, size // 3, size - 1}:
        made = await inclusion(Levels(), index, size)
        assert made == inclusion_proof(index, size, TREE.hash_at, "sha256")
    for old in {1, size // 2, size}:
        made = await consistency(Levels(), old, size)
        assert made == consistency_proof(old, size, TREE.hash_at, "sha256")
    assert await proof(Levels(), lambda read: [root_at(size, read, "sha256")]) == [TREE.root(size)]


async def test_a_proof_reads_at_most_two_tiles_a_level() -> None:
    levels = Levels()
    for index in range(0, SIZE, 997):
        levels.reads = 0
        await inclusion(levels, index, SIZE)
        assert levels.reads <= 2 * 3


async def test_a_store_serves_the_subtrees_of_its_leaves(store_open: Store, store_seal: Seal) -> None:
    for count in (200, 100, 500, 1):
        await store_open.commit(store_seal(count), [])
    leaves = await store_open.leaves(0, 1000)
    assert await store_open.subtrees(0, 10, 5) == leaves[10:15]
    assert await store_open.subtrees(8, 0, 256) == [one.root for one in rows_of(leaves)]
    assert await store_open.subtrees(8, 2, 1) == [rows_of(leaves)[2].root]
    assert await store_open.subtrees(16, 0, 256) == []


async def test_replicas_that_take_turns_write_every_subtree(
    store_open: Store, store_new: Callable[..., Store], store_seal: Seal
) -> None:
    other = store_new()
    await other.open()
    await asyncio.gather(*(store.commit(store_seal(37), []) for store in [store_open, other] * 20))
    await other.close()
    leaves = await store_open.leaves(0, 10_000)
    assert await store_open.subtrees(8, 0, 256) == [one.root for one in rows_of(leaves)]


async def test_a_sequencer_proves_beyond_the_first_tile(
    store_open: Store, store_signer: Any, store_seal: Seal, store_origin: str
) -> None:
    entries = store_seal(600)
    sequencer = Sequencer(store_open, [store_signer], store_origin)
    await sequencer.start()
    await sequencer.append(entries)
    tree = Tree([entry.leaf for entry in entries], "sha256")
    assert await sequencer.inclusion(300, 600) == inclusion_proof(300, 600, tree.hash_at, "sha256")
    assert await sequencer.consistency(257, 600) == consistency_proof(257, 600, tree.hash_at, "sha256")
    with pytest.raises(LedgerRefused, match="the ledger has 600 entries, not 601"):
        await sequencer.inclusion(0, 601)
    await sequencer.close()
