"""Three gateways that witness each other and sign what goes between them, over one node."""

from __future__ import annotations

import asyncio
import io
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

import httpx
import msgspec
import pytest

from adapters import StoreError
from adapters.peer import PATH
from gateway.app import create_app
from gateway.demo.network import Network
from gateway.keeper import roots_of
from gateway.keyring import make_keys, open_keys
from gateway.log import Log
from gateway.settings import Settings
from gateway.wiring import open_gateway, open_store
from gateway.witness.cosigning import log_id, log_name, verifiers_of, witness_name
from security import note
from security.http_signature import SignedAnswer, check_answer, sign
from security.keys import PublicKey
from security.trust import TrustList
from tests.gateway.live import CLIENTS, NODE, OWN, PATIENT, ask, body, settings_for, source_of
from tests.serving import serve

pytestmark = pytest.mark.slow

T = TypeVar("T")
OWNERS = ("cq", "sc", "lab8")
TOKENS = {name: name * 3 for name in CLIENTS}


@dataclass
class Three:
    """The gateways: how to reach them, how they are set, and how to stop and start each."""

    settings: dict[str, Settings] = field(default_factory=dict)
    running: dict[str, ExitStack] = field(default_factory=dict)
    logs: dict[str, io.StringIO] = field(default_factory=dict)

    def start(self, owner: str) -> None:
        """Start one at its address."""
        stack = ExitStack()
        self.logs[owner] = io.StringIO()
        app = create_app(self.settings[owner], Log(self.logs[owner]))
        stack.enter_context(serve(app, port=self.settings[owner].port))
        self.running[owner] = stack

    def stop(self, owner: str) -> None:
        """Stop one."""
        self.running.pop(owner).close()

    def client(self, owner: str, name: str = "his") -> httpx.Client:
        """An HTTP client of one, with the token of one of its clients."""
        headers = {"Authorization": f"Bearer {TOKENS[name]}"}
        return httpx.Client(
            base_url=self.settings[owner].base_url, headers=headers, timeout=30, trust_env=False
        )

    def trust(self, owner: str) -> TrustList:
        """What somebody who pinned the roots of a gateway, and of its witnesses, trusts."""
        trust = TrustList([root for each in OWNERS for root in self.roots(each)])
        for each in OWNERS:
            trust = trust.add(
                httpx.get(f"{self.settings[each].base_url}/trust/keys").content, datetime.now(UTC)
            )
        return trust

    def roots(self, owner: str) -> tuple[PublicKey, ...]:
        """The pinned roots of one."""
        return roots_of(open_keys(self.settings[owner]), owner)

    def cosigned(self, owner: str) -> note.VerifiedNote:
        """Its cosigned checkpoint, verified with pinned keys alone."""
        answer = httpx.get(f"{self.settings[owner].base_url}/ledger/checkpoint/cosigned")
        assert answer.status_code == 200, answer.text
        now, trust = datetime.now(UTC), self.trust(owner)
        verifiers = verifiers_of(trust, owner, "log", now)
        for other in OWNERS:
            if other != owner:
                verifiers += verifiers_of(trust, other, "witness", now)
        return note.verify_checkpoint(answer.text, verifiers, required=2)

    def events(self, owner: str, name: str) -> list[dict[str, Any]]:
        """The events of this name in a log."""
        lines = [msgspec.json.decode(line) for line in self.logs[owner].getvalue().splitlines()]
        return [line for line in lines if line["event"] == name]


