"""A FHIR R4 server as a node: patient by number, then the patient's reports, observations and studies.

The questions are the plainest that R4 has, because servers differ in all others: POST ``_search`` with a form
body (a number in a URL ends in logs), ``patient=Patient/<id>`` (some servers do not know the bare id), one
date bound (some find nothing with two). Whatever the server made of them, the answer is checked here: each
Patient must carry the number that was asked for and each record must be that patient's, otherwise nothing of
the answer is used. A server that ignores search parameters and returns everybody is a fault, not a result.

Specimens are asked for only where a result refers to one, and a server that refuses that leaves them unknown.

DiagnosticReports are bounded by ``issued``, not by ``date``: ``date`` is the effective time, which a report
on images often leaves to the study, and servers do not find what has no value.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence

import msgspec
from msgspec import Raw, Struct

from adapters._asking import Heard, all_of, answer_of, bearer, heard, in_reach, ping_of
from adapters.errors import NodeError, NodeFaulty
from adapters.fhir_read import Patient, Unreadable, read, type_of
from adapters.fhir_records import Records
from adapters.fhir_results import Reader
from adapters.http import Line, Timeouts
from adapters.node import Answer, Question, Report
from mapping.sites import Reads
from recognition import SHANGHAI

MEDIA = "application/fhir+json"
COUNT = 200
MAX_PAGES = 50

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


class _Found(Struct, frozen=True):
    """The matches of one search, numbered in their order, what came along, the digests of the bytes."""

    resources: tuple[Raw, ...]
    included: tuple[Raw, ...]
    digests: tuple[bytes, ...]


class FhirNode:
    """One FHIR server; ``institution`` is whose results it holds where a record does not say."""

    kind = "fhir"

    def __init__(
        self,
        id: str,  # noqa: A002 - the protocol's word
        url: str,
        institution: str,
        normaliser: Callable[[], Reads],
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
        asked = [
            (patient, type_, [("patient", f"Patient/{patient.id}"), *bound])
            for patient in patients
            for type_, bound in searches
        ]
        founds = await all_of(self._search(type_, form) for _, type_, form in asked)
        records = Records(self._line.base_url, question.person)
        for (patient, type_, _), found in zip(asked, founds, strict=True):
            digests += found.digests
            for index, raw in enumerate(found.resources):
                records.take(patient, type_, index, raw)
        if records.lacks_specimens:
            for patient, type_, form in asked:
                if type_ == "Observation":
                    digests += await self._specimens(records, patient, form)
        reader = Reader(self.id, self.institution, self._normaliser())
        read_results = records.results(reader)
        if "lab" in question.kinds:
            records.note_lost(question.since)
        results = [r for r in read_results if r.kind in question.kinds and in_reach(r, question)]
        return heard(results, hashlib.sha256(b"".join(digests)).digest(), records.unreadable, "resources")

    async def _specimens(self, records: Records, patient: Patient, form: Form) -> tuple[bytes, ...]:
        """Ask again for the Specimens that the observations refer to; not every server knows how to."""
        try:
            found = await self._search("Observation", [*form, ("_include", "Observation:specimen")])
        except NodeError:
            return ()
        for raw in found.included:
            if type_of(raw) == "Specimen":
                records.take_specimen(patient, raw)
        return found.digests

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
        included: list[Raw] = []
        digests = []
        for _ in range(MAX_PAGES):
            digests.append(hashlib.sha256(body).digest())
            bundle = _searchset(body)
            matches = [entry.resource for entry in bundle.entry if entry.search.mode == "match"]
            if any(type_of(raw) not in (type_, "") for raw in matches):
                raise NodeFaulty(f"answered a search for {type_} with another type of resource")
            resources += matches
            included += [entry.resource for entry in bundle.entry if entry.search.mode == "include"]
            following = next((link.url for link in bundle.link if link.relation == "next"), "")
            if not following:
                return _Found(tuple(resources), tuple(included), tuple(digests))
            body = await self._line.get_json(self._line.below(following), accept=MEDIA)
        raise NodeFaulty(f"its answer to a search for {type_} goes on after {MAX_PAGES} pages")


def _searchset(body: bytes) -> _Bundle:
    try:
        bundle = msgspec.json.decode(body, type=_Bundle) if body else _Bundle("Bundle", "searchset")
    except (msgspec.MsgspecError, RecursionError):
        raise NodeFaulty("answered a search with something that is no Bundle") from None
    if (bundle.resource_type, bundle.type) != ("Bundle", "searchset"):
        raise NodeFaulty("answered a search with something that is no searchset Bundle")
    return bundle
