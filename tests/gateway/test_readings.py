"""Readings that are remembered."""

from __future__ import annotations

from gateway.readings import LONG, Readings
from mapping import LocalName
from tests.node_cases import normaliser


def test_a_name_that_is_read_again_gives_the_same_object() -> None:
    readings, name = Readings(normaliser()), LocalName(name="血清白蛋白", kind="lab")
    assert readings.read(name) is readings.read(LocalName(name="血清白蛋白", kind="lab"))
    assert readings.read(name) == normaliser().read(name)


def test_what_stands_beside_a_name_makes_it_another_one() -> None:
    readings = Readings(normaliser())
    blood, urine = (
        readings.read(LocalName(name="葡萄糖", kind="lab", specimen=one)) for one in ("血清", "尿")
    )
    assert blood.item != urine.item


def test_what_is_longer_than_any_name_is_read_and_not_remembered() -> None:
    readings, long = Readings(normaliser()), LocalName(name="血清白蛋白", kind="lab", context="x" * LONG)
    assert readings.read(long) == readings.read(long)
    assert readings.read(long) is not readings.read(long)


def test_panels_are_those_of_the_rules() -> None:
    assert Readings(normaliser()).panel("LFT") == normaliser().panel("LFT") == "LFT"
