"""Names that look alike and differ in the slot that matters never get one answer."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from catalog import load
from mapping import LocalName, Normaliser

NORMALISER = Normaliser(load())
OWN = Path(__file__).with_name("never_merge.csv")
SHARED = Path(__file__).resolve().parents[3] / "shared/names"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def merged(pairs: list[dict[str, str]]) -> list[tuple[str, str]]:
    def read(name: str) -> str | None:
        return NORMALISER.read(LocalName(name=name)).target

    return [
        (pair["name_a"], pair["name_b"])
        for pair in pairs
        if read(pair["name_a"]) and read(pair["name_a"]) == read(pair["name_b"])
    ]


def test_no_pair_of_this_repository_is_merged() -> None:
    assert merged(rows(OWN)) == []


@pytest.mark.skipif(not SHARED.exists(), reason="the labelled names are not beside this checkout")
def test_no_labelled_pair_is_merged() -> None:
    assert merged(rows(SHARED / "never_merge_dev.csv")) == []


@pytest.mark.skipif(not SHARED.exists(), reason="the labelled names are not beside this checkout")
@pytest.mark.parametrize(("kind", "coverage"), [("imaging", 0.95), ("lab", 0.93)])
def test_no_labelled_name_is_read_wrong_and_most_are_read(kind: str, coverage: float) -> None:
    wrong, right, mappable = [], 0, 0
    for row in rows(SHARED / "dev.csv"):
        if row["kind"] != kind:
            continue
        beside = {field: row[field] for field in ("kind", "modality", "context")}
        target = NORMALISER.read(LocalName(name=row["local_name"], **beside)).target
        expected = row["target"] if row["target"] != "ABSTAIN" else None
        mappable += expected is not None
        if target and (expected is None or scored(target) != scored(expected)):
            wrong.append((row["local_name"], row["context"], expected, target))
        right += bool(target)
    assert (wrong, right / mappable >= coverage) == ([], True)


def scored(concept: str) -> tuple[str, ...]:
    """The slots that the labels compare: five of plain films, four of CT and MR, a panel's family."""
    slots = tuple(concept.split("|"))
    if slots[0] == "PANEL":
        return slots[:2]
    return slots[:4] if slots[0] in ("CT", "MR") else slots[:5] if slots[0] == "DR" else slots[:2]
