"""Keys that change at one gateway while another one works with it: by the commands, over real HTTP."""

from __future__ import annotations

import io
import secrets
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from adapters.peer import PATH
from gateway.app import create_app
from gateway.demo.people import BY_KEY
from gateway.keeper import roots_of
from gateway.keyring import make_keys, open_keys
from gateway.log import Log
from gateway.model import CheckAnswer
from security import mark
from security.http_signature import sign
from security.keys import Signer
from security.trust import read_key_list
from tests.gateway.live import CLIENTS, NODE, OWN, Live, ask, body, settings_for, source_of
from tests.gateway.publishing import config_of, lianren, until
from tests.serving import serve

pytestmark = pytest.mark.slow

OWNERS = ("cq", "sc")


@dataclass
class Pair:
    """重庆, which has the node, and 四川, which asks it and is asked; each changes its keys by commands."""

    running: dict[str, Live]
    folder: Path

    def keys(self, owner: str, *words: str) -> str:
        """What ``lianren keys …`` prints at one; afterwards the other one has its new list."""
        live, other = self.running[owner], self.running["cq" if owner == "sc" else "sc"]
        done = lianren("keys", *words, "-c", config_of(live, self.folder / owner / "config"))
        assert done.status == 0, done.out
        keys = open_keys(live.settings)
        listed = {key for key in keys.list() if key.purpose != "root"}

        def heard() -> bool:
            served = read_key_list(live.client().get("/trust/keys").content, roots_of(keys, owner))
            fetched = other.events("key_list_fetched")[-1]["version"]
            return (set(served.keys), served.version) == (listed, fetched)

        until(heard)
        return done.out

    def signing(self, owner: str, purpose: str) -> Signer:
        """The key that signs for a purpose, as a thief has it who keeps it."""
        return open_keys(self.running[owner].settings).signer(purpose, "Ed25519")

    def ask(self, person: str) -> CheckAnswer:
        """Ask in Chengdu about a blood count that was made in Chongqing; being asked, that marks it."""
        asked = body("血小板计数", patient=BY_KEY[person].number)
        return ask(self.running["sc"].client("other"), asked)

    def question(self, signer: Signer) -> int:
        """The status of a question to 重庆 that says nothing, signed by a key of 四川."""
        url, now = f"{self.running['cq'].url}/{PATH}", datetime.now(UTC)
        headers = {"Content-Type": "application/json", **sign("POST", url, b"{}", signer, now)}
        return self.running["cq"].client("peer").post(url, content=b"{}", headers=headers).status_code


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("pair")
    tokens = {name: secrets.token_urlsafe(16) for name in CLIENTS}
    urls = {owner: f"http://127.0.0.1:{_free_port()}" for owner in OWNERS}
    running: dict[str, Live] = {}
    with ExitStack() as stack:
        source, _ = stack.enter_context(source_of(folder))
        node = {"id": NODE, "kind": "fhir", "url": source, "institution": OWN, "timeout_ms": 7000}
        for owner, other in (OWNERS, OWNERS[::-1]):
            home = folder / owner
            home.mkdir()
            (home / "token").write_text(tokens["peer"])
            peer = {"id": "gw-cq", "kind": "gateway", "url": urls["cq"], "owner": "cq", "timeout_ms": 7000}
            nodes: list[dict[str, Any]] = [node if owner == "cq" else peer | {"token_file": home / "token"}]
            pin = {"owner": other, "url": urls[other], "keys_file": folder / f"{other}-roots.json"}
            settings = settings_for(home, tokens, nodes, owner, pins=[pin], base_url=urls[owner], status_s=1)
            clients = [
                client.model_copy(update={"owner": other if client.id == "peer" else ""})
                for client in settings.clients
            ]
            settings = settings.model_copy(update={"clients": clients})
            make_keys(settings)
            roots = roots_of(open_keys(settings), owner)
            (folder / f"{owner}-roots.json").write_bytes(msgspec.json.encode(roots))
            running[owner] = Live(urls[owner], settings, tokens, io.StringIO(), stack=stack)
        for live in running.values():
            port = int(live.url.rpartition(":")[2])
            stack.enter_context(serve(create_app(live.settings, Log(live.log)), port=port))
        for live in running.values():
            until(lambda live=live: bool(live.events("key_list_fetched")))  # type: ignore[misc]
        yield Pair(running, folder)


def _free_port() -> int:
    with closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def marked_by(answer: CheckAnswer) -> str:
    """The key of the one mark of an answer that is recognised by it."""
    (verdict,) = answer.verdicts
    assert verdict.reasons[0].rule == "R0.1", verdict
    assert verdict.mark is not None
    return mark.read(verdict.mark.signed).kid


def test_while_keys_turn_the_other_gateway_recognises_on(pair: Pair) -> None:
    former = pair.signing("cq", "mark").kid
    for purpose in ("mark", "peer", "log"):
        pair.keys("cq", "rotate", purpose)
    assert marked_by(pair.ask("ji")) == former


def test_keys_that_turned_at_once_count_when_the_other_gateway_has_their_list(pair: Pair) -> None:
    before = marked_by(pair.ask("ji"))
    new, _ = [pair.keys("cq", "rotate", purpose, "--at-once").split()[0] for purpose in ("mark", "peer")]
    assert marked_by(pair.ask("jie")) == new
    assert marked_by(pair.ask("ji")) == before  # what a former key signed stays valid


def test_a_key_that_was_retired_marks_nothing_more_and_its_marks_stay(pair: Pair) -> None:
    ended = marked_by(pair.ask("jie"))
    pair.keys("cq", "rotate", "mark")
    pair.keys("cq", "retire", ended)
    assert marked_by(pair.ask("mao")) != ended
    assert marked_by(pair.ask("jie")) == ended


def test_marks_of_a_stolen_key_are_recognised_no_more_and_made_again(pair: Pair) -> None:
    stolen = marked_by(pair.ask("mao"))
    pair.keys("cq", "compromise", stolen)
    assert marked_by(pair.ask("mao")) != stolen


def test_with_a_stolen_key_nobody_asks_or_answers_any_more(pair: Pair) -> None:
    thief = pair.signing("sc", "peer")
    assert pair.question(thief) == 422
    pair.keys("sc", "compromise", thief.kid)
    assert pair.question(thief) == 401
    assert pair.ask("ji").complete  # the gateway itself asks with its new key
