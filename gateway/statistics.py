"""Statistics with named denominators over everything this gateway answered.

Checks are paged in the order of time; what was told of them comes from a passing table on disk, because an
outcome may be recorded long after its check. So memory does not grow with the period. Who reads is written
into the ledger, before the answer leaves. Small counts are hidden (:mod:`gateway._statistics_hiding`).

One table is safe by itself. Two tables whose periods or sides differ a little can still be compared: the
ledger says who asked for which.
"""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from catalog import Catalogue
from gateway._statistics_counting import By, CheckShown, Side, Tally
from gateway._statistics_hiding import TOTAL, hidden_cells
from gateway._statistics_outcomes import PAGE, Outcomes
from gateway._statistics_words import COUNTS, RATES, SAVING_EN, SAVING_ZH, Count, Rate
from gateway.access.clients import Client
from gateway.errors import NotPermitted
from gateway.evidence import Evidence, keep
from gateway.ids import since
from gateway.model import CatalogueRef, Moment
from gateway.wiring import Gateway
from security.keys import SHANGHAI

__all__ = ["SMALLEST_THRESHOLD", "By", "Query", "Side", "Statistics", "as_csv", "statistics"]

SMALLEST_THRESHOLD = 5
_DAY = timedelta(days=1)


class Query(Struct, frozen=True, kw_only=True):
    """What is asked for: both days count in full, in Asia/Shanghai. Counts below ``threshold`` are hidden.
    ``moment``: checks at the order, at reception or about reports, where nothing was planned; never together.
    """

    from_: date
    to: date
    by: By
    side: Side = "receiver"
    moment: Moment = "order"
    threshold: int = SMALLEST_THRESHOLD


class ReasonCount(Struct, frozen=True):
    """How often a reason was given; ``count`` is null where it is hidden."""

    system: str
    code: str
    zh: str
    en: str
    counts_as_refusal: bool
    count: int | None


class RateOut(Struct, frozen=True):
    """A rate as an exact fraction and in decimals; ``undefined`` says why there is none."""

    id: str
    numerator: int | None
    denominator: int | None
    decimal: str | None
    undefined: Literal["", "empty_denominator", "hidden"]


class Saving(Struct, frozen=True):
    """An estimate in yuan. ``items_without_price`` and ``rows_hidden`` (of a total) are not in it."""

    yuan: str
    items_without_price: int
    rows_hidden: int = 0


class RowOut(Struct, frozen=True, kw_only=True):
    """One row: ``counts`` by their ids; null where a count is hidden, as is a saving that would tell it."""

    key: str
    name: str
    counts: dict[str, int | None]
    reasons: tuple[ReasonCount, ...]
    rates: tuple[RateOut, ...]
    saving: Saving | None


class SavingWords(Struct, frozen=True):
    """What the saving is, and where its prices were read."""

    zh: str
    en: str
    sources: tuple[str, ...]


class Definitions(Struct, frozen=True):
    """What every number of the answer means."""

    counts: tuple[Count, ...]
    rates: tuple[Rate, ...]
    saving: SavingWords


