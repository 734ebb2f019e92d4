"""Viewings at two replicas of one gateway, over a real PostgreSQL and a real Redis, as in production."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from signal import SIGCONT, SIGSTOP
from typing import Any

import httpx
import pytest
from redis import Redis

from gateway.demo.people import BY_KEY
from gateway.imaging.viewing import REREAD_S
from tests.e2e.test_replicas import Stores, stores
from tests.gateway.imaging.test_peer_studies import bearer, entries, viewer
from tests.gateway.imaging.test_peer_viewings import INSTANCE, UID, Archive
from tests.gateway.live import NODE, OWN, Live, gateway_with, source_of, started
from tests.serving import serve

__all__ = ["stores"]
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("replicas")]
ME, NEIGHBOUR = BY_KEY["jia"], BY_KEY["yi"]
STUDY = f"/dicomweb/studies/{UID}"
SLACK_S = 0.5
"""What a request and the clock of the test may take besides."""


@pytest.fixture(scope="module")
def both(stores: Stores, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Live, Live]]:
    """The hospital's source and an archive with a study of :data:`ME` behind two replicas."""
    folder = tmp_path_factory.mktemp("viewings")
    database, cache = stores
    with ExitStack() as stack:
        source, _ = stack.enter_context(source_of(folder))
        archive = stack.enter_context(serve(Archive().app))
        common = {"institution": OWN, "timeout_ms": 7000}
        nodes: list[dict[str, Any]] = [
            {"id": NODE, "kind": "fhir", "url": source, **common},
            {"id": "cq-pacs", "kind": "dicomweb", "url": archive, "identity": NODE, **common},
        ]
        one = stack.enter_context(gateway_with(folder, nodes, store=database.url, redis=cache.url))
        yield one, stack.enter_context(started(one.settings, one.tokens))


@contextmanager
def opened(
    both: tuple[Live, Live], number: str = ME.number
) -> Iterator[tuple[dict[str, Any], httpx.Client, httpx.Client]]:
    """A viewing that the first replica opened, and its viewer at either."""
    patient = {"type": "resident-id", "value": number}
    answer = both[0].client().post("/api/v1/viewings", json={"patient": patient})
    assert answer.status_code == 200, answer.text
    with viewer(both[0], answer.json()["token"]) as here, viewer(both[1], answer.json()["token"]) as there:
        yield answer.json(), here, there


def seconds_until(status: int, ask: Callable[[], httpx.Response]) -> float:
    """How long it takes until this is the answer."""
    began = time.monotonic()
    while ask().status_code != status:
        assert time.monotonic() - began < 10, f"no {status}"
        time.sleep(0.05)
    return time.monotonic() - began


def test_a_viewing_that_one_replica_opened_shows_images_at_both(both: tuple[Live, Live]) -> None:
    with opened(both) as (_, here, there):
        for client in (there, here):
            assert INSTANCE in client.get(STUDY).content


def test_a_viewing_that_one_replica_ended_is_over_at_both_within_seconds(both: tuple[Live, Live]) -> None:
    with opened(both) as (told, here, there):
        assert [client.get(STUDY).status_code for client in (here, there)] == [200, 200]
        both[0].client().delete(f"/api/v1/viewings/{told['id']}").raise_for_status()
        assert here.get(STUDY).status_code == 401
        assert seconds_until(401, partial(there.get, STUDY)) < REREAD_S + SLACK_S


def test_consent_that_one_replica_heard_taken_back_ends_it_at_both_within_seconds(
    both: tuple[Live, Live],
) -> None:
    patient = {"type": "resident-id", "value": ME.number}
    with opened(both) as (_, here, there):
        assert [client.get(STUDY).status_code for client in (here, there)] == [200, 200]
        said = both[1].client().post("/api/v1/consents", json={"patient": patient, "decision": "deny"})
        try:
            took = [seconds_until(403, partial(client.get, STUDY)) for client in (here, there)]
        finally:
            path = f"/api/v1/consents/{said.json()['id']}/revocation"
            both[1].client().post(path, json={"patient": patient}).raise_for_status()
        assert max(took) < REREAD_S + SLACK_S


def test_what_was_ended_while_redis_was_away_stays_ended(both: tuple[Live, Live], stores: Stores) -> None:
    with opened(both) as (told, here, there):
        stores[1].process.send_signal(SIGSTOP)
        try:
            ended = both[0].client().delete(f"/api/v1/viewings/{told['id']}")
        finally:
            stores[1].process.send_signal(SIGCONT)
        assert ended.status_code == 200
        time.sleep(REREAD_S)
        assert [client.get(STUDY).status_code for client in (here, there)] == [401, 401]


def test_a_viewing_outlives_a_redis_that_lost_everything(both: tuple[Live, Live], stores: Stores) -> None:
    with opened(both) as (_, here, there):
        Redis.from_url(stores[1].url).flushall()
        time.sleep(REREAD_S)
        assert [client.get(STUDY).status_code for client in (here, there)] == [200, 200]


def test_each_replica_records_a_study_once(both: tuple[Live, Live]) -> None:
    with opened(both) as (told, here, there):
        for client in (here, there, here, there):
            client.get(STUDY).raise_for_status()
    found = [payload for entry, payload in entries(both[0]) if entry.type == "view"]
    found = [payload for payload in found if payload["viewing"] == told["id"]]
    assert [(one["study"], one["purpose"], one["receiver"]) for one in found] == [(UID, "TREAT", OWN)] * 2
    assert all(ME.number not in str(one) for one in found)


def test_the_token_of_one_person_shows_nothing_of_another(both: tuple[Live, Live]) -> None:
    with opened(both, NEIGHBOUR.number) as (_, here, there):
        for client in (here, there):
            assert client.get("/dicomweb/studies").status_code == 204
            assert client.get(STUDY).status_code == 404
            assert client.get(f"/dicomweb/nodes/cq-pacs/studies/{UID}").status_code == 404


def test_a_token_opens_nothing_but_as_a_bearer(both: tuple[Live, Live]) -> None:
    with opened(both) as (told, _, _):
        token = told["token"]
        plain = both[1].client("")
        assert plain.get(f"{STUDY}?token={token}").status_code == 401
        assert plain.get(f"{STUDY}?access_token={token}").status_code == 401
        assert plain.get(STUDY, headers={"Authorization": f"Basic {token}"}).status_code == 401
        assert plain.get(STUDY, headers={"Authorization": f"Bearer {token[:-1]}"}).status_code == 401
        both_of = [("Authorization", f"Bearer {token}"), ("Authorization", f"Bearer {uuid.uuid4().hex}")]
        assert plain.get(STUDY, headers=both_of).status_code == 401
        assert plain.get("/api/v1/viewings/" + told["id"], headers=bearer(token)).status_code == 401
        assert both[1].client("other").get("/api/v1/viewings/" + told["id"]).status_code == 404
        assert token not in both[0].log.getvalue() + both[1].log.getvalue()
