"""Every door of the published routes: shut without a token, and without its scope, in its face's shape."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from gateway.app import describe_app
from tests.gateway.live import OWN, Live, gateway_with

OPERATIONS = [
    (method.upper(), path, operation)
    for path, operations in describe_app().openapi()["paths"].items()
    for method, operation in operations.items()
]
DOORS = [(method, path, operation) for method, path, operation in OPERATIONS if "security" in operation]
ASKING_INSIDE = {"/fhir", "/fhir/nodes/{node}", "/fhir/_page/{page}"}
"""Bundles are asked entry by entry, and pages for whose they are."""
IMAGES = [door for door in DOORS if door[0] == "GET" and door[1].startswith("/dicomweb")]
"""These are opened by the token of a viewing, and by no client's."""
SCOPED = [door for door in DOORS if door[1] not in ASKING_INSIDE and door not in IMAGES]
ROLES = ["his", "auditor", "steward", "operator", "peer", "publisher"]
TRANSLATE = "/fhir/ConceptMap/$translate?display=白蛋白&kind=lab"


def fixed(name: str, **more: Any) -> dict[str, Any]:
    """A client whose token is its name."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    return {"id": name, "institution": OWN, "roles": ["his"], "token_sha256": digest} | more


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A gateway with a client of every role whose scopes open nothing, and one that may hardly ask."""
    folder = tmp_path_factory.mktemp("guarded")
    clients = [
        fixed("nothing", roles=ROLES, scopes=["system/Basic.r"], requests_per_minute=100_000),
        fixed("his"),
        fixed("often", requests_per_minute=1),
    ]
    with gateway_with(folder, [], clients=clients) as live:
        yield live


def call(live: Live, method: str, path: str, operation: dict[str, Any], name: str) -> httpx.Response:
    """A request with an empty body of the right kind, and the token of a client (none for an empty name)."""
    media = next(iter(operation.get("requestBody", {}).get("content", {})), "application/json")
    headers = {"Content-Type": media} | ({"Authorization": f"Bearer {name}"} if name else {})
    content = b"{}" if method in ("POST", "PUT") else None
    path = path.replace("{type}", "Patient").replace("{node}", "node")  # only such addresses lead to a route
    return live.client("").request(method, path, content=content, headers=headers)


def shape(answer: httpx.Response, path: str) -> str:
    """The code of a refusal, which stands where the face has it."""
    told = answer.json()
    if path.startswith("/fhir"):
        assert answer.headers["content-type"] == "application/fhir+json"
        return str(told["issue"][0]["details"]["coding"][0]["code"])
    assert answer.headers["content-type"] == "application/problem+json"
    return str(told["code"])


@pytest.mark.parametrize(("method", "path", "operation"), DOORS)
def test_a_door_is_shut_without_a_token(
    guarded: Live, method: str, path: str, operation: dict[str, Any]
) -> None:
    answer = call(guarded, method, path, operation, "")
    assert (answer.status_code, shape(answer, path)) == (401, "not-authenticated")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(("method", "path", "operation"), SCOPED)
def test_a_door_is_shut_without_its_scope_whatever_the_role(
    guarded: Live, method: str, path: str, operation: dict[str, Any]
) -> None:
    before = guarded.kept()
    answer = call(guarded, method, path, operation, "nothing")
    assert (answer.status_code, shape(answer, path)) == (403, "not-permitted")
    assert 'error="insufficient_scope", scope="' in answer.headers["www-authenticate"]
    assert guarded.kept() == before


@pytest.mark.parametrize(("method", "path", "operation"), IMAGES)
def test_no_client_s_own_token_opens_images(
    guarded: Live, method: str, path: str, operation: dict[str, Any]
) -> None:
    answer = call(guarded, method, path, operation, "his")
    assert (answer.status_code, shape(answer, path)) == (401, "not-authenticated")


@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("GET", "Patient/p1"),
        ("GET", "Patient/p1/_history"),
        ("GET", "Patient?identifier=a|b"),
        ("PUT", "Patient/p1"),
        ("PUT", "Patient?identifier=a|b"),
        ("DELETE", "Patient/p1"),
        ("POST", "Patient"),
    ],
)
def test_each_entry_of_a_bundle_needs_its_scope(guarded: Live, method: str, url: str) -> None:
    resource = {} if method in ("GET", "DELETE") else {"resource": {"resourceType": "Patient", "id": "p1"}}
    bundle = {
        "resourceType": "Bundle",
        "type": "batch",
        "entry": [resource | {"request": {"method": method, "url": url}}],
    }
    headers = {"Authorization": "Bearer nothing", "Content-Type": "application/fhir+json"}
    before = guarded.kept()
    (entry,) = guarded.client("").post("/fhir", json=bundle, headers=headers).json()["entry"]
    told = entry["response"]
    assert (told["status"][:3], told["outcome"]["issue"][0]["code"]) == ("403", "forbidden")
    assert guarded.kept() == before


@pytest.mark.parametrize(("method", "path", "operation"), DOORS)
def test_a_door_that_needs_a_token_says_that_it_may_refuse_one(
    method: str, path: str, operation: dict[str, Any]
) -> None:
    assert {"401", "403", "429"} <= operation["responses"].keys()


@pytest.mark.parametrize("path", ["/api/v1/catalogues", "/fhir/CodeSystem"])
def test_who_asks_too_often_is_told_so_in_the_shape_of_the_face(guarded: Live, path: str) -> None:
    for _ in range(2):
        answer = call(guarded, "GET", path, {}, "often")
    assert (answer.status_code, shape(answer, path)) == (429, "too-many-requests")
    assert int(answer.headers["retry-after"]) >= 1


def test_what_is_remembered_of_a_translation_is_behind_the_same_door(guarded: Live) -> None:
    statuses = [
        call(guarded, "GET", TRANSLATE, {}, name).status_code for name in ("his", "his", "nothing", "")
    ]
    assert statuses == [200, 200, 403, 401]


def test_the_capability_statement_says_how_to_get_in(guarded: Live) -> None:
    statement = guarded.client("").get("/fhir/metadata").json()
    security = statement["rest"][0]["security"]
    assert security["service"][0]["coding"][0]["code"] == "SMART-on-FHIR"
    assert json.dumps(security).count("/oauth/token") == 1
