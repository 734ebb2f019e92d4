"""What a draft would change, on the screen: a bar while cases are decided again, then what differs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gateway.commands.explaining import VERDICTS, WIDE

if TYPE_CHECKING:
    from rich.console import Console

    from gateway.impact import Impact, Progress

_WORDS = {**VERDICTS, "": "– 不涉及 no verdict"}


@contextmanager
def watched() -> Iterator[Progress]:
    """A progress bar on standard error, where that is a terminal; it shows the share of the period."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1.0)

        def told(cases: int, share: float) -> None:
            bar.update(task, completed=share, description=f"{cases} 次核对 checks")

        yield told


def print_impact(out: Console, impact: Impact) -> None:
    """Totals in a line each, then verdicts by item and reason, the most frequent change first."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    out.print(
        f"{impact.since:%Y-%m-%d} – {impact.until:%Y-%m-%d}，按 under {impact.catalogue}：\n"
        f"  重新判定 decided again: {impact.checks}\n"
        f"  判定或理由有变 verdict or reason differs: {impact.changed}\n"
        f"  开单有变 orders differ: {impact.orders_changed}"
        f"（多开 more {impact.more_to_order}，少开 fewer {impact.less_to_order}）",
        markup=False,
    )
    for gone in impact.undecidable:
        out.print(
            f"  无法判定 cannot be decided: {gone.checks}，{gone.kind} {gone.code} 已不在目录 is gone",
            markup=False,
        )
    if not impact.shifts:
        return
    table = Table("项目 item", "原 before", "改为 after", "结果 results", box=SIMPLE_HEAD, pad_edge=False)
    for shift in impact.shifts:
        table.add_row(
            Text(f"{shift.name} {shift.item}".strip()),
            Text(f"{_WORDS[shift.before]} {shift.rule_before}".strip()),
            Text(f"{_WORDS[shift.after]} {shift.rule}".strip()),
            str(shift.verdicts),
        )
    out.print(table, width=None if out.is_terminal else WIDE)
