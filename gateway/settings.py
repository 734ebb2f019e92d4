"""Settings: one TOML file and environment variables ``LIANREN_…``; an unknown key is an error.

The environment wins over the file. Secrets come from files or the environment, never from the TOML: the
store's and Redis's addresses (they hold passwords) and the passphrase of the keys. ``docs/operator.md`` lists
every setting; a test compares.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from gateway._settings_checks import checked
from gateway.errors import SettingsError

Role = Literal["his", "auditor", "peer", "steward", "operator", "publisher"]
PurposeOfUse = Literal["TREAT", "ETREAT", "BTG", "HOPERAT", "HPAYMT", "PUBHLTH", "PATRQT"]
"""Why data are asked for: codes of HL7 v3 PurposeOfUse, system
http://terminology.hl7.org/CodeSystem/v3-ActReason."""
ENV_PREFIX = "LIANREN_"
SECRET_KEYS = ("store", "redis")


_WORDS = {"extra_forbidden": "is no setting; see docs/operator.md", "missing": "is missing"}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DialectSettings(_Strict):
    """How a node differs from what FHIR servers commonly understand."""

    search: Literal["post", "get"] = Field(
        default="post",
        description="`get` puts the person's number into the node's URLs; only where its logs are under"
        " control",
    )
    patient: Literal["reference", "id"] = Field(
        default="reference", description="how a search names the patient: `Patient/<id>` or the bare id"
    )
    since: bool = Field(default=True, description="whether it finds anything with a bound on the date")
    specimens: bool = Field(default=True, description="whether it is asked for the specimens of its results")
    page: int = Field(default=200, ge=1, le=1000, description="results asked for in one page")