class Statistics(Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    """Counts and rates of the checks answered in a period, and of what was told of them until now.

    ``side``: whose statistics these are, those of the institutions that asked (``receiver``) or of those that
    issued the results. ``moment``: the checks that are counted, at the order, at reception or about reports.
    ``institution``: the one that they are limited to, or empty.
    """

    from_: date
    to: date
    by: By
    side: Side
    moment: Moment
    institution: str
    threshold: Annotated[int, Meta(description="counts from 1 to one below this are hidden")]
    generated_at: datetime
    catalogue: CatalogueRef
    definitions: Definitions
    total: RowOut
    rows: tuple[RowOut, ...]


async def statistics(gateway: Gateway, query: Query, client: Client) -> Statistics:
    """Count the checks of a period, and record that they were read.

    An auditor or a steward reads everything, a hospital's system what its own institution asked or issued.

    Raises:
        NotPermitted: the client has none of these roles, or speaks for no institution.
        EvidenceUnavailable: the reading could not be recorded, so nothing is answered.
    """
    client.require("auditor", "steward", "his")
    institution = "" if {"auditor", "steward"} & set(client.roles) else client.institution
    if not institution and not {"auditor", "steward"} & set(client.roles):
        raise NotPermitted(f"client {client.id} speaks for no institution; its operator can set one")
    now, catalogue = datetime.now(UTC), gateway.rules.catalogue
    evidence = Evidence.of(gateway, client.id, now)
    asked = {name: str(getattr(query, name)) for name in query.__struct_fields__}
    evidence.record("view", {"what": "statistics", "institution": institution, **asked})
    await keep(gateway.sequencer, evidence.entries, [])
    tally = Tally(catalogue, query.by, query.side, institution)
    with closing(Outcomes()) as outcomes:
        await outcomes.load(gateway, _begin(query.from_))
        await _count(gateway, query, outcomes, tally)
    saving = SavingWords(SAVING_ZH, SAVING_EN, tuple(sorted(tally.sources)))
    total, rows = await asyncio.to_thread(_table, tally, query, catalogue)
    return Statistics(
        from_=query.from_,
        to=query.to,
        by=query.by,
        side=query.side,
        moment=query.moment,
        institution=institution,
        threshold=query.threshold,
        generated_at=now,
        catalogue=CatalogueRef(catalogue.version, catalogue.illustrative, *catalogue.notices),
        definitions=Definitions(COUNTS, RATES, saving),
        total=total,
        rows=rows,
    )


def _begin(day: date) -> datetime:
    return datetime.combine(day, time(), SHANGHAI)


async def _count(gateway: Gateway, query: Query, outcomes: Outcomes, tally: Tally) -> None:
    after, end = since(_begin(query.from_)), _begin(query.to) + _DAY
    while page := await gateway.store.documents("check", after, PAGE):
        for document in page:
            if document.at >= end:
                return
            check = msgspec.json.decode(document.body, type=CheckShown)
            if check.answer.moment == query.moment:
                tally.add(check, outcomes.of(check.answer.id))
        after = page[-1].id
        await asyncio.sleep(0)


def _table(tally: Tally, query: Query, catalogue: Catalogue) -> tuple[RowOut, tuple[RowOut, ...]]:
    """The row of the totals and the others, with what must not be shown left out."""
    part_of = tally.part_of
    counts = {key: {column: tally.rows[key][column] for column in part_of} for key in sorted(tally.rows)}
    hidden = hidden_cells(counts, part_of, query.threshold)

    def row(key: str | None, line: Mapping[str, int], saving: Saving | None) -> RowOut:
        shown = {column: None if (key, column) in hidden else count for column, count in line.items()}
        return RowOut(
            key=key or "",
            name=_name(query.by, key, catalogue),
            counts={count.id: shown[count.id] for count in COUNTS},
            reasons=tuple(_reason(column, shown[column], catalogue) for column in part_of if ":" in column),
            rates=() if query.by == "reason" else tuple(_rate(rate, shown) for rate in RATES),
            saving=saving,
        )

    # A total over hidden rows would tell them by subtraction: it is that of the rows whose saving is shown.
    telling = ("accepted", "accepted_otherwise")
    open_rows = [key for key in counts if not any((key, column) in hidden for column in telling)]
    savings = {key: Saving(f"{tally.saved[key]:.2f}", len(tally.unpriced[key])) for key in open_rows}
    without = set().union(*(tally.unpriced[key] for key in open_rows))
    total_saving = Saving(
        f"{sum((tally.saved[key] for key in open_rows), Decimal(0)):.2f}",
        len(without),
        len(counts) - len(open_rows),
    )
    totals = {column: sum(line[column] for line in counts.values()) for column in part_of}
    by_reason = query.by == "reason"
    return (
        row(TOTAL, totals, None if by_reason else total_saving),
        tuple(row(key, line, None if by_reason else savings.get(key)) for key, line in counts.items()),
    )


def _name(by: By, key: str | None, catalogue: Catalogue) -> str:
    if key is TOTAL:
        return "合计 total"
    if by == "reason":
        reason = catalogue.reason_codes.get((key.partition(":")[0], key.partition(":")[2]))
        return reason.zh if reason else key
    if by == "region" and key in catalogue.regions:
        return catalogue.regions[key].name
    if by == "institution" and key in catalogue.institutions:
        return catalogue.institutions[key].name
    return catalogue.items[key].name if by == "item" and key in catalogue.items else key


def _reason(column: str, count: int | None, catalogue: Catalogue) -> ReasonCount:
    kind, system, code = column.split(":", 2)
    known = catalogue.reason_codes.get((system, code))
    zh, en = (known.zh, known.en) if known else ("", "")
    return ReasonCount(system, code, zh, en, kind == "declined", count)


def _rate(rate: Rate, shown: Mapping[str, int | None]) -> RateOut:
    above, below = ([shown[name] for name in names] for names in (rate.numerator, rate.denominator))
    if None in above or None in below:
        return RateOut(rate.id, None, None, None, "hidden")
    numerator, denominator = (sum(count for count in counts if count) for counts in (above, below))
    if not denominator:
        return RateOut(rate.id, numerator, 0, None, "empty_denominator")
    decimal = (Decimal(numerator) / denominator).quantize(Decimal("0.0001"), ROUND_HALF_EVEN)
    return RateOut(rate.id, numerator, denominator, str(decimal), "")


def as_csv(table: Statistics) -> str:
    """The rows and then the totals as CSV; a count without a number says ``hidden``, a rate says why."""
    out = io.StringIO()
    reasons = [
        f"{'declined' if r.counts_as_refusal else 'set_apart'}:{r.system}:{r.code}"
        for r in table.total.reasons
    ]
    rates = [rate.id for rate in table.total.rates]
    writer = csv.writer(out)
    writer.writerow([table.by, "name", *table.total.counts, *reasons, *rates, "saving_yuan_estimate"])
    for row in (*table.rows, table.total):
        counts = [*row.counts.values(), *(reason.count for reason in row.reasons)]
        writer.writerow(
            [
                row.key or ("total" if row is table.total else ""),
                row.name,
                *("hidden" if count is None else count for count in counts),
                *(rate.decimal or rate.undefined for rate in row.rates),
                row.saving.yuan if row.saving else "",
            ]
        )
    return out.getvalue()
