"""Settings: one TOML file and environment variables ``LIANREN_…``; an unknown key is an error.

The environment wins over the file. Secrets come from files or the environment, never from the TOML: the
store's and Redis's addresses (they hold passwords) and the passphrase of the keys. ``docs/operator.md`` lists
every setting; a test compares.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from gateway.errors import SettingsError

Role = Literal["his", "auditor", "peer", "steward", "operator"]
PurposeOfUse = Literal["TREAT", "ETREAT", "BTG", "HOPERAT", "HPAYMT", "PUBHLTH", "PATRQT"]
"""Why data are asked for: codes of HL7 v3 PurposeOfUse, system
http://terminology.hl7.org/CodeSystem/v3-ActReason."""
ENV_PREFIX = "LIANREN_"
SECRET_KEYS = ("store", "redis")
LOOPBACK = ("127.0.0.1", "::1", "localhost")


_WORDS = {"extra_forbidden": "is no setting; see docs/operator.md", "missing": "is missing"}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NodeSettings(_Strict):
    """A system that is asked: a FHIR server, a DICOMweb archive, or another gateway."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$", description="name of the node in answers and logs")
    kind: Literal["fhir", "dicomweb", "gateway"] = Field(description="what protocol it speaks")
    url: str = Field(
        pattern=r"^https?://", description="base address; for `dicomweb` the one before /studies"
    )
    institution: str = Field(default="", description="code of the institution whose results it holds")
    further_institutions: list[str] = Field(
        default_factory=list, description="codes of further institutions whose results it may hold"
    )
    owner: str = Field(default="", description="for `gateway`: its owner id, which its answers must carry")
    identity: str = Field(
        default="", description="for `dicomweb`: id of the FHIR node that knows its patients"
    )
    timeout_ms: int = Field(default=400, ge=10, le=60_000, description="longest time for one question")
    token_file: Path | None = Field(default=None, description="file with the bearer token sent to the node")


class ClientSettings(_Strict):
    """A system that may ask this gateway."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$", description="name of the client in the log")
    institution: str = Field(default="", description="code of the institution on whose behalf it asks")
    roles: list[Role] = Field(min_length=1, description="what it may do")
    token_sha256: str = Field(
        default="", pattern=r"^([0-9a-f]{64})?$", description="SHA-256 of a fixed bearer token, in hex"
    )
    jwks_file: Path | None = Field(
        default=None, description="its public keys (JSON Web Key Set), for `private_key_jwt`"
    )
    jwks_url: str = Field(
        default="",
        pattern=r"^(https?://.*)?$",
        description="address its public keys come from instead",
    )
    certificates: list[str] = Field(
        default_factory=list,
        description="SHA-256 (base64url) of the client certificates it must come with (RFC 8705)",
    )
    owner: str = Field(default="", description="owner id whose keys sign its requests; every `peer` has one")
    scopes: list[str] = Field(
        default_factory=list, description="scopes it may be given; those of its roles if left out"
    )
    purposes: list[PurposeOfUse] = Field(
        default=["TREAT", "ETREAT"], min_length=1, description="purposes of use it may ask for"
    )
    requests_per_minute: int = Field(default=600, ge=1, description="requests it may send in a minute")


class PinSettings(_Strict):
    """The root keys of another gateway, brought over by hand; its signed key list must verify with them."""

    owner: str = Field(description="owner id of the other gateway")
    url: str = Field(pattern=r"^https?://", description="base address its key list is fetched from")
    keys_file: Path = Field(description="its pinned root keys, as `lianren keys show --root` prints them")
    witness: bool = Field(default=False, description="whether it cosigns this gateway's checkpoints")


class RetentionSettings(_Strict):
    """How many days is kept what names a pseudonym or holds a result; then it is erased. The ledger stays."""

    access_days: int = Field(
        default=1096, ge=180, description="payloads of questions, answers, views and exports"
    )
    decisions_days: int = Field(
        default=5479, ge=180, description="verdicts, outcomes and answers nobody cited in a record"
    )
    cited_days: int = Field(default=10_958, ge=180, description="those that were cited in a record")
    copies_days: int = Field(
        default=180, ge=1, description="copies of results, from which a case is replayed"
    )


