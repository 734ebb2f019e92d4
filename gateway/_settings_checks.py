"""What no field of the settings can tell alone. Nodes that are set at run time go through the same checks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from adapters import NodeError
from adapters.transport import Origin
from gateway.errors import SettingsError

if TYPE_CHECKING:
    from gateway.settings import ClientSettings, NodeSettings, Settings

LOOPBACK = ("127.0.0.1", "::1", "localhost")
_NO_ADDRESS = "must be http(s)://host[:port]/path in ASCII, with no name, password, query or fragment"
_OVER_TLS = "must be https; http is for loopback only"
_ORIGIN = re.compile(r"https?://[a-z0-9.:\[\]-]+")  # as browsers send it (RFC 6454 section 6.1)
_NO_ORIGIN = "must be scheme://host[:port] in small letters, with nothing after it"


def checked(file: Path, settings: Settings) -> Settings:
    """The same settings.

    Raises:
        SettingsError: naming the key, and what is wrong with it.
    """
    if settings.demo and settings.host not in LOOPBACK:
        raise SettingsError(f"{file}: host: the demo mode listens on loopback only, not on {settings.host}")
    for name in ("id", "token_sha256", "cds_issuer"):
        values = [getattr(client, name) for client in settings.clients]
        for number, value in enumerate(values):
            if value and values.index(value) < number:
                raise SettingsError(f"{file}: clients.{number}.{name}: another client has it already")
    for number, client in enumerate(settings.clients):
        _let_in(file, f"clients.{number}", client, settings)
    if settings.client_certificate_header and not settings.uds:
        raise SettingsError(
            f"{file}: client_certificate_header: needs uds; over TCP anybody could send that header"
        )
    if settings.offload and not settings.uds:
        raise SettingsError(f"{file}: offload: needs uds; over TCP anybody would be told an archive's token")
    for key in ("cds_origins", "viewer_origins"):
        for number, origin in enumerate(getattr(settings, key)):
            if wrong := _unusable(origin) or ("" if _ORIGIN.fullmatch(origin) else _NO_ORIGIN):
                raise SettingsError(f"{file}: {key}.{number}: {wrong}")
    if settings.viewer_url and "{study_uid}" not in settings.viewer_url:
        raise SettingsError(f"{file}: viewer_url: must say where the study goes: {{study_uid}}")
    if settings.otlp_url and _unusable(settings.otlp_url) == _NO_ADDRESS:
        raise SettingsError(f"{file}: otlp_url: {_NO_ADDRESS}")
    for number, key, wrong in node_defects(settings.nodes, settings.owner):
        raise SettingsError(f"{file}: nodes.{number}.{key}: {wrong}")
    for number, pin in enumerate(settings.pins):
        if wrong := _unusable(pin.url):
            raise SettingsError(f"{file}: pins.{number}.url: {wrong}")
    days = settings.retention
    if days.cited_days < max(days.access_days, days.decisions_days):
        raise SettingsError(
            f"{file}: retention.cited_days: must not be less than access_days and decisions_days"
        )
    return settings


def node_defects(nodes: Sequence[NodeSettings], owner: str) -> Iterator[tuple[int, str, str]]:
    """What is wrong with these nodes together: the place of a node, its key, and one sentence."""
    fhir = {node.id for node in nodes if node.kind == "fhir"}
    ids = [node.id for node in nodes]
    for number, node in enumerate(nodes):
        if ids.index(node.id) < number:
            yield number, "id", f"{node.id!r} is there twice"
        if node.kind == "dicomweb" and node.identity not in fhir:
            yield (
                number,
                "identity",
                f"{node.identity!r} is no FHIR node; an archive needs one that knows its local numbers",
            )
        if node.kind != "dicomweb" and node.identity:
            yield number, "identity", "is for archives (dicomweb) alone"
        if node.kind != "dicomweb" and node.stores:
            yield number, "stores", "is for archives (dicomweb) alone"
        if node.kind != "gateway" and not node.institution:
            yield number, "institution", "is missing; whose results are these?"
        if node.kind == "gateway" and node.owner in ("", owner):
            yield number, "owner", "must be the owner id of the other gateway"
        if node.kind != "published" and (wrong := _unusable(node.url)):
            yield number, "url", wrong
        if node.kind == "published" and node.url:
            yield number, "url", "is for nodes that are asked; what is published to this gateway is here"
        proxy = _unusable(node.proxy) if node.proxy else ""
        if proxy == _NO_ADDRESS:
            yield number, "proxy", proxy
        elif proxy and node.url.startswith("http:"):
            yield number, "proxy", "would read the questions, because the url is not https"
        if bool(node.user) != bool(node.password_file):
            yield number, "user", "goes together with password_file"
        if node.user and node.token_file:
            yield number, "token_file", "there is a user already; name one of them"
        if ":" in node.user or not node.user.isprintable():
            yield number, "user", "must not hold a colon or control characters (RFC 7617)"
        if node.certificate_key_file and not node.certificate_file:
            yield number, "certificate_key_file", "needs certificate_file"


def _let_in(file: Path, key: str, client: ClientSettings, settings: Settings) -> None:
    """By what a client is recognised."""
    if client.jwks_file and client.jwks_url:
        raise SettingsError(f"{file}: {key}.jwks_url: there is a jwks_file already; name one of them")
    if not (client.token_sha256 or client.jwks_file or client.jwks_url):
        raise SettingsError(f"{file}: {key}: needs jwks_file, jwks_url or token_sha256 to be recognised by")
    if client.cds_issuer and not (client.jwks_file or client.jwks_url):
        raise SettingsError(f"{file}: {key}.cds_issuer: needs jwks_file or jwks_url to verify its JWT by")
    for place, server in enumerate(client.fhir_servers):
        if wrong := _unusable(server):
            raise SettingsError(f"{file}: {key}.fhir_servers.{place}: {wrong}")
    for place, address in enumerate(client.notify):
        if wrong := _unusable(address):
            raise SettingsError(f"{file}: {key}.notify.{place}: {wrong}")
    if client.certificates and not settings.client_certificate_header:
        raise SettingsError(f"{file}: {key}.certificates: needs client_certificate_header")
    if any(not re.fullmatch(r"[A-Za-z0-9_-]{43}", one) for one in client.certificates):
        raise SettingsError(f"{file}: {key}.certificates: each is a SHA-256 in base64url, 43 characters")
    if client.owner and client.roles != ["peer"]:
        raise SettingsError(f"{file}: {key}.owner: is for clients with the role peer alone")
    if "peer" in client.roles and client.owner in ("", settings.owner):
        raise SettingsError(f"{file}: {key}.owner: must be the owner id whose keys sign its requests")
    keys, _, query = client.jwks_url.partition("?")  # of all addresses this one may have a query
    wrong = _unusable(keys) if re.fullmatch(r'[!"$-~]*', query) else _NO_ADDRESS
    if client.jwks_url and wrong:
        raise SettingsError(f"{file}: {key}.jwks_url: {wrong}")


def _unusable(url: str) -> str:
    """What is wrong with an address that is asked, or nothing. Persons' numbers travel in questions: without
    TLS only inside this machine."""
    try:
        origin = Origin.of(url)
    except NodeError:
        return _NO_ADDRESS
    return "" if origin.scheme == "https" or origin.host in LOOPBACK else _OVER_TLS
