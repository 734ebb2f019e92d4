"""How the hospitals of the demonstration write: FHIR R4 resources by node, studies by archive.

Names and codes are the hospital's own, times are those of its clock, the printed recognition mark is an
extension. Values are decimals and stay as written (4.10 is not 4.1), so a Bundle is bytes.
"""

from __future__ import annotations

import zlib
from datetime import datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal

import msgspec
from msgspec import Struct
from pydicom.dataset import Dataset

from gateway.demo.people import BY_KEY, INSTITUTIONS, Person
from gateway.demo.studies import SHANGHAI, Charset, Modality, study, uid_for

NODES = {
    "EX-CQ-01": "cq-his",
    "EX-SC-01": "sc-his",
    "EX-HB-01": "hb-lis",
    "EX-HA-01": "ha-lis",
    "EX-HN-01": "hn-lis",
    "EX-HI-01": "hi-lis",
    "EX-SX-01": "sx-lis",
    "EX-JX-01": "jx-lis",
    "EX-GX-01": "gx-lis",
    "EX-NX-01": "nx-lis",
}
"""The FHIR node of each institution that has one."""

ARCHIVES = {"EX-CQ-01": "cq-pacs", "EX-SC-01": "sc-pacs"}
"""The DICOMweb archive of each institution that has one."""

RESIDENT_NUMBER = "urn:oid:2.16.156.10011.1.3"
PRINTED_MARK = "https://lianren.example/fhir/StructureDefinition/printed-mark"

Resource = dict[str, Any]


class Row(Struct, frozen=True):
    """One line of a laboratory report, in the hospital's words; ``value`` as printed, such as ``<0.1``."""

    name: str
    value: str
    unit: str
    mark: str = ""


