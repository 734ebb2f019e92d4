"""What an archive lists, as ImagingStudy."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from fhir.resources.R4B.imagingstudy import ImagingStudy

from adapters import Answer, DicomwebNode, FhirNode
from adapters.dicomweb_fhir import read, search
from tests.node_cases import NOW, normaliser, patient, question, searchset
from tests.serving import Reply, http_answer, misbehave

IMAGES = "https://gateway.example/dicomweb"
UID, NUMBER = "2.25.17", "M-7"


def told(**changes: Any) -> dict[str, Any]:
    """A study as QIDO-RS tells it."""
    values = {
        "00080020": "20261111",
        "00080030": "093000.5",
        "00080061": "CT\\PR",
        "00081030": "CT 胸部平扫",
        "00100020": NUMBER,
        "0020000D": UID,
        "00201206": 2,
        "00201208": 300,
    } | {name.removeprefix("t"): value for name, value in changes.items()}
    return {tag: {"vr": "LO", "Value": [value]} for tag, value in values.items() if value != ""}


def answer(*studies: dict[str, Any], at: str = "search", mend: Callable[[str], str] = str) -> Answer:
    """What is heard of an archive with these studies, beside a source that knows the patient."""

    def reply(first: str, _: bytes) -> Reply:
        if "/Patient" in first:
            one = patient(mrn=NUMBER)
            return http_answer(json.dumps(one if "/p1" in first else searchset(one)).encode())
        return http_answer(json.dumps(studies).encode(), media="application/dicom+json")

    async def run(url: str) -> Answer:
        his = FhirNode("cq-his", url, "EX-CQ-01", normaliser)
        node = DicomwebNode("cq-pacs", url, "EX-CQ-01", his, normaliser)
        try:
            asked = question(since=NOW - timedelta(days=90))
            if at == "search":
                return await search(node, asked, IMAGES, mend)
            return await read(node, his, asked, at, IMAGES, mend)
        finally:
            await node.aclose()
            await his.aclose()

    with misbehave(reply) as url:
        return asyncio.run(run(url))


def resource(*studies: dict[str, Any], mend: Callable[[str], str] = str) -> dict[str, Any]:
    (match,) = answer(*studies, mend=mend).matches
    found: dict[str, Any] = json.loads(bytes(match.raw))
    return found


def test_a_study_is_a_resource_of_fhir() -> None:
    assert ImagingStudy.model_validate(resource(told())).id == UID


def test_it_says_what_the_archive_says() -> None:
    said = resource(told())
    assert said["identifier"] == [{"system": "urn:dicom:uid", "value": f"urn:oid:{UID}"}]
    assert [one["code"] for one in said["modality"]] == ["CT", "PR"]
    assert (said["numberOfSeries"], said["numberOfInstances"]) == (2, 300)
    assert (said["started"], said["description"]) == ("2026-11-11T09:30:00.500000+08:00", "CT 胸部平扫")
    assert said["subject"]["identifier"] == {"system": "urn:lianren:mrn:EX-CQ-01", "value": NUMBER}


def test_images_are_had_from_this_gateway_alone() -> None:
    said = resource(told())
    assert said["contained"][0]["address"] == IMAGES
    assert "127.0.0.1" not in json.dumps(said)


@pytest.mark.parametrize("tag", ["00080030", "00080061", "00081030", "00201206", "00201208"])
def test_what_an_archive_does_not_say_is_left_out(tag: str) -> None:
    assert ImagingStudy.model_validate(resource(told(**{f"t{tag}": ""})))


def test_a_day_without_a_time_is_a_day() -> None:
    assert resource(told(t00080030=""))["started"] == "2026-11-11"


def test_a_description_that_was_lost_is_left_out() -> None:
    assert "description" not in resource(told(t00081030="CT \ufffd\ufffd"))


def test_a_day_that_is_none_is_left_out() -> None:
    assert "started" not in resource(told(t00080020="20261345", t00080030=""))


def test_a_number_that_cannot_be_is_left_out() -> None:
    assert "numberOfInstances" not in resource(told(t00201208="12345678901"))


def test_a_description_is_put_right() -> None:
    assert resource(told(t00081030="ct"), mend=str.upper)["description"] == "CT"


def test_a_study_of_before_is_not_found() -> None:
    assert answer(told(t00080020="20200101")).matches == ()


def test_another_patients_study_is_the_archives_fault() -> None:
    found = answer(told(), told(t00100020="M-8"))
    assert (found.report.state, found.matches) == ("faulty", ())


def test_a_study_is_read_with_the_person_whom_the_hospital_knows() -> None:
    copy = answer(told(), at=UID).copy
    assert copy
    assert json.loads(copy.raw)["id"] == UID
    assert [one.system for one in copy.whose] == ["urn:oid:2.16.156.10011.1.3"]


def test_a_study_without_a_patient_id_is_nobodys() -> None:
    copy = answer(told(t00100020=""), at=UID).copy
    assert copy
    assert copy.whose == ()


@pytest.mark.parametrize("at", ["img-1", "1.2.03", "2.25.18"])
def test_another_id_reads_nothing(at: str) -> None:
    assert answer(told(), at=at).copy is None
