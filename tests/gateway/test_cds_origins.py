"""Cross-origin calls: configured pages may call the CDS services, and no others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gateway.errors import SettingsError
from gateway.settings import load_settings
from tests.gateway.live import Live, gateway_with
from tests.gateway.test_settings import written

PAGE, STRANGER = "https://his.example", "https://elsewhere.example"
SERVICE = "/cds-services/result-recognition"
ALLOWED = "access-control-allow-origin"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("origins")
    with gateway_with(folder, [], cds_origins=[PAGE, "http://localhost:9000"]) as found:
        yield found


def preflight(live: Live, origin: str, path: str = SERVICE) -> httpx.Response:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    return live.client("").options(path, headers=headers)


@pytest.mark.parametrize("path", ["/cds-services", SERVICE, f"{SERVICE}/feedback"])
def test_a_page_asks_beforehand_without_a_token(live: Live, path: str) -> None:
    answer = preflight(live, PAGE, path)
    assert (answer.status_code, answer.headers[ALLOWED]) == (204, PAGE)
    assert {"authorization", "content-type"} <= set(
        answer.headers["access-control-allow-headers"].split(", ")
    )
    assert "POST" in answer.headers["access-control-allow-methods"]


def test_a_page_reads_answers_and_refusals(live: Live) -> None:
    for client, status in (("his", 400), ("", 401)):
        answer = live.client(client).post(SERVICE, headers={"Origin": PAGE}, json={})
        assert (answer.status_code, answer.headers[ALLOWED]) == (status, PAGE)


@pytest.mark.parametrize("origin", [STRANGER, "null", "https://his.example.evil", "http://his.example", "*"])
def test_another_page_is_told_nothing(live: Live, origin: str) -> None:
    assert ALLOWED not in preflight(live, origin).headers
    answer = live.client("").get("/cds-services", headers={"Origin": origin})
    assert ALLOWED not in answer.headers
    assert "Origin" in answer.headers["vary"]


def test_no_answer_allows_cookies_or_every_page(live: Live) -> None:
    for answer in (preflight(live, PAGE), live.client("").get("/cds-services", headers={"Origin": PAGE})):
        assert "access-control-allow-credentials" not in answer.headers
        assert answer.headers[ALLOWED] != "*"


def test_the_other_faces_are_for_no_page(live: Live) -> None:
    assert ALLOWED not in preflight(live, PAGE, "/api/v1/checks").headers


def test_no_page_may_call_where_none_is_configured(gateway: Live) -> None:
    assert ALLOWED not in preflight(gateway, PAGE).headers


@pytest.mark.parametrize(
    "origin", ["*", "https://his.example/", "https://HIS.example", "http://his.example", "his.example"]
)
def test_an_origin_that_is_none_is_a_defect_of_the_settings(tmp_path: Path, origin: str) -> None:
    with pytest.raises(SettingsError, match=r"cds_origins\.0: must be"):
        load_settings(written(tmp_path, {"cds_origins": f'["{origin}"]'}))


@pytest.mark.parametrize(
    ("top", "client", "key"),
    [
        ({"viewer_url": '"https://viewer.example/studies"'}, {}, "viewer_url"),
        ({"viewer_url": '"ftp://viewer.example/{study_uid}"'}, {}, "viewer_url"),
        ({}, {"fhir_servers": '["http://his.example/fhir"]'}, r"clients\.0\.fhir_servers\.0"),
        ({}, {"fhir_servers": '["https://name:secret@his.example/fhir"]'}, r"clients\.0\.fhir_servers\.0"),
    ],
)
def test_an_address_that_cannot_be_used_is_a_defect_of_the_settings(
    tmp_path: Path, top: dict[str, str], client: dict[str, str], key: str
) -> None:
    right = {"id": '"his"', "roles": '["his"]', "token_sha256": f'"{"0" * 64}"'}
    with pytest.raises(SettingsError, match=key):
        load_settings(written(tmp_path, top, clients=right | client))
