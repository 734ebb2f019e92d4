"""The order of earlier studies: by part, modality, side, time and verdict, with the reason."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recognition.model import VerdictCode
from recognition.parts import relation
from recognition.relevance import Candidate, Ranked, ranked

NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
KNEE = "MR|膝关节|R|plain|-"


def prior(uid: str, concept: str = "", days: float = 5, **more: object) -> Candidate:
    return Candidate(uid=uid, concept=concept, performed=NOW - timedelta(days=days), **more)  # type: ignore[arg-type]


def order(target: str, *priors: Candidate) -> list[str]:
    return [one.uid for one in ranked([target] if target else [], priors, NOW)]


def before(target: str, first: Candidate, second: Candidate) -> bool:
    return order(target, first, second) == [first.uid, second.uid] == order(target, second, first)


@pytest.mark.parametrize(
    ("target", "nearer", "farther"),
    [
        (KNEE, "MR|膝关节|R|plain|-", "MR|胸部|-|plain|-"),
        (KNEE, "MR|膝关节|R|plain|-", "MR|膝关节|R|contrast|-"),
        (KNEE, "MR|膝关节|R|contrast|-", "CT|膝关节|R|plain|-"),
        (KNEE, "CT|膝关节|R|plain|-", "DR|膝关节|R|-|正侧位"),
        (KNEE, "DR|膝关节|R|-|正侧位", "MR|膝关节|L|plain|-"),
        (KNEE, "MR|膝关节|R|plain|-", "MR|膝关节|U|plain|-"),
        (KNEE, "MR|膝关节|B|plain|-", "MR|膝关节|L|plain|-"),
        (KNEE, "MR|膝关节|L|plain|-", "MR|踝关节|R|plain|-"),
        (KNEE, "MR|踝关节|R|plain|-", "MR|颅脑|-|plain|-"),
        (KNEE, "DR|髌骨|R|-|正侧位", "MR|颅脑|-|plain|-"),
        ("CT|上腹部|-|plain|-", "CT|全腹部|-|plain|-", "CT|肝脏|-|plain|-"),
        ("CT|上腹部|-|plain|-", "CT|肝脏|-|plain|-", "CT|盆腔|-|plain|-"),
        ("CT|颅脑|-|plain|-", "DR|头颅|-|-|正侧位", "CT|颈部|-|plain|-"),
        ("CT|胸部|-|plain|-", "CT|胸部|-|plain|- ;; CT|上腹部|-|plain|-", "CT|上腹部|-|plain|-"),
        ("CT|胸部|-|plain|-", "CT|上腹部|-|plain|-", ""),
    ],
)
def test_by_part_side_and_modality_one_stands_before_the_other(
    target: str, nearer: str, farther: str
) -> None:
    assert before(target, prior("2", nearer), prior("1", farther))


def test_an_other_side_is_never_called_the_same_part_alone() -> None:
    (one,) = ranked([KNEE], [prior("1", "MR|膝关节|L|plain|-")], NOW)
    assert (one.zh.split("，")[0], one.en.split(", ")[0]) == (
        "对侧部位（膝关节）",
        "a part of the other side",
    )


def test_a_recent_study_stands_before_an_old_one() -> None:
    assert before(KNEE, prior("2", KNEE, 5), prior("1", KNEE, 400))


@pytest.mark.parametrize(
    ("first", "second"),
    [("recognised", "view_only"), ("view_only", None), (None, "not_recognised")],
)
def test_of_about_one_time_the_better_verdict_stands_first(
    first: VerdictCode | None, second: VerdictCode | None
) -> None:
    assert before(KNEE, prior("2", KNEE, 6, verdict=first), prior("1", KNEE, 5, verdict=second))


def test_a_better_verdict_does_not_lift_a_study_of_long_ago() -> None:
    assert before(KNEE, prior("2", KNEE, 5, verdict="view_only"), prior("1", KNEE, 400, verdict="recognised"))


@pytest.mark.parametrize("performed", [None, NOW + timedelta(days=1)])
def test_a_study_without_a_time_that_can_be_stands_last_of_its_like(performed: datetime | None) -> None:
    undated = Candidate(uid="1", concept=KNEE, performed=performed)
    assert before(KNEE, prior("2", KNEE, 4000), undated)


def test_a_smaller_part_of_the_other_side_is_not_called_the_same_part() -> None:
    (one,) = ranked([KNEE], [prior("1", "MR|髌骨|L|plain|-")], NOW)
    assert one.zh.split("，")[0] == "对侧部位（髌骨）"


def test_of_a_study_that_could_not_be_read_neither_part_nor_modality_is_said() -> None:
    (one,) = ranked([KNEE], [prior("1", "")], NOW)
    assert one.zh.split("，")[:2] == ["部位未知", "检查类型未知"]


def test_of_several_targets_the_nearest_counts() -> None:
    found = ranked([KNEE, "CT|胸部|-|plain|-"], [prior("1", KNEE), prior("2", "CT|胸部|-|plain|-")], NOW)
    assert [one.zh.split("（")[0] for one in found] == ["部位相同", "部位相同"]


def test_where_nothing_is_planned_time_and_verdict_decide() -> None:
    assert order("", prior("1", KNEE, 5), prior("2", "", 400), prior("3", KNEE, 40)) == ["1", "3", "2"]


def test_the_reason_is_told_in_words() -> None:
    (one,) = ranked([KNEE], [prior("1", "CT|膝关节|R|plain|-", 12, verdict="recognised")], NOW)
    assert one == Ranked(
        "1",
        1,
        "部位相同（膝关节），检查类型可比（CT），12天前，可互认",
        "the same part, a comparable modality (CT), 12 days ago, recognised",
    )


CONCEPTS = st.one_of(
    st.sampled_from(
        [KNEE, "CT|胸部|-|plain|-", "", "CT|胸部|-|plain|- ;; CT|上腹部|-|plain|-", "ALB|S|QN|-"]
    ),
    st.tuples(
        st.sampled_from(["CT", "MR", "DR", "U"]),
        st.sampled_from(["膝关节", "髌骨", "胸部", "全腹部", "肝脏", "颅脑", "全身", "?"]),
        st.sampled_from("LRBU-"),
        st.sampled_from(["plain", "contrast", "U", "-"]),
        st.sampled_from(["-", "正位"]),
    ).map("|".join),
    st.text(max_size=12),
)
PRIORS = st.lists(
    st.builds(
        Candidate,
        uid=st.text("0123456789.", min_size=1, max_size=8),
        concept=CONCEPTS,
        performed=st.none() | st.datetimes(timezones=st.just(UTC)),
        verdict=st.sampled_from([None, "recognised", "view_only", "not_recognised"]),
    ),
    unique_by=lambda one: one.uid,
    max_size=8,
)
TARGETS = st.lists(CONCEPTS, max_size=3)


@settings(max_examples=40)
@given(TARGETS, PRIORS)
def test_every_study_has_one_place(targets: list[str], priors: list[Candidate]) -> None:
    found = ranked(targets, priors, NOW)
    assert [one.rank for one in found] == list(range(1, len(priors) + 1))
    assert {one.uid for one in found} == {one.uid for one in priors}


@settings(max_examples=40)
@given(TARGETS, PRIORS, st.randoms())
def test_the_order_does_not_hang_on_the_order_of_the_question(
    targets: list[str], priors: list[Candidate], random: object
) -> None:
    shuffled = list(priors)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert ranked(targets, priors, NOW) == ranked(targets[::-1], shuffled, NOW)


@settings(max_examples=40)
@given(TARGETS, PRIORS)
def test_a_study_more_changes_nothing_between_the_others(targets: list[str], priors: list[Candidate]) -> None:
    fewer = {one.uid for one in priors[1:]}
    all_ = [one.uid for one in ranked(targets, priors, NOW) if one.uid in fewer]
    assert all_ == [one.uid for one in ranked(targets, priors[1:], NOW)]


@settings(max_examples=40)
@given(TARGETS, PRIORS)
def test_there_is_always_a_reason_in_both_languages(targets: list[str], priors: list[Candidate]) -> None:
    assert all(one.zh and one.en for one in ranked(targets, priors, NOW))


@pytest.mark.parametrize(
    ("part", "wanted", "how"),
    [
        ("颅脑", "头颅", "same"),
        ("腹部", "腹部*", "same"),
        ("全腹部", "肝脏", "wider"),
        ("胰腺", "全腹部", "narrower"),
        ("全身", "胸部", "wider"),
        ("肋骨", "心脏", "region"),
        ("胸部", "膝关节", ""),
        ("", "胸部", ""),
        ("不知", "胸部", ""),
        ("乳腺", "乳腺", "same"),
    ],
)
def test_a_part_lies_to_another(part: str, wanted: str, how: str) -> None:
    assert relation(part, wanted) == how


def test_of_two_parts_one_is_wider_where_the_other_is_narrower() -> None:
    turned = {"wider": "narrower", "narrower": "wider"}
    parts = ["全腹部", "肝脏", "胸部", "心脏", "冠状动脉", "下肢", "膝关节", "髌骨", "全脊柱", "腰椎", "全身"]
    assert all(
        relation(one, other) == turned.get(relation(other, one), relation(other, one))
        for one in parts
        for other in parts
    )
