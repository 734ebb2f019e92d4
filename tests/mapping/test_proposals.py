"""Words that several sites confirmed alike, what they would change, and candidates for a reviewer."""

from __future__ import annotations

import csv
from importlib import resources

from catalog import load
from mapping import LocalName
from mapping.proposals import Proposal, proposals, replay_proposal
from mapping.ranking import Ranking
from mapping.sites import SiteTable, Step
from tests.mapping.test_sites import said

CATALOGUE = load()
SITES = ("EX-CQ-01", "EX-SC-01", "EX-HB-01")


def table(name: str, concept: str, kind: str, sites: tuple[str, ...] = SITES) -> SiteTable:
    """A name that these sites write and that two persons confirmed for each."""
    steps: list[Step] = []
    for site in sites:
        local = LocalName(name=name, kind=kind, site=site)
        steps += [said(len(steps) + place, by, local, concept) for place, by in ((1, "a"), (2, "b"))]
    return SiteTable().after(steps)


def only(held: SiteTable) -> Proposal:
    (proposal,) = proposals(CATALOGUE, held)
    return proposal


def test_a_token_of_three_sites_is_proposed_as_the_word_that_explains_their_names() -> None:
    proposal = only(table("胸部特摄CT", "CT|胸部|-|plain|-", "imaging"))
    assert (proposal.token, proposal.slot, proposal.value) == ("特摄", "method", "plain")
    assert proposal.sites == tuple(sorted(SITES))


def test_a_token_of_two_sites_is_not_proposed() -> None:
    assert proposals(CATALOGUE, table("胸部特摄CT", "CT|胸部|-|plain|-", "imaging", SITES[:2])) == []


def test_a_token_that_sites_read_differently_is_not_proposed() -> None:
    plain = table("胸部特摄CT", "CT|胸部|-|plain|-", "imaging", SITES[:2])
    other = table("胸部特摄CT", "CT|胸部|-|contrast|-", "imaging", SITES[2:])
    both = SiteTable(active={**plain.active, **other.active})
    assert proposals(CATALOGUE, both) == []


def test_a_token_without_which_a_name_says_it_all_is_proposed_as_saying_nothing() -> None:
    assert only(table("特约白蛋白测定", "ALB|S|QN|-", "lab")).slot == "noise"


def test_a_proposal_is_the_row_of_its_table_with_the_token_added() -> None:
    proposal = only(table("XYZALB", "ALB|S|QN|-", "lab"))
    assert (proposal.file, proposal.slot, proposal.value) == ("analytes.csv", "analyte", "ALB")
    lines = (resources.files("mapping") / "data" / proposal.file).read_text(encoding="utf-8").splitlines()
    assert proposal.replaces in lines
    heading = next(csv.reader(lines))
    before, after = (
        dict(zip(heading, next(csv.reader([line])), strict=True))
        for line in (proposal.replaces, proposal.row)
    )
    assert after == before | {"short": "XYZALB"}


def test_a_replay_counts_what_it_tried_and_finds_nothing_changed() -> None:
    held = table("胸部特摄CT", "CT|胸部|-|plain|-", "imaging")
    dev = [LocalName(name="胸部CT平扫", kind="imaging")]
    pairs = [(LocalName(name="胸部CT平扫", kind="imaging"), LocalName(name="胸部CT增强", kind="imaging"))]
    replay = replay_proposal(CATALOGUE, held, only(held), dev, pairs)
    assert (replay.names, replay.pairs, replay.confirmed) == (1, 1, 3)
    assert replay.admissible


def test_a_replay_names_every_answer_that_would_change() -> None:
    held = table("胸部特摄CT", "CT|胸部|-|plain|-", "imaging")
    odd = LocalName(name="腹部特摄CT", kind="imaging")
    contrary = table("颅脑特摄CT", "CT|颅脑|-|contrast|-", "imaging", SITES[:1])
    both = SiteTable(active={**held.active, **contrary.active})
    pairs = [(LocalName(name="胸部特摄CT", kind="imaging"), LocalName(name="胸部CT平扫", kind="imaging"))]
    replay = replay_proposal(CATALOGUE, both, only(held), [odd], pairs)
    assert [change.what for change in replay.changed] == ["dev", "pair", "confirmed"]
    assert not replay.admissible


def test_candidates_are_items_of_the_kind_by_likeness() -> None:
    ranked = Ranking(CATALOGUE).nearest("特约白蛋白", "lab")
    assert ranked[0].item.code == "1100104A"
    assert {one.item.kind for one in ranked} == {"lab"}
    assert [one.likeness for one in ranked] == sorted((one.likeness for one in ranked), reverse=True)


def test_a_name_that_shares_nothing_with_any_item_has_no_candidates() -> None:
    assert Ranking(CATALOGUE).nearest("\U0001f600") == []
