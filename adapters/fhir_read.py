"""From FHIR R4 resources to results: key fields only, values as they were written.

An Observation is one laboratory result. An ImagingStudy with its DiagnosticReport is one imaging result; its
images are counted by the archive later (``join.py``). Values stay bytes until they are text, so that "72.50"
and "<0.1" are what the hospital wrote. What is missing or odd is a flag on the result; a resource that is no
such resource raises :class:`Unreadable`, which the node counts and names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec
from msgspec import Raw, Struct

from adapters.fhir_time import moment
from mapping import LocalName, Named, Normaliser
from recognition import Images, Reading, Result
from recognition.model import ResultStatus

INSTITUTION = "urn:lianren:institution"
REPORT = "urn:lianren:report:"
PRINTED_MARK = "https://lianren.example/fhir/StructureDefinition/printed-mark"

# ObservationInterpretation (HL7 v3 code system): the codes that say "not normal".
ABNORMAL = frozenset({"A", "AA", "H", "HH", "HU", "HX", "L", "LL", "LU", "LX", "<", ">", "POS"})

# Objects that accompany the images of a study without being an examination of their own (PS3.3 C.7.3.1.1.1).
ACCOMPANYING = frozenset({"SR", "PR", "KO", "DOC", "SEG", "REG", "OT", "AU"})

_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_STATUS: dict[str, ResultStatus] = {
    "registered": "preliminary",
    "partial": "preliminary",
    "preliminary": "preliminary",
    "unknown": "preliminary",
    "final": "final",
    "amended": "amended",
    "appended": "amended",
    "corrected": "corrected",
    "cancelled": "cancelled",
    "entered-in-error": "entered-in-error",
}

T = TypeVar("T")


class Unreadable(Exception):
    """A resource that is not what its type says; carries no content."""


class Identifier(Struct, frozen=True):
    """FHIR Identifier."""

    system: str = ""
    value: str = ""


class Coding(Struct, frozen=True):
    """FHIR Coding."""

    system: str = ""
    code: str = ""
    display: str = ""


class Concept(Struct, frozen=True):
    """FHIR CodeableConcept."""

    coding: tuple[Coding, ...] = ()
    text: str = ""

    @property
    def name(self) -> str:
        """What a person would read: the text, else the first display."""
        return self.text or next((c.display for c in self.coding if c.display), "")


class Reference(Struct, frozen=True):
    """FHIR Reference."""

    reference: str = ""
    identifier: Identifier = Identifier()
    display: str = ""

    @property
    def local(self) -> str:
        """``Type/id`` of a relative or absolute literal reference, without a version."""
        parts = self.reference.split("/_history/")[0].split("/")
        return "/".join(parts[-2:])


class Extension(Struct, frozen=True, rename="camel"):
    """FHIR Extension with a string value."""

    url: str = ""
    value_string: str = ""


class Period(Struct, frozen=True):
    """FHIR Period."""

    start: str = ""
    end: str = ""


class Quantity(Struct, frozen=True):
    """FHIR Quantity; ``value`` is the number's own bytes."""

    value: Raw = Raw()
    comparator: str = ""
    unit: str = ""
    code: str = ""

    @property
    def written(self) -> str:
        """Comparator and number as they stand in the resource."""
        return self.comparator + number(self.value)


class Ratio(Struct, frozen=True):
    """FHIR Ratio: titres such as 1:80."""

    numerator: Quantity = Quantity()
    denominator: Quantity = Quantity()


class Patient(Struct, frozen=True):
    """The key fields of Patient."""

    id: str
    identifier: tuple[Identifier, ...] = ()


class Record(Struct, frozen=True, kw_only=True, rename="camel"):
    """What Observation, DiagnosticReport and ImagingStudy have in common."""

    id: str
    status: str = ""
    identifier: tuple[Identifier, ...] = ()
    subject: Reference = Reference()
    extension: tuple[Extension, ...] = ()
    performer: tuple[Reference, ...] = ()

    def institution(self) -> str:
        """The performing institution's code, empty where it is not said by identifier."""
        stated = (p.identifier.value for p in self.performer if p.identifier.system == INSTITUTION)
        return next(stated, "")

    def printed_mark(self) -> str:
        """The mark printed on this record, empty without one."""
        return next((e.value_string for e in self.extension if e.url == PRINTED_MARK), "")

    def version_key(self, institution: str) -> str:
        """Equal for two versions of one record: the report number, else any identifier, else the id."""
        numbers = [i for i in self.identifier if i.value]
        own = next((i.value for i in numbers if i.system == REPORT + institution), "")
        return own or next((f"{i.system}|{i.value}" for i in numbers), "") or self.id


