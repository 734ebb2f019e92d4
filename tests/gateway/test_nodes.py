"""Nodes that change while a gateway runs: taken up without a restart, recorded, never left out in silence."""

from __future__ import annotations

import asyncio
import base64
import io
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from adapters import Sequencer, Store
from adapters.store import Document
from gateway.demo.peers import postgres
from gateway.errors import BadRequest, EvidenceUnavailable, SettingsError
from gateway.keyring import make_keys
from gateway.log import Log
from gateway.nodes import Changes, Standing, Step, authorization_of
from gateway.nodes.changing import Act, after, inside
from gateway.settings import NodeSettings
from gateway.wiring import open_changes, open_gateway
from security.ledger import read_entry
from tests import peers
from tests.gateway.live import (
    CLIENTS,
    NODE,
    OWN,
    Live,
    ask,
    body,
    gateway_with,
    reading,
    settings_for,
    source_of,
    started,
)
from tests.serving import http_answer, misbehave, serve

pytestmark = pytest.mark.slow

T = TypeVar("T")
POLL_S = 0.1
WITHIN_S = 5.0
NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)
EMPTY = b'{"resourceType":"Bundle","type":"searchset"}'
MADE_UP = {"kind": "fhir", "url": "http://127.0.0.1:9/fhir", "institution": OWN}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A FHIR source."""
    with source_of(tmp_path_factory.mktemp("source")) as (url, _):
        yield url


@pytest.fixture
def live(tmp_path: Path, source: str) -> Iterator[Live]:
    """A gateway that looks for changes all the time, over one source, with a folder for credentials."""
    (tmp_path / "credentials").mkdir()
    fhir = {"id": NODE, "kind": "fhir", "url": source, "institution": OWN, "timeout_ms": 7000}
    more: dict[str, Any] = {"catalogue_poll_s": POLL_S, "node_files": tmp_path / "credentials"}
    with gateway_with(tmp_path, [fhir], **more) as live:
        yield live


@pytest.fixture
def still(tmp_path: Path) -> Live:
    """A gateway that does not run: its settings, its keys, its store."""
    fhir = {"id": NODE, "kind": "fhir", "url": "http://127.0.0.1:9/fhir", "institution": OWN}
    settings = settings_for(tmp_path, dict.fromkeys(CLIENTS, "x"), [fhir], clients=[])
    make_keys(settings)
    return Live("", settings, {}, io.StringIO())


def change(live: Live, work: Callable[[Changes, Sequencer], Awaitable[T]]) -> T:
    """What a command does beside the running gateway."""

    async def run() -> T:
        async with open_changes(live.settings) as (changes, sequencer):
            await sequencer.start()
            return await work(changes, sequencer)

    return asyncio.run(run())


def set_node(live: Live, node: str, **values: Any) -> None:
    change(live, lambda changes, seq: changes.set(seq, node, lambda: changes.values(node) | values, "ops"))


def states(live: Live) -> dict[str, str]:
    return {one.node: one.state for one in ask(live.client(), body()).nodes}


def until(holds: Callable[[], bool]) -> bool:
    """Whether it comes to hold while replicas look for changes."""
    end = time.monotonic() + WITHIN_S
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.02)
    return False


def url_of(live: Live) -> str:
    return live.settings.nodes[0].url


def test_a_node_set_at_run_time_is_asked(live: Live) -> None:
    set_node(live, "second", kind="fhir", url=url_of(live), institution=OWN, timeout_ms=7000)
    assert until(lambda: states(live) == {NODE: "answered", "second": "answered"})


def test_a_removed_node_is_not_asked_any_more(live: Live) -> None:
    change(live, lambda changes, seq: changes.remove(seq, NODE, "ops"))
    assert until(lambda: states(live) == {})


def test_a_renamed_node_answers_under_its_new_id(live: Live) -> None:
    change(live, lambda changes, seq: changes.rename(seq, NODE, "cq-emr", "ops"))
    assert until(lambda: states(live) == {"cq-emr": "answered"})


def test_what_is_known_of_a_renamed_node_goes_with_it(live: Live) -> None:
    ask(live.client(), body())
    assert until(lambda: pointed_at(live) == {NODE})
    change(live, lambda changes, seq: changes.rename(seq, NODE, "cq-emr", "ops"))
    assert pointed_at(live) == {"cq-emr"}


def pointed_at(live: Live) -> set[str]:
    """The nodes that are known to hold something."""
    with closing(sqlite3.connect(live.store)) as connection:
        return {row[0] for row in connection.execute("SELECT node FROM pointer")}


@pytest.mark.parametrize("what", [{"publishes": True}, {"kind": "published", "url": ""}])
def test_a_node_whose_publications_decide_what_is_shown_keeps_its_id(
    still: Live, what: dict[str, Any]
) -> None:
    set_node(still, NODE, **what)
    with pytest.raises(BadRequest, match="publish"):
        change(still, lambda changes, seq: changes.rename(seq, NODE, "cq-emr", "ops"))


def test_a_changed_address_is_asked_from_then_on(live: Live) -> None:
    with misbehave(lambda *_: http_answer(EMPTY)) as other:
        set_node(live, NODE, url=other)
        assert until(lambda: states(live) == {NODE: "empty"})


def test_a_question_that_runs_ends_with_the_node_it_began_with(live: Live) -> None:
    def slow(*_: object) -> Iterator[bytes]:
        time.sleep(1)
        yield http_answer(EMPTY)

    with misbehave(slow) as url:
        set_node(live, "slow", kind="fhir", url=url, institution=OWN, timeout_ms=6000)
        assert until(lambda: "slow" in nodes_of(live))
        with ThreadPoolExecutor(1) as beside:
            asked = beside.submit(states, live)
            time.sleep(0.3)
            change(live, lambda changes, seq: changes.remove(seq, "slow", "ops"))
            assert until(lambda: "slow" not in nodes_of(live))
            assert asked.result()["slow"] == "empty"


def nodes_of(live: Live) -> dict[str, dict[str, Any]]:
    answer = live.client("operator").get("/api/v1/nodes")
    assert answer.status_code == 200, answer.text
    return {one["settings"]["id"]: one for one in answer.json()["nodes"]}


def test_an_operator_and_nobody_else_sees_how_it_stands_with_every_node(live: Live) -> None:
    assert live.client("his").get("/api/v1/nodes").status_code == 403
    ask(live.client(), body())
    node = nodes_of(live)[NODE]
    assert (node["breaker"], node["last"]["state"], node["set_at"]) == ("closed", "answered", None)


def test_a_secret_is_in_no_answer_entry_or_log(live: Live, tmp_path: Path) -> None:
    (tmp_path / "credentials/token").write_text("hush-hush")
    set_node(live, NODE, token_file="token")
    assert until(lambda: nodes_of(live)[NODE]["settings"]["token_file"] is not None)
    entries = reading(live, lambda store: store.secrets(0, 100))
    told = live.client("operator").get("/api/v1/nodes").text + live.log.getvalue() + str(entries)
    assert "hush-hush" not in told


def test_a_token_that_was_written_again_is_sent(live: Live, tmp_path: Path) -> None:
    seen: list[str] = []
    token = tmp_path / "credentials/token"

    async def note(request: Request) -> Response:
        seen.append(request.headers.get("authorization", ""))
        return Response(EMPTY, media_type="application/fhir+json")

    app = Starlette(routes=[Route("/{path:path}", note, methods=["GET", "POST"])])
    with serve(app) as url:
        token.write_text("first")
        set_node(live, NODE, url=url, token_file="token")
        assert until(lambda: states(live) == {NODE: "empty"} and seen[-1] == "Bearer first")
        token.write_text("the second")
        assert until(lambda: states(live) == {NODE: "empty"} and seen[-1] == "Bearer the second")


def test_a_node_goes_on_while_its_token_is_away(live: Live, tmp_path: Path) -> None:
    token = tmp_path / "credentials/token"
    token.write_text("a-token")
    set_node(live, NODE, token_file="token")
    assert until(lambda: nodes_of(live)[NODE]["set_at"] is not None)
    token.unlink()
    time.sleep(5 * POLL_S)
    assert states(live) == {NODE: "answered"}


def test_a_node_that_cannot_be_used_is_named_in_every_answer(live: Live) -> None:
    set_node(live, NODE, token_file="missing")
    assert until(lambda: states(live) == {NODE: "skipped"})
    answer = ask(live.client(), body())
    (node,) = answer.nodes
    assert (node.fault, "token_file" in node.detail, answer.complete) == ("gateway", True, False)


def test_a_change_is_an_event_of_the_log(live: Live) -> None:
    change(live, lambda changes, seq: changes.remove(seq, NODE, "ops"))
    assert until(lambda: bool(live.events("node_changed")))
    event = live.events("node_changed")[0]
    assert (event["node"], event["act"], event["step"]) == (NODE, "remove", "00000001")


def test_a_change_says_in_the_ledger_who_made_it_and_what(still: Live) -> None:
    set_node(still, NODE, timeout_ms=6500)

    async def payloads(store: Store) -> list[str]:
        entries = [read_entry(entry) for entry in await store.entries(0, 100)]
        return [
            secret.payload.decode()
            for entry in entries
            if entry.type == "node" and (secret := await store.secret(entry.commit))
        ]

    (payload,) = reading(still, payloads)
    step = msgspec.json.decode(payload)
    assert (step["by"], step["act"], step["settings"]["timeout_ms"]) == ("ops", "set", 6500)


def spoil(live: Live, statement: str) -> None:
    """Write into the database what no gateway does."""
    with closing(sqlite3.connect(live.store)) as connection:
        connection.execute(statement)
        connection.commit()


GONE = "DELETE FROM document WHERE kind = 'node' AND id = '00000001'"
FORGED = "UPDATE document SET body = x'7b7d' WHERE kind = 'node' AND id = '00000001'"


@pytest.mark.parametrize("damage", [GONE, FORGED])
def test_a_change_that_somebody_tampered_with_ends_the_chain_and_completes_no_answer(
    live: Live, damage: str
) -> None:
    set_node(live, "evil", **MADE_UP)
    set_node(live, "more", **MADE_UP)
    live.stop()
    spoil(live, damage)
    with started(live.settings, live.tokens) as again:
        assert again.client("operator").get("/api/v1/nodes").json()["broken"] == "00000001"
        answer = ask(again.client(), body())
        states = {one.node: one.state for one in answer.nodes}
        assert states == {NODE: "answered", "change-00000001": "skipped"}
        assert not answer.complete


def test_a_change_taken_away_under_a_running_gateway_is_said_and_undone_by_a_restore(live: Live) -> None:
    set_node(live, NODE, timeout_ms=6500)
    assert until(lambda: nodes_of(live)[NODE]["set_at"] is not None)
    spoil(live, "CREATE TABLE saved AS SELECT * FROM document WHERE kind = 'node'")
    spoil(live, GONE)
    assert until(lambda: "change-00000001" in states(live))
    assert nodes_of(live)[NODE]["settings"]["timeout_ms"] == 6500
    spoil(live, "INSERT INTO document SELECT * FROM saved")
    assert until(lambda: set(states(live)) == {NODE})


def test_a_step_after_a_missing_one_does_not_count(still: Live) -> None:
    set_node(still, "one", **MADE_UP)
    set_node(still, "two", **MADE_UP)
    spoil(still, GONE)
    with pytest.raises(EvidenceUnavailable, match="00000001"):
        change(still, lambda changes, seq: changes.remove(seq, NODE, "ops"))


def test_a_setting_of_a_newer_version_makes_the_node_unusable_and_not_another(still: Live) -> None:
    newer = MADE_UP | {"quantum": True}

    async def write(changes: Changes, seq: Sequencer) -> dict[str, str]:
        await changes.set(seq, "new", lambda: MADE_UP, "ops")
        step = Step(id="00000002", act="set", node="new", by="ops", at=NOW, settings=newer)
        found = await seq.store.document("node", "00000001")
        assert found
        entry = msgspec.json.decode(found.body)["entry"]
        kept = msgspec.json.encode({"step": step, "entry": entry})
        await seq.append([], [Document(kind="node", id="00000002", body=kept, at=NOW)])
        await changes.poll()
        return {one.settings.id: one.refused for one in changes.standing()}

    assert change(still, write) == {NODE: "", "new": "quantum: is no setting of a node"}


def test_two_who_change_at_once_both_do(still: Live) -> None:
    async def both(changes: Changes, seq: Sequencer) -> dict[str, Any]:
        other = Changes(still.settings, seq.store)
        await asyncio.gather(
            changes.set(seq, NODE, lambda: changes.values(NODE) | {"timeout_ms": 900}, "ops"),
            other.set(seq, NODE, lambda: other.values(NODE) | {"hedge_ms": 90}, "ops"),
        )
        await changes.poll()
        return changes.values(NODE)

    values = change(still, both)
    assert (values["timeout_ms"], values["hedge_ms"]) == (900, 90)


STEPS = st.lists(st.tuples(st.sampled_from(Act.__args__), st.sampled_from("abc"), st.sampled_from("abc")))  # type: ignore[attr-defined]


@given(STEPS)
def test_any_steps_leave_every_id_once(steps: list[tuple[Act, str, str]]) -> None:
    nodes: dict[str, Standing] = {}
    for act, node, to in steps:
        settings = MADE_UP if act == "set" else {}
        nodes = after(nodes, Step(id="1", act=act, node=node, to=to, by="x", at=NOW, settings=settings))
    assert all(one.settings.id == name for name, one in nodes.items())


def test_a_node_whose_new_id_the_file_gave_to_another_is_not_lost() -> None:
    nodes = {
        name: Standing(NodeSettings(id=name, kind="published", institution=OWN)) for name in ("his", "emr")
    }
    step = Step(id="1", act="rename", node="his", to="emr", by="x", at=NOW)
    assert {name: bool(one.refused) for name, one in after(nodes, step).items()} == {
        "his": True,
        "emr": False,
    }


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "link/x", "circle", "a\0b"])
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    (folder / "circle").symlink_to(folder / "circle")
    with pytest.raises(BadRequest):
        inside(folder, Path(name))


def test_a_credential_that_begins_to_lead_out_is_not_read_and_stops_nothing(
    live: Live, tmp_path: Path
) -> None:
    token = tmp_path / "credentials/token"
    token.write_text("a-token")
    set_node(live, "second", **MADE_UP, token_file="token")
    assert until(lambda: states(live).get("second") == "unreachable")
    token.unlink()
    token.symlink_to(tmp_path / "passphrase")
    assert until(lambda: states(live).get("second") == "skipped")
    token.unlink()
    token.symlink_to(token)
    set_node(live, "third", **MADE_UP)
    assert until(lambda: "third" in states(live))


def test_no_file_is_named_without_a_folder() -> None:
    with pytest.raises(BadRequest, match="node_files"):
        inside(None, Path("token"))


def credentials(folder: Path, text: str, **settings: Any) -> dict[str, str]:
    """The header that a node with this secret gets."""
    (folder / "secret").write_text(text, encoding="utf-8")
    return authorization_of(NodeSettings(id="his", kind="fhir", institution=OWN, **settings))


def test_a_name_and_password_go_as_basic_authentication(tmp_path: Path) -> None:
    header = credentials(tmp_path, "open sesame 芝麻\n", user="lianren", password_file=tmp_path / "secret")
    scheme, _, pair = header["Authorization"].partition(" ")
    assert (scheme, base64.b64decode(pair).decode()) == ("Basic", "lianren:open sesame 芝麻")


@pytest.mark.parametrize("text", ["", "one\ntwo", "a\x00b", "示例"])
def test_a_token_that_is_no_single_line_of_ascii_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match="token_file"):
        credentials(tmp_path, text, token_file=tmp_path / "secret")


def test_a_gateway_does_not_start_with_a_node_of_its_file_that_cannot_be_used(
    tmp_path: Path, source: str
) -> None:
    node = {"id": NODE, "kind": "fhir", "url": source, "institution": OWN, "token_file": tmp_path / "none"}
    settings = settings_for(tmp_path, dict.fromkeys(CLIENTS, "x"), [node], clients=[])
    make_keys(settings)

    async def start() -> None:
        async with open_gateway(settings, Log(io.StringIO())):
            pass

    with pytest.raises(SettingsError, match=NODE):
        asyncio.run(start())


@pytest.mark.slow
def test_every_replica_on_one_database_follows_a_change(tmp_path: Path, source: str) -> None:
    fhir = {"id": NODE, "kind": "fhir", "url": source, "institution": OWN, "timeout_ms": 7000}
    with peers.started(lambda: postgres(tmp_path / "postgres")) as database:
        more: dict[str, Any] = {"store": database.url, "catalogue_poll_s": POLL_S}
        with gateway_with(tmp_path, [fhir], **more) as one, started(one.settings, one.tokens) as other:
            change(one, lambda changes, seq: changes.rename(seq, NODE, "cq-emr", "ops"))
            assert until(lambda: [states(one), states(other)] == [{"cq-emr": "answered"}] * 2)
