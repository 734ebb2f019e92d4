"""Pages of searches: kept sealed, for a while, for one client."""

from __future__ import annotations

import asyncio

import pytest

from adapters import LocalShared
from gateway.errors import Gone
from gateway.pages import KEPT_S, Paged, Pages
from gateway.resources.searchset import Row, Searchset
from security.envelope import Envelope
from security.pseudonym import Pseudonyms

ROWS = tuple(Row(f"nodes/one/Observation/o{n}", b'{"resourceType":"Observation"}') for n in range(3))
FOUND = Searchset(address="Observation", count=2, total=3, rows=ROWS, outcome=b"[]")
PAGED = Paged(client="his", type="Observation", found=FOUND, person=Pseudonyms("p", ("q",)), question="e")


class Kept:
    """Pages over a cache whose clock is turned by hand."""

    def __init__(self, key: bytes = bytes(32)) -> None:
        self.now = 0.0
        self.shared = LocalShared(clock=lambda: self.now)
        self.pages = Pages(self.shared, lambda: Envelope({"k": key}, "k"))

    def keep(self, paged: Paged = PAGED) -> str:
        return asyncio.run(self.pages.keep(paged))

    def open(self, page: str, client: str = "his") -> tuple[Paged, int]:
        return asyncio.run(self.pages.open(page, client))


def test_what_was_found_is_the_same_on_every_page() -> None:
    kept = Kept()
    name = kept.keep()
    assert kept.open(f"{name}.0") == (PAGED, 0)
    assert kept.open(f"{name}.2") == (PAGED, 2)


def test_what_has_one_page_is_not_kept() -> None:
    one = Paged(client="his", type="Observation", found=Searchset(address="", count=3, total=3, rows=ROWS))
    assert Kept().keep(one) == ""


def test_it_lies_sealed() -> None:
    kept = Kept()
    name = kept.keep()
    stored = asyncio.run(kept.shared.get(f"page|{name}"))
    assert stored is not None
    assert b"Observation" not in stored


@pytest.mark.parametrize("page", ["{}.3", "{}", "{}.", "{}.-1", "{}.1.0", "{}.９", "x.0", ""])
def test_what_is_no_page_is_gone(page: str) -> None:
    kept = Kept()
    with pytest.raises(Gone):
        kept.open(page.format(kept.keep()))


def test_another_client_is_told_nothing() -> None:
    kept = Kept()
    with pytest.raises(Gone):
        kept.open(f"{kept.keep()}.0", "other")


def test_it_is_forgotten_after_a_while() -> None:
    kept = Kept()
    name = kept.keep()
    kept.now = KEPT_S + 1
    with pytest.raises(Gone):
        kept.open(f"{name}.0")


def test_what_another_put_there_is_gone() -> None:
    kept, forged = Kept(), Kept(bytes([1]) * 32)
    name = kept.keep()
    other = asyncio.run(forged.shared.get(f"page|{forged.keep()}"))
    assert other is not None
    asyncio.run(kept.shared.set(f"page|{name}", other, KEPT_S))
    with pytest.raises(Gone):
        kept.open(f"{name}.0")
