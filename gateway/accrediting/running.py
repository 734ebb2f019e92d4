"""One accreditation: every check of a node in its order, and what came of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version

import msgspec

from adapters import Identities, NodeError
from catalog import Catalogue
from gateway.accrediting import behaviour, fhir
from gateway.accrediting.archive import Archive
from gateway.accrediting.kit import BUDGET, Kit, NothingShown, Seen
from gateway.accrediting.values import Finding, Latency, Patients, Report, about
from gateway.accrediting.words import WORDS
from gateway.errors import BadRequest
from gateway.nodes import Parts, adapter, line_of
from gateway.settings import NodeSettings
from mapping.sites import Reads

Progress = Callable[[Finding], None]


async def accredit(
    settings: NodeSettings,
    patients: Patients,
    *,
    identities: Identities | None = None,
    catalogue: Catalogue,
    reads: Reads,
    owner: str,
    now: datetime,
    questions: int = 40,
    progress: Progress = lambda finding: None,
) -> Report:
    """Put a FHIR server or a DICOMweb archive through everything that a gateway does with it.

    Args:
        settings: as the gateway would ask it.
        patients: the owner's synthetic patients.
        identities: for an archive, who knows its patients' local numbers.
        catalogue, reads: what names and units are held against.
        owner: the gateway that accredits.
        now: the time (aware).
        questions: how many are timed.
        progress: told each finding when it is made.

    Raises:
        BadRequest: it is no node of these two kinds.
        SettingsError: a file of its credentials cannot be read.
    """
    if settings.kind not in ("fhir", "dicomweb") or (settings.kind == "dicomweb" and identities is None):
        raise BadRequest("what is accredited are nodes of the kinds fhir and dicomweb", field="kind")
    patiently = settings.model_copy(update=_PATIENTLY)
    node = adapter(patiently, Parts(normaliser=lambda: reads), identities)
    line = line_of(patiently)
    kit = Kit(settings, node, line, patients, catalogue=catalogue, reads=reads, now=now)
    checks = Archive(identities).checks if identities and settings.kind == "dicomweb" else fhir.CHECKS
    findings: list[Finding] = []
    results = 0

    def note(id_: str, seen: Seen) -> None:
        findings.append(_finding(id_, Seen(seen.state, kit.told(seen.seen))))
        progress(findings[-1])

    measured: Latency | None = None
    try:
        for id_, check in checks.items():
            note(id_, await look(check, kit))
        if questions and "passed" in (one.state for one in findings if one.id == "identity.own"):
            seen, measured = await behaviour.latency(kit, questions)
            note("latency.questions", seen)
        with suppress(NothingShown, NodeError):
            results = len(await kit.results())
    finally:
        await node.aclose()
        await line.aclose()
    return Report(
        type="accreditation",
        made=now.replace(microsecond=0),
        gateway=owner,
        program=_program(),
        catalogue=catalogue.version,
        node=about(settings, kit.told(kit.software)),
        patients=len(patients.known),
        results=results,
        passed=all(finding.state != "fix" for finding in findings),
        findings=tuple(findings),
        latency=measured,
    )


_PATIENTLY = {
    "timeout_ms": int(BUDGET * 1000),
    "connect_ms": 10_000,
    "write_ms": 20_000,
    "first_byte_ms": 20_000,
    "between_bytes_ms": 10_000,
}
"""Whether something is right is one question, how long it takes another."""


async def look(check: Callable[[Kit], Awaitable[Seen]], kit: Kit) -> Seen:
    """Make one check; a node that fails it in any way is to be fixed, and breaks nothing here."""
    try:
        return await check(kit)
    except NodeError as wrong:
        return Seen("fix", wrong.detail)
    except NothingShown:
        return Seen("not_made", "identity.own")
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return Seen("fix", "it answered with something that cannot be read")


def _finding(id_: str, seen: Seen) -> Finding:
    words = WORDS[id_]
    todo = (words.fix_zh, words.fix_en) if seen.state in ("fix", "advice") else ("", "")
    return Finding(
        id=id_,
        state=seen.state,
        zh=words.zh,
        en=words.en,
        seen=seen.seen,
        fix_zh=todo[0],
        fix_en=todo[1],
    )


def _program() -> str:
    try:
        return version("lianren")
    except PackageNotFoundError:
        return ""
