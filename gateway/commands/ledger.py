"""``ledger verify``, ``ledger export``, ``ledger prove``."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from gateway.commands.common import (
    AsJson,
    Config,
    Stop,
    console,
    plainly,
    print_json,
    read_file,
    settings_from,
)
from gateway.commands.erasing import erase

if TYPE_CHECKING:
    from security.audit import AuditReport, Pinned

app = typer.Typer(help="The exchange ledger.", no_args_is_help=True)
app.command("erase")(erase)
Recipient = Annotated[str, typer.Option(help="Who gets it: an id, written into the ledger.")]


@app.command("verify")
def verify(
    material: Annotated[
        Path, typer.Argument(help="An export (lianren ledger export) or an evidence file (… prove).")
    ],
    pinned: Annotated[
        list[Path] | None,
        typer.Option(
            help="Your own pins, a file of each gateway; the export's pinned.json if left out"
            " (it then proves less)."
        ),
    ] = None,
    required: Annotated[
        int | None, typer.Option(min=1, help="How many must have signed: the log, and its witnesses.")
    ] = None,
    previous: Annotated[
        Path | None, typer.Option(help="The checkpoint you kept from your last audit.")
    ] = None,
    keys: Annotated[
        list[Path] | None,
        typer.Option(help="A gateway's key list of today (/trust/keys): what was compromised since counts."),
    ] = None,
    other: Annotated[
        Path | None,
        typer.Option(help="Another gateway's export: what one logged as received, the other logged as sent."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Verify an export or an evidence file offline, without any server. Exit status 1 when a check fails.

    ✓ passed, ✗ failed, – not made: there was nothing to make it on, and the line says why.
    """
    newer = [read_file(file) for file in keys or []]
    report = _report(material, pinned or [], required, newer, previous, other)
    if as_json:
        print_json(report)
    else:
        out = console()
        out.print(f"{_printable(report.origin)}  {report.size} 条 entries", markup=False)
        for check in report.checks:
            sign = {"passed": "✓", "failed": "✗", "not_made": "–"}[check.state]
            out.print(
                f"{sign} {check.number} {check.name.lower():<12} {check.examined:>6}"
                f"  {_printable(check.zh)}  {_printable(check.en)}",
                markup=False,
            )
        if not pinned:
            out.print("! 密钥随导出而来，请自带 pins came with the export: bring your own (--pinned)")
    raise typer.Exit(0 if report.passed else 1)


def _printable(text: str) -> str:
    """Findings quote what they found, and that may be made to draw another verdict on a terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:2000])


def _report(
    material: Path,
    pinned: list[Path],
    required: int | None,
    newer: list[bytes],
    previous: Path | None,
    other: Path | None,
) -> AuditReport:
    from security import proof_file
    from security.audit import verify_export

    if not material.exists():
        raise Stop(f"lianren: {material} does not exist")
    if material.is_dir():
        note = read_file(previous).decode("utf-8", "replace") if previous else None
        pins = _pins(pinned or [material / "pinned.json"], required)
        try:
            with _watched() as progress:
                return verify_export(material, pins, note, other=other, newer=newer, progress=progress)
        except OSError as wrong:
            raise Stop(f"lianren: the temporary folder (TMPDIR) cannot be used: {wrong.strerror}") from None
    if not pinned:
        raise Stop("lianren: an evidence file brings no pins; give your own (--pinned)")
    if previous or other:
        raise Stop("lianren: --previous and --other go with an export, not with an evidence file")
    if material.stat().st_size > proof_file.MAX_SIZE:
        raise Stop(f"lianren: {material} is larger than the evidence of one decision can be")
    return proof_file.verify(read_file(material), _pins(pinned, required), newer)


def _pins(files: list[Path], required: int | None) -> Pinned:
    """The pins of all files, each gateway's apart."""
    from security.audit import Pinned

    read: list[Pinned] = []
    for file in files:
        try:
            read.append(msgspec.json.decode(read_file(file), type=Pinned))
        except msgspec.MsgspecError as wrong:
            raise Stop(f"lianren: {file} holds no pins: {wrong}") from None
    return Pinned(logs=(), required=required or max(pins.required for pins in read), others=tuple(read))


@app.command("export")
def export(
    config: Config,
    folder: Annotated[Path, typer.Argument(help="Folder to write; it must be empty or not exist.")],
    disclose: Annotated[
        bool,
        typer.Option("--disclose", help="Write salts and payloads too, so that contents can be checked."),
    ] = False,
    from_: Annotated[
        str, typer.Option("--from", help="Disclose from this time on (2026-11-01 or with a time and zone).")
    ] = "",
    to: Annotated[str, typer.Option(help="Disclose what is before this time.")] = "",
    institution: Annotated[str, typer.Option(help="Disclose what concerns this institution.")] = "",
    decision: Annotated[str, typer.Option(help="Disclose this decision: the id of a check.")] = "",
    recipient: Recipient = "auditor",
) -> None:
    """Write the ledger as files that an auditor verifies offline.

    The tree goes out whole, marks and payloads by the selection. The export is itself an entry of the ledger.
    """
    from gateway.audit.exporting import export_ledger
    from security.export import Selection

    if folder.exists() and any(folder.iterdir()):
        raise Stop(f"lianren: {folder} is not empty; an export goes into an empty folder")
    settings = settings_from(config)
    selection = Selection(
        from_=_moment(from_, "--from"), to=_moment(to, "--to"), institution=institution, decision=decision
    )
    with plainly(), _watched() as progress:
        size = asyncio.run(
            export_ledger(
                settings,
                folder,
                disclose=disclose,
                selection=selection,
                recipient=recipient,
                progress=progress,
            )
        )
    console().print(f"{size} 条已写入 entries written to {folder}", markup=False)


@app.command("prove")
def prove(
    config: Config,
    decision: Annotated[str, typer.Argument(help="The decision: the id of a check.")],
    file: Annotated[Path, typer.Argument(help="The evidence file to write; it must not exist.")],
    recipient: Recipient = "auditor",
) -> None:
    """Write the evidence of one decision as one file, which `ledger verify` takes with pins alone."""
    from gateway.audit.proving import prove_decision

    if file.exists():
        raise Stop(f"lianren: {file} exists; evidence goes into a new file")
    settings = settings_from(config)
    with plainly():
        evidence = asyncio.run(prove_decision(settings, decision, recipient))
    try:
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as written:
            written.write(evidence)
    except OSError as wrong:
        raise Stop(f"lianren: {file} cannot be written: {wrong.strerror}") from None
    console().print(f"证据已写入 evidence written to {file}", markup=False)


def _moment(text: str, option: str) -> datetime | None:
    """A time of the command line; without a zone it is Shanghai's."""
    from zoneinfo import ZoneInfo

    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Stop(f"lianren: {option}: '{text}' is no time; write 2026-11-01 or 2026-11-01T08:00") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo("Asia/Shanghai"))


@contextmanager
def _watched() -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error, where that is a terminal; it shows the share of the entries."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    terminal = Console(stderr=True)
    with Progress(*columns, console=terminal, transient=True, disable=not terminal.is_terminal) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)
