"""One list out of several archives' answers."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.dicomweb_studies import listed_in
from gateway.imaging.merging import Frame, Told, below, encoded, studies
from gateway.imaging.values import Level, Prior, Source, Viewing
from gateway.model import CatalogueRef, Coded, ResultOut, VerdictOut
from recognition import Mark, Reason
from security.identity import identifier
from tests.gateway.live import PATIENT

NOW = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)
BASE, FHIR = "https://cq.example/dicomweb", "https://cq.example/fhir"


def study(uid: str, number: str = "M1", /, **elements: Any) -> dict[str, Any]:
    values = {"0020000D": ("UI", uid), "00100020": ("LO", number), "00080020": ("DA", "20260101")}
    values |= {"00081190": ("UR", f"http://archive.internal/dicom-web/studies/{uid}")} | elements
    return {tag: {"vr": vr, "Value": [value]} for tag, (vr, value) in values.items()}


def told(way: str, *objects: dict[str, Any], number: str = "M1", indent: int | None = None) -> Told:
    found, odd = listed_in(json.dumps(objects, indent=indent).encode(), "studies", number)
    assert not odd
    return Told(way, "" if "/" in way else "EX-CQ-01", number, found)


def frame(*lists: Told, **changes: Any) -> Frame:
    sources: dict[str, tuple[Source, ...]] = {}
    for one in lists:
        for listed in one.listed:
            sources[listed.uid] = (*sources.get(listed.uid, ()), Source(one.way, one.number))
    viewing: dict[str, Any] = {
        "id": "v",
        "client": "his",
        "institution": "EX-CQ-01",
        "purpose": "TREAT",
        "person": identifier("resident-id", PATIENT),
        "pseudonyms": ("p",),
        "patient_id": "ALIAS",
        "opened": NOW,
        "ends": NOW + timedelta(minutes=30),
        "question": "q",
    }
    return Frame(base=BASE, fhir=FHIR, issuer="cq", viewing=Viewing(**viewing | changes), sources=sources)


def merged(*lists: Told, **changes: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(encoded(studies(lists, frame(*lists, **changes))))
    return found


def value(dataset: dict[str, Any], tag: str) -> Any:
    return dataset[tag]["Value"][0]


def uids(found: list[dict[str, Any]]) -> list[str]:
    return [value(one, "0020000D") for one in found]


def test_what_is_not_touched_stays_as_the_archive_wrote_it() -> None:
    (one,) = merged(told("a", study("1.2", **{"00081030": ("LO", "胸部CT平扫"), "00201208": ("IS", 3)})))
    assert (value(one, "00081030"), value(one, "00201208")) == ("胸部CT平扫", 3)


def test_the_patient_is_the_viewings_and_the_archives_id_is_another_one() -> None:
    (one,) = merged(told("a", study("1.2", "M1")))
    assert (value(one, "00100020"), value(one, "00100021")) == ("ALIAS", "cq")
    other = value(one, "00101002")
    assert (value(other, "00100020"), value(other, "00100021")) == ("M1", "EX-CQ-01")


def test_other_ids_that_the_archive_knows_stay() -> None:
    item = {"00100020": {"vr": "LO", "Value": ["OLD"]}}
    (one,) = merged(told("a", study("1.2", **{"00101002": ("SQ", item)})))
    assert [value(other, "00100020") for other in one["00101002"]["Value"]] == ["OLD", "M1"]


def test_an_issuer_that_the_archive_names_is_not_this_gateways() -> None:
    text = encoded(
        studies(lists := [told("a", study("1.2", **{"00100021": ("LO", "HOSPITAL")}))], frame(*lists))
    )
    assert text.count(b'"00100021":{"vr":"LO","Value":["cq"]}') == 1
    assert b"HOSPITAL" not in text


def test_the_addresses_of_images_lead_here() -> None:
    text = encoded(studies(lists := [told("a", study("1.2"))], frame(*lists)))
    assert b"archive.internal" not in text
    assert value(json.loads(text)[0], "00081190") == f"{BASE}/studies/1.2"


FURTHER = ["00080050", "00081030", "00104000", "00770010", "00880140", "00101010"]


@given(st.permutations(FURTHER), st.integers(0, len(FURTHER)))
def test_attributes_ascend_whatever_an_archive_tells(tags: list[str], number: int) -> None:
    lists = [told("a", study("1.2", **dict.fromkeys(tags[:number], ("LO", "x"))))]
    told_here: list[list[str]] = []

    def note(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        told_here.append([name for name, _ in pairs])
        return dict(pairs)

    json.loads(encoded(studies(lists, frame(*lists))), object_pairs_hook=note)
    assert told_here[-1] == sorted(set(told_here[-1]))


def test_an_archives_own_group_0077_is_not_taken_for_this_gateways() -> None:
    foreign = {"00770010": ("LO", "ACME"), "00771001": ("CS", "RECOGNISED"), "0077100F": ("LO", "x")}
    (one,) = merged(told("a", study("1.2", **foreign)))
    assert (value(one, "00770010"), value(one, "00771001")) == ("LIANREN 1", "NOT_JUDGED")
    assert "0077100F" not in one


@pytest.mark.parametrize("level", ["studies", "series"])
def test_no_verdict_of_an_archive_passes_for_this_gateways(level: Level) -> None:
    forged = {"00771001": ("CS", "RECOGNISED"), "0077100a": ("UT", "x"), "no tag": ("LO", "x")}
    object_ = study("1.2", **{"0020000E": ("UI", "1.2.1"), **forged})
    found, _ = listed_in(json.dumps([object_]).encode(), level, "M1")
    lists = [Told("a", "EX-CQ-01", "M1", found)]
    rows = studies(lists, frame(*lists)) if level == "studies" else below(lists, frame(*lists), level)
    text = encoded(rows)
    assert b"RECOGNISED" not in text
    assert not {"0077100a", "no tag"} & json.loads(text)[0].keys()


def test_a_study_of_several_archives_stands_once_with_all_of_them() -> None:
    first = told("a", study("1.2", **{"00081030": ("LO", "first")}))
    second = told("sc/b", study("1.2", "M2", **{"00081030": ("LO", "second")}), number="M2")
    (one,) = merged(first, second)
    assert one["0077100C"]["Value"] == ["a", "sc/b"]
    assert (value(one, "00081030"), value(one, "0077100D")) == ("first", f"{FHIR}/nodes/a/ImagingStudy/1.2")


def test_the_best_source_tells_a_study_whoever_answers_first() -> None:
    first = told("a", study("1.2", **{"00081030": ("LO", "first")}))
    second = told("b", study("1.2", **{"00081030": ("LO", "second")}))
    best = {"1.2": (Source("b", "M1"), Source("a", "M1"))}
    around = frame(first, second)
    (row,) = json.loads(
        encoded(
            studies(
                [first, second],
                Frame(base=BASE, fhir=FHIR, issuer="cq", viewing=around.viewing, sources=best),
            )
        )
    )
    assert value(row, "00081030") == "second"


def dated(uid: str, day: str) -> dict[str, Any]:
    return study(uid, **{"00080020": ("DA", day)})


def test_the_newest_study_comes_first() -> None:
    found = merged(
        told("a", dated("1.1", "20250101"), dated("1.2", "20260301")),
        told("b", dated("1.3", "2026.02.01"), dated("1.4", "")),
    )
    assert uids(found) == ["1.2", "1.3", "1.1", "1.4"]


def test_studies_of_one_moment_have_one_order() -> None:
    one, other = told("a", study("1.1")), told("b", study("1.2"))
    assert uids(merged(one, other)) == uids(merged(other, one))


def prior(uid: str, rank: int) -> Prior:
    return Prior(study_uid=uid, verdict=verdict(), rank=rank, zh="同部位", en="same part")


def test_the_priors_of_the_viewing_come_first_with_the_reason_of_their_rank() -> None:
    lists = told("a", study("1.1"), study("1.2", **{"00080020": ("DA", "20200101")}))
    found = merged(lists, priors=(prior("1.2", 1),))
    assert uids(found) == ["1.2", "1.1"]
    assert [value(found[0], f"007710{tag}") for tag in ("09", "0A", "0B")] == [1, "同部位", "same part"]
    assert [value(one, "00771001") for one in found] == ["VIEW_ONLY", "NOT_JUDGED"]


def verdict() -> VerdictOut:
    result = ResultOut(
        id="r",
        node="a",
        kind="imaging",
        institution=Coded("EX-CQ-01", "示例"),
        local_name="CT",
        status="final",
        performed=NOW,
        reported=NOW,
        specimen="",
        value="",
        unit="",
        study_uid="1.2",
        images=None,
    )
    return VerdictOut(
        verdict="view_only",
        reasons=(Reason("R4.3", 4, "没有标识", "no mark"), Reason("R6.1", 6, "过期", "too old")),
        result=result,
        item=None,
        serves=None,
        list=None,
        mark=Mark("CHUANYU", "川渝HR", "valid", "m-1"),
        expires=NOW,
    )


def test_a_verdict_is_told_with_reasons_mark_and_catalogue() -> None:
    catalogue = CatalogueRef("2026.1", illustrative=True, notice_zh="示例数据", notice_en="illustrative")
    judged = Prior(study_uid="1.2", verdict=verdict(), rank=1, zh="同部位", en="same part")
    (one,) = merged(told("a", study("1.2")), priors=(judged,), catalogue=catalogue)
    assert one["00771002"]["Value"] == ["R4.3", "R6.1"]
    assert {tag: value(one, f"007710{tag}") for tag in ("01", "03", "04", "05", "06", "07", "08", "0E")} == {
        "01": "VIEW_ONLY",
        "03": "没有标识；过期",
        "04": "no mark; too old",
        "05": "2026.1",
        "06": "川渝HR",
        "07": "m-1",
        "08": "20261120163000+0800",
        "0E": "示例数据 illustrative",
    }


def test_an_archive_that_indents_its_answer_is_merged_alike() -> None:
    plain, indented = told("a", study("1.1"), study("1.2")), told("a", study("1.1"), study("1.2"), indent=2)
    assert merged(plain) == merged(indented)


def test_series_and_instances_are_told_once_and_lead_here() -> None:
    uids = {"0020000D": "1.2", "0020000E": "1.2.1", "00080018": "1.2.1.1", "00100020": "M1"}
    object_ = {tag: {"vr": "UI", "Value": [uid]} for tag, uid in uids.items()}
    found, _ = listed_in(json.dumps([object_]).encode(), "instances", "M1")
    lists = [Told(way, "EX-CQ-01", "M1", found) for way in ("a", "b")]
    (one,) = json.loads(encoded(below(lists, frame(), "instances")))
    assert value(one, "00081190") == f"{BASE}/studies/1.2/series/1.2.1/instances/1.2.1.1"
    assert value(one, "00100020") == "ALIAS"
