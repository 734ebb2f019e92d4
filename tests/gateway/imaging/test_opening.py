"""Opening viewings over HTTP: what a hospital's system sends and gets, and who may."""

from __future__ import annotations

import hashlib
import re
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from gateway.demo.people import BY_KEY
from gateway.errors import SettingsError
from gateway.imaging.opening import link_to, priors_of, studies_of
from gateway.model import CheckAnswer, VerdictOut
from gateway.settings import load_settings
from tests.gateway.live import OTHER, OWN, PATIENT, Live, ask, gateway_over_source, gateway_with
from tests.gateway.live import body as asked
from tests.gateway.test_settings import written

CHEST, BRAIN, KNEE = (BY_KEY[key] for key in ("jia", "bing", "zhe"))
"""Persons with a CT of the chest, an MR of the brain, a DR of the left knee in the hospital's source."""
DENIED = BY_KEY["jie"]


def body(person: str = CHEST.number, **more: Any) -> dict[str, Any]:
    return {"patient": {"type": "resident-id", "value": person}} | more


def post(live: Live, sent: dict[str, Any], client: str = "his") -> httpx.Response:
    return live.client(client).post("/api/v1/viewings", json=sent)


def opened(live: Live, person: str = CHEST.number, client: str = "his", **more: Any) -> dict[str, Any]:
    answer = post(live, body(person, **more), client)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_a_viewing_tells_what_a_viewer_needs(gateway: Live, his: httpx.Client) -> None:
    told = opened(gateway)
    assert told["dicomweb"] == f"{gateway.settings.base_url}/dicomweb"
    assert re.fullmatch(r"lrv_[A-Za-z0-9_-]{43}", told["token"])
    assert re.fullmatch(r"[A-Z2-7]{24}", told["patient_id"])
    assert told["complete"] is True
    assert [node["node"] for node in told["nodes"]] == ["cq-his"]
    assert told["catalogue"]["illustrative"] is True
    left = datetime.fromisoformat(told["ends"]) - datetime.now(UTC)
    assert timedelta(minutes=29) < left <= timedelta(minutes=30)


def test_viewings_that_are_opened_are_counted(gateway: Live) -> None:
    def count() -> float:
        (line,) = re.findall(
            r'lianren_viewings_total\{role="his"\} (\S+)', gateway.client("").get("/metrics").text
        )
        return float(line)

    opened(gateway)
    before = count()
    opened(gateway)
    assert count() == before + 1


def test_its_priors_are_the_images_of_a_check_with_their_verdicts(gateway: Live) -> None:
    told = opened(gateway)
    (prior,) = told["priors"]
    check = gateway.client().get(f"/api/v1/checks/{told['check']}").json()
    (verdict,) = check["verdicts"]
    assert prior["verdict"] == verdict
    assert (prior["study_uid"], prior["rank"]) == (verdict["result"]["study_uid"], 1)
    assert prior["record"] == "cq-his/DiagnosticReport/ct-chest-report"
    assert check["moment"] == "reception"


def test_what_is_planned_says_what_the_priors_are_relevant_to(gateway: Live) -> None:
    planned = [
        {"name": "胸部CT平扫", "kind": "imaging"},
        {"item": "CT-001"},
        {"name": "白蛋白", "kind": "lab"},
    ]
    told = opened(gateway, planned=planned)
    assert told["relevant_to"] == ["CT|胸部|-|plain|-", "CT|颅脑|-|plain|-"]
    assert told["priors"][0]["en"].startswith("the same part, the same modality (CT)")


def test_the_open_study_says_it_too(gateway: Live) -> None:
    uid = opened(gateway)["priors"][0]["study_uid"]
    assert opened(gateway, study_uid=uid)["relevant_to"] == ["CT|胸部|-|plain|-"]
    assert opened(gateway, study_uid="2.25.1")["relevant_to"] == []


