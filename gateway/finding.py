"""Steps 3 to 6 of one question, the same for a hospital's check and for another gateway's question:
ask the nodes, flag what is wrong with a record, mark the results, and write down what came back."""

from __future__ import annotations

import asyncio
import time

import msgspec
from msgspec import Struct

from adapters import Question, Report
from adapters.store import Document
from gateway.evidence import Evidence
from gateway.wiring import Gateway, Rules
from quality import assess
from recognition import Result


class Found(Struct, frozen=True):
    """Marked results, one report a node, whether all were heard, and the new marks' documents."""

    results: tuple[Result, ...]
    reports: tuple[Report, ...]
    complete: bool
    documents: tuple[Document, ...]


async def find(gateway: Gateway, rules: Rules, question: Question, evidence: Evidence) -> Found:
    """Ask every node and prepare the results for a decision; ``evidence`` gets the answers and new marks."""
    gathered = await gateway.broker.gather(question)
    for answer in gathered.answers:
        evidence.answer(answer)
    flagged = [
        msgspec.structs.replace(result, flags=assess(result, question.at)) for result in gathered.results
    ]
    marked = await asyncio.gather(
        *(gateway.marker.mark(result, rules.catalogue, question.at, evidence.seal) for result in flagged)
    )
    issued = [mark.issued for mark in marked if mark.issued]
    evidence.entries.extend(new.entry for new in issued)
    return Found(
        tuple(mark.result for mark in marked),
        gathered.reports,
        gathered.complete,
        tuple(new.document for new in issued),
    )


def elapsed_ms(started: float) -> int:
    """Milliseconds since a ``time.monotonic()``."""
    return round((time.monotonic() - started) * 1000)
