"""Images through two further gateways: lists, bytes, and the record of who saw what at every one of them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.demo.people import BY_KEY
from gateway.imaging.viewing import KIND, REREAD_S
from tests.gateway.chain import chain
from tests.gateway.imaging.test_peer_studies import asked, entries, post, viewer
from tests.gateway.live import NODE, OTHER, OWN, Live, audit, reading
from tests.serving import serve

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("peers")]  # one worker starts its servers

ME = BY_KEY["jia"]
NUMBER = ME.mrns[OWN]
UID, SERIES, INSTANCE = "2.25.77", "2.25.78", b"a DICOM file, as far as a gateway that passes it on can tell"
MULTIPART = 'multipart/related; type="application/dicom"; boundary=b'


def views(live: Live) -> list[dict[str, Any]]:
    return [payload for entry, payload in entries(live) if entry.type == "view"]


class Archive:
    """One study of one patient, whoever asks; what was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.app = Starlette(
            routes=[
                Route("/studies", self.studies),
                Route(f"/studies/{UID}", self.study),
                Route(f"/studies/{UID}/series", self.series),
            ]
        )

    async def studies(self, request: Request) -> Response:
        self.asked.append(str(request.url))
        if request.query_params.get("PatientID") != NUMBER:
            return Response(status_code=204)
        told = {
            "00080020": {"vr": "DA", "Value": ["20261101"]},
            "00080061": {"vr": "CS", "Value": ["CT"]},
            "00081030": {"vr": "LO", "Value": ["CT 胸部平扫"]},
            "00100020": {"vr": "LO", "Value": [NUMBER]},
            "0020000D": {"vr": "UI", "Value": [UID]},
            "00201208": {"vr": "IS", "Value": [1]},
        }
        return JSONResponse([told], media_type="application/dicom+json")

    async def series(self, request: Request) -> Response:
        self.asked.append(str(request.url))
        told = {tag: {"vr": "UI", "Value": [uid]} for tag, uid in (("0020000D", UID), ("0020000E", SERIES))}
        return JSONResponse([told], media_type="application/dicom+json")

    async def study(self, request: Request) -> Response:
        self.asked.append(str(request.url))
        body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + INSTANCE + b"\r\n--b--\r\n"
        return Response(body, media_type=MULTIPART)


@pytest.fixture(scope="module")
def archive() -> Archive:
    return Archive()


@pytest.fixture(scope="module")
def gateways(tmp_path_factory: pytest.TempPathFactory, archive: Archive) -> Iterator[dict[str, Live]]:
    """四川, which asks the alliance, which asks 重庆, whose hospital has an archive."""
    folder = tmp_path_factory.mktemp("chain")
    with serve(archive.app) as url:
        node = {"id": "cq-pacs", "kind": "dicomweb", "url": url, "institution": OWN, "identity": NODE}
        with chain(folder, [node | {"timeout_ms": 7000}]) as found:
            yield found


@pytest.fixture
def opened(gateways: dict[str, Live]) -> Iterator[tuple[dict[str, Any], httpx.Client]]:
    """A viewing of the patient at a hospital of 四川, and its viewer."""
    patient = {"type": "resident-id", "value": ME.number}
    answer = gateways["sc"].client("other").post("/api/v1/viewings", json={"patient": patient})
    assert answer.status_code == 200, answer.text
    with viewer(gateways["sc"], answer.json()["token"]) as client:
        yield answer.json(), client


WAY = "gw-lab8/gw-cq/cq-pacs"


def test_a_viewer_lists_a_study_two_gateways_away(opened: tuple[dict[str, Any], httpx.Client]) -> None:
    told, client = opened
    (study,) = client.get("/dicomweb/studies").json()
    assert study["0020000D"]["Value"] == [UID]
    assert study["00100020"]["Value"] == [told["patient_id"]]
    assert WAY in json.dumps(study)


@pytest.mark.parametrize("path", [f"studies/{UID}", f"nodes/{WAY}/studies/{UID}"])
def test_images_come_through_both_gateways_in_their_own_bytes(
    opened: tuple[dict[str, Any], httpx.Client], path: str
) -> None:
    answer = opened[1].get(f"/dicomweb/{path}")
    assert answer.status_code == 200, answer.text
    assert INSTANCE in answer.content


def test_a_study_is_on_record_as_viewed_at_every_gateway_it_passed(
    gateways: dict[str, Live], opened: tuple[dict[str, Any], httpx.Client]
) -> None:
    before = {owner: len(views(live)) for owner, live in gateways.items()}
    opened[1].get(f"/dicomweb/studies/{UID}").raise_for_status()
    opened[1].get("/dicomweb/studies").raise_for_status()
    opened[1].get(f"/dicomweb/studies/{UID}").raise_for_status()
    for owner, way in (("sc", WAY), ("lab8", "gw-cq/cq-pacs"), ("cq", "cq-pacs")):
        (view,) = views(gateways[owner])[before[owner] :]
        assert (view["study"], view["node"], view["receiver"], view["purpose"]) == (UID, way, OTHER, "TREAT")


