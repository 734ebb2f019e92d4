"""Whether every entry binds an earlier one of the right type, over a ledger of any length.

Each commitment and each mark id, and each reference to one, is a record of the same join (`_parts`): in the
order of the ledger, what a reference names must stand before it, once.
"""

from __future__ import annotations

from pathlib import Path

from security._findings import Broken
from security._parts import Parts
from security.ledger import Entry
from security.tree import HASH_SIZE

# What an entry of these types must answer; the others may stand alone.
FOLLOWS = {
    "answer": frozenset({"question"}),
    "verdict": frozenset({"question", "answer"}),
    "outcome": frozenset({"question", "answer", "verdict"}),
}
_REFERENCE = 1 << 63  # added to the index: the entry refers to the commitment


class Bindings:
    """Collects the entries of a ledger of `size` in order, and joins them; `folder` is for the parts."""

    def __init__(self, folder: Path, size: int) -> None:
        self._parts = Parts(folder, size)
        self._broken: tuple[int, Broken] | None = None

    def take(self, index: int, entry: Entry) -> None:
        """The next entry."""
        kind = entry.type.encode()
        if entry.binds:
            self._parts.put(bytes.fromhex(entry.binds), index | _REFERENCE, kind)
        elif entry.type in FOLLOWS:
            self._refuse(index, must_bind(index, entry.type))
        self._parts.put(bytes.fromhex(entry.commit), index, kind)
        if entry.mark and entry.type in ("mark", "withdrawal"):
            self._parts.put(
                bytes.fromhex(entry.mark).ljust(HASH_SIZE),
                index if entry.type == "mark" else index | _REFERENCE,
                kind,
            )

    def check(self) -> None:
        """Join the parts. Raises Broken for the first entry of the ledger that binds nothing it may bind."""
        for records in self._parts.read():
            types: dict[bytes, bytes] = {}
            for commitment, index, kind in records:
                if index & _REFERENCE:
                    self._follow(index ^ _REFERENCE, kind.decode(), types.get(commitment, b"").decode())
                elif commitment in types:
                    self._refuse(
                        index,
                        Broken(
                            f"#{index}",
                            "承诺或标识与此前条目重复",
                            "its commitment or mark stands in an earlier entry",
                        ),
                    )
                else:
                    types[commitment] = kind
        if self._broken is not None:
            raise self._broken[1]

    def _follow(self, index: int, kind: str, bound: str) -> None:
        if not bound:
            self._refuse(
                index,
                Broken(
                    f"#{index}",
                    "关联的条目或撤回的标识此前不存在",
                    "it binds an entry, or withdraws a mark, that is not before it",
                ),
            )
        elif kind in FOLLOWS and bound not in FOLLOWS[kind]:
            self._refuse(index, must_bind(index, kind))

    def _refuse(self, index: int, broken: Broken) -> None:
        if self._broken is None or index < self._broken[0]:
            self._broken = index, broken


def must_bind(index: int, kind: str) -> Broken:
    """What is wrong with an entry of this type that binds none of the types it may answer."""
    wanted = " or ".join(sorted(FOLLOWS[kind]))
    return Broken(f"#{index}", "应关联其所回答的问题", f"a {kind} must bind its {wanted}")
