"""From evaluation results to qualifications: external assessment (室间质评) and imaging quality control.

An *event* is one institution's result for one item in one round. What follows from it:

* Its score is acceptable results ÷ all results × 100; who does not take part scores 0.
* It is satisfactory from 80 %, for blood typing at 100 %. Both are general knowledge and were read in no
  standard (policy facts §4.1), so they are a parameter, and an event may carry its organiser's own.
* Two unsatisfactory events of three consecutive ones are *unsuccessful* (不成功; read in exam material only).
  It stays so until the last three hold fewer than two.
* A qualification begins on the day of a satisfactory event, unless that is still unsuccessful. It lasts as
  long as the organiser said, else a year, and every further one prolongs it (derived; three rounds a year are
  preferred). An unsatisfactory or unsuccessful event suspends it from its day on, with the reason, and the
  next that counts begins another.
* Internal quality control (室内质控) qualifies nobody. An unsatisfactory round of it suspends what the
  external ones gave for the same item, until one is satisfactory.
* The level gives the scope: national the whole country, provincial the institution's province and so on; an
  agreement names its own (marks of the 2022 rules, press text). Items are judged one by one, so that a
  laboratory may be qualified for some of them, as in 京津冀.

A decision asks what held on the day of an examination; the records answer that for every day, past ones too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import groupby
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from catalog import Catalogue, Finding, Level, Qualification
from catalog._tables import Row, Table, read_sheet
from quality.errors import EventsRefused
from recognition import SHANGHAI

BLOOD_TYPING = frozenset({"ABO", "RHD"})
"""The analytes of which every result has to be right."""
_WORDS = {"eqa": "室间质评", "iqc": "室内质控", "imaging-qc": "影像质控"}
_AREA: dict[Level, str] = {
    "national": "nation",
    "provincial": "province",
    "prefecture": "city",
    "district": "district",
}


class Event(Struct, frozen=True, kw_only=True):
    """One institution's result for one item in one round; its fields are the columns of the table.

    ``item`` is an item's code, or for imaging a pattern of the catalogue (``group:ct``). Either ``samples``
    and ``acceptable`` (empty: it did not take part) or ``score`` in per cent is given. ``required``: the per
    cent that this organiser asks for. ``scope``: where the level does not give it. ``valid_to``: the last day
    that the organiser grants.
    """

    id: str
    institution: str
    item: str
    kind: Literal["eqa", "iqc", "imaging-qc"]
    day: date
    samples: int
    acceptable: int
    score: str
    required: str
    level: Level
    scope: str
    organiser: str
    batch: str
    valid_to: date | None
    source: str


class Criteria(Struct, frozen=True, kw_only=True):
    """What counts as satisfactory (per cent), as unsuccessful, and how long a round counts.

    ``source`` says where they were read; put in the organiser's own where they differ.
    """

    satisfactory: Fraction = Fraction(80)
    blood_typing: Fraction = Fraction(100)
    unsatisfactory: int = 2
    of_consecutive: int = 3
    days: int = 365
    source: str = (
        "80 % and 100 % for blood typing: general knowledge, unverified; two of three: exam material, seen in"
        " the press; a year: derived"
    )


UNVERIFIED = Criteria()
"""The criteria where an organiser's own are not known."""

COLUMNS = Table(
    "events.csv",
    Event,
    ("id",),
    ("samples", "acceptable", "score", "required", "scope", "batch", "valid_to"),
)


def read_events(data: bytes, file: str, catalogue: Catalogue) -> list[Event]:
    """The events of a CSV.

    Raises:
        EventsRefused: with a finding for every cell to mend.
    """
    findings: list[Finding] = []
    sheet = read_sheet(data, replace(COLUMNS, file=file), "", "", findings)
    for row in sheet.rows:
        findings.extend(sheet.finding(row, column, words) for column, words in _faults(row, catalogue))
    if findings:
        raise EventsRefused(tuple(sorted(findings, key=lambda finding: finding.row)))
    return [row.value for row in sheet.rows]


def score(event: Event) -> Fraction:
    """What the event scored, 0 to 100, exactly: acceptable ÷ all × 100; 0 for one without samples."""
    if event.score:
        return Fraction(Decimal(event.score))
    return Fraction(100 * event.acceptable, event.samples) if event.samples else Fraction(0)


def satisfactory(event: Event, catalogue: Catalogue, criteria: Criteria = UNVERIFIED) -> bool:
    """Whether the event reached what its organiser, or else the criteria, ask for."""
    if event.required:
        return score(event) >= Fraction(Decimal(event.required))
    item = catalogue.items.get(event.item)
    typing = item is not None and item.concept.partition("|")[0] in BLOOD_TYPING
    return score(event) >= (criteria.blood_typing if typing else criteria.satisfactory)


def qualifications_from(
    events: Iterable[Event], catalogue: Catalogue, criteria: Criteria = UNVERIFIED
) -> list[Qualification]:
    """The qualification records that follow from these events, in order; items with one fate share a record.

    Raises:
        EventsRefused: an event's level gives no scope, and it names none.
        UnknownEntry: an institution is not in the catalogue.
    """
    listed = sorted(events, key=lambda event: (event.day, event.id))
    rounds = [event for event in listed if event.kind != "iqc"]
    fates: dict[Qualification, list[str]] = {}
    for series in dict.fromkeys(map(_series, rounds)):
        own = [
            event
            for event in listed
            if (_series(event) == series if event.kind != "iqc" else _about(event) == series[:2])
        ]
        for record in _records(own, catalogue, criteria):
            fates.setdefault(record, []).append(series[1])
    ordered = sorted(
        fates, key=lambda record: (record.institution, record.valid_from, record.level, fates[record])
    )
    named: list[Qualification] = []
    for start, records in groupby(ordered, key=lambda r: f"{r.institution}-{r.level}-{r.valid_from:%Y%m%d}"):
        for number, record in enumerate(records, start=1):
            items = " ".join(sorted(fates[record]))
            named.append(replace(record, id=f"EQA-{start}-{number}", items=items))
    return named


