"""What the tests of published catalogues share: small editions, a configuration file, the command."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from msgspec import Struct
from typer.testing import CliRunner

from adapters.sealing import SealedStore
from adapters.sqlite import SqliteStore
from adapters.store import Document
from gateway.cli import app
from gateway.commands.common import Stop
from gateway.publishing import editions_after
from security.envelope import Envelope
from security.keystore import KeyStore
from tests.gateway.live import PASSPHRASE, Live, ask, body, reading

SECONDS = timedelta(seconds=1)


class Done(Struct, frozen=True):
    """A finished command: exit status and what it printed, the one line of its end included."""

    status: int
    out: str


def soon(seconds: float = 2.5) -> datetime:
    """A moment to come."""
    return datetime.now(UTC) + seconds * SECONDS


def edition(
    folder: Path,
    version: str,
    since: datetime,
    codes: Sequence[str] = ("EX1",),
    *,
    edition_id: str = "ex-lab",
    overlap_days: int = 30,
) -> Path:
    """The folder of an edition with one list of laboratory items that no other edition has."""
    place = folder / f"{edition_id}-{version}"
    place.mkdir(parents=True)
    head = {
        "id": edition_id,
        "version": version,
        "name": "示例目录",
        "owner": "示例管理员",
        "scope": "CHUANYU",
        "overlap_days": overlap_days,
        "illustrative": True,
        "notice_zh": "示例。",
        "notice_en": "Illustrative.",
    }
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in head.items()]
    toml = "\n".join([*lines, f"effective_from = {since.isoformat()}"])
    (place / "catalogue.toml").write_text(toml + "\n", encoding="utf-8")
    (place / "lists.csv").write_text(
        "id,name,kind,region,owner,additions,source,certainty\n"
        f"{edition_id},示例目录,lab,CHUANYU,示例管理员,no,a test,illustrative\n",
        encoding="utf-8",
    )
    items = [
        f"{code},示例项目{code},ZZ{code}|S|QN|-,example,{edition_id},,mg/L,no,a test,illustrative\n"
        for code in codes
    ]
    (place / "items_lab.csv").write_text(
        "code,name,concept,group,lists,aliases,units,method_dependent,source,certainty\n" + "".join(items),
        encoding="utf-8",
    )
    (place / "windows.csv").write_text(
        "list,target,days,clock,base,boundary,setting,institution,view_days,is_default,source,certainty\n"
        f"{edition_id},*,30,calendar_days,report,including,*,,0,yes,a test,illustrative\n",
        encoding="utf-8",
    )
    return place


def config_of(live: Live, folder: Path, **more: object) -> Path:
    """The configuration file of a gateway, as far as its commands need it."""
    settings = live.settings
    values = {
        "name": settings.name,
        "owner": settings.owner,
        "region": settings.region,
        "base_url": settings.base_url,
        "data_dir": str(settings.data_dir),
        "key_passphrase_file": str(settings.key_passphrase_file),
        "catalogue_poll_s": settings.catalogue_poll_s,
        **more,
    }
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "lianren.toml"
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def lianren(*words: str | Path) -> Done:
    """Run a command, as ``gateway.cli.main`` does."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    if isinstance(done.exception, Stop):
        return Done(done.exception.status, f"{done.stdout}{done.exception}")
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return Done(done.exit_code, done.stdout)


def published(folder: Path, config: Path, *words: str) -> Done:
    """``catalog publish`` that succeeds."""
    done = lianren("catalog", "publish", folder, "-c", config, *(words or ("--yes",)))
    assert done.status == 0, done.out
    return done


def until(true: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for something."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def states(client: httpx.Client) -> dict[str, str]:
    """``id@version`` → state, as the gateway tells it."""
    told = client.get("/api/v1/catalogues").raise_for_status().json()
    return {f"{one['id']}@{one['version']}": one["state"] for one in told["editions"]}


def version_of(client: httpx.Client, **more: object) -> str:
    """The catalogue version that a check is decided under now."""
    return ask(client, body(**more)).catalogue.version  # type: ignore[arg-type]


def documents(live: Live) -> list[Document]:
    """The published editions in a gateway's store."""
    return reading(live, lambda store: editions_after(store, ""))


def insert(store: Path, document: Document) -> None:
    """Put a document into an embedded store, past everything that guards it but the seal."""
    inserting(store, document)()


def inserting(store: Path, document: Document) -> Callable[[], None]:
    """What will put the document there; the key of the seal is read now."""
    held = KeyStore(store.parent / "keys", PASSPHRASE).secrets("payload")

    async def write() -> None:
        opened = SealedStore(SqliteStore(store), Envelope(held, [*held][-1]))
        await opened.open()
        try:
            await opened.replace(document)
        finally:
            await opened.close()

    return lambda: asyncio.run(write())
