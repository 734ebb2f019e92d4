"""HealthChain's sandbox, a CDS client that others wrote, calls the services and understands the cards.

The sandbox sends no Authorization header, so a hospital's own front stands before it here, as at a real site:
it signs each call with the JWT of a CDS client (CDS Hooks 2.0, Trusting CDS Clients).
"""

from __future__ import annotations

import json
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jwt
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.clients.conftest import environment
from tests.contract.calls import order, patient
from tests.gateway.live import NODE, OWN, PATIENT, Live, gateway_with, source_of
from tests.gateway.smart import new_key, written
from tests.serving import serve

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("healthchain")]

ISSUER, KEY = "https://his.example/cds", new_key("ec-1")
SANDBOX = """
import json, sys
from healthchain.models import CDSRequest, CDSResponse
from healthchain.models.hooks.basehookcontext import BaseHookContext
from healthchain.sandbox import SandboxClient
from healthchain.sandbox.requestconstructors import CdsRequestConstructor
from pydantic import SerializeAsAny

class Whole(CDSRequest):  # as it is (0.16.1), a request loses what is in the context of one hook alone
    context: SerializeAsAny[BaseHookContext]

url, hook = sys.argv[1:]
given = json.load(sys.stdin)
client = SandboxClient(url, workflow=hook)
made = CdsRequestConstructor().construct_request(given["prefetch"], client.workflow, given["context"])
client.requests.append(Whole(hook=made.hook, context=made.context, prefetch=made.prefetch))
(answer,) = client.send_requests()
CDSResponse.model_validate(answer)
print(json.dumps(answer))
"""


def front(live: Live) -> Starlette:
    """What signs the calls of a hospital and passes them on."""

    async def pass_on(request: Request) -> Response:
        now, path = int(time.time()), request.url.path
        claims = {"iss": ISSUER, "aud": f"{live.settings.base_url}{path}", "iat": now, "exp": now + 60}
        header = {"alg": "ES384", "kid": KEY.kid, "typ": "JWT"}
        token = jwt.encode(header, claims | {"jti": uuid.uuid4().hex}, KEY, ["ES384"])
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        async with httpx.AsyncClient(base_url=live.url, trust_env=False) as client:
            answer = await client.post(path, content=await request.body(), headers=headers)
        return Response(answer.content, answer.status_code, media_type="application/json")

    return Starlette(routes=[Route("/cds-services/{path:path}", pass_on, methods=["POST"])])


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the services as the hospital's systems see it."""
    folder = tmp_path_factory.mktemp("hospital")
    client = {
        "id": "his",
        "institution": OWN,
        "roles": ["his"],
        "jwks_file": written(folder / "his.json", KEY),
        "cds_issuer": ISSUER,
    }
    with source_of(folder) as (source, _):
        node = {"id": NODE, "kind": "fhir", "url": source, "institution": OWN, "timeout_ms": 7000}
        with gateway_with(folder, [node], clients=[client]) as live, serve(front(live)) as found:
            yield f"{found}/cds-services"


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The Python that has HealthChain."""
    return environment(tmp_path_factory, worker_id, "healthchain") / "python"


def sandbox(python: Path, url: str, hook: str, **context: Any) -> list[dict[str, Any]]:
    """The cards that the sandbox got, each valid by its models."""
    given = {
        "context": {"userId": "Practitioner/1", "patientId": "p1"} | context,
        "prefetch": {"patient": patient(PATIENT) | {"id": "p1"}},
    }
    done = subprocess.run(
        [str(python), "-c", SANDBOX, url, hook],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout.splitlines()[-1])["cards"])


def drafts() -> dict[str, Any]:
    entries = [{"resource": order("白蛋白", id="o1")}, {"resource": order("总蛋白", id="o2")}]
    return {"resourceType": "Bundle", "type": "collection", "entry": entries}


def test_the_sandbox_signs_orders(python: Path, url: str) -> None:
    cards = sandbox(python, f"{url}/result-recognition", "order-sign", draftOrders=drafts())
    assert [card["summary"].partition("：")[0] for card in cards] == ["白蛋白", "总蛋白"]
    (suggestion,) = cards[0]["suggestions"]
    assert suggestion["actions"][0]["resourceId"] == "ServiceRequest/o1"


def test_the_sandbox_selects_an_order(python: Path, url: str) -> None:
    chosen = {"draftOrders": drafts(), "selections": ["ServiceRequest/o2"]}
    (card,) = sandbox(python, f"{url}/result-recognition-select", "order-select", **chosen)
    assert card["summary"].startswith("总蛋白")


def test_the_sandbox_opens_a_chart(python: Path, url: str) -> None:
    (card,) = sandbox(python, f"{url}/result-history", "patient-view")
    assert "1项可互认" in card["summary"]
