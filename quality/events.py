"""The table of evaluation results: its rows, and everything that can be wrong with them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from catalog import Catalogue, Finding, Level
from catalog.tables import Row, Table, read_sheet
from quality.errors import EventsRefused

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
    rounds: dict[tuple[object, ...], int] = {}
    for row in sheet.rows:
        findings.extend(sheet.finding(row, column, words) for column, words in _faults(row, catalogue))
        before = rounds.setdefault((*series_of(row.value), row.value.day), row.number)
        if row.value.kind != "iqc" and before != row.number:
            findings.append(sheet.finding(row, "day", f"row {before} has a result of that day; keep one"))
    if findings:
        raise EventsRefused(tuple(sorted(findings, key=lambda finding: finding.row)))
    return [row.value for row in sheet.rows]


def about(event: Event) -> tuple[str, str]:
    """Whose result it is, and for which item."""
    return event.institution, event.item


def series_of(event: Event) -> tuple[str, ...]:
    """What makes rounds consecutive: one institution, item, kind, level, scope and organiser."""
    return (*about(event), event.kind, event.level, event.scope, event.organiser)


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
    elif not (
        kinds := {item.kind for item in catalogue.items.values() if catalogue.covers(event.item, item)}
    ):
        yield "item", f"{event.item!r} names no item of catalogue {catalogue.version}; correct it"
    elif event.kind == "imaging-qc" and kinds != {"imaging"}:
        yield "item", f"{event.item!r} names laboratory items; imaging quality control is of imaging"
    elif event.kind != "imaging-qc" and event.item not in catalogue.items:
        yield "item", f"{event.item!r} names several items; give each a row, since each is judged by itself"
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
