"""``catalog validate`` and ``catalog show``; the other commands stand in modules of their own."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.commands import editions, importing, publishing
from gateway.commands.common import AsJson, Stop, console, plainly, print_json
from gateway.commands.editions import Beside, Folder, whole

if TYPE_CHECKING:
    from catalog import Catalogue

app = typer.Typer(help="The recognition catalogue.", no_args_is_help=True)
app.command("import")(importing.import_)
app.command("publish")(publishing.publish)
app.command("versions")(editions.versions)
app.command("diff")(editions.diff)
app.command("export")(editions.export)


@app.command("validate")
def validate(folder: Folder = None, catalogue: Beside = None, as_json: AsJson = False) -> None:
    """Read a catalogue and name every fault with file, row and column. Exit status 1 when there is one."""
    from catalog import CatalogueError

    try:
        read = whole(folder, catalogue)
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
        console().print(f"{read.version}: no faults; {_counts(read)}")


@app.command("show")
def show(
    folder: Folder = None,
    catalogue: Beside = None,
    item: Annotated[str, typer.Option(help="Show one item by its code or name.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show what a catalogue holds, or one item with its lists, windows and stand-ins."""
    with plainly():
        read = whole(folder, catalogue)
    if item:
        _show_item(read, item, as_json=as_json)
        return
    if as_json:
        print_json(
            {
                "version": read.version,
                "editions": read.editions,
                "effective_from": read.effective_from,
                "illustrative": read.illustrative,
                "notice": read.notices,
                "lists": list(read.lists.values()),
                "items": len(read.items),
            }
        )
        return
    from catalog.timeline import name_of, shown

    out = console()
    out.print(f"{read.version}: {_counts(read)}", markup=False)
    if read.illustrative:
        out.print("\n".join(f"! {notice}" for notice in read.notices), markup=False)
    for edition in read.editions:
        since = shown(edition.effective_from)
        out.print(f"{name_of(edition)}  {edition.name}  ({edition.owner}), from {since}", markup=False)
        for entry in (entry for entry in read.lists.values() if entry.edition == edition.id):
            held = [i for i in read.items.values() if entry.id in i.lists]
            kinds = Counter(i.concept.split("|")[0] if i.kind == "imaging" else "lab" for i in held)
            split = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
            area = read.region(entry.region).name
            out.print(f"  {entry.id:<12} {entry.name}  {area}: {split}", markup=False)


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
        print_json(
            {
                "item": item,
                "windows": windows,
                "stand_ins": stand_ins,
                "conversions": catalogue.conversions_of(item),
            }
        )
        return
    out = console()
    out.print(f"{item.code}  {item.name}  {item.concept}  [{item.group}]", markup=False)
    out.print(f"  also: {'、'.join(item.aliases)}", markup=False)
    for name, window in windows.items():
        if window:
            default = ", region default" if window.is_default else ""
            viewed = f", viewed for {window.view_days}" if window.view_days else ""
            clock = f"{window.clock} from {window.base}, {window.boundary} the last{viewed}{default}"
            out.print(f"  {name}: {window.days} days ({clock}), {window.source}", markup=False)
    for conversion in catalogue.conversions_of(item):
        offset = f" + {conversion.offset}" if conversion.offset else ""
        formula = f"{conversion.to_unit} = {conversion.unit} × {conversion.factor}{offset}"
        out.print(f"  {formula}, {conversion.source}", markup=False)
    for relation in stand_ins:
        ordered, prior = catalogue.item(relation.ordered), catalogue.item(relation.prior)
        out.print(f"  {prior.name} may serve for {ordered.name}  — {relation.owner}")
    out.print(f"  source: {item.source} ({item.certainty})", markup=False)
