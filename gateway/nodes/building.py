"""From settings to adapters: one line with its own pool a node, with its credentials and time-outs.

Credentials are read when an adapter is built, and again when their files change, so that a token or a client
certificate turns without a restart (:class:`Built`'s ``stamp``).
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from adapters import (
    DicomwebNode,
    FhirNode,
    Identities,
    Limits,
    Line,
    Node,
    NodeError,
    PeerGateway,
    PeerKeys,
    Timeouts,
    Tls,
)
from adapters.fhir_search import Dialect
from adapters.published import PublishedNode
from adapters.store import Store
from gateway.errors import SettingsError
from gateway.nodes.changing import Standing
from gateway.nodes.placed import Placed, Unusable
from gateway.settings import NodeSettings
from mapping.sites import Reads

FAN_OUT = 16
"""Calls of one question, at most: so many questions as there are connections have a turn at one time, and
none of their calls is turned away for lack of room."""
Stamp = tuple[tuple[int, int, int] | None, ...]


class Parts(Struct, frozen=True, kw_only=True):
    """What adapters need besides their settings. Without ``keys`` other gateways can only be pinged, and
    without a ``store`` published results cannot be had."""

    normaliser: Callable[[], Reads]
    keys: PeerKeys | None = None
    store: Store | None = None


class Built(Struct, frozen=True):
    """A node with what it was built from: its standing, its files as they were, its identity node."""

    placed: Placed
    standing: Standing
    stamp: Stamp
    identity: Node | None = None


def build(
    wanted: Sequence[Standing], parts: Parts, former: Mapping[str, Built] | None = None
) -> tuple[Built, ...]:
    """The nodes in their order. One that has not changed is taken over from ``former``; one that cannot be
    built is :class:`Unusable`, unless only its files went away: then it goes on with what it read before."""
    before = former or {}
    made: dict[str, Built] = {}
    for standing in sorted(wanted, key=lambda one: one.settings.kind == "dicomweb"):  # they need the others
        settings = standing.settings
        identity = made[settings.identity].placed.node if settings.identity in made else None
        old, stamp = before.get(settings.id), _stamp(settings)
        same = old and old.standing.settings == settings and old.identity is identity
        if old and same and (old.stamp, old.standing.refused) == (stamp, standing.refused):
            made[settings.id] = old
            continue
        node: Node
        try:
            node = _node(standing, parts, identity)
        except SettingsError as wrong:
            if old and same and not isinstance(old.placed.node, Unusable):
                made[settings.id] = old
                continue
            node = Unusable(settings, str(wrong))
        made[settings.id] = Built(Placed(node, settings), standing, stamp, identity)
    return tuple(made[standing.settings.id] for standing in wanted)


def line_of(settings: NodeSettings, headers: Mapping[str, str] | None = None) -> Line:
    """The connections to a node, with its credentials unless other ``headers`` are given.

    Raises:
        SettingsError: a file that it names cannot be read or used.
    """
    longest = (settings.timeout_ms + settings.late_ms) / 1000
    timeout = Timeouts(
        connect=settings.connect_ms / 1000,
        write=settings.write_ms / 1000,
        first_byte=settings.first_byte_ms / 1000,
        between_bytes=settings.between_bytes_ms / 1000,
        total=longest,
    )
    tls = tls_of(settings)
    try:
        if settings.url.startswith("https:"):
            tls.context()
        return Line(
            settings.url,
            timeout=timeout,
            headers=authorization_of(settings) if headers is None else headers,
            limits=Limits(connections=settings.connections, waiting=FAN_OUT * settings.connections),
            tls=tls,
            proxy=settings.proxy,
            charset=settings.charset,
        )
    except NodeError as wrong:
        raise SettingsError(wrong.detail) from None


def tls_of(settings: NodeSettings) -> Tls:
    """How a node's TLS is verified, and what is shown to it."""
    return Tls(
        ca_file=settings.ca_file,
        certificate_file=settings.certificate_file,
        certificate_key_file=settings.certificate_key_file,
    )


def dialect_of(settings: NodeSettings) -> Dialect:
    """How a FHIR server differs."""
    return Dialect(**settings.dialect.model_dump())


def _node(standing: Standing, parts: Parts, identity: Node | None) -> Node:
    """Raises SettingsError."""
    if standing.refused:
        raise SettingsError(standing.refused)
    if standing.settings.kind == "dicomweb" and not isinstance(identity, FhirNode):
        raise SettingsError(f"its identity node {standing.settings.identity} cannot be used")
    return adapter(standing.settings, parts, identity if isinstance(identity, FhirNode) else None)


def adapter(settings: NodeSettings, parts: Parts, identities: Identities | None = None) -> Node:
    """What speaks to a node; ``identities`` knows the local numbers of an archive's patients.

    Raises:
        SettingsError: a file that it names cannot be read or used, or something that it needs is not given.
    """
    timeout = settings.timeout_ms / 1000
    if settings.kind == "published":
        if parts.store is None:
            raise SettingsError("what was published stands in the store of a gateway")
        return PublishedNode(settings.id, settings.institution, parts.normaliser, parts.store)
    if settings.kind == "gateway":
        return PeerGateway(
            settings.id,
            settings.url,
            owner=settings.owner,
            keys=parts.keys,
            timeout=timeout,
            line=line_of(settings),
            images=line_of(settings, {}),
        )
    if settings.kind == "fhir":
        return FhirNode(
            settings.id,
            settings.url,
            settings.institution,
            parts.normaliser,
            timeout=timeout,
            line=line_of(settings),
            dialect=dialect_of(settings),
        )
    if identities is None:
        raise SettingsError("an archive cannot be asked without who knows its patients' numbers")
    return DicomwebNode(
        settings.id,
        settings.url,
        settings.institution,
        identities,
        parts.normaliser,
        timeout=timeout,
        line=line_of(settings),
        images=line_of(settings),
    )


def authorization_of(settings: NodeSettings) -> dict[str, str]:
    """The header with a node's credentials. Raises SettingsError."""
    if settings.token_file:
        return {"Authorization": f"Bearer {_secret(settings.token_file, 'token_file')}"}
    if settings.password_file:
        pair = f"{settings.user}:{_secret(settings.password_file, 'password_file')}"
        return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}  # RFC 7617, in UTF-8
    return {}


def _secret(file: Path, key: str) -> str:
    try:
        secret = file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        raise SettingsError(f"{key} {file} cannot be read") from None
    if not secret or not secret.isprintable() or (key == "token_file" and not secret.isascii()):
        raise SettingsError(f"{key} {file} must hold one line of text")
    return secret


def _stamp(settings: NodeSettings) -> Stamp:
    """The state of the files that a node names: whether they were written again."""
    return tuple(_state(value) for _, value in settings if isinstance(value, Path))


def _state(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except (OSError, ValueError):
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
