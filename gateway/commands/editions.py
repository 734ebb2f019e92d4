"""``catalog versions``, ``catalog diff``, ``catalog export``; and how commands come to editions."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

from gateway.commands.common import AsJson, Config, Stop, console, plainly, print_json, settings_from

if TYPE_CHECKING:
    from catalog import Catalogue, Draft
    from catalog.diff import Change
    from gateway.catalogues import Catalogues

T = TypeVar("T")
OptionalConfig = Annotated[
    Path | None, typer.Option("--config", "-c", help="The gateway's TOML file: look at what it published.")
]
Beside = Annotated[
    Path | None,
    typer.Option(help="Catalogue that a single edition is to stand in; the bundled one if left out."),
]
Folder = Annotated[
    Path | None,
    typer.Argument(help="Catalogue folder or FHIR Bundle; the bundled illustrative one if left out."),
]
_STATES = {
    "announced": "待生效 announced",
    "in_force": "现行 in force",
    "overlapping": "过渡 overlapping",
    "superseded": "已取代 superseded",
}
_EFFECTS = {"tightens": "收紧 tightens", "loosens": "放宽 loosens", "other": "其他 other"}


def versions(config: Config, as_json: AsJson = False) -> None:
    """List every published edition: announced, in force, overlapping, superseded."""
    from catalog.timeline import shown

    with plainly():
        states, refused = _looked(config, lambda found: (found.states(datetime.now(UTC)), found.refused))
    if as_json:
        print_json({"editions": states, "refused": refused})
        return
    out = console()
    if not states:
        out.print("尚未发布 nothing was published yet; the first start of the gateway publishes its folder")
    for one in states:
        end = f" – {shown(one.until)}" if one.until else ""
        name, words = f"{one.id}@{one.version}", _STATES[one.state]
        out.print(f"{name}  {words}, {shown(one.effective_from)}{end}  {one.name}", markup=False)
    for name, why in refused.items():
        out.print(f"{name}  未采用 refused: {why}", markup=False)


def diff(
    old: Annotated[str, typer.Argument(metavar="A", help="A catalogue folder, or with -c a version.")],
    new: Annotated[str, typer.Argument(metavar="B", help="The same.")],
    config: OptionalConfig = None,
    as_json: AsJson = False,
) -> None:
    """Say in words what differs between two catalogues. Exit status 1 when something does."""
    from catalog.diff import diff as changes_between

    with plainly():
        if config is None:
            before, after = whole(Path(old)), whole(Path(new))
        else:
            before, after = _looked(config, lambda found: (_named(found, old), _named(found, new)))
    changes = changes_between(before, after)
    if as_json:
        print_json(changes)
    else:
        show_changes(changes)
    raise typer.Exit(1 if changes else 0)


def export(
    out: Annotated[Path, typer.Option(help="New folder to write.")],
    folder: Folder = None,
    form: Annotated[
        Literal["csv", "fhir"], typer.Option("--format", help="Tables, or a FHIR R4 Bundle an edition.")
    ] = "csv",
    config: OptionalConfig = None,
    version: Annotated[str, typer.Option(help="With -c: which one; what is in force if left out.")] = "",
) -> None:
    """Write the editions of a folder, or with -c those that were published, as tables or as FHIR."""
    import msgspec

    from catalog.fhir import to_bundle
    from catalog.timeline import name_of
    from catalog.write import write, write_folder

    if bool(folder and config) or (version and not config):
        raise Stop("lianren: name either a folder or, with -c, what was published")
    with plainly():
        if config:
            drafts = _looked(config, lambda found: found.drafts(version, datetime.now(UTC)))
        else:
            drafts = drafts_of(folder)
        if form == "csv":
            for draft in drafts:
                write_folder(write(draft), out / draft.edition.id)
        else:
            bundles = {name_of(draft.edition): msgspec.json.encode(to_bundle(draft)) for draft in drafts}
            write_folder({f"{name}.json": msgspec.json.format(data) for name, data in bundles.items()}, out)
    console().print(f"{len(drafts)} 个版本已写入 editions written to {out}", markup=False)


def whole(folder: Path | None, beside: Path | None = None) -> Catalogue:
    """The catalogue of a folder; a single edition stands beside the others of ``beside``, or the bundled.

    Raises:
        CatalogueError: with everything to mend.
    """

    from catalog import compile_drafts

    drafts = drafts_of(folder)
    if beside is None and len(drafts) > 1:
        return compile_drafts(drafts)
    ids = {draft.edition.id for draft in drafts}
    return compile_drafts([*(d for d in drafts_of(beside) if d.edition.id not in ids), *drafts])


def drafts_of(place: Path | None) -> list[Draft]:
    """The editions of a folder, or that of a file with a FHIR Bundle; the bundled ones for None.

    Raises:
        CatalogueError: with everything to mend.
    """
    import msgspec

    from catalog import BUNDLED, CatalogueError, Finding, read_files, read_folder
    from catalog.fhir import from_bundle

    if place is None or not place.is_file():
        return read_folder(place or BUNDLED)
    try:
        return [read_files(from_bundle(msgspec.json.decode(place.read_bytes())))]
    except (msgspec.MsgspecError, UnicodeError) as wrong:
        raise CatalogueError((Finding(str(place), 0, "", f"is no JSON: {wrong}"),)) from None


def show_changes(changes: Sequence[Change]) -> None:
    """Every change in both languages, and how many there are of each effect."""
    out = console()
    for change in changes:
        out.print(f"  {_EFFECTS[change.effect]}\n    {change.zh}\n    {change.en}", markup=False)
    counts = Counter(_EFFECTS[change.effect] for change in changes)
    told = "，".join(f"{words} {counts[words]}" for words in _EFFECTS.values())
    out.print(f"{len(changes)} 处不同 changes: {told}", markup=False)


def _looked(config: Path, look: Callable[[Catalogues], T]) -> T:
    """What there is to see among the published editions."""
    from gateway.wiring import open_catalogues

    async def run() -> T:
        async with open_catalogues(settings_from(config)) as (catalogues, _):
            return look(catalogues)

    return asyncio.run(run())


def _named(catalogues: Catalogues, name: str) -> Catalogue:
    """A folder as it would be in force, or what a label names."""
    if not Path(name).exists():
        return catalogues.under(name).catalogue
    now = datetime.now(UTC)
    cut_overs = catalogues.prepare(drafts_of(Path(name)), now, now, at_once=True).cut_overs
    return (cut_overs[-1].after if cut_overs else catalogues.at(now)).catalogue
