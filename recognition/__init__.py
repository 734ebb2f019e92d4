"""The decision: pure functions, no I/O, no clock of its own, no framework."""

from recognition.decide import decide
from recognition.explain import Explanation, explain
from recognition.facts import digest, facts
from recognition.model import (
    Advice,
    Best,
    Check,
    Context,
    Converted,
    Decision,
    Event,
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
from recognition.versions import STANDING, version_order, versions
from recognition.window import SHANGHAI, day_of, last_moment

__all__ = [
    "SHANGHAI",
    "STANDING",
    "Advice",
    "Best",
    "Check",
    "Context",
    "Converted",
    "Decision",
    "Event",
    "Explanation",
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
    "explain",
    "facts",
    "last_moment",
    "version_order",
    "versions",
]
