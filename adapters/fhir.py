"""A FHIR R4 server as a node: patient by number, then the patient's reports, observations and studies.

The questions are the plainest that R4 has, because servers differ in all others: POST ``_search`` with a form
body (a number in a URL ends in logs), ``patient=Patient/<id>`` (some servers do not know the bare id), one
date bound (some find nothing with two). Whatever the server made of them, the answer is checked here: each
Patient must carry the number that was asked for and each record must be that patient's, otherwise nothing of
the answer is used. A server that ignores search parameters and returns everybody is a fault, not a result.

DiagnosticReports are bounded by ``issued``, not by ``date``: ``date`` is the effective time, which a report
on images often leaves to the study, and servers do not find what has no value.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import ClassVar

import msgspec
from msgspec import Raw, Struct

from adapters._asking import Heard, all_of, answer_of, bearer, in_reach, ping_of, unreadable
from adapters.errors import NodeFaulty
from adapters.fhir_read import (
    DiagnosticReport,
    ImagingStudy,
    Observation,
    Patient,
    Reader,
    Record,
    Unreadable,
    read,
)
from adapters.fhir_time import moment
from adapters.http import Line, Timeouts
from adapters.node import Answer, Question, Report
from mapping import Normaliser
from recognition import SHANGHAI, Result

MEDIA = "application/fhir+json"
COUNT = 200
MAX_PAGES = 50

# HL7 table 0074, diagnostic service sections: those that make images.
_IMAGING = frozenset({"RAD", "RX", "CT", "NMR", "RUS", "CUS", "OUS", "VUS", "NMS", "XRC"})
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")

Form = Sequence[tuple[str, str]]


class _Search(Struct, frozen=True):
    mode: str = "match"


class _Entry(Struct, frozen=True):
    resource: Raw = Raw()
    search: _Search = _Search()


class _Link(Struct, frozen=True):
    relation: str = ""
    url: str = ""


class _Bundle(Struct, frozen=True, rename="camel"):
    resource_type: str
    type: str
    entry: tuple[_Entry, ...] = ()
    link: tuple[_Link, ...] = ()


class _Typed(Struct, frozen=True, rename="camel"):
    resource_type: str


class _Found(Struct, frozen=True):
    """The matches of one search, numbered in their order, and the bytes they came in."""

    resources: tuple[Raw, ...]
    digests: tuple[bytes, ...]


class FhirNode:
    """One FHIR server; ``institution`` is whose results it holds where a record does not say."""

    kind = "fhir"

    def __init__(
        self,
        id: str,  # noqa: A002 - the protocol's word
        url: str,
        institution: str,
        normaliser: Callable[[], Normaliser],
        *,
        timeout: float = 5.0,
        token: str = "",
    ) -> None:
        self.id = id
        self.institution = institution
        self._normaliser = normaliser
        self._timeout = timeout
        self._line = Line(url, timeout=Timeouts.within(timeout), headers=bearer(token))

    async def prior(self, question: Question) -> Answer:
        """Results of the person since ``question.since``; see :class:`adapters.node.Node`."""
        return await answer_of(self, question, self._timeout, self._ask(question))

    async def patient_numbers(self, question: Question, system: str) -> tuple[str, ...]:
        """The person's local numbers of one system (``urn:lianren:mrn:<institution>``), for an archive.

        Raises:
            NodeError: they could not be had.
        """
        patients, _ = await self._patients(question)
        numbers = {i.value for p in patients for i in p.identifier if i.system == system and i.value}
        return tuple(sorted(numbers))

    async def ping(self) -> Report:
        """Ask for the CapabilityStatement."""
        return await ping_of(self, self._line.get_json("metadata", accept=MEDIA))

    async def aclose(self) -> None:
        """Give back the connections."""
        await self._line.aclose()

    async def _ask(self, question: Question) -> Heard:
        patients, digests = await self._patients(question)
        since = question.since.astimezone(SHANGHAI).isoformat(timespec="seconds")
        searches: list[tuple[str, Form]] = []
        if patients:
            searches.append(("DiagnosticReport", [("issued", f"ge{since}")]))
        if patients and "lab" in question.kinds:
            searches.append(("Observation", [("category", "laboratory"), ("date", f"ge{since}")]))
        if patients and "imaging" in question.kinds:
            searches.append(("ImagingStudy", [("started", f"ge{since}")]))
        asked = [(patient, type_, bound) for patient in patients for type_, bound in searches]
        founds = await all_of(
            self._search(type_, [("patient", f"Patient/{patient.id}"), *bound])
            for patient, type_, bound in asked
        )
        reading = _Reading()
        for (patient, type_, _), found in zip(asked, founds, strict=True):
            digests += found.digests
            for index, raw in enumerate(found.resources):
                reading.take(patient.id, question.person.value, type_, index, raw)
        reader = Reader(self.id, self.institution, self._normaliser())
        read_results = reading.results(reader)
        results = tuple(r for r in read_results if r.kind in question.kinds and in_reach(r, question))
        detail, fault = unreadable(reading.unreadable, "resources")
        return Heard(
            results=results, digest=hashlib.sha256(b"".join(digests)).digest(), fault=fault, detail=detail
        )

    async def _patients(self, question: Question) -> tuple[list[Patient], tuple[bytes, ...]]:
        person = question.person
        found = await self._search("Patient", [("identifier", f"{person.system}|{person.value}")])
        patients = {}
        for raw in found.resources:
            try:
                patient = read(raw, Patient)
            except Unreadable:
                raise NodeFaulty("answered with a Patient that cannot be read") from None
            if not any(i.system == person.system and i.value == person.value for i in patient.identifier):
                raise NodeFaulty(
                    "answered with another person's resource: a Patient without the number asked"
                )
            if not _ID.fullmatch(patient.id):
                raise NodeFaulty("answered with a Patient whose id is no FHIR id")
            patients[patient.id] = patient
        return list(patients.values()), found.digests

    async def _search(self, type_: str, form: Form) -> _Found:
        body = await self._line.post_form(f"{type_}/_search", [*form, ("_count", str(COUNT))], accept=MEDIA)
        resources: list[Raw] = []
        digests = []
        for _ in range(MAX_PAGES):
            digests.append(hashlib.sha256(body).digest())
            bundle = _searchset(body)
            matches = [entry.resource for entry in bundle.entry if entry.search.mode == "match"]
            if any(_type_of(raw) not in (type_, None) for raw in matches):
                raise NodeFaulty(f"answered a search for {type_} with another type of resource")
            resources += matches
            following = next((link.url for link in bundle.link if link.relation == "next"), "")
            if not following:
                return _Found(tuple(resources), tuple(digests))
            body = await self._line.get_json(self._line.below(following), accept=MEDIA)
        raise NodeFaulty(f"its answer to a search for {type_} goes on after {MAX_PAGES} pages")


class _Reading:
    """Collects the records of one answer, and turns them into results when all are there."""

    _TYPES: ClassVar[dict[str, type[Record]]] = {
        "Observation": Observation,
        "DiagnosticReport": DiagnosticReport,
        "ImagingStudy": ImagingStudy,
    }

    def __init__(self) -> None:
        self.unreadable: list[str] = []
        self._places: dict[tuple[str, str], str] = {}
        self._records: dict[tuple[str, str], Record] = {}

    def take(self, patient: str, number: str, type_: str, index: int, raw: Raw) -> None:
        """Read one record; one that cannot be read is noted.

        Raises:
            NodeFaulty: it is about somebody else, or does not say about whom.
        """
        place = f"{type_}[{index}]"
        try:
            record = read(raw, self._TYPES[type_])
        except Unreadable:
            self.unreadable.append(place)
            return
        subject = record.subject
        if subject.local != f"Patient/{patient}" and not (number and subject.identifier.value == number):
            raise NodeFaulty(f"answered with another person's resource: {place} is about another subject")
        self._records[type_, record.id] = record
        self._places[type_, record.id] = place

    def results(self, reader: Reader) -> list[Result]:
        """Every result in what was taken; the order of the records does not matter."""
        reports = sorted((r for r in self._records.values() if isinstance(r, DiagnosticReport)), key=_issued)
        holding = {member.local: report for report in reports for member in report.result}
        studies = {f"ImagingStudy/{r.id}": r for r in self._records.values() if isinstance(r, ImagingStudy)}
        reported: dict[str, list[DiagnosticReport]] = defaultdict(list)
        results: list[Result | None] = []
        for report in reports:
            for reference in report.imaging_study:
                reported[reference.local].append(report)
            found = [r.local for r in report.imaging_study if r.local in studies]
            if not found and (report.imaging_study or _makes_images(report)):
                results.append(reader.imaging(None, report))
        for name, study in studies.items():
            versions: list[DiagnosticReport | None] = [*reported[name]]
            results += [reader.imaging(study, report) for report in versions or [None]]
        for record in self._records.values():
            if isinstance(record, Observation) and _is_laboratory(record):
                results.append(self._laboratory(reader, record, holding))
        return sorted((r for r in results if r), key=lambda result: result.id)

    def _laboratory(
        self, reader: Reader, record: Observation, holding: dict[str, DiagnosticReport]
    ) -> Result | None:
        try:
            return reader.laboratory(record, holding)
        except Unreadable:
            self.unreadable.append(self._places["Observation", record.id])
            return None


def _searchset(body: bytes) -> _Bundle:
    try:
        bundle = msgspec.json.decode(body, type=_Bundle) if body else _Bundle("Bundle", "searchset")
    except (msgspec.MsgspecError, RecursionError):
        raise NodeFaulty("answered a search with something that is no Bundle") from None
    if (bundle.resource_type, bundle.type) != ("Bundle", "searchset"):
        raise NodeFaulty("answered a search with something that is no searchset Bundle")
    return bundle


def _type_of(raw: Raw) -> str | None:
    try:
        return read(raw, _Typed).resource_type
    except Unreadable:
        return None  # counted when its record is read


def _issued(report: DiagnosticReport) -> tuple[datetime, str]:
    return moment(report.issued, "reported")[0] or datetime.min.replace(tzinfo=UTC), report.id


def _is_laboratory(record: Observation) -> bool:
    return any(coding.code == "laboratory" for concept in record.category for coding in concept.coding)


def _makes_images(report: DiagnosticReport) -> bool:
    return any(coding.code in _IMAGING for concept in report.category for coding in concept.coding)
