"""A node in its place: the adapter that speaks to it, with the settings that it was made from."""

from __future__ import annotations

from msgspec import Struct

from adapters import Answer, Node, Question, Report
from gateway.settings import NodeSettings


class Placed(Struct, frozen=True):
    """A node and its settings. What changes of a node is another ``Placed``; this one stays as it is."""

    node: Node
    settings: NodeSettings


class Unusable:
    """A node that is configured and cannot be asked: its credentials are missing, or its settings wrong.

    It stands among the others, so that no answer leaves it out in silence: every question gets ``skipped``
    with the fault ``gateway`` and the reason.
    """

    def __init__(self, settings: NodeSettings, reason: str) -> None:
        self.id = settings.id
        self.kind: str = settings.kind
        self.institution = settings.institution
        self.reason = reason

    async def prior(self, question: Question) -> Answer:
        """Not asked. See :class:`adapters.node.Node`."""
        return Answer(report=await self.ping())

    async def ping(self) -> Report:
        """Not asked."""
        return Report(
            node=self.id,
            kind=self.kind,
            state="skipped",
            took_ms=0,
            fault="gateway",
            detail=f"not asked: {self.reason}",
        )

    async def aclose(self) -> None:
        """There is nothing to give back."""
