"""``mark show``, ``mark verify``, ``mark print``, ``mark provenance`` and ``mark withdraw``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from gateway.model import WithdrawalIn
    from gateway.settings import Settings
    from security.mark import Claims
    from security.trust import TrustList

app = typer.Typer(help="Recognition marks.", no_args_is_help=True)
Text = Annotated[str, typer.Argument(help="The mark as printed (XR1:…), or a file that holds it.")]
Keys = Annotated[Path, typer.Option(help="The signed key list of the issuer (its /trust/keys).")]
Roots = Annotated[Path, typer.Option(help="The issuer's root keys (lianren keys show --root).")]


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
        f"状态清单 status list {claims.status or '–'}\n"
        "尚未核验，请用 nothing is verified yet, use: lianren mark verify",
        markup=False,
    )


@app.command("verify")
def verify(
    mark: Text,
    keys: Keys,
    roots: Roots,
    region: Annotated[
        str, typer.Option(help="Where it is shown: a region code of the bundled catalogue, as 510100.")
    ] = "",
    digest: Annotated[
        str, typer.Option(help="SHA-256 of the result's facts in hex, to check the binding.")
    ] = "",
    proof: Annotated[
        Path | None, typer.Option(help="Proof that the ledger holds it (/api/v1/marks/ID/proof).")
    ] = None,
    status: Annotated[
        Path | None, typer.Option(help="The issuer's list of withdrawn marks (its /trust/status).")
    ] = None,
    previous: Annotated[
        Path | None, typer.Option(help="The status list you kept from before, which this one must continue.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Verify a mark offline, in numbered steps; exit status 1 when one refuses it.

    1 format, 2 key, 3 signature, 4 scope, 5 expiry, 6 digest, 7 inclusion in the ledger, 8 withdrawn. Steps 4
    and 6 to 8 are made where their option is given; the others always are.
    """
    from security import status as status_lists
    from security.errors import MarkRefused, StatusRefused, TrustError
    from security.mark import verify as verify_mark

    try:
        expected = bytes.fromhex(digest) if digest else None
    except ValueError as wrong:
        raise Stop(f"lianren: --digest is not hex: {wrong}") from None
    now, text = datetime.now(UTC), _text(mark)
    try:
        trust = _trust(keys, roots, now)
        withdrawn: Callable[[Claims], str] | None = None
        if status is not None:
            held = status_lists.read(read_file(previous)) if previous else None
            withdrawn = status_lists.verify(read_file(status), trust=trust, now=now, held=held).withdrawn
        found = verify_mark(
            text,
            trust=trust,
            now=now,
            scope_contains=_contains(region) if region else None,
            expected_digest=expected,
            proof=read_file(proof) if proof else None,
            withdrawn=withdrawn,
        )
    except TrustError as refused:
        step = refused.step if isinstance(refused, MarkRefused) else "key"
        if isinstance(refused, StatusRefused):
            step = "withdrawn"
        if as_json:
            print_json({"valid": False, "step": step, "reason": str(refused)})
            raise typer.Exit(1) from None
        raise Stop(f"标识无效（{step}） refused at {step}: {refused}", status=1) from None
    claims = found.claims
    made = {"scope": bool(region), "digest": expected is not None, "inclusion": proof, "withdrawn": status}
    skipped = [step for step, given in made.items() if not given]
    if as_json:
        print_json(
            {
                "valid": True,
                "kid": found.kid,
                "algorithm": found.algorithm,
                "claims": claims,
                "not_made": skipped,
            }
        )
        return
    until = _when(claims.expires)
    console().print(
        f"标识有效：{claims.printed}，项目 {claims.item}，由 {claims.issuer} 签发，有效至 {until}\n"
        f"valid: {claims.printed}, item {claims.item}, issued by {claims.issuer}, expires {until}",
        markup=False,
    )
    if skipped:
        console().print(f"– 未核验 not made: {', '.join(skipped)}", markup=False)


@app.command("provenance")
def provenance(
    file: Annotated[Path, typer.Argument(help="A Provenance of a mark, in JSON (/fhir/Provenance/ID).")],
    keys: Keys,
    roots: Roots,
    as_json: AsJson = False,
) -> None:
    """Verify a FHIR Provenance offline: its signature over the result, and the mark in it.

    Whether the mark counts is another question: lianren mark verify. Exit status 1 when it is refused.
    """
    from gateway.marks.provenance import check
    from security.errors import MarkRefused, TrustError

    try:
        claims = check(read_file(file), _trust(keys, roots, datetime.now(UTC)))
    except TrustError as refused:
        step = refused.step if isinstance(refused, MarkRefused) else "key"
        if as_json:
            print_json({"valid": False, "step": step, "reason": str(refused)})
            raise typer.Exit(1) from None
        raise Stop(f"签名无效（{step}） refused at {step}: {refused}", status=1) from None
    if as_json:
        print_json({"valid": True, "claims": claims})
        return
    console().print(
        f"签名有效 valid: {claims.issuer}, 标识 mark {claims.mark_id.hex()}, 项目 item {claims.item}",
        markup=False,
    )


