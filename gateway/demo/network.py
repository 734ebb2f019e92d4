"""The demonstration network: three gateways over real nodes on loopback, with the records of ``records.py``.

Everything it writes lies below one folder: ``run/``, made anew at each start, ``run.previous/``, which is the
run before, and ``packages/`` (what npm brought). Everything it starts ends with it. One network at a time
uses a folder; a second start says so.
"""

from __future__ import annotations

import csv
import fcntl
import hashlib
import json
import secrets
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import httpx
import msgspec

from catalog import BUNDLED, Qualification
from gateway.demo import peers, processes
from gateway.demo.processes import LOOPBACK, Peer, PeerError
from gateway.demo.records import ARCHIVES, NODES, Records, everything
from gateway.demo.studies import store as store_study
from gateway.keeper import roots_of
from gateway.keyring import make_keys, open_keys
from gateway.settings import load_settings

GATEWAYS = {"cq": ("重庆示例", "500000"), "sc": ("四川示例", "510000"), "lab8": ("检验联盟示例", "LAB8")}
OWNERS = {
    "cq": ("EX-CQ-01",),
    "sc": ("EX-SC-01",),
    "lab8": tuple(code for code in NODES if code not in ("EX-CQ-01", "EX-SC-01")),
}
FURTHER = {"EX-CQ-01": ["EX-CQ-02"]}
"""Institutions without a system of their own, whose results another one's system holds."""
FOREIGN_NODE = "hn-lis"
"""The node that a foreign FHIR server plays where node and npm are there."""

Say = Callable[[str], None]


@dataclass
class DemoGateway:
    """One gateway of the network: how to reach it, and the token of each institution that may ask."""

    owner: str
    name: str
    url: str
    config: Path
    tokens: dict[str, str]


@dataclass
class Network:
    """The running network. ``nodes`` are the systems that are asked; ``notes`` what a person should know."""

    now: datetime
    records: Records
    gateways: dict[str, DemoGateway] = field(default_factory=dict)
    nodes: dict[str, Peer] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@contextmanager
def running(folder: Path, port: int | None, say: Say) -> Iterator[Network]:
    """Start the network, and stop all of it at the end.

    Args:
        folder: where it writes; created if it is not there.
        port: the first of three for the gateways; free ones if None.
        say: told each step, in a few words.

    Raises:
        PeerError: with one line: a port in use, a second start, a server that did not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder = folder.resolve()
    with ExitStack() as stack:
        stack.enter_context(_alone(folder))
        ports = [processes.checked_port(port + n if port else None) for n in range(3)]
        work = _fresh(folder, say)
        network = Network(datetime.now(UTC), Records({}, {}, ()))
        stack.callback(_stop, network, say)
        say("starting archives and FHIR nodes")
        with ThreadPoolExecutor(4) as pool:
            network.records = everything(network.now)
            started = [pool.submit(_archive, network, work, name) for name in ARCHIVES.values()]
            started += [pool.submit(_fhir_node, network, folder, work, code) for code in NODES]
            for future in started:
                future.result()
        say("loading synthetic patients, reports and images")
        _seed(network)
        say("starting three gateways")
        _gateways(network, work, ports)
        yield network


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    lock: IO[str] = (folder / "lock").open("a")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise PeerError(f"a demo already runs in {folder}; stop it, or choose another --folder") from None
        yield


def _fresh(folder: Path, say: Say) -> Path:
    work, previous = folder / "run", folder / "run.previous"
    if work.exists():
        shutil.rmtree(previous, ignore_errors=True)
        work.rename(previous)
        say(f"the last run is kept in {previous}")
    work.mkdir()
    return work


def _stop(network: Network, say: Say) -> None:
    say("stopping")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda peer: peer.stop(), network.nodes.values()))


def _archive(network: Network, work: Path, name: str) -> None:
    peer = peers.dicomweb(work, name)
    network.nodes[name] = peer
    if peer.kind != "orthanc" and not network.notes:
        network.notes.append(
            "图像由 tiny-pacs 提供；完整演示请安装 Orthanc / for the full demonstration:"
            " apt-get install --no-install-recommends orthanc orthanc-dicomweb"
        )


def _fhir_node(network: Network, folder: Path, work: Path, institution: str) -> None:
    name = NODES[institution]
    if name == FOREIGN_NODE:
        try:
            network.nodes[name] = peers.medplum(folder / "packages", name=name)
        except PeerError as missing:
            network.notes.append(f"{name} is a node of our own instead of a foreign FHIR server: {missing}")
        else:
            return
    port = processes.free_port()
    url = f"http://{LOOPBACK}:{port}"
    words = [
        "source",
        "--store",
        str(work / f"{name}.sqlite3"),
        "--institution",
        institution,
        "--port",
        str(port),
    ]
    network.nodes[name] = peers.lianren(work, words, url, f"{url}/metadata", name=name)


def _seed(network: Network) -> None:
    with httpx.Client(timeout=60, trust_env=False) as client:
        for name, bundle in network.records.bundles.items():
            headers = {"Content-Type": "application/fhir+json"}
            response = client.post(network.nodes[name].url, content=bundle, headers=headers)
            if response.status_code != 200:
                raise PeerError(f"{name} did not take its records: it answered {response.status_code}")
    for archive, studies in network.records.studies.items():
        for study in studies:
            store_study(network.nodes[archive].url, study)


def _gateways(network: Network, work: Path, ports: list[int]) -> None:
    catalogue = _catalogue(work / "catalogue", network.records.qualifications)
    peer_tokens = {(asker, asked): secrets.token_urlsafe(24) for asker in GATEWAYS for asked in GATEWAYS}
    for (owner, (name, _)), port in zip(GATEWAYS.items(), ports, strict=True):
        home = work / owner
        (home / "data").mkdir(parents=True)
        (home / "passphrase").touch(mode=0o600)
        (home / "passphrase").write_text(secrets.token_urlsafe(32))
        institutions = (*OWNERS[owner],)
        tokens = {code: secrets.token_urlsafe(24) for code in institutions}
        network.gateways[owner] = DemoGateway(
            owner, name, f"http://{LOOPBACK}:{port}", home / "lianren.toml", tokens
        )
    for gateway in network.gateways.values():
        gateway.config.write_text(_toml(network, gateway, work, catalogue, peer_tokens), encoding="utf-8")
        _make_keys(gateway, work)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda gateway: _serve(network, work, gateway), network.gateways.values()))


def _serve(network: Network, work: Path, gateway: DemoGateway) -> None:
    def ready() -> bool:
        try:
            answer = httpx.get(f"{gateway.url}/health/ready", timeout=2, trust_env=False)
        except httpx.HTTPError:
            return False
        return answer.status_code == 200 and answer.json()["key_lists_missing"] == []

    words = ["serve", "--config", str(gateway.config)]
    name = f"gateway-{gateway.owner}"
    network.nodes[name] = peers.lianren(work, words, gateway.url, ready, name=name)


def _catalogue(folder: Path, further: tuple[Qualification, ...]) -> Path:
    """The bundled catalogue with the qualifications that hang on today's date."""
    shutil.copytree(BUNDLED, folder)
    file = folder / "national/qualifications.csv"
    with file.open(encoding="utf-8-sig", newline="") as opened:
        columns = next(csv.reader(opened))
    with file.open("a", encoding="utf-8", newline="") as opened:
        writer = csv.DictWriter(opened, columns, restval="")
        for qualification in further:
            fields = msgspec.to_builtins(qualification)
            writer.writerow({name: "" if fields.get(name) is None else fields[name] for name in columns})
    return folder


