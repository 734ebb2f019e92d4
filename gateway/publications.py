"""What institutions publish of a person: pointers alone, or the resources themselves into the results index.

A publication speaks of one node and one person, and the client must speak for the node's institution. It is
read as a node's answer is read (:class:`adapters.fhir_records.Records`), before anything of it is kept: each
record must be that person's, by the Patient beside it who must carry his number. The bytes of a record are
kept as they came; the Patient is not kept at all.

Order of writing: first the index, then the evidence, then the answer. Whoever got no answer repeats the
request, which writes the same again; whoever got one finds it again under the request's id. A later
publication counts for what an earlier one said of the same resource, whose former versions stay until they
expire; so those of one person come one after another, each when the one before was answered. What is written
over FHIR (:mod:`gateway.repository`) lies in the same place, as versions of the same resources.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec
from msgspec import UNSET, Raw, Struct

from adapters import KeyTaken, NodeFaulty
from adapters.fhir_read import Key, Patient, Unreadable, read
from adapters.fhir_records import Records
from adapters.fhir_results import Reader
from adapters.published import RECORDS
from adapters.store import Document, Held, Pointer, widened
from gateway.access.clients import Client
from gateway.checks import SKEW, read_person
from gateway.errors import BadRequest, EvidenceUnavailable, RequestIdReused
from gateway.evidence import Evidence, keep
from gateway.holding import held_of, node_of, written
from gateway.ids import new_id
from gateway.model import (
    BundleIn,
    EntryIn,
    LedgerRef,
    PersonIn,
    PointerOut,
    PublicationIn,
    PublicationOut,
)
from gateway.pointers import pointers_of
from gateway.settings import NodeSettings
from gateway.wiring import Gateway
from mapping.sites import Reads
from recognition import Result
from security.identity import Identifier
from security.pseudonym import Pseudonyms

KIND = "publication"
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_NAME = re.compile(rf"({'|'.join(RECORDS)})/{_ID.pattern}")


class _Kept(Struct, frozen=True):
    """A publication as it is stored: the answer, and the digest of the body that asked for it."""

    body_digest: str
    answer: PublicationOut


class _Parcel(Struct, frozen=True):
    """The records of a bundle by name, the results that are read in them, and the Patient whom they name."""

    records: Mapping[str, bytes] = {}
    results: tuple[Result, ...] = ()
    subject: str = ""


class Publications:
    """Takes in what institutions publish."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def take(self, request: PublicationIn, client: Client) -> PublicationOut:
        """Carry out a publication, or find it carried out.

        Raises:
            NotPermitted: the client may not publish, or not for this node.
            TooManyRequests: more persons are published about than this gateway looks up.
            BadRequest, BadBody, IdentityRefused: a field is wrong; nothing was kept.
            RequestIdReused: this request id came before with another body.
            EvidenceUnavailable: it could not be recorded; repeat it.
        """
        client.require("publisher")
        node = node_of(self._gateway, client, request.node)
        person = read_person(request.patient)
        now = datetime.now(UTC)
        pseudonyms = await self._gateway.pseudonyms(person)
        digests = [_body_digest(request, person, pseudonym) for pseudonym in pseudonyms.all]
        key = f"{client.id}|{request.request_id}"
        kept = await self._kept(key)
        if kept is None:
            refuse_odd(request, node, now)
            parcel = _Parcel()
            if request.bundle is not UNSET:
                parcel = read_bundle(request.bundle, person, node, self._gateway.rules.normaliser, now)
            kept = await self._carry_out(request, parcel, client, person, pseudonyms, key, digests[0], now)
        if kept.body_digest not in digests:
            raise RequestIdReused(
                "this request id was used before with another body; a new publication needs a new id",
                field="request_id",
            )
        return kept.answer

    async def _kept(self, key: str) -> _Kept | None:
        document = await self._gateway.store.find(KIND, key)
        if document is None:
            return None
        kept = msgspec.json.decode(document.body, type=_Kept)
        index = await self._gateway.store.index_of(kept.answer.ledger.entry)
        return _at(kept, -1 if index is None else index)

    async def _carry_out(
        self,
        request: PublicationIn,
        parcel: _Parcel,
        client: Client,
        of: Identifier,
        pseudonyms: Pseudonyms,
        key: str,
        body_digest: str,
        now: datetime,
    ) -> _Kept:
        gateway, person = self._gateway, pseudonyms.current
        evidence = Evidence.of(gateway, client.id, now)
        theirs = written(of)
        held = [
            held_of(request.node, name, body, now, person=person, whose=theirs)
            for name, body in parcel.records.items()
        ]
        pointers = _pointers(request, parcel.results, person, now)
        standing = await gateway.store.place(request.node, [parcel.subject, *request.removed])
        others = {one.id for one in standing if one.whose not in ("", theirs)}
        if parcel.subject in others:
            raise BadRequest("has a Patient who is somebody else at this node", field="bundle.entry")
        deleted = [
            Held(person=person, at=now, node=request.node, id=name, body=b"")
            for name in request.removed
            if name not in others
        ]
        # in one transaction: a check in between must not find the person unknown
        afresh = [(one, request.node) for one in pseudonyms.all] if request.afresh else []
        holding = await gateway.store.hold([*deleted, *held], pointers, afresh)
        removed = len(request.removed) + holding.gone
        publication = new_id(now)
        sealed = evidence.publication(
            {
                "publication": publication,
                "person": person,
                "node": request.node,
                "resources": [hashlib.sha256(one.body).hexdigest() for one in held],
                "removed": removed,
                "announced": sorted(pointer.group for pointer in pointers),
            },
        )
        answer = PublicationOut(
            id=publication,
            request_id=request.request_id,
            node=request.node,
            kept=len(held),
            removed=removed,
            pointers=tuple(PointerOut(group=one.group, first=one.first, last=one.last) for one in pointers),
            ledger=LedgerRef(gateway.origin, sealed.entry_id, -1),
        )
        kept = _Kept(body_digest, answer)
        body = msgspec.json.encode(kept)
        document = Document(kind=KIND, id=publication, key=key, body=body, at=now, person=person)
        try:
            receipt = await keep(gateway.sequencer, evidence.entries, [document])
        except KeyTaken:  # the same request id, twice at once
            if (earlier := await self._kept(key)) is None:
                raise EvidenceUnavailable("this publication cannot be recorded now; send it again") from None
            if earlier.body_digest == body_digest:
                return earlier
            # it will be refused, but what it left in the index is on record all the same
            await keep(gateway.sequencer, evidence.entries, [msgspec.structs.replace(document, key="")])
            await gateway.broker.forget(request.node, pseudonyms.all)
            return earlier
        await gateway.broker.forget(request.node, pseudonyms.all)
        gateway.log(
            "published",
            publication=publication,
            client=client.id,
            node=request.node,
            kept=len(held),
            removed=removed,
            announced=len(request.announced),
        )
        gateway.metrics.publications.labels(request.node).inc()
        return _at(kept, receipt.indexes[-1])


