"""``keys …``: making, listing, turning and ending the gateway's keys and secrets."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from gateway.commands.common import AsJson, Config, Stop, console, plainly, print_json, settings_from

if TYPE_CHECKING:
    from gateway.settings import Settings
    from security.keys import PublicKey
    from security.keystore import KeyStore

    Bar = Callable[[str, int, int], None]

app = typer.Typer(help="The gateway's keys.", no_args_is_help=True)

OVERLAP_DAYS, ROOT_OVERLAP_DAYS = 7, 30
"""How long a rotated key counts on: key lists are fresh for a week, and roots are handed over by people."""


@app.command("new")
def new(config: Config) -> None:
    """Make every key that the gateway needs and does not have yet."""
    from gateway.keyring import make_keys

    settings = settings_from(config)
    with plainly():
        for key in make_keys(settings):
            console().print(f"{key.kid:<22} {key.algorithm:<8} {key.purpose}")


@app.command("list")
def list_keys(config: Config, as_json: AsJson = False) -> None:
    """List the public keys: what for, from when to when, and where the private part is."""
    from gateway.keyring import open_keys

    with plainly():
        store = open_keys(settings_from(config))
        keys = store.list()
        places = {key.kid: (store.device(key.kid) or "file").partition("?")[0] for key in keys}
    if as_json:
        print_json(keys)
        return
    for key in keys:
        console().print(
            f"{key.kid:<22} {key.algorithm:<8} {key.purpose:<9} {key.status:<11}"
            f" {key.not_before:%Y-%m-%d} – {key.not_after:%Y-%m-%d}  {places[key.kid]}"
        )


@app.command("secrets")
def secrets(config: Config, as_json: AsJson = False) -> None:
    """List the symmetric secrets: those that seal what is kept, and those of pseudonyms."""
    from gateway.keyring import SECRETS, open_keys

    with plainly():
        store = open_keys(settings_from(config))
        held = {purpose: list(store.secrets(purpose)) for purpose in SECRETS}
    if as_json:
        print_json(held)
        return
    for ids in held.values():
        for id_ in ids:
            console().print(f"{id_:<22} {'current' if id_ == ids[-1] else 'former'}")


@app.command("show")
def show(
    config: Config,
    root: Annotated[bool, typer.Option("--root", help="The root keys, which others pin.")] = False,
    pinned: Annotated[bool, typer.Option("--pinned", help="What an auditor pins.")] = False,
) -> None:
    """Print public keys as JSON: all of them, the roots (--root), or an auditor's pins (--pinned)."""
    from gateway.audit.exporting import pins_of
    from gateway.keeper import roots_of
    from gateway.keyring import open_keys

    settings = settings_from(config)
    with plainly():
        store = open_keys(settings)
        if pinned:
            print_json(pins_of(store, settings))
        else:
            print_json(roots_of(store, settings.owner) if root else store.list())


@app.command("rotate")
def rotate(
    purpose: Annotated[
        str, typer.Argument(help="What the keys are for: mark, log, root …; payload or pseudonym.")
    ],
    config: Config,
    overlap: Annotated[
        int | None, typer.Option(min=0, help="Days for which the former keys count on; 7, or 30 for roots.")
    ] = None,
    at_once: Annotated[
        bool, typer.Option("--at-once", help="The new keys sign now; others may not know them yet.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Of payload: go on sealing, and make no new key.")
    ] = False,
) -> None:
    """Make new keys beside those of a purpose; a running gateway takes them up without a restart."""
    from gateway.keyring import GRACE, open_keys
    from gateway.keyring import rotate as turn

    settings, now = settings_from(config), datetime.now(UTC)
    with plainly():
        keys = open_keys(settings)
        if purpose == "pseudonym":
            _say_new(keys.new_secret(purpose, now))
        elif purpose == "payload":
            if not resume:
                _say_new(keys.new_secret(purpose, now))
            with _bar() as bar:
                done = asyncio.run(_rewrap(settings, keys, bar))
            console().print(f"改封 sealed anew: {done}")
        else:
            days = ROOT_OVERLAP_DAYS if purpose == "root" else OVERLAP_DAYS
            counts_on = max(GRACE, timedelta(days=days if overlap is None else overlap))
            for key in turn(keys, settings.owner, purpose, now, GRACE if at_once else counts_on):
                _say_new(key.kid)
            if purpose == "root":
                _say_roots()


@app.command("retire")
def retire(
    key: Annotated[str, typer.Argument(help="The id of a key or of a former secret.")], config: Config
) -> None:
    """End a key: what it signed stays valid. Delete a former secret that nothing needs."""
    from gateway.keyring import GRACE, SECRETS, open_keys

    settings = settings_from(config)
    with plainly():
        keys = open_keys(settings)
        held = {id_: purpose for purpose in SECRETS for id_ in keys.secrets(purpose)}
        if key in held:
            _forget(settings, keys, held[key], key)
        else:
            _say_ended(keys.retire(key, datetime.now(UTC) + GRACE))


