"""A ledger entry as a FHIR AuditEvent after the patterns of IHE BALP (Basic Audit Log Patterns, ITI).

| entry | pattern | what happened |
|---|---|---|
| question | (Patient)Query | somebody asked this gateway |
| answer to another gateway, verdict | PrivacyDisclosure.Source | results or a decision left the house |
| answer of a node | Query | this gateway asked a node |
| view, export | (Patient)Read | somebody read what is kept, or looked at a study |
| withdrawal | (Patient)Update | a mark stopped to count |
| erasure | (Patient)Delete | salts and payloads were deleted |
| mark, outcome, consent, catalogue, keys, conflict | (Patient)Create | something was recorded |

The patient is the pseudonym of this gateway, from the entry's payload or from that of the question which it
belongs to. Where those are erased, the pattern without a patient is claimed, or none where BALP has none.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from gateway.audit.auditing import Event
from gateway.resources.extensions import LEDGER_INDEX
from security.ledger import EntryType

_BALP = "https://profiles.ihe.net/ITI/BALP"
_DCM = "http://dicom.nema.org/resources/ontology/DCM"
_TERMS = "http://terminology.hl7.org/CodeSystem"
_OBJECTS, _ROLES = f"{_TERMS}/audit-entity-type", f"{_TERMS}/object-role"
_REST, _INTERACTION = f"{_TERMS}/audit-event-type", "http://hl7.org/fhir/restful-interaction"
_PARTICIPANT, _LIFECYCLE = f"{_TERMS}/provenance-participant-type", f"{_TERMS}/iso-21089-lifecycle"
GATEWAY, CLIENT, NODE = "urn:lianren:gateway", "urn:lianren:client", "urn:lianren:node"
PERSON = "urn:lianren:pseudonym"
DICOM = "urn:dicom:uid"
ENTRY, MARK, CHECK = "urn:lianren:ledger-entry", "urn:lianren:mark", "urn:lianren:check"

SOURCE, DESTINATION = (_DCM, "110153", "Source Role ID"), (_DCM, "110152", "Destination Role ID")
_Coded = tuple[str, str, str]


class Pattern(Struct, frozen=True, kw_only=True):
    """A BALP pattern: its profiles with and without a patient (empty: there is none), and fixed codes.

    ``asks`` says whether the client is who the entry is from; else it is to whom.
    """

    profile: str
    with_patient: str
    type: _Coded = (_REST, "rest", "RESTful Operation")
    subtypes: tuple[_Coded, ...]
    action: str
    client: _Coded = SOURCE
    server: _Coded = DESTINATION
    asks: bool = True


def _rest(name: str, interaction: str, action: str, **fields: Any) -> Pattern:
    return Pattern(
        profile=f"IHE.BasicAudit.{name}",
        with_patient=f"IHE.BasicAudit.Patient{name}",
        subtypes=((_INTERACTION, interaction, interaction),),
        action=action,
        **fields,
    )


QUERY = _rest("Query", "search-type", "E")
CREATE = _rest("Create", "create", "C")
UPDATE = _rest("Update", "update", "U")
READ = _rest("Read", "read", "R", client=DESTINATION, server=SOURCE, asks=False)
DELETE = _rest(
    "Delete",
    "delete",
    "D",
    client=(_DCM, "110150", "Application"),
    server=(_PARTICIPANT, "custodian", "Custodian"),
)
DISCLOSE = Pattern(
    profile="",
    with_patient="IHE.BasicAudit.PrivacyDisclosure.Source",
    type=(_DCM, "110106", "Export"),
    subtypes=(
        (_LIFECYCLE, "disclose", "Disclose Record Lifecycle Event"),
        (_INTERACTION, "read", "read"),
    ),
    action="R",
    client=DESTINATION,
    server=SOURCE,
    asks=False,
)
PATTERNS: dict[EntryType, Pattern] = {
    "question": QUERY,
    "answer": QUERY,
    "verdict": DISCLOSE,
    "view": READ,
    "export": READ,
    "mark": CREATE,
    "outcome": replace(CREATE, asks=False),
    "consent": replace(CREATE, asks=False),
    "catalogue": CREATE,
    "keys": CREATE,
    "conflict": CREATE,
    "publication": CREATE,
    "node": UPDATE,
    "withdrawal": UPDATE,
    "erasure": DELETE,
}


def pattern_of(event: Event) -> Pattern:
    """The pattern of an event; an answer that names no node went to another gateway."""
    answered = event.entry.type == "answer" and event.payload is not None and not event.said.node
    return DISCLOSE if answered else PATTERNS[event.entry.type]


def resource_of(event: Event, owner: str, base_url: str) -> dict[str, Any]:
    """The AuditEvent (R4) of an event in the ledger of ``owner``; its id is the entry's commitment."""
    entry, pattern = event.entry, pattern_of(event)
    client, server = (entry.from_, entry.to) if pattern.asks else (entry.to, entry.from_)
    profile = pattern.with_patient if event.said.person else pattern.profile
    purpose = {"system": f"{_TERMS}/v3-ActReason", "code": event.said.purpose}
    return {
        "resourceType": "AuditEvent",
        "id": entry.commit,
        **({"meta": {"profile": [f"{_BALP}/StructureDefinition/{profile}"]}} if profile else {}),
        "extension": [{"url": LEDGER_INDEX, "valueString": str(event.index)}],
        "type": _coding(pattern.type),
        "subtype": [_coding(subtype) for subtype in pattern.subtypes],
        "action": pattern.action,
        "recorded": entry.time.isoformat(timespec="milliseconds"),
        "outcome": "0",
        **({"purposeOfEvent": [{"coding": [purpose]}]} if event.said.purpose else {}),
        "agent": [
            _agent(pattern.client, client, owner, base_url, event, requestor=True),
            _agent(pattern.server, server, owner, base_url, event, requestor=False),
        ],
        "source": {
            "observer": {"identifier": {"system": GATEWAY, "value": owner}},
            "type": [_coding((f"{_TERMS}/security-source-type", "4", "Application Server"))],
        },
        "entity": _entities(event, pattern),
    }


