"""The elements of each type that are its summary (``isSummary`` of the definitions of R4 4.0.1), and those it
must have: what ``_summary`` and ``_elements`` leave."""

from __future__ import annotations

SUMMARY: dict[str, frozenset[str]] = {
    type_: frozenset(names.split())
    for type_, names in {
        "Patient": (
            "active address birthDate deceasedBoolean deceasedDateTime gender identifier link "
            "managingOrganization name telecom"
        ),
        "DiagnosticReport": (
            "category code effectiveDateTime effectivePeriod encounter identifier issued media "
            "performer resultsInterpreter status subject"
        ),
        "Observation": (
            "basedOn code component derivedFrom effectiveDateTime effectiveInstant effectivePeriod "
            "effectiveTiming encounter focus hasMember identifier issued partOf performer status "
            "subject valueBoolean valueCodeableConcept valueDateTime valueInteger valuePeriod "
            "valueQuantity valueRange valueRatio valueSampledData valueString valueTime"
        ),
        "ImagingStudy": (
            "basedOn description encounter endpoint identifier interpreter location modality note "
            "numberOfInstances numberOfSeries procedureCode procedureReference reasonCode "
            "reasonReference referrer series started status subject"
        ),
        "ServiceRequest": (
            "asNeededBoolean asNeededCodeableConcept authoredOn basedOn bodySite category code "
            "doNotPerform encounter identifier instantiatesCanonical instantiatesUri intent "
            "locationCode locationReference occurrenceDateTime occurrencePeriod occurrenceTiming "
            "orderDetail patientInstruction performer performerType priority quantityQuantity "
            "quantityRange quantityRatio reasonCode reasonReference replaces requester requisition "
            "specimen status subject"
        ),
        "Specimen": ("accessionIdentifier condition identifier receivedTime status subject type"),
        "Organization": ("active identifier name partOf type"),
        "Practitioner": ("active address birthDate gender identifier name telecom"),
        "Endpoint": (
            "address connectionType identifier managingOrganization name payloadMimeType payloadType "
            "period status"
        ),
        "Location": (
            "description identifier managingOrganization mode name operationalStatus physicalType status type"
        ),
        "Encounter": (
            "appointment class diagnosis episodeOfCare identifier participant reasonCode "
            "reasonReference serviceType status subject type"
        ),
        "Task": (
            "basedOn businessStatus code description encounter executionPeriod focus for "
            "groupIdentifier instantiatesCanonical instantiatesUri intent lastModified location owner "
            "partOf requester status statusReason"
        ),
    }.items()
}
MANDATORY: dict[str, frozenset[str]] = {
    type_: frozenset(names.split())
    for type_, names in {
        "DiagnosticReport": "status code",
        "Observation": "status code",
        "ImagingStudy": "status subject",
        "ServiceRequest": "status intent subject",
        "Endpoint": "status connectionType payloadType address",
        "Encounter": "status class",
        "Task": "status intent",
    }.items()
}
