"""What is kept of a resource, and what a store for resources does."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import Protocol

from msgspec import Struct

STORED = (
    "Patient",
    "DiagnosticReport",
    "Observation",
    "ImagingStudy",
    "ServiceRequest",
    "Specimen",
    "Organization",
    "Practitioner",
    "Location",
    "Encounter",
    "Task",
)
"""The types that can be created and updated: results, whom and what they are about, and the orders and visits
that hospital systems send along in one transaction."""
SEARCHED = ("Patient", "DiagnosticReport", "Observation", "ImagingStudy", "ServiceRequest", "Specimen")
"""The types that nodes are searched by for a person."""
MEDIA = "application/fhir+json"


class Place(Struct, frozen=True):
    """Where a resource stands: ``<Type>/<id>`` at a ``node`` (``<peer>/<node>`` behind another gateway; empty
    where the address does not name one), and which ``version`` of it is meant, empty for the newest."""

    type: str
    id: str
    node: str = ""
    version: str = ""

    @property
    def below(self) -> str:
        """The address below the service base, without a version."""
        return f"{f'nodes/{self.node}/' if self.node else ''}{self.type}/{self.id}"


class Kept(Struct, frozen=True, kw_only=True):
    """A version (from 1) of a resource: ``saved`` when (aware), ``body`` as it came; empty where this version
    says that it was deleted. ``node`` is where it stands, empty on a shelf of one node. What a node counts
    otherwise has its own ``tag`` for a version, if any, and the version 0."""

    type: str
    id: str
    version: int
    saved: datetime
    body: bytes
    node: str = ""
    tag: str = ""

    @property
    def deleted(self) -> bool:
        """Whether the resource is gone with this version."""
        return not self.body

    @property
    def etag(self) -> str:
        """The weak entity tag of the version (R4 http.html#versioning)."""
        return f'W/"{self.tag or self.version}"'

    @property
    def headers(self) -> dict[str, str]:
        """ETag, where it is known which version this is, and Last-Modified."""
        told = {"ETag": self.etag} if self.tag or self.version else {}
        return told | {"Last-Modified": _http_date(self.saved)}


@lru_cache(4096)
def _http_date(moment: datetime) -> str:
    return format_datetime(moment, usegmt=True)


class Change(Struct, frozen=True, kw_only=True):
    """A new version to be kept: ``body`` empty to delete. ``expected`` is the version that must stand there
    (0: none ever), None where any may."""

    type: str
    id: str
    body: bytes
    expected: int | None = None


class VersionConflict(Exception):
    """Another version stands at ``place`` (``<Type>/<id>``) than the change expected; nothing was kept."""

    def __init__(self, place: str) -> None:
        super().__init__(f"{place}: another version than expected stands there")
        self.place = place


class Shelf(Protocol):
    """Where resources of one node lie. Methods may be called concurrently."""

    async def get(self, type_: str, id_: str, version: int | None = None) -> Kept | None:
        """That version, or the newest one; a deleted one too. None where it never was."""
        ...

    async def history(self, type_: str, id_: str, limit: int) -> Sequence[Kept]:
        """The newest versions, the newest first."""
        ...

    async def listed(self, type_: str, tokens: Sequence[str], limit: int) -> Sequence[Kept]:
        """The newest ``limit`` resources of a type that are not deleted, the newest saved first; with
        ``tokens`` (:mod:`gateway.resources.tokens`) those that have one of them, and maybe more that are like
        them: who asks looks at each."""
        ...

    async def id_for(self, type_: str, tokens: Sequence[str]) -> str:
        """The id for what is created since nothing has these tokens, which it does not give away: the same
        from all who may write at once."""
        ...

    async def put(self, changes: Sequence[Change]) -> Sequence[Kept]:
        """Keep all of them or nothing; durable. Bytes that stand there already make no new version.

        Raises:
            VersionConflict: see :class:`Change`.
        """
        ...
