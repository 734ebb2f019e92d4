"""``catalog validate`` and ``catalog show``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.commands.common import AsJson, Stop, console, plainly, print_json

if TYPE_CHECKING:
    from catalog import Catalogue

app = typer.Typer(help="The recognition catalogue.", no_args_is_help=True)
Folder = Annotated[
    Path | None, typer.Argument(help="Catalogue folder; the bundled illustrative one if left out.")
]


@app.command("validate")
def validate(folder: Folder = None, as_json: AsJson = False) -> None:
    """Read a catalogue and name every fault with file, row and column. Exit status 1 when there is one."""
    from catalog import CatalogueError, load

    try:
        catalogue = load(folder)
    except CatalogueError as wrong:
        if as_json:
            print_json(wrong.findings)
        else:
            for finding in wrong.findings:
                console().print(str(finding), markup=False)
        raise typer.Exit(1) from None
    if as_json:
        print_json([])
    else:
        console().print(f"{catalogue.version}: no faults; {_counts(catalogue)}")


@app.command("show")
def show(
    folder: Folder = None,
    item: Annotated[str, typer.Option(help="Show one item by its code or name.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show what a catalogue holds, or one item with its lists, windows and stand-ins."""
    from catalog import load

    with plainly():
        catalogue = load(folder)
    if item:
        _show_item(catalogue, item, as_json=as_json)
        return
    if as_json:
        print_json(
            {
                "version": catalogue.version,
                "name": catalogue.name,
                "owner": catalogue.owner,
                "effective_from": catalogue.effective_from,
                "illustrative": catalogue.illustrative,
                "notice": [catalogue.notice_zh, catalogue.notice_en],
                "lists": list(catalogue.lists.values()),
                "items": len(catalogue.items),
            }
        )
        return
    out = console()
    out.print(f"{catalogue.name}  {catalogue.version}  ({catalogue.owner})")
    if catalogue.illustrative:
        out.print(f"! {catalogue.notice_zh}\n! {catalogue.notice_en}")
    out.print(f"in force from {catalogue.effective_from:%Y-%m-%d}; {_counts(catalogue)}")
    for entry in catalogue.lists.values():
        held = [i for i in catalogue.items.values() if entry.id in i.lists]
        kinds = Counter(i.concept.split("|")[0] if i.kind == "imaging" else "lab" for i in held)
        split = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        out.print(f"  {entry.id:<12} {entry.name}  {catalogue.region(entry.region).name}: {split}")


def _counts(catalogue: Catalogue) -> str:
    return (
        f"{len(catalogue.items)} items in {len(catalogue.lists)} lists, {len(catalogue.panels)} panels,"
        f" {len(catalogue.windows)} windows, {len(catalogue.rules)} rules,"
        f" {len(catalogue.institutions)} institutions, {len(catalogue.qualifications)} qualifications"
    )


def _show_item(catalogue: Catalogue, wanted: str, *, as_json: bool) -> None:
    from mapping import LocalName, Normaliser

    named = {item.name: item.code for item in catalogue.items.values()}
    code = wanted if wanted in catalogue.items else named.get(wanted)
    code = code or Normaliser(catalogue).read(LocalName(name=wanted)).item
    if code is None:
        raise Stop(f"{catalogue.version} has no item with the code or name {wanted!r}", status=1)
    item = catalogue.item(code)
    windows = {name: catalogue.window(item, name, "*") for name in item.lists}
    stand_ins = [s for s in catalogue.stand_ins if code in (s.ordered, s.prior)]
    if as_json:
        print_json({"item": item, "windows": windows, "stand_ins": stand_ins})
        return
    out = console()
    out.print(f"{item.code}  {item.name}  {item.concept}  [{item.group}]", markup=False)
    out.print(f"  also: {'、'.join(item.aliases)}", markup=False)
    for name, window in windows.items():
        if window:
            default = ", region default" if window.is_default else ""
            clock = f"{window.clock} from {window.base}{default}"
            out.print(f"  {name}: {window.days} days ({clock}), {window.source}", markup=False)
    for relation in stand_ins:
        ordered, prior = catalogue.item(relation.ordered), catalogue.item(relation.prior)
        out.print(f"  {prior.name} may serve for {ordered.name}  — {relation.owner}")
    out.print(f"  source: {item.source} ({item.certainty})", markup=False)