@app.command("compromise")
def compromise(kid: Annotated[str, typer.Argument(help="The id of a key.")], config: Config) -> None:
    """Say that somebody else has a key: nothing that it signed counts any more. A new one takes its place."""
    from gateway.keyring import make_keys, open_keys

    settings = settings_from(config)
    with plainly():
        keys = open_keys(settings)
        keys.device(kid)  # there is such a key
        made = make_keys(settings, without=kid)  # first, so that no moment is without one that counts
        ended = keys.retire(kid, datetime.now(UTC), "compromised")
        _say_ended(ended)
        for key in made:
            _say_new(key.kid)
        if ended.purpose == "root":
            _say_roots()


@app.command("adopt")
def adopt(
    uri: Annotated[str, typer.Argument(help="Where the key is: pkcs11:token=…;object=… or sdf:index=….")],
    config: Config,
    purpose: Annotated[str, typer.Option(help="What it is for: mark, log, root ….")],
    algorithm: Annotated[str, typer.Option(help="Ed25519, ES256 or SM2.")],
) -> None:
    """Use a key that a crypto machine holds; it takes over from those of its purpose and algorithm."""
    from gateway.keyring import NEEDED, open_keys
    from security.keys import Algorithm

    settings = settings_from(config)
    found: Algorithm | None = next(
        (name for name in get_args(Algorithm) if name.lower() == algorithm.lower()), None
    )
    if found is None or purpose not in {needed for needed, _ in NEEDED}:
        raise Stop(f"lianren: there is no purpose {purpose} with the algorithm {algorithm}")
    with plainly():
        _say_new(open_keys(settings).adopt(uri, found, settings.owner, purpose, datetime.now(UTC)).kid)


@app.command("passphrase")
def passphrase(
    file: Annotated[Path, typer.Argument(help="The file that holds the new passphrase.")], config: Config
) -> None:
    """Change the passphrase that the keys are sealed by; running gateways go on."""
    from gateway.keyring import open_keys, read_passphrase

    with plainly():
        open_keys(settings_from(config)).change_passphrase(read_passphrase(file))
    console().print(
        f"请在下次启动前设置 / before the next start set: key_passphrase_file = {file.absolute()}",
        soft_wrap=True,
    )


@app.command("seal")
def seal(config: Config) -> None:
    """Seal what a version before 0.3 kept in clear: once, right after its update."""
    from gateway.keyring import open_keys

    settings = settings_from(config)
    with plainly(), _bar() as bar:
        done = asyncio.run(_rewrap(settings, open_keys(settings), bar, first=True))
    console().print(f"加封 sealed: {done}")


async def _rewrap(settings: Settings, keys: KeyStore, bar: Bar, *, first: bool = False) -> int:
    from adapters.rewrapping import rewrap
    from gateway.keyring import open_envelope
    from gateway.wiring import open_rows

    async with open_rows(settings) as rows:
        return await rewrap(rows, open_envelope(settings, keys), bar, first=first)


def _forget(settings: Settings, keys: KeyStore, purpose: str, id_: str) -> None:
    from adapters.rewrapping import sealed_under
    from gateway.persons.consent import Consents
    from gateway.wiring import open_rows, open_store

    async def sealed(bar: Bar) -> int:
        async with open_rows(settings) as rows:
            return await sealed_under(rows, id_, bar)

    async def stated() -> int:
        store = open_store(settings, keys)
        await store.open()
        try:
            return await Consents(store).of_epoch(id_.removeprefix("pseudonym-"), datetime.now(UTC))
        finally:
            await store.close()

    if id_ == next(reversed(keys.secrets(purpose))):
        raise Stop(f"lianren: {id_} is the current one; run: lianren keys rotate {purpose}")
    if purpose == "payload":
        with _bar() as bar:
            left = asyncio.run(sealed(bar))
        if left:
            raise Stop(
                f"lianren: {left} rows are sealed by {id_}; run: lianren keys rotate payload --resume", 1
            )
    elif left := asyncio.run(stated()):
        raise Stop(
            f"lianren: {left} statements of patients count under {id_}; without it they would bind nobody", 1
        )
    keys.forget_secret(id_)
    console().print(f"{id_} 已删除 deleted")


def _say_new(id_: str) -> None:
    console().print(f"{id_:<22} 新 new")


def _say_ended(key: PublicKey) -> None:
    console().print(f"{key.kid:<22} {key.status} {key.not_after:%Y-%m-%d %H:%M} UTC")


def _say_roots() -> None:
    console().print(
        "请将新根公钥交给其他网关 / hand the new roots to the other gateways: lianren keys show --root"
    )


@contextmanager
def _bar() -> Iterator[Bar]:
    """A bar for each table, on a terminal's standard error."""
    if not sys.stderr.isatty():
        yield lambda table, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        tasks = {}

        def show(table: str, done: int, total: int) -> None:
            if table not in tasks:
                tasks[table] = shown.add_task(table, total=total)
            shown.update(tasks[table], completed=done, total=total)

        yield show
