"""Which of several results is shown first, and the words for why."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog import Catalogue
from recognition import Best, Decision, Mark, Reading, Result, decide
from tests.recognition.cases import (
    ALBUMIN,
    CHEST_BOTH,
    CHEST_PLAIN,
    GLUCOSE,
    NOW,
    POTASSIUM,
    URINE_GLUCOSE,
    catalogue,
    check,
    ct,
    from_chongqing,
    imaging_item,
    lab,
)

HOUR = timedelta(hours=1)
NATIONAL, PROVINCIAL = Mark("CN", "全国HR", "valid"), Mark("CHUANYU", "川渝HR", "valid")


def named(name: str, result: Result, **changes: Any) -> Result:
    return msgspec.structs.replace(result, **{"id": name, "version_key": name} | changes)


def decided(*results: Result, item: str = ALBUMIN, under: Catalogue | None = None) -> Decision:
    return decide(check(item), results, under or catalogue())


def best(*results: Result, item: str = ALBUMIN, under: Catalogue | None = None) -> Best:
    (advice,) = decided(*results, item=item, under=under).advice
    (found,) = advice.best
    return found


def test_a_single_result_is_the_only_one() -> None:
    assert best(named("a", lab())) == Best(
        ALBUMIN, "a", 0, "唯一可互认的结果", "the only result that is recognised"
    )


def test_what_is_not_recognised_is_no_other() -> None:
    assert best(named("a", lab()), named("b", lab(value="", days_ago=1))).others == 0


def test_without_a_recognised_result_there_is_no_best() -> None:
    assert decided(lab(value="")).advice[0].best == ()


def test_the_newest_day_comes_first() -> None:
    found = best(named("old", lab(days_ago=6)), named("new", lab(days_ago=5)), named("x", lab(days_ago=9)))
    assert found == Best(ALBUMIN, "new", 2, "检查日期较近", "examined on a later day")


def test_a_newer_stand_in_comes_before_an_older_exact_study() -> None:
    older, newer = named("a", ct(days_ago=6)), named("b", ct(CHEST_BOTH, days_ago=5))
    assert best(older, newer, item=CHEST_PLAIN).result == "b"


def test_of_one_day_the_planned_item_itself_comes_before_a_stand_in() -> None:
    exact = named("exact", ct(), performed=NOW - timedelta(days=5) - HOUR)
    other = named("a-stand-in", ct(CHEST_BOTH, days_ago=5))
    found = best(other, exact, item=CHEST_PLAIN)
    assert (found.result, found.zh) == ("exact", "与拟开项目一致，不是替代项目")


def test_of_one_day_the_wider_area_comes_first() -> None:
    wide = named("wide", lab(), performed=NOW - timedelta(days=5) - HOUR)
    narrow = named("a-narrow", lab(mark=PROVINCIAL))
    assert (best(narrow, wide).result, best(narrow, wide).en) == ("wide", "a mark for a wider area")


def graded(*records: tuple[str, str, str]) -> Catalogue:
    """Qualifications for albumin: institution, level, scope."""
    record = next(q for q in catalogue().qualifications if q.id == "Q-HB-01-01")
    return msgspec.structs.replace(
        catalogue(),
        qualifications=tuple(
            msgspec.structs.replace(record, id=f"Q{n}", institution=issuer, level=level, scope=scope)
            for n, (issuer, level, scope) in enumerate(records)
        ),
    )


def test_of_one_day_and_area_the_higher_level_of_qualification_comes_first() -> None:
    under = graded(("EX-HB-01", "agreement", "CN"), ("EX-HA-01", "national", "CN"))
    lower = named("a", lab())
    higher = named("higher", lab(institution="EX-HA-01"), performed=NOW - timedelta(days=5) - HOUR)
    found = best(lower, higher, under=under)
    assert (found.result, found.zh) == ("higher", "质量评价的级别较高")


def test_the_highest_of_several_levels_that_hold_the_receiver_counts() -> None:
    under = graded(
        ("EX-HB-01", "national", "420000"),  # does not hold Chengdu
        ("EX-HB-01", "prefecture", "CN"),
        ("EX-HA-01", "district", "CN"),
        ("EX-HA-01", "provincial", "CN"),
    )
    wuhan, zhengzhou = named("a", lab()), named("b", lab(institution="EX-HA-01"))
    assert best(wuhan, zhengzhou, under=under).result == "b"


def test_of_equal_standing_a_value_as_written_comes_before_a_converted_one() -> None:
    converted = named("a", lab(value="4.12", unit="g/dL"))
    written = named("written", lab(), performed=NOW - timedelta(days=5) - HOUR)
    found = best(converted, written)
    assert (found.result, found.en) == ("written", "fewer notes, no conversion")


def test_of_one_day_the_later_instant_comes_first_when_all_else_is_equal() -> None:
    later = named("later", lab())
    earlier = named("earlier", lab(), performed=NOW - timedelta(days=5) - HOUR)
    found = best(earlier, later)
    assert (found.result, found.zh) == ("later", "同日检查中时间较近")


def test_results_without_any_difference_stand_in_the_order_of_their_ids() -> None:
    found = best(named("b", lab()), named("a", lab()))
    assert (found.result, found.en) == ("a", "no difference that matters, in the order of their ids")


def test_the_time_of_the_report_counts_where_that_of_the_examination_is_unknown() -> None:
    known, unknown = named("a", lab()), named("b", lab(days_ago=4), performed=None)
    assert best(known, unknown).result == "b"


def test_a_recognised_result_stands_before_a_newer_one_that_is_not() -> None:
    verdicts = decided(named("old", lab(days_ago=9)), named("new", lab(days_ago=1, value=""))).verdicts
    assert [v.result.id for v in verdicts] == ["old", "new"]


def test_what_may_be_viewed_stands_before_what_is_refused() -> None:
    refused, viewed = named("a", lab(value="")), named("b", lab(days_ago=20, mark=None))
    assert [v.result.id for v in decided(refused, viewed).verdicts] == ["b", "a"]


def test_a_result_without_a_time_stands_last() -> None:
    timeless = named("a", lab(performed=None, reported=None))
    late = named("b", lab(days_ago=200, value=""))
    assert [v.result.id for v in decided(timeless, late).verdicts] == ["b", "a"]


def test_somebody_elses_result_stands_behind_the_plan() -> None:
    other, refused = named("a", lab(identity="weak")), named("b", lab(value=""))
    assert [v.result.id for v in decided(other, refused).verdicts] == ["b", "a"]


def test_somebody_elses_results_tell_nothing_by_their_place() -> None:
    older = named("a", lab(identity="weak", days_ago=20))
    newer = named("b", lab(identity="weak", days_ago=1))
    assert [v.result.id for v in decided(newer, older).verdicts] == ["a", "b"]


def test_somebody_unqualified_ranks_after_the_qualified_of_one_verdict() -> None:
    under = graded(("EX-HB-01", "district", "CN"))
    mark = Mark("CN", "全国HR", "invalid")
    none = named("a", lab(institution="EX-SX-01", mark=mark))
    held = named("b", lab(mark=mark))
    assert [v.result.id for v in decided(none, held, under=under).verdicts] == ["b", "a"]


def test_one_result_for_two_items_stands_in_the_order_of_the_plan() -> None:
    upper, lower, whole = (imaging_item(f"CT|{part}|-|plain|-") for part in ("上腹部", "下腹部", "全腹部"))
    assert upper < lower
    for planned in ((upper, lower), (lower, upper)):
        verdicts = decide(check(*planned), [ct(whole)], catalogue()).verdicts
        assert tuple(v.serves for v in verdicts) == planned


def test_a_panel_is_told_in_its_order_and_each_member_best_first() -> None:
    members = catalogue().panels["LFT"].members[:3]
    assert sorted(members) != list(members)
    results = [
        named(f"{code}/{days}", lab(code, days_ago=days)) for days in (9, 5) for code in sorted(members)
    ]
    told = [v.result.id for v in decide(check(*members), results, catalogue()).verdicts]
    assert told == [f"{code}/{days}" for code in members for days in (5, 9)]


def test_the_parts_of_a_sum_stand_at_its_place_in_the_plan() -> None:
    parts = catalogue().panels[CHEST_BOTH].members
    results = [
        named(code, from_chongqing(code)) if code == ALBUMIN else ct(code) for code in (ALBUMIN, *parts)
    ]
    for planned in ((ALBUMIN, CHEST_BOTH), (CHEST_BOTH, ALBUMIN)):
        verdicts = decide(check(*planned), results, catalogue()).verdicts
        told = [ALBUMIN, *parts] if planned[0] == ALBUMIN else [*parts, ALBUMIN]
        assert [v.serves for v in verdicts] == told


def test_what_is_only_akin_stands_where_its_planned_item_does() -> None:
    akin = named("akin", lab(URINE_GLUCOSE))
    refused = named("refused", lab(POTASSIUM, days_ago=1, value=""))
    for planned, order in (((GLUCOSE, POTASSIUM), [akin, refused]), ((POTASSIUM, GLUCOSE), [refused, akin])):
        verdicts = decide(check(*planned), [akin, refused], catalogue()).verdicts
        assert [v.result.id for v in verdicts] == [result.id for result in order]


def test_what_is_unread_stands_behind_the_plan() -> None:
    unread = named("a", lab(days_ago=1), reading=Reading(None, None, "unknown"))
    viewed = named("b", lab(mark=None))
    verdicts = decided(unread, viewed).verdicts
    assert [(v.result.id, v.verdict) for v in verdicts] == [("b", "view_only"), ("a", "view_only")]


def test_nodes_stand_in_their_order_before_ids() -> None:
    one = named("z", lab(), node="a-node")
    other = named("a", lab(), node="b-node")
    assert [v.result.node for v in decided(other, one).verdicts] == ["a-node", "b-node"]


priors = st.builds(
    lambda name, days, hours, scope, unit: named(
        name,
        lab(mark=Mark(scope, "", "valid"), unit=unit),
        performed=NOW - timedelta(days=days, hours=hours),
        reported=NOW - timedelta(days=days, hours=hours),
    ),
    st.sampled_from("abcdefgh"),
    st.integers(0, 3),
    st.integers(0, 5),
    st.sampled_from(["CN", "CHUANYU"]),
    st.sampled_from(["g/L", "g/dL"]),
)


@given(st.lists(priors, min_size=1, max_size=6, unique_by=lambda r: r.id), st.randoms(use_true_random=False))
def test_the_best_is_the_first_recognised_verdict_whatever_the_order_of_results(
    found: list[Result], random: Any
) -> None:
    shuffled = random.sample(found, len(found))
    decision = decided(*shuffled)
    assert decision == decided(*found)
    assert decision.advice[0].best[0].result == decision.verdicts[0].result.id


@pytest.mark.parametrize("reverse", [False, True])
def test_two_tellings_under_one_id_stand_in_one_order(reverse: bool) -> None:
    tellings = [named("a", lab(), value=value, version_key=value) for value in ("1", "2", "3")]
    verdicts = decided(*(tellings[::-1] if reverse else tellings)).verdicts
    assert [v.result.value for v in verdicts] == ["1", "2", "3"]
