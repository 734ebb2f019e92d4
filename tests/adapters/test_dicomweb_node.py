"""A DICOMweb archive as a node: over Orthanc and tiny-pacs, and over archives that answer wrongly."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from io import BytesIO
from typing import Any

import httpx
import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom import Dataset, dcmread

from adapters import Answer, DicomwebNode, Question
from adapters.errors import NodeLate
from adapters.presence import MOST_LOOKED
from gateway.demo.peers import orthanc, tiny_pacs
from gateway.demo.people import BY_KEY
from gateway.demo.processes import Peer
from gateway.demo.studies import SHANGHAI, store, study, uid_for
from recognition import Images, Result
from security.identity import Identifier
from tests.adapters.dicom_archive import STUDY, dicom, note, part
from tests.node_cases import NOW, SYSTEM, ask, normaliser, question
from tests.peers import started
from tests.serving import Reply, http_answer, misbehave, noting

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("dicomweb")]  # one worker starts its servers

PERSON = BY_KEY["jia"]
MRN = PERSON.mrns["EX-CQ-01"]
PERFORMED = (NOW - timedelta(days=9)).astimezone(SHANGHAI).replace(microsecond=0)


class His:
    """The institution's own system, as far as an archive needs it."""

    id = "cq-his"

    def __init__(self, *numbers: str) -> None:
        self.numbers = numbers
        self.systems: list[str] = []

    async def patient_numbers(self, question: Question, system: str) -> tuple[str, ...]:
        self.systems.append(system)
        return self.numbers


class LateHis(His):
    async def patient_numbers(self, question: Question, system: str) -> tuple[str, ...]:
        raise NodeLate("connected, but did not answer in time")


def node(url: str, his: His | None = None) -> DicomwebNode:
    return DicomwebNode("cq-pacs", url, "EX-CQ-01", his or His(MRN), normaliser, timeout=5.0)


def seeded(peer: Peer) -> str:
    for key, name, days in (("chest", "CT 胸部平扫", 9), ("brain", "CT 颅脑平扫", 200)):
        instances = study(
            PERSON,
            "EX-CQ-01",
            description=name,
            modality="CT",
            body_part="CHEST",
            performed=PERFORMED + timedelta(days=9 - days),
            instances=3,
            charset="gb18030",
            uid=uid_for("EX-CQ-01", key),
        )
        store(peer.url, instances)
    other = study(
        BY_KEY["yi"],
        "EX-CQ-01",
        description="DR 胸部正侧位",
        modality="DX",
        body_part="CHEST",
        performed=PERFORMED,
        instances=1,
        charset="utf-8",
        uid=uid_for("EX-CQ-01", "other"),
    )
    store(peer.url, other)
    return peer.url