def refuse_odd(request: PublicationIn, node: NodeSettings, now: datetime) -> None:
    """What is announced can be, and something is said at all.

    Raises:
        BadRequest: a time is none, a name is no resource's, or the node is of another kind.
    """
    if not (request.announced or request.removed or request.afresh or request.bundle is not UNSET):
        raise BadRequest("is missing, like announced, removed and afresh: nothing is said", field="bundle")
    for number, one in enumerate(request.announced):
        if one.first > one.last or one.last > now + SKEW:
            raise BadRequest("is no period that has been", field=f"announced[{number}]")
    for number, name in enumerate(request.removed):
        if not _NAME.fullmatch(name):
            raise BadRequest("is no Type/id of what is kept here", field=f"removed[{number}]")
    published = node.kind == "published"
    if (request.bundle is not UNSET or request.removed) and not published:
        field = "removed" if request.bundle is UNSET else "bundle"
        raise BadRequest("is for a node of kind published; this one is asked itself", field=field)
    if request.announced and (published or node.kind == "gateway"):
        raise BadRequest(f"is not for a node of kind {node.kind}", field="announced")


def read_bundle(
    bundle: BundleIn, person: Identifier, node: NodeSettings, normaliser: Reads, now: datetime
) -> _Parcel:
    """The records of one person, checked as a node's answer is.

    Raises:
        BadRequest: the Patient is missing or another one, or a record is somebody else's, cannot be read, or
            stands there twice; the field says which.
    """
    patient = _patient(bundle.entry, person)
    collected = Records("", person)
    records: dict[str, bytes] = {}
    for index, entry in enumerate(bundle.entry):
        place, key = f"bundle.entry[{index}].resource", _key(entry.resource)
        if key.resource_type == "Patient":
            continue
        name = f"{key.resource_type}/{key.id}"
        if not _NAME.fullmatch(name):
            raise BadRequest(f"is not one of {', '.join(RECORDS)}, or has no id", field=place)
        if name in records:
            raise BadRequest("stands in the bundle twice; send its last state", field=place)
        try:
            if key.resource_type == "Specimen":
                collected.take_specimen(patient, entry.resource)
            else:
                collected.take(patient, key.resource_type, index, entry.resource)
            records[name] = bytes(entry.resource)
        except NodeFaulty:
            raise BadRequest(
                "is about another subject than the bundle's Patient (as Patient/id)",
                field=f"{place}.subject",
            ) from None
        except Unreadable:
            raise BadRequest("cannot be read as what its type says; see FHIR R4", field=place) from None
    results = collected.results(Reader(node.id, node.institution, normaliser))
    if collected.unreadable:
        raise BadRequest(f"has a value that is none: {collected.unreadable[0]}", field="bundle")
    return _Parcel(records, tuple(results), f"Patient/{patient.id}")


