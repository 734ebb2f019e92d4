"""What :mod:`gateway.doctor` says of nodes: there, on time, their certificates lasting, not left alone."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from adapters import NodeError, Report
from gateway.broker import LaneState
from gateway.errors import SettingsError
from gateway.nodes import Parts, Standing, build, line_of, tls_of
from gateway.settings import NodeSettings

DRIFT = timedelta(seconds=5)
"""By how much a node's clock may differ: times decide what may be recognised."""
PATIENCE_S = 3.0
_PATHS = {"fhir": "metadata", "dicomweb": "studies?limit=1", "gateway": "health/live"}
Row = tuple[str, bool, str]
"""What was looked at, whether it is in order, and what was found."""


async def examined(
    standing: Sequence[Standing], parts: Parts, states: Mapping[str, LaneState], soon: timedelta
) -> list[Row]:
    """One row a node, and further ones for its certificates. ``states`` are those of a running gateway."""
    nodes = [built.placed for built in build(standing, parts)]
    try:
        reports = await asyncio.gather(*(one.node.ping() for one in nodes))
    finally:
        await asyncio.gather(*(one.node.aclose() for one in nodes))
    beside = await asyncio.gather(*(_beside(one.settings, soon) for one in nodes))
    return [
        row
        for report, (drift, rows) in zip(reports, beside, strict=True)
        for row in (_row(report, drift, states.get(report.node)), *rows)
    ]


def _row(report: Report, drift: timedelta | None, state: LaneState | None) -> Row:
    ok = report.state in ("answered", "empty")
    told = f"{report.state} in {report.took_ms} ms" + (f": {report.detail}" if report.detail else "")
    if drift is not None and abs(drift) > DRIFT:
        ok, told = False, f"{told}; its clock differs by {drift.total_seconds():+.0f} s"
    if state and state.breaker != "closed":
        ok = False
        told = f"{told}; left alone after {state.failures} failures ({state.reason})"
    return f"node {report.node}", ok, told


async def _beside(settings: NodeSettings, soon: timedelta) -> tuple[timedelta | None, list[Row]]:
    """How far its clock is off, and how long certificates last."""
    ends = {"client certificate": _own_certificate(settings), "certificate": await _certificate(settings)}
    rows = [_lasting(f"node {settings.id} {what}", when, soon) for what, when in ends.items() if when]
    return await _drift(settings), rows


async def _drift(settings: NodeSettings) -> timedelta | None:
    """By its Date header (RFC 9110 section 6.6.1); nothing where it has none."""
    if not settings.url:
        return None
    try:
        line = line_of(settings)
    except SettingsError:
        return None
    try:
        reply = await line.exchange("GET", _PATHS[settings.kind], budget=PATIENCE_S)
        return parsedate_to_datetime(reply.headers.get("date", "")) - datetime.now(UTC)
    except (NodeError, ValueError, TypeError):
        return None
    finally:
        await line.aclose()


async def _certificate(settings: NodeSettings) -> datetime | None:
    """When the certificate that it shows ends; nothing where none can be had, which its row tells."""
    parts = urlsplit(settings.url)
    if parts.scheme != "https" or settings.proxy:
        return None
    try:
        async with asyncio.timeout(PATIENCE_S):
            _, writer = await asyncio.open_connection(
                parts.hostname, parts.port or 443, ssl=tls_of(settings).context()
            )
    except (OSError, NodeError):
        return None
    shown = writer.get_extra_info("peercert")
    writer.close()
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(shown["notAfter"]), UTC)


def _own_certificate(settings: NodeSettings) -> datetime | None:
    from cryptography import x509

    if settings.certificate_file is None:
        return None
    try:
        return x509.load_pem_x509_certificate(settings.certificate_file.read_bytes()).not_valid_after_utc
    except (OSError, ValueError):
        return None


def _lasting(what: str, ends: datetime, soon: timedelta) -> Row:
    ok = ends - datetime.now(UTC) > soon
    return what, ok, f"counts until {ends:%Y-%m-%d}" + ("" if ok else "; renew it")
