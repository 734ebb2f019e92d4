"""``catalog import``: the annex of an official list, by a mapping file, into the tables of an edition."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.commands.common import AsJson, Stop, console, plainly, print_json, read_file

if TYPE_CHECKING:
    from catalog import Catalogue, Draft, Finding
    from catalog.annex import Annex, ConceptOf


def import_(
    annex: Annotated[Path, typer.Argument(help="The annex: .xlsx, or CSV in UTF-8 or GB18030.")],
    mapping: Annotated[Path, typer.Option(help="TOML file that says which column is what.")],
    catalogue: Annotated[
        Path | None,
        typer.Option(help="Catalogue that the edition is to stand in; the bundled one if left out."),
    ] = None,
    concepts: Annotated[
        Path | None, typer.Option(help="CSV of your own decisions: concept, and code or name.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="New folder for the edition.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the table and write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Read an official annex into the tables of an edition. Exit status 1 when any row has a fault.

    Nothing is written while there is a fault, and an existing folder is never touched.
    """
    from catalog import BUNDLED, CatalogueError, compile_drafts, read_files, read_folder
    from catalog.annex import read_annex, read_decisions, read_mapping
    from catalog.write import write_folder, write_rows

    if (out is None) is not dry_run:
        raise Stop("lianren: name either --out FOLDER or --dry-run")
    with plainly():
        rules = read_mapping(read_file(mapping), mapping.name)
        decisions = read_decisions(read_file(concepts), concepts.name) if concepts else {}
        beside = read_folder(catalogue or BUNDLED)
        known = compile_drafts(beside)
        with _progress(annex.name) as progress:
            read = read_annex(
                annex,
                rules,
                concept_of=_reader_of(known),
                item_of=known.item_for,
                codes=known.items,
                decisions=decisions,
                progress=progress,
            )
    findings = list(read.findings)
    files: dict[str, bytes] = {}
    try:
        files = write_rows(read.edition, read.rows())
        if not findings:
            _check_beside(beside, read_files(files, f"{read.edition.id}/"))
    except CatalogueError as wrong:
        findings.extend(wrong.findings)
    _show(read, findings, as_json=as_json)
    if findings:
        raise typer.Exit(1)
    if out is not None:
        with plainly():
            write_folder(files, out)
        if not as_json:
            console().print(f"written to {out}", markup=False)


def _reader_of(known: Catalogue) -> ConceptOf:
    """What tells the concept of a name, and abstains where any of it is left unsaid."""
    from mapping import LocalName, Normaliser

    normaliser = Normaliser(known)

    def concept_of(name: str, texts: Mapping[str, str]) -> str | None:
        fields = {key: texts.get(key, "") for key in ("kind", "modality", "specimen")}
        named = normaliser.read(LocalName(name=name, **fields))
        return named.target if named.reason in ("", "not_listed") else None

    return concept_of


def _check_beside(beside: Sequence[Draft], draft: Draft) -> None:
    """Refuses an edition that cannot be in force together with the others."""
    from catalog import compile_drafts

    compile_drafts([*(other for other in beside if other.edition.id != draft.edition.id), draft])


@contextmanager
def _progress(name: str) -> Iterator[Callable[[int], None]]:
    """A count of rows on standard error, on a terminal only."""
    from rich.console import Console
    from rich.progress import Progress, TextColumn, TimeElapsedColumn

    shown = TextColumn("{task.description}  {task.completed} rows")
    with Progress(
        shown,
        TimeElapsedColumn(),
        console=Console(file=sys.stderr),
        transient=True,
        disable=not sys.stderr.isatty(),
    ) as progress:
        task = progress.add_task(name)
        yield lambda row: progress.update(task, completed=row)


def _show(read: Annex, findings: Sequence[Finding], *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "edition": read.edition,
                "list": read.published,
                "entries": read.entries,
                "default": read.default,
                "skipped": read.skipped,
                "findings": findings,
            }
        )
        return
    from rich import box
    from rich.markup import escape
    from rich.table import Column, Table

    widths = {"row": 3, "code": 8, "name": 12, "concept": 12, "group": 5, "days": 4, "mark": 4}
    columns = [Column(head, no_wrap=True, min_width=width) for head, width in widths.items()]
    columns += [Column(head, no_wrap=True, max_width=24) for head in ("also", "note")]
    table = Table(*columns, box=box.SIMPLE_HEAD)
    for entry in read.entries:
        item = entry.item
        days = str(entry.window.days) if entry.window else ""
        cells = (item.code, item.name, item.concept, item.group, days, entry.mark)
        texts = (*cells, "、".join(item.aliases), entry.note)
        table.add_row(str(entry.row), *(escape(text) for text in texts))
    out = console()
    if not out.is_terminal:
        out.width = 160
    out.print(table)
    for finding in findings:
        out.print(str(finding), markup=False)
    counts = f"items: {len(read.entries)}, rows skipped: {read.skipped}, faults: {len(findings)}"
    if read.default:
        counts += f", default window: {read.default.days} days"
    out.print(f"{read.published.id} {read.edition.version}: {counts}", markup=False)