class Observation(Record, frozen=True, kw_only=True, rename="camel"):
    """The key fields of Observation."""

    code: Concept = Concept()
    category: tuple[Concept, ...] = ()
    effective_date_time: str = ""
    effective_instant: str = ""
    effective_period: Period = Period()
    issued: str = ""
    specimen: Reference = Reference()
    interpretation: tuple[Concept, ...] = ()
    has_member: tuple[Reference, ...] = ()
    value_quantity: Quantity | None = None
    value_string: str = ""
    value_codeable_concept: Concept = Concept()
    value_integer: Raw = Raw()
    value_ratio: Ratio | None = None

    @property
    def value(self) -> tuple[str, str]:
        """Value and unit as written; empty where there is none of the forms read here."""
        if self.value_quantity:
            return self.value_quantity.written, self.value_quantity.unit or self.value_quantity.code
        if self.value_ratio:
            ratio = self.value_ratio
            return f"{ratio.numerator.written}:{ratio.denominator.written}", ratio.numerator.unit
        return self.value_string or self.value_codeable_concept.name or number(self.value_integer), ""


class DiagnosticReport(Record, frozen=True, kw_only=True, rename="camel"):
    """The key fields of DiagnosticReport."""

    code: Concept = Concept()
    category: tuple[Concept, ...] = ()
    effective_date_time: str = ""
    effective_period: Period = Period()
    issued: str = ""
    result: tuple[Reference, ...] = ()
    imaging_study: tuple[Reference, ...] = ()


class Series(Struct, frozen=True):
    """The modality of one series."""

    modality: Coding = Coding()


class ImagingStudy(Record, frozen=True, kw_only=True, rename="camel"):
    """The key fields of ImagingStudy."""

    modality: tuple[Coding, ...] = ()
    series: tuple[Series, ...] = ()
    started: str = ""
    description: str = ""
    number_of_instances: int | None = None

    @property
    def uid(self) -> str:
        """The DICOM Study Instance UID, empty without one."""
        uids = (i.value for i in self.identifier if i.system == "urn:dicom:uid")
        return next(uids, "").removeprefix("urn:oid:")


def number(raw: Raw) -> str:
    """A JSON number's own text.

    Raises:
        Unreadable: it is not a number.
    """
    text = bytes(raw)
    if text and not _NUMBER.fullmatch(text):
        raise Unreadable
    return text.decode()


def read(raw: Raw | bytes, type: type[T]) -> T:  # noqa: A002 - msgspec's own word
    """One resource's key fields.

    Raises:
        Unreadable: the resource does not have this form.
    """
    try:
        return msgspec.json.decode(raw, type=type)
    except (msgspec.MsgspecError, RecursionError):
        raise Unreadable from None


def single_modality(codes: Iterable[str]) -> str:
    """The one modality of an examination, or empty where there are several (PET/CT); CR and DX are DR."""
    found = {{"CR": "DR", "DX": "DR"}.get(c, c) for c in codes if c and c not in ACCOMPANYING}
    return found.pop() if len(found) == 1 else ""


def reading(named: Named) -> Reading:
    """What the decision needs of a reading."""
    return Reading(item=named.item, concept=named.target, reason=named.reason)


def mark_on_name(named: Named) -> str:
    """The mark inside a name, as it would be printed; empty without one, HR for a bare one or a star."""
    return "" if named.mark is None else f"{named.mark}HR"


