"""The smallest order that leaves nothing of the plan unserved."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from catalog import Catalogue, Panel
from recognition import Advice, Check, Images, Planned, Result, decide
from tests.recognition.cases import (
    CHEST_BOTH,
    CHEST_PLAIN,
    NOW,
    catalogue,
    check,
    ct,
    imaging_item,
    lab,
)

CONTRAST = imaging_item("CT|胸部|-|contrast|-")
ABDOMEN = imaging_item("CT|上腹部|-|plain|-")
HEAD = imaging_item("CT|颅脑|-|plain|-")
ALT, AST = "1500104A", "1500204A"


def summed(**sums: tuple[str, ...]) -> Catalogue:
    """The bundled catalogue with these panels and no others."""
    return msgspec.structs.replace(
        catalogue(), panels={code: Panel(code, code, (), members, "", "") for code, members in sums.items()}
    )


BOTH_IS_SUM = summed(**{CHEST_BOTH: (CHEST_PLAIN, CONTRAST)})


def advice(planned: Planned, *results: Result, under: Catalogue = BOTH_IS_SUM) -> Advice:
    asked = Check(at=NOW, receiver="EX-SC-01", planned=(planned,))
    return decide(asked, results, under).advice[0]


def both(*results: Result) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is served and what is to be ordered of chest CT plain + contrast."""
    found = advice(Planned("胸部平扫+增强", (CHEST_BOTH,)), *results)
    return found.served, found.to_order


def contrast(**changes: Any) -> Result:
    return ct(CONTRAST, id="contrast", version_key="contrast", **changes)


def test_ten_of_twelve_members_are_recognised_and_only_alt_and_ast_are_to_be_ordered() -> None:
    panel = catalogue().panels["LFT"]
    found = [lab(code, id=code, version_key=code) for code in panel.members if code not in (ALT, AST)]
    result = advice(Planned(panel.name, panel.members, "LFT"), *found, under=catalogue())
    assert (len(result.served), set(result.to_order)) == (10, {ALT, AST})
    assert (result.planned, result.panel) == (panel.name, "LFT")
    assert [best.item for best in result.best] == list(result.served)


def test_served_and_to_order_keep_the_order_of_the_plan() -> None:
    panel = catalogue().panels["LFT"]
    found = [lab(code, id=code, version_key=code) for code in reversed(panel.members)]
    result = advice(Planned(panel.name, panel.members, "LFT"), *found, under=catalogue())
    assert result.served == tuple(code for code in panel.members if code in result.served)


def test_of_several_parts_ordered_as_one_only_the_missing_part_is_to_be_ordered() -> None:
    found = advice(Planned("胸部+上腹部", (CHEST_PLAIN, ABDOMEN), "CHEST-ABDOMEN"), ct())
    assert (found.served, found.to_order) == ((CHEST_PLAIN,), (ABDOMEN,))


def test_a_sum_with_nothing_recognised_is_ordered_itself_and_not_by_its_parts() -> None:
    assert both() == ((), (CHEST_BOTH,))


def test_a_sum_with_one_part_recognised_leaves_the_other_part() -> None:
    assert both(ct()) == ((CHEST_PLAIN,), (CONTRAST,))


def test_a_sum_with_all_parts_recognised_leaves_nothing() -> None:
    assert both(ct(), contrast()) == ((CHEST_PLAIN, CONTRAST), ())


def test_a_sum_with_a_result_of_its_own_is_served_by_it() -> None:
    assert both(ct(CHEST_BOTH)) == ((CHEST_BOTH,), ())


def test_a_sum_with_a_result_of_its_own_is_not_told_in_parts_beside_it() -> None:
    assert both(ct(CHEST_BOTH, id="whole", version_key="whole"), ct()) == ((CHEST_BOTH,), ())


def test_a_part_that_may_only_be_viewed_leaves_the_sum_to_be_ordered() -> None:
    assert both(ct(mark=None)) == ((), (CHEST_BOTH,))


def test_a_part_of_a_planned_sum_is_judged_for_what_it_is() -> None:
    asked = check(CHEST_BOTH)
    (verdict,) = decide(asked, [ct()], BOTH_IS_SUM).verdicts
    assert (verdict.verdict, verdict.serves) == ("recognised", CHEST_PLAIN)


def test_a_result_of_the_sum_is_not_judged_for_its_parts_as_well() -> None:
    verdicts = decide(check(CHEST_BOTH), [ct(CHEST_BOTH)], BOTH_IS_SUM).verdicts
    assert [v.serves for v in verdicts] == [CHEST_BOTH]


