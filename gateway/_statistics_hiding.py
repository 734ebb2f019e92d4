"""Which cells of a table of counts are hidden, so that no small count can be computed from what is shown.

A count of 1 to threshold - 1 is hidden (*primary*). What is left must not give it away, so further counts
are hidden (*complementary*) until nobody can compute one. The reader is assumed to know the shown cells, that
every column adds up to its total, that in every row (the totals too) a column is the sum of its parts, and
that a hidden count is at least 1, since every 0 is shown. Columns that are no parts of one another must be
independent: could one never exceed another, their difference would tell more.

These equations are those of a flow: each count is an arc between two of them (the equation of its row and
that of its column, or of a whole and of its parts). Another table fits what is shown just where a flow can
be sent round a cycle of hidden arcs: along an arc always, against it where its count is above 1. So a hidden
count is known exactly when no such cycle runs through its arc, and looking for one is an audit, not an
estimate (Gusfield, A graph theoretic approach to statistical data security, SIAM J. Comput. 17(3), 1988).

The totals are made safe on their own first, so that the tables of one period by region, item or month hide
the same totals wherever the rows allow it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from msgspec import Struct

TOTAL = None
Cell = tuple[str | None, str]
"""Row (:data:`TOTAL` for the row of the totals) and column."""
_Node = tuple[str, str | None, str]
_GROUND: _Node = ("ground", None, "")


class _Arc(Struct, frozen=True):
    cell: Cell
    tail: _Node
    head: _Node


def hidden_cells(
    rows: Mapping[str, Mapping[str, int]], part_of: Mapping[str, str], threshold: int
) -> frozenset[Cell]:
    """The cells to hide.

    Args:
        rows: row → column → count. Every row has every column, and each is the sum of its parts.
        part_of: column → the column that it is a part of; empty for one that is a part of none.
        threshold: counts from 1 to threshold - 1 are hidden.
    """
    totals = {column: sum(row[column] for row in rows.values()) for column in part_of}
    alone = _Table({"": totals}, None, part_of, threshold)
    alone.protect()
    table = _Table(rows, totals, part_of, threshold)
    table.hide((TOTAL, column) for _, column in alone.hidden)
    table.protect()
    return frozenset(table.hidden)


class _Table:
    def __init__(
        self,
        rows: Mapping[str, Mapping[str, int]],
        totals: Mapping[str, int] | None,
        part_of: Mapping[str, str],
        threshold: int,
    ) -> None:
        wholes = set(part_of.values())
        lines: list[tuple[str | None, Mapping[str, int]]] = [*rows.items()]
        if totals is not None:
            lines.append((TOTAL, totals))
        self.hidden: set[Cell] = set()
        self._counts: dict[Cell, int] = {(row, c): line[c] for row, line in lines for c in part_of}
        self._arcs: dict[Cell, _Arc] = {}
        self._at: dict[_Node, list[_Arc]] = {}
        self._hidden_at: dict[_Node, list[_Arc]] = {}
        for row, column in self._counts:
            above: _Node = ("parts", row, part_of[column]) if part_of[column] else _GROUND
            if column in wholes:
                below: _Node = ("parts", row, column)
            else:  # that the wholes add up to their totals follows from these
                below = ("total", None, column) if totals is not None else _GROUND
            tail, head = (below, above) if row is TOTAL else (above, below)
            arc = _Arc((row, column), tail, head)
            self._arcs[arc.cell] = arc
            for node in {tail, head}:
                self._at.setdefault(node, []).append(arc)
        self.hide(cell for cell, count in self._counts.items() if 0 < count < threshold)

    def hide(self, cells: Iterable[Cell]) -> None:
        """Hide these, too."""
        for cell in set(cells) - self.hidden:
            self.hidden.add(cell)
            for node in {self._arcs[cell].tail, self._arcs[cell].head}:
                self._hidden_at.setdefault(node, []).append(self._arcs[cell])

    def protect(self) -> None:
        """Hide further counts until none of the hidden is known.

        Hiding more never makes a safe count known. What was hidden last is looked at first, so that one count
        is made safe before the next. It ends: once every count but 0 is hidden, each can grow together with
        its wholes and totals.
        """
        ahead = sorted(self.hidden, key=self._order, reverse=True)
        while ahead:
            if self._known(ahead[-1]):
                ahead.append(self._complement(self._arcs[ahead[-1]]))
                self.hide(ahead[-1:])
            else:
                ahead.pop()

    def _complement(self, arc: _Arc) -> Cell:
        """The smallest shown count where it helps most: in an equation with no other hidden count first."""
        lonely = [n for n in (arc.tail, arc.head) if n != _GROUND and len(self._hidden_at[n]) == 1]
        for nodes in (lonely, (arc.tail, arc.head), self._at):
            cells = [other.cell for node in nodes for other in self._at[node]]
            if shown := [cell for cell in cells if self._counts[cell] and cell not in self.hidden]:
                return min(shown, key=self._order)
        raise AssertionError("a count that can grow is not known")

    def _order(self, cell: Cell) -> tuple[bool, int, str, str]:
        return cell[0] is TOTAL, self._counts[cell], cell[1], cell[0] or ""

    def _known(self, cell: Cell) -> bool:
        arc = self._arcs[cell]
        if arc.tail == arc.head or self._reaches(arc.head, arc.tail, cell):
            return False
        return self._counts[cell] == 1 or not self._reaches(arc.tail, arc.head, cell)

    def _reaches(self, start: _Node, goal: _Node, without: Cell) -> bool:
        """Whether a flow can go on from a node to another over hidden arcs, this one aside."""
        seen, ahead = {start}, deque([start])
        while ahead:
            node = ahead.popleft()
            for arc in self._hidden_at.get(node, ()):
                along = arc.tail == node
                if arc.cell == without or not (along or self._counts[arc.cell] > 1):
                    continue
                further = arc.head if along else arc.tail
                if further == goal:
                    return True
                if further not in seen:
                    seen.add(further)
                    ahead.append(further)
        return False
