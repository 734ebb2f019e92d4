"""What is kept of a resource, and what a store for resources does."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from email.utils import format_datetime
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


class Kept(Struct, frozen=True, kw_only=True):
    """A version (from 1) of a resource: ``saved`` when (aware), ``body`` as it came; empty where this version
    says that it was deleted. ``node`` is where it stands, empty on a shelf of one node."""

    type: str
    id: str
    version: int
    saved: datetime
    body: bytes
    node: str = ""

    @property
    def deleted(self) -> bool:
        """Whether the resource is gone with this version."""
        return not self.body

    @property
    def etag(self) -> str:
        """The weak entity tag of the version (R4 http.html#versioning)."""
        return f'W/"{self.version}"'

    @property
    def headers(self) -> dict[str, str]:
        """ETag and Last-Modified."""
        return {"ETag": self.etag, "Last-Modified": format_datetime(self.saved, usegmt=True)}


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
        ``tokens`` (:mod:`gateway.resources.tokens`) those that have one of them."""
        ...

    async def put(self, changes: Sequence[Change]) -> Sequence[Kept]:
        """Keep all of them or nothing; durable. Bytes that stand there already make no new version.

        Raises:
            VersionConflict: see :class:`Change`.
        """
        ...