def until(found: Callable[[], T], wanted: Callable[[T], bool], seconds: float = 8) -> T:
    """Look again until what is found is what is wanted."""
    end = time.monotonic() + seconds
    while not wanted(value := found()) and time.monotonic() < end:
        time.sleep(0.05)
    assert wanted(value), value
    return value


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Three]:
    """Three gateways; 重庆 has a node, the others ask it."""
    folder = tmp_path_factory.mktemp("three")
    ports = dict(zip(OWNERS, _free_ports(), strict=True))
    urls = {owner: f"http://127.0.0.1:{port}" for owner, port in ports.items()}
    network = Three()
    with source_of(folder) as (source, _):
        node = {"id": NODE, "kind": "fhir", "url": source, "institution": OWN, "timeout_ms": 7000}
        for owner in OWNERS:
            home = folder / owner
            home.mkdir()
            others = [other for other in OWNERS if other != owner]
            (home / "token").write_text(TOKENS["peer"])
            nodes: list[dict[str, Any]] = [node] if owner == "cq" else []
            if owner == "sc":
                gateway = {"id": "gw-cq", "kind": "gateway", "url": urls["cq"], "owner": "cq"}
                nodes.append({**gateway, "timeout_ms": 7000, "token_file": home / "token"})
            settings = settings_for(
                home,
                TOKENS,
                nodes,
                owner,
                pins=[
                    {"owner": o, "url": urls[o], "keys_file": folder / f"{o}-roots.json", "witness": True}
                    for o in others
                ],
                base_url=urls[owner],
                port=ports[owner],
                witness_s=1,
            )
            if owner == "cq":  # its client is the gateway of 四川, which signs
                clients = [
                    client.model_copy(update={"owner": "sc"}) if client.id == "peer" else client
                    for client in settings.clients
                ]
                settings = settings.model_copy(update={"clients": clients})
            network.settings[owner] = settings
            make_keys(settings)
            (folder / f"{owner}-roots.json").write_bytes(msgspec.json.encode(network.roots(owner)))
        for owner in OWNERS:
            network.start(owner)
        for owner in OWNERS:
            with network.client(owner) as client:
                until(lambda: client.get("/health/ready").json()["key_lists_missing"], lambda it: not it)
        yield network
        for owner in list(network.running):
            network.stop(owner)


def _free_ports() -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in OWNERS]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@pytest.fixture
def his(three: Three) -> Iterator[httpx.Client]:
    with three.client("sc", "other") as client:
        yield client


def size_of(three: Three, owner: str) -> int:
    return three.cosigned(owner).checkpoint.size


def signed_question(three: Three, **changes: Any) -> tuple[bytes, dict[str, str]]:
    """A question to 重庆 as the gateway of 四川 sends it."""
    asked = {
        "id": "1" * 32,
        "person": {"type": "resident-id", "value": PATIENT},
        "kinds": ["lab"],
        "since": "2026-10-01T00:00:00+08:00",
        "at": datetime.now(UTC).isoformat(),
        "receiver": "EX-SC-01",
        "budget_ms": 5000,
        "hops": 0,
    }
    raw = msgspec.json.encode(asked | changes)
    key = open_keys(three.settings["sc"]).signer("peer", "Ed25519")
    return raw, sign("POST", f"{three.settings['cq'].base_url}/{PATH}", raw, key, datetime.now(UTC))


def sent(three: Three, raw: bytes, headers: dict[str, str]) -> httpx.Response:
    with three.client("cq", "peer") as client:
        return client.post(f"/{PATH}", content=raw, headers={"Content-Type": "application/json", **headers})


@pytest.mark.parametrize("owner", ["cq", "sc"])
def test_each_ledger_is_cosigned_by_the_two_others(three: Three, his: httpx.Client, owner: str) -> None:
    ask(his, body())
    verified = until(lambda: three.cosigned(owner), lambda it: len(it.names) == 3 and it.checkpoint.size > 2)
    assert log_name(owner) in verified.names


def test_a_gateway_that_asks_signs_and_gets_a_signed_answer(three: Three, his: httpx.Client) -> None:
    answer = ask(his, body())
    assert [(node.node, node.state) for node in answer.nodes if not node.via] == [("gw-cq", "answered")]
    assert answer.verdicts[0].verdict == "recognised"


async def payloads(settings: Settings) -> list[dict[str, Any]]:
    """What the ledger of a gateway keeps beside its entries."""
    store = open_store(settings)
    await store.open()
    try:
        found = []
        for entry in await store.entries(0, 1000):
            secret = await store.secret(msgspec.json.decode(entry)["commit"])
            if secret and secret.payload.startswith(b"{"):
                found.append(msgspec.json.decode(secret.payload))
        return found
    finally:
        await store.close()


@pytest.mark.anyio
async def test_the_asker_can_hold_the_answerer_to_what_it_said(three: Three, his: httpx.Client) -> None:
    ask(his, body())
    kept = [payload for payload in await payloads(three.settings["sc"]) if "signed" in payload][-1]
    signed = msgspec.convert(kept["signed"], SignedAnswer)
    trust = three.trust("sc")
    assert check_answer(signed, lambda kid, at: trust.key(kid, at, "peer")).owner == "cq"
    assert signed.answer == kept["bytes"]
    told = [
        payload for payload in await payloads(three.settings["cq"]) if payload.get("bytes") == signed.answer
    ]
    asked = [
        payload for payload in await payloads(three.settings["cq"]) if payload.get("body") == signed.question
    ]
    assert len(told) == len(asked) == 1


