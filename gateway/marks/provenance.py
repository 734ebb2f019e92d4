"""Marks in FHIR: a Provenance (R4) whose signature is a detached JWS over the marked result.

The result itself is contained, as an Observation (a laboratory value) or a DiagnosticReport (images), made
from the facts that the mark's digest covers and from the mark: no person, no narrative. So the Provenance can
be verified with the issuer's key list alone (:func:`check`), wherever it came from, and a reader sees what
was signed; the mark is in what is signed, so that no other one can be laid beside it. Its target is the
contained copy, under the name of the hospital's own record.

The facts are kept beside the mark as long as copies of results are; the signature is made when a Provenance
is first asked for, of facts that still have the mark's digest, and then kept with the bytes it was made over.
"""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Raw, Struct

from adapters.store import Document
from catalog.fhir import ITEM_SYSTEM
from gateway.access.clients import Client
from gateway.errors import NotFound
from gateway.evidence import Evidence, keep
from gateway.marks.index import INDEX, below, hashed
from gateway.marks.service import Marks
from gateway.wiring import Gateway
from security import jws
from security.errors import MarkRefused, SignatureRefused, TrustError
from security.mark import PURPOSE, Claims, Mark, verify_signature
from security.trust import TrustList

KIND = "provenance"
MARK_EXTENSION = "https://lianren.example/fhir/StructureDefinition/recognition-mark"
RECORD_SYSTEM = "urn:lianren:record:"
GATEWAY_SYSTEM = "urn:lianren:gateway"
_PARTICIPANT = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"
_VERIFICATION = {
    "system": "urn:iso-astm:E1762-95:2013",
    "code": "1.2.840.10065.1.12.1.5",
    "display": "Verification Signature",
}
_QUANTITY = re.compile(r"(<=|>=|<|>)?\s*(-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?)")
_DIGITS = 15


class _Facts(Struct, frozen=True):
    """The facts of a result (:func:`recognition.facts`), as they are read again."""

    institution: str
    kind: str
    name: str
    performed: str
    record: str
    reported: str
    specimen: str
    status: str
    study: str
    unit: str
    value: str


class _Signature(Struct, frozen=True, rename="camel"):
    when: datetime
    sig_format: str
    target_format: str
    data: bytes


class _Extension(Struct, frozen=True, rename="camel"):
    url: str
    value_string: str = ""


class _Marked(Struct, frozen=True):
    extension: tuple[_Extension, ...]


class _Provenance(Struct, frozen=True):
    contained: tuple[Raw]
    signature: tuple[_Signature]


class Provenances:
    """Gives out the Provenance of marks of this gateway."""

    def __init__(self, gateway: Gateway, marks: Marks) -> None:
        self._gateway = gateway
        self._marks = marks

    async def read(self, mark_id: str, client: Client) -> bytes:
        """The Provenance of a mark, to an auditor or to the institution that examined; a view of the ledger.

        Raises:
            NotPermitted, NotFound: not for this client, no such mark, or its facts are no longer kept.
            EvidenceUnavailable: it cannot be signed, or that it was read cannot be written down.
        """
        client.require("auditor", "his")
        mark = await self._marks.mark(mark_id)
        if not _may(client, mark.claims):
            raise NotFound("no mark of this id was issued for your institution", field="id")
        resource = await self._signed(mark)
        if resource is None:
            raise NotFound("what was marked is no longer kept, so it cannot be shown", field="id")
        await self._viewed(client, [mark_id])
        return resource

    async def of_record(self, record: str, client: Client) -> list[tuple[str, bytes]]:
        """The Provenances, with their ids, of the marks for a hospital's record, such as ``Observation/1``.

        Raises:
            NotPermitted, EvidenceUnavailable: as :meth:`read`.
        """
        client.require("auditor", "his")
        found: list[tuple[str, bytes]] = []
        async for mark_id, _ in below(self._gateway.store, INDEX, f"r|{hashed(record)}|"):
            mark = await self._marks.mark(mark_id)
            if _may(client, mark.claims) and (resource := await self._signed(mark)) is not None:
                found.append((mark_id, resource))
        await self._viewed(client, [id_ for id_, _ in found])
        return found

    async def _signed(self, mark: Mark) -> bytes | None:
        store, mark_id = self._gateway.store, mark.claims.mark_id.hex()
        if kept := await store.document(KIND, mark_id):
            return kept.body
        held = await store.document("facts", mark_id)
        if held is None or hashlib.sha256(held.body).digest() != mark.claims.digest:
            return None
        now = datetime.now(UTC)
        contained = result_of(held.body, mark)
        token = await self._gateway.signing.run(lambda signer: jws.sign(jws.canonical(contained), signer))
        resource = _resource(mark, contained, token, now)
        await store.replace(Document(kind=KIND, id=mark_id, body=resource, at=now))
        return resource

    async def _viewed(self, client: Client, mark_ids: list[str]) -> None:
        evidence = Evidence.of(self._gateway, client.id, datetime.now(UTC))
        evidence.record("view", {"client": client.id, "provenance": mark_ids})
        await keep(self._gateway.sequencer, evidence.entries, [])


