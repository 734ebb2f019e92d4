"""The records of one FHIR answer: whose they are, what belongs together, what was not read or not shown.

A record is the person's when its subject is the Patient of this server, or carries the number that was asked
for; where it says both, both must be so. One that lies before the time asked for was not found by the search
that asked for it; it is left out, as is one that stands twice and differs.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from typing import ClassVar, TypeVar

from msgspec import Raw

from adapters.errors import NodeFaulty
from adapters.fhir_read import (
    DiagnosticReport,
    ImagingStudy,
    Observation,
    Patient,
    Record,
    Reference,
    Specimen,
    Unreadable,
    is_laboratory,
    read,
)
from adapters.fhir_results import Reader, specimen_of
from adapters.fhir_time import before, moment
from recognition import Result
from security.identity import Identifier

# HL7 table 0074, diagnostic service sections: those that make images, and those of the laboratory.
_IMAGING = frozenset({"RAD", "RX", "CT", "NMR", "RUS", "CUS", "OUS", "VUS", "NMS", "XRC"})
_LABORATORY = frozenset(
    {"laboratory", "LAB", "BG", "BLB", "CH", "HM", "IMM", "MB", "MCB", "MYC", "SR", "TX", "URN", "VR"}
)


R = TypeVar("R", bound=Record)


class Records:
    """Collects the records of one person at the server ``base``, and turns them into results at the end.

    What is left out is named by its place: in ``unreadable``, and in ``past`` what lies before ``since``, if
    that is given.
    """

    _TYPES: ClassVar[dict[str, type[Record]]] = {
        "Observation": Observation,
        "DiagnosticReport": DiagnosticReport,
        "ImagingStudy": ImagingStudy,
    }

    def __init__(self, base: str, person: Identifier, since: datetime | None = None) -> None:
        self.unreadable: list[str] = []
        self.past: list[str] = []
        self._since = since
        self._base = base
        self._person = person
        self._places: dict[tuple[str, str], str] = {}
        self._records: dict[tuple[str, str], Record] = {}
        self._specimens: dict[str, Specimen] = {}

    def take(self, patient: Patient, type_: str, index: int, raw: Raw) -> None:
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
        self._check_subject(record.subject, patient, place)
        if self._since and before(record.bounded, self._since):
            self.past.append(place)
            return
        name = type_, record.id
        if self._records.setdefault(name, record) != record:
            self.unreadable.append(place)
            return
        self._places.setdefault(name, place)

    def take_specimen(self, patient: Patient, raw: Raw) -> None:
        """Read one included Specimen; without a readable one the specimen stays unknown.

        Raises:
            NodeFaulty: it is somebody else's.
        """
        try:
            specimen = read(raw, Specimen)
        except Unreadable:
            return
        if specimen.subject != Reference():
            self._check_subject(specimen.subject, patient, "a Specimen")
        self._specimens[f"Specimen/{specimen.id}"] = specimen

    @property
    def lacks_specimens(self) -> bool:
        """Whether a laboratory result refers to a Specimen that was not taken."""
        referred = (r.specimen.below(self._base) for r in self._of(Observation) if is_laboratory(r))
        return any(name and name not in self._specimens for name in referred)

    def results(self, reader: Reader) -> list[Result]:
        """Every result in what was taken; the order of the records does not matter."""
        reports = sorted(self._of(DiagnosticReport), key=_issued)
        studies = {f"ImagingStudy/{study.id}": study for study in self._of(ImagingStudy)}
        reported: dict[str, list[DiagnosticReport]] = defaultdict(list)
        holding: dict[str, list[DiagnosticReport]] = defaultdict(list)
        results: list[Result | None] = []
        for report in reports:
            for member in self._led_to(report):
                holding[member].append(report)
            named = [reference.below(self._base) for reference in report.imaging_study]
            for name in named:
                reported[name].append(report)
            if not studies.keys() & named and (named or _sections(report) & _IMAGING):
                results.append(reader.imaging(None, report))
        for name, study in studies.items():
            versions: list[DiagnosticReport | None] = [*reported[name]]
            results += [reader.imaging(study, report) for report in versions or [None]]
        for record in self._of(Observation):
            if is_laboratory(record):
                results.append(self._laboratory(reader, record, holding[f"Observation/{record.id}"]))
        return sorted((r for r in results if r), key=lambda result: result.id)

    def note_lost(self, since: datetime) -> None:
        """Note the laboratory reports of the time asked for whose results were not shown."""
        for report in self._of(DiagnosticReport):
            examined, _ = moment(report.examined, "performed")
            past = examined is not None and examined < since
            retracted = report.status in ("cancelled", "entered-in-error")
            if not past and not retracted and _sections(report) & _LABORATORY and self._lacks_results(report):
                self.unreadable.append(self._places["DiagnosticReport", report.id])

    def _lacks_results(self, report: DiagnosticReport) -> bool:
        shown = {f"Observation/{record.id}" for record in self._of(Observation)}
        return not self._led_to(report) <= shown or any(report.contains("Observation"))

    def _led_to(self, report: DiagnosticReport) -> set[str]:
        """``Observation/<id>`` of what a report holds, and of what the panels among that hold."""
        left, found = [*report.result], set[str]()
        while left:
            name = left.pop().below(self._base)
            if name not in found and name.partition("/")[0] in ("", "Observation"):
                found.add(name)
                held = self._records.get(("Observation", name.removeprefix("Observation/")))
                left += held.has_member if isinstance(held, Observation) else ()
        return found

    def _laboratory(
        self, reader: Reader, record: Observation, reports: list[DiagnosticReport]
    ) -> Result | None:
        try:
            return reader.laboratory(record, reports, specimen_of(record, self._specimens, self._base))
        except Unreadable:
            self.unreadable.append(self._places["Observation", record.id])
            return None

    def _check_subject(self, subject: Reference, patient: Patient, place: str) -> None:
        check_subject(subject, patient, self._person, self._base, place)

    def _of(self, type_: type[R]) -> list[R]:
        return [record for record in self._records.values() if isinstance(record, type_)]


def check_subject(subject: Reference, patient: Patient, person: Identifier, base: str, place: str) -> None:
    """Whether a record at the server ``base`` is about the person, who is this Patient there.

    Raises:
        NodeFaulty: it is about somebody else, or does not say about whom.
    """
    number = subject.identifier
    own = (number.system, number.value) == (person.system, person.value)
    local = number.system != person.system and number in patient.identifier
    theirs = subject.below(base) == f"Patient/{patient.id}" and (own or local or not number.value)
    if not (theirs if subject.reference else own):
        raise NodeFaulty(f"answered with another person's resource: {place} is about another subject")


def _issued(report: DiagnosticReport) -> tuple[datetime, str]:
    return moment(report.issued, "reported")[0] or datetime.min.replace(tzinfo=UTC), report.id


def _sections(report: DiagnosticReport) -> set[str]:
    return {coding.code for concept in report.category for coding in concept.coding}
