"""The one narrow protocol to every kind of node: ask for a person's prior results, get a state and results.

A node never raises for what its other side did: an answer that cannot be had or used is an
:class:`Answer` with a state that says so (``late``, ``refused``, ``unreachable``, ``faulty``). Nothing is
dropped in silence: what one resource of an answer lacks is a flag on its result or the fault of the node.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal, Protocol

import msgspec
from msgspec import Raw, Struct

from adapters.fhir_read import Head
from catalog import Kind
from quality.headers import Header
from recognition import Result
from security.http_signature import SignedAnswer
from security.identity import Identifier

State = Literal["answered", "empty", "late", "refused", "unreachable", "faulty", "skipped"]
Fault = Literal["", "caller", "gateway", "node"]


class Question(Struct, frozen=True, kw_only=True):
    """What a node is asked: prior results of these kinds since a moment, for one person.

    ``budget`` is in seconds from now; ``hops`` counts how many more gateways may be asked on the way.
    ``receiver`` is the institution on whose behalf the question is asked, and ``purpose`` what for (a code of
    HL7 v3 PurposeOfUse; ``BTG`` where an emergency was declared). ``asked`` are the gateways (owner ids) that
    this question is on its way to already. ``pseudonyms`` stand for the person in this
    gateway's own records, the current one first. ``patience``: seconds that a node may go on after the
    budget, for an answer that comes too late for this question and in time for the next. What is asked in the
    ``background`` gives way to a doctor who waits.
    """

    id: str
    person: Identifier
    kinds: tuple[Kind, ...]
    since: datetime
    at: datetime
    receiver: str
    budget: float
    hops: int = 1
    purpose: str = "TREAT"
    asked: tuple[str, ...] = ()
    pseudonyms: tuple[str, ...] = ()
    patience: float = 0.0
    background: bool = False


class Report(Struct, frozen=True, kw_only=True):
    """A node's state in an answer, the time it took, and whose fault it was when it is not ``answered``.

    ``age_ms``: how long ago the node said what is told here; 0 where it was asked for this answer. A node
    that is ``skipped`` without a fault leaves nothing out; one that is skipped with a fault does.
    """

    node: str
    kind: str
    state: State
    took_ms: int
    results: int = 0
    fault: Fault = ""
    detail: str = ""
    via: str = ""
    age_ms: int = 0

    @property
    def heard(self) -> bool:
        """Whether the node said what it has."""
        return self.state in ("answered", "empty")

    @property
    def complete(self) -> bool:
        """Whether the node was heard, or nothing is left out by not asking it."""
        return self.heard or (self.state == "skipped" and not self.fault)


class Match(Struct, frozen=True, gc=False):
    """A resource of the person's that a search found: what it is, its own bytes, the time that it was
    searched by (POSIX seconds; minus infinity where it has none), and where it stands behind another gateway:
    the way from there to its node."""

    key: Head
    raw: Raw
    at: float
    node: str = ""


class Copy(Struct, frozen=True, kw_only=True):
    """A resource as it stands at a node: its own bytes, what the node calls this version and when it says
    that it was saved (aware), where it says so.

    ``whose`` are the numbers by which the person it is about is known at that node, in their canonical form,
    the strongest first; none where that cannot be known, or it is about no person.
    """

    raw: bytes
    version: str = ""
    saved: datetime | None = None
    whose: tuple[Identifier, ...] = ()


class Listed(Struct, frozen=True, gc=False):
    """A study, series or instance of the person's as an archive told it: its own UID, the bytes of each
    element of its DICOM JSON object by its tag (PS3.18 F.2), the Patient ID it has there, how many instances
    that archive says it holds (-1: it does not say), and where it stands behind another gateway: the way from
    there to its node. ``order``: text by which newer studies sort after older ones."""

    uid: str
    members: dict[str, Raw]
    number: str
    instances: int = -1
    node: str = ""
    order: str = ""

    @property
    def raw(self) -> Raw:
        """The object."""
        return Raw(msgspec.json.encode(self.members))


class Answer(Struct, frozen=True, kw_only=True):
    """What came back: the node's own report, reports of nodes behind it, results, digest of the bytes.

    ``matches`` are what a search found, as the node sent it, ``listed`` what an archive has, and ``copy`` is
    what a read did; a question for prior results has none of these. ``admits`` is the token by which another
    gateway gives out the images that it listed.
    ``modalities`` are pairs of a result's id and the modality that an archive states, ``headers`` such pairs
    with what the header of one of its images says. ``gateway`` is the
    owner id of the gateway that answered; empty for a node of one's own. ``signed`` holds it to its answer.
    """

    report: Report
    results: tuple[Result, ...] = ()
    matches: tuple[Match, ...] = ()
    listed: tuple[Listed, ...] = ()
    copy: Copy | None = None
    admits: str = ""
    behind: tuple[Report, ...] = ()
    digest: bytes = b""
    modalities: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, Header], ...] = ()
    gateway: str = ""
    signed: SignedAnswer | None = None


class Node(Protocol):
    """A system that answers. Each keeps one connection pool and is safe for concurrent use."""

    id: str
    kind: str
    institution: str

    async def prior(self, question: Question) -> Answer:
        """Ask. Never raises for the other side's failures, and is back within ``question.budget``."""
        ...

    async def ping(self) -> Report:
        """Whether the node can be reached, and how long that took."""
        ...

    async def aclose(self) -> None:
        """Give back the connections."""
        ...