def test_priors_stand_in_the_order_of_their_relevance(gateway: Live) -> None:
    found = [opened(gateway, person.number)["priors"][0] for person in (CHEST, BRAIN, KNEE)]
    verdicts = {one["study_uid"]: msgspec.convert(one["verdict"], VerdictOut, strict=False) for one in found}
    chest, brain, knee = verdicts
    concepts = {chest: "CT|胸部|-|plain|-", brain: "MR|颅脑|-|plain|-", knee: "DR|膝关节|L|-|正侧位"}
    ranks = priors_of(verdicts, concepts, ["CT|颅脑|-|plain|-"], datetime.now(UTC))
    assert [one.study_uid for one in ranks] == [brain, chest, knee]
    assert [one.rank for one in ranks] == [1, 2, 3]


def test_a_viewing_can_go_by_a_check_of_the_same_patient(gateway: Live) -> None:
    asked = body() | {"request_id": uuid.uuid4().hex, "planned": [{"name": "胸部CT平扫", "kind": "imaging"}]}
    check = gateway.client().post("/api/v1/checks", json=asked).json()
    entries, documents, asked_nodes = gateway.kept()
    told = opened(gateway, check=check["id"])
    assert told["check"] == check["id"]
    assert [one["study_uid"] for one in told["priors"]] == [
        one["result"]["study_uid"] for one in check["verdicts"]
    ]
    assert gateway.kept() == (entries, documents + 1, asked_nodes)  # the viewing itself


@pytest.mark.parametrize(
    ("changes", "status", "field"),
    [
        ({"patient": {"type": "resident-id", "value": "990000198001010017"}}, 422, "patient.value"),
        ({"patient": {"type": "no-such", "value": "1"}}, 422, "patient.type"),
        ({"planned": [{}]}, 422, "planned[0]"),
        ({"planned": [{"item": "NONE"}]}, 422, "planned[0].item"),
        ({"study_uid": "1.2.03"}, 422, "study_uid"),
        ({"study_uid": "../.."}, 422, "study_uid"),
        ({"minutes": 0}, 422, "minutes"),
        ({"minutes": 481}, 422, "minutes"),
        ({"check": "none"}, 404, "id"),
        ({"token": "lrv_mine"}, 422, "token"),
    ],
)
def test_what_cannot_be_is_refused_and_nobody_is_asked(
    gateway: Live, changes: dict[str, Any], status: int, field: str
) -> None:
    before = gateway.kept()
    answer = post(gateway, body() | changes)
    assert (answer.status_code, answer.json().get("field", "")) == (status, field)
    assert gateway.kept() == before


def test_a_check_of_somebody_else_opens_nothing(gateway: Live) -> None:
    check = opened(gateway, KNEE.number)["check"]
    answer = post(gateway, body(check=check))
    assert (answer.status_code, answer.json()["field"]) == (422, "check")


def test_a_study_whose_uid_is_none_is_no_prior_and_no_part_of_a_link(gateway: Live) -> None:
    check = gateway.client().get(f"/api/v1/checks/{opened(gateway)['check']}").json()
    assert studies_of(msgspec.convert(check, CheckAnswer, strict=False))
    check["verdicts"][0]["result"]["study_uid"] = "2.25.1&token=another"
    assert studies_of(msgspec.convert(check, CheckAnswer, strict=False)) == {}


@pytest.mark.slow
def test_a_check_that_rests_on_a_mark_that_was_withdrawn_opens_nothing(tmp_path: Path) -> None:
    with gateway_over_source(tmp_path) as live:
        check = ask(live.client(), asked("血清白蛋白"))
        (mark,) = (verdict.mark.id for verdict in check.verdicts if verdict.mark)
        opened(live, PATIENT, check=check.id)
        reason = {"reason": "evaluation-failed"}
        live.client("steward").post(f"/api/v1/marks/{mark}/withdrawal", json=reason).raise_for_status()
        answer = post(live, body(PATIENT, check=check.id))
    assert (answer.status_code, answer.json()["field"]) == (422, "check")


def test_a_check_of_another_institution_is_not_found(gateway: Live) -> None:
    check = opened(gateway)["check"]
    assert post(gateway, body(check=check), "other").status_code == 404


