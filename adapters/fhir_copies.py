"""One resource of a FHIR R4 server by its address, and whose it is.

Who a resource is about is not remembered from anywhere: the Patient that it refers to is read at the same
server, and the numbers of documents that he carries there say who he is. A record that names a number itself
is that person's where the Patient has that number, too. Where the two contradict each other, where a Patient
carries two numbers of one kind or means something else by a modifierExtension, or where the subject is no
Patient of this server, nobody can say.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime

from msgspec import Raw, Struct

from adapters._asking import Heard
from adapters.errors import NodeFaulty, NodeMissing, NodeRefused
from adapters.fhir_read import Identifier, Meta, Reference, Unreadable, read
from adapters.fhir_search import MEDIA
from adapters.fhir_time import reach
from adapters.http import Line
from adapters.node import Copy
from security.errors import IdentityRefused
from security.identity import IDENTIFIER_TYPES, identifier_in
from security.identity import Identifier as Person

_STRENGTH = {type_: place for place, type_ in enumerate(IDENTIFIER_TYPES)}


class Stated(Struct, frozen=True, kw_only=True, rename="camel"):
    """What a resource is, and about whom."""

    resource_type: str
    id: str = ""
    meta: Meta = Meta()
    subject: Reference = Reference()
    identifier: tuple[Identifier, ...] | Identifier = ()
    modifier_extension: tuple[Raw, ...] = ()

    @property
    def named(self) -> tuple[Person, ...]:
        """Whom it names by the number of a document: a Patient himself, any other its subject."""
        held = self.identifier if self.resource_type == "Patient" else self.subject.identifier
        return persons(held if isinstance(held, tuple) else [held])


class Copies:
    """Reads resources over one line."""

    def __init__(self, line: Line) -> None:
        self._line = line

    async def heard(self, type_: str, id_: str, version: str, *, whose: bool) -> Heard:
        """One resource, in that version or as it is now; nothing where there is none.

        A server that keeps no versions is asked for the resource as it is, which counts where it says that it
        is that version.

        Raises:
            NodeError: it could not be asked, or answered with another resource.
        """
        raw = await self._former(type_, id_, version) if version else await self.raw(type_, id_)
        if raw is None:
            return Heard()
        stated = stated_in(raw, type_, id_)
        if version and stated.meta.version_id not in ("", version):
            raise NodeFaulty("answered with another version of a resource than it was asked for")
        saved = reach(stated.meta.last_updated)
        return Heard(
            copy=Copy(
                raw=raw,
                version=version or stated.meta.version_id,
                saved=datetime.fromtimestamp(saved[0], UTC) if saved else None,
                whose=await self._whose(stated) if whose else (),
            )
        )

    async def _former(self, type_: str, id_: str, version: str) -> bytes | None:
        with suppress(NodeRefused):
            if raw := await self.raw(type_, f"{id_}/_history/{version}"):
                return raw
        raw = await self.raw(type_, id_)
        return raw if raw and stated_in(raw, type_, id_).meta.version_id == version else None

    async def raw(self, type_: str, id_: str) -> bytes | None:
        """The bytes at an address, or None. Raises NodeError."""
        try:
            return await self._line.get_json(f"{type_}/{id_}", accept=MEDIA) or None
        except NodeMissing:
            return None

    async def _whose(self, stated: Stated) -> tuple[Person, ...]:
        patient = stated
        if stated.resource_type != "Patient":
            if not stated.subject.reference:
                return stated.named
            type_, _, id_ = stated.subject.below(self._line.base_url).partition("/")
            if type_ != "Patient" or (raw := await self.raw(type_, id_)) is None:
                return ()
            patient = stated_in(raw, type_, id_)
            if not {*stated.named} <= {*patient.named}:
                return ()
        return () if patient.modifier_extension else patient.named


def persons(identifiers: Iterable[Identifier]) -> tuple[Person, ...]:
    """The persons' numbers among identifiers, the strongest first; none where two of one kind stand there,
    because then it cannot be said who that is."""
    found: dict[str, Person] = {}
    for one in identifiers:
        try:
            person = identifier_in(one.system, one.value)
        except IdentityRefused:
            continue
        if person and found.setdefault(person.system, person) != person:
            return ()
    return tuple(sorted(found.values(), key=lambda person: _STRENGTH[person.type]))


def stated_in(raw: bytes | Raw, type_: str, id_: str) -> Stated:
    """What the resource that was asked for says. Raises NodeFaulty for another one."""
    try:
        stated = read(raw, Stated)
    except Unreadable:
        raise NodeFaulty("answered with something that is no FHIR resource") from None
    if (stated.resource_type, stated.id) != (type_, id_):
        raise NodeFaulty("answered with another resource than it was asked for")
    return stated
