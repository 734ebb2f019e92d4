"""Merkle tree of RFC 6962 §2.1: hashes, roots, proofs, and the frontier by which a log appends.

The hash is named (`sha256` or `sm3`, fixed at a log's birth). Proof makers read complete subtrees through
`read(level, index)`, the root over leaves [index·2^level, (index+1)·2^level): a tile store, a database or a
`Tree` can serve it. Proofs are lists of 32-byte hashes, from the leaf upwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct

from security.digests import HASHES, HashName
from security.errors import Check, LedgerRefused

HASH_SIZE = 32
Reader = Callable[[int, int], bytes]


def leaf_hash(entry: bytes, hash_name: HashName) -> bytes:
    """The hash of a leaf's content: H(0x00 ‖ entry)."""
    return HASHES[hash_name](b"\0" + entry)


def node_hash(left: bytes, right: bytes, hash_name: HashName) -> bytes:
    """The hash of an inner node: H(0x01 ‖ left ‖ right)."""
    return HASHES[hash_name](b"\1" + left + right)


class Frontier(Struct, frozen=True):
    """All that appending needs: the size, and the roots of the complete subtrees, largest first."""

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def append(self, leaf: bytes, hash_name: HashName) -> Frontier:
        """The frontier with one more leaf hash."""
        return self.extend((leaf,), hash_name)

    def extend(self, leaves: Iterable[bytes], hash_name: HashName) -> Frontier:
        """The frontier with more leaf hashes, about one node hash for each."""
        digest, size, hashes = HASHES[hash_name], self.size, list(self.hashes)
        for leaf in leaves:
            complete = size  # its trailing one bits are the subtrees that this leaf completes
            node = leaf
            while complete & 1:
                node = digest(b"\1" + hashes.pop() + node)
                complete >>= 1
            hashes.append(node)
            size += 1
        return Frontier(size, tuple(hashes))

    def root(self, hash_name: HashName) -> bytes:
        """The root over all leaves; of no leaves, the hash of nothing."""
        return root_over(self.hashes, hash_name)


class Tree:
    """Every complete subtree of a list of leaf hashes, in memory; `hash_at` is a `Reader`."""

    def __init__(self, leaves: Iterable[bytes], hash_name: HashName) -> None:
        digest = HASHES[hash_name]
        self.hash_name = hash_name
        self.levels = [list(leaves)]
        while len(below := self.levels[-1]) > 1:
            pairs = zip(below[::2], below[1::2], strict=False)  # an unpaired last one completes no subtree
            self.levels.append([digest(b"\1" + left + right) for left, right in pairs])

    @property
    def size(self) -> int:
        """The number of leaves."""
        return len(self.levels[0])

    def hash_at(self, level: int, index: int) -> bytes:
        """The root of the complete subtree `index` of `level`."""
        return self.levels[level][index]

    def root(self, size: int | None = None) -> bytes:
        """The root over the first `size` leaves (all when left out)."""
        return _range_root(0, self.size if size is None else size, self.hash_at, self.hash_name)


def root_of(leaves: Iterable[bytes], hash_name: HashName) -> bytes:
    """The root over leaf hashes."""
    return Tree(leaves, hash_name).root()


def root_over(hashes: Sequence[bytes], hash_name: HashName) -> bytes:
    """The root over the roots of complete subtrees that shrink from left to right (a frontier's)."""
    digest = HASHES[hash_name]
    if not hashes:
        return digest(b"")
    node = hashes[-1]
    for left in hashes[-2::-1]:
        node = digest(b"\1" + left + node)
    return node


def inclusion_proof(index: int, size: int, read: Reader, hash_name: HashName) -> list[bytes]:
    """PATH(index, first `size` leaves), RFC 6962 §2.1.1. Raises LedgerRefused unless 0 ≤ index < size."""
    if not 0 <= index < size:
        raise LedgerRefused(Check.MARKS, f"there is no entry {index} in a ledger of {size} entries")
    proof, low, high = [], 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            proof.append(_range_root(middle, high, read, hash_name))
            high = middle
        else:
            proof.append(_range_root(low, middle, read, hash_name))
            low = middle
    return proof[::-1]


