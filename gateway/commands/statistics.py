"""``statistics``: counts and rates of a period, from a running gateway."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.commands.common import AsJson, Stop, console, print_json, read_file

if TYPE_CHECKING:
    from gateway.statistics import RateOut, RowOut, Statistics

_HIDDEN = "*"
_UNDEFINED = {"empty_denominator": "– (分母为零 denominator is zero)", "hidden": "* (已隐去 hidden)"}


def statistics(
    from_: Annotated[str, typer.Option("--from", help="First day, such as 2026-11-01.")],
    to: Annotated[str, typer.Option(help="Last day, which counts in full.")],
    by: Annotated[
        str, typer.Option(help="What a row is: region, institution, item, day, week, month or reason.")
    ] = "institution",
    side: Annotated[str, typer.Option(help="Whose statistics: receiver or issuer.")] = "receiver",
    moment: Annotated[str, typer.Option(help="Which checks: order, reception or report.")] = "order",
    threshold: Annotated[int, typer.Option(help="Counts from 1 to one below this are hidden.")] = 5,
    gateway: Annotated[str, typer.Option(help="Base address of the gateway.")] = "http://127.0.0.1:8080",
    token_file: Annotated[Path | None, typer.Option(help="File with the bearer token.")] = None,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV for a spreadsheet.")] = False,
) -> None:
    """Count what became of the checks of a period, with named denominators.

    Days are those of Asia/Shanghai. A star stands for a count that is hidden because it or its neighbour is
    small. Reading statistics is recorded in the gateway's ledger.
    """
    from gateway import statistics as counted
    from gateway.asking import Refused, get

    token = read_file(token_file).decode().strip() if token_file else ""
    asked = {
        "from": from_,
        "to": to,
        "by": by,
        "side": side,
        "moment": moment,
        "threshold": str(threshold),
    }
    address = f"{gateway.rstrip('/')}/api/v1/statistics"
    try:
        table = get(address, token, asked, counted.Statistics, seconds=600)
    except Refused as refused:
        raise Stop(f"lianren: {refused}") from None
    if as_json:
        print_json(table)
    elif as_csv:
        sys.stdout.write(counted.as_csv(table))
    else:
        _print(table)


def _print(table: Statistics) -> None:
    from rich.cells import cell_len

    out = console()
    where = f", {table.institution}" if table.institution else ""
    about = {"order": "at the order", "reception": "at reception", "report": "about reports"}[table.moment]
    out.print(f"{table.from_} – {table.to} (Asia/Shanghai), {about}, by {table.by}, {table.side} side{where}")
    words = table.definitions.counts
    heading = [table.by, "", *(count.name_zh for count in words)]
    lines = [heading, *([row.key, row.name, *_counts(row)] for row in (*table.rows, table.total))]
    widths = [max(cell_len(line[place]) for line in lines) for place in range(len(heading))]
    for line in lines:
        cells = [cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True)]
        numbers = [" " * (w - cell_len(c)) + c for c, w in zip(line[2:], widths[2:], strict=True)]
        out.print("  ".join([*cells[:2], *numbers]), markup=False)
    for reason in table.total.reasons:
        kind = "不互认 declined" if reason.counts_as_refusal else "不计入拒绝 set apart"
        shown = _HIDDEN if reason.count is None else reason.count
        out.print(f"{kind} {reason.system}:{reason.code} {reason.zh}: {shown}", markup=False)
    for rate, said in zip(table.definitions.rates, table.total.rates, strict=False):
        out.print(f"{rate.name_zh} {rate.name_en}: {_rate(said)}", markup=False)
        out.print(f"  {rate.numerator_zh} ÷ {rate.denominator_zh}", markup=False)
        out.print(f"  {rate.source}", markup=False)
    if saving := table.total.saving:
        out.print(f"预计节省 estimated saving: {saving.yuan} 元")
        out.print(f"  {table.definitions.saving.zh}", markup=False)
        if saving.items_without_price:
            left = saving.items_without_price
            out.print(f"  {left} 个项目无价格，未计入 / items without a price are not in it: {left}")
        if saving.rows_hidden:
            left = saving.rows_hidden
            out.print(f"  {left} 行已隐去，未计入 / hidden rows are not in it: {left}")
        for source in table.definitions.saving.sources:
            out.print(f"  价格来源 prices: {source}", markup=False)
    out.print(f"* 已隐去：1 至 {table.threshold - 1}，或可推知之 / hidden: it or its neighbour is small")


def _counts(row: RowOut) -> list[str]:
    return [_HIDDEN if count is None else str(count) for count in row.counts.values()]


def _rate(rate: RateOut) -> str:
    if rate.decimal is None:
        return _UNDEFINED[rate.undefined]
    return f"{rate.numerator} ÷ {rate.denominator} = {rate.decimal}"
