"""The decision: pure functions, no I/O, no clock of its own, no framework."""

from recognition.decide import decide
from recognition.facts import digest, facts
from recognition.model import (
    Advice,
    Check,
    Context,
    Decision,
    Images,
    Mark,
    MarkState,
    Planned,
    Reading,
    Reason,
    Result,
    Verdict,
    VerdictCode,
)
from recognition.window import SHANGHAI, day_of, last_moment

__all__ = [
    "SHANGHAI",
    "Advice",
    "Check",
    "Context",
    "Decision",
    "Images",
    "Mark",
    "MarkState",
    "Planned",
    "Reading",
    "Reason",
    "Result",
    "Verdict",
    "VerdictCode",
    "day_of",
    "decide",
    "digest",
    "facts",
    "last_moment",
]
