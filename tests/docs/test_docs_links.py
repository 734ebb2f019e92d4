"""Links lead somewhere, and the pages keep to the plain words of the house."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, anchors, links, name_of

ADVERTISING = (
    *("seamless", "effortless", "powerful", "blazing", "cutting-edge", "revolution", "world-class", "robust"),
    *("state-of-the-art", "next-generation", "best-in-class", "game-chang", "leverag", "enterprise-grade"),
)
UNFINISHED = ("to do:", "tbd", "fix me", "lorem ipsum", "coming soon")
MACHINE = re.compile(r"(?<![\w.$}])/(?:home|root|tmp|opt|srv)/")
NAMES_OF_PEOPLE = re.compile(r"\b[1-8]\d{16}[\dXx]\b")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_of_a_page_leads_somewhere(page: Path) -> None:
    for path, anchor in links(page):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_neither_advertises_nor_promises(page: Path) -> None:
    text = page.read_text(encoding="utf-8").lower()
    assert [word for word in (*ADVERTISING, *UNFINISHED) if word in text] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_names_no_machine_and_no_person(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not MACHINE.search(text)
    assert not NAMES_OF_PEOPLE.search(text)


def test_every_page_is_reached_from_the_readme() -> None:
    reached = {(ROOT / path).resolve() for path, _ in links(ROOT / "README.md")}
    assert [name_of(page) for page in PAGES if page != ROOT / "README.md" and page not in reached] == []


def test_the_readme_fits_on_two_screens() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 120