class NodeSettings(_Strict):
    """A system that is asked: a FHIR server, a DICOMweb archive, another gateway, or what an institution
    published to this one."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$", description="name of the node in answers and logs")
    kind: Literal["fhir", "dicomweb", "gateway", "published"] = Field(description="what protocol it speaks")
    url: str = Field(
        default="",
        pattern=r"^(https?://.*)?$",
        description="base address; for `dicomweb` the one before /studies; none for `published`",
    )
    institution: str = Field(default="", description="code of the institution whose results it holds")
    further_institutions: list[str] = Field(
        default_factory=list, description="codes of further institutions whose results it may hold"
    )
    owner: str = Field(default="", description="for `gateway`: its owner id, which its answers must carry")
    identity: str = Field(
        default="", description="for `dicomweb`: id of the FHIR node that knows its patients"
    )
    kinds: list[Literal["imaging", "lab"]] = Field(
        default=["imaging", "lab"], min_length=1, description="what it is asked for"
    )
    publishes: bool = Field(
        default=False,
        description="whether it announces everything it holds; then it is asked only about persons it"
        " announced",
    )
    stores: bool = Field(
        default=False,
        description="for `dicomweb`: whether it takes the images that its institution stores (STOW-RS)",
    )
    timeout_ms: int = Field(default=400, ge=10, le=60_000, description="longest time for one question")
    connect_ms: int = Field(default=1000, ge=10, le=60_000, description="longest time to connect")
    write_ms: int = Field(default=5000, ge=10, le=60_000, description="longest time to send a request")
    first_byte_ms: int = Field(
        default=5000, ge=10, le=60_000, description="longest time until an answer begins"
    )
    between_bytes_ms: int = Field(
        default=2000, ge=10, le=60_000, description="longest time between two pieces of an answer"
    )
    late_ms: int = Field(
        default=5000,
        ge=0,
        le=60_000,
        description="how long an answer that misses the deadline is waited for, for the next question",
    )
    connections: int = Field(default=16, ge=1, le=256, description="requests to it at one time")
    waiting: int = Field(default=64, ge=0, le=4096, description="questions that may wait for their turn")
    hedge_ms: int = Field(
        default=0, ge=0, le=60_000, description="after which a read is asked a second time; 0: never"
    )
    breaker_failures: int = Field(
        default=5, ge=1, le=1000, description="failures in a row after which it is left alone for a while"
    )
    breaker_s: float = Field(default=5.0, ge=0.1, le=600, description="how long it is left alone, at first")
    token_file: Path | None = Field(default=None, description="file with the bearer token sent to the node")
    user: str = Field(default="", description="name for HTTP basic authentication")
    password_file: Path | None = Field(default=None, description="file with the password that goes with it")
    certificate_file: Path | None = Field(default=None, description="client certificate (PEM) shown to it")
    certificate_key_file: Path | None = Field(
        default=None, description="private key (PEM) of that certificate"
    )
    ca_file: Path | None = Field(
        default=None, description="certificates (PEM) that its own must come from, in place of the system's"
    )
    proxy: str = Field(
        default="", pattern=r"^(http://[!-?A-~]{1,200})?$", description="HTTP proxy on the way to it"
    )
    charset: Literal["utf-8", "gb18030"] = Field(
        default="utf-8", description="character set of its answers where they do not say"
    )
    dialect: DialectSettings = Field(
        default_factory=DialectSettings, description="how it differs, as [nodes.dialect]"
    )


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
    cds_issuer: str = Field(
        default="",
        pattern=r"^([!-~]{1,512})?$",
        description="`iss` of the JWT that it signs as a CDS Hooks client; none is taken if unset",
    )
    fhir_servers: list[str] = Field(
        default_factory=list,
        description="base addresses of its FHIR servers that CDS Hooks may fetch the Patient from",
    )
    notify: list[str] = Field(
        default_factory=list,
        description="addresses below which its subscriptions may have it notified; none if unset",
    )
    owner: str = Field(default="", description="owner id whose keys sign its requests; every `peer` has one")
    scopes: list[str] = Field(
        default_factory=list, description="scopes it may be given; those of its roles if left out"
    )
    purposes: list[PurposeOfUse] = Field(
        default=["TREAT", "ETREAT"], min_length=1, description="purposes of use it may ask for"
    )
    requests_per_minute: int = Field(
        default=600,
        ge=1,
        description="requests it may send in a minute; its viewers together a hundred times as many",
    )


class PinSettings(_Strict):
    """The root keys of another gateway, brought over by hand; its signed key list must verify with them."""

    owner: str = Field(description="owner id of the other gateway")
    url: str = Field(pattern=r"^https?://", description="base address its key list is fetched from")
    keys_file: Path = Field(description="its pinned root keys, as `lianren keys show --root` prints them")
    witness: bool = Field(default=False, description="whether it cosigns this gateway's checkpoints")


class RetentionSettings(_Strict):
    """How many days is kept what names a pseudonym or holds a result; then it is erased. The ledger stays."""

    access_days: int = Field(
        default=1096, ge=180, description="payloads of questions, answers, views, exports, publications"
    )
    decisions_days: int = Field(
        default=5479, ge=180, description="verdicts, outcomes and answers nobody cited in a record"
    )
    cited_days: int = Field(default=10_958, ge=180, description="those that were cited in a record")
    copies_days: int = Field(
        default=180, ge=1, description="copies of results, from which a case is replayed"
    )
    index_days: int = Field(
        default=366,
        ge=1,
        description="results that were published here, in all versions, and pointers to where results are,"
        " by the result's time; what has no time of its own (a Patient, an Organization) by when it was"
        " written or, if a Patient, last referred to",
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
    base_url: Annotated[str, AfterValidator(lambda url: url.rstrip("/"))] = Field(
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
    catalogue_poll_s: float = Field(
        default=5, ge=0.1, le=3600, description="seconds between two looks for published editions and nodes"
    )
    deadline_ms: int = Field(
        default=500, ge=50, le=60_000, description="time for one check when the caller sets none"
    )
    search_deadline_ms: int = Field(
        default=2000, ge=50, le=60_000, description="time for one search when the caller sets none"
    )
    hops: int = Field(
        default=1, ge=0, le=4, description="gateways that a question may pass, one after another"
    )
    cache_s: float = Field(
        default=2.0, ge=0, le=300, description="seconds that a node's results may be told again; 0: never"
    )
    cache_empty_s: float = Field(default=1.0, ge=0, le=300, description="the same where it had none")
    max_in_flight: int = Field(
        default=256, ge=1, le=65_536, description="requests worked on at one time by one process"
    )
    max_waiting: int = Field(
        default=512, ge=0, le=65_536, description="further ones that wait; more are refused with 503"
    )
    max_streams: int = Field(
        default=128,
        ge=1,
        le=65_536,
        description="images on their way at one time in one process, besides those requests",
    )
    drain_s: int = Field(
        default=20, ge=1, le=3600, description="seconds for requests in flight when told to stop"
    )
    otlp_url: str = Field(
        default="",
        pattern=r"^(https?://.*)?$",
        description="base address of a collector of OpenTelemetry traces (OTLP over HTTP, `/v1/traces` is"
        " added); none are made if unset",
    )
    lookback_days: int = Field(default=180, ge=1, le=3660, description="how far back nodes are asked")
    body_limit: int = Field(default=1_048_576, ge=1024, description="largest request body in bytes")
    store_bytes: int = Field(
        default=2_147_483_648,
        ge=1024,
        description="largest request that stores images; it lies in the folder for temporary files while it"
        " is looked at",
    )
    store_instance_bytes: int = Field(
        default=536_870_912, ge=1024, description="largest instance in it, also when it is inflated"
    )
    store_instances: int = Field(default=2000, ge=1, le=100_000, description="instances in it")
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
    cds_origins: list[str] = Field(
        default_factory=list,
        description="origins of web pages that may call `/cds-services` (CORS); none if unset",
    )
    viewer_url: str = Field(
        default="",
        pattern=r"^(https?://[!-~]{1,400})?$",
        description="address of an image viewer, with `{study_uid}` for the study and, where viewings are"
        " to link to it, `{token}`; cards link to one without a token",
    )
    viewer_origins: list[str] = Field(
        default_factory=list,
        description="origins of web pages that may call `/dicomweb` (CORS): viewers; none if unset",
    )
    viewing_minutes: int = Field(
        default=480,
        ge=1,
        le=480,
        description="longest time that a viewing of images is open; 30, where its caller does not say",
    )
    offload: str = Field(
        default="",
        pattern=r"^(/[a-z][a-z0-9-]{0,62})?$",
        description="internal location of the nginx in front, which fetches images from the archives by"
        " itself, as `lianren nginx` prints it; with `uds` only",
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
    notify_s: float = Field(
        default=2,
        ge=0.01,
        le=3600,
        description="seconds between two looks for what subscriptions are told of",
    )
    notify_retry_s: float = Field(
        default=30,
        ge=0.001,
        le=3600,
        description="seconds after which a notification that failed is sent again; doubled each time",
    )
    migrate: bool = Field(
        default=True, description="whether a start brings the tables up to date; false where a job does it"
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
        default="",
        description="what replicas share: redis:// or rediss://, or redis+cluster://host:port,host:port;"
        " each process for itself if unset",
    )
    key_passphrase_file: Path | None = Field(default=None, description="file with the passphrase of the keys")
    node_files: Path | None = Field(
        default=None,
        description="folder with the files that nodes set at run time may name; they may name none if unset",
    )
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
    return checked(file, _from_folder(file.resolve().parent, settings))


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