def _agent(
    role: _Coded, party: str, owner: str, base_url: str, event: Event, *, requestor: bool
) -> dict[str, Any]:
    own = party == owner
    system = GATEWAY if own else NODE if party == event.said.node else CLIENT
    return {
        "type": {"coding": [_coding(role)]},
        "who": {"identifier": {"system": system, "value": party}},
        "requestor": requestor,
        "network": {"address": base_url, "type": "5"} if own else {"address": party, "type": "1"},
    }


def _entities(event: Event, pattern: Pattern) -> list[dict[str, Any]]:
    entry, said = event.entry, event.said
    thing = _coding((_OBJECTS, "2", "System Object"))
    if pattern is QUERY:  # what was asked; of an erased question, what the ledger shows of it
        asked = event.payload if event.payload is not None else entry.commit.encode()
        query = b64encode(asked).decode()
        entities = [{"type": thing, "role": _coding((_ROLES, "24", "Query")), "query": query}]
    else:
        system, value = (MARK, entry.mark) if entry.mark else (ENTRY, entry.binds or entry.commit)
        if said.study:  # images that were looked at
            system, value = DICOM, f"urn:oid:{said.study}"
        role = ("3", "Report") if pattern is DISCLOSE else ("4", "Domain Resource")
        what = {"identifier": {"system": system, "value": value}}
        entities = [{"what": what, "type": thing, "role": _coding((_ROLES, *role))}]
    if said.person:
        person, patient = _coding((_OBJECTS, "1", "Person")), _coding((_ROLES, "1", "Patient"))
        who = {"type": "Patient", "identifier": {"system": PERSON, "value": said.person}}
        entities.append({"what": who, "type": person, "role": patient})
    if said.check:
        transaction = {"system": f"{_BALP}/CodeSystem/BasicAuditEntityType", "code": "XrequestId"}
        what = {"identifier": {"system": CHECK, "value": said.check}}
        entities.append({"what": what, "type": transaction})
    return entities


def _coding(coded: _Coded) -> dict[str, str]:
    system, code, display = coded
    return {"system": system, "code": code, "display": display}