@pytest.mark.parametrize("whole", [CHEST_BOTH, HEAD])
def test_a_part_of_two_planned_sums_is_not_told_beside_either_of_them(whole: str) -> None:
    sums = summed(**{CHEST_BOTH: (CHEST_PLAIN, CONTRAST), HEAD: (CHEST_PLAIN, ABDOMEN)})
    relation = catalogue().stand_ins[0]
    serving = tuple(
        msgspec.structs.replace(relation, ordered=CHEST_PLAIN, prior=prior) for prior in (CHEST_BOTH, HEAD)
    )
    under = msgspec.structs.replace(sums, stand_ins=serving)
    verdicts = decide(check(CHEST_BOTH, HEAD), [ct(whole)], under).verdicts
    assert [v.serves for v in verdicts] == [whole]


def test_a_part_that_is_planned_beside_the_sum_is_served_by_a_result_of_the_sum() -> None:
    verdicts = decide(check(CHEST_BOTH, CHEST_PLAIN), [ct(CHEST_BOTH)], BOTH_IS_SUM).verdicts
    assert {v.serves for v in verdicts} == {CHEST_BOTH, CHEST_PLAIN}


def test_a_result_that_stands_in_for_a_part_serves_for_it() -> None:
    whole_abdomen = summed(**{CHEST_BOTH: (ABDOMEN, CHEST_PLAIN)})
    wider = imaging_item("CT|全腹部|-|plain|-")
    found = advice(Planned("x", (CHEST_BOTH,)), ct(wider), under=whole_abdomen)
    assert (found.served, found.to_order) == ((ABDOMEN,), (CHEST_PLAIN,))


def test_a_sum_of_sums_is_taken_apart_only_as_far_as_results_go() -> None:
    nested = summed(**{CHEST_BOTH: (CHEST_PLAIN, CONTRAST), ABDOMEN: (CHEST_BOTH, HEAD)})
    planned = Planned("x", (ABDOMEN,))
    assert advice(planned, under=nested).to_order == (ABDOMEN,)
    assert advice(planned, ct(HEAD), under=nested).to_order == (CHEST_BOTH,)
    assert advice(planned, ct(), under=nested).to_order == (CONTRAST, HEAD)
    assert advice(planned, ct(CHEST_BOTH), under=nested).to_order == (HEAD,)


def test_a_panel_that_is_itself_an_item_is_planned_as_that_item() -> None:
    planned = Planned("胸部平扫+增强", (CHEST_PLAIN, CONTRAST), CHEST_BOTH)
    assert advice(planned).to_order == (CHEST_BOTH,)
    assert advice(planned, ct(CHEST_BOTH)).served == (CHEST_BOTH,)
    assert advice(planned, ct()).to_order == (CONTRAST,)


def test_a_laboratory_panel_is_never_ordered_by_its_own_code() -> None:
    panel = catalogue().panels["LFT"]
    assert advice(Planned(panel.name, panel.members, "LFT"), under=catalogue()).to_order == panel.members


def test_an_item_that_is_planned_twice_is_told_once() -> None:
    found = advice(Planned("x", (CHEST_PLAIN, CHEST_PLAIN)), ct())
    assert (found.served, len(found.best)) == ((CHEST_PLAIN,), 1)
    assert advice(Planned("x", (CHEST_PLAIN, CHEST_PLAIN))).to_order == (CHEST_PLAIN,)


def test_every_planned_examination_has_its_own_advice() -> None:
    asked = Check(
        at=NOW,
        receiver="EX-SC-01",
        planned=(Planned("a", (CHEST_PLAIN,)), Planned("b", (ABDOMEN,))),
    )
    decision = decide(asked, [ct()], catalogue())
    assert [(a.planned, a.to_order) for a in decision.advice] == [("a", ()), ("b", (ABDOMEN,))]


def test_the_best_is_named_for_every_part_that_is_served() -> None:
    found = advice(Planned("x", (CHEST_BOTH,)), ct(id="plain"), contrast())
    assert [(b.item, b.result, b.others) for b in found.best] == [
        (CHEST_PLAIN, "plain", 0),
        (CONTRAST, "contrast", 0),
    ]


def test_the_bundled_catalogue_says_that_plain_and_contrast_make_both() -> None:
    assert catalogue().panels[CHEST_BOTH].members == (CHEST_PLAIN, CONTRAST)


@pytest.mark.parametrize("images", [None, Images(0, 10)])
def test_a_part_without_its_images_serves_nothing(images: Images | None) -> None:
    assert both(ct(images=images)) == ((), (CHEST_BOTH,))