class Reader:
    """Reads one node's resources: its id and institution go into the results."""

    def __init__(self, node: str, institution: str, normaliser: Normaliser) -> None:
        self._node = node
        self._institution = institution
        self._normaliser = normaliser

    def laboratory(self, observation: Observation, reports: Mapping[str, DiagnosticReport]) -> Result | None:
        """One laboratory result; None for the header of a panel, which has members and no value of its own.

        ``reports`` are by ``Observation/<id>`` of what they hold; they lend their mark and report time.

        Raises:
            Unreadable: the value is not of its type.
        """
        value, unit = observation.value
        if observation.has_member and not value:
            return None
        report = reports.get(f"Observation/{observation.id}")
        local = LocalName(name=observation.code.name, kind="lab", specimen=observation.specimen.display)
        named = self._normaliser.read(local)
        period = observation.effective_period
        performed, odd = moment(
            observation.effective_date_time or observation.effective_instant or period.end or period.start,
            "performed",
        )
        reported, odder = moment(observation.issued or (report.issued if report else ""), "reported")
        institution = observation.institution() or (report.institution() if report else "")
        status, unknown = _status(observation.status)
        return Result(
            id=f"{self._node}/Observation/{observation.id}",
            node=self._node,
            kind="lab",
            institution=institution or self._institution,
            local_name=local.name,
            reading=reading(named),
            identity="strong",
            status=status,
            performed=performed,
            reported=reported,
            version_key=observation.version_key(institution or self._institution),
            specimen=local.specimen,
            value=value,
            unit=unit,
            abnormal=any(c.code in ABNORMAL for i in observation.interpretation for c in i.coding),
            printed_mark=observation.printed_mark()
            or (report.printed_mark() if report else "")
            or mark_on_name(named),
            flags=_flags(odd, odder, unknown, () if institution else ("completeness:no-institution",)),
            source=f"Observation/{observation.id}",
        )

    def imaging(self, study: ImagingStudy | None, report: DiagnosticReport | None) -> Result:
        """One imaging result from a study, its report, or both.

        Without a report nobody has signed the examination off, so it is ``preliminary``. Without a study
        there are no images; whether there are is unknown where the report names a study that the node did
        not show. Name, number and mark are the report's where there is one.
        """
        own = self._named(report.code.name if report else "", study)
        other = self._named(study.description if study else "", study)
        first = own if own.name else other
        flags: tuple[str, ...] = ()
        if own.item and other.item and own.item != other.item:
            flags = ("consistency:name-on-study-and-report-differ",)
        stated_time = study.started if study else ""
        if not stated_time and report:
            stated_time = (
                report.effective_date_time or report.effective_period.end or report.effective_period.start
            )
        performed, odd = moment(stated_time, "performed")
        reported, odder = moment(report.issued if report else "", "reported")
        institution = report.institution() if report else ""
        status, unknown = _status(report.status) if report else ("preliminary", ())
        if study and study.status in ("cancelled", "entered-in-error"):
            status, unknown = _status(study.status)
        uid = study.uid if study else ""
        places = [f"DiagnosticReport/{report.id}"] if report else []
        if study and (not report or len(report.imaging_study) > 1):
            places.append(f"ImagingStudy/{study.id}")
        key = report.version_key(institution or self._institution) if report else ""
        unheard = study is None and report is not None and bool(report.imaging_study)
        return Result(
            id="/".join([self._node, *places]),
            node=self._node,
            kind="imaging",
            institution=institution or self._institution,
            local_name=first.name,
            reading=reading(first),
            identity="strong",
            status=status,
            performed=performed,
            reported=reported,
            version_key=f"{key}/{uid}" if key and len(places) > 1 else key or uid or places[0],
            study_uid=uid,
            images=Images(None, study.number_of_instances) if study else Images(None if unheard else 0),
            printed_mark=(report.printed_mark() if report else "") or mark_on_name(first),
            flags=_flags(
                flags,
                odd,
                odder,
                unknown,
                ("completeness:no-institution",) if report and not institution else (),
                ("completeness:no-study-uid",) if study and not uid else (),
                ("completeness:study-not-held",) if unheard else (),
            ),
            source="/".join(places),
        )

    def _named(self, name: str, study: ImagingStudy | None) -> Named:
        stated = (study.modality or tuple(s.modality for s in study.series)) if study else ()
        modality = single_modality(c.code for c in stated)
        return self._normaliser.read(LocalName(name=name, kind="imaging", modality=modality))


def _status(written: str) -> tuple[ResultStatus, tuple[str, ...]]:
    known = written in _STATUS and written != "unknown"
    return _STATUS.get(written, "preliminary"), () if known else ("completeness:no-status",)


def _flags(*found: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({flag for flags in found for flag in flags}))
