"""The decision as a whole: what appears in it, in which order, and the digest of a result."""

from __future__ import annotations

from datetime import datetime

import msgspec
import pytest

from catalog import UnknownEntry
from recognition import Images, Reading, decide, digest, facts
from recognition.wanted import under
from tests.recognition.cases import (
    ALBUMIN,
    CHEST_BOTH,
    CHEST_PLAIN,
    CST,
    catalogue,
    check,
    ct,
    judged,
    lab,
)


def test_one_study_may_serve_for_two_planned_examinations() -> None:
    decision = decide(check(CHEST_PLAIN, CHEST_BOTH), [ct(CHEST_BOTH)], catalogue())
    assert decision.advice[0].to_order == ()


def test_a_result_of_another_kind_does_not_appear() -> None:
    assert decide(check(CHEST_PLAIN), [lab()], catalogue()).verdicts == ()


def test_another_body_part_does_not_appear() -> None:
    head = next(i.code for i in catalogue().items.values() if i.concept.startswith("CT|颅脑|"))
    assert decide(check(CHEST_PLAIN), [ct(head)], catalogue()).verdicts == ()


def test_the_best_verdict_comes_first() -> None:
    gone = ct(id="gone", images=Images(0, 10), version_key="gone")
    verdicts = decide(check(CHEST_PLAIN), [gone, ct()], catalogue()).verdicts
    assert [v.verdict for v in verdicts] == ["recognised", "not_recognised"]


def test_an_unknown_receiver_is_an_error_and_not_an_empty_answer() -> None:
    with pytest.raises(UnknownEntry, match="institution"):
        decide(check(ALBUMIN, receiver="NOBODY"), [], catalogue())


def test_the_digest_follows_the_facts_and_not_our_reading_of_them() -> None:
    result = lab()
    assert digest(result) == digest(msgspec.structs.replace(result, reading=Reading(None, None, "unknown")))
    assert digest(result) != digest(msgspec.structs.replace(result, value="41.20"))


def test_the_facts_are_what_the_hospital_wrote_and_nothing_else() -> None:
    import json

    result = ct(
        source="ImagingStudy/7",
        specimen="血清",
        unit="g/L",
        value="<0.1",
        performed=datetime(2026, 11, 11, 10, 0, 30, 500, tzinfo=CST),
        reported=None,
    )
    assert json.loads(facts(result)) == {
        "institution": "EX-CQ-01",
        "kind": "imaging",
        "name": "CT 胸部平扫",
        "performed": "2026-11-11T02:00:30+00:00",
        "record": "ImagingStudy/7",
        "reported": "",
        "specimen": "血清",
        "status": "final",
        "study": "2.25.1",
        "unit": "g/L",
        "v": "1",
        "value": "<0.1",
    }


def test_the_digest_is_sha_256() -> None:
    import hashlib

    assert digest(lab()) == hashlib.sha256(facts(lab())).digest()


def test_a_time_at_the_edge_of_the_calendar_has_a_digest() -> None:
    edge = datetime(1, 1, 1, tzinfo=CST)
    assert facts(lab(reported=edge)) != facts(lab(reported=None))


def test_the_digest_is_taken_over_rfc_8785_bytes() -> None:
    import json

    import rfc8785

    result = lab(value="<0.1", local_name='白蛋白"\\\n\x01')
    assert facts(result) == rfc8785.dumps(json.loads(facts(result)))


def test_what_was_worked_out_under_one_catalogue_is_kept_apart_from_another() -> None:
    other = msgspec.structs.replace(catalogue())
    assert under(catalogue()) is under(catalogue())
    assert under(catalogue()) is not under(other)


def test_catalogues_that_were_looked_at_once_do_not_stay_in_memory_for_ever() -> None:
    before = under(msgspec.structs.replace(catalogue()))
    others = [msgspec.structs.replace(catalogue()) for _ in range(32)]
    assert len({id(under(other)) for other in others}) == 32
    assert under(before.catalogue) is not before


def test_a_changed_catalogue_decides_by_itself() -> None:
    assert judged(lab()).verdict == "recognised"
    stopped = msgspec.structs.replace(catalogue(), qualifications=())
    assert decide(check(ALBUMIN), [lab()], stopped).verdicts[0].verdict == "not_recognised"
    assert judged(lab()).verdict == "recognised"
