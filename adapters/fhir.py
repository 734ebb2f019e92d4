"""A FHIR R4 server as a node: patient by number, then the patient's reports, observations and studies.

Whatever the server made of a search (:mod:`adapters.fhir_search`), the answer is checked here: each Patient
must carry the number that was asked for and each record must be that patient's, otherwise nothing of the
answer is used. A server that ignores search parameters and returns everybody is a fault, not a result. A
record that lies before the time asked for is left out and named, unless the server was not told that time.

Specimens are asked for only where a result refers to one, and a server that refuses that leaves them unknown.

DiagnosticReports are bounded by ``issued``, not by ``date``: ``date`` is the effective time, which a report
on images often leaves to the study, and servers do not find what has no value.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar
from urllib.parse import urlencode

import msgspec
from msgspec import Raw

from adapters._asking import Heard, all_of, answer_of, bearer, heard, in_reach, ping_of
from adapters._patients import Known, Patients
from adapters.errors import NodeError, NodeFaulty, NodeRefused
from adapters.fhir_copies import Copies, stated_in
from adapters.fhir_matching import Matching
from adapters.fhir_read import FHIR_ID, Patient, Unreadable, read, type_of
from adapters.fhir_records import Records
from adapters.fhir_results import Reader
from adapters.fhir_search import BOUNDED, MEDIA, Dialect, Found, Searcher, check_types
from adapters.http import Line
from adapters.node import Answer, Copy, Question, Report
from adapters.transport import Timeouts
from mapping.sites import Reads
from security.identity import Identifier

_BOUNDS = {"DiagnosticReport": "issued", "Observation": "date", "ImagingStudy": "started"}

T = TypeVar("T")


class FhirNode:
    """One FHIR server; ``institution`` is whose results it holds where a record does not say.

    Args:
        timeout: seconds for one question.
        token: bearer token for the server.
        charset: of its answers, where they do not say.
        dialect: how it differs from what FHIR servers commonly understand.
        line: the way to it, where more is to be said of that than address, time, token and charset.
    """

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
        charset: str = "utf-8",
        dialect: Dialect = Dialect(),  # noqa: B008 - frozen
        line: Line | None = None,
    ) -> None:
        self.id = id
        self.institution = institution
        self._normaliser = normaliser
        self._timeout = timeout
        self._dialect = dialect
        self._line = line or Line(
            url, timeout=Timeouts.within(timeout), headers=bearer(token), charset=charset
        )
        self._searcher = Searcher(self._line, dialect)
        self._reading = Copies(self._line)
        self._patients = Patients(self._look_up)

    async def prior(self, question: Question) -> Answer:
        """Results of the person since ``question.since``; see :class:`adapters.node.Node`."""
        return await answer_of(
            self, question, self._timeout, self._known(question, lambda k: self._results(question, k))
        )

    async def search(self, question: Question, type_: str, bound: str) -> Answer:
        """The person's resources of a type as ``matches``: those since ``question.since``, by the parameter
        ``bound`` (:meth:`adapters.fhir_read.Head.time` lists them; empty for a type without a time). As
        :meth:`prior` it never raises for the server's failures.
        """
        return await answer_of(
            self,
            question,
            self._timeout,
            self._known(question, lambda k: self._matches(question, k, type_, bound)),
        )

    async def read(
        self, question: Question, type_: str, id_: str, version: str = "", *, whose: bool = True
    ) -> Answer:
        """One resource as ``copy``, in that version or as it is now; ``empty`` where there is none. With
        ``whose``, the Patient it is about is read, too, and says whose it is. It never raises for the
        server's failures.
        """
        return await answer_of(
            self, question, self._timeout, self._reading.heard(type_, id_, version, whose=whose)
        )

    async def patient_numbers(self, question: Question, system: str) -> tuple[str, ...]:
        """The person's local numbers of one system (``urn:lianren:mrn:<institution>``), for an archive.

        Raises:
            NodeError: they could not be had.
        """
        known, _ = await self._patients.of(question)
        numbers = {i.value for p in known.patients for i in p.identifier if i.system == system and i.value}
        return tuple(sorted(numbers))

    async def holder(self, question: Question, system: str, number: str) -> Answer:
        """Whose a local number of one system is: what else its holder is known by, in ``copy``; ``empty``
        where that is nobody, or cannot be told. It never raises for the server's failures.
        """
        return await answer_of(self, question, self._timeout, self._holder(system, number))

    async def whose(self, system: str, number: str) -> tuple[Identifier, ...]:
        """Whose a local number is: the person's numbers, the strongest first; none where nobody can say, or
        of several Patients with it one is another than the others.

        Raises:
            NodeError: it could not be asked.
        """
        known = await self._look_up(Identifier("", system, number))
        told = await all_of(self._named(patient.id) for patient in known.patients)
        return told[0] if len({*told}) == 1 else ()

    def forget(self, pseudonyms: Sequence[str]) -> None:
        """Look up anew who these persons are here."""
        self._patients.forget(pseudonyms)

    async def ping(self) -> Report:
        """Ask for the CapabilityStatement."""
        return await ping_of(self, self._line.get_json("metadata", accept=MEDIA))

    async def aclose(self) -> None:
        """Give back the connections."""
        await self._patients.aclose()
        await self._line.aclose()

    async def _known(self, question: Question, ask: Callable[[Known], Awaitable[T]]) -> T:
        """Ask about whom the person is known to be here; where that was remembered and the node contradicts,
        once more about whom it is now."""
        known, remembered = await self._patients.of(question)
        try:
            return await ask(known)
        except (NodeFaulty, NodeRefused):
            if not remembered:
                raise
        known, _ = await self._patients.of(question, anew=True)
        return await ask(known)

    async def _results(self, question: Question, known: Known) -> Heard:
        types = ["DiagnosticReport"]
        types += ["Observation"] if "lab" in question.kinds else []
        types += ["ImagingStudy"] if "imaging" in question.kinds else []
        asked = [(patient, type_) for patient in known.patients for type_ in types]
        founds = await all_of(self._find(question, *each, _BOUNDS[each[1]]) for each in asked)
        digests = list(known.digests)
        records = Records(self._line.base_url, question.person, question.since)
        for (patient, type_), found in zip(asked, founds, strict=True):
            digests += map(_digest, found.pages)
            check_types(type_, found.resources)
            for index, raw in enumerate(found.resources):
                records.take(patient, type_, index, raw)
        if records.lacks_specimens and self._dialect.specimens:
            for patient in known.patients:
                digests += await self._specimens(records, patient, question)
        results = records.results(Reader(self.id, self.institution, self._normaliser()))
        if "lab" in question.kinds:
            records.note_lost(question.since)
        return heard(
            [r for r in results if r.kind in question.kinds and in_reach(r, question)],
            hashlib.sha256(b"".join(digests)).digest(),
            records.unreadable,
            "resources",
            past=records.past if self._dialect.since else (),
        )

    async def _matches(self, question: Question, known: Known, type_: str, bound: str) -> Heard:
        matching = Matching(question, type_, bound, self._line.base_url)
        if type_ == "Patient":  # as they are now: what is remembered of them is without their bytes
            founds = await all_of(self._reading.raw("Patient", patient.id) for patient in known.patients)
            for patient, raw in zip(known.patients, founds, strict=True):
                matching.take(patient, [Raw(raw)] if raw else [])
            return matching.heard(bounded=False)
        pages = await all_of(self._find(question, patient, type_, bound) for patient in known.patients)
        for patient, found in zip(known.patients, pages, strict=True):
            matching.take(patient, found.resources)
        return matching.heard(bounded=self._dialect.since and type_ in BOUNDED)

    async def _find(self, question: Question, patient: Patient, type_: str, bound: str) -> Found:
        form = self._searcher.form(type_, patient, bound, question.since)
        return await self._searcher.find(type_, form)

    async def _specimens(self, records: Records, patient: Patient, question: Question) -> Sequence[bytes]:
        """Ask again for the Specimens that the observations refer to; not every server knows how to."""
        form = self._searcher.form("Observation", patient, "date", question.since)
        try:
            found = await self._searcher.find("Observation", f"{form}&_include=Observation%3Aspecimen")
        except NodeError:
            return ()
        for raw in found.included:
            if type_of(raw) == "Specimen":
                records.take_specimen(patient, raw)
        return [*map(_digest, found.pages)]

    async def _holder(self, system: str, number: str) -> Heard:
        whose = await self.whose(system, number)
        return Heard(copy=Copy(raw=b"", whose=whose)) if whose else Heard()

    async def _named(self, id_: str) -> tuple[Identifier, ...]:
        """By which numbers of documents a Patient is known."""
        raw = await self._reading.raw("Patient", id_)
        stated = stated_in(raw, "Patient", id_) if raw else None
        return stated.named if stated and not stated.modifier_extension else ()

    async def _look_up(self, person: Identifier) -> Known:
        found = await self._searcher.find(
            "Patient", urlencode({"identifier": f"{person.system}|{person.value}"})
        )
        check_types("Patient", found.resources)
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
            if not FHIR_ID.fullmatch(patient.id):
                raise NodeFaulty("answered with a Patient whose id is no FHIR id")
            others = tuple(i for i in patient.identifier if i.system != person.system)
            patients[patient.id] = msgspec.structs.replace(patient, identifier=others)
        return Known(tuple(patients.values()), tuple(map(_digest, found.pages)))


def _digest(page: bytes) -> bytes:
    return hashlib.sha256(page).digest()
