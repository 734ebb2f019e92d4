"""Steps 3 to 5 of one question, the same for a hospital's check and for another gateway's question:
ask the nodes, flag what is wrong with a record, mark the results, and write down what came back. Beside it
how a node is put a FHIR search."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from adapters import Answer, DicomwebNode, FhirNode, Node, PeerGateway, Question, Report, dicomweb_fhir
from adapters.published import PublishedNode
from adapters.store import Document
from gateway.evidence import Evidence
from gateway.imaging.texts import repaired
from gateway.marks.marking import BORROWED
from gateway.marks.withdrawing import AMENDING
from gateway.nodes import Unusable
from gateway.rules import Rules
from gateway.wiring import Gateway
from mapping import LocalName
from quality import assess
from recognition import Reading, Result


class Found(Struct, frozen=True):
    """Marked results, one report a node, whether all were heard, and the new marks' documents."""

    results: tuple[Result, ...]
    reports: tuple[Report, ...]
    complete: bool
    documents: tuple[Document, ...]


async def find(
    gateway: Gateway, rules: Rules, question: Question, evidence: Evidence, asked: float = math.inf
) -> Found:
    """Ask every node and prepare the results for a decision; ``evidence`` gets the answers and new marks.

    What was withdrawn before ``asked`` (``time.monotonic``) counts, by default all that was by now.

    Raises:
        StoreUnavailable: issued marks cannot be looked up.
        EvidenceUnavailable: marks cannot be signed or withdrawn.
    """
    gathered = await gateway.broker.gather(question, rules)
    for answer in gathered.answers:
        evidence.answer(answer)
    marker, catalogue, now = gateway.marker, rules.catalogue, datetime.now(UTC)
    own = [_assessed(_held(result, gateway), now) for result in gathered.own]
    await _withdraw(gateway, own, now, asked)
    marked = await marker.sign_all(own, catalogue, now, evidence.mark)
    flagged = [
        _assessed(marker.verify(_named(result, rules), owner, catalogue, now), now)
        for owner, result in gathered.foreign
    ]
    issued = [mark.issued for mark in marked if mark.issued]
    evidence.entries.extend(new.entry for new in issued)
    return Found(
        (*(mark.result for mark in marked), *flagged),
        gathered.reports,
        gathered.complete,
        tuple(document for new in issued for document in new.documents),
    )


async def search(
    node: Node,
    question: Question,
    type_: str,
    bound: str,
    images: str,
    conditions: Sequence[tuple[str, str]] = (),
) -> Answer:
    """One node's resources of a type about the person: a FHIR search, whoever asks it.

    Nodes are told the person and one ``bound`` on the time, other gateways the ``conditions``, too (name and
    value of search parameters), which they apply themselves. ``images`` is the address of this gateway's
    DICOMweb service: what archives list is shown with it.
    """
    if isinstance(node, FhirNode | PublishedNode):
        return await node.search(question, type_, bound)
    if isinstance(node, PeerGateway):
        return await node.search(question, type_, bound, conditions)
    if isinstance(node, DicomwebNode) and type_ == dicomweb_fhir.TYPE:
        return await dicomweb_fhir.search(node, question, images, repaired)
    if isinstance(node, Unusable):
        return await node.prior(question)
    return unasked(node)


def unasked(node: Node) -> Answer:
    """The answer of a node that holds no such resources: nothing is left out where it is not asked."""
    detail = "not asked: it holds no such resources"
    return Answer(report=Report(node=node.id, kind=node.kind, state="skipped", took_ms=0, detail=detail))


async def _withdraw(gateway: Gateway, own: Sequence[Result], now: datetime, asked: float) -> None:
    """Learn what was withdrawn meanwhile, and withdraw what a node shows to be amended or taken back."""
    await gateway.withdrawals.refresh(asked)
    for result in own:
        if result.status in AMENDING and BORROWED not in result.flags:
            for withdrawn in await gateway.withdrawals.supersede(result, now):
                gateway.metrics.withdrawals.labels(withdrawn.reason).inc()
                gateway.log("mark_withdrawn", mark=withdrawn.mark, by=withdrawn.by, reason=withdrawn.reason)


def _assessed(result: Result, now: datetime) -> Result:
    flags = assess(result, now)
    return result if flags == result.flags else msgspec.structs.replace(result, flags=flags)


def _held(result: Result, gateway: Gateway) -> Result:
    """A node speaks for the institutions that it is configured with; another's name on a result is a flag."""
    if result.institution in gateway.holdings.get(result.node, ()):
        return result
    return msgspec.structs.replace(result, flags=(*result.flags, BORROWED))


def _named(result: Result, rules: Rules) -> Result:
    """Another gateway's reading stands unless the name says something else here."""
    local = LocalName(name=result.local_name, kind=result.kind, specimen=result.specimen)
    ours = rules.normaliser.read(local).item
    if ours is None or ours == result.reading.item:
        return result
    return msgspec.structs.replace(result, reading=Reading(None, None, "conflict"))
