"""Qualifications judged on a day, prices of an area, and what the editions in force say together."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import msgspec
import pytest

from catalog import Price, Qualification, load

CATALOGUE = load()
ALB = CATALOGUE.items["1100104A"]


def test_only_records_that_cover_the_item_are_given() -> None:
    found = CATALOGUE.qualifications_of("EX-HB-01", CATALOGUE.item("1500104A"))
    assert [record.scope for record in found] == ["420000"]


def test_a_suspended_record_is_given_with_its_status() -> None:
    found = CATALOGUE.qualifications_of("EX-HB-01", CATALOGUE.item("1500204A"))
    assert [record.status for record in found] == ["suspended"]


def test_a_lapsed_record_is_given_with_its_period() -> None:
    found = CATALOGUE.qualifications_of("EX-JX-01", CATALOGUE.item("1400605A"))
    assert [record.valid_to.isoformat() for record in found] == ["2025-12-31"]


def test_an_unknown_institution_has_no_records() -> None:
    assert CATALOGUE.qualifications_of("EX-XX-99", ALB) == ()


def price(items: str, region: str, amount: int) -> Price:
    return Price(items, region, Decimal(amount), "test", "derived")


def amount(*prices: Price, region: str = "510100") -> int | None:
    found = msgspec.structs.replace(CATALOGUE, prices=prices).price(ALB, region)
    return int(found.amount) if found else None


def test_the_price_of_the_narrowest_area_counts() -> None:
    prices = price("*", "CN", 10), price("*", "510000", 8), price("*", "500000", 7)
    assert (amount(*prices), amount(*prices, region="420100")) == (8, 10)


def test_a_price_for_some_items_beats_one_for_all_in_the_same_area() -> None:
    assert amount(price("*", "CN", 10), price("group:chem-protein", "CN", 6)) == 6


def test_without_a_price_there_is_none() -> None:
    assert amount(price("kind:imaging", "CN", 10), price("*", "LAB8", 8)) is None


def suspended(since: str) -> Qualification:
    (record,) = CATALOGUE.qualifications_of("EX-HB-01", CATALOGUE.item("1500204A"))
    return msgspec.structs.replace(record, status="withdrawn", status_from=datetime.fromisoformat(since))


@pytest.mark.parametrize(
    ("since", "day", "holds"),
    [
        ("2026-03-10T00:00:00+08:00", "2026-03-09", True),
        ("2026-03-10T00:00:00+08:00", "2026-03-10", False),
        ("2026-03-10T23:59:00+08:00", "2026-03-10", False),
        ("2026-03-09T16:00:00+00:00", "2026-03-09", True),
        ("2026-03-09T16:00:00+00:00", "2026-03-10", False),
    ],
)
def test_the_day_of_a_suspension_is_the_first_that_does_not_count(since: str, day: str, holds: bool) -> None:
    assert suspended(since).holds(date.fromisoformat(day)) is holds


@pytest.mark.parametrize(
    ("day", "holds"),
    [("2024-12-31", False), ("2025-01-01", True), ("2035-12-31", True), ("2036-01-01", False)],
)
def test_both_ends_of_the_period_of_a_qualification_count(day: str, holds: bool) -> None:
    record = next(q for q in CATALOGUE.qualifications if q.id == "Q-CQ-01-01")
    assert record.holds(date.fromisoformat(day)) is holds


def test_one_version_of_all_editions_is_the_version() -> None:
    assert CATALOGUE.version == "2026.11-illustrative"


def test_unlike_versions_are_named_edition_by_edition() -> None:
    later = [msgspec.structs.replace(e, version=f"v{n}") for n, e in enumerate(CATALOGUE.editions)]
    found = msgspec.structs.replace(CATALOGUE, editions=tuple(later)).version
    assert found == "cy-endemic@v0+cy-imaging@v1+cy-lab@v2+lab8-lab@v3+national@v4"


def test_editions_are_in_force_together_since_the_last_of_them_is() -> None:
    first, *others = CATALOGUE.editions
    when = datetime.fromisoformat("2026-12-01T00:00:00+08:00")
    later = msgspec.structs.replace(first, effective_from=when)
    assert msgspec.structs.replace(CATALOGUE, editions=(later, *others)).effective_from == when


def test_editions_that_are_none_of_them_illustrative_have_no_notice() -> None:
    official = tuple(msgspec.structs.replace(e, illustrative=False) for e in CATALOGUE.editions)
    catalogue = msgspec.structs.replace(CATALOGUE, editions=official)
    assert (catalogue.illustrative, catalogue.notices) == (False, ("", ""))