class Network:
    """Collects resources by node and studies by archive."""

    def __init__(self, now: datetime) -> None:
        self.now = now.astimezone(SHANGHAI)
        self.today = self.now.date()
        self.studies: dict[str, list[list[Dataset]]] = {archive: [] for archive in ARCHIVES.values()}
        self._resources: dict[str, dict[str, Resource]] = {node: {} for node in NODES.values()}

    def at(self, days: int, clock: str) -> datetime:
        """The time of day ``clock`` so many dates ago, in Asia/Shanghai."""
        return datetime.combine(self.today - timedelta(days), time.fromisoformat(clock), SHANGHAI)

    def bundles(self) -> dict[str, bytes]:
        encoder = msgspec.json.Encoder(decimal_format="number")
        return {node: encoder.encode(_transaction(held)) for node, held in self._resources.items()}

    def lab(
        self,
        who: str,
        institution: str,
        report: str,
        issued: datetime,
        rows: tuple[Row, ...],
        *,
        specimen: str = "血清",
        status: str = "final",
        version: int = 1,
        sampled: timedelta = timedelta(hours=3),
        held_by: str = "",
    ) -> None:
        """A laboratory report: one Observation a row, held by the institution's own system unless said."""
        node = NODES[held_by or institution]
        person = self._patient(node, BY_KEY[who], institution)
        for number, row in enumerate(rows, start=1):
            observation: Resource = {
                "resourceType": "Observation",
                "id": f"{report}-{number}-v{version}",
                "identifier": [
                    {"system": f"urn:lianren:report:{institution}", "value": f"{report}/{number}"}
                ],
                "status": status,
                "category": [_coded("observation-category", "laboratory")],
                "code": {"coding": [_local_code(institution, row.name)], "text": row.name},
                "subject": {"reference": person},
                "effectiveDateTime": _time(issued - sampled),
                "issued": _time(issued),
                "performer": [_performer(institution)],
                "specimen": {"display": specimen},
                **_value(row),
            }
            self._put(node, observation, row.mark)

    def image(
        self,
        who: str,
        institution: str,
        key: str,
        name: str,
        modality: Modality,
        body_part: str,
        performed: datetime,
        *,
        instances: int = 3,
        charset: Charset = "utf-8",
        side: Literal["L", "R"] | None = None,
        contrast: str | None = None,
        mark: str = "川渝HR",
        archived: bool = True,
    ) -> None:
        """A study in the archive, and in the hospital's system its ImagingStudy and the report on it."""
        node, uid = NODES[institution], uid_for(institution, key, performed.isoformat())
        person = self._patient(node, BY_KEY[who], institution)
        imaging: Resource = {
            "resourceType": "ImagingStudy",
            "id": key,
            "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}],
            "status": "available",
            "modality": [{"system": "http://dicom.nema.org/resources/ontology/DCM", "code": modality}],
            "subject": {"reference": person},
            "started": _time(performed),
            "numberOfSeries": 1,
            "numberOfInstances": instances,
            "description": name,
        }
        report: Resource = {
            "resourceType": "DiagnosticReport",
            "id": f"{key}-report",
            "identifier": [{"system": f"urn:lianren:report:{institution}", "value": f"{key}/1"}],
            "status": "final",
            "category": [
                {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "RAD"}]}
            ],
            "code": {"coding": [_local_code(institution, name)], "text": name},
            "subject": {"reference": person},
            "effectiveDateTime": _time(performed),
            "issued": _time(performed + timedelta(minutes=45)),
            "performer": [_performer(institution)],
            "imagingStudy": [{"reference": f"ImagingStudy/{key}"}],
        }
        self._put(node, imaging)
        self._put(node, report, mark)
        if archived:
            self.studies[ARCHIVES[institution]].append(
                study(
                    BY_KEY[who],
                    institution,
                    description=name,
                    modality=modality,
                    body_part=body_part,
                    performed=performed,
                    instances=instances,
                    charset=charset,
                    side=side,
                    contrast=contrast,
                    uid=uid,
                )
            )

    def _patient(self, node: str, person: Person, institution: str) -> str:
        patient: Resource = {
            "resourceType": "Patient",
            "id": person.key,
            "identifier": [
                {"system": RESIDENT_NUMBER, "value": person.number},
                {"system": f"urn:lianren:mrn:{institution}", "value": person.mrns[institution]},
            ],
            "name": [{"text": person.name}],
            "gender": person.gender,
            "birthDate": person.birth_date.isoformat(),
        }
        self._put(node, patient)
        return f"Patient/{person.key}"

    def _put(self, node: str, resource: Resource, mark: str = "") -> None:
        if mark:
            resource["extension"] = [{"url": PRINTED_MARK, "valueString": mark}]
        self._resources[node][f"{resource['resourceType']}/{resource['id']}"] = resource


def _transaction(held: dict[str, Resource]) -> Resource:
    entries = [{"resource": held[url], "request": {"method": "PUT", "url": url}} for url in held]
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def _coded(system: str, code: str) -> Resource:
    return {"coding": [{"system": f"http://terminology.hl7.org/CodeSystem/{system}", "code": code}]}


def _local_code(institution: str, name: str) -> Resource:
    code = f"{institution[3:5]}{zlib.crc32(name.encode()) % 100_000:05d}"
    return {"system": f"urn:lianren:local:{institution}", "code": code}


def _performer(institution: str) -> Resource:
    identifier = {"system": "urn:lianren:institution", "value": institution}
    return {"identifier": identifier, "display": INSTITUTIONS[institution]}


def _time(moment: datetime) -> str:
    return moment.astimezone(SHANGHAI).isoformat(timespec="seconds")


def _value(row: Row) -> Resource:
    number = row.value.lstrip("<>")
    if not number.replace(".", "", 1).isdigit():
        return {"valueString": row.value}
    quantity: Resource = {"value": Decimal(number), "unit": row.unit}
    if number != row.value:
        quantity["comparator"] = row.value[0]
    return {"valueQuantity": quantity}
