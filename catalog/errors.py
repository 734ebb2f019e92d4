"""Errors of the catalogue room.

CatalogueError          a catalogue that may not be used
├── UnknownEntry        a look-up by a code that this version does not hold
└── ConditionRefused    a condition that cannot be used
"""

from __future__ import annotations

from msgspec import Struct


class Finding(Struct, frozen=True):
    """One thing wrong in a catalogue: file, row (1 is the heading), column, and what to do about it."""

    file: str
    row: int
    column: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.row}" if self.row else self.file
        return f"{place} {self.column}: {self.message}" if self.column else f"{place}: {self.message}"


class CatalogueError(Exception):
    """A catalogue that may not be used; ``findings`` has one entry for each thing to mend."""

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        super().__init__("; ".join(str(f) for f in findings[:5]))
        self.findings = findings


class UnknownEntry(CatalogueError):
    """A code that the catalogue version in force does not hold."""

    def __init__(self, kind: str, code: str, version: str) -> None:
        super().__init__((Finding(version, 0, kind, f"there is no {kind} {code!r} in this version"),))
        self.kind = kind
        self.code = code


class ConditionRefused(CatalogueError):
    """A condition that cannot be used; the message says what is wrong in it and what to write."""

    def __init__(self, message: str) -> None:
        super().__init__((Finding("condition", 0, "", message),))
        self.message = message

    def __str__(self) -> str:
        return self.message
