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
        f"{claims.printed}  项目 item {claims.item}  机构 institution {claims.institution}"
        f"  检查时间 performed {_when(claims.performed)}\n"
        f"签发 issued {_when(claims.issued)} by {claims.issuer} (key {held.kid}, {held.algorithm})"
        f"  有效至 expires {_when(claims.expires)}\n"
        f"标识 mark {claims.mark_id.hex()}  结果摘要 result {claims.digest.hex()}\n"
        "尚未核验，请用 nothing is verified yet, use: lianren mark verify",
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
    as_json: AsJson = False,
) -> None:
    """Verify a mark offline: format, key, signature, expiry, and the result's digest where given.

    Exit status 1 when it is refused; withdrawal is seen in the ledger alone.
    """
    from security.errors import MarkRefused, TrustError
    from security.keys import PublicKey
    from security.mark import verify as verify_mark
    from security.trust import TrustList

    try:
        pinned = msgspec.json.decode(read_file(roots), type=tuple[PublicKey, ...])
    except msgspec.MsgspecError as wrong:
        raise Stop(f"lianren: {roots} holds no root keys: {wrong}") from None
    try:
        expected = bytes.fromhex(digest) if digest else None
    except ValueError as wrong:
        raise Stop(f"lianren: --digest is not hex: {wrong}") from None
    now = datetime.now(UTC)
    try:
        trust = TrustList(pinned).add(read_file(keys), now)
        held = verify_mark(_text(mark), trust=trust, now=now, expected_digest=expected)
    except TrustError as refused:
        step = refused.step if isinstance(refused, MarkRefused) else "key"
        if as_json:
            print_json({"valid": False, "step": step, "reason": str(refused)})
            raise typer.Exit(1) from None
        raise Stop(f"标识无效（{step}） refused at {step}: {refused}", status=1) from None
    claims = held.claims
    if as_json:
        print_json({"valid": True, "kid": held.kid, "algorithm": held.algorithm, "claims": claims})
        return
    until = _when(claims.expires)
    console().print(
        f"标识有效：{claims.printed}，项目 {claims.item}，由 {claims.issuer} 签发，有效至 {until}\n"
        f"valid: {claims.printed}, item {claims.item}, issued by {claims.issuer}, expires {until}",
        markup=False,
    )


def _when(moment: datetime) -> str:
    """The time in Shanghai, to the minute, with its zone."""
    from recognition import SHANGHAI

    return moment.astimezone(SHANGHAI).isoformat(" ", "minutes").replace("+", " +")


def _text(mark: str) -> str:
    if mark.startswith("XR1:"):
        return mark
    return read_file(Path(mark)).decode("ascii", "replace").strip()