def _patient(entries: Sequence[EntryIn], person: Identifier) -> Patient:
    patients = [entry.resource for entry in entries if _key(entry.resource).resource_type == "Patient"]
    if len(patients) != 1:
        raise BadRequest("needs the Patient, once", field="bundle.entry")
    try:
        patient = read(patients[0], Patient)
    except Unreadable:
        raise BadRequest("has a Patient that cannot be read; see FHIR R4", field="bundle.entry") from None
    if not any((one.system, one.value) == (person.system, person.value) for one in patient.identifier):
        raise BadRequest("has a Patient without the number of patient", field="bundle.entry")
    return patient


def _key(raw: Raw) -> Key:
    try:
        return read(raw, Key)
    except Unreadable:
        return Key(resource_type="")


def _pointers(request: PublicationIn, results: Iterable[Result], person: str, now: datetime) -> list[Pointer]:
    announced = [
        Pointer(
            person=person,
            node=request.node,
            group=said.group,
            first=said.first,
            last=said.last,
            noted=now,
            published=True,
        )
        for said in request.announced
    ]
    return widened([*pointers_of(person, request.node, results, now, published=True), *announced])


def _body_digest(request: PublicationIn, person: Identifier, pseudonym: str) -> str:
    """What tells bodies apart, without the person's number where it stands by itself."""
    told_apart = msgspec.structs.replace(request, patient=PersonIn(person.type, pseudonym))
    return hashlib.sha256(msgspec.json.encode(told_apart)).hexdigest()


def _at(kept: _Kept, index: int) -> _Kept:
    """The same with the place of its entry in the ledger."""
    ledger = msgspec.structs.replace(kept.answer.ledger, index=index)
    return msgspec.structs.replace(kept, answer=msgspec.structs.replace(kept.answer, ledger=ledger))
