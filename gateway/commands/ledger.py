"""``ledger verify``, ``ledger export``, ``ledger prove``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

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

app = typer.Typer(help="The exchange ledger.", no_args_is_help=True)


@app.command("verify")
def verify(
    folder: Annotated[Path, typer.Argument(help="An export: lianren ledger export.")],
    pinned: Annotated[
        Path | None,
        typer.Option(help="Your own pins; the export's pinned.json if left out (it then proves less)."),
    ] = None,
    previous: Annotated[
        Path | None, typer.Option(help="The checkpoint you kept from your last audit.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Verify an export offline, without any server. Exit status 1 when a check fails.

    ✓ passed, ✗ failed, – not made: there was nothing to make it on, and the line says why.
    """
    from security.audit import Pinned, verify_export

    file = pinned or folder / "pinned.json"
    try:
        pins = msgspec.json.decode(read_file(file), type=Pinned)
    except msgspec.MsgspecError as wrong:
        raise Stop(f"lianren: {file} holds no pins: {wrong}") from None
    note = read_file(previous).decode("utf-8", "replace") if previous else None
    report = verify_export(folder, pins, note)
    if as_json:
        print_json(report)
    else:
        out = console()
        out.print(f"{report.origin}  {report.size} 条 entries", markup=False)
        for check in report.checks:
            sign = {"passed": "✓", "failed": "✗", "not_made": "–"}[check.state]
            out.print(
                f"{sign} {check.number} {check.name.lower():<12} {check.examined:>6}  {check.zh}  {check.en}",
                markup=False,
            )
        if pinned is None:
            out.print("! 密钥随导出而来，请自带 pins came with the export: bring your own (--pinned)")
    raise typer.Exit(0 if report.passed else 1)


@app.command("export")
def export(
    config: Config,
    folder: Annotated[Path, typer.Argument(help="Folder to write; it must be empty or not exist.")],
    disclose: Annotated[
        bool,
        typer.Option("--disclose", help="Write salts and payloads too, so that contents can be checked."),
    ] = False,
) -> None:
    """Write the whole ledger as files that an auditor verifies offline."""
    from gateway.exporting import export_ledger

    if folder.exists() and any(folder.iterdir()):
        raise Stop(f"lianren: {folder} is not empty; an export goes into an empty folder")
    settings = settings_from(config)
    with plainly():
        size = asyncio.run(export_ledger(settings, folder, disclose=disclose))
    console().print(f"{size} 条已写入 entries written to {folder}", markup=False)


@app.command("prove")
def prove(
    config: Config, index: Annotated[int, typer.Argument(help="Index of the entry.")], as_json: AsJson = False
) -> None:
    """Print the inclusion proof of one entry under the newest checkpoint."""
    from gateway.exporting import prove as prove_entry

    settings = settings_from(config)
    with plainly():
        proof = asyncio.run(prove_entry(settings, index))
    if as_json:
        print_json(proof)
    else:
        console().print(proof.note)
        console().print("\n".join([f"index {proof.index}", *proof.hashes]))
