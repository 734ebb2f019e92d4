"""Retrieval from real archives: every way in which Orthanc and tiny-pacs are known to differ, and no more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO

from gateway.imaging.rewriting import Related
from tests.gateway.imaging.network import BRAIN, CHEST, OLD, Imaging, imaging

pytestmark = pytest.mark.slow

OCTETS = 'multipart/related; type="application/octet-stream"'


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Imaging]:
    with imaging(tmp_path_factory.mktemp("archives")) as net:
        yield net


@pytest.fixture(scope="module")
def client(net: Imaging) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {net.viewing()['token']}"}
    base = f"{net.live.settings.base_url}/dicomweb"
    with httpx.Client(base_url=base, headers=headers, timeout=30, trust_env=False) as client:
        yield client


def held(net: Imaging, description: str) -> list[Dataset]:
    """The instances of a study in the archive that has all of them."""
    return max((held.get(description, []) for held in net.held.values()), key=len)


def address(one: Dataset) -> str:
    return f"/studies/{one.StudyInstanceUID}/series/{one.SeriesInstanceUID}/instances/{one.SOPInstanceUID}"


def parts(got: httpx.Response) -> list[bytes]:
    """The parts of a multipart answer."""
    assert got.status_code == 200, got.text
    related, found = Related(got.headers["content-type"].rpartition("boundary=")[2].strip('"')), list[bytes]()
    for kind, some in related.feed(got.content):
        if kind == "head":
            found.append(b"")
        elif kind == "data":
            found[-1] += some
    assert related.closed
    return found


@pytest.mark.parametrize("description", [CHEST, BRAIN, OLD])
def test_a_study_comes_whole_from_every_archive(net: Imaging, client: httpx.Client, description: str) -> None:
    instances = held(net, description)
    got = parts(client.get(f"/studies/{net.uid(description)}"))
    read = [dcmread(DicomBytesIO(part)) for part in got]
    assert {one.SOPInstanceUID for one in read} == {one.SOPInstanceUID for one in instances}
    assert {bytes(one.PixelData) for one in read} == {bytes(one.PixelData) for one in instances}


@pytest.mark.parametrize("description", [CHEST, BRAIN, OLD])
def test_metadata_have_names_in_utf_8_and_addresses_of_this_gateway(
    net: Imaging, client: httpx.Client, description: str
) -> None:
    told: list[dict[str, Any]] = client.get(f"/studies/{net.uid(description)}/metadata").json()
    assert len(told) == len(held(net, description))
    for one in told:
        assert "示例^患者㛃" in one["00100010"]["Value"][0].values()
        assert one["7FE00010"]["BulkDataURI"].startswith(f"{client.base_url}nodes/")


@pytest.mark.parametrize("description", [CHEST, BRAIN, OLD])
@pytest.mark.parametrize("accept", [OCTETS, 'multipart/related; type="*/*"', "*/*", ""])
def test_a_frame_is_given_whatever_its_archive_takes(
    net: Imaging, client: httpx.Client, description: str, accept: str
) -> None:
    one = held(net, description)[0]
    got = client.get(f"{address(one)}/frames/1", headers={"Accept": accept})
    assert parts(got) == [one.PixelData]


@pytest.mark.parametrize("description", [CHEST, OLD])
def test_bulk_data_and_instances_are_given_as_a_single_part(
    net: Imaging, client: httpx.Client, description: str
) -> None:
    one = held(net, description)[0]
    [told] = client.get(f"{address(one)}/metadata").json()
    pixels = client.get(told["7FE00010"]["BulkDataURI"], headers={"Accept": "application/octet-stream"})
    assert pixels.content == one.PixelData
    file = client.get(address(one), headers={"Accept": "application/dicom"})
    assert dcmread(DicomBytesIO(file.content)).SOPInstanceUID == one.SOPInstanceUID


@pytest.mark.parametrize("path", ["", "/frames/1", "/metadata", "/rendered", "/bulk/7fe00010"])
def test_no_answer_of_an_archive_tells_where_it_is(net: Imaging, client: httpx.Client, path: str) -> None:
    got = client.get(f"{address(held(net, CHEST)[0])}{path}")
    assert got.status_code == 200
    for archive in net.archives.values():
        assert archive.url.removeprefix("http://").encode() not in got.content
        assert archive.url not in str(got.headers)


def test_pictures_come_from_the_archive_that_draws_them(net: Imaging, client: httpx.Client) -> None:
    at = address(held(net, CHEST)[0])
    for path in (f"{at}/rendered", f"{at}/frames/1/rendered?window=40,400,linear", f"{at}/thumbnail"):
        got = client.get(path)
        assert (got.headers["content-type"], got.content[:2]) == ("image/jpeg", b"\xff\xd8")
    assert client.get(f"{at}/rendered", headers={"Accept": "image/png"}).content[:4] == b"\x89PNG"


def test_a_thumbnail_of_a_study_is_one_of_its_images(net: Imaging, client: httpx.Client) -> None:
    assert client.get(f"/studies/{net.uid(CHEST)}/thumbnail").content[:2] == b"\xff\xd8"


def test_an_archive_that_draws_nothing_says_so(net: Imaging, client: httpx.Client) -> None:
    got = client.get(f"{address(held(net, OLD)[0])}/rendered")
    assert (got.status_code, "draws no picture" in got.text) == (406, True)


@pytest.mark.parametrize("description", [CHEST, OLD])
def test_a_frame_that_is_not_there_is_not_found(net: Imaging, client: httpx.Client, description: str) -> None:
    assert client.get(f"{address(held(net, description)[0])}/frames/9").status_code == 404


@pytest.mark.parametrize("description", [CHEST, OLD])
def test_wado_uri_gives_an_instance(net: Imaging, client: httpx.Client, description: str) -> None:
    one = held(net, description)[0]
    uids = {"studyUID": one.StudyInstanceUID, "seriesUID": one.SeriesInstanceUID}
    told = {"requestType": "WADO", **uids, "objectUID": one.SOPInstanceUID}
    got = client.get("/wado", params={**told, "contentType": "application/dicom"})
    assert dcmread(DicomBytesIO(got.content)).PixelData == one.PixelData
