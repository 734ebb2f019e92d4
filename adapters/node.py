"""The one narrow protocol to every kind of node: ask for a person's prior results, get a state and results.

A node never raises for what its other side did: an answer that cannot be had or used is an
:class:`Answer` with a state that says so (``late``, ``refused``, ``unreachable``, ``faulty``). Nothing is
dropped in silence: what one resource of an answer lacks is a flag on its result or the fault of the node.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal, Protocol

from msgspec import Struct

from catalog import Kind
from recognition import Result
from security.http_signature import SignedAnswer
from security.identity import Identifier

State = Literal["answered", "empty", "late", "refused", "unreachable", "faulty", "skipped"]
Fault = Literal["", "caller", "gateway", "node"]


class Question(Struct, frozen=True, kw_only=True):
    """What a node is asked: prior results of these kinds since a moment, for one person.

    ``budget`` is in seconds from now; ``hops`` counts how many more gateways may be asked on the way.
    ``receiver`` is the institution on whose behalf the question is asked, and ``purpose`` what for (a code of
    HL7 v3 PurposeOfUse; ``BTG`` where an emergency was declared).
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


class Report(Struct, frozen=True, kw_only=True):
    """A node's state in an answer, the time it took, and whose fault it was when it is not ``answered``."""

    node: str
    kind: str
    state: State
    took_ms: int
    results: int = 0
    fault: Fault = ""
    detail: str = ""
    via: str = ""


class Answer(Struct, frozen=True, kw_only=True):
    """What came back: the node's own report, reports of nodes behind it, results, digest of the bytes.

    ``modalities`` are pairs of a result's id and the modality that an archive states. ``gateway`` is the
    owner id of the gateway that answered; empty for a node of one's own. ``signed`` holds it to its answer.
    """

    report: Report
    results: tuple[Result, ...] = ()
    behind: tuple[Report, ...] = ()
    digest: bytes = b""
    modalities: tuple[tuple[str, str], ...] = ()
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
