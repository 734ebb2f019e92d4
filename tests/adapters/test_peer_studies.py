"""Imaging studies behind another gateway: what is sent, what is believed."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from adapters import Answer, Report, commitment
from adapters.peer import MOST_RESOURCES, PeerStudies, PeerStudy
from tests.adapters.test_peer_node import signed
from tests.adapters.test_peer_resources import FURTHER, ME, asked_of, sent
from tests.node_cases import question
from tests.serving import Reply

UID, NUMBER, TOKEN = "2.25.7", "M0001", "lrv_" + "A" * 43
ENDS = datetime(2030, 1, 1, tzinfo=UTC)
BEHIND = Report(node="hb-pacs", kind="dicomweb", state="answered", took_ms=3, results=1)


def dataset(uid: str = UID, number: str = NUMBER, **more: Any) -> bytes:
    told = {
        "00100020": {"vr": "LO", "Value": [number]},
        "0020000D": {"vr": "UI", "Value": [uid]},
        "00201208": {"vr": "IS", "Value": [5]},
    }
    return json.dumps(told | more, indent=2).encode()


def study(raw: bytes | None = None, node: str = "hb-pacs", number: str = NUMBER) -> PeerStudy:
    return PeerStudy(node=node, number=number, study=Raw(raw or dataset()))


def good(*studies: PeerStudy, **changes: Any) -> Callable[[str, bytes], Reply]:
    def reply(_: str, body: bytes) -> Reply:
        answer: dict[str, Any] = {
            "gateway": "lab8",
            "question": commitment(body),
            "studies": studies or (study(),),
            "nodes": (BEHIND, FURTHER),
            "token": TOKEN,
        }
        return signed(body, msgspec.json.encode(PeerStudies(**answer | changes)))

    return reply


def studies_of(reply: Callable[[str, bytes], Reply], **changes: Any) -> Answer:
    put = question(person=ME, **changes)
    params = [("StudyInstanceUID", UID), ("includefield", "00081030")]
    return asked_of(reply, lambda node: node.studies(put, params, ends=ENDS))


def test_studies_keep_the_bytes_of_their_elements_and_come_with_the_way_to_their_archive() -> None:
    raw = dataset()
    answer = studies_of(good(study(raw), study(dataset("2.25.8", "X9"), "gw-jjj/jjj-his", "X9")))
    first, second = answer.listed
    assert (first.uid, first.number, first.instances, first.node) == (UID, NUMBER, 5, "hb-pacs")
    assert json.loads(bytes(first.raw)) == json.loads(raw)
    assert all(bytes(element) in raw for element in first.members.values())
    assert (second.uid, second.number, second.node) == ("2.25.8", "X9", "gw-jjj/jjj-his")


def test_an_answer_brings_the_token_by_which_the_images_are_had() -> None:
    answer = studies_of(good())
    assert (answer.admits, answer.report.state, answer.gateway) == (TOKEN, "answered", "lab8")


def test_a_question_for_studies_says_the_person_in_the_body_alone() -> None:
    address, body = sent(studies_of)
    assert address == "/api/v1/studies"
    assert body["person"] == {"type": "resident-id", "value": ME.value}
    assert body["params"] == [["StudyInstanceUID", UID], ["includefield", "00081030"]]
    assert datetime.fromisoformat(body["ends"]) == ENDS


@pytest.mark.parametrize(
    "reply",
    [
        good(study(dataset(number="M0002"))),
        good(study(dataset(number=""))),
        good(study(node="elsewhere")),
        good(*[study()] * (MOST_RESOURCES + 1)),
        good(token="lrv_\r\nX: 1"),
        good(question="0" * 64),
        good(gateway="sc"),
    ],
    ids=["another patient", "no patient", "another node", "too many", "no token", "another question",
         "another gateway"],
)  # fmt: skip
def test_an_answer_that_cannot_be_believed_is_a_fault_as_a_whole(
    reply: Callable[[str, bytes], Reply],
) -> None:
    answer = studies_of(reply)
    assert (answer.report.state, answer.listed, answer.admits) == ("faulty", (), "")


@pytest.mark.parametrize("raw", [dataset("1.2.03"), b'"nothing"', b'{"00100020":7}'])
def test_a_study_that_cannot_be_read_is_named_and_leaves_the_others(raw: bytes) -> None:
    answer = studies_of(good(study(raw), study(dataset("2.25.9"))))
    assert [one.uid for one in answer.listed] == ["2.25.9"]
    assert (answer.report.state, answer.report.fault) == ("answered", "node")
    assert "1 studies could not be read" in answer.report.detail


def test_a_question_without_a_hop_left_is_not_asked() -> None:
    assert studies_of(good(), hops=0).report.state == "skipped"


def test_neither_token_nor_person_shows_in_what_is_printed() -> None:
    answer = PeerStudies(gateway="lab8", question="", nodes=(), studies=(), token=TOKEN)
    assert TOKEN not in repr(answer)
