"""``map``: names of a CSV or JSON-lines file onto concepts and items, in input order, as a stream."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import msgspec
import typer

from gateway.commands.common import Stop, plainly

if TYPE_CHECKING:
    from mapping import Named


def map_names(
    file: Annotated[Path, typer.Argument(help="CSV with a heading, or JSON lines; - for standard input.")],
    catalogue: Annotated[Path | None, typer.Option(help="Catalogue folder.")] = None,
    explain: Annotated[bool, typer.Option(help="Say in words how each name was read.")] = False,
) -> None:
    """Map names (column local_name, with kind and any other field of a name beside it) to concepts and items.

    One JSON object a line, in the order of the input; --explain writes lines for people instead.
    """
    from catalog import load
    from mapping import LocalName, Normaliser

    with plainly():
        normaliser = Normaliser(load(catalogue))
    encoder = msgspec.json.Encoder()
    beside = [field for field in LocalName.__struct_fields__ if field != "name"]
    for row in _rows(file):
        fields = {field: row.get(field) or "" for field in beside}
        named = normaliser.read(LocalName(name=row["local_name"], **fields))
        if explain:
            sys.stdout.write(_explained(named))
        else:
            sys.stdout.buffer.write(encoder.encode({name: getattr(named, name) for name in _FIELDS}) + b"\n")


_FIELDS = (
    *("name", "target", "item", "items", "reason", "residue", "candidates", "differs", "spans", "tables"),
    "mark",
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


def _rows(file: Path) -> Iterator[dict[str, str]]:
    try:
        opened: IO[str] = sys.stdin if str(file) == "-" else file.open(encoding="utf-8-sig", newline="")
        with opened:
            first = opened.readline()
            if first.lstrip().startswith("{"):
                yield from _json_rows(first, opened)
            else:
                yield from _csv_rows(first, opened)
    except OSError as wrong:
        raise Stop(f"lianren: {file} cannot be read: {wrong.strerror}") from None
    except UnicodeDecodeError:
        raise Stop(f"lianren: {file} is not UTF-8") from None


def _csv_rows(heading: str, rest: IO[str]) -> Iterator[dict[str, str]]:
    columns = next(csv.reader([heading]), [])
    if "local_name" not in columns:
        raise Stop(f"lianren: the heading has no column local_name, only {', '.join(columns)}")
    yield from csv.DictReader(rest, fieldnames=columns)


def _json_rows(first: str, rest: IO[str]) -> Iterator[dict[str, str]]:
    for number, line in enumerate((first, *rest), start=1):
        if line.strip():
            try:
                row = msgspec.json.decode(line, type=dict[str, str | None])
                yield {name: value or "" for name, value in row.items()} | {
                    "local_name": row["local_name"] or ""
                }
            except (msgspec.MsgspecError, KeyError):
                raise Stop(
                    f"lianren: line {number} is no JSON object with local_name and text fields"
                ) from None