class Settings(BaseSettings):
    """Everything that can be configured."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, extra="forbid", frozen=True, env_ignore_empty=True
    )

    name: str = Field(description="name of the gateway, shown to people")
    owner: str = Field(
        pattern=r"^[a-z][a-z0-9]{0,15}$", description="short id, in key ids and the log's origin"
    )
    region: str = Field(description="region code of the gateway's own area")
    base_url: str = Field(
        pattern=r"^https?://[!-~]{1,170}$", description="address under which others reach it; it is in marks"
    )
    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8080, ge=1, le=65535, description="port to listen on")
    data_dir: Path = Field(description="folder for keys and the embedded store")
    catalogue: Path | None = Field(
        default=None,
        description="catalogue folder, published at the start; the bundled illustrative one if unset and"
        " nothing was published",
    )
    catalogue_poll_s: int = Field(
        default=5, ge=1, le=3600, description="seconds between two looks for published editions"
    )
    deadline_ms: int = Field(
        default=500, ge=50, le=60_000, description="time for one check when the caller sets none"
    )
    lookback_days: int = Field(default=180, ge=1, le=3660, description="how far back nodes are asked")
    body_limit: int = Field(default=1_048_576, ge=1024, description="largest request body in bytes")
    mark_algorithm: Literal["Ed25519", "SM2"] = Field(default="Ed25519", description="algorithm of new marks")
    payload_cipher: Literal["AES-256-GCM", "SM4-GCM"] = Field(
        default="AES-256-GCM", description="cipher of what is kept beside the ledger"
    )
    pseudonyms_per_minute: int = Field(
        default=6000, ge=1, description="persons that each process looks up in a minute, all clients together"
    )
    access_token_s: int = Field(
        default=300, ge=60, le=3600, description="seconds that an access token counts"
    )
    refusals: Literal["terse", "explained"] = Field(
        default="terse", description="whether a refusal says which claim was missing; for tests"
    )
    uds: Path | None = Field(
        default=None, description="Unix socket to listen on instead of host and port, behind a proxy"
    )
    client_certificate_header: str = Field(
        default="",
        pattern=r"^([A-Za-z0-9-]{1,64})?$",
        description="header in which the proxy passes the client's certificate (nginx"
        " `$ssl_client_escaped_cert`); with `uds` only",
    )
    quorum: int = Field(
        default=2, ge=1, description="gateways that must have signed a checkpoint, this one counted"
    )
    witness_s: int = Field(
        default=5, ge=1, le=3600, description="seconds between two rounds to the witnesses"
    )
    status_s: int = Field(
        default=60,
        ge=1,
        le=86_400,
        description="seconds between two looks for withdrawn marks of others, and for their keys, at most 60",
    )
    disk_warn_mb: int = Field(
        default=1024, ge=1, description="free space of the embedded store below which readiness warns"
    )
    retention: RetentionSettings = Field(
        default_factory=RetentionSettings, description="how long what is erasable is kept, as [retention]"
    )
    demo: bool = Field(default=False, description="demo mode: refuses to listen on anything but loopback")
    store: str = Field(
        default="", description="postgresql:// address; embedded SQLite below data_dir if unset"
    )
    redis: str = Field(
        default="", description="redis:// address shared by replicas; in-process cache if unset"
    )
    key_passphrase_file: Path | None = Field(default=None, description="file with the passphrase of the keys")
    nodes: list[NodeSettings] = Field(default_factory=list, description="the nodes, as [[nodes]] tables")
    clients: list[ClientSettings] = Field(
        default_factory=list, description="who may ask, as [[clients]] tables"
    )
    pins: list[PinSettings] = Field(default_factory=list, description="other gateways, as [[pins]] tables")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment before the file (which comes in as init settings)."""
        return env_settings, init_settings