def own(number: str, institution: str = OWN) -> dict[str, Any]:
    return {"patient": {"type": f"urn:lianren:mrn:{institution}", "value": number}}


def test_a_hospital_names_its_patient_by_its_own_number(gateway: Live) -> None:
    answer = post(gateway, own(CHEST.mrns[OWN]))
    assert answer.status_code == 200, answer.text
    told = opened(gateway)
    assert answer.json()["patient_id"] == told["patient_id"]
    assert [one["study_uid"] for one in answer.json()["priors"]] == [told["priors"][0]["study_uid"]]


@pytest.mark.parametrize("number", ["nobody", "", "a|b", "a b", "x" * 65, "a,b"])
def test_a_number_that_nobody_has_opens_nothing(gateway: Live, number: str) -> None:
    answer = post(gateway, own(number))
    assert (answer.status_code, answer.json()["field"]) == (422, "patient.value")


def test_another_hospital_s_number_names_nobody(gateway: Live) -> None:
    answer = post(gateway, own(CHEST.mrns[OWN]), "other")
    assert (answer.status_code, answer.json()["field"]) == (422, "patient.type")
    answer = post(gateway, own(CHEST.mrns[OWN], OTHER), "other")
    assert (answer.status_code, answer.json()["field"]) == (422, "patient.value")


def test_a_check_in_an_emergency_opens_nothing_to_who_may_not_declare_one(gateway: Live) -> None:
    check = opened(gateway, break_glass={"reason": "昏迷，无法等待"})["check"]
    assert post(gateway, body(check=check), "ward").status_code == 403


def test_who_is_for_emergencies_alone_declares_one(gateway: Live) -> None:
    check = opened(gateway)["check"]
    assert post(gateway, body(check=check), "ambulance").status_code == 403
    assert post(gateway, body(), "ambulance").status_code == 422
    assert opened(gateway, client="ambulance", break_glass={"reason": "昏迷，无法等待"})["priors"]


def test_an_emergency_is_declared_in_the_check_alone(gateway: Live) -> None:
    check = opened(gateway)["check"]
    answer = post(gateway, body(check=check, break_glass={"reason": "昏迷，无法等待"}))
    assert (answer.status_code, answer.json()["field"]) == (422, "break_glass")


@pytest.mark.parametrize("client", ["", "nobody", "auditor", "steward", "peer", "operator", "publisher"])
def test_only_a_hospital_opens_viewings(gateway: Live, client: str) -> None:
    assert post(gateway, body(), client).status_code in (401, 403)


def test_who_has_not_consented_is_not_looked_at(gateway: Live) -> None:
    record = body(DENIED.number) | {"decision": "deny"}
    made = gateway.client().post("/api/v1/consents", json=record)
    made.raise_for_status()
    refused = post(gateway, body(DENIED.number))
    granted = opened(gateway, DENIED.number, break_glass={"reason": "昏迷，无法等待"})
    again = post(gateway, body(DENIED.number, check=granted["check"]))
    path = f"/api/v1/consents/{made.json()['id']}/revocation"
    gateway.client().post(path, json=body(DENIED.number)).raise_for_status()
    assert (refused.status_code, refused.json()["code"]) == (403, "consent-denied")
    assert "token" not in refused.json()
    assert granted["priors"]
    assert again.status_code == 200  # the check was asked in an emergency, and so is what goes by it


def test_an_institution_sees_its_open_viewings_without_their_tokens(gateway: Live) -> None:
    told = opened(gateway)
    path = f"/api/v1/viewings/{told['id']}"
    seen = gateway.client().get(path)
    assert seen.status_code == 200
    assert told["token"] not in seen.text
    assert seen.json() == {name: told[name] for name in seen.json()}
    assert gateway.client("other").get(path).status_code == 404


