"""Cross-origin calls: configured pages may call the CDS services, viewers DICOMweb, and no others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gateway.errors import SettingsError
from gateway.settings import load_settings
from tests.gateway.live import Live, gateway_with
from tests.gateway.test_settings import written

PAGE, VIEWER, STRANGER = "https://his.example", "https://viewer.example", "https://elsewhere.example"
SERVICE, IMAGES = "/cds-services/result-recognition", "/dicomweb/studies"
ALLOWED = "access-control-allow-origin"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("origins")
    with gateway_with(
        folder, [], cds_origins=[PAGE, "http://localhost:9000"], viewer_origins=[VIEWER]
    ) as found:
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


@pytest.mark.parametrize("origin", [PAGE, VIEWER])
def test_the_other_faces_are_for_no_page(live: Live, origin: str) -> None:
    assert ALLOWED not in preflight(live, origin, "/api/v1/viewings").headers


def test_a_viewer_asks_beforehand_for_parts_of_images(live: Live) -> None:
    answer = preflight(live, VIEWER, f"{IMAGES}/2.25.1")
    assert (answer.status_code, answer.headers[ALLOWED]) == (204, VIEWER)
    sent = answer.headers["access-control-allow-headers"].split(", ")
    assert {"accept", "authorization", "range"} <= set(sent)
    assert answer.headers["access-control-allow-methods"] == "GET, HEAD"


@pytest.mark.parametrize("path", [IMAGES, f"{IMAGES}/2.25.1/metadata", f"{IMAGES}/2.25.01", "/dicomweb/wado"])
def test_a_viewer_reads_what_is_said_of_nodes_and_sizes_and_refusals_too(live: Live, path: str) -> None:
    answer = live.client("").get(path, headers={"Origin": VIEWER})
    assert (answer.status_code, answer.headers[ALLOWED]) == (401, VIEWER)
    read = answer.headers["access-control-expose-headers"].split(", ")
    assert {"lianren-nodes", "warning", "content-range", "content-length"} <= set(read)


def test_a_page_that_isolates_itself_may_show_the_images(live: Live) -> None:
    for asked in (
        preflight(live, VIEWER, IMAGES),
        live.client("").get(IMAGES, headers={"Origin": VIEWER}),
    ):
        assert asked.headers["cross-origin-resource-policy"] == "cross-origin"


def test_each_page_calls_its_own_part_alone(live: Live) -> None:
    assert ALLOWED not in preflight(live, PAGE, IMAGES).headers
    assert ALLOWED not in preflight(live, VIEWER).headers


def test_no_page_may_call_where_none_is_configured(gateway: Live) -> None:
    assert ALLOWED not in preflight(gateway, PAGE).headers


@pytest.mark.parametrize("key", ["cds_origins", "viewer_origins"])
@pytest.mark.parametrize(
    "origin", ["*", "https://his.example/", "https://HIS.example", "http://his.example", "his.example"]
)
def test_an_origin_that_is_none_is_a_defect_of_the_settings(tmp_path: Path, origin: str, key: str) -> None:
    with pytest.raises(SettingsError, match=rf"{key}\.0: must be"):
        load_settings(written(tmp_path, {key: f'["{origin}"]'}))


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
