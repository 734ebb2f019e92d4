"""Gateways as processes of their own, and wards that ask them, for tests that kill and restart things."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import msgspec

from gateway.demo.peers import lianren
from gateway.demo.processes import Peer, free_port, wait_until
from gateway.keyring import make_keys
from gateway.model import CheckAnswer
from gateway.settings import Settings
from security.export import CHECKPOINT, read_bundles
from security.ledger import read_entry
from security.note import checkpoint_of
from tests.e2e.conftest import lianren as command
from tests.gateway.live import CLIENTS, OWN, body, settings_for


def ward_client(name: str, requests_per_minute: int = 1_000_000) -> dict[str, Any]:
    """The settings of a hospital's client; its token is ``token-of-`` its name."""
    return {
        "id": name,
        "token_sha256": sha256(f"token-of-{name}".encode()).hexdigest(),
        "institution": OWN,
        "roles": ["his"],
        "requests_per_minute": requests_per_minute,
    }


def config_file(folder: Path, settings: Settings) -> Path:
    """The TOML file of these settings; addresses of stores stay in the environment."""
    written = settings.model_dump(
        mode="json", exclude_defaults=True, exclude_none=True, exclude={"store", "redis"}
    )
    file = folder / f"lianren-{settings.port}.toml"
    file.write_text(_toml(written), encoding="utf-8")
    return file


def _toml(written: dict[str, Any]) -> str:
    """Plain values, then tables of plain values, and tables of those."""
    lines = [f"{key} = {_value(value)}" for key, value in written.items() if not _tables(value)]
    for key, rows in written.items():
        for row in rows if _tables(rows) else ():
            lines += [f"[[{key}]]", *(f"{name} = {_value(value)}" for name, value in row.items())]
    return "\n".join(lines) + "\n"


def _tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _value(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_value(one)}" for name, one in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True)
class Fleet:
    """Replicas of one gateway, and the file of the first of them."""

    replicas: list[Peer]
    config: Path

    @property
    def urls(self) -> list[str]:
        return [replica.url for replica in self.replicas]


@contextmanager
def fleet(folder: Path, count: int, nodes: Sequence[dict[str, Any]], **more: Any) -> Iterator[Fleet]:
    """So many replicas of one gateway as processes; addresses of stores come from the environment."""
    unused = {name: name for name in CLIENTS}
    settings = settings_for(folder, unused, nodes, **({"clients": [ward_client("his")]} | more))
    make_keys(settings)
    with ExitStack() as stack:
        replicas, files = [], []
        for number in range(count):
            port = free_port()
            file = config_file(folder, settings.model_copy(update={"port": port}))
            url = f"http://127.0.0.1:{port}"
            words = ["serve", "-c", str(file)]
            replica = lianren(folder, words, url, f"{url}/health/live", name=f"replica-{number + 1}")
            replicas.append(stack.enter_context(replica))
            files.append(file)
        yield Fleet(replicas, files[0])


@contextmanager
def client_of(url: str, name: str = "his") -> Iterator[httpx.Client]:
    """A client of one replica."""
    headers = {"Authorization": f"Bearer token-of-{name}"}
    with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=30) as client:
        yield client


class Ward:
    """Asks one check after the other, and turns to the next replica where one is gone.

    Attributes:
        answered: the bytes of each answer, by the id of its check.
        refused: how often each refusal came: status, code, whose fault.
        unanswered: what was asked and not answered, because a replica went away or refused.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = list(urls)
        self._over = threading.Event()
        self.answered: dict[str, bytes] = {}
        self.refused: Counter[tuple[int, str, str]] = Counter()
        self.unanswered: list[dict[str, Any]] = []
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with ExitStack() as stack:
            clients = [stack.enter_context(client_of(url)) for url in self._urls]
            while not self._over.is_set():
                asked = body()
                try:
                    answer = clients[0].post("/api/v1/checks", json=asked)
                except httpx.TransportError:
                    self.unanswered.append(asked)
                    clients.append(clients.pop(0))
                    self._over.wait(0.02)
                    continue
                if answer.status_code == 200:
                    self.answered[answer.json()["id"]] = answer.content
                else:
                    told = answer.json()
                    self.refused[answer.status_code, told["code"], told["fault"]] += 1
                    self.unanswered.append(asked)
                    self._over.wait(0.02)

    def stop(self) -> None:
        self._over.set()


class Wards:
    """Wards that ask at the same time."""

    def __init__(self, wards: Sequence[Ward]) -> None:
        self.wards = list(wards)

    @property
    def answers(self) -> dict[str, bytes]:
        """Every answer there has been, by the id of its check."""
        return {id_: answer for ward in self.wards for id_, answer in list(ward.answered.items())}

    def go_on(self, count: int) -> None:
        """Wait until so many more checks were answered."""
        enough = len(self.answers) + count
        wait_until(lambda: len(self.answers) >= enough, 60)

    @property
    def refused(self) -> Counter[tuple[int, str, str]]:
        return sum((ward.refused for ward in self.wards), Counter())

    @property
    def unanswered(self) -> list[dict[str, Any]]:
        return [asked for ward in self.wards for asked in ward.unanswered]


@contextmanager
def asking(urls: Sequence[str], count: int) -> Iterator[Wards]:
    """So many wards, shared out over the replicas, that ask until the block ends."""
    wards = Wards([Ward([*urls[n % len(urls) :], *urls[: n % len(urls)]]) for n in range(count)])
    for ward in wards.wards:
        ward.thread.start()
    try:
        yield wards
    finally:
        for ward in wards.wards:
            ward.stop()
        for ward in wards.wards:
            ward.thread.join()


def assert_kept(config: Path, url: str, answers: dict[str, bytes], folder: Path) -> None:
    """Every answer is told again byte by byte, and is in the ledger, which verifies."""
    with client_of(url) as client:
        for id_, answer in answers.items():
            assert client.get(f"/api/v1/checks/{id_}").content == answer
    export = folder / "export"
    done = command("ledger", "export", "-c", str(config), "--disclose", str(export))
    assert done.returncode == 0, done.stderr
    done = command("ledger", "verify", str(export))
    assert done.returncode == 0, done.stdout
    size = checkpoint_of((export / CHECKPOINT).read_text(encoding="utf-8")).size
    entries = [entry for bundle in read_bundles(export, size) for entry in bundle]
    for answer in answers.values():
        held = msgspec.json.decode(answer, type=CheckAnswer).ledger
        assert read_entry(entries[held.index]).commit == held.entry
