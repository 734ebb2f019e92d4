"""dicomweb-client, the Python client of DICOMweb, with a gateway for its server."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from dicomweb_client import DICOMwebClient
from pydicom.dataset import Dataset
from requests import HTTPError

from tests.gateway.imaging.network import (
    BRAIN,
    CHEST,
    KNEE,
    OLD,
    WAITING,
    Imaging,
    pattern,
)

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("images")]

SOURCES, VERDICT = "0077100C", "00771001"
"""Where a study is, and what was decided of it: private attributes of docs/imaging.md."""


@pytest.fixture(scope="module")
def viewing(images: Imaging) -> dict[str, Any]:
    """A viewing of 㛃's images."""
    return images.viewing(planned=[{"name": "胸部CT平扫"}])


@pytest.fixture(scope="module")
def client(images: Imaging, viewing: dict[str, Any]) -> DICOMwebClient:
    """A client with the token of that viewing."""
    return client_with(images, viewing["token"])


def client_with(images: Imaging, token: str) -> DICOMwebClient:
    return DICOMwebClient(f"{images.live.url}/dicomweb", headers={"Authorization": f"Bearer {token}"})


def first_of(images: Imaging, study: str) -> tuple[str, str, str]:
    """Study, series and instance: the UIDs of the first instance of a study."""
    one = next(held[study][0] for held in images.held.values() if study in held)
    return str(one.StudyInstanceUID), str(one.SeriesInstanceUID), str(one.SOPInstanceUID)


def status_of(call: Callable[[], object]) -> int:
    """The status of what a call is refused with."""
    with pytest.raises(HTTPError) as refused:
        call()
    assert refused.value.response is not None
    return int(refused.value.response.status_code)


def test_the_studies_of_all_archives_are_one_list_of_one_patient_named_in_hanzi(
    client: DICOMwebClient, viewing: dict[str, Any]
) -> None:
    found = [Dataset.from_json(one) for one in client.search_for_studies(fields=["StudyDescription"])]
    assert sorted(one.StudyDescription for one in found) == sorted([CHEST, KNEE, BRAIN, OLD])
    assert {one.PatientID for one in found} == {viewing["patient_id"]}
    assert {one.PatientName.ideographic or one.PatientName.alphabetic for one in found} == {"示例^患者㛃"}


def test_a_study_of_two_archives_is_listed_once_with_its_verdict_and_both_sources(
    client: DICOMwebClient, images: Imaging
) -> None:
    (found,) = client.search_for_studies(search_filters={"StudyInstanceUID": images.uid(CHEST)})
    assert found[VERDICT]["Value"] == ["RECOGNISED"]
    assert sorted(found[SOURCES]["Value"]) == ["cq-pacs", "sc-pacs"]


@pytest.mark.parametrize("name", ["示例*", "shili^huanzhejie", "患者㛃"])
def test_a_study_is_found_by_a_name_however_it_is_typed(client: DICOMwebClient, name: str) -> None:
    found = client.search_for_studies(search_filters={"PatientName": name}, fuzzymatching=True)
    assert len(found) == 4


def test_series_and_instances_are_found(client: DICOMwebClient, images: Imaging) -> None:
    study, series, _ = first_of(images, BRAIN)
    assert [one["0020000E"]["Value"] for one in client.search_for_series(study)] == [[series]]
    assert len(client.search_for_instances(study, series)) == 3


@pytest.mark.parametrize("study", [CHEST, BRAIN, OLD])
def test_metadata_instances_and_frames_are_retrieved(
    client: DICOMwebClient, images: Imaging, study: str
) -> None:
    uids = first_of(images, study)
    told = client.retrieve_study_metadata(uids[0])
    held = next(held[study] for held in images.held.values() if study in held)
    assert {one["00080018"]["Value"][0] for one in told} == {str(one.SOPInstanceUID) for one in held}
    instance = client.retrieve_instance(*uids)
    assert client.retrieve_instance_frames(*uids, frame_numbers=[1]) == [instance.PixelData]
    assert instance.PixelData == pattern(instance)


def test_a_whole_study_is_retrieved(client: DICOMwebClient, images: Imaging) -> None:
    assert len(client.retrieve_study(images.uid(CHEST))) == 5


def test_an_image_is_rendered(client: DICOMwebClient, images: Imaging) -> None:
    uids = first_of(images, KNEE)
    assert client.retrieve_instance_rendered(*uids, media_types=("image/jpeg",))[:2] == b"\xff\xd8"


def test_the_study_of_another_person_is_not_there_under_the_same_patient_id(
    client: DICOMwebClient, images: Imaging
) -> None:
    (other,) = {str(one.StudyInstanceUID) for one in images.held["sc-pacs"]["乙"]}
    assert status_of(lambda: client.retrieve_study_metadata(other)) == 404
    assert client.search_for_studies(search_filters={"StudyInstanceUID": other}) == []


def test_without_a_viewing_nothing_is_shown(images: Imaging) -> None:
    stranger = client_with(images, images.live.tokens["his"])
    assert status_of(lambda: stranger.search_for_studies()) == 401


def test_a_viewing_that_was_ended_shows_nothing_more(images: Imaging) -> None:
    viewing = images.viewing()
    client = client_with(images, viewing["token"])
    assert client.search_for_studies(limit=1)
    assert images.live.client().delete(f"/api/v1/viewings/{viewing['id']}").is_success
    assert status_of(lambda: client.search_for_studies(limit=1)) == 401


def test_what_is_stored_is_listed_and_recognised(images: Imaging) -> None:
    publisher = client_with(images, images.live.tokens["publisher"])
    kept = publisher.store_instances(images.waiting)
    viewer = client_with(images, images.viewing(person=WAITING.number)["token"])
    (found,) = viewer.search_for_studies()
    assert len(kept.ReferencedSOPSequence) == len(images.waiting)
    assert found[VERDICT]["Value"] == ["RECOGNISED"]


def test_what_may_not_be_stored_is_refused(images: Imaging) -> None:
    publisher, bad = client_with(images, images.live.tokens["publisher"]), deepcopy(images.waiting[0])
    del bad.PatientID
    assert status_of(lambda: publisher.store_instances([bad])) == 409
