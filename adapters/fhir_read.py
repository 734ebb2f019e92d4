"""FHIR R4 resources as they are read: key fields only, values as they were written.

Values stay bytes until they are text, so that "72.50" and "<0.1" are what the hospital wrote. A resource that
is no such resource, or that says by a modifierExtension that it means something else (R4 section 2.4.0.2),
raises :class:`Unreadable`, which the node counts and names.

Some thousand of the small parts are read for one answer. None can hold itself, so the garbage collector does
not look at them (``gc=False``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeVar

import msgspec
from msgspec import Raw, Struct

INSTITUTION = "urn:lianren:institution"
REPORT = "urn:lianren:report:"
PRINTED_MARK = "https://lianren.example/fhir/StructureDefinition/printed-mark"

_ID = r"(?!\.{1,2}(?:/|\Z))[A-Za-z0-9\-.]{1,64}"  # but no step of a path
FHIR_ID = re.compile(_ID)

_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_LOCAL = re.compile(rf"([A-Za-z]+/{_ID})(?:/_history/{_ID})?")

T = TypeVar("T")


class Unreadable(Exception):
    """A resource that is not what its type says; carries no content."""


class Identifier(Struct, frozen=True, gc=False):
    """FHIR Identifier."""

    system: str = ""
    value: str = ""


class Coding(Struct, frozen=True, gc=False):
    """FHIR Coding."""

    system: str = ""
    code: str = ""
    display: str = ""


class Concept(Struct, frozen=True, gc=False):
    """FHIR CodeableConcept."""

    coding: tuple[Coding, ...] = ()
    text: str = ""

    @property
    def name(self) -> str:
        """What a person would read: the text, else the first display."""
        return self.text or next((c.display for c in self.coding if c.display), "")


class Reference(Struct, frozen=True, gc=False):
    """FHIR Reference."""

    reference: str = ""
    identifier: Identifier = Identifier()
    display: str = ""

    @property
    def local(self) -> str:
        """``Type/id`` of a relative or absolute literal reference, without a version."""
        parts = self.reference.split("/_history/")[0].split("/")
        return "/".join(parts[-2:])

    def below(self, base: str) -> str:
        """``Type/id`` of a literal reference into the server with this base URL; empty for any other."""
        found = _LOCAL.fullmatch(self.reference.removeprefix(f"{base}/"))
        return found[1] if found else ""


class Extension(Struct, frozen=True, rename="camel"):
    """FHIR Extension with a string value."""

    url: str = ""
    value_string: str = ""


class Period(Struct, frozen=True, gc=False):
    """FHIR Period."""

    start: str = ""
    end: str = ""


class Quantity(Struct, frozen=True):
    """FHIR Quantity; ``value`` is the number's own bytes."""

    value: Raw = Raw()
    comparator: str = ""
    unit: str = ""
    system: str = ""
    code: str = ""

    @property
    def written(self) -> str:
        """Comparator and number as they stand in the resource."""
        return self.comparator + number(self.value)


class ReferenceRange(Struct, frozen=True):
    """FHIR Observation.referenceRange: in words, or as bounds."""

    low: Quantity = Quantity()
    high: Quantity = Quantity()
    text: str = ""

    def written(self, unit: str) -> str:
        """The range in the hospital's words, else its bounds; a bound's unit where it is not ``unit``.

        A comparator stays as written: "<5.0" is exclusive. Bounds without one are inclusive (R4 Observation).
        """
        if self.text:
            return self.text.strip()
        low, high = (_bound(bound, unit) for bound in (self.low, self.high))
        if low and high and not self.low.comparator + self.high.comparator:
            return f"{low}–{high}"
        low = low if self.low.comparator or not low else f">={low}"
        high = high if self.high.comparator or not high else f"<={high}"
        return " ".join(bound for bound in (low, high) if bound)


class Ratio(Struct, frozen=True):
    """FHIR Ratio: titres such as 1:80."""

    numerator: Quantity = Quantity()
    denominator: Quantity = Quantity()


class _Typed(Struct, frozen=True, rename="camel"):
    resource_type: str


class Collection(Struct, frozen=True, rename="camel", gc=False):
    """FHIR Specimen.collection."""

    collected_date_time: str = ""
    collected_period: Period = Period()


class Meta(Struct, frozen=True, rename="camel", gc=False):
    """FHIR Meta: which version a resource is."""

    version_id: str = ""
    last_updated: str = ""


