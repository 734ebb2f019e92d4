"""Subscriptions: who may have which, and what a real receiver gets, signed and in order."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.parameters import Parameters
from starlette.types import Receive, Scope, Send

from gateway.demo.peers import postgres
from gateway.keyring import make_keys, open_keys
from gateway.settings import Settings
from gateway.subscriptions import MARK_WITHDRAWN, NEW_RESULT
from gateway.subscriptions.resource import BACKPORT
from security import http_signature
from security.errors import UnknownKey
from security.keys import PublicKey
from security.ledger import read_entry
from tests import peers
from tests.gateway.live import CLIENTS, OWN, PATIENT, Live, ask, body, reading, settings_for, started
from tests.gateway.parcels import NODE, publication, records_of
from tests.serving import serve

pytestmark = pytest.mark.slow

PERSON = "ding"
FHIR = {"Content-Type": "application/fhir+json"}
Message = dict[str, Any]


@dataclass
class Receiver:
    """An endpoint: what it got, and with which status it answers."""

    url: str = ""
    status: int = 200
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        content, more = b"", True
        while more:
            message = await receive()
            content, more = content + message.get("body", b""), message.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.got.append((scope["path"], headers, content))
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def told(self, path: str) -> list[Message]:
        """The Bundles that came to a path, in their order."""
        return [msgspec.json.decode(content) for to, _, content in self.got if to == path]


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    endpoint = Receiver()
    with serve(endpoint) as endpoint.url:
        yield endpoint


def settings(folder: Path, tokens: dict[str, str], receiver: Receiver, **more: Any) -> Settings:
    """Those of a gateway with a published node, which may notify two hospitals at the receiver."""
    nodes = [{"id": NODE, "kind": "published", "institution": OWN}]
    made = settings_for(folder, tokens, nodes, notify_s=0.03, notify_retry_s=0.001, **more)
    for client in made.clients:
        if client.id in ("his", "other"):
            client.notify.append(f"{receiver.url}/hooks/{client.id}")
    return made


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[Live]:
    tokens = {name: uuid.uuid4().hex for name in CLIENTS}
    made = settings(tmp_path_factory.mktemp("live"), tokens, receiver)
    make_keys(made)
    with started(made, tokens) as running:
        publish(running)
        yield running


def publish(live: Live, *kept: str) -> None:
    """The hospital publishes what it holds of the person, all or some of it."""
    records = records_of("cq-his", PERSON)
    chosen = [records[place] for place in kept] if kept else list(records.values())
    sent = live.client("publisher").post(
        "/api/v1/publications",
        content=publication(PERSON, *chosen),
        headers={"Content-Type": "application/json"},
    )
    assert sent.status_code == 200, sent.text


def subscription(receiver: Receiver, topic: str = NEW_RESULT, client: str = "other", **more: Any) -> Message:
    channel = {
        "type": "rest-hook",
        "endpoint": f"{receiver.url}/hooks/{client}/{uuid.uuid4().hex}",
        "payload": "application/fhir+json",
        "_payload": {"extension": [{"url": f"{BACKPORT}/backport-payload-content", "valueCode": "id-only"}]},
    }
    resource = {
        "resourceType": "Subscription",
        "status": "requested",
        "reason": "示例",
        "criteria": topic,
        "channel": channel | more.pop("channel", {}),
    }
    return resource | more


def post(live: Live, resource: Message, client: str = "other") -> httpx.Response:
    return live.client(client).post("/fhir/Subscription", json=resource, headers=FHIR)


def made(live: Live, resource: Message, client: str = "other") -> tuple[str, str]:
    """Id and path of the endpoint of a subscription that was taken in."""
    response = post(live, resource, client)
    assert response.status_code == 201, response.text
    return response.json()["id"], httpx.URL(resource["channel"]["endpoint"]).path


def until(true: Callable[[], Any], seconds: float = 8.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, "it did not come in time"
        time.sleep(0.02)
    return found


def status(live: Live, id_: str, client: str = "other") -> str:
    return str(live.client(client).get(f"/fhir/Subscription/{id_}").json()["status"])


def active(live: Live, resource: Message, client: str = "other") -> tuple[str, str]:
    id_, path = made(live, resource, client)
    until(lambda: status(live, id_, client) == "active")
    return id_, path


def parameters(bundle: Message) -> dict[str, Any]:
    """The values of the SubscriptionStatus of a notification, by name."""
    first = bundle["entry"][0]["resource"]
    return {
        one["name"]: one.get("part") or next(v for k, v in one.items() if k.startswith("value"))
        for one in first["parameter"]
    }


def events(receiver: Receiver, path: str) -> list[Message]:
    told = receiver.told(path)
    return [one for one in told if parameters(one)["type"] == "event-notification"]


def numbers(bundles: list[Message]) -> list[int]:
    return [
        int(part["valueString"])
        for bundle in bundles
        for one in bundle["entry"][0]["resource"]["parameter"]
        if one["name"] == "notification-event"
        for part in one["part"]
        if part["name"] == "event-number"
    ]


def test_the_endpoint_is_met_before_anything_else(live: Live, receiver: Receiver) -> None:
    id_, path = active(live, subscription(receiver))
    (handshake,) = receiver.told(path)
    Bundle.model_validate(handshake)
    Parameters.model_validate(handshake["entry"][0]["resource"])
    told = parameters(handshake)
    assert (told["type"], told["status"], told["topic"]) == ("handshake", "requested", NEW_RESULT)
    assert told["subscription"]["reference"].endswith(f"/fhir/Subscription/{id_}")


def test_a_new_result_of_a_patient_with_an_open_check_is_told(live: Live, receiver: Receiver) -> None:
    _, path = active(live, subscription(receiver))
    answer = ask(live.client("other"), body())
    publish(live)
    (bundle,) = until(lambda: events(receiver, path))
    Bundle.model_validate(bundle)
    address = f"{live.settings.base_url}/api/v1/checks/{answer.id}"
    part = {one["name"]: one for one in parameters(bundle)["notification-event"]}
    assert part["focus"]["valueReference"]["reference"] == address
    assert [entry["fullUrl"] for entry in bundle["entry"][1:]] == [address]
    assert numbers([bundle]) == [1]


def test_nothing_of_a_person_is_in_a_notification(live: Live, receiver: Receiver) -> None:
    _, path = active(live, subscription(receiver))
    ask(live.client("other"), body())
    publish(live)
    (bundle,) = until(lambda: events(receiver, path))
    text = msgspec.json.encode(bundle).decode()
    assert "990000" not in text
    assert "resource" not in bundle["entry"][1]


def test_who_was_told_stands_in_the_ledger(live: Live, receiver: Receiver) -> None:
    id_, path = active(live, subscription(receiver))
    ask(live.client("other"), body())
    publish(live)
    until(lambda: events(receiver, path))

    async def told(store: Any) -> list[str]:
        found = []
        for entry in map(read_entry, await store.entries(0, 10_000)):
            secret = await store.secret(entry.commit)
            if entry.type == "view" and secret and id_.encode() in secret.payload:
                found.append(entry.to)
        return found

    assert reading(live, told) == ["other"]


def test_events_are_numbered_and_arrive_in_order(live: Live, receiver: Receiver) -> None:
    _, path = active(live, subscription(receiver))
    ask(live.client("other"), body())
    for _ in range(3):
        publish(live)
    until(lambda: len(events(receiver, path)) == 3)
    assert numbers(events(receiver, path)) == [1, 2, 3]


def test_several_events_come_at_once_where_that_is_wanted(live: Live, receiver: Receiver) -> None:
    extension = [{"url": f"{BACKPORT}/backport-max-count", "valuePositiveInt": 20}]
    _, path = active(live, subscription(receiver, channel={"extension": extension}))
    ask(live.client("other"), body())
    receiver.status = 503
    try:
        publish(live)
        until(lambda: events(receiver, path))
        publish(live)
    finally:
        receiver.status = 200
    until(lambda: 2 in numbers(events(receiver, path)))
    assert numbers(events(receiver, path)[-1:])[-1] == 2


def test_nobody_is_told_of_a_patient_without_an_open_check(live: Live, receiver: Receiver) -> None:
    _, watching = active(live, subscription(receiver))
    _, path = active(live, subscription(receiver, client="his"), "his")
    ask(live.client("other"), body())
    publish(live)
    until(lambda: events(receiver, watching))
    assert events(receiver, path) == []


def test_nobody_is_told_of_what_its_own_hospital_published(live: Live, receiver: Receiver) -> None:
    _, own = active(live, subscription(receiver, client="his"), "his")
    _, path = active(live, subscription(receiver))
    ask(live.client("his"), body())
    ask(live.client("other"), body())
    publish(live)
    until(lambda: events(receiver, path))
    assert events(receiver, own) == []


def test_a_check_that_was_decided_about_is_not_open(live: Live, receiver: Receiver) -> None:
    _, path = active(live, subscription(receiver))
    answer = ask(live.client("other"), body())
    decided = live.client("other").post(
        f"/api/v1/checks/{answer.id}/decision", json={"request_id": uuid.uuid4().hex, "decision": "recognise"}
    )
    assert decided.json()["state"] == "closed"
    publish(live)
    time.sleep(0.3)
    assert events(receiver, path) == []


def test_nobody_is_told_of_a_person_who_said_no(live: Live, receiver: Receiver) -> None:
    _, path = active(live, subscription(receiver))
    ask(live.client("other"), body())
    whom = {"patient": {"type": "resident-id", "value": PATIENT}}
    said = live.client("other").post("/api/v1/consents", json=whom | {"decision": "deny"})
    assert said.status_code == 200, said.text
    publish(live)
    time.sleep(0.3)
    back = live.client("other").post(f"/api/v1/consents/{said.json()['id']}/revocation", json=whom)
    assert back.status_code == 200, back.text
    assert events(receiver, path) == []


def test_what_waits_is_not_told_of_a_person_who_says_no_meanwhile(live: Live, receiver: Receiver) -> None:
    id_, path = active(live, subscription(receiver))
    ask(live.client("other"), body())
    receiver.status = 503
    whom = {"patient": {"type": "resident-id", "value": PATIENT}}
    try:
        publish(live)
        until(lambda: status(live, id_) == "error")
        said = live.client("other").post("/api/v1/consents", json=whom | {"decision": "deny"})
        assert said.status_code == 200, said.text
        time.sleep(0.3)
        before = len(events(receiver, path))
        receiver.status = 200
        time.sleep(0.5)
        assert len(events(receiver, path)) == before
    finally:
        receiver.status = 200
        live.client("other").post(f"/api/v1/consents/{said.json()['id']}/revocation", json=whom)


def test_a_withdrawn_mark_is_told_to_who_recognised_it(live: Live, receiver: Receiver) -> None:
    publish(live)
    _, path = active(live, subscription(receiver, MARK_WITHDRAWN))
    answer = ask(live.client("other"), body())
    mark = next(one.mark.id for one in answer.verdicts if one.verdict == "recognised" and one.mark)
    sent = live.client("steward").post(f"/api/v1/marks/{mark}/withdrawal", json={"reason": "amended"})
    assert sent.status_code == 200, sent.text
    (bundle,) = until(lambda: events(receiver, path))[:1]
    told = {one["fullUrl"] for one in bundle["entry"]}
    assert f"{live.settings.base_url}/trust/marks/{mark}" in told


def test_a_notification_is_signed_by_this_gateway(live: Live, receiver: Receiver) -> None:
    resource = subscription(receiver)
    _, path = active(live, resource)
    (headers, content) = next((sent, body_) for to, sent, body_ in receiver.got if to == path)
    keys = {key.kid: key for key in open_keys(live.settings).list() if key.purpose == "peer"}

    def key_of(kid: str, at: datetime) -> PublicKey:
        if kid not in keys:
            raise UnknownKey(kid)
        return keys[kid]

    signed = http_signature.verify(
        "POST", resource["channel"]["endpoint"], headers, content, key_of, datetime.now(UTC)
    )
    assert signed.kid in keys


def test_what_fails_is_sent_again_until_it_arrives(live: Live, receiver: Receiver) -> None:
    id_, path = active(live, subscription(receiver))
    ask(live.client("other"), body())
    receiver.status = 500
    try:
        publish(live)
        until(lambda: status(live, id_) == "error")
    finally:
        receiver.status = 200
    until(lambda: status(live, id_) == "active")
    assert {*numbers(events(receiver, path))} == {1}


def test_an_endpoint_that_never_answers_is_given_up(live: Live, receiver: Receiver) -> None:
    receiver.status = 500
    try:
        id_, path = made(live, subscription(receiver))
        until(lambda: status(live, id_) == "off", 30)
        tried = len(receiver.told(path))
        time.sleep(0.2)
        assert len(receiver.told(path)) == tried
    finally:
        receiver.status = 200
    assert "500" in live.client("other").get(f"/fhir/Subscription/{id_}").json()["error"]


def test_one_that_was_given_up_begins_again_when_it_is_changed(live: Live, receiver: Receiver) -> None:
    resource = subscription(receiver)
    id_, _ = active(live, resource)
    off = live.client("other").put(
        f"/fhir/Subscription/{id_}", json=resource | {"id": id_, "status": "off"}, headers=FHIR
    )
    assert off.json()["status"] == "off"
    again = live.client("other").put(f"/fhir/Subscription/{id_}", json=resource | {"id": id_}, headers=FHIR)
    assert again.headers["etag"] == 'W/"3"'
    until(lambda: status(live, id_) == "active")


def test_its_end_is_kept(live: Live, receiver: Receiver) -> None:
    end = (datetime.now(UTC) + timedelta(seconds=0.4)).isoformat()
    id_, _ = made(live, subscription(receiver, end=end))
    until(lambda: status(live, id_) == "off")


def test_how_far_it_came_can_be_asked(live: Live, receiver: Receiver) -> None:
    id_, _ = active(live, subscription(receiver))
    told = live.client("other").get(f"/fhir/Subscription/{id_}/$status").json()
    Bundle.model_validate(told)
    shown = parameters(told)
    assert (shown["status"], shown["type"], shown["events-since-subscription-start"]) == (
        "active",
        "query-status",
        "0",
    )


def test_it_is_read_and_found_by_its_own_client_alone(live: Live, receiver: Receiver) -> None:
    id_, _ = active(live, subscription(receiver))
    found = live.client("other").get("/fhir/Subscription", params={"status": "active"}).json()
    assert id_ in {entry["resource"]["id"] for entry in found["entry"]}
    assert live.client("his").get(f"/fhir/Subscription/{id_}").status_code == 404
    others = live.client("his").get("/fhir/Subscription").json()
    assert id_ not in {entry["resource"]["id"] for entry in others.get("entry", ())}


def test_it_is_over_once_it_is_deleted(live: Live, receiver: Receiver) -> None:
    id_, path = active(live, subscription(receiver))
    assert live.client("other").delete(f"/fhir/Subscription/{id_}").status_code == 204
    assert live.client("other").get(f"/fhir/Subscription/{id_}").status_code == 404
    ask(live.client("other"), body())
    publish(live)
    time.sleep(0.3)
    assert events(receiver, path) == []


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"criteria": "Observation?code=1"}, "Subscription.criteria"),
        ({"status": "error"}, "Subscription.status"),
        ({"channel": {"type": "email"}}, "Subscription.channel.type"),
        ({"channel": {"payload": "text/plain"}}, "Subscription.channel.payload"),
        ({"channel": {"_payload": {"id": "x"}}}, "Subscription.channel.payload"),
        ({"channel": {"header": ["Authorization: Bearer x"]}}, "Subscription.channel.header"),
        ({"channel": {"endpoint": "https://elsewhere.example/hooks"}}, "Subscription.channel.endpoint"),
        ({"channel": {"endpoint": "http://x/990000196803140021"}}, "Subscription.channel.endpoint"),
        ({"end": "2020-01-01T00:00:00Z"}, "Subscription.end"),
        ({"end": "2016-12-31T23:59:60Z"}, "Subscription"),
        ({"reason": ""}, "Subscription.reason"),
    ],
)
def test_what_is_not_offered_is_refused(
    live: Live, receiver: Receiver, change: dict[str, Any], path: str
) -> None:
    response = post(live, subscription(receiver, **change))
    assert response.status_code == 422
    assert path in [issue["expression"][0] for issue in response.json()["issue"]]


@pytest.mark.parametrize(
    "endpoint",
    [
        "{url}/hooks/his/1",
        "{url}/hooks/other/../his",
        "{url}/hooks/othersomething",
        "{url}@elsewhere.example/hooks/other",
        "{url}/hooks/other#x",
        "{url}/hooks/other/%zz",
        "{url}/hooks/other/./x",
        "{url}/hooks/other//x",
        "{url}/hooks/other/",
        "/hooks/other/x",
        "x",
        "http://169.254.169.254/hooks/other",
    ],
)
def test_nothing_is_sent_anywhere_else(live: Live, receiver: Receiver, endpoint: str) -> None:
    channel = {"endpoint": endpoint.format(url=receiver.url)}
    response = post(live, subscription(receiver, channel=channel))
    assert (response.status_code, response.json()["issue"][0]["code"]) == (422, "forbidden")


@pytest.mark.parametrize("character", [" ", "\x7f", '"', "\n", "é"])
def test_an_endpoint_that_cannot_be_asked_for_as_it_stands_is_refused(
    live: Live, receiver: Receiver, character: str
) -> None:
    channel = {"endpoint": f"{receiver.url}/hooks/other/a{character}b"}
    assert post(live, subscription(receiver, channel=channel)).status_code == 422


def test_a_put_needs_the_id_of_the_address(live: Live, receiver: Receiver) -> None:
    resource = subscription(receiver)
    id_, _ = made(live, resource)
    for body_ in (resource, resource | {"id": "another"}):
        sent = live.client("other").put(f"/fhir/Subscription/{id_}", json=body_, headers=FHIR)
        assert sent.status_code == 400
    live.client("other").delete(f"/fhir/Subscription/{id_}")


def test_a_large_subscription_is_refused(live: Live, receiver: Receiver) -> None:
    assert post(live, subscription(receiver, reason="示" * 20_000)).status_code == 413


def test_many_at_once_are_not_more_than_are_allowed(live: Live, receiver: Receiver) -> None:
    with ThreadPoolExecutor(8) as pool:
        sent = [pool.submit(post, live, subscription(receiver, client="his"), "his") for _ in range(30)]
        statuses = [one.result().status_code for one in sent]
    found = live.client("his").get("/fhir/Subscription").json()["entry"]
    for entry in found:
        live.client("his").delete(f"/fhir/Subscription/{entry['resource']['id']}")
    assert len(found) == 20
    assert {*statuses} == {201, 422}


@pytest.mark.parametrize("client", ["auditor", "publisher", "nobody", "third"])
def test_who_may_not_be_notified_cannot_subscribe(live: Live, receiver: Receiver, client: str) -> None:
    assert post(live, subscription(receiver, client=client), client).status_code in (403, 422)


def test_a_restart_loses_nothing(tmp_path: Path, receiver: Receiver) -> None:
    tokens = {name: uuid.uuid4().hex for name in CLIENTS}
    folder = settings(tmp_path, tokens, receiver)
    make_keys(folder)
    with started(folder, tokens) as first:
        _, path = active(first, subscription(receiver))
        ask(first.client("other"), body())
        receiver.status = 503
        publish(first)
        until(lambda: events(receiver, path))
    receiver.status = 200
    before = len(events(receiver, path))
    with started(folder, tokens):
        until(lambda: len(events(receiver, path)) > before)
    assert {*numbers(events(receiver, path))} == {1}


def test_who_speaks_for_another_institution_by_now_is_told_nothing(
    tmp_path: Path, receiver: Receiver
) -> None:
    tokens = {name: uuid.uuid4().hex for name in CLIENTS}
    before = settings(tmp_path, tokens, receiver)
    make_keys(before)
    with started(before, tokens) as first:
        _, path = active(first, subscription(receiver))
        ask(first.client("other"), body())
    moved = [
        client.model_copy(update={"institution": "EX-SC-02"}) if client.id == "other" else client
        for client in before.clients
    ]
    with started(before.model_copy(update={"clients": moved}), tokens) as second:
        publish(second)
        time.sleep(0.3)
    assert events(receiver, path) == []


def test_what_waits_is_told_in_one_go(tmp_path: Path, receiver: Receiver) -> None:
    tokens = {name: uuid.uuid4().hex for name in CLIENTS}
    slow = settings(tmp_path, tokens, receiver).model_copy(update={"notify_s": 1.0})
    make_keys(slow)
    with started(slow, tokens) as running:
        _, path = active(running, subscription(receiver))
        ask(running.client("other"), body())
        time.sleep(1.1)
        for _ in range(5):
            publish(running)
        begun = time.monotonic()
        until(lambda: len(events(receiver, path)) == 5)
    assert time.monotonic() - begun < 3
    assert numbers(events(receiver, path)) == [1, 2, 3, 4, 5]


def test_of_two_replicas_one_tells(tmp_path: Path, receiver: Receiver) -> None:
    tokens = {name: uuid.uuid4().hex for name in CLIENTS}
    with peers.started(lambda: postgres(tmp_path / "postgres")) as database:
        made_so = settings(tmp_path, tokens, receiver, store=database.url)
        make_keys(made_so)
        with started(made_so, tokens) as one, started(made_so, tokens) as other:
            _, path = active(one, subscription(receiver))
            ask(other.client("other"), body())
            for _ in range(3):
                publish(one)
            until(lambda: len(events(receiver, path)) >= 3)
            time.sleep(0.3)
    assert numbers(events(receiver, path)) == [1, 2, 3]