@pytest.fixture(scope="module", params=[orthanc, tiny_pacs], ids=["orthanc", "tiny-pacs"])
def archive(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with started(lambda: request.param(tmp_path_factory.mktemp("archive"), name="pacs")) as peer:
        yield seeded(peer)


def only(answer: Answer) -> Result:
    assert answer.report.state == "answered", answer.report
    (result,) = answer.results
    return result


def test_the_person_s_study_is_found_and_no_other(archive: str) -> None:
    assert only(ask(node(archive))).study_uid == uid_for("EX-CQ-01", "chest")


def test_a_study_is_read_by_its_name_and_modality(archive: str) -> None:
    result = only(ask(node(archive)))
    assert (result.local_name, result.reading.concept) == ("CT 胸部平扫", "CT|胸部|-|plain|-")


def test_the_images_are_counted(archive: str) -> None:
    assert only(ask(node(archive))).images == Images(3)


def test_the_time_of_a_study_is_aware(archive: str) -> None:
    assert only(ask(node(archive))).performed == PERFORMED


def test_the_conformance_client_reads_the_same_studies(archive: str) -> None:
    client = DICOMwebClient(archive)
    found = client.search_for_studies(search_filters={"PatientID": MRN})
    ours = ask(node(archive), question(since=NOW - timedelta(days=400))).results
    assert {study["0020000D"]["Value"][0] for study in found} == {result.study_uid for result in ours}


def test_what_the_conformance_client_stores_is_found(archive: str) -> None:
    person = BY_KEY["bing"]
    uid = uid_for("EX-CQ-01", "conformance")
    instances = study(
        person,
        "EX-CQ-01",
        description="MR 颅脑平扫",
        modality="MR",
        body_part="BRAIN",
        performed=PERFORMED,
        instances=2,
        charset="utf-8",
        uid=uid,
    )
    DICOMwebClient(archive).store_instances(instances)
    found = only(ask(node(archive, His(person.mrns["EX-CQ-01"]))))
    assert (found.study_uid, found.images) == (uid, Images(2))


def stored(archive: str, key: str) -> list[Dataset]:
    """Three images of a person, kept by the archive."""
    instances = study(
        BY_KEY[key],
        "EX-CQ-01",
        description="CT 胸部平扫",
        modality="CT",
        body_part="CHEST",
        performed=PERFORMED,
        instances=3,
        charset="utf-8",
        uid=uid_for("EX-CQ-01", "withdrawn", key),
    )
    store(archive, instances)
    return instances


def shown_of(archive: str, key: str) -> Images | None:
    answer = ask(node(archive, His(BY_KEY[key].mrns["EX-CQ-01"])))
    return answer.results[0].images if answer.results else None


def test_a_study_that_is_rejected_is_not_there_at_the_next_question(archive: str) -> None:
    images = stored(archive, "ding")
    assert shown_of(archive, "ding") == Images(3)
    uid = images[0].StudyInstanceUID
    rejected = dcmread(BytesIO(note("113001", *(i.SOPInstanceUID for i in images), study=uid)))
    for keyword in ("PatientID", "StudyDate", "StudyTime", "StudyDescription", "SpecificCharacterSet"):
        setattr(rejected, keyword, images[0].get(keyword))
    rejected.StudyInstanceUID = uid
    rejected.SeriesInstanceUID = "2.25.1.9"
    store(archive, [rejected])
    assert shown_of(archive, "ding") == Images(0)


def test_a_study_that_is_deleted_is_not_there_at_the_next_question(archive: str) -> None:
    images = stored(archive, "wu")
    assert shown_of(archive, "wu") == Images(3)
    rest, _, _ = archive.partition("/dicom-web")
    found = httpx.post(f"{rest}/tools/lookup", content=images[0].StudyInstanceUID, trust_env=False)
    if found.status_code == 404:
        pytest.skip("tiny-pacs deletes nothing")
    assert httpx.delete(f"{rest}{found.json()[0]['Path']}", trust_env=False).status_code == 200
    assert shown_of(archive, "wu") is None


def test_a_number_that_the_archive_does_not_know_is_empty(archive: str) -> None:
    answer = ask(node(archive, His("CQ01999999")))
    assert (answer.report.state, answer.results) == ("empty", ())


def test_all_studies_come_back_where_the_question_reaches_far(archive: str) -> None:
    answer = ask(node(archive), question(since=NOW - timedelta(days=400)))
    assert answer.report.results == 2


def entry(**changes: Any) -> dict[str, Any]:
    """One study of a QIDO answer; a None takes the attribute out."""
    attributes: dict[str, Any] = {
        "00080020": ["20261111"],
        "00080030": ["093000.000"],
        "00080061": ["CT"],
        "00081030": ["CT 胸部平扫"],
        "00100020": [MRN],
        "0020000D": ["2.25.1"],
        "00201208": [3],
    }
    attributes |= {name.removeprefix("t"): value for name, value in changes.items()}
    return {tag: {"vr": "LO", "Value": values} for tag, values in attributes.items() if values is not None}


def qido(studies: Any, series: Any, instances: Any, study: str = STUDY) -> Callable[[str, bytes], Reply]:
    def reply(line: str, _: bytes) -> Reply:
        if "/instances/" in line:
            return part(dicom(StudyInstanceUID=study))
        said = instances if "/instances" in line else series if "/series" in line else studies
        if said is None or (isinstance(said, bytes) and said.startswith(b"HTTP")):
            return said
        body = said if isinstance(said, bytes) else json.dumps(said).encode()
        return http_answer(body, media="application/dicom+json")

    return reply


def asked_of(
    studies: Any, held: Any = None, instances: Any = None, his: His | None = None, **changes: Any
) -> Answer:
    own = [series("2.25.11", 3)] if held is None else held
    with misbehave(qido(studies, own, instances or [instance(1)])) as url:
        return ask(node(url, his), question(**changes))


def test_a_study_of_another_patient_is_a_fault() -> None:
    answer = asked_of([entry(), entry(t00100020=["CQ01000000"])])
    assert (answer.report.state, answer.results) == ("faulty", ())
    assert "CQ01000000" not in answer.report.detail


def test_a_padded_number_is_the_same_number() -> None:
    assert only(asked_of([entry(t00100020=[f"{MRN} "])])).study_uid == "2.25.1"


def test_no_content_is_empty() -> None:
    assert asked_of(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").report.state == "empty"


def series(uid: str, *held: object) -> dict[str, Any]:
    return {"0020000E": {"Value": [uid]}, "00080060": {"Value": ["DX"]}, "00201209": {"Value": held}}


def instance(number: int) -> dict[str, Any]:
    return {"00080018": {"Value": [f"2.25.12.{number}"]}}


def test_images_are_counted_by_series_where_the_study_does_not_say() -> None:
    found = [series("2.25.11", 4), series("2.25.12")]
    assert only(asked_of([entry(t00201208=None)], found, [instance(1), instance(2)])).images == Images(6)


def test_a_modality_that_the_study_does_not_say_is_that_of_its_series() -> None:
    study_ = entry(t00201208=None, t00080061=None, t00081030=["胸部正侧位"])
    assert only(asked_of([study_], [series("2.25.11", 2)])).reading.item is not None


@pytest.mark.parametrize("odd", [7, {"0020000E": {"Value": ["../x"]}}, {"0020000E": {"Value": [".."]}}])
def test_a_series_that_cannot_be_read_is_a_fault(odd: Any) -> None:
    assert asked_of([entry(t00201208=None)], [odd]).report.state == "faulty"


def test_a_number_of_images_may_be_text() -> None:
    assert only(asked_of([entry(t00201208=["12"])])).images == Images(12)


@pytest.mark.parametrize(
    "count", ["²", "9" * 5000, -3, 10**30], ids=["superscript", "long", "negative", "huge"]
)
def test_a_count_that_is_none_is_taken_from_the_instances(count: object) -> None:
    found = only(asked_of([entry(t00201208=[count])], [series("2.25.11", count)], [instance(1)]))
    assert found.images == Images(1)


def test_images_that_do_not_come_cannot_be_said_to_be_there() -> None:
    assert only(asked_of([entry()], instances=b"[]")).images == Images(None)


def test_of_more_studies_than_one_question_looks_at_the_newest_are_there() -> None:
    many = [entry(t0020000D=[f"2.25.{n}"], t00080020=[f"202611{n % 5 + 10}"]) for n in range(1, 71)]
    with misbehave(qido(many, [series("2.25.11", 3)], [instance(1)], "")) as url:
        found = ask(node(url), question(budget=5.0)).results
    unseen = {result.performed for result in found if result.images == Images(None)}
    assert len([result for result in found if result.images == Images(3)]) == MOST_LOOKED
    assert unseen == {min(result.performed for result in found if result.performed)}


@pytest.mark.parametrize(
    ("availability", "held"), [("ONLINE", 3), ("NEARLINE", 3), ("OFFLINE", None), ("UNAVAILABLE", 0), ("", 3)]
)
def test_images_on_a_shelf_are_not_said_to_be_there_and_lost_ones_are_not(
    availability: str, held: int | None
) -> None:
    assert only(asked_of([entry(t00080056=[availability])])).images == Images(held)


def test_the_header_of_an_image_goes_along() -> None:
    ((result, header),) = asked_of([entry()]).headers
    assert (result, header.kind) == ("cq-pacs/studies/2.25.1", "CT")


@pytest.mark.parametrize("modalities", [["SR"], ["PR", "KO"], ["SR\\DOC"], ["OT"]])
def test_what_only_accompanies_images_is_no_image(modalities: list[str]) -> None:
    assert only(asked_of([entry(t00080061=modalities)])).images == Images(0)


def test_an_archive_s_modality_goes_along() -> None:
    answer = asked_of([entry(t00080061=["DX", "SR"])])
    assert answer.modalities == (("cq-pacs/studies/2.25.1", "DR"),)


def test_a_study_is_known_by_its_uid() -> None:
    assert only(asked_of([entry()])).version_key == "img|2.25.1"


def test_of_too_many_studies_the_newest_are_kept_and_that_is_said() -> None:
    many = [entry(t0020000D=[f"2.25.{n + 1}"]) for n in range(500)]
    older = entry(t0020000D=["2.25.999"], t00080020=["20261101"])
    answer = asked_of([older, *many])
    assert (answer.report.results, answer.report.fault) == (500, "node")
    assert "2.25.999" not in {result.study_uid for result in answer.results}


def test_the_offset_of_a_study_goes_before_that_of_the_country() -> None:
    result = only(asked_of([entry(t00080201=["+0000"])]))
    assert result.performed == datetime.fromisoformat("2026-11-11T09:30:00Z")


@pytest.mark.parametrize(
    ("changes", "flags"),
    [
        ({"t00080030": None}, ("performed:date-only",)),
        ({"t00080020": ["20261340"]}, ("performed:not-a-time",)),
        ({"t00080020": ["00010101"]}, ("performed:not-a-time",)),
        ({"t00080020": ["99991231"], "t00080201": ["-0800"]}, ("performed:not-a-time",)),
        ({"t00080030": ["9:30"]}, ("performed:not-a-time",)),
        ({"t00080201": ["UTC"]}, ("performed:not-a-time",)),
        ({"t00080020": None}, ()),
    ],
)
def test_what_is_no_moment_is_a_flag_and_no_time(changes: dict[str, Any], flags: tuple[str, ...]) -> None:
    result = only(asked_of([entry(**changes)]))
    assert (result.performed, result.flags) == (None, flags)


@pytest.mark.parametrize(
    ("modalities", "name"), [(["DX"], "胸部正侧位"), (["CT", "SR"], "胸部平扫"), (["CT\\SR"], "胸部平扫")]
)
def test_the_modality_completes_a_name(modalities: list[str], name: str) -> None:
    assert only(asked_of([entry(t00080061=modalities, t00081030=[name])])).reading.item is not None


def test_a_study_without_a_report_is_preliminary() -> None:
    assert only(asked_of([entry()])).status == "preliminary"


UIDS = ["../x", "..", "2.25..1", "2.25.", ".2", "1" * 65]


@pytest.mark.parametrize(
    "odd",
    [7, {"0020000D": "x"}, entry(t0020000D=None), *(entry(t0020000D=[uid]) for uid in UIDS)],
    ids=["number", "no element", "no uid", *UIDS],
)
def test_a_study_that_cannot_be_read_is_counted_and_the_others_kept(odd: Any) -> None:
    if isinstance(odd, dict) and "00100020" not in odd:
        odd = odd | {"00100020": {"Value": [MRN]}}
    found = asked_of([entry(), odd]).report
    assert (found.state, found.fault, found.results) == ("answered", "node", 1)
    assert "study[1]" in found.detail


@pytest.mark.parametrize("body", [b"{}", b"[", b'"x"'])
def test_something_else_than_a_list_is_a_fault(body: bytes) -> None:
    assert asked_of(body).report.state == "faulty"


def test_the_local_number_comes_from_the_institution_s_own_system() -> None:
    his = His(MRN)
    asked_of([], his=his)
    assert his.systems == ["urn:lianren:mrn:EX-CQ-01"]


def test_a_person_without_a_local_number_is_empty_and_nothing_is_asked() -> None:
    asked: list[str] = []
    with misbehave(noting(asked, http_answer(b"[]"))) as url:
        assert ask(node(url, His())).report.state == "empty"
    assert asked == []


def test_a_late_identity_source_is_named() -> None:
    found = asked_of([], his=LateHis()).report
    assert (found.state, found.detail[:23]) == ("late", "identity source cq-his:")


@pytest.mark.parametrize("number", ["*", "CQ?1", "A\\B", "A\nB"])
def test_a_number_that_would_find_others_is_not_searched_for(number: str) -> None:
    asked: list[str] = []
    with misbehave(noting(asked, http_answer(b"[]"))) as url:
        assert ask(node(url, His(number))).report.state == "faulty"
    assert asked == []


def test_several_local_numbers_are_all_searched_for() -> None:
    def reply(line: str, _: bytes) -> Reply:
        number = "A1" if "PatientID=A1" in line else "A2"
        found = [entry(t00100020=[number], t0020000D=[f"2.25.{number[1]}"])]
        return http_answer(json.dumps(found).encode(), media="application/dicom+json")

    with misbehave(reply) as url:
        assert ask(node(url, His("A1", "A2"))).report.results == 2


def test_a_question_for_laboratory_results_asks_nothing() -> None:
    assert asked_of(None, kinds=("lab",)).report.state == "empty"


def test_a_resident_number_is_never_sent() -> None:
    asked: list[str] = []
    person = Identifier("resident", SYSTEM, PERSON.number)
    with misbehave(noting(asked, http_answer(b"[]"))) as url:
        ask(node(url), question(person=person))
    assert len(asked) == 1
    assert PERSON.number not in asked[0]


def test_no_log_holds_a_local_number(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    asked_of([entry()])
    assert MRN not in caplog.text


def test_a_hanging_archive_is_late() -> None:
    assert asked_of(None, budget=0.2).report.state == "late"
