"""``catalog qualify``: evaluation results into the table of qualifications."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.commands.common import AsJson, Stop, console, plainly, print_json, read_file


def qualify(
    events: Annotated[Path, typer.Argument(help="CSV of evaluation results; - for standard input.")],
    out: Annotated[Path | None, typer.Option(help="New file for the qualifications.")] = None,
    catalogue: Annotated[
        Path | None, typer.Option(help="Catalogue folder; the bundled illustrative one if left out.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what follows and write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Turn rounds of quality assessment into qualifications. Exit status 1 when a row has a fault.

    Satisfactory is 80 per cent, and 100 for blood typing, unless a row names what its organiser asks for.
    Nothing is written while there is a fault, and an existing file is never touched.
    """
    from catalog import load
    from catalog.write import write_rows
    from quality import UNVERIFIED, EventsRefused, qualifications_from, read_events

    if (out is None) is not dry_run:
        raise Stop("lianren: name either --out FILE or --dry-run")
    with plainly():
        held = load(catalogue)
    try:
        records = qualifications_from(read_events(read_file(events), events.name, held), held)
    except EventsRefused as refused:
        if as_json:
            print_json({"findings": refused.findings, "qualifications": []})
        else:
            for finding in refused.findings:
                console().print(str(finding), markup=False)
        raise typer.Exit(1) from None
    if out and records:
        with plainly():
            files = write_rows(held.editions[0], {"qualifications.csv": records})
        _create(out, files["qualifications.csv"])
    if as_json:
        print_json({"findings": [], "qualifications": records})
        return
    for record in records:
        state = (
            "" if record.status == "active" else f", {record.status} from {record.stopped}: {record.reason}"
        )
        period = f"{record.valid_from} – {record.valid_to}{state}"
        console().print(
            f"{record.institution} {record.items}: {record.level} {record.scope} {period}", markup=False
        )
    console().print(f"{len(records)} qualifications; {UNVERIFIED.source}", markup=False)


def _create(file: Path, data: bytes) -> None:
    try:
        with file.open("xb") as opened:
            opened.write(data)
    except FileExistsError:
        raise Stop(f"lianren: {file} exists already; name a new file") from None
    except OSError as wrong:
        raise Stop(f"lianren: {file} cannot be written: {wrong.strerror}") from None
