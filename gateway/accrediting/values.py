"""What an accreditation is given, and what it comes to: plain values, none of them about a person."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from catalog import Kind
from gateway.errors import BadRequest
from gateway.settings import NodeSettings
from security.errors import IdentityRefused
from security.identity import Identifier, identifier

Text = Annotated[str, Meta(max_length=200)]
State = Literal["passed", "advice", "fix", "not_made"]


class ExpectedIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One result that the owner knows to be in the node; what is left out is not compared."""

    kind: Kind
    name: Text
    performed: Annotated[datetime, Meta(tz=True)] | None = None
    value: Text = ""
    unit: Text = ""
    study_uid: Text = ""
    images: Annotated[int, Meta(ge=0)] | None = None


class NumberIn(Struct, frozen=True, forbid_unknown_fields=True):
    """A person's number and its type, as in a check."""

    type: Text
    value: Text


class PatientIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A synthetic patient of the owner: number, name, results; ``local`` is the number in the archive, for
    one whose FHIR node is not at hand."""

    type: Text
    value: Text
    name: Text = ""
    local: Text = ""
    results: Annotated[tuple[ExpectedIn, ...], Meta(max_length=500)] = ()


class PatientsIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file: patients that the node holds, and numbers that it does not know."""

    patients: Annotated[tuple[PatientIn, ...], Meta(min_length=1, max_length=100)]
    unknown: Annotated[tuple[NumberIn, ...], Meta(max_length=100)] = ()


class Patient(Struct, frozen=True):
    """A patient, read."""

    person: Identifier
    said: PatientIn


class Patients(Struct, frozen=True):
    """Everybody that the node is asked about."""

    known: tuple[Patient, ...]
    unknown: tuple[Identifier, ...]


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that was looked at, in Chinese and English; where it is not passed, what to do.

    ``fix`` stands in the way, ``advice`` does not; ``not_made`` where there was nothing to look at. ``seen``
    are counts, places, names of examinations and sentences of this gateway's own making.
    """

    id: str
    state: State
    zh: str
    en: str
    seen: str = ""
    fix_zh: str = ""
    fix_en: str = ""


class Latency(Struct, frozen=True, kw_only=True):
    """How long questions took, in milliseconds; ``limit_ms`` is what the node is given for one."""

    questions: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    most_ms: float
    limit_ms: int


class About(Struct, frozen=True, kw_only=True):
    """Which node: its settings as far as they describe it, and what it says it runs."""

    id: str
    kind: str
    institution: str
    url: str
    software: str


class Report(Struct, frozen=True, kw_only=True):
    """The result of one accreditation; it holds no person's name, number or value."""

    type: Literal["accreditation"]
    made: datetime
    gateway: str
    program: str
    catalogue: str
    node: About
    patients: int
    results: int
    passed: bool
    findings: tuple[Finding, ...]
    latency: Latency | None = None


class Signed(Struct, frozen=True):
    """A report with a detached JWS (RFC 7515 appendix F) over its canonical JSON (RFC 8785)."""

    report: Report
    signature: str


def read_patients(data: bytes) -> Patients:
    """The patients file.

    Raises:
        BadRequest: naming the field that is wrong, without repeating it.
    """
    try:
        said = msgspec.json.decode(data, type=PatientsIn)
    except (msgspec.MsgspecError, UnicodeError) as wrong:
        raise BadRequest(f"the patients file: {wrong}", field="patients") from None
    known = tuple(
        Patient(_number(one.type, one.value, f"patients[{place}]"), one)
        for place, one in enumerate(said.patients)
    )
    unknown = tuple(
        _number(one.type, one.value, f"unknown[{place}]") for place, one in enumerate(said.unknown)
    )
    if len({one.person for one in known} | set(unknown)) < len(known) + len(unknown):
        raise BadRequest("the patients file: a number stands there twice", field="patients")
    return Patients(known, unknown)


def about(settings: NodeSettings, software: str) -> About:
    """What a report says of its node."""
    return About(
        id=settings.id,
        kind=settings.kind,
        institution=settings.institution,
        url=settings.url,
        software=software,
    )


def _number(type_: str, value: str, place: str) -> Identifier:
    try:
        return identifier(type_, value)
    except IdentityRefused as refused:
        raise BadRequest(f"the patients file: {place}: {refused}", field=place) from None