def test_a_viewing_that_was_ended_opens_nothing(gateway: Live) -> None:
    told = opened(gateway)
    path = f"/api/v1/viewings/{told['id']}"
    assert gateway.client("other").delete(path).status_code == 404
    ended = gateway.client().delete(path)
    assert ended.status_code == 200
    assert datetime.fromisoformat(ended.json()["ends"]) <= datetime.now(UTC)
    assert gateway.client().get(path).status_code == 404
    answer = gateway.client("").get("/dicomweb/studies", headers=bearer(told["token"]))
    assert answer.status_code == 401


def test_a_token_of_a_viewing_is_no_client_s(gateway: Live) -> None:
    token = opened(gateway)["token"]
    for path in ("/api/v1/checks/x", "/fhir/Patient/p1", "/api/v1/viewings/x"):
        assert gateway.client("").get(path, headers=bearer(token)).status_code == 401
    assert gateway.client("").post("/dicomweb/studies", headers=bearer(token)).status_code == 401


@pytest.mark.parametrize("name", ["access_token", "token"])
@pytest.mark.parametrize("beside", [True, False])
def test_a_token_in_an_address_opens_nothing(gateway: Live, name: str, beside: bool) -> None:
    token = opened(gateway)["token"]
    headers = bearer(token) if beside else {}
    answer = gateway.client("").get(f"/dicomweb/studies?{name}={token}", headers=headers)
    assert (answer.status_code, answer.json()["detail"][:33]) == (401, "the token stands in the address, ")


def test_the_token_of_a_hospital_shows_no_images(gateway: Live) -> None:
    assert gateway.client().get("/dicomweb/studies").status_code == 401


def test_nothing_of_a_viewing_stands_in_the_log(gateway: Live) -> None:
    told = opened(gateway)
    text = gateway.log.getvalue()
    assert told["id"] in text
    assert not any(
        secret in text
        for secret in (told["token"], CHEST.number, told["patient_id"], told["priors"][0]["study_uid"])
    )


@pytest.mark.parametrize(
    ("viewer", "link"),
    [
        ("https://v.example/?StudyInstanceUIDs={study_uid}&token={token}",
         "https://v.example/?StudyInstanceUIDs=2.25.1&token=lrv_x"),
        ("https://v.example/{study_uid}", "https://v.example/2.25.1"),
        ("", ""),
    ],
)  # fmt: skip
def test_a_link_opens_the_study_in_the_configured_viewer(viewer: str, link: str) -> None:
    assert link_to(viewer, "2.25.1", "lrv_x") == link
    assert link_to(viewer, "", "lrv_x") == ""


@pytest.mark.slow
def test_an_operator_bounds_how_long_viewings_are_open(tmp_path: Path) -> None:
    with gateway_with(tmp_path, [], viewing_minutes=10) as live:
        told = opened(live)
        assert datetime.fromisoformat(told["ends"]) - datetime.fromisoformat(told["opened"]) == timedelta(
            minutes=10
        )
        assert post(live, body(minutes=11)).json()["field"] == "minutes"


@pytest.mark.parametrize("minutes", ["0", "481"])
def test_a_bound_that_cannot_be_is_a_defect_of_the_settings(tmp_path: Path, minutes: str) -> None:
    with pytest.raises(SettingsError, match="viewing_minutes"):
        load_settings(written(tmp_path, {"viewing_minutes": minutes}))


@pytest.mark.slow
def test_viewers_of_a_client_are_bounded_together_and_far_above_it(tmp_path: Path) -> None:
    token = "fixed"
    digest = hashlib.sha256(token.encode()).hexdigest()
    few = {
        "id": "few",
        "institution": OWN,
        "roles": ["his"],
        "token_sha256": digest,
        "requests_per_minute": 1,
    }
    with gateway_with(tmp_path, [], clients=[few]) as live:
        live.tokens["few"] = token
        viewing = opened(live, client="few")
        with httpx.Client(base_url=live.url, headers=bearer(viewing["token"]), trust_env=False) as client:
            answers = [client.get("/dicomweb/studies/2.25.1/nothing") for _ in range(102)]
        assert {answer.status_code for answer in answers[:100]} == {404}
        assert answers[-1].status_code == 429
        assert int(answers[-1].headers["retry-after"]) >= 1
