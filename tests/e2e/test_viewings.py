"""A doctor in Chengdu looks at images that lie in Chongqing: signed questions, and real archives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from gateway.demo.network import Network
from gateway.demo.people import BY_KEY

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("network")]
PERSON = BY_KEY["jia"]
FAR = "gw-cq/cq-pacs"


def client_of(network: Network, token: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.Client(base_url=network.gateways["sc"].url, headers=headers, timeout=30, trust_env=False)


@pytest.fixture(scope="module")
def opened(network: Network) -> dict[str, Any]:
    body = {
        "patient": {"type": "resident-id", "value": PERSON.number},
        "planned": [{"name": "胸部CT平扫", "kind": "imaging"}],
    }
    with client_of(network, network.gateways["sc"].tokens["EX-SC-01"]) as his:
        answer = his.post("/api/v1/viewings", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.fixture
def viewer(network: Network, opened: dict[str, Any]) -> Iterator[httpx.Client]:
    with client_of(network, opened["token"]) as client:
        yield client


def test_what_may_be_recognised_here_comes_first_with_its_record_there(opened: dict[str, Any]) -> None:
    prior = opened["priors"][0]
    assert prior["verdict"]["verdict"] == "recognised"
    assert prior["record"].startswith("gw-cq/cq-his/DiagnosticReport/")
    assert prior["en"].startswith("the same part, the same modality (CT)")


def test_the_study_is_listed_with_the_name_right_and_under_the_id_of_this_viewing(
    opened: dict[str, Any], viewer: httpx.Client
) -> None:
    (study,) = viewer.get("/dicomweb/studies").json()
    assert study["0020000D"]["Value"] == [opened["priors"][0]["study_uid"]]
    assert study["00100020"]["Value"] == [opened["patient_id"]]
    assert study["00100010"]["Value"][0]["Ideographic"] == "示例^患者甲"


@pytest.mark.parametrize("below", ["", f"/nodes/{FAR}"])
def test_its_images_come_from_the_other_gateway_s_archive(
    opened: dict[str, Any], viewer: httpx.Client, below: str
) -> None:
    uid = opened["priors"][0]["study_uid"]
    answer = viewer.get(f"/dicomweb{below}/studies/{uid}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("multipart/related")
    assert answer.content.count(b"DICM") == opened["priors"][0]["verdict"]["result"]["images"]["held"]


def test_the_archive_itself_is_never_told(
    network: Network, opened: dict[str, Any], viewer: httpx.Client
) -> None:
    place = network.nodes["cq-pacs"].url
    uid = opened["priors"][0]["study_uid"]
    for path in ("/dicomweb/studies", f"/dicomweb/studies/{uid}/metadata", f"/dicomweb/studies/{uid}/series"):
        answer = viewer.get(path)
        assert answer.status_code == 200, answer.text
        assert place not in answer.text + str(answer.headers)
