"""What is still to be ordered: the smallest order that leaves nothing of the plan unserved.

A panel is served member by member ("recognised 10 of 12: order ALT and AST"). A planned item that is the sum
of others is served by a result of its own, or by its parts: where some of them are recognised only the others
are to be ordered; where none is, the planned item itself and not its parts.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

from catalog import Catalogue
from recognition.best import Judged, best
from recognition.model import Advice, Planned
from recognition.wanted import planned_codes, with_parts


def advise(planned: Planned, recognised: Mapping[str, Sequence[Judged]], catalogue: Catalogue) -> Advice:
    """The advice on one planned examination, from the recognised results by item, best first."""
    served: list[str] = []
    to_order: list[str] = []
    for code in planned_codes(planned, catalogue):
        _split(code, recognised, catalogue, served, to_order)
    return Advice(
        planned=planned.name,
        panel=planned.panel,
        served=tuple(dict.fromkeys(served)),
        to_order=tuple(dict.fromkeys(to_order)),
        best=tuple(best(code, recognised[code]) for code in dict.fromkeys(served)),
    )


def _split(
    code: str, recognised: Container[str], catalogue: Catalogue, served: list[str], to_order: list[str]
) -> None:
    """Put the code, or its parts, with what is served or with what is to be ordered."""
    if code in recognised:
        served.append(code)
    elif (panel := catalogue.panels.get(code)) and any(
        part in recognised for part in with_parts(code, catalogue)
    ):
        for part in panel.members:
            _split(part, recognised, catalogue, served, to_order)
    else:
        to_order.append(code)