def _make_keys(gateway: DemoGateway, work: Path) -> None:
    settings = load_settings(gateway.config)
    make_keys(settings)
    roots = roots_of(open_keys(settings), gateway.owner)
    (work / f"{gateway.owner}-roots.json").write_bytes(msgspec.json.encode(roots))


def _toml(
    network: Network,
    gateway: DemoGateway,
    work: Path,
    catalogue: Path,
    peer_tokens: dict[tuple[str, str], str],
) -> str:
    home = gateway.config.parent
    others = [other for other in network.gateways.values() if other is not gateway]
    top: dict[str, object] = {
        "name": gateway.name,
        "owner": gateway.owner,
        "region": GATEWAYS[gateway.owner][1],
        "base_url": gateway.url,
        "port": int(gateway.url.rpartition(":")[2]),
        "data_dir": str(home / "data"),
        "catalogue": str(catalogue),
        "key_passphrase_file": str(home / "passphrase"),
        "deadline_ms": 4000,
        "demo": True,
        "refusals": "explained",
    }
    tables: list[tuple[str, dict[str, object]]] = []
    for institution in OWNERS[gateway.owner]:
        name = NODES[institution]
        node = {"id": name, "kind": "fhir", "url": network.nodes[name].url, "institution": institution}
        further = FURTHER.get(institution, [])
        tables.append(("nodes", {**node, "further_institutions": further, "timeout_ms": 3000}))
        if archive := ARCHIVES.get(institution):
            node = {"id": archive, "kind": "dicomweb", "url": network.nodes[archive].url, "identity": name}
            tables.append(("nodes", {**node, "institution": institution, "timeout_ms": 3000}))
        digest = hashlib.sha256(gateway.tokens[institution].encode()).hexdigest()
        client: dict[str, object] = {"id": f"his-{institution.lower()}", "institution": institution}
        tables.append(("clients", {**client, "roles": ["his"], "token_sha256": digest}))
    readers = {"steward-1": "steward", "steward-2": "steward", "auditor": "auditor"}
    for reader, role in readers.items():  # two stewards, for names that take two
        token = secrets.token_urlsafe(24)
        token_file = home / f"{reader}-token"
        token_file.write_text(token)
        token_file.chmod(0o600)
        digest = hashlib.sha256(token.encode()).hexdigest()
        tables.append(("clients", {"id": reader, "roles": [role], "token_sha256": digest}))
    for other in others:
        token_file = home / f"token-{other.owner}"
        token_file.write_text(peer_tokens[gateway.owner, other.owner])
        token_file.chmod(0o600)
        peer = {"id": f"gw-{other.owner}", "kind": "gateway", "url": other.url, "owner": other.owner}
        tables.append(("nodes", {**peer, "timeout_ms": 3600, "token_file": str(token_file)}))
        digest = hashlib.sha256(peer_tokens[other.owner, gateway.owner].encode()).hexdigest()
        client = {"id": f"gw-{other.owner}", "roles": ["peer"], "owner": other.owner, "token_sha256": digest}
        tables.append(("clients", client))
        roots = str(work / f"{other.owner}-roots.json")
        pin = {"owner": other.owner, "url": other.url, "keys_file": roots, "witness": True}
        tables.append(("pins", pin))
    lines = [f"{name} = {_value(value)}" for name, value in top.items()]
    for name, fields in tables:
        lines += ["", f"[[{name}]]", *(f"{key} = {_value(value)}" for key, value in fields.items())]
    return "\n".join(lines) + "\n"


def _value(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)  # a JSON string, number, boolean or list of strings is TOML