def result_of(held: bytes, mark: Mark) -> bytes:
    """The FHIR resource of a result's facts (:func:`recognition.facts`) with its mark, as JSON."""
    facts = msgspec.json.decode(held, type=_Facts)
    coding: dict[str, object] = {"system": ITEM_SYSTEM, "code": mark.claims.item}
    resource: dict[str, object] = {
        "resourceType": "Observation" if facts.kind == "lab" else "DiagnosticReport",
        "id": "result",
        "extension": [{"url": MARK_EXTENSION, "valueString": mark.text}],
        "identifier": [{"system": f"{RECORD_SYSTEM}{facts.institution}", "value": facts.record}],
        "status": facts.status,
        "category": [{"coding": [_CATEGORIES[facts.kind]]}],
        "code": {"coding": [coding], **({"text": facts.name} if facts.name else {})},
        "performer": [{"identifier": {"system": "urn:lianren:institution", "value": facts.institution}}],
    }
    if facts.performed:
        resource["effectiveDateTime"] = facts.performed
    if facts.reported:
        resource["issued"] = facts.reported
    if facts.study:
        uid = {"system": "urn:dicom:uid", "value": f"urn:oid:{facts.study}"}
        resource["imagingStudy"] = [{"type": "ImagingStudy", "identifier": uid}]
    if facts.specimen:
        specimen = {"display": facts.specimen}
        resource["specimen"] = specimen if facts.kind == "lab" else [specimen]
    if facts.value:
        resource |= _value(facts.value, facts.unit)
    return msgspec.json.encode(resource)


_CATEGORIES = {
    "lab": {
        "system": "http://terminology.hl7.org/CodeSystem/observation-category",
        "code": "laboratory",
    },
    "imaging": {"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "RAD"},
}


def _value(value: str, unit: str) -> dict[str, object]:
    """The value as a quantity with its digits as written, where it is one; else as the text that it is."""
    number = _QUANTITY.fullmatch(value)
    if number is None or len(re.sub("[-.]", "", number[2]).lstrip("0")) > _DIGITS:
        return {"valueString": f"{value} {unit}".strip()}
    quantity: dict[str, object] = {"value": Raw(number[2].encode())}
    if number[1]:
        quantity["comparator"] = number[1]
    if unit:
        quantity["unit"] = unit
    return {"valueQuantity": quantity}


def _resource(mark: Mark, contained: bytes, token: str, now: datetime) -> bytes:
    claims = mark.claims
    gateway = {"identifier": {"system": GATEWAY_SYSTEM, "value": claims.issuer}}
    institution = {"identifier": {"system": "urn:lianren:institution", "value": claims.institution}}
    held: dict[str, Any] = msgspec.json.decode(contained)
    return msgspec.json.encode(
        {
            "resourceType": "Provenance",
            "id": claims.mark_id.hex(),
            "contained": [Raw(contained)],
            "target": [
                {"reference": "#result", "type": held["resourceType"], "identifier": held["identifier"][0]}
            ],
            "recorded": _instant(claims.issued),
            "activity": {"text": f"互认标识签发 recognition mark issued: {claims.printed}"},
            "agent": [
                {"type": _participant("verifier"), "who": gateway},
                {"type": _participant("performer"), "who": institution},
            ],
            "signature": [
                {
                    "type": [_VERIFICATION],
                    "when": _instant(now),
                    "who": gateway,
                    "targetFormat": jws.TARGET_FORMAT,
                    "sigFormat": jws.SIG_FORMAT,
                    "data": base64.b64encode(token.encode()).decode(),
                }
            ],
        }
    )


def check(resource: bytes, trust: TrustList) -> Claims:
    """The claims of the mark in the result of a Provenance; both signatures verify by the trusted key lists.

    Looks at no clock and no ledger: whether the mark counts is :func:`security.mark.verify`.

    Raises:
        MarkRefused: at ``format``, ``key`` or ``signature``.
    """
    try:
        provenance = msgspec.json.decode(resource, type=_Provenance)
        (signature,) = provenance.signature
        token = signature.data.decode("ascii")
        contained = bytes(provenance.contained[0])
        marked = msgspec.json.decode(contained, type=_Marked)
        (text,) = (e.value_string for e in marked.extension if e.url == MARK_EXTENSION)
        if (signature.sig_format, signature.target_format) != (jws.SIG_FORMAT, jws.TARGET_FORMAT):
            raise ValueError("another signature format")
        if signature.when.tzinfo is None:
            raise ValueError("a signature without a time zone")
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise MarkRefused("format", "not a Provenance with a recognition mark and its signature") from None
    claims = verify_signature(text, trust=trust).claims
    try:
        key = trust.key(jws.key_id(token), signature.when, PURPOSE)
        if key.owner != claims.issuer:
            raise MarkRefused("key", f"key {key.kid} is not of the mark's issuer '{claims.issuer}'")
        jws.verify(token, jws.canonical(contained), key)
    except SignatureRefused as wrong:
        raise MarkRefused("signature", str(wrong)) from None
    except MarkRefused:
        raise
    except TrustError as wrong:
        raise MarkRefused("key", str(wrong)) from None
    return claims


def _participant(code: str) -> dict[str, object]:
    return {"coding": [{"system": _PARTICIPANT, "code": code}]}


def _may(client: Client, claims: Claims) -> bool:
    return "auditor" in client.roles or client.institution == claims.institution


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")
