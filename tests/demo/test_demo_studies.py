from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from gateway.demo.peers import orthanc, tiny_pacs
from gateway.demo.people import BY_KEY
from gateway.demo.processes import Peer
from gateway.demo.studies import Charset, StoreRefused, store, study, uid_for
from tests.peers import needed

pytestmark = pytest.mark.slow

PERFORMED = datetime(2026, 11, 9, 17, 30, tzinfo=UTC)


def chest(who: str, charset: Charset, key: str = "chest") -> list[Dataset]:
    return study(
        BY_KEY[who],
        "EX-CQ-01",
        description="CT 胸部平扫",
        modality="CT",
        body_part="CHEST",
        performed=PERFORMED,
        instances=2,
        charset=charset,
        uid=uid_for("test", key, charset),
    )


def read_back(dataset: Dataset) -> Dataset:
    file = BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    file.seek(0)
    return dcmread(file)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    yield from started(orthanc, tmp_path_factory.mktemp("orthanc"))


@pytest.fixture(scope="module")
def weak_archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    yield from started(tiny_pacs, tmp_path_factory.mktemp("tiny-pacs"))


def started(start: Callable[..., Peer], folder: Path) -> Iterator[Peer]:
    with needed(), start(folder, name="archive") as peer:
        yield peer


@pytest.mark.parametrize("charset", ["utf-8", "gb18030"])
@pytest.mark.parametrize("who", ["jia", "jie", "zhe"])
def test_a_name_is_read_back_from_the_file_as_it_was(who: str, charset: Charset) -> None:
    name = read_back(chest(who, charset)[0]).PatientName
    assert name.ideographic.replace("^", "") == BY_KEY[who].name


def test_a_gb18030_file_holds_the_name_in_that_encoding() -> None:
    file = BytesIO()
    chest("jie", "gb18030")[0].save_as(file, enforce_file_format=True)
    assert "患者㛃".encode("gb18030") in file.getvalue()


def test_a_study_late_in_the_evening_of_utc_has_the_date_of_shanghai() -> None:
    image = chest("jia", "utf-8")[0]
    assert (image.StudyDate, image.StudyTime, image.TimezoneOffsetFromUTC) == ("20261110", "013000", "+0800")


def test_the_same_study_has_the_same_bytes_on_every_run() -> None:
    assert chest("jia", "utf-8")[1].PixelData == chest("jia", "utf-8")[1].PixelData


def test_the_instances_of_a_study_have_different_uids_of_legal_length() -> None:
    uids = [image.SOPInstanceUID for image in chest("jia", "utf-8")]
    assert len(set(uids)) == len(uids)
    assert all(uid.is_valid and uid.startswith("2.25.") for uid in uids)


@pytest.mark.parametrize("which", ["archive", "weak_archive"])
@pytest.mark.parametrize(("who", "charset"), [("jia", "utf-8"), ("jie", "gb18030")])
def test_a_stored_study_is_found_with_its_chinese_name(
    which: str, who: str, charset: Charset, request: pytest.FixtureRequest
) -> None:
    peer: Peer = request.getfixturevalue(which)
    datasets = chest(who, charset, key=which)
    store(peer.url, datasets)
    found = httpx.get(
        f"{peer.url}/studies",
        params={"StudyInstanceUID": datasets[0].StudyInstanceUID, "includefield": "00081030"},
    ).json()
    assert found[0]["00100010"]["Value"][0]["Ideographic"].replace("^", "") == BY_KEY[who].name
    assert found[0]["00081030"]["Value"] == ["CT 胸部平扫"]


def test_an_instance_that_the_archive_refuses_is_an_error(weak_archive: Peer) -> None:
    broken = chest("jia", "utf-8", key="broken")
    del broken[1].SeriesInstanceUID
    with pytest.raises(StoreRefused, match="1 of 2"):
        store(weak_archive.url, broken)