@app.command("print")
def print_mark(
    mark: Text,
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture to write: .svg (label) or .png.")],
) -> None:
    """Write a mark as a picture for a report: a label 90 mm wide as SVG, or the QR code alone as PNG."""
    from gateway.marks.printing import label, picture
    from security.errors import MarkRefused
    from security.mark import read

    make = {".svg": label, ".png": picture}.get(out.suffix.lower())
    if make is None:
        raise Stop(f"lianren: {out}: the name must end in .svg or .png")
    try:
        body = make(read(_text(mark)))
    except MarkRefused as refused:
        raise Stop(f"lianren: {refused}", status=1) from None
    try:
        out.write_bytes(body)
    except OSError as wrong:
        raise Stop(f"lianren: {out} cannot be written: {wrong.strerror}") from None
    console().print(f"已写入 written: {out}", markup=False)


@app.command("withdraw")
def withdraw(
    config: Config,
    reason: Annotated[
        str, typer.Option(help="amended, evaluation-failed, entered-in-error, issued-in-error or other.")
    ],
    marks: Annotated[list[str] | None, typer.Option("--mark", help="Id of a mark, in hex.")] = None,
    institution: Annotated[str, typer.Option(help="Code of the institution that examined.")] = "",
    item: Annotated[str, typer.Option(help="Item code; all items of the institution if left out.")] = "",
    from_: Annotated[str, typer.Option("--from", help="First day of examination, as 2026-03-01.")] = "",
    to: Annotated[str, typer.Option("--to", help="Last day of examination.")] = "",
    text: Annotated[str, typer.Option(help="Further words; no person's name or number.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Withdraw marks of this gateway: some by their ids, or all of an institution, item and time.

    A running gateway knows it in the next check, others when they fetch the status list. Exit status 1: the
    answer was no.
    """
    from gateway.marks.service import refuse_odd_words
    from gateway.model import WithdrawalIn
    from security.status import REASONS

    if reason not in REASONS:
        raise Stop(f"lianren: --reason must be one of {', '.join(REASONS)}")
    try:
        asked = msgspec.convert({"reason": reason, "text": text}, WithdrawalIn)
    except msgspec.ValidationError as wrong:
        raise Stop(f"lianren: --text: {wrong}") from None
    with plainly():
        refuse_odd_words(asked)
    if bool(marks) == bool(institution) or (institution and not (from_ and to)):
        raise Stop("lianren: name marks by --mark, or --institution with --from and --to")
    if not (yes or (sys.stdin.isatty() and not as_json)):
        raise Stop("lianren: there is no terminal to ask on; use --yes")
    days = (_day(from_, "--from"), _day(to, "--to")) if institution else None
    settings = settings_from(config)
    with plainly():
        withdrawn = asyncio.run(_withdraw(settings, asked, marks or (), institution, item, days, yes=yes))
    if as_json:
        print_json({"withdrawn": withdrawn})
    else:
        console().print(f"已撤回 withdrawn: {len(withdrawn)}", markup=False)


async def _withdraw(
    settings: Settings,
    asked: WithdrawalIn,
    marks: list[str] | tuple[()],
    institution: str,
    item: str,
    days: tuple[date, date] | None,
    *,
    yes: bool,
) -> list[str]:
    """Find the marks, ask, and withdraw them; their ids."""
    from gateway.keyring import Signers, open_keys
    from gateway.marks.withdrawing import Withdrawals
    from gateway.signing import Signing
    from gateway.wiring import open_catalogues

    async with open_catalogues(settings) as (_, sequencer):
        signing = Signing(Signers(open_keys(settings)).each("mark", settings.mark_algorithm))
        withdrawals = Withdrawals(settings.owner, sequencer, signing)
        await withdrawals.refresh()
        found = (
            await withdrawals.of_ids(marks)
            if days is None
            else await withdrawals.of_institution(institution, item, *days)
        )
        if missing := sorted(set(marks) - {claims.mark_id.hex() for claims in found}):
            raise Stop(f"lianren: --mark: not issued here: {', '.join(missing)}")
        wanted = [claims for claims in found if withdrawals.of_mark(claims.mark_id.hex()) is None]
        if not wanted:
            return []
        if not yes and not typer.confirm(f"撤回标识 withdraw {len(wanted)}?"):
            raise typer.Exit(1)
        await sequencer.start()
        try:
            now = datetime.now(UTC)
            done = await withdrawals.withdraw(
                wanted, asked.reason, by="command", now=now, text=asked.text.strip()
            )
        finally:
            await sequencer.close()
        return [one.mark for one in done]


def _trust(keys: Path, roots: Path, now: datetime) -> TrustList:
    from security.keys import PublicKey
    from security.trust import TrustList

    try:
        pinned = msgspec.json.decode(read_file(roots), type=tuple[PublicKey, ...])
    except msgspec.MsgspecError as wrong:
        raise Stop(f"lianren: {roots} holds no root keys: {wrong}") from None
    return TrustList(pinned).add(read_file(keys), now)


def _contains(region: str) -> Callable[[str], bool]:
    """Whether a scope of a mark contains a region, by the bundled catalogue."""
    from catalog import load

    catalogue = load()
    if region not in catalogue.regions:
        raise Stop(f"lianren: --region: {region} is no region of the bundled catalogue")
    return lambda scope: scope in catalogue.regions and catalogue.contains(scope, region)


def _day(text: str, option: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Stop(f"lianren: {option} must be a day, as 2026-03-01") from None


def _when(moment: datetime) -> str:
    """The time in Shanghai, to the minute, with its zone."""
    from recognition import SHANGHAI

    return moment.astimezone(SHANGHAI).isoformat(" ", "minutes").replace("+", " +")


def _text(mark: str) -> str:
    if mark.startswith("XR1:"):
        return mark
    return read_file(Path(mark)).decode("ascii", "replace").strip()
