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

from msgspec import Struct
from msgspec.structs import replace

from catalog import Catalogue, Qualification
from quality.events import Event, about, scope_of, series_of
from recognition import SHANGHAI

BLOOD_TYPING = frozenset({"ABO", "RHD"})
"""The analytes of which every result has to be right."""
_WORDS = {"eqa": "室间质评", "iqc": "室内质控", "imaging-qc": "影像质控"}


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
    for series in dict.fromkeys(map(series_of, rounds)):
        own = [
            event
            for event in listed
            if (series_of(event) == series if event.kind != "iqc" else about(event) == series[:2])
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
