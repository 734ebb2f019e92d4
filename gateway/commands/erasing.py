"""``ledger erase``: what is due, one decision, or one person; never an entry or a proof."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from gateway.commands.common import Config, Stop, console, plainly, settings_from

if TYPE_CHECKING:
    from gateway.audit.retention import Erased
    from gateway.model import PersonIn
    from gateway.settings import Settings


STAYS = (
    "仍保留 still kept: 标识及其撤回 marks and their withdrawals (不含姓名、号码和结果值"
    " they hold no name, number or value); 患者授权记录 consents, under the pseudonym,"
    " so that an opt-out goes on counting; 账本条目"
    " the ledger's entries, without payloads; 各机构自己的病历 what nodes and other gateways keep themselves;"
    " 备份 backups, until they end"
)


def erase(
    config: Config,
    expired: Annotated[
        bool, typer.Option("--expired", help="What [retention] says is due; the gateway does so daily.")
    ] = False,
    decision: Annotated[str, typer.Option(help="One decision: the id of its check.")] = "",
    person: Annotated[
        Path | None,
        typer.Option(help='A file, or - for standard input, with {"type": …, "value": …} as in a check.'),
    ] = None,
    even_cited: Annotated[
        bool, typer.Option("--even-cited", help="Also what is cited in a record, before its time.")
    ] = False,
) -> None:
    """Erase payloads and documents. The ledger's entries stay, and with them every proof.

    An entry of type erasure says why, before anything is deleted. Marks, consents and backups stay.
    """
    if expired + bool(decision) + (person is not None) != 1 or (expired and even_cited):
        raise Stop(
            "lianren: give one of --expired, --decision ID, --person FILE;"
            " --even-cited goes with the last two"
        )
    settings = settings_from(config)
    whom = _person(person) if person else None
    with plainly():
        erased = asyncio.run(_erase(settings, decision, whom, even_cited))
    console().print(
        f"已删除 erased: {erased.entries} 条载荷 payloads, {erased.documents} 份文档 documents"
        f"; 因病历引用保留 kept because a record cites them: {erased.cited}",
        markup=False,
    )
    if whom:
        console().print(STAYS, markup=False, soft_wrap=True)


def _person(file: Path) -> PersonIn:
    """The person, whose number stands in no argument list and in no message."""
    from gateway.commands.common import read_file
    from gateway.model import PersonIn

    try:
        return msgspec.json.decode(read_file(file), type=PersonIn)
    except msgspec.MsgspecError:
        raise Stop('lianren: --person: not {"type": …, "value": …}') from None


async def _erase(settings: Settings, decision: str, person: PersonIn | None, even_cited: bool) -> Erased:
    from datetime import UTC, datetime

    from gateway.audit.retention import Retention
    from gateway.checks import read_person
    from gateway.keyring import open_keys
    from gateway.persons.pseudonyms import Persons
    from gateway.wiring import open_ledger

    keys, now = open_keys(settings), datetime.now(UTC)
    who = read_person(person) if person else None
    async with open_ledger(settings, keys) as sequencer:
        await sequencer.start()
        retention = Retention(settings.retention, settings.owner, sequencer)
        if decision:
            return await retention.decision(decision, now, even_cited=even_cited)
        if who is None:
            return await retention.expire(now)
        pseudonyms = await Persons(keys, settings.pseudonyms_per_minute).pseudonyms(who, settings.owner)
        return await retention.person(pseudonyms, now, even_cited=even_cited, progress=_progress)


def _progress(done: int, of: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done}/{of}")
