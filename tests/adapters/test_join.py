"""Joining the hospital's record of a study with what the archives hold of it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters import Answer, Report, State, join_images
from quality.headers import OTHER_PART, OTHER_SIDE, Header
from recognition import Images, Reading, Result
from tests.node_cases import NOW

INSTITUTIONS = {"his": "A", "pacs": "A", "pacs2": "A", "other-pacs": "B", "peer": ""}


def result(node: str, uid: str, *, institution: str = "A", images: Images | None = None) -> Result:
    return Result(
        id=f"{node}/{uid or 'none'}",
        node=node,
        kind="imaging",
        institution=institution,
        local_name="CT 胸部平扫",
        reading=Reading("CT-001", "CT|胸部|-|plain|-", ""),
        identity="strong",
        status="final",
        performed=NOW,
        reported=NOW,
        version_key=uid,
        study_uid=uid,
        images=images,
    )


def answer(node: str, kind: str, *results: Result, state: State = "answered", fault: bool = False) -> Answer:
    report = Report(node=node, kind=kind, state=state, took_ms=1, fault="node" if fault else "")
    return Answer(report=report, results=results)


def his(*uids: str, expected: int = 3) -> Answer:
    return answer("his", "fhir", *(result("his", uid, images=Images(None, expected)) for uid in uids))


def archive(
    held: Mapping[str, int | None] = {},
    node: str = "pacs",
    state: State = "answered",
    fault: bool = False,
) -> Answer:
    results = (result(node, uid, institution=INSTITUTIONS[node], images=Images(n)) for uid, n in held.items())
    return answer(node, "dicomweb", *results, state=state, fault=fault)


def images(*answers: Answer) -> dict[str, Images | None]:
    return {joined.id: joined.images for joined in join_images(answers, INSTITUTIONS)}


HEADER = Header(kind="CT", side="L", part="KNEE")


def with_header(answer_: Answer, header: Header = HEADER) -> Answer:
    return msgspec.structs.replace(answer_, headers=tuple((r.id, header) for r in answer_.results))


def flagged(header: Header, *concepts: str) -> list[tuple[str, ...]]:
    """The flags of reports with these concepts on one study whose images have this header."""
    reports = [
        msgspec.structs.replace(result("his", "u1"), id=f"his/{n}", reading=Reading("CT-001", concept, ""))
        for n, concept in enumerate(concepts)
    ]
    joined = join_images(
        [answer("his", "fhir", *reports), with_header(archive({"u1": 3}), header)], INSTITUTIONS
    )
    return [one.flags for one in joined]


def test_images_of_another_side_are_flagged() -> None:
    assert flagged(HEADER, "CT|膝关节|R|plain|-") == [(OTHER_SIDE,)]


def test_images_of_another_part_are_flagged() -> None:
    assert flagged(HEADER, "CT|胸部|-|plain|-") == [(OTHER_PART,)]


def test_images_that_fit_one_of_two_reports_contradict_none() -> None:
    assert flagged(HEADER, "CT|胸部|-|plain|-", "CT|膝关节|L|plain|-") == [(), ()]


def test_images_of_the_report_s_side_and_part_are_not_flagged() -> None:
    assert flagged(HEADER, "CT|膝关节|L|plain|-") == [()]


def test_images_that_were_not_shown_cannot_be_said_to_be_there() -> None:
    assert images(his("u1"), archive({"u1": None})) == {"his/u1": Images(None, 3)}


@pytest.mark.parametrize(("held", "found"), [(2, 2), (0, None), (None, None)])
def test_of_two_archives_the_one_that_shows_images_counts(held: int | None, found: int | None) -> None:
    answers = archive({"u1": None}), archive({"u1": held}, "pacs2")
    assert images(his("u1"), *answers) == {"his/u1": Images(found, 3)}


@pytest.mark.parametrize(("manifest", "expected"), [(5, 5), (2, 3)])
def test_a_manifest_that_has_more_than_the_record_counts(manifest: int, expected: int) -> None:
    copy = answer("pacs", "dicomweb", result("pacs", "u1", images=Images(3, manifest)))
    assert images(his("u1"), copy) == {"his/u1": Images(3, expected)}


def test_a_study_gets_the_archive_s_count() -> None:
    assert images(his("u1"), archive({"u1": 2})) == {"his/u1": Images(2, 3)}


def test_an_archive_that_was_heard_and_does_not_hold_it_counts_none() -> None:
    assert images(his("u1"), archive(state="empty")) == {"his/u1": Images(0, 3)}


def test_an_archive_that_was_not_heard_leaves_it_open() -> None:
    assert images(his("u1"), archive(state="late")) == {"his/u1": Images(None, 3)}


def test_an_archive_that_was_heard_in_part_leaves_it_open() -> None:
    assert images(his("u1"), archive(fault=True)) == {"his/u1": Images(None, 3)}


def test_an_archive_that_announced_nothing_holds_nothing() -> None:
    assert images(his("u1"), archive(state="skipped")) == {"his/u1": Images(0, 3)}


def test_an_archive_that_is_left_alone_leaves_it_open() -> None:
    assert images(his("u1"), archive(state="skipped", fault=True)) == {"his/u1": Images(None, 3)}


def test_without_an_archive_it_is_open() -> None:
    assert images(his("u1")) == {"his/u1": Images(None, 3)}


def test_an_archive_of_another_institution_does_not_count() -> None:
    assert images(his("u1"), archive({"u1": 3}, "other-pacs"))["his/u1"] == Images(None, 3)


def test_of_two_archives_the_fuller_one_counts() -> None:
    assert images(his("u1"), archive({"u1": 1}), archive({"u1": 3}, "pacs2")) == {"his/u1": Images(3, 3)}


def test_one_archive_of_two_not_heard_leaves_a_missing_study_open() -> None:
    assert images(his("u1"), archive(), archive(node="pacs2", state="late")) == {"his/u1": Images(None, 3)}


def test_a_study_only_in_the_archive_is_a_result_of_its_own() -> None:
    assert images(his(), archive({"u9": 4})) == {"pacs/u9": Images(4, None)}


def test_a_report_without_a_study_keeps_its_zero() -> None:
    none = answer("his", "fhir", result("his", "", images=Images(0)))
    assert images(none, archive({"u9": 4}))["his/none"] == Images(0)


DIFFER = "consistency:name-on-record-and-archive-differ"


def flags_of(archived: Reading, modality: str, *, recorded: bool = True) -> set[str]:
    record = result("his", "u1")
    if not recorded:
        record = msgspec.structs.replace(record, reading=Reading(None, None, "unknown"))
    copy = msgspec.structs.replace(result("pacs", "u1", images=Images(3)), reading=archived)
    held = msgspec.structs.replace(answer("pacs", "dicomweb", copy), modalities=((copy.id, modality),))
    (joined,) = join_images([answer("his", "fhir", record), held], INSTITUTIONS)
    return set(joined.flags)


@pytest.mark.parametrize(
    ("archived", "modality"),
    [
        (Reading("CT-002", "CT|颅脑|-", ""), "CT"),
        (Reading("MR-001", "MR|胸部|-", ""), ""),
        (Reading(None, None, "unknown"), "MR"),
    ],
    ids=["item", "item alone", "modality alone"],
)
def test_an_archive_that_says_something_else_is_a_flag(archived: Reading, modality: str) -> None:
    assert flags_of(archived, modality) == {DIFFER}


@pytest.mark.parametrize("modality", ["CT", ""])
def test_an_archive_that_says_less_is_no_flag(modality: str) -> None:
    assert flags_of(Reading(None, None, "unknown"), modality) == set()


def test_a_record_that_was_not_read_contradicts_nothing() -> None:
    assert flags_of(Reading("MR-001", "MR|胸部|-", ""), "MR", recorded=False) == set()


def test_laboratory_results_pass_unchanged() -> None:
    lab = msgspec.structs.replace(result("his", ""), kind="lab", value="1", unit="g/L")
    assert join_images([answer("his", "fhir", lab), archive()], INSTITUTIONS) == (lab,)


STATES: st.SearchStrategy[State] = st.sampled_from(["answered", "empty", "late", "faulty"])
HELD = st.dictionaries(st.sampled_from(["u1", "u2", "u3"]), st.integers(0, 5))


@given(st.sets(st.sampled_from(["u1", "u2", "u3"])), HELD, HELD, STATES)
def test_the_order_of_answers_does_not_matter(
    uids: set[str], first: dict[str, int], second: dict[str, int], state: State
) -> None:
    answers = [
        his(*sorted(uids)),
        archive(first),
        archive(second if state == "answered" else {}, "pacs2", state),
    ]
    assert len({join_images(order, INSTITUTIONS) for order in permutations(answers)}) == 1


@given(st.sets(st.sampled_from(["u1", "u2", "u3"])), HELD, STATES)
def test_no_record_is_lost_and_no_study_is_there_twice(
    uids: set[str], held: dict[str, int], state: State
) -> None:
    joined = join_images([his(*uids), archive(held), archive(node="pacs2", state=state)], INSTITUTIONS)
    assert sorted(r.study_uid for r in joined) == sorted(uids | set(held))


@given(
    st.dictionaries(st.sampled_from(["u1", "u2", "u3"]), st.none() | st.integers(0, 5)),
    st.dictionaries(st.sampled_from(["u1", "u2", "u3"]), st.none() | st.integers(0, 5)),
    STATES,
)
def test_images_are_there_only_where_an_archive_of_the_institution_showed_as_many(
    own: dict[str, int | None], others: dict[str, int | None], state: State
) -> None:
    answers = his("u1", "u2", "u3"), archive(own, state=state), archive(others, "other-pacs")
    joined = [one for one in join_images(answers, INSTITUTIONS) if one.node == "his"]
    assert all(not (held := one.images and one.images.held) or held == own[one.study_uid] for one in joined)


@given(st.sets(st.sampled_from(["u1", "u2"]), min_size=1), HELD, STATES)
def test_nothing_is_said_to_be_missing_unless_every_archive_was_heard(
    uids: set[str], held: dict[str, int], state: State
) -> None:
    joined = join_images([his(*uids), archive(held), archive(node="pacs2", state=state)], INSTITUTIONS)
    absent = [r for r in joined if r.node == "his" and r.study_uid not in held]
    assert all(r.images == Images(0 if state in ("answered", "empty") else None, 3) for r in absent)
