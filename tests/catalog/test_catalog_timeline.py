"""Which edition counts when: states, overlaps, labels, and what may not be published."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog import CatalogueError, Edition, UnknownEntry
from catalog.timeline import Published, Timeline, label_of, shown

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def edition(name: str, day: int = 0, overlap: int = 30) -> Edition:
    """``id@version``, in force from so many days after the start."""
    edition_id, _, version = name.partition("@")
    return Edition(
        id=edition_id,
        version=version,
        name=name,
        owner="示例",
        scope="CN",
        effective_from=START + day * DAY,
        overlap_days=overlap,
        illustrative=True,
        notice_zh="示例",
        notice_en="illustrative",
    )


def published(*editions: Edition) -> list[Published]:
    return [Published(one, f"digest of {one.name}") for one in editions]


def names(selection: Sequence[Edition]) -> list[str]:
    return [one.name for one in selection]


def refusal(*editions: Edition) -> str:
    with pytest.raises(CatalogueError) as wrong:
        Timeline(published(*editions))
    return str(wrong.value)


LINE = Timeline(published(edition("a@1"), edition("b@1"), edition("a@2", 100), edition("a@3", 120)))


def test_the_latest_edition_of_each_id_is_in_force() -> None:
    assert [names(LINE.at(START + day * DAY)) for day in (0, 99, 100, 130)] == [
        ["a@1", "b@1"],
        ["a@1", "b@1"],
        ["a@2", "b@1"],
        ["a@3", "b@1"],
    ]


def test_nothing_is_in_force_before_everything() -> None:
    assert LINE.at(START - timedelta.resolution) == ()


def test_an_edition_takes_force_in_its_moment_and_not_before() -> None:
    cut = START + 100 * DAY
    assert names(LINE.at(cut - timedelta.resolution))[0] == "a@1"
    assert names(LINE.at(cut))[0] == "a@2"


def states(day: float) -> dict[str, tuple[str, float | None]]:
    """The state of each edition and the day it ends."""
    return {
        standing.published.edition.name: (
            standing.state,
            (standing.until - START) / DAY if standing.until else None,
        )
        for standing in LINE.standings(START + day * DAY)
    }


def test_an_edition_that_is_to_come_is_announced() -> None:
    assert states(0)["a@2"] == ("announced", 120)


def test_an_edition_in_force_tells_until_when() -> None:
    assert (states(0)["a@1"], states(0)["b@1"]) == (("in_force", 100), ("in_force", None))


def test_a_superseded_edition_overlaps_for_the_days_of_its_successor() -> None:
    assert states(129.99)["a@1"] == ("overlapping", 130)


def test_an_edition_is_superseded_when_the_overlap_is_over() -> None:
    assert states(130)["a@1"] == ("superseded", 100)


def test_overlapping_editions_are_asked_the_nearest_first() -> None:
    found = [
        (names(selection), (until - START) / DAY) for selection, until in LINE.overlapping(START + 125 * DAY)
    ]
    assert found == [(["a@2", "b@1"], 150), (["a@1", "b@1"], 130)]


def test_several_ids_that_overlap_may_be_asked_for_one_by_one_and_together() -> None:
    line = Timeline(published(edition("a@1"), edition("b@1"), edition("a@2", 10, 5), edition("b@2", 12, 5)))
    found = [names(selection) for selection, _ in line.overlapping(START + 13 * DAY)]
    assert sorted(found) == [["a@1", "b@1"], ["a@1", "b@2"], ["a@2", "b@1"]]
    assert found[-1] == ["a@1", "b@1"]


def test_without_overlap_days_nothing_overlaps() -> None:
    assert Timeline(published(edition("a@1"), edition("a@2", 10, 0))).overlapping(START + 10 * DAY) == ()


@pytest.mark.parametrize(
    ("label", "meant"),
    [
        ("1", ["a@1", "b@1"]),
        ("a@2", ["a@2", "b@1"]),
        ("b@1", ["a@1", "b@1"]),
        ("a@1+b@1", ["a@1", "b@1"]),
        ("a@3+b@1", ["a@3", "b@1"]),
        ("2", ["a@2"]),
    ],
)
def test_a_label_names_its_editions(label: str, meant: list[str]) -> None:
    assert names(LINE.named(label)) == meant


@pytest.mark.parametrize("label", ["", "9", "a@9", "a@1+b@9", "c@1", "+"])
def test_a_label_of_nothing_is_unknown(label: str) -> None:
    with pytest.raises(UnknownEntry):
        LINE.named(label)


def test_the_label_of_what_was_in_force_leads_back_to_it() -> None:
    for moment in LINE.moments:
        assert LINE.named(label_of(LINE.at(moment))) == LINE.at(moment)


def test_an_overlapping_selection_is_found_by_its_label() -> None:
    for selection, _ in LINE.overlapping(START + 125 * DAY):
        assert LINE.named(label_of(selection)) == selection


def test_an_edition_tells_what_it_replaces() -> None:
    assert LINE.replaced_by(edition("a@9", 110)) == edition("a@2", 100)
    assert LINE.replaced_by(edition("c@1", 110)) is None


def test_two_editions_of_one_id_cannot_take_force_at_the_same_time() -> None:
    assert refusal(edition("a@1"), edition("a@2")) == (
        "a@2 effective_from: a@1 takes force at the same time; move one"
    )


def test_a_version_cannot_be_published_with_other_content() -> None:
    with pytest.raises(CatalogueError, match="is published with other content; give it a new version"):
        LINE.add([Published(edition("a@1"), "another digest")])


def test_a_version_cannot_be_published_twice() -> None:
    with pytest.raises(CatalogueError, match="is published already"):
        LINE.add(published(edition("a@1")))


@pytest.mark.parametrize("name", ["A@1", "@1", "a b@1", "a" * 32 + "@1", "1a@1"])
def test_an_id_must_fit_into_a_label(name: str) -> None:
    assert "id: must be a-z" in refusal(edition(name))


@pytest.mark.parametrize("name", ["a@", "a@1+2", "a@1@2", "a@版", "a@" + "1" * 33, "a@-1"])
def test_a_version_must_fit_into_a_label(name: str) -> None:
    assert "version: must be letters" in refusal(edition(name))


def test_one_label_cannot_name_two_catalogues() -> None:
    assert "'1' would be the name of two different catalogues" in refusal(edition("a@1"), edition("b@1", 10))


def test_a_label_of_the_past_keeps_its_meaning() -> None:
    line = Timeline(published(edition("a@1"), edition("b@1")))
    with pytest.raises(CatalogueError, match="'1' names a catalogue that counts without it"):
        line.add(published(edition("c@1")))
    assert names(line.add(published(edition("c@2"))).named("1")) == ["a@1", "b@1"]


def test_a_label_of_an_overlapping_catalogue_keeps_its_meaning() -> None:
    line = Timeline(published(edition("a@1"), edition("b@2"), edition("a@3", 10), edition("b@1", 10)))
    (asked_for, _), *_ = line.overlapping(START + 10 * DAY)
    assert (label_of(asked_for), names(asked_for)) == ("1", ["a@1", "b@1"])
    with pytest.raises(CatalogueError, match="'1' would be the name of two different catalogues"):
        line.add(published(edition("c@1", 20)))


def test_moments_are_shown_in_the_time_of_china() -> None:
    assert shown(START) == "2026-01-01 08:00 +08:00"


EDITIONS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 60), st.integers(0, 20)),
    max_size=10,
    unique_by=lambda one: one[:2],
)


@given(EDITIONS, st.integers(0, 80))
def test_at_any_moment_one_edition_of_each_id_is_in_force_and_every_label_is_found(
    drawn: list[tuple[str, int, int]], day: int
) -> None:
    line = Timeline(
        published(*(edition(f"{name}@{number}", *days) for number, (name, *days) in enumerate(drawn)))
    )
    when = START + day * DAY
    in_force = [s.published.edition for s in line.standings(when) if s.state == "in_force"]
    assert tuple(in_force) == line.at(when)
    assert {one.id for one in in_force} == {name for name, start, _ in drawn if start <= day}
    for selection in (line.at(when), *(selection for selection, _ in line.overlapping(when))):
        assert not selection or len(selection) == 1 or line.named(label_of(selection)) == selection