def test_a_question_that_is_signed_is_answered(three: Three) -> None:
    answer = sent(three, *signed_question(three))
    assert answer.status_code == 200, answer.text


@pytest.mark.anyio
async def test_of_a_question_without_a_salt_no_digest_is_kept(three: Three) -> None:
    for salt in ("", "5e" * 16):
        asked = signed_question(three, id=str(int(bool(salt))) * 32, salt=salt)
        assert sent(three, *asked).status_code == 200
    kept = {
        payload["check"]: payload["body"]
        for payload in await payloads(three.settings["cq"])
        if "body" in payload
    }
    assert kept["0" * 32] == ""
    assert kept["1" * 32]


def test_a_question_without_a_signature_is_refused(three: Three) -> None:
    raw, _ = signed_question(three)
    assert sent(three, raw, {}).status_code == 401


def test_a_question_that_was_changed_on_the_way_is_refused(three: Three) -> None:
    raw, headers = signed_question(three)
    assert sent(three, raw.replace(b'"1111', b'"2111'), headers).status_code == 401


def test_a_question_that_is_sent_again_is_refused(three: Three) -> None:
    raw, headers = signed_question(three)
    assert [sent(three, raw, headers).status_code for _ in range(2)] == [200, 401]


def test_a_question_for_a_purpose_nobody_knows_is_refused(three: Three) -> None:
    assert sent(three, *signed_question(three, purpose="FUN")).status_code == 422


def test_a_witness_that_is_away_is_named_and_stops_nothing(three: Three, his: httpx.Client) -> None:
    three.stop("lab8")
    try:
        ask(his, body())
        until(lambda: three.events("sc", "witness_missing"), lambda it: any(e["owner"] == "lab8" for e in it))
        ask(his, body())
    finally:
        three.start("lab8")
    before = size_of(three, "sc")
    ask(his, body())
    until(lambda: three.cosigned("sc"), lambda it: len(it.names) == 3 and it.checkpoint.size > before, 12)


async def opened(settings: Settings) -> None:
    """Start a gateway without its faces, and stop it."""
    async with open_gateway(settings, Log(io.StringIO())):
        pass


def test_a_gateway_over_a_restored_backup_does_not_start(three: Three, his: httpx.Client) -> None:
    data = three.settings["sc"].data_dir
    three.stop("sc")
    shutil.copytree(data, backup := data.with_name("backup"))
    three.start("sc")
    with three.client("sc", "other") as client:
        until(lambda: client.get("/health/ready").json()["key_lists_missing"], lambda it: not it)
        ask(client, body())
    head = httpx.get(f"{three.settings['sc'].base_url}/ledger/checkpoint").text
    url = f"{three.settings['cq'].base_url}/witness/{log_id(log_name('sc'))}/checkpoint"
    until(lambda: httpx.get(url).text, lambda it: it.splitlines()[1] == head.splitlines()[1])
    three.stop("sc")
    newest = data.rename(data.with_name("newest"))
    shutil.copytree(backup, data)
    try:
        with pytest.raises(StoreError, match="were published"):
            asyncio.run(opened(three.settings["sc"]))
    finally:
        shutil.rmtree(data)
        newest.rename(data)
        three.start("sc")
    with three.client("sc", "other") as client:
        until(lambda: client.get("/health/ready").json()["key_lists_missing"], lambda it: not it)
        ask(client, body())


@pytest.mark.slow
@pytest.mark.xdist_group("network")
@pytest.mark.parametrize("owner", OWNERS)
def test_the_gateways_of_the_demonstration_witness_each_other(network: Network, owner: str) -> None:
    url = f"{network.gateways[owner].url}/ledger/checkpoint/cosigned"
    text = until(lambda: httpx.get(url).text, lambda it: it.startswith(log_name(owner)), 15)
    names = {name for name, _, _ in note.split(text)[1]}
    assert names == {log_name(owner), *(witness_name(other) for other in OWNERS if other != owner)}