class Head(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """What a resource is, what it is known by, about whom, and of when."""

    resource_type: str
    id: str = ""
    identifier: tuple[Identifier, ...] = ()
    subject: Reference = Reference()
    category: tuple[Concept, ...] = ()
    effective_date_time: str = ""
    effective_instant: str = ""
    effective_period: Period = Period()
    issued: str = ""
    started: str = ""
    authored_on: str = ""
    collection: Collection = Collection()

    def time(self, parameter: str) -> str:
        """What a search by ``date``, ``issued``, ``started``, ``authored`` or ``collected`` looks at, as
        written: the end of a period. Nothing for any other."""
        match parameter:
            case "date":
                return self.effective_date_time or self.effective_instant or self.effective_period.end
            case "collected":
                return self.collection.collected_date_time or self.collection.collected_period.end
            case "issued":
                return self.issued
            case "started":
                return self.started
            case "authored":
                return self.authored_on
        return ""


class Key(Head, frozen=True, kw_only=True, rename="camel", gc=False):
    """The fields that a resource is found by."""

    status: str = ""
    gender: str = ""
    code: Concept = Concept()


class Resource(Struct, frozen=True, kw_only=True, rename="camel"):
    """What all resources have in common."""

    id: str
    identifier: tuple[Identifier, ...] = ()
    modifier_extension: tuple[Raw, ...] = ()


class Patient(Resource, frozen=True, kw_only=True, rename="camel"):
    """The key fields of Patient."""


class Specimen(Resource, frozen=True, kw_only=True, rename="camel"):
    """The key fields of Specimen."""

    subject: Reference = Reference()
    type: Concept = Concept()


class Record(Resource, frozen=True, kw_only=True, rename="camel"):
    """What Observation, DiagnosticReport and ImagingStudy have in common."""

    status: str = ""
    subject: Reference = Reference()
    contained: tuple[Raw, ...] = ()
    extension: tuple[Extension, ...] = ()
    performer: tuple[Reference, ...] = ()

    @property
    def bounded(self) -> str:
        """The time by which a node is asked for such records, as written: the end of a period."""
        return ""

    def institution(self) -> str:
        """The performing institution's code, empty where it is not said by identifier."""
        stated = (p.identifier.value for p in self.performer if p.identifier.system == INSTITUTION)
        return next(stated, "")

    def printed_mark(self) -> str:
        """The mark printed on this record, empty without one."""
        return next((e.value_string for e in self.extension if e.url == PRINTED_MARK), "")

    def number(self, institution: str) -> str:
        """The report number, else another identifier, with its system; empty without one."""
        numbers = sorted(f"{i.system}|{i.value}" for i in self.identifier if i.value)
        return next((n for n in numbers if n.startswith(f"{REPORT}{institution}|")), next(iter(numbers), ""))

    def contains(self, type_: str) -> Iterator[Raw]:
        """The contained resources of a type."""
        return (raw for raw in self.contained if type_of(raw) == type_)


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
    reference_range: tuple[ReferenceRange, ...] = ()
    has_member: tuple[Reference, ...] = ()
    value_quantity: Quantity | None = None
    value_string: str = ""
    value_codeable_concept: Concept = Concept()
    value_integer: Raw = Raw()
    value_ratio: Ratio | None = None
    data_absent_reason: Concept | None = None

    @property
    def bounded(self) -> str:
        """When it was examined; a period that did not end has no time."""
        return self.effective_date_time or self.effective_instant or self.effective_period.end

    @property
    def examined(self) -> str:
        """The sampling time as written: the end of a period."""
        period = self.effective_period
        return self.effective_date_time or self.effective_instant or period.end or period.start

    @property
    def value(self) -> tuple[str, str]:
        """Value and unit as written; empty where there is none of the forms read here."""
        if self.value_quantity:
            return self.value_quantity.written, self.value_quantity.unit or self.value_quantity.code
        if self.value_ratio:
            ratio = self.value_ratio
            return f"{ratio.numerator.written}:{ratio.denominator.written}", ratio.numerator.unit
        return self.value_string or self.value_codeable_concept.name or number(self.value_integer), ""

    @property
    def reference(self) -> str:
        """The reference range as written; all of them where there are several (by sex, age, phase)."""
        ranges = (stated.written(self.value[1]) for stated in self.reference_range)
        return "; ".join(written for written in ranges if written)


class DiagnosticReport(Record, frozen=True, kw_only=True, rename="camel"):
    """The key fields of DiagnosticReport."""

    code: Concept = Concept()
    category: tuple[Concept, ...] = ()
    effective_date_time: str = ""
    effective_period: Period = Period()
    issued: str = ""
    result: tuple[Reference, ...] = ()
    imaging_study: tuple[Reference, ...] = ()

    @property
    def bounded(self) -> str:
        """When it was issued."""
        return self.issued

    @property
    def examined(self) -> str:
        """The time of the examination as written: the end of a period."""
        return self.effective_date_time or self.effective_period.end or self.effective_period.start


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
    def bounded(self) -> str:
        """When it was started."""
        return self.started

    @property
    def uid(self) -> str:
        """The DICOM Study Instance UID, empty without one."""
        uids = (i.value for i in self.identifier if i.system == "urn:dicom:uid")
        return next(uids, "").removeprefix("urn:oid:")


def _bound(bound: Quantity, unit: str) -> str:
    if not number(bound.value):
        return ""
    named = bound.unit or bound.code
    return bound.written if named in ("", unit) else f"{bound.written} {named}"


def is_laboratory(record: Head | Observation) -> bool:
    """Whether the category of an Observation says so."""
    for concept in record.category:
        for coding in concept.coding:
            if coding.code == "laboratory":
                return True
    return False


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
        Unreadable: the resource does not have this form, or carries a modifierExtension.
    """
    try:
        found = msgspec.json.decode(raw, type=type)
    except (msgspec.MsgspecError, RecursionError):
        raise Unreadable from None
    if isinstance(found, Resource) and found.modifier_extension:
        raise Unreadable
    return found


def type_of(raw: Raw) -> str:
    """The resource's type; empty where it cannot be read, which is counted when the resource is."""
    try:
        return read(raw, _Typed).resource_type
    except Unreadable:
        return ""
