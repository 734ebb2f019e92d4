"""Marks that were issued before are used again, and only where they are about the same."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from adapters import LocalCache
from adapters.sqlite import SqliteStore
from catalog import Catalogue
from gateway.marking import Marker
from recognition import Result
from security.keys import KeyPair
from security.ledger import Sealed, seal
from security.mark import Claims
from security.mark import read as read_mark
from security.trust import KeyList, TrustList
from tests.recognition.cases import catalogue, ct

NOW = datetime.now(UTC).replace(microsecond=0)
KEY = KeyPair.generate("Ed25519", "cq", "mark", NOW)
TRUST = TrustList(
    [], [KeyList(owner="cq", version=1, issued=NOW, expires=KEY.public.not_after, keys=(KEY.public,))]
)


def record(data: bytes, claims: Claims, scheme: str) -> Sealed:
    return seal("mark", data, time=NOW, from_="cq", to="cq", mark=claims.mark_id.hex(), hash_name="sha256")


async def signed(marker: Marker, result: Result) -> tuple[str, str, bool]:
    """What came out: mark id, scope, whether it is new."""
    marked = await marker.sign(result, catalogue(), datetime.now(UTC), record)
    mark = marked.result.mark
    assert mark is not None
    return mark.id, mark.scope or "", marked.issued is not None


def test_a_mark_in_the_cache_is_used_again(tmp_path: Path) -> None:
    async def run() -> None:
        store, cache = SqliteStore(tmp_path / "store"), LocalCache()
        await store.open()
        marker = Marker("cq", KEY, store, cache, lambda: TRUST)
        new = await marker.sign(ct(), catalogue(), datetime.now(UTC), record)
        assert new.issued
        await cache.set(f"mark|{new.issued.document.key}", new.issued.document.body, 60)
        assert await signed(marker, ct()) == (new.issued.document.id, "CHUANYU", False)
        await store.close()

    asyncio.run(run())


def test_a_mark_of_another_range_laid_into_the_cache_is_not_used(tmp_path: Path) -> None:
    async def run() -> None:
        store, cache = SqliteStore(tmp_path / "store"), LocalCache()
        await store.open()
        marker = Marker("cq", KEY, store, cache, lambda: TRUST)
        wide = await marker.sign(ct(), catalogue(), datetime.now(UTC), record)
        local = await marker.sign(ct(printed_mark="重庆HR"), catalogue(), datetime.now(UTC), record)
        assert wide.issued
        assert local.issued
        await cache.set(f"mark|{local.issued.document.key}", wide.issued.document.body, 60)
        assert (await signed(marker, ct(printed_mark="重庆HR")))[1:] == ("500000", True)
        await store.close()

    asyncio.run(run())


async def issued(marker: Marker, held: Catalogue) -> tuple[str, str]:
    """The edition that a new mark names, and the key under which it is found again."""
    marked = await marker.sign(ct(), held, NOW, record)
    assert marked.issued
    return read_mark(marked.issued.document.body).claims.catalogue, marked.issued.document.key


def with_version(held: Catalogue, edition_id: str, version: str) -> Catalogue:
    editions = tuple(
        msgspec.structs.replace(edition, version=version) if edition.id == edition_id else edition
        for edition in held.editions
    )
    return msgspec.structs.replace(held, editions=editions)


def test_a_mark_names_the_edition_of_its_items_list_and_stays_when_another_changes(tmp_path: Path) -> None:
    async def run() -> None:
        store, held = SqliteStore(tmp_path / "store"), catalogue()
        await store.open()
        marker = Marker("cq", KEY, store, LocalCache(), lambda: TRUST)
        item = held.items[ct().reading.item or ""]
        edition = held.edition_of(item)
        assert edition
        before = await issued(marker, held)
        assert before[0] == f"{edition.id}@{edition.version}"
        others = {other.id for other in held.editions} - {edition.id} or {"none"}
        assert await issued(marker, with_version(held, others.pop(), "9999.1")) == before
        assert await issued(marker, with_version(held, edition.id, "9999.1")) != before
        await store.close()

    asyncio.run(run())
