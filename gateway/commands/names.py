"""``map``: the names of a file onto concepts and items, in the order of the file, at any size."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.commands.common import Stop, plainly

if TYPE_CHECKING:
    from rich.progress import TaskID

    from gateway.bulk import Key, Rows
    from mapping import Named


class Encoding(StrEnum):
    """Of CSV and JSON lines. A byte-order mark may stand before either."""

    UTF_8 = "utf-8"
    GB18030 = "gb18030"


def map_names(
    file: Annotated[
        Path, typer.Argument(help="CSV, JSON lines, .xlsx or .parquet; - for standard input (the first two).")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="File to write: .jsonl, .csv, .xlsx or .parquet. With workers: a folder of parts."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what --out names.")] = False,
    catalogue: Annotated[Path | None, typer.Option(help="Catalogue folder.")] = None,
    encoding: Annotated[Encoding, typer.Option(help="Of CSV and JSON lines.")] = Encoding.UTF_8,
    sheet: Annotated[str, typer.Option(help="The sheet of an .xlsx file that has several.")] = "",
    explain: Annotated[bool, typer.Option("--explain", help="Say in words how each name was read.")] = False,
    workers: Annotated[int, typer.Option(min=0, help="Map on so many processes of this machine.")] = 0,
    scheduler: Annotated[str, typer.Option(help="Map on a running Dask cluster: tcp://… or tls://….")] = "",
) -> None:
    """Map names (column local_name or name, with kind and any other field beside it) to concepts and items.

    One JSON object a line, in the order of the input; --explain writes lines for people instead. A name
    without an item is an answer, with its reason. Status 2 where the file cannot be read: the line is named.
    """
    with plainly():
        if workers or scheduler:
            if workers and scheduler:
                raise Stop("lianren: give --workers or --scheduler")
            if out is None or explain or str(file) == "-":
                raise Stop("lianren: workers read a file and write a folder; name both, without --explain")
            _on_workers(file, out, workers, scheduler, catalogue, encoding.value, force)
        else:
            _here(file, out, catalogue, encoding.value, sheet, force, explain)


def _here(
    file: Path,
    out: Path | None,
    catalogue: Path | None,
    encoding: str,
    sheet: str,
    force: bool,
    explain: bool,
) -> None:
    from gateway.bulk import Reader, open_rows, write_answers
    from gateway.bulk.answers import line, remembering

    if explain and out:
        raise Stop("lianren: --explain writes to standard output, without --out")
    rows = open_rows(file, encoding=encoding, sheet=sheet)
    reader = Reader(catalogue)
    # Where answers and bar share a screen there is no bar.
    with _shown(rows, quiet=out is None and sys.stdout.isatty()) as keys:
        if out:
            write_answers(reader, keys, out, force=force)
        elif explain:
            sys.stdout.writelines(map(remembering(lambda key: _explained(reader.read(key))), keys))
        else:
            sys.stdout.buffer.writelines(map(remembering(lambda key: line(reader.read(key))), keys))


def _on_workers(
    file: Path,
    out: Path,
    workers: int,
    scheduler: str,
    catalogue: Path | None,
    encoding: str,
    force: bool,
) -> None:
    from gateway.bulk import Cluster, map_parts

    cluster = Cluster(workers=workers, scheduler=scheduler)
    with _bar() as show:
        done = map_parts(
            file, out, cluster, catalogue=catalogue, encoding=encoding, force=force, unused=_say_unused,
            progress=lambda wave, number, of: show(wave, number, of, f"{number}/{of} parts"),
        )  # fmt: skip
    typer.echo(
        f"{done.rows:,} rows in {done.parts} parts; {done.distinct:,} distinct names, each read once",
        err=True,
    )


def _explained(named: Named) -> str:
    lines = [
        named.name,
        f"  = {named.target or '?'}" + (f"  [{', '.join(named.items)}]" if named.items else ""),
    ]
    if named.reason:
        differs = f" ({named.differs})" if named.differs else ""
        lines.append(f"  reason: {named.reason}{differs}")
    if named.residue:
        lines.append(f"  unexplained: {named.residue}")
    if named.candidates:
        lines.append(f"  between: {' / '.join(named.candidates)}")
    lines.extend(f"  {named.name[start:end]}: {slot}" for start, end, slot in named.spans)
    return "\n".join([*lines, ""])


def _say_unused(columns: tuple[str, ...]) -> None:
    typer.echo(f"lianren: columns that say nothing about a name are left out: {', '.join(columns)}", err=True)


@contextmanager
def _shown(rows: Rows, quiet: bool) -> Iterator[Iterator[Key]]:
    """The keys of a file, while the terminal shows how far it is."""
    with _bar(quiet) as show:
        started = monotonic()

        def keys() -> Iterator[Key]:
            said = False
            for number, key in enumerate(rows, start=1):
                if rows.unused and not said:
                    _say_unused(rows.unused)
                    said = True
                if number % 1000 == 0:
                    speed = number / (monotonic() - started)
                    show("names", rows.done, rows.total, f"{number:,} rows, {speed:,.0f} rows/s")
                yield key

        yield keys()


@contextmanager
def _bar(quiet: bool = False) -> Iterator[Callable[[str, int, int | None, str], None]]:
    """A line on a terminal's standard error: what is done, how much, how fast, and how long yet."""
    if quiet or not sys.stderr.isatty():
        yield lambda wave, done, total, told: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[told]}"),
        TimeRemainingColumn(),
    )
    screen = Console(stderr=True)
    with Progress(*columns, console=screen, transient=True, redirect_stdout=False) as bar:
        tasks: dict[str, TaskID] = {}

        def show(wave: str, done: int, total: int | None, told: str) -> None:
            if wave not in tasks:
                tasks[wave] = bar.add_task(wave, total=total, told=told)
            bar.update(tasks[wave], completed=done, total=total, told=told)

        yield show
