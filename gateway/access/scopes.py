"""What a client may do: scopes for FHIR types and for this gateway's own doors, and which door asks for what.

``system/<Type>.<letters>`` is SMART App Launch 2 (create, read, update, delete, search; ``*`` is every type);
its first version's ``read``, ``write`` and ``*`` count as ``rs``, ``cud`` and ``cruds``. ``lianren/<word>``
is a part of this gateway. :func:`needed` derives from method and path what a request needs, so that no route
can forget to ask. A role says what somebody is; a scope, how much of it this token may use.

An operation of FHIR counts as a search where it is of a type, and as a read where it is of one resource: what
they answer is something that was there. ``$check-recognition`` so is a search of ServiceRequest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from msgspec import Struct

from gateway.resources.values import STORED
from gateway.settings import Role

LETTERS = "cruds"
_FHIR = re.compile(r"system/([A-Z][A-Za-z]{1,63}|\*)\.(read|write|\*|c?r?u?d?s?)")
_OWN = re.compile(r"lianren/([a-z]{1,32})")
_FIRST_VERSION = {"read": "rs", "write": "cud", "*": LETTERS}
_METHODS = {"GET": "r", "POST": "c", "PUT": "u", "PATCH": "u", "DELETE": "d"}
_OPEN = " system/CodeSystem.rs system/ConceptMap.rs system/ValueSet.rs lianren/catalogue"

OF_ROLE: dict[Role, str] = {
    "his": "lianren/check lianren/consent lianren/mark lianren/statistics lianren/view system/Consent.crus"
    " system/DiagnosticReport.rs system/Endpoint.rs system/ImagingStudy.rs system/Observation.rs"
    " system/Organization.rs system/Patient.rs system/Practitioner.rs system/Provenance.rs"
    " system/ServiceRequest.rs system/Specimen.rs system/Subscription.cruds" + _OPEN,
    "auditor": "lianren/audit lianren/check lianren/conflict lianren/consent lianren/mark lianren/review"
    " lianren/statistics system/AuditEvent.rs system/Consent.rs system/Provenance.rs" + _OPEN,
    "steward": "lianren/check lianren/mark lianren/review lianren/statistics" + _OPEN,
    "operator": "lianren/conflict lianren/operate" + _OPEN,
    "peer": "lianren/results" + _OPEN,
    "publisher": " ".join(["lianren/publish", *(f"system/{type_}.cruds" for type_ in STORED)]) + _OPEN,
}
"""What a role is given where its client has no scopes of its own."""
DOORS = {
    "catalogues": "catalogue",
    "checks": "check",
    "conflicts": "conflict",
    "consents": "consent",
    "decisions": "check",
    "doctor": "operate",
    "explain": "check",
    "mappings": "review",
    "marks": "mark",
    "nodes": "operate",
    "publications": "publish",
    "reminders": "check",
    "resources": "results",
    "results": "results",
    "review": "review",
    "statistics": "statistics",
    "studies": "results",
    "viewings": "view",
    "withdrawals": "mark",
}
"""First word below ``/api/v1`` → word of the scope; what is not here is the operator's."""


class Scopes(Struct, frozen=True):
    """A set of scopes: words of this gateway, and FHIR types (or ``*``) with their letters."""

    words: frozenset[str]
    types: Mapping[str, str]

    @classmethod
    def read(cls, texts: Iterable[str]) -> Scopes:
        """Of scopes as they are written; what is none of the two kinds grants nothing."""
        words, types = set(), dict[str, str]()
        for text in texts:
            if own := _OWN.fullmatch(text):
                words.add(own[1])
            elif (fhir := _FHIR.fullmatch(text)) and fhir[2]:
                letters = _FIRST_VERSION.get(fhir[2], fhir[2])
                types[fhir[1]] = _in_order(types.get(fhir[1], "") + letters)
        return cls(frozenset(words), types)

    def within(self, held: Scopes) -> Scopes:
        """What of these is held: types and letters are narrowed, nothing is added."""
        types: dict[str, str] = {}
        for asked, letters in self.types.items():
            for type_, others in held.types.items():
                if "*" in (asked, type_) or asked == type_:
                    narrow = type_ if asked == "*" else asked
                    both = "".join(letter for letter in letters if letter in others)
                    if both:
                        types[narrow] = _in_order(types.get(narrow, "") + both)
        return Scopes(self.words & held.words, types)

    def permits(self, type_: str, letter: str) -> bool:
        """Whether an interaction (one of ``cruds``) with a FHIR type is among them."""
        return letter in self.types.get(type_, "") or letter in self.types.get("*", "")

    def __str__(self) -> str:
        """As OAuth writes them, in a fixed order."""
        own = [f"lianren/{word}" for word in sorted(self.words)]
        return " ".join([*own, *(f"system/{type_}.{self.types[type_]}" for type_ in sorted(self.types))])


def of_roles(roles: Iterable[Role]) -> Scopes:
    """What roles are given."""
    return Scopes.read(scope for role in roles for scope in OF_ROLE[role].split())


def understood(text: str) -> bool:
    """Whether a scope is of one of the two kinds."""
    return bool(_OWN.fullmatch(text) or ((fhir := _FHIR.fullmatch(text)) and fhir[2]))


@lru_cache(512)
def needed(method: str, path: str) -> tuple[str, str]:
    """What a request needs: a FHIR type with a letter, or a word of this gateway with none. Both are empty
    where the door itself asks: for each entry of a Bundle, and for a page, which is its client's."""
    parts = path.strip("/").split("/")
    if parts[0] == "fhir":
        return _interaction(method, parts[1:])
    if parts[0] == "dicomweb":  # to read, by the token of a viewing
        return "ImagingStudy", _METHODS.get(method, "r")
    if parts[0] == "cds-services":
        return "check", ""
    return DOORS.get(parts[2] if parts[:2] == ["api", "v1"] and len(parts) > 2 else "", "operate"), ""


def _interaction(method: str, below: list[str]) -> tuple[str, str]:
    """FHIR R4, http.html#summary; HEAD counts as GET. Nodes are service bases of their own."""
    if below[:1] == ["nodes"]:
        below = below[next((n for n, part in enumerate(below) if part[:1].isupper()), len(below)) :]
    type_, last = below[0] if below else "", below[-1] if below else ""
    if type_ in ("$export", "_export"):  # AuditEvents, and decisions beside them
        return "AuditEvent", "s"
    if type_[:1] in ("", "_"):
        return "", ""
    if last.startswith("$"):
        return type_, "r" if len(below) > 2 else "s"
    if last == "_search" or (method in ("GET", "HEAD") and len(below) < 2):
        return type_, "s"
    return type_, _METHODS.get(method, "r")


def _in_order(letters: str) -> str:
    return "".join(letter for letter in LETTERS if letter in letters)
