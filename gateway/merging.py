"""The same person and the same result from several nodes: shown once with every place it stands at, or side
by side where the places contradict each other. Nothing is ever put together out of two.

Two resources are of one thing where a strong identifier says so, and nothing weaker does: no name, no date of
birth, no local number.

- Patient: the number of a document (:data:`security.identity.SYSTEMS`).
- ImagingStudy: the Study Instance UID.
- everything else: system and value of an identifier that one institution gave, which the system names
  (``urn:lianren:report:<institution>``), or the performer of both, or the institution whose node it is. Of an
  Observation, code and time must be the same, too: one accession number may stand on every analyte of a
  sample, and on the same analyte of several hours.

They say the same where their contents are equal to the digit, apart from id, meta and text, from where
references lead, which is another place at every node, and from the local numbers of a Patient. Where they
say something else and no node shows both, they contradict each other; a node that shows both says that these
are two.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import msgspec
from msgspec import Raw, Struct

from adapters.fhir_read import INSTITUTION, REPORT, Head, Identifier
from adapters.fhir_time import reach
from security.errors import IdentityRefused
from security.identity import identifier_in

SUPERSEDING = frozenset({"amended", "corrected", "appended", "entered-in-error", "cancelled"})
"""The statuses (ObservationStatus, DiagnosticReportStatus) by which a resource says that it replaces what was
said before."""
CROWD = 20
"""How many contents one identifier may have that contradict each other (with more it identifies nothing), and
how many identifiers of a resource are looked at, the first ones."""
_APART = ("id", "meta", "text")

_Key = tuple[object, ...]


class Shown(Struct, frozen=True, gc=False):
    """A resource that a search shows: the key fields and bytes of it, the time that it is sorted by (POSIX
    seconds), the way to its node (``<node>``, ``<peer>/<node>``) and the one institution that this node
    speaks for, empty where that may be another."""

    head: Head
    raw: Raw
    at: float
    node: str
    institution: str = ""

    @property
    def place(self) -> str:
        """Its address below the service base."""
        return f"nodes/{self.node}/{self.head.resource_type}/{self.head.id}"


class Entry(Struct, frozen=True):
    """What is shown once: ``sources`` are the further places where the very same stands, ``conflicts`` those
    where the same result or person is said to be otherwise, each of which is a source or an entry, too."""

    shown: Shown
    sources: tuple[Shown, ...] = ()
    conflicts: tuple[Shown, ...] = ()


class _Said(Struct, frozen=True):
    """What a resource says: what it is known by, its content, whether it replaces what was said before, and
    of when that is."""

    keys: frozenset[_Key]
    content: bytes
    supersedes: bool
    issued: float


def merged(shown: Iterable[Shown]) -> list[Entry]:
    """Every resource once, the newest first; those that contradict each other one after the other, what says
    that it replaces the others before them.

    The order in which they are given changes nothing, and each of them is an entry or a source.
    """
    ordered = sorted(shown, key=_order)
    doubtful = _doubtful(ordered)
    if not doubtful:
        return [Entry(one) for one in ordered]
    said = {index: _said(ordered[index]) for index in doubtful}
    known: dict[_Key, list[int]] = defaultdict(list)
    for index in doubtful:
        for key in said[index].keys:
            known[key].append(index)
    same = _Sets(len(ordered))
    for members in known.values():
        first_of: dict[bytes, int] = {}
        record = next((index for index in members if not _listing(ordered[index])), members[0])
        for index in members:  # what an archive lists adds a place, and says nothing against the record
            content = said[record if _listing(ordered[index]) else index].content
            same.join(first_of.setdefault(content, index), index)
    against, beside = _contradictions(ordered, known.values(), same), _Sets(len(ordered))
    for one, others in against.items():
        for other in others:
            beside.join(one, other)
    members_of: dict[int, list[int]] = defaultdict(list)
    for index in range(len(ordered)):
        members_of[same.first(index)].append(index)
    for members in members_of.values():
        members.sort(key=lambda index: _listing(ordered[index]))

    def place(first: int) -> tuple[int, bool, float, int]:
        """Where an entry stands: beside those that it contradicts."""
        version = said.get(first)
        supersedes = version is not None and first in against and version.supersedes
        return beside.first(first), not supersedes, -version.issued if version and supersedes else 0.0, first

    return [
        Entry(
            ordered[members_of[first][0]],
            tuple(ordered[index] for index in members_of[first][1:]),
            tuple(ordered[index] for other in sorted(against.get(first, ())) for index in members_of[other]),
        )
        for first in sorted(members_of, key=place)
    ]


def _order(one: Shown) -> tuple[float, str, str, str]:
    return -one.at, one.node, one.head.resource_type, one.head.id


def _listing(one: Shown) -> bool:
    """Whether this is what an archive lists as a study (:mod:`adapters.dicomweb_fhir`): its id is its UID."""
    head = one.head
    return head.resource_type == "ImagingStudy" and any(
        identifier.value == f"urn:oid:{head.id}" for identifier in head.identifier[:CROWD]
    )


def _doubtful(ordered: Sequence[Shown]) -> list[int]:
    """Those that share an identifier with something at another node: all others stand for themselves."""
    places: dict[tuple[str, str, str], list[int]] = {}
    for index, one in enumerate(ordered):
        type_ = one.head.resource_type
        for identifier in one.head.identifier[:CROWD]:
            system, value = identifier.system, identifier.value
            if type_ == "Patient":
                system, value = _person(identifier)
            if system and value:
                places.setdefault((type_, system, value), []).append(index)
    found: set[int] = set()
    for members in places.values():
        if len(members) > 1 and len({ordered[index].node for index in members}) > 1:
            found.update(members)
    return sorted(found)


def _contradictions(
    ordered: Sequence[Shown], groups: Iterable[list[int]], same: _Sets
) -> dict[int, set[int]]:
    """Of those known by the same key, which say something else, by the first of those who say the same."""
    against: dict[int, set[int]] = defaultdict(set)
    for members in groups:
        nodes: dict[int, set[str]] = defaultdict(set)
        for index in members:
            nodes[same.first(index)].add(ordered[index].node)
        for one, other in combinations(nodes, 2) if len(nodes) <= CROWD else ():
            if not nodes[one] & nodes[other]:
                against[one].add(other)
                against[other].add(one)
    return against


class _Sets:
    """Disjoint sets of numbers, each named by its first."""

    def __init__(self, size: int) -> None:
        self._above = [*range(size)]

    def first(self, number: int) -> int:
        """The smallest number of the set that this one is in."""
        above = self._above
        while above[number] != number:
            above[number] = number = above[above[number]]
        return number

    def join(self, one: int, other: int) -> None:
        """Make one set of the two."""
        low, high = sorted((self.first(one), self.first(other)))
        self._above[high] = low


_DECODER = msgspec.json.Decoder(dict[str, Any], float_hook=lambda text: Raw(text.encode()))
_ENCODER = msgspec.json.Encoder(order="deterministic")


def _said(one: Shown) -> _Said:
    """Numbers keep their digits: 72.50 and 72.5 were measured otherwise. What cannot be read whole is known
    by nothing."""
    try:
        head, members = one.head, _DECODER.decode(one.raw)
    except msgspec.MsgspecError:
        return _Said(frozenset(), b"", False, 0.0)
    content = {name: _unplaced(value) for name, value in members.items() if name not in _APART}
    institution = _performing(members) or one.institution
    if head.resource_type == "Patient":
        persons = {_person(identifier) for identifier in head.identifier[:CROWD]} - {("", "")}
        keys: set[_Key] = {("Patient", *person) for person in persons}
        content["identifier"] = sorted(persons)
    else:
        keys = {
            (head.resource_type, issuer, identifier.system, identifier.value, *_told(head, members))
            for identifier in head.identifier[:CROWD]
            if identifier.system and identifier.value
            if (issuer := _issuer(head.resource_type, identifier, institution))
        }
    times = reach(head.issued)
    return _Said(
        frozenset(keys),
        _ENCODER.encode(content),
        str(members.get("status")) in SUPERSEDING,
        times[0] if times else 0.0,
    )


def _person(identifier: Identifier) -> tuple[str, str]:
    """System and canonical value of a person's number; empty for any other identifier."""
    try:
        person = identifier_in(identifier.system, identifier.value)
    except IdentityRefused:
        return "", ""
    return (person.system, person.value) if person else ("", "")


