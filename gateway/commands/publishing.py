"""``catalog publish``: a draft becomes an edition, after everybody could see what it changes."""

from __future__ import annotations

import asyncio
import math
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.commands.common import AsJson, Config, Stop, console, plainly, print_json, settings_from
from gateway.commands.editions import drafts_of, show_changes

if TYPE_CHECKING:
    from adapters.sequencer import Sequencer
    from adapters.store import Store
    from gateway.catalogues import Catalogues, Prepared
    from gateway.impact import Impact
    from gateway.settings import Settings


def publish(
    folder: Annotated[Path, typer.Argument(help="Folder of an edition or of several, or a FHIR Bundle.")],
    config: Config,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show everything and publish nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    at_once: Annotated[
        bool,
        typer.Option(
            "--at-once", help="An edition whose time is past takes force when every replica has it."
        ),
    ] = False,
    impact_days: Annotated[
        int, typer.Option(min=0, max=3660, help="Decide the checks of so many days again, and count.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Sign editions and write them into the ledger; every replica has them in force at their time.

    Shows what changes, and asks. Exit status 1: the answer was no, and nothing was published.
    """
    if not (yes or dry_run or (sys.stdin.isatty() and not as_json)):
        raise Stop("lianren: there is no terminal to ask on; look with --dry-run, publish with --yes")
    from gateway.wiring import open_catalogues

    settings = settings_from(config)

    async def run() -> dict[str, Any]:
        async with open_catalogues(settings) as (catalogues, sequencer):
            drafts = drafts_of(folder)
            prepared = catalogues.prepare(drafts, *_times(settings), at_once=at_once)
            told = _told(prepared)
            told["impact"] = await _impacts(sequencer.store, prepared, impact_days)
            if not as_json:
                _show(prepared, told)
            if prepared.drafts and not dry_run:
                if not yes and not typer.confirm("发布 publish?"):
                    raise typer.Exit(1)
                now, earliest = _times(settings)
                prepared = catalogues.prepare(drafts, now, earliest, at_once=at_once)
                told["published"] = await _publish(catalogues, prepared, sequencer, now)
            return told

    with plainly():
        told = asyncio.run(run())
    if as_json:
        print_json(told)
    elif told["published"]:
        places = ", ".join(f"#{index}" for index in told["published"])
        console().print(f"已发布，账本条目 published, ledger entries {places}", markup=False)


def _times(settings: Settings) -> tuple[datetime, datetime]:
    """Now, and the first whole second by which every replica has looked for new editions."""
    now = datetime.now(UTC)
    looked = now + timedelta(seconds=2 * settings.catalogue_poll_s)
    return now, datetime.fromtimestamp(math.ceil(looked.timestamp()), UTC)


async def _publish(
    catalogues: Catalogues, prepared: Prepared, sequencer: Sequencer, now: datetime
) -> list[int]:
    """The indexes of the ledger entries."""
    from adapters import KeyTaken

    await sequencer.start()
    try:
        receipt = await catalogues.publish(prepared, sequencer, now)
    except KeyTaken:
        raise Stop("lianren: something else was published meanwhile; look, and publish again", 1) from None
    finally:
        await sequencer.close()
    return list(receipt.indexes)


def _told(prepared: Prepared) -> dict[str, Any]:
    """What would be published and what it changes, for machines."""
    from catalog.diff import diff

    return {
        "editions": [
            {
                "edition": draft.edition,
                "digest": draft.digest,
                "supersedes": former.version if former else "",
            }
            for draft in prepared.drafts
            for former in (prepared.timeline.replaced_by(draft.edition),)
        ],
        "changes": [
            change
            for cut_over in prepared.cut_overs
            if cut_over.before
            for change in diff(cut_over.before.catalogue, cut_over.after.catalogue)
        ],
        "impact": [],
        "published": [],
    }


async def _impacts(store: Store, prepared: Prepared, days: int) -> list[Impact]:
    """What each change-over would have made of the checks of the last days."""
    from gateway.commands.impact import watched
    from gateway.impact import impact

    if not days:
        return []
    now = datetime.now(UTC)
    with watched() as progress:
        return [
            await impact(store, cut_over.after.catalogue, now - timedelta(days=days), now, progress)
            for cut_over in prepared.cut_overs
        ]


def _show(prepared: Prepared, told: dict[str, Any]) -> None:
    """The same for people."""
    from catalog.timeline import name_of, shown
    from gateway.commands.impact import print_impact

    out = console()
    if not prepared.drafts:
        out.print("没有新版本 nothing new: this is published already", markup=False)
        return
    for draft in prepared.drafts:
        edition, former = draft.edition, prepared.timeline.replaced_by(draft.edition)
        out.print(f"{name_of(edition)}  {edition.name}  ({edition.owner})", markup=False)
        out.print(f"  生效 takes force on {shown(edition.effective_from)}", markup=False)
        if former:
            end = shown(edition.effective_from + timedelta(days=edition.overlap_days))
            out.print(f"  取代 replaces {name_of(former)}, 过渡至 overlapping until {end}", markup=False)
    show_changes(told["changes"])
    for measured in told["impact"]:
        print_impact(out, measured)
