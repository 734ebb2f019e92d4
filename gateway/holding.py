"""What is published becomes what is held: the time, the person and the tokens that a resource is found by.

The publications of the REST face and the FHIR face (:class:`gateway.repository.Repository`) write through
this. No number of a person is a token: he is found by his pseudonym.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from msgspec import Raw, Struct

from adapters.fhir_read import DiagnosticReport, ImagingStudy, Observation, Reference, Unreadable, read
from adapters.fhir_records import Records
from adapters.fhir_results import Reader
from adapters.fhir_time import span
from adapters.published import RECORDS, patient_of
from adapters.store import Held, Pointer
from gateway.access.clients import Client
from gateway.errors import NotPermitted
from gateway.pointers import pointers_of
from gateway.resources.tokens import tokens
from gateway.resources.values import Kept
from gateway.settings import NodeSettings
from gateway.wiring import Gateway
from mapping.sites import Reads
from security.errors import IdentityRefused
from security.identity import Identifier, identifier, identifier_in

_TIMED: Mapping[str, type[Observation | DiagnosticReport | ImagingStudy]] = {
    "Observation": Observation,
    "DiagnosticReport": DiagnosticReport,
    "ImagingStudy": ImagingStudy,
}


class Said(Struct, frozen=True, rename={"about": "for"}):
    """Whom a resource says that it is about; a Task says ``for``."""

    subject: Reference = Reference()
    about: Reference = Reference()

    @property
    def whom(self) -> Reference:
        return self.subject if self.subject != Reference() else self.about


def nodes_of(gateway: Gateway, client: Client) -> dict[str, NodeSettings]:
    """The nodes whose institution the client speaks for, by their ids."""
    holdings = gateway.nodes.holdings()
    return {
        placed.settings.id: placed.settings
        for placed in gateway.nodes.placed()
        if client.institution and client.institution in holdings.get(placed.settings.id, frozenset())
    }


def node_of(gateway: Gateway, client: Client, name: str) -> NodeSettings:
    """The node, where the client speaks for its institution; which others there are is not told.

    Raises:
        NotPermitted: it speaks for no institution of such a node.
    """
    if found := nodes_of(gateway, client).get(name):
        return found
    raise NotPermitted(
        f"client {client.id} speaks for no institution of a node {name!r}; its operator knows the nodes",
        field="node",
    )


def held_of(node: str, name: str, body: bytes, now: datetime, *, person: str = "", whose: str = "") -> Held:
    """A resource as it is held, ``name`` being its ``<Type>/<id>``."""
    whom, told = read(Raw(body), Said).whom, found_by(body)
    if whom.reference and not whom.below(""):  # of elsewhere, and found by it all the same
        told.append(whom.local)
    return Held(
        person=person,
        at=time_of(body, name.partition("/")[0], now),
        node=node,
        id=name,
        body=body,
        saved=now,
        whose=whose,
        subject=subject_of(name, body),
        tokens=tuple(told),
    )


def subject_of(name: str, body: bytes) -> str:
    """The local resource that one is about; a Patient is about himself, who may be known later only."""
    return name if name.startswith("Patient/") else read(Raw(body), Said).whom.below("")


def time_of(body: bytes, type_: str, now: datetime) -> datetime:
    """By when a record is found: the end of the time that searches look at; the moment of publishing for one
    that states none, or is looked at only beside others."""
    try:
        stated = span(read(Raw(body), _TIMED[type_]).bounded) if type_ in _TIMED else None
    except Unreadable:
        return now
    return stated[1] - timedelta(microseconds=1) if stated else now


def found_by(body: bytes) -> list[str]:
    """The values of a resource's identifiers, without the numbers of persons. Whose a value is, its system,
    is looked at in what was found by it: one token does for both ways to ask."""
    told = [token.split("|", 2) for token in tokens(body) if token.startswith("identifier|")]
    numbers = {value for _, system, value in told if is_number(system, value)}
    return [value for value in dict.fromkeys(value for _, _, value in told) if value not in numbers]


def is_number(system: str, value: str) -> bool:
    """Whether an identifier is the number of a person's document, or has the form of a resident number."""
    try:
        if identifier_in(system, value):
            return True
    except IdentityRefused:  # malformed, and meant to be one
        return True
    try:
        return bool(identifier("resident-id", value))
    except IdentityRefused:
        return False


def pointers_to(
    held: Iterable[Held], person: Identifier, node: NodeSettings, normaliser: Reads, now: datetime
) -> list[Pointer]:
    """The pointers to the results that a person's resources say; to what cannot be read there is none."""
    records, pseudonym = Records("", person), ""
    for index, one in enumerate(held):
        if one.type in RECORDS and not one.deleted:
            pseudonym, patient = one.person, patient_of(one.body, person)
            if one.type == "Specimen":
                records.take_specimen(patient, Raw(one.body))
            else:
                records.take(patient, one.type, index, Raw(one.body))
    results = records.results(Reader(node.id, node.institution, normaliser))
    return pointers_of(pseudonym, node.id, results, now, published=True)


def written(person: Identifier) -> str:
    """Whose something is, as it is held."""
    return f"{person.system}|{person.value}"


def kept_of(held: Held) -> Kept:
    """A published resource as it is kept."""
    type_, _, id_ = held.id.partition("/")
    return Kept(type=type_, id=id_, version=held.version, saved=held.saved, body=held.body, node=held.node)