def _issuer(type_: str, identifier: Identifier, institution: str) -> str:
    """Who gave an identifier; empty where that is not known."""
    if identifier.system == "urn:dicom:uid" and type_ == "ImagingStudy":
        return "DICOM"
    return identifier.system.removeprefix(REPORT) if identifier.system.startswith(REPORT) else institution


def _told(head: Head, members: Mapping[str, Any]) -> tuple[object, ...]:
    """By what Observations of one number are told apart: what was observed, and when."""
    if head.resource_type != "Observation":
        return ()
    code = members.get("code")
    return _ENCODER.encode(code), reach(head.time("date"))


def _performing(members: Mapping[str, Any]) -> str:
    """The institution that is stated as performer, by its code."""
    performers = members.get("performer")
    for performer in performers if isinstance(performers, list) else ():
        identifier = performer.get("identifier") if isinstance(performer, dict) else None
        if isinstance(identifier, dict) and identifier.get("system") == INSTITUTION:
            return str(identifier.get("value", ""))
    return ""


def _unplaced(value: Any) -> Any:
    """The same with nothing but the type left of each literal reference out of the resource."""
    if isinstance(value, list):
        return [_unplaced(one) for one in value]
    if not isinstance(value, dict):
        return value
    held = {name: _unplaced(one) for name, one in value.items()}
    if isinstance(target := held.get("reference"), str) and target[:1] != "#":
        held["reference"] = target.split("/_history/")[0].rpartition("/")[0].rpartition("/")[2]
    return held
