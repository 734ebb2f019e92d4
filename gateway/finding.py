"""Steps 3 to 6 of one question, the same for a hospital's check and for another gateway's question:
ask the nodes, flag what is wrong with a record, mark the results, and write down what came back."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

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
    """Ask every node and prepare the results for a decision; ``evidence`` gets the answers and new marks.

    Raises:
        EvidenceUnavailable: issued marks cannot be looked up.
    """
    gathered = await gateway.broker.gather(question)
    for answer in gathered.answers:
        evidence.answer(answer)
    marker, catalogue, now = gateway.marker, rules.catalogue, datetime.now(UTC)
    own = [msgspec.structs.replace(result, flags=assess(result, now)) for result in gathered.own]
    marked = await asyncio.gather(*(marker.sign(result, catalogue, now, evidence.seal) for result in own))
    verified = [marker.verify(result, catalogue, now) for result in gathered.foreign]
    flagged = [msgspec.structs.replace(result, flags=assess(result, now)) for result in verified]
    issued = [mark.issued for mark in marked if mark.issued]
    evidence.entries.extend(new.entry for new in issued)
    return Found(
        (*(mark.result for mark in marked), *flagged),
        gathered.reports,
        gathered.complete,
        tuple(new.document for new in issued),
    )


def elapsed_ms(started: float) -> int:
    """Milliseconds since a ``time.monotonic()``."""
    return round((time.monotonic() - started) * 1000)
