"""Errors of the quality room.

QualityError            evidence that may not be used
├── EventsRefused       a table of evaluation results; with everything to mend
└── NotANumber          a value of a control or a sample that cannot be reckoned with
"""

from __future__ import annotations

from catalog import Finding


class QualityError(Exception):
    """Evidence of quality that may not be used."""


class EventsRefused(QualityError):
    """Evaluation results that may not be used; ``findings`` has one entry for each cell to mend."""

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        super().__init__("; ".join(str(finding) for finding in findings[:5]))
        self.findings = findings


class NotANumber(QualityError):
    """A value that is no finite decimal number, or a spread that is not above 0."""