def test_an_auditor_finds_who_looked_at_a_study(
    gateways: dict[str, Live], opened: tuple[dict[str, Any], httpx.Client]
) -> None:
    opened[1].get(f"/dicomweb/studies/{UID}").raise_for_status()
    for live, client in ((gateways["sc"], "other"), (gateways["cq"], "peer")):
        auditor = live.client("auditor")
        study = f"urn:dicom:uid|urn:oid:{UID}"
        event = auditor.get("/fhir/AuditEvent", params={"entity": study}).json()["entry"][0]["resource"]
        assert event["meta"]["profile"][0].endswith("IHE.BasicAudit.PatientRead")
        assert event["purposeOfEvent"][0]["coding"][0]["code"] == "TREAT"
        assert event["agent"][0]["who"]["identifier"]["value"] == client
        assert event["entity"][0]["what"]["identifier"]["value"] == f"urn:oid:{UID}"
        assert ME.number not in json.dumps(event)


def test_no_archive_and_no_person_shows_on_the_way(
    gateways: dict[str, Live], archive: Archive, opened: tuple[dict[str, Any], httpx.Client]
) -> None:
    _, client = opened
    client.get(f"/dicomweb/studies/{UID}").raise_for_status()
    answers = [client.get(path) for path in ("/dicomweb/studies", f"/dicomweb/studies/{UID}")]
    place = next(iter(archive.asked)).split("/studies")[0]
    for answer in answers:
        assert place not in answer.text + str(answer.headers)
    for live in gateways.values():
        assert ME.number not in live.log.getvalue()
        assert UID not in live.log.getvalue()


def test_another_person_s_study_is_not_there(gateways: dict[str, Live], archive: Archive) -> None:
    patient = {"type": "resident-id", "value": BY_KEY["yi"].number}
    token = gateways["sc"].client("other").post("/api/v1/viewings", json={"patient": patient}).json()["token"]
    with viewer(gateways["sc"], token) as client:
        assert client.get("/dicomweb/studies").status_code == 204
        assert client.get(f"/dicomweb/studies/{UID}").status_code == 404
        assert client.get(f"/dicomweb/nodes/{WAY}/studies/{UID}").status_code == 404


def test_the_viewing_at_the_other_gateway_ends_with_the_asker_s(gateways: dict[str, Live]) -> None:
    ends = datetime.now(UTC) + timedelta(seconds=1)
    told = post(gateways["cq"], asked(ends=ends.isoformat())).json()
    path = f"/dicomweb/nodes/cq-pacs/studies/{UID}"
    with viewer(gateways["cq"], told["token"]) as client:
        assert client.get(path).status_code == 200
        time.sleep(1)
        assert client.get(path).status_code == 401


@pytest.mark.parametrize("path", ["", "/series"])
def test_where_the_other_gateway_s_viewing_has_ended_before_this_one_another_is_opened(
    gateways: dict[str, Live], opened: tuple[dict[str, Any], httpx.Client], path: str
) -> None:
    assert opened[1].get(f"/dicomweb/studies/{UID}{path}").status_code == 200
    reading(gateways["lab8"], lambda store: store.prune(KIND, "z"))
    time.sleep(REREAD_S)
    assert opened[1].get(f"/dicomweb/studies/{UID}{path}").status_code == 200


def test_consent_taken_back_at_the_far_gateway_ends_what_is_shown_here(
    gateways: dict[str, Live], opened: tuple[dict[str, Any], httpx.Client]
) -> None:
    _, client = opened
    client.get(f"/dicomweb/studies/{UID}").raise_for_status()
    patient = {"type": "resident-id", "value": ME.number}
    his = gateways["cq"].client("his")
    made = his.post("/api/v1/consents", json={"patient": patient, "decision": "deny"}).json()
    time.sleep(REREAD_S)
    refused = client.get(f"/dicomweb/studies/{UID}")
    listed = client.get("/dicomweb/studies")
    his.post(f"/api/v1/consents/{made['id']}/revocation", json={"patient": patient}).raise_for_status()
    assert refused.status_code in (403, 404, 502)
    assert listed.status_code == 204
    assert INSTANCE not in refused.content


def test_in_an_emergency_images_are_shown_against_consent_and_every_gateway_has_it_on_record(
    gateways: dict[str, Live],
) -> None:
    patient = {"type": "resident-id", "value": ME.number}
    his = gateways["cq"].client("his")
    made = his.post("/api/v1/consents", json={"patient": patient, "decision": "deny"}).json()
    asked = {"patient": patient, "break_glass": {"reason": "昏迷，无法等待"}}
    told = gateways["sc"].client("other").post("/api/v1/viewings", json=asked).json()
    with viewer(gateways["sc"], told["token"]) as client:
        answer = client.get(f"/dicomweb/studies/{UID}")
    his.post(f"/api/v1/consents/{made['id']}/revocation", json={"patient": patient}).raise_for_status()
    assert (answer.status_code, INSTANCE in answer.content) == (200, True)
    for live in gateways.values():
        assert (views(live)[-1]["study"], views(live)[-1]["purpose"]) == (UID, "BTG")


def test_every_ledger_holds_when_all_is_over(gateways: dict[str, Live], tmp_path: Path) -> None:
    for owner, live in gateways.items():
        assert audit(live, tmp_path / owner) == []