def _about(event: Event) -> tuple[str, str]:
    return event.institution, event.item


def _series(event: Event) -> tuple[str, ...]:
    """What makes rounds consecutive: one institution, item, kind, level, scope and organiser."""
    return (*_about(event), event.kind, event.level, event.scope, event.organiser)


class _Granted(Struct):
    """A qualification while its events are read."""

    since: date
    until: date
    batch: str


def _records(events: Sequence[Event], catalogue: Catalogue, criteria: Criteria) -> Iterator[Qualification]:
    """The records of one series, with the rounds of internal control among its events."""
    head = next(event for event in events if event.kind != "iqc")
    blank = Qualification(
        id="",
        institution=head.institution,
        items="",
        valid_from=head.day,
        valid_to=head.day,
        scope=scope_of(head, catalogue),
        level=head.level,
        basis=f"{head.organiser} {_WORDS[head.kind]}",
        batch="",
        status="active",
        status_from=None,
        reason="",
        source=head.source,
    )
    recent: deque[bool] = deque(maxlen=criteria.of_consecutive)
    granted: _Granted | None = None
    until, external, internal, batch = date.min, False, True, ""

    def record(held: _Granted) -> Qualification:
        return replace(blank, valid_from=held.since, valid_to=held.until, batch=held.batch)

    for event in events:
        if granted and event.day > granted.until:
            yield record(granted)
            granted = None
        good = satisfactory(event, catalogue, criteria)
        if event.kind == "iqc":
            internal, reason = good, "室内质控不满意 internal quality control unsatisfactory"
        else:
            recent.append(good)
            unsuccessful = recent.count(False) >= criteria.unsatisfactory
            external, reason = good and not unsuccessful, _reason(event, criteria, unsuccessful=unsuccessful)
            if external:
                batch = event.batch
                until = max(until, event.valid_to or event.day + timedelta(criteria.days))
        if external and internal and event.day <= until:
            granted = _Granted(granted.since if granted else event.day, until, batch)
        elif granted:
            stopped = datetime.combine(event.day, time(), SHANGHAI)
            yield replace(record(granted), status="suspended", status_from=stopped, reason=reason)
            granted = None
    if granted:
        yield record(granted)


def _reason(event: Event, criteria: Criteria, *, unsuccessful: bool) -> str:
    said = f"{event.organiser} {_WORDS[event.kind]} {event.batch}".strip()
    if unsuccessful:
        few, of = criteria.unsatisfactory, criteria.of_consecutive
        return f"{said}：连续{of}次中{few}次不满意，不成功 unsuccessful: {few} of {of} events unsatisfactory"
    return f"{said}：不满意 unsatisfactory"


def scope_of(event: Event, catalogue: Catalogue) -> str:
    """The area in which an evaluation counts: its own scope, else that of its level around the institution.

    Raises:
        EventsRefused: neither gives one.
        UnknownEntry: the institution is not in the catalogue.
    """
    if event.scope:
        return event.scope
    region = catalogue.institution(event.institution).region
    wanted = _AREA.get(event.level)
    for code, held in catalogue.regions.items():
        if held.kind == wanted and catalogue.contains(code, region):
            return code
    message = f"level {event.level} gives no area around {region}; name the scope"
    raise EventsRefused((Finding(event.id, 0, "scope", message),))


def _faults(row: Row[Event], catalogue: Catalogue) -> Iterator[tuple[str, str]]:
    """What is wrong with an event beyond its single cells: column and words."""
    event = row.value
    known = event.institution in catalogue.institutions
    if not known:
        yield (
            "institution",
            f"{event.institution!r} is not in catalogue {catalogue.version}; correct or add it",
        )
    if len(event.item.split()) != 1:
        yield "item", "names several items; give each a row, since each is judged by itself"
    elif not any(catalogue.covers(event.item, item) for item in catalogue.items.values()):
        yield "item", f"{event.item!r} names no item of catalogue {catalogue.version}; correct it"
    if bool(event.samples) == bool(event.score):
        yield "samples", "give either samples with the acceptable ones, or the score in per cent"
    if event.acceptable > event.samples:
        yield "acceptable", f"are more than the {event.samples} samples"
    for column in ("score", "required"):
        if (text := getattr(event, column)) and not _percentage(text):
            yield column, f"{text!r} is no percentage; write 0 to 100, such as 80 or 92.5"
    if event.valid_to and event.valid_to < event.day:
        yield "valid_to", "lies before the day of the event"
    if event.scope and event.scope not in catalogue.regions:
        yield "scope", f"{event.scope!r} is no region of catalogue {catalogue.version}; correct it"
    elif event.scope and known:
        if not catalogue.contains(event.scope, catalogue.institution(event.institution).region):
            yield "scope", f"{event.scope} does not hold the institution; an evaluation counts around it"
    elif known:
        try:
            scope_of(event, catalogue)
        except EventsRefused as refused:
            yield "scope", refused.findings[0].message


def _percentage(text: str) -> bool:
    whole, _, part = text.partition(".")
    digits = whole.isascii() and whole.isdigit() and (not part or (part.isascii() and part.isdigit()))
    return digits and len(text) <= 12 and Decimal(text) <= 100