def consistency_proof(old: int, new: int, read: Reader, hash_name: HashName) -> list[bytes]:
    """PROOF(old, first `new` leaves), RFC 6962 §2.1.2; empty for an empty or equal old tree.

    Raises LedgerRefused unless 0 ≤ old ≤ new.
    """
    if not 0 <= old <= new:
        raise LedgerRefused(Check.CONSISTENCY, f"a ledger of {new} entries has no earlier state of {old}")
    if old in (0, new):
        return []
    proof, low, high, whole = [], 0, new, True
    while old != high:
        middle = low + _split(high - low)
        if old <= middle:
            proof.append(_range_root(middle, high, read, hash_name))
            high = middle
        else:
            proof.append(_range_root(low, middle, read, hash_name))
            low, whole = middle, False
    if not whole:
        proof.append(_range_root(low, high, read, hash_name))
    return proof[::-1]


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes, hash_name: HashName
) -> None:
    """Return when the leaf hash is at `index` in the tree of `size` and `root`; else raise LedgerRefused.

    RFC 9162 §2.1.3.2.
    """
    if not 0 <= index < size or any(len(part) != HASH_SIZE for part in (leaf, root, *proof)):
        raise LedgerRefused(Check.MARKS, f"inclusion of entry {index} in {size}: malformed proof")
    digest, node, last, position = HASHES[hash_name], leaf, size - 1, index
    for sibling in proof:
        if last == 0:
            raise LedgerRefused(Check.MARKS, f"inclusion of entry {index} in {size}: the proof is too long")
        if position & 1 or position == last:
            node = digest(b"\1" + sibling + node)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            node = digest(b"\1" + node + sibling)
        position, last = position >> 1, last >> 1
    if last or node != root:
        raise LedgerRefused(
            Check.MARKS, f"inclusion of entry {index} in {size}: the proof does not give the root"
        )


def verify_consistency(
    old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes, hash_name: HashName
) -> None:
    """Return when the tree of `new` leaves begins with the tree of `old` leaves; else raise LedgerRefused.

    RFC 9162 §2.1.4.2; every tree begins with the empty one.
    """
    claim = f"consistency of {old} with {new} entries"
    digest = HASHES[hash_name]
    if not 0 <= old <= new or (old in (0, new) and proof):
        raise LedgerRefused(Check.CONSISTENCY, f"{claim}: the sizes do not go with the proof")
    if old == new:
        if old_root != new_root:
            raise LedgerRefused(Check.CONSISTENCY, f"{claim}: two roots for one size")
        return
    if any(len(part) != HASH_SIZE for part in (old_root, new_root, *proof)):
        raise LedgerRefused(Check.CONSISTENCY, f"{claim}: a hash is not of {HASH_SIZE} bytes")
    if old == 0:
        if old_root != digest(b""):
            raise LedgerRefused(Check.CONSISTENCY, f"{claim}: the old root is not that of no entries")
        return
    if not proof:
        raise LedgerRefused(Check.CONSISTENCY, f"{claim}: the proof is empty")
    # an old tree that is complete is a subtree of the new one, and its root is left out of the proof
    parts = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    position, last = old - 1, new - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    old_node = new_node = parts[0]
    for part in parts[1:]:
        if last == 0:
            raise LedgerRefused(Check.CONSISTENCY, f"{claim}: the proof is too long")
        if position & 1 or position == last:
            old_node, new_node = digest(b"\1" + part + old_node), digest(b"\1" + part + new_node)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            new_node = digest(b"\1" + new_node + part)
        position, last = position >> 1, last >> 1
    if last or old_node != old_root or new_node != new_root:
        raise LedgerRefused(Check.CONSISTENCY, f"{claim}: the proof does not give the two roots")


def _split(count: int) -> int:
    """The largest power of two below `count` (≥ 2)."""
    return 1 << ((count - 1).bit_length() - 1)


def _range_root(low: int, high: int, read: Reader, hash_name: HashName) -> bytes:
    """The root over leaves [low, high); `low` is a multiple of the largest power of two in `high - low`."""
    hashes = []
    while low < high:
        level = (high - low).bit_length() - 1
        hashes.append(read(level, low >> level))
        low += 1 << level
    return root_over(hashes, hash_name)