def load_settings(file: Path) -> Settings:
    """Read the TOML file and the environment.

    Raises:
        SettingsError: naming the key and what is wrong with it.
    """
    try:
        values: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as wrong:
        raise SettingsError(f"{file}: cannot be read ({wrong.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as wrong:
        raise SettingsError(f"{file}: is not TOML: {wrong}") from None
    for key in SECRET_KEYS:
        if key in values:
            raise SettingsError(f"{file}: {key!r} may hold a password; set {ENV_PREFIX}{key.upper()} instead")
    known = {*Settings.model_fields, "config"}  # LIANREN_CONFIG names this file
    for name in os.environ:
        if name.startswith(ENV_PREFIX) and name.removeprefix(ENV_PREFIX).lower() not in known:
            raise SettingsError(f"the environment variable {name} is no setting; see docs/operator.md")
    try:
        settings = Settings(**values)
    except ValidationError as wrong:
        first = wrong.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        variable = f"{ENV_PREFIX}{place.upper()}"
        where = variable if variable in os.environ else str(file)
        what = _WORDS.get(first["type"], first["msg"])
        raise SettingsError(f"{where}: {place}: {what}") from None
    return _checked(file, _from_folder(file.resolve().parent, settings))


def _from_folder(folder: Path, settings: Settings) -> Settings:
    """Relative paths count from the folder of the TOML, wherever the process was started."""

    def absolute(values: BaseModel) -> dict[str, Any]:
        return {
            name: folder / value
            for name, value in values
            if isinstance(value, Path) and not value.is_absolute()
        }

    return settings.model_copy(
        update={
            **absolute(settings),
            "nodes": [node.model_copy(update=absolute(node)) for node in settings.nodes],
            "clients": [client.model_copy(update=absolute(client)) for client in settings.clients],
            "pins": [pin.model_copy(update=absolute(pin)) for pin in settings.pins],
        }
    )


def _checked(file: Path, settings: Settings) -> Settings:
    """What one field alone cannot tell."""
    if settings.demo and settings.host not in LOOPBACK:
        raise SettingsError(f"{file}: host: the demo mode listens on loopback only, not on {settings.host}")
    for name in ("id", "token_sha256"):
        values = [getattr(client, name) for client in settings.clients]
        for number, value in enumerate(values):
            if value and values.index(value) < number:
                raise SettingsError(f"{file}: clients.{number}.{name}: another client has it already")
    fhir = {node.id for node in settings.nodes if node.kind == "fhir"}
    ids = [node.id for node in settings.nodes]
    for number, client in enumerate(settings.clients):
        _let_in(file, f"clients.{number}", client, settings)
    if settings.client_certificate_header and not settings.uds:
        raise SettingsError(
            f"{file}: client_certificate_header: needs uds; over TCP anybody could send that header"
        )
    for number, node in enumerate(settings.nodes):
        if ids.count(node.id) > 1:
            raise SettingsError(f"{file}: nodes.{number}.id: {node.id!r} is there twice")
        if node.kind == "dicomweb" and node.identity not in fhir:
            raise SettingsError(
                f"{file}: nodes.{number}.identity: {node.identity!r} is no FHIR node; an archive needs one"
                " that knows its patients' local numbers"
            )
        if node.kind != "gateway" and not node.institution:
            raise SettingsError(f"{file}: nodes.{number}.institution: is missing; whose results are these?")
        if node.kind == "gateway" and node.owner in ("", settings.owner):
            raise SettingsError(f"{file}: nodes.{number}.owner: must be the owner id of the other gateway")
        _over_tls(file, f"nodes.{number}.url", node.url)
    for number, pin in enumerate(settings.pins):
        _over_tls(file, f"pins.{number}.url", pin.url)
    days = settings.retention
    if days.cited_days < max(days.access_days, days.decisions_days):
        raise SettingsError(
            f"{file}: retention.cited_days: must not be less than access_days and decisions_days"
        )
    return settings


def _let_in(file: Path, key: str, client: ClientSettings, settings: Settings) -> None:
    """By what a client is recognised."""
    if client.jwks_file and client.jwks_url:
        raise SettingsError(f"{file}: {key}.jwks_url: there is a jwks_file already; name one of them")
    if not (client.token_sha256 or client.jwks_file or client.jwks_url):
        raise SettingsError(f"{file}: {key}: needs jwks_file, jwks_url or token_sha256 to be recognised by")
    if client.certificates and not settings.client_certificate_header:
        raise SettingsError(f"{file}: {key}.certificates: needs client_certificate_header")
    if any(not re.fullmatch(r"[A-Za-z0-9_-]{43}", one) for one in client.certificates):
        raise SettingsError(f"{file}: {key}.certificates: each is a SHA-256 in base64url, 43 characters")
    if client.owner and client.roles != ["peer"]:
        raise SettingsError(f"{file}: {key}.owner: is for clients with the role peer alone")
    if "peer" in client.roles and client.owner in ("", settings.owner):
        raise SettingsError(f"{file}: {key}.owner: must be the owner id whose keys sign its requests")
    if client.jwks_url:
        _over_tls(file, f"{key}.jwks_url", client.jwks_url)


def _over_tls(file: Path, key: str, url: str) -> None:
    """Person's numbers travel in questions: without TLS only inside this machine."""
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise SettingsError(f"{file}: {key}: must be https; http is for loopback only")
