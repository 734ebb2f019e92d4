"""A viewing over an archive of files alone, which does as little of DICOMweb as an archive can."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from tests.gateway.imaging.network import CHEST, CQ, PERSON, WAITING, hospital, records, viewing
from tests.gateway.imaging.static_tree import static_tree
from tests.gateway.live import Live, gateway_with

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("static-tree")]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A gateway over a hospital whose only archive has the files of one study of 㛃."""
    folder = tmp_path_factory.mktemp("static-tree")
    bundles, held, _ = records(datetime.now(UTC))
    with ExitStack() as stack:
        his = stack.enter_context(hospital(folder, "cq-his", bundles["cq-his"]))
        url = stack.enter_context(static_tree(folder, held["cq-pacs"][CHEST]))
        files = {"id": "cq-files", "kind": "dicomweb", "url": url, "identity": "cq-his", "institution": CQ}
        yield stack.enter_context(gateway_with(folder, [his, {**files, "timeout_ms": 7000}]))


def asked(live: Live, opened: dict[str, Any], path: str) -> httpx.Response:
    """What the gateway answers to a viewer with this viewing."""
    headers = bearer(opened) | {"Accept": "application/dicom+json"}
    return httpx.get(f"{live.url}/dicomweb/{path}", headers=headers, timeout=20, trust_env=False)


def bearer(opened: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {opened['token']}"}


@pytest.fixture(scope="module")
def opened(live: Live) -> dict[str, Any]:
    return viewing(live, PERSON.number)


@pytest.fixture(scope="module")
def below(live: Live, opened: dict[str, Any]) -> str:
    """The address of the one series."""
    (study,) = asked(live, opened, "studies").json()
    (series,) = asked(live, opened, f"studies/{study['0020000D']['Value'][0]}/series").json()
    return f"studies/{study['0020000D']['Value'][0]}/series/{series['0020000E']['Value'][0]}"


def test_a_condition_that_the_archive_does_not_heed_is_applied(live: Live, opened: dict[str, Any]) -> None:
    assert len(asked(live, opened, "studies?ModalitiesInStudy=CT").json()) == 1
    assert asked(live, opened, "studies?ModalitiesInStudy=MR").status_code == 204


def test_the_metadata_of_a_series_name_the_patient(live: Live, opened: dict[str, Any], below: str) -> None:
    told = asked(live, opened, f"{below}/metadata").json()
    assert [one["00100010"]["Value"][0]["Ideographic"] for one in told] == ["示例^患者㛃"] * 5


def test_the_pixels_of_a_frame_come_though_no_last_boundary_does(
    live: Live, opened: dict[str, Any], below: str
) -> None:
    first = asked(live, opened, f"{below}/metadata").json()[0]["00080018"]["Value"][0]
    url, headers = f"{live.url}/dicomweb/{below}/instances/{first}/frames/1", bearer(opened)
    got = httpx.get(url, headers=headers, trust_env=False)
    assert len(got.content) == int(got.headers["content-length"])
    head, _, frame = got.content.partition(b"\r\n\r\n")
    assert b"transfer-syntax=1.2.840.10008.1.2.5" in head
    assert frame[:4] == (2).to_bytes(4, "little")  # the two segments of 16 bits in RLE (PS3.5 section G.2)


def test_an_archive_that_shows_everybody_everything_is_not_believed(live: Live) -> None:
    shown = viewing(live, WAITING.number)
    (archive,) = (node for node in shown["nodes"] if node["node"] == "cq-files")
    assert (archive["state"], shown["complete"]) == ("faulty", False)
    assert "㛃" not in asked(live, shown, "studies").text


def test_images_that_no_instance_of_can_be_retrieved_are_not_recognised(opened: dict[str, Any]) -> None:
    chest = next(
        prior["verdict"] for prior in opened["priors"] if prior["verdict"]["result"]["local_name"] == CHEST
    )
    assert chest["verdict"] != "recognised"
    assert chest["reasons"][0]["rule"] in ("R3.1", "R3.2")
