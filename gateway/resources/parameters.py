"""The search parameters of R4 (4.0.1) by type: one table, which searches read and CapabilityStatements tell.

A parameter looks at members of a resource by paths, with one name of each form of a choice (``value[x]``).
Left out are those by sound (``phonetic``), the composite ones, and ``deceased``; ``imaging-study`` of
DiagnosticReport is this gateway's own (R4 gives the element no parameter).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct

from gateway.resources.values import STORED

_HL7 = "http://hl7.org/fhir/"


class Parameter(Struct, frozen=True):
    """A search parameter: its FHIR type, where it looks, at which types a reference may point (all where
    empty), the system of plain codes, and what else the element must have (member, value)."""

    kind: str
    paths: tuple[str, ...]
    targets: tuple[str, ...] = ()
    system: str = ""
    where: tuple[str, str] = ("", "")


def _token(*paths: str, system: str = "") -> Parameter:
    return Parameter("token", paths, system=system and f"{_HL7}{system}")


def _date(*paths: str) -> Parameter:
    return Parameter("date", paths)


def _string(*paths: str) -> Parameter:
    return Parameter("string", paths)


def _quantity(*paths: str) -> Parameter:
    return Parameter("quantity", paths)


def _uri(*paths: str) -> Parameter:
    return Parameter("uri", paths)


def _reference(path: str, *targets: str) -> Parameter:
    return Parameter("reference", (path,), targets)


def _contact(system: str) -> Parameter:
    return Parameter("token", ("telecom",), where=("system", system))


def _names(path: str) -> dict[str, Parameter]:
    return {"name": _string(path), "family": _string(f"{path}.family"), "given": _string(f"{path}.given")}


def _address(path: str = "address") -> dict[str, Parameter]:
    return {
        "address": _string(path),
        "address-city": _string(f"{path}.city"),
        "address-country": _string(f"{path}.country"),
        "address-postalcode": _string(f"{path}.postalCode"),
        "address-state": _string(f"{path}.state"),
        "address-use": _token(f"{path}.use", system="address-use"),
    }


_TELECOM = {
    "telecom": _token("telecom"),
    "email": _contact("email"),
    "phone": _contact("phone"),
}
_SUBJECT = {"subject": _reference("subject"), "patient": _reference("subject", "Patient")}
_EVERYWHERE = {
    "_id": _token("id"),
    "_lastUpdated": _date("meta.lastUpdated"),
    "_profile": _uri("meta.profile"),
    "_security": _token("meta.security"),
    "_source": _uri("meta.source"),
    "_tag": _token("meta.tag"),
    "identifier": _token("identifier"),
}

_OF_TYPE: dict[str, dict[str, Parameter]] = {
    "Patient": {
        "active": _token("active"),
        **_address(),
        "birthdate": _date("birthDate"),
        "death-date": _date("deceasedDateTime"),
        "gender": _token("gender", system="administrative-gender"),
        "general-practitioner": _reference("generalPractitioner"),
        "language": _token("communication.language"),
        "link": _reference("link.other"),
        **_names("name"),
        "organization": _reference("managingOrganization", "Organization"),
        **_TELECOM,
    },
    "DiagnosticReport": {
        "based-on": _reference("basedOn"),
        "category": _token("category"),
        "code": _token("code"),
        "conclusion": _token("conclusionCode"),
        "date": _date("effectiveDateTime", "effectivePeriod"),
        "encounter": _reference("encounter", "Encounter"),
        "imaging-study": _reference("imagingStudy", "ImagingStudy"),
        "issued": _date("issued"),
        "media": _reference("media.link", "Media"),
        **_SUBJECT,
        "performer": _reference("performer"),
        "result": _reference("result", "Observation"),
        "results-interpreter": _reference("resultsInterpreter"),
        "specimen": _reference("specimen", "Specimen"),
        "status": _token("status", system="diagnostic-report-status"),
    },
    "Observation": {
        "based-on": _reference("basedOn"),
        "category": _token("category"),
        "code": _token("code"),
        "combo-code": _token("code", "component.code"),
        "combo-value-quantity": _quantity("valueQuantity", "component.valueQuantity"),
        "component-code": _token("component.code"),
        "component-value-concept": _token("component.valueCodeableConcept"),
        "component-value-quantity": _quantity("component.valueQuantity"),
        "data-absent-reason": _token("dataAbsentReason"),
        "date": _date("effectiveDateTime", "effectivePeriod", "effectiveTiming", "effectiveInstant"),
        "derived-from": _reference("derivedFrom"),
        "device": _reference("device"),
        "encounter": _reference("encounter", "Encounter"),
        "focus": _reference("focus"),
        "has-member": _reference("hasMember"),
        "method": _token("method"),
        "part-of": _reference("partOf"),
        **_SUBJECT,
        "performer": _reference("performer"),
        "specimen": _reference("specimen", "Specimen"),
        "status": _token("status", system="observation-status"),
        "value-concept": _token("valueCodeableConcept"),
        "value-date": _date("valueDateTime", "valuePeriod"),
        "value-quantity": _quantity("valueQuantity"),
        "value-string": _string("valueString", "valueCodeableConcept.text"),
    },
    "ImagingStudy": {
        "basedon": _reference("basedOn"),
        "bodysite": _token("series.bodySite"),
        "dicom-class": _token("series.instance.sopClass"),
        "encounter": _reference("encounter", "Encounter"),
        "endpoint": _reference("endpoint", "Endpoint"),
        "instance": _token("series.instance.uid"),
        "interpreter": _reference("interpreter"),
        "modality": _token("modality", "series.modality"),
        **_SUBJECT,
        "performer": _reference("series.performer.actor"),
        "reason": _token("reasonCode"),
        "referrer": _reference("referrer"),
        "series": _token("series.uid"),
        "started": _date("started"),
        "status": _token("status", system="imagingstudy-status"),
    },
    "ServiceRequest": {
        "authored": _date("authoredOn"),
        "based-on": _reference("basedOn"),
        "body-site": _token("bodySite"),
        "category": _token("category"),
        "code": _token("code"),
        "encounter": _reference("encounter", "Encounter"),
        "instantiates-canonical": _uri("instantiatesCanonical"),
        "instantiates-uri": _uri("instantiatesUri"),
        "intent": _token("intent", system="request-intent"),
        "occurrence": _date("occurrenceDateTime", "occurrencePeriod", "occurrenceTiming"),
        **_SUBJECT,
        "performer": _reference("performer"),
        "performer-type": _token("performerType"),
        "priority": _token("priority", system="request-priority"),
        "replaces": _reference("replaces", "ServiceRequest"),
        "requester": _reference("requester"),
        "requisition": _token("requisition"),
        "specimen": _reference("specimen", "Specimen"),
        "status": _token("status", system="request-status"),
    },
    "Specimen": {
        "accession": _token("accessionIdentifier"),
        "bodysite": _token("collection.bodySite"),
        "collected": _date("collection.collectedDateTime", "collection.collectedPeriod"),
        "collector": _reference("collection.collector"),
        "container": _token("container.type"),
        "container-id": _token("container.identifier"),
        "parent": _reference("parent", "Specimen"),
        **_SUBJECT,
        "status": _token("status", system="specimen-status"),
        "type": _token("type"),
    },
    "Organization": {
        "active": _token("active"),
        **_address(),
        "endpoint": _reference("endpoint", "Endpoint"),
        "name": _string("name", "alias"),
        "partof": _reference("partOf", "Organization"),
        "type": _token("type"),
    },
    "Practitioner": {
        "active": _token("active"),
        **_address(),
        "communication": _token("communication"),
        "gender": _token("gender", system="administrative-gender"),
        **_names("name"),
        **_TELECOM,
    },
    "Endpoint": {
        "connection-type": _token("connectionType"),
        "name": _string("name"),
        "organization": _reference("managingOrganization", "Organization"),
        "payload-type": _token("payloadType"),
        "status": _token("status", system="endpoint-status"),
    },
    "Location": {
        **_address(),
        "name": _string("name", "alias"),
        "organization": _reference("managingOrganization", "Organization"),
        "partof": _reference("partOf", "Location"),
        "status": _token("status", system="location-status"),
        "type": _token("type"),
    },
    "Encounter": {
        "class": _token("class"),
        "date": _date("period"),
        "episode-of-care": _reference("episodeOfCare", "EpisodeOfCare"),
        "part-of": _reference("partOf", "Encounter"),
        **_SUBJECT,
        "service-provider": _reference("serviceProvider", "Organization"),
        "status": _token("status", system="encounter-status"),
        "type": _token("type"),
    },
    "Task": {
        "authored-on": _date("authoredOn"),
        "based-on": _reference("basedOn"),
        "code": _token("code"),
        "encounter": _reference("encounter", "Encounter"),
        "focus": _reference("focus"),
        "group-identifier": _token("groupIdentifier"),
        "intent": _token("intent", system="task-intent"),
        "modified": _date("lastModified"),
        "owner": _reference("owner"),
        "part-of": _reference("partOf", "Task"),
        "subject": _reference("for"),
        "patient": _reference("for", "Patient"),
        "priority": _token("priority", system="request-priority"),
        "requester": _reference("requester"),
        "status": _token("status", system="task-status"),
    },
}
TABLE: Mapping[str, Mapping[str, Parameter]] = MappingProxyType(
    {type_: _EVERYWHERE | own for type_, own in _OF_TYPE.items()}
)
"""The parameters of each type."""

INCLUDES: Mapping[str, Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "DiagnosticReport": {
            "based-on": ("ServiceRequest",),
            "imaging-study": ("ImagingStudy",),
            "patient": ("Patient",),
            "result": ("Observation",),
            "specimen": ("Specimen",),
            "subject": ("Patient",),
        },
        "Observation": {
            "based-on": ("ServiceRequest",),
            "derived-from": ("ImagingStudy", "Observation"),
            "has-member": ("Observation",),
            "patient": ("Patient",),
            "specimen": ("Specimen",),
            "subject": ("Patient",),
        },
        "ImagingStudy": {
            "basedon": ("ServiceRequest",),
            "patient": ("Patient",),
            "subject": ("Patient",),
        },
        "ServiceRequest": {
            "patient": ("Patient",),
            "replaces": ("ServiceRequest",),
            "specimen": ("Specimen",),
            "subject": ("Patient",),
        },
        "Specimen": {"parent": ("Specimen",), "patient": ("Patient",), "subject": ("Patient",)},
    }
)
"""What ``_include`` and ``_revinclude`` follow: type, parameter, and to which types. Only resources of one
person are joined so, which are asked for at the node as a search for that person."""

REFERENCES: Mapping[str, Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        type_: {
            name: targets
            for name, one in own.items()
            if one.kind == "reference" and (targets := tuple(t for t in one.targets or STORED if t in STORED))
        }
        for type_, own in TABLE.items()
        if type_ in STORED
    }
)
"""What is followed on one shelf: every reference to a type that is kept."""

SORTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        type_: tuple(
            name
            for name, one in own.items()
            if one.kind == "date" or name in ("_id", "status", "code", "name", "family")
        )
        for type_, own in TABLE.items()
    }
)
"""The parameters that ``_sort`` orders by."""


def revincludes(type_: str, followed: Mapping[str, Mapping[str, tuple[str, ...]]] = INCLUDES) -> list[str]:
    """What ``_revinclude`` can be of a search for a type: ``DiagnosticReport:result`` of Observation."""
    return [
        f"{source}:{name}"
        for source, names in followed.items()
        for name, targets in names.items()
        if type_ in targets
    ]
