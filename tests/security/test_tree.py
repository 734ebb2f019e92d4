"""The Merkle tree against published vectors and a tree written straight from the definition."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from security.digests import HASHES, HashName
from security.errors import Check, LedgerRefused
from security.tree import (
    Frontier,
    Tree,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from tests.security.material import conformance

# The reference data of Certificate Transparency
INPUTS = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
REFERENCE = [leaf_hash(bytes.fromhex(text), "sha256") for text in INPUTS]

sizes = st.integers(1, 80)
hash_names = st.sampled_from(sorted(HASHES))


def _leaves(count: int, name: HashName) -> list[bytes]:
    return [leaf_hash(b"entry %d" % index, name) for index in range(count)]


def _defined_root(leaves: Sequence[bytes], name: HashName) -> bytes:
    """MTH of RFC 6962 §2.1, word for word."""
    if not leaves:
        return HASHES[name](b"")
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(_defined_root(leaves[:split], name), _defined_root(leaves[split:], name), name)


@pytest.mark.parametrize("size", range(9))
def test_roots_are_those_of_the_reference_data(size: int) -> None:
    assert root_of(REFERENCE[:size], "sha256").hex() == ROOTS[size]


@pytest.mark.parametrize("size", range(9))
def test_the_frontier_gives_the_roots_of_the_reference_data(size: int) -> None:
    frontier = Frontier()
    for leaf in REFERENCE[:size]:
        frontier = frontier.append(leaf, "sha256")
    assert (frontier.size, frontier.root("sha256").hex()) == (size, ROOTS[size])


def test_the_conformance_trees_have_their_leaf_hashes_and_roots() -> None:
    vectors = conformance("tlog/shared/rfc6962-trees.json")
    leaves = [leaf_hash(bytes.fromhex(text), "sha256") for text in vectors["leaf_inputs_hex"]]
    assert [leaf.hex() for leaf in leaves] == vectors["leaf_hashes_hex"]
    for size, root in vectors["roots_hex"].items():
        assert root_of(leaves[: int(size)], "sha256").hex() == root


def test_the_conformance_inclusion_proofs_are_judged_right() -> None:
    for v in conformance("tlog/shared/merkle-inclusion.json"):
        proof = [b64decode(part) for part in v["proof"] or []]
        claim = (b64decode(v["leafHash"]), v["leafIdx"], v["treeSize"], proof, b64decode(v["root"]), "sha256")
        assert _refuses(verify_inclusion, *claim) == v["wantErr"], v["_case"]


def test_the_conformance_consistency_proofs_are_judged_right() -> None:
    for v in conformance("tlog/shared/merkle-consistency.json"):
        proof = [b64decode(part) for part in v["proof"] or []]
        roots = (b64decode(v["root1"]), b64decode(v["root2"]))
        claim = (v["size1"], v["size2"], proof, *roots, "sha256")
        assert _refuses(verify_consistency, *claim) == v["wantErr"], v["_case"]


@given(size=st.integers(0, 80), name=hash_names)
def test_the_root_is_the_defined_one(size: int, name: HashName) -> None:
    leaves = _leaves(size, name)
    assert root_of(leaves, name) == Frontier().extend(leaves, name).root(name) == _defined_root(leaves, name)


@given(first=st.integers(0, 80), second=st.integers(0, 80), name=hash_names)
def test_batches_give_the_frontier_that_single_leaves_give(first: int, second: int, name: HashName) -> None:
    leaves = _leaves(first + second, name)
    frontier = Frontier().extend(leaves[:first], name).extend(leaves[first:], name)
    assert frontier == Frontier().extend(leaves, name)
    assert len(frontier.hashes) == (first + second).bit_count()


@given(size=sizes, data=st.data(), name=hash_names)
def test_every_leaf_is_proven_to_be_included(size: int, data: st.DataObject, name: HashName) -> None:
    index = data.draw(st.integers(0, size - 1))
    total = data.draw(st.integers(size, 90))
    tree = Tree(_leaves(total, name), name)
    proof = inclusion_proof(index, size, tree.hash_at, name)
    verify_inclusion(tree.levels[0][index], index, size, proof, tree.root(size), name)


@given(new=st.integers(0, 80), data=st.data(), name=hash_names)
def test_every_earlier_tree_is_proven_to_begin_the_later(
    new: int, data: st.DataObject, name: HashName
) -> None:
    old = data.draw(st.integers(0, new))
    tree = Tree(_leaves(new, name), name)
    proof = consistency_proof(old, new, tree.hash_at, name)
    verify_consistency(old, new, proof, tree.root(old), tree.root(), name)


@settings(max_examples=200)
@given(size=st.integers(2, 60), data=st.data())
def test_an_altered_inclusion_proof_is_refused(size: int, data: st.DataObject) -> None:
    tree = Tree(_leaves(size, "sha256"), "sha256")
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(index, size, tree.hash_at, "sha256")
    altered = data.draw(_alterations(proof))
    assert _refuses(verify_inclusion, tree.levels[0][index], index, size, altered, tree.root(), "sha256")


@given(size=st.integers(2, 60), data=st.data())
def test_a_leaf_is_proven_at_its_own_index_alone(size: int, data: st.DataObject) -> None:
    tree = Tree(_leaves(size, "sha256"), "sha256")
    index, other = data.draw(st.lists(st.integers(0, size - 1), min_size=2, max_size=2, unique=True))
    proof = inclusion_proof(index, size, tree.hash_at, "sha256")
    assert _refuses(verify_inclusion, tree.levels[0][index], other, size, proof, tree.root(), "sha256")


@settings(max_examples=200)
@given(new=st.integers(3, 60), data=st.data())
def test_an_altered_consistency_proof_is_refused(new: int, data: st.DataObject) -> None:
    tree = Tree(_leaves(new, "sha256"), "sha256")
    old = data.draw(st.integers(1, new - 1))
    altered = data.draw(_alterations(consistency_proof(old, new, tree.hash_at, "sha256")))
    assert _refuses(verify_consistency, old, new, altered, tree.root(old), tree.root(), "sha256")


@given(new=st.integers(2, 60), data=st.data())
def test_a_rewritten_entry_breaks_consistency(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new))
    changed = data.draw(st.integers(0, old - 1))
    leaves = _leaves(new, "sha256")
    before = root_of(leaves[:old], "sha256")
    leaves[changed] = leaf_hash(b"another", "sha256")
    tree = Tree(leaves, "sha256")
    proof = consistency_proof(old, new, tree.hash_at, "sha256")
    assert _refuses(verify_consistency, old, new, proof, before, tree.root(), "sha256")


def test_an_index_outside_the_tree_has_no_proof() -> None:
    tree = Tree(_leaves(3, "sha256"), "sha256")
    for index in (-1, 3):
        with pytest.raises(LedgerRefused, match="no entry"):
            inclusion_proof(index, 3, tree.hash_at, "sha256")


def test_a_later_tree_cannot_begin_an_earlier_one() -> None:
    tree = Tree(_leaves(3, "sha256"), "sha256")
    with pytest.raises(LedgerRefused) as refusal:
        consistency_proof(3, 2, tree.hash_at, "sha256")
    assert refusal.value.check is Check.CONSISTENCY


def _alterations(proof: list[bytes]) -> st.SearchStrategy[list[bytes]]:
    """Proofs that differ from `proof` by a bit, a hash less or a hash more."""
    places = st.integers(0, len(proof) - 1) if proof else st.nothing()
    flipped = places.map(
        lambda at: [*proof[:at], bytes([proof[at][0] ^ 1]) + proof[at][1:], *proof[at + 1 :]]
    )
    shorter = places.map(lambda at: [*proof[:at], *proof[at + 1 :]])
    longer = st.integers(0, len(proof)).map(lambda at: [*proof[:at], bytes(32), *proof[at:]])
    cut = places.map(lambda at: [*proof[:at], proof[at][:31], *proof[at + 1 :]])
    return st.one_of(flipped, shorter, longer, cut)


def _refuses(verify: Callable[..., None], *claim: Any) -> bool:
    try:
        verify(*claim)
    except LedgerRefused:
        return True
    return False
