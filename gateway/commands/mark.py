"""``mark show`` and ``mark verify``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from gateway.commands.common import AsJson, Stop, console, print_json, read_file

app = typer.Typer(help="Recognition marks.", no_args_is_help=True)
Text = Annotated[str, typer.Argument(help="The mark as printed (XR1:…), or a file that holds it.")]


@app.command("show")
def show(mark: Text, as_json: AsJson = False) -> None:
    """Show what a mark says. Nothing is verified."""
    from security.errors import MarkRefused
    from security.mark import read

    try:
        held = read(_text(mark))
    except MarkRefused as refused:
        raise Stop(f"lianren: {refused}", status=1) from None
    claims = held.claims
    if as_json:
        print_json({"kid": held.kid, "algorithm": held.algorithm, "claims": claims})
        return
    console().print(
        f"{claims.printed}  item {claims.item}  institution {claims.institution}"
        f"  performed {claims.performed:%Y-%m-%d}\n"
        f"issued {claims.issued:%Y-%m-%d %H:%M} by {claims.issuer} (key {held.kid}, {held.algorithm}),"
        f" expires {claims.expires:%Y-%m-%d}\nmark {claims.mark_id.hex()}  result {claims.digest.hex()}",
        markup=False,
    )


@app.command("verify")
def verify(
    mark: Text,
    keys: Annotated[Path, typer.Option(help="The signed key list of the issuer (its /trust/keys).")],
    roots: Annotated[Path, typer.Option(help="The issuer's root keys (lianren keys show --root).")],
    digest: Annotated[
        str, typer.Option(help="SHA-256 of the result's facts in hex, to check the binding.")
    ] = "",
) -> None:
    """Verify a mark offline: format, key, signature, expiry, and the result's digest where given."""
    from security.errors import TrustError
    from security.keys import PublicKey
    from security.mark import verify as verify_mark
    from security.trust import TrustList

    try:
        pinned = msgspec.json.decode(read_file(roots), type=tuple[PublicKey, ...])
        expected = bytes.fromhex(digest) if digest else None
    except (msgspec.MsgspecError, ValueError) as wrong:
        raise Stop(f"lianren: {roots if not digest else '--digest'} cannot be read: {wrong}") from None
    now = datetime.now(UTC)
    try:
        trust = TrustList(pinned).add(read_file(keys), now)
        held = verify_mark(_text(mark), trust=trust, now=now, expected_digest=expected)
    except TrustError as refused:
        raise Stop(f"refused: {refused}", status=1) from None
    console().print(f"valid: {held.claims.printed}, item {held.claims.item}, issued by {held.claims.issuer}")


def _text(mark: str) -> str:
    if mark.startswith("XR1:"):
        return mark
    return read_file(Path(mark)).decode("ascii", "replace").strip()
