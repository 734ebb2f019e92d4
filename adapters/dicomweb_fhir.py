"""What an archive lists, as FHIR R4: each study an ImagingStudy, whose id is its Study Instance UID.

Such a resource says what QIDO-RS says and nothing more: no report, no series, and the patient by his local
number at the institution. It is made anew each time, and has no versions. Its contained Endpoint is where
images are had from, which is never the archive itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from adapters._asking import Heard, answer_of
from adapters.dicomweb import MEDIA, MRN, DicomwebNode, Study
from adapters.dicomweb_studies import listed
from adapters.errors import NodeFaulty
from adapters.fhir import FhirNode
from adapters.fhir_read import Head
from adapters.fhir_read import read as read_fhir
from adapters.fhir_time import reach
from adapters.node import Answer, Copy, Match, Question
from quality.record import DICOM_UID

TYPE = "ImagingStudy"
_FIELDS = ("00080061", "00081030", "00201206", "00201208", "00080201")
"""Modalities in Study, Study Description, numbers of series and instances, Timezone Offset From UTC."""
_SCHEME = "http://dicom.nema.org/resources/ontology/DCM"


async def search(
    node: DicomwebNode, question: Question, images: str, mend: Callable[[str], str] = str
) -> Answer:
    """The person's studies as ``matches``; ``images`` is the address of the DICOMweb service that gives them
    out, and ``mend`` puts texts right that archives read in another character set. Never raises for the
    archive's failures."""
    answer = await listed(node, question, "studies", [("includefield", tag) for tag in _FIELDS])
    matches = []
    for study in _studies(b"[%s]" % b",".join(one.raw for one in answer.listed)):
        raw = Raw(_resource(study, node.institution, images, mend))
        head = read_fhir(raw, Head)
        when = reach(head.started)
        if not when or when[1] > question.since.timestamp():
            matches.append(Match(head, raw, when[0] if when else -math.inf))
    return replace(
        answer, listed=(), matches=tuple(matches), report=replace(answer.report, results=len(matches))
    )


async def read(
    node: DicomwebNode,
    identities: FhirNode,
    question: Question,
    uid: str,
    images: str,
    mend: Callable[[str], str] = str,
) -> Answer:
    """One study as ``copy``, of the person whom ``identities`` knows by its Patient ID; ``empty`` where there
    is none. Never raises for the nodes' failures."""

    async def ask() -> Heard:
        if not DICOM_UID.fullmatch(uid):
            return Heard()
        params = [("StudyInstanceUID", uid), *(("includefield", tag) for tag in ("00100020", *_FIELDS))]
        body = await node.line.get_json("studies", params, accept=MEDIA)
        found = _studies(body) if body else ()
        if not found:
            return Heard()
        study = found[0]
        if len(found) > 1 or study.uid.text != uid:
            raise NodeFaulty("answered with another study than the one asked for")
        number = study.patient_id.text
        whose = await identities.whose(f"{MRN}{node.institution}", number) if number else ()
        return Heard(copy=Copy(raw=_resource(study, node.institution, images, mend), whose=whose))

    return await answer_of(node, question, question.budget, ask())


def _studies(body: bytes) -> tuple[Study, ...]:
    try:
        return msgspec.json.decode(body, type=tuple[Study, ...])
    except msgspec.MsgspecError:
        raise NodeFaulty("answered with studies that cannot be read") from None


def _resource(study: Study, institution: str, images: str, mend: Callable[[str], str]) -> bytes:
    uid, number, description = study.uid.text, study.patient_id.text, mend(study.description.text)
    performed, _ = study.performed
    told: dict[str, Any] = {
        "resourceType": TYPE,
        "id": uid,
        "contained": [
            {
                "resourceType": "Endpoint",
                "id": "images",
                "status": "active",
                "connectionType": {
                    "system": "http://terminology.hl7.org/CodeSystem/endpoint-connection-type",
                    "code": "dicom-wado-rs",
                },
                "payloadType": [{"text": "DICOM"}],
                "address": images,
            }
        ],
        "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}],
        "status": "available",
    }
    codes = [code for text in study.modalities.texts for code in text.replace("\\", " ").split()]
    if codes:
        told["modality"] = [{"system": _SCHEME, "code": code} for code in dict.fromkeys(codes)]
    told["subject"] = {"identifier": {"system": f"{MRN}{institution}", "value": number}}
    if performed:
        told["started"] = performed.isoformat()
    elif day := _day(study.date.text):
        told["started"] = day
    told["endpoint"] = [{"reference": "#images"}]
    for name, element in (("numberOfSeries", study.series), ("numberOfInstances", study.instances)):
        if element.text.isascii() and element.text.isdigit() and len(element.text) < 10:
            told[name] = int(element.text)
    if description and "\ufffd" not in description:
        told["description"] = description
    return msgspec.json.encode(told)


def _day(text: str) -> str:
    """A date (VR DA) as FHIR writes it; nothing where there is no such day."""
    try:
        return date.fromisoformat(text).isoformat() if len(text) == 8 and text.isdigit() else ""
    except ValueError:
        return ""
