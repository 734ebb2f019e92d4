"""Lists over real archives: two Orthancs, one of which holds GB18030, and an old one that knows little."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import httpx
import pytest
from pydicom.uid import UID

from gateway.demo.studies import store
from tests.gateway.imaging.network import (
    BRAIN,
    CHEST,
    HANZI,
    KNEE,
    NAMESAKE,
    OLD,
    PERSON,
    SC,
    Imaging,
    imaging,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Imaging]:
    with imaging(tmp_path_factory.mktemp("lists")) as net:
        yield net


def listed(net: Imaging, path: str, person: str = PERSON.number) -> list[dict[str, Any]]:
    token = net.viewing(person=person)["token"]
    address, headers = f"{net.live.url}/dicomweb/{path}", {"Authorization": f"Bearer {token}"}
    got = httpx.get(address, headers=headers, timeout=30, trust_env=False)
    assert got.status_code in (200, 204), got.text
    found: list[dict[str, Any]] = got.json() if got.content else []
    return found


def value(dataset: dict[str, Any], tag: str) -> Any:
    return dataset[tag]["Value"][0]


def names(found: list[dict[str, Any]]) -> set[str]:
    return {value(one, "00081030") for one in found}


def test_a_list_has_every_study_of_the_person_in_all_archives(net: Imaging) -> None:
    found = listed(net, "studies")
    assert sorted(value(one, "00081030") for one in found) == sorted([CHEST, KNEE, BRAIN, OLD])
    assert {value(one, "0020000D"): value(one, "00201208") for one in found} == {
        net.uid(CHEST): 5,
        net.uid(KNEE): 2,
        net.uid(BRAIN): 3,
        net.uid(OLD): 3,
    }


def test_names_are_utf8_whatever_their_archive_holds(net: Imaging) -> None:
    told = {value(one, "00081030"): value(one, "00100010") for one in listed(net, "studies")}
    assert told[BRAIN]["Alphabetic"] == HANZI
    assert {told[name]["Ideographic"] for name in (CHEST, KNEE, OLD)} == {HANZI}


def test_a_study_of_two_archives_names_both_and_the_fuller_one_first(net: Imaging) -> None:
    (chest,) = [one for one in listed(net, "studies") if value(one, "0020000D") == net.uid(CHEST)]
    assert chest["0077100C"]["Value"] == ["cq-pacs", "sc-pacs"]
    assert value(chest, "00201208") == 5


def test_the_old_archive_is_told_its_modalities_and_counts(net: Imaging) -> None:
    (old,) = listed(net, "nodes/cq-old/studies")
    assert [value(old, tag) for tag in ("00080061", "00201206", "00201208")] == ["CT", 1, 3]


def test_two_people_of_one_patient_id_are_two(net: Imaging) -> None:
    (other,) = listed(net, "studies", NAMESAKE.number)
    own = listed(net, "studies")
    (knee,) = [one for one in own if value(one, "00081030") == KNEE]
    numbers = {value(value(one, "00101002"), "00100020") for one in (other, knee)}
    assert len(numbers) == 1
    assert value(other, "0020000D") not in {value(one, "0020000D") for one in own}


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("ModalitiesInStudy=CT", {CHEST, OLD}),
        ("StudyDescription=*颅*", {BRAIN, OLD}),
        ("PatientName=示例*", {CHEST, KNEE, BRAIN, OLD}),
        ("PatientName=shili&fuzzymatching=true", {CHEST, KNEE, BRAIN, OLD}),
        (f"PatientID={PERSON.mrns[SC]}", {CHEST, BRAIN}),
    ],
)
def test_conditions_mean_the_same_at_every_archive(net: Imaging, condition: str, found: set[str]) -> None:
    assert names(listed(net, f"studies?{condition}")) == found


@pytest.mark.parametrize(("description", "instances"), [(CHEST, 5), (KNEE, 2), (BRAIN, 3), (OLD, 3)])
def test_series_and_instances_are_listed_at_every_archive(
    net: Imaging, description: str, instances: int
) -> None:
    (series,) = listed(net, f"studies/{net.uid(description)}/series")
    path = value(series, "00081190").partition("/dicomweb/")[2]
    assert len(listed(net, f"{path}/instances")) == instances
    assert len(listed(net, f"studies/{net.uid(description)}/instances")) == instances


def test_all_instances_of_the_person_are_listed_once(net: Imaging) -> None:
    found = [value(one, "00080018") for one in listed(net, "instances")]
    assert len(found) == len(set(found)) == 13
    assert len(listed(net, "series")) == 4


def test_an_address_of_a_list_leads_to_the_images(net: Imaging) -> None:
    assert all(
        value(one, "00081190").startswith(net.live.settings.base_url) for one in listed(net, "studies")
    )


@pytest.mark.parametrize("way", ["", "nodes/sc-pacs/", "nodes/cq-pacs/"])
def test_the_images_of_whom_another_hospital_gave_the_same_patient_id_are_not_there(
    net: Imaging, way: str
) -> None:
    (other,) = listed(net, "studies", NAMESAKE.number)
    headers = {"Authorization": f"Bearer {net.viewing()['token']}"}
    for below in ("", "/series", "/metadata"):
        address = f"{net.live.url}/dicomweb/{way}studies/{value(other, '0020000D')}{below}"
        assert httpx.get(address, headers=headers, timeout=30, trust_env=False).status_code == 404


def test_a_study_that_an_archive_has_of_two_patients_is_not_shown_from_there(net: Imaging) -> None:
    mixed = deepcopy(net.held["sc-pacs"][BRAIN][0])  # the last test: it stays there
    mixed.PatientID, mixed.SeriesInstanceUID, mixed.SOPInstanceUID = "ANOTHER", UID("2.25.5"), UID("2.25.6")
    mixed.file_meta.MediaStorageSOPInstanceUID = mixed.SOPInstanceUID
    store(net.archives["sc-pacs"].url, [mixed])
    headers = {"Authorization": f"Bearer {net.viewing()['token']}"}
    for below in ("", "/series", "/series/2.25.5", "/series/2.25.5/instances/2.25.6", "/metadata"):
        address = f"{net.live.url}/dicomweb/studies/{net.uid(BRAIN)}{below}"
        got = httpx.get(address, headers=headers, timeout=30, trust_env=False)
        assert (got.status_code, b"ANOTHER" in got.content) == (502, False)
