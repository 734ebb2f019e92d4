"""``node accredit``: a new node's whole exchange, in its owner's house, and the report of it."""

from __future__ import annotations

import asyncio
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.commands.common import AsJson, Stop, console, plainly, print_json, read_file, settings_from

if TYPE_CHECKING:
    from gateway.accrediting import Finding, Patients, Report, Signed
    from gateway.catalogues import Catalogues
    from gateway.rules import Rules
    from gateway.settings import NodeSettings, Settings

_SIGNS = {"passed": "✓", "advice": "!", "fix": "✗", "not_made": "–"}


def accredit(
    node: Annotated[
        str, typer.Argument(help="Id of a node, or a TOML file with [[nodes]] of one that is not there yet.")
    ] = "",
    patients: Annotated[
        Path | None, typer.Option(help="The owner's synthetic patients, in JSON; docs/node.md says how.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", envvar="LIANREN_CONFIG", help="The gateway's TOML file."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where the report goes, without .json and .html.")] = None,
    questions: Annotated[int, typer.Option(min=0, max=10_000, help="Questions that are timed.")] = 40,
    verify: Annotated[Path | None, typer.Option(help="Verify this report instead.")] = None,
    keys: Annotated[
        Path | None, typer.Option(help="To verify: the gateway's key list (its /trust/keys).")
    ] = None,
    roots: Annotated[
        Path | None, typer.Option(help="To verify: its root keys (lianren keys show --root).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Put a node through everything a gateway does with it; the signed report says passed, or what to fix.

    Exit status 1: something is to fix, or the report is not as it was signed.
    """
    if verify:
        _verify(verify, config, keys, roots, as_json=as_json)
        return
    if not (node and patients and config):
        raise Stop("lianren: name a node, --patients and --config; or a report with --verify")
    from gateway.accrediting import page, read_patients, written

    settings = settings_from(config)
    with plainly():
        known = read_patients(read_file(patients))
        signed = asyncio.run(_accredit(settings, node, known, questions, quiet=as_json))
    prefix = out or Path(f"accreditation-{signed.report.node.id}")
    for suffix, content in ((".json", written(signed)), (".html", page(signed))):
        try:
            Path(f"{prefix}{suffix}").write_bytes(content)
        except OSError as wrong:
            raise Stop(f"lianren: {prefix}{suffix} cannot be written: {wrong.strerror}") from None
    if as_json:
        print_json(signed)
    else:
        _verdict(signed.report)
        console().print(f"报告 report: {prefix}.json, {prefix}.html", markup=False)
    raise typer.Exit(0 if signed.report.passed else 1)


async def _accredit(
    settings: Settings, name: str, patients: Patients, questions: int, *, quiet: bool
) -> Signed:
    from gateway.accrediting import Local, accredit, sign
    from gateway.keyring import Signers, open_keys
    from gateway.nodes import Parts, build
    from gateway.nodes.changing import Standing
    from gateway.sites import Sites
    from gateway.wiring import open_catalogues, open_changes

    def progress(finding: Finding) -> None:
        if not quiet:
            seen = f"  ({finding.seen})" if finding.seen else ""
            console().print(f"{_SIGNS[finding.state]} {finding.zh} {finding.en}{seen}", markup=False)

    keys = open_keys(settings)
    signer = Signers(keys).of("peer", settings.mark_algorithm)
    async with open_catalogues(settings) as (catalogues, sequencer):
        sites = Sites(settings, sequencer.store, keys, lambda *_, **__: None)
        await sites.poll()
        rules = sites.applied(_rules(catalogues))
    async with open_changes(settings) as (changes, _):
        standing = {one.settings.id: one for one in changes.standing()}
    local = any(patient.said.local for patient in patients.known)
    given = _of_file(Path(name)) if name not in standing else []
    standing |= {one.id: Standing(one) for one in given}
    _refuse(name, [one.settings for one in standing.values()], given, settings.owner, local=local)
    wanted = given[-1] if given else standing[name].settings
    helpers = [standing[wanted.identity]] if wanted.identity in standing and not local else []
    built = build(helpers, Parts(normaliser=lambda: rules.normaliser))
    try:
        report = await accredit(
            wanted,
            patients,
            identities=Local(patients.known) if local or not built else _identities(built[0].placed.node),
            catalogue=rules.catalogue,
            reads=rules.normaliser,
            owner=settings.owner,
            now=datetime.now(UTC),
            questions=questions,
            progress=progress,
        )
    finally:
        for one in built:
            await one.placed.node.aclose()
    return sign(report, signer)


def _rules(catalogues: Catalogues) -> Rules:
    """What is in force, or would be if the gateway started now."""
    now = datetime.now(UTC)
    started = [one.after for one in catalogues.folder(now).cut_overs if one.at <= now]
    return started[-1] if started else catalogues.rules


def _identities(node: Any) -> Any:
    from adapters import FhirNode

    if not isinstance(node, FhirNode):
        raise Stop(f"lianren: its identity node {node.id} cannot be used: {node.reason}")
    return node


def _of_file(file: Path) -> list[NodeSettings]:
    """The nodes of a file: the one to accredit last, and before it the FHIR node of an archive. Files of
    credentials count from the folder of that file."""
    from pydantic import ValidationError

    from gateway.settings import NodeSettings

    if not file.exists():
        raise Stop(f"lianren: {file} is neither a node of this gateway nor a file")
    try:
        tables = tomllib.loads(read_file(file).decode()).get("nodes", [])
        nodes = [_located(file.resolve().parent, NodeSettings(**table)) for table in tables]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as wrong:
        raise Stop(f"lianren: {file} is not TOML: {wrong}") from None
    except ValidationError as wrong:
        first = wrong.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise Stop(f"lianren: {file}: {place}: {first['msg']}") from None
    except TypeError:
        nodes = []
    if not nodes:
        raise Stop(f"lianren: {file} holds no [[nodes]]")
    return nodes


def _located(folder: Path, node: NodeSettings) -> NodeSettings:
    files = {key: folder / value for key, value in node if isinstance(value, Path)}
    return node.model_copy(update=files)


def _refuse(
    file: str, nodes: list[NodeSettings], given: list[NodeSettings], owner: str, *, local: bool
) -> None:
    """A node that no gateway would take is not asked either; with ``local`` numbers an archive may stand
    alone."""
    from gateway._settings_checks import node_defects

    for number, key, wrong in node_defects(nodes, owner):
        if nodes[number] in given and not (local and key == "identity"):
            raise Stop(f"lianren: {file}: {nodes[number].id}: {key}: {wrong}")


def _verify(file: Path, config: Path | None, keys: Path | None, roots: Path | None, *, as_json: bool) -> None:
    from gateway.accrediting import verify
    from security.errors import TrustError

    data = read_file(file)
    key_of = _keys(config, keys, roots)
    try:
        report = verify(data, key_of)
    except TrustError as refused:
        why = "".join(filter(str.isprintable, str(refused)))  # it may name the key that the file names
        raise Stop(f"签名无效 refused: {why}", 1) from None
    if as_json:
        print_json(report)
    else:
        console().print(f"签名有效 the signature holds: {report.gateway}, {report.made:%Y-%m-%d %H:%M} UTC")
        _verdict(report)


def _keys(config: Path | None, keys: Path | None, roots: Path | None) -> Any:
    """The keys of another gateway by its key list, or this one's own."""
    import msgspec

    from gateway.accrediting.signing import PURPOSE
    from gateway.keyring import open_keys
    from security.errors import TrustError
    from security.keys import PublicKey
    from security.trust import TrustList

    now = datetime.now(UTC)
    if keys and roots:
        try:
            pinned = msgspec.json.decode(read_file(roots), type=tuple[PublicKey, ...])
        except msgspec.MsgspecError as wrong:
            raise Stop(f"lianren: {roots} holds no root keys: {wrong}") from None
        with plainly():
            trust = TrustList(pinned).add(read_file(keys), now)
        return lambda kid, at: trust.key(kid, at, PURPOSE)
    if config is None or keys or roots:
        raise Stop("lianren: to verify, give --keys and --roots of the gateway, or its own --config")
    with plainly():
        own = {key.kid: key for key in open_keys(settings_from(config)).list()}

    def of(kid: str, at: datetime) -> PublicKey:
        if kid not in own:
            raise TrustError(f"{kid} is no key of this gateway")
        own[kid].check(at, PURPOSE)
        return own[kid]

    return of


def _verdict(report: Report) -> None:
    todo = [finding for finding in report.findings if finding.state == "fix"]
    out = console()
    for finding in todo:
        out.print(f"✗ {finding.id}: {finding.fix_zh} {finding.fix_en}", markup=False)
    said = "通过 passed" if report.passed else f"未通过，须整改 {len(todo)} 项 not passed, {len(todo)} to fix"
    out.print(f"{report.node.id}: {said}", markup=False, soft_wrap=not sys.stdout.isatty())
