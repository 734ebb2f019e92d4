"""Look-ups of a compiled catalogue: items, windows, scopes, marks, stand-ins, rules and item patterns."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog import Item, Setting, UnknownEntry, Window, load

CATALOGUE = load()
ALB = CATALOGUE.items["1100104A"]

items = st.sampled_from(sorted(CATALOGUE.items.values(), key=lambda item: item.code))
regions = st.sampled_from(sorted(CATALOGUE.regions))
parts = st.one_of(
    st.sampled_from(sorted(CATALOGUE.items)),
    st.sampled_from(
        ["*", "kind:imaging", "kind:lab", "list:cy-lab", "list:lab8-lab", "group:ct", "group:lipid"]
    ),
)
patterns = st.lists(parts, max_size=4).map(" ".join)


def window(target: str, days: int, setting: Setting = "*") -> Window:
    return Window(
        "cy-lab",
        target,
        days,
        "calendar_days",
        "report",
        "including",
        setting,
        "",
        0,
        False,
        "test",
        "derived",
    )


def days(*windows: Window, setting: Setting = "outpatient") -> int | None:
    catalogue = msgspec.structs.replace(CATALOGUE, windows=windows)
    found = catalogue.window(ALB, "cy-lab", setting)
    return found.days if found else None


def test_a_window_for_the_item_beats_one_for_its_group() -> None:
    assert days(window("*", 30), window("group:chem-protein", 20), window("1100104A", 10)) == 10


def test_a_window_for_the_group_beats_one_for_the_list() -> None:
    assert days(window("*", 30), window("group:chem-protein", 20)) == 20


def test_a_window_for_the_setting_beats_one_for_any() -> None:
    both = window("1100104A", 10), window("1100104A", 3, "emergency")
    assert (days(*both, setting="emergency"), days(*both)) == (3, 10)


def test_the_item_beats_the_setting() -> None:
    assert days(window("1100104A", 10), window("*", 3, "emergency"), setting="emergency") == 10


def test_without_a_window_there_is_none() -> None:
    assert days(window("1100204A", 10)) is None


def test_potassium_has_the_seven_days_of_hubei() -> None:
    found = CATALOGUE.window(CATALOGUE.item("1400605A"), "lab8-lab", "outpatient")
    assert found is not None
    assert (found.days, found.clock, found.is_default) == (7, "elapsed_24h", False)


def test_an_item_without_a_figure_has_the_regional_default() -> None:
    found = CATALOGUE.window(CATALOGUE.item("1500104A"), "lab8-lab", "outpatient")
    assert found is not None
    assert (found.days, found.is_default) == (30, True)


def test_chuanyu_holds_chengdu_but_chengdu_does_not_hold_chuanyu() -> None:
    assert CATALOGUE.contains("CHUANYU", "510100")
    assert not CATALOGUE.contains("510100", "CHUANYU")


@pytest.mark.parametrize("scope", ["CN", "LAB8", "420000", "420100"])
def test_wuhan_lies_in_every_area_above_it(scope: str) -> None:
    assert CATALOGUE.contains(scope, "420100")


def test_an_unknown_region_lies_nowhere() -> None:
    assert not CATALOGUE.contains("CN", "999999")


@given(regions)
def test_a_region_holds_itself_and_the_nation_holds_all(region: str) -> None:
    assert CATALOGUE.contains(region, region)
    assert CATALOGUE.contains("CN", region)


@given(regions, regions, regions)
def test_containment_is_transitive(one: str, two: str, three: str) -> None:
    if CATALOGUE.contains(one, two) and CATALOGUE.contains(two, three):
        assert CATALOGUE.contains(one, three)


@given(regions, regions)
def test_two_regions_hold_each_other_only_when_they_are_one(one: str, two: str) -> None:
    assert (CATALOGUE.contains(one, two) and CATALOGUE.contains(two, one)) == (one == two)


@pytest.mark.parametrize(
    ("printed", "code"),
    [
        *(("全国", "CN"), ("国家", "CN"), ("川渝", "CHUANYU"), ("京津冀", "JJJ"), ("鄂", "420000")),
        *(("湖北", "420000"), ("湖北省", "420000"), ("晋", "140000"), ("吉林省", "220000"), ("苏", "320000")),
        *(("武汉", "420100"), ("赤峰", "150400"), ("大连", "210200"), ("北京市西城区", "110102")),
    ],
)
def test_a_printed_range_means_its_region(printed: str, code: str) -> None:
    assert CATALOGUE.scope_of_mark(printed, "510100") == code


def test_a_bare_mark_means_the_province_of_the_issuer() -> None:
    assert CATALOGUE.scope_of_mark("", "420100") == "420000"


def test_a_bare_mark_of_a_municipality_means_the_municipality() -> None:
    assert CATALOGUE.scope_of_mark("", "500103") == "500000"


@pytest.mark.parametrize("issuer", ["CHUANYU", "999999"])
def test_a_bare_mark_without_a_province_means_nothing(issuer: str) -> None:
    assert CATALOGUE.scope_of_mark("", issuer) is None


def test_an_unknown_range_means_nothing() -> None:
    assert CATALOGUE.scope_of_mark("江南", "510100") is None


def test_the_lists_of_an_item_are_those_in_force_at_the_receiver() -> None:
    assert [entry.id for entry in CATALOGUE.lists_for(ALB, "510100")] == ["cy-lab"]
    assert [entry.id for entry in CATALOGUE.lists_for(ALB, "420100")] == ["lab8-lab"]
    assert CATALOGUE.lists_for(ALB, "110000") == ()


def test_plain_and_enhanced_may_stand_in_for_plain_and_never_the_other_way() -> None:
    plain = CATALOGUE.item_for("CT|胸部|-|plain|-")
    both = CATALOGUE.item_for("CT|胸部|-|plain+contrast|-")
    assert plain is not None
    assert both is not None
    assert CATALOGUE.stand_in(plain.code, both.code) is not None
    assert CATALOGUE.stand_in(both.code, plain.code) is None


def test_no_stand_in_holds_both_ways() -> None:
    pairs = {(entry.ordered, entry.prior) for entry in CATALOGUE.stand_ins}
    assert not {(prior, ordered) for ordered, prior in pairs} & pairs


def test_a_concept_that_is_no_item_is_not_put_onto_the_nearest_one() -> None:
    assert CATALOGUE.item_for("CT|胸部|-|U|-") is None


@given(items)
def test_an_item_is_found_by_its_concept(item: Item) -> None:
    assert CATALOGUE.item_for(item.concept) is item


def test_a_level_rule_holds_for_every_city_of_its_province() -> None:
    found = CATALOGUE.conditions_for(6, ALB, "330100", "EX-CQ-01")
    assert [rule.id for rule, _ in found] == ["L2"]


def test_a_region_without_a_level_rule_has_none() -> None:
    assert CATALOGUE.conditions_for(6, ALB, "510100", "EX-SC-01") == ()


def test_the_conditions_of_a_step_are_given_in_the_order_of_their_ids() -> None:
    ids = [rule.id for rule, _ in CATALOGUE.conditions_for(8, ALB, "510100", "EX-SC-01")]
    assert ids == ["N1", "N3a", "N3b", "N4", "N5", "N7", "N7a", "N7b", "N7c", "N9"]


def test_a_hospitals_own_line_counts_there_and_nowhere_else() -> None:
    glucose = CATALOGUE.item("1700104A")
    own = {rule.id for rule, _ in CATALOGUE.conditions_for(8, glucose, "510700", "EX-SC-02")}
    others = {rule.id for rule, _ in CATALOGUE.conditions_for(8, glucose, "510700", "EX-SC-01")}
    assert own - others == {"N20"}


def test_a_hospitals_own_window_is_asked_for_by_its_code() -> None:
    glucose = CATALOGUE.item("1700104A")
    own = CATALOGUE.window(glucose, "cy-lab", "outpatient", "EX-SC-02")
    general = CATALOGUE.window(glucose, "cy-lab", "outpatient")
    assert own is not None
    assert general is not None
    assert (own.days, general.days) == (7, 30)


def test_an_institution_that_added_no_window_has_none_of_its_own() -> None:
    assert CATALOGUE.window(CATALOGUE.item("1700104A"), "cy-lab", "outpatient", "EX-SC-01") is None


@pytest.mark.parametrize(
    "pattern", ["*", "kind:lab", "list:cy-lab", "group:chem-protein", "1100104A", "x 1100104A"]
)
def test_a_pattern_names_the_item(pattern: str) -> None:
    assert CATALOGUE.covers(pattern, ALB)


@pytest.mark.parametrize(
    "pattern", ["", "kind:imaging", "list:cy-imaging", "group:lipid", "1100204A", "1100104"]
)
def test_a_pattern_leaves_the_item_out(pattern: str) -> None:
    assert not CATALOGUE.covers(pattern, ALB)


@given(patterns, patterns, items)
def test_a_joined_pattern_names_what_either_names(one: str, other: str, item: Item) -> None:
    joined = CATALOGUE.covers(f"{one} {other}", item)
    assert joined == (CATALOGUE.covers(one, item) or CATALOGUE.covers(other, item))


@given(items, items)
def test_a_code_names_its_own_item_only(one: Item, other: Item) -> None:
    assert CATALOGUE.covers(one.code, other) == (one is other)


@pytest.mark.parametrize("kind", ["item", "region", "institution", "rule"])
def test_a_code_that_is_not_held_is_refused_by_name(kind: str) -> None:
    with pytest.raises(UnknownEntry) as caught:
        getattr(CATALOGUE, kind)("no-such-code")
    assert (caught.value.kind, caught.value.code) == (kind, "no-such-code")
    assert CATALOGUE.version in str(caught.value)


def test_the_general_list_of_an_area_comes_before_the_special_one() -> None:
    chest = CATALOGUE.item("CT-013")
    assert [entry.id for entry in CATALOGUE.lists_for(chest, "510100")] == [
        "cy-imaging",
        "cy-imaging-endemic",
    ]


def test_an_item_of_two_editions_keeps_the_name_and_source_of_the_first_list() -> None:
    hand = CATALOGUE.item("DR-049")
    assert "右手正位" in hand.aliases
    assert hand.source.startswith("illustrative; hand PA")


def test_the_edition_of_an_item_publishes_its_first_list() -> None:
    found = [CATALOGUE.edition_of(CATALOGUE.item(code)) for code in ("CT-013", "CT-E01", "1100104A")]
    assert [edition.id for edition in found if edition] == ["cy-imaging", "cy-endemic", "cy-lab"]


def test_an_item_of_no_list_has_no_edition() -> None:
    assert CATALOGUE.edition_of(msgspec.structs.replace(ALB, lists=())) is None


@pytest.mark.parametrize("name", ["CT 胸部平扫", "胸部CT平扫", "胸部ＣＴ平扫", " 胸部ct 平扫"])
def test_an_item_is_found_by_name_or_alias_in_any_width_and_case(name: str) -> None:
    assert [item.code for item in CATALOGUE.items_named(name)] == ["CT-013"]


@pytest.mark.parametrize("name", ["", "胸部CT", "胸部CT平扫加"])
def test_a_name_that_is_only_alike_finds_nothing(name: str) -> None:
    assert CATALOGUE.items_named(name) == ()


def test_the_conversions_of_an_item_are_its_own() -> None:
    (found,) = CATALOGUE.conversions_of(CATALOGUE.item("1100301A"))
    assert (found.unit, found.to_unit, str(found.factor), str(found.offset)) == (
        *("mmol/mol", "%", "0.09148", "2.152"),
    )
    assert CATALOGUE.conversions_of(CATALOGUE.item("0100101A")) == ()


def test_what_an_item_may_serve_for_comes_in_the_same_order_in_every_process() -> None:
    assert CATALOGUE.serves("CT-024") == tuple(sorted(CATALOGUE.serves("CT-024")))
    assert len(CATALOGUE.serves("CT-024")) > 2
