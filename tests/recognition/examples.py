"""The examples of tests/data/rules: for each rule a case to which it applies, and one to which it does not.

``results`` are told by what differs from a good one (``like``: the lab or ct of the module ``cases``); the
verdict, rules and notes are those on the first of them. ``catalogue`` changes the bundled catalogue:
fields of institutions, or tables that are emptied.
"""

from __future__ import annotations

import json
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from catalog import Catalogue
from recognition import Check, Context, Decision, Planned, Result, decide
from recognition.model import Verdict
from tests.recognition.cases import ALBUMIN, CHEST_PLAIN, NOW, catalogue, ct, lab

FOLDER = Path(__file__).parents[1] / "data/rules"
LIKE = {"lab": (lab, ALBUMIN), "ct": (ct, CHEST_PLAIN)}


class Example(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One case with what it comes to."""

    results: list[dict[str, Any]]
    verdict: str
    rules: list[str]
    notes: list[str] = []
    planned: list[str] = []
    receiver: str = "EX-SC-01"
    at: datetime = NOW
    context: Context = Context()
    catalogue: dict[str, Any] = {}

    def found(self) -> list[Result]:
        """The results."""
        return [_result(dict(told), self.at) for told in self.results]

    def check(self) -> Check:
        """The question."""
        items = self.planned or [told.get("item") or LIKE[told["like"]][1] for told in self.results[:1]]
        return Check(
            at=self.at,
            receiver=self.receiver,
            planned=(Planned("planned", tuple(items)),),
            context=self.context,
        )

    def rules_in_force(self) -> Catalogue:
        """The catalogue."""
        return changed(json.dumps(self.catalogue, sort_keys=True))

    def decided(self) -> Decision:
        """The decision."""
        return decide(self.check(), self.found(), self.rules_in_force())

    def judged(self) -> Verdict:
        """The verdict on the first result."""
        first = self.found()[0].id
        return next(v for v in self.decided().verdicts if v.result.id == first)


class Pair(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A rule with its two examples."""

    rule: str
    applies: Example
    does_not_apply: Example


@cache
def pairs() -> dict[str, Pair]:
    """All pairs by the name of their file."""
    return {
        file.stem: msgspec.json.decode(file.read_bytes(), type=Pair) for file in sorted(FOLDER.glob("*.json"))
    }


@cache
def changed(changes: str) -> Catalogue:
    """The bundled catalogue with these changes, in JSON."""
    wanted = json.loads(changes)
    institutions = dict(catalogue().institutions)
    for code, fields in wanted.pop("institutions", {}).items():
        held = msgspec.to_builtins(institutions[code]) | fields
        institutions[code] = msgspec.convert(held, type(institutions[code]))
    tables = {table: tuple(rows) for table, rows in wanted.items()}
    return msgspec.structs.replace(catalogue(), institutions=institutions, **tables)


def _result(told: dict[str, Any], at: datetime) -> Result:
    make, item = LIKE[told.pop("like")]
    good = make(told.pop("item", item), days_ago=told.pop("days_ago", 5))
    shift = at - NOW
    moved = {name: getattr(good, name) + shift for name in ("performed", "reported")}
    return msgspec.convert(msgspec.to_builtins(msgspec.structs.replace(good, **moved)) | told, Result)
