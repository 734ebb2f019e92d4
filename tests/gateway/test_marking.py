"""Marks that were issued before are used again, and only where they are about the same."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from adapters import LocalCache, StoreUnavailable
from adapters.sequencer import Sequencer
from adapters.sqlite import SqliteStore
from catalog import Catalogue
from gateway.errors import EvidenceUnavailable
from gateway.marks.marking import Marker
from gateway.marks.withdrawing import Withdrawals
from gateway.signing import Signing
from recognition import Result
from security.errors import KeyStoreError
from security.keys import KeyPair, Signer
from security.ledger import Sealed, seal
from security.mark import Claims, issue
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


def marker_over(store: SqliteStore, cache: LocalCache, key: Signer = KEY, trust: TrustList = TRUST) -> Marker:
    sequencer = Sequencer(store, [], "cq.lianren.example/exchange")
    signing = Signing([key], seconds=0.2)
    return Marker(
        "cq",
        "http://127.0.0.1/trust/status",
        signing,
        store,
        cache,
        trust=lambda: trust,
        withdrawals=Withdrawals("cq", sequencer, signing),
        withdrawn=lambda claims: "",
    )


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
        marker = marker_over(store, cache)
        new = await marker.sign(ct(), catalogue(), datetime.now(UTC), record)
        assert new.issued
        await cache.set(f"mark|{new.issued.documents[0].key}", new.issued.documents[0].body, 60)
        assert await signed(marker, ct()) == (new.issued.documents[0].id, "CHUANYU", False)
        await store.close()

    asyncio.run(run())


def test_a_mark_of_another_range_laid_into_the_cache_is_not_used(tmp_path: Path) -> None:
    async def run() -> None:
        store, cache = SqliteStore(tmp_path / "store"), LocalCache()
        await store.open()
        marker = marker_over(store, cache)
        wide = await marker.sign(ct(), catalogue(), datetime.now(UTC), record)
        local = await marker.sign(ct(printed_mark="重庆HR"), catalogue(), datetime.now(UTC), record)
        assert wide.issued
        assert local.issued
        await cache.set(f"mark|{local.issued.documents[0].key}", wide.issued.documents[0].body, 60)
        assert (await signed(marker, ct(printed_mark="重庆HR")))[1:] == ("500000", True)
        await store.close()

    asyncio.run(run())


async def issued(marker: Marker, held: Catalogue) -> tuple[str, str]:
    """The edition that a new mark names, and the key under which it is found again."""
    marked = await marker.sign(ct(), held, NOW, record)
    assert marked.issued
    return read_mark(marked.issued.documents[0].body).claims.catalogue, marked.issued.documents[0].key


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
        marker = marker_over(store, LocalCache())
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


def test_a_mark_whose_key_was_lost_is_issued_once_more_and_then_used_again(tmp_path: Path) -> None:
    async def run() -> None:
        store = SqliteStore(tmp_path / "store")
        await store.open()
        first = await marker_over(store, LocalCache()).sign(ct(), catalogue(), datetime.now(UTC), record)
        assert first.issued
        await store.commit([first.issued.entry], first.issued.documents)
        lost = msgspec.structs.replace(KEY.public, status="compromised")
        key = KeyPair.generate("Ed25519", "cq", "mark", NOW, letter="b")
        trust = TrustList(
            [],
            [KeyList(owner="cq", version=2, issued=NOW, expires=lost.not_after, keys=(lost, key.public))],
        )
        marker = marker_over(store, LocalCache(), key, trust)
        second = await marker.sign(ct(), catalogue(), datetime.now(UTC), record)
        assert second.issued
        await store.commit([second.issued.entry], second.issued.documents)
        assert await signed(marker, ct()) == (second.issued.documents[0].id, "CHUANYU", False)
        await store.close()

    asyncio.run(run())


def test_what_was_superseded_or_retracted_gets_no_mark(tmp_path: Path) -> None:
    async def run() -> None:
        store = SqliteStore(tmp_path / "store")
        await store.open()
        marker = marker_over(store, LocalCache())
        older = await marker.sign(ct(), catalogue(), datetime.now(UTC), record, superseded=True)
        gone = await marker.sign(ct(status="entered-in-error"), catalogue(), datetime.now(UTC), record)
        for marked in (older, gone):
            assert marked.issued is None
            assert marked.result.mark is not None
            assert marked.result.mark.state == "unsigned"
        await store.close()

    asyncio.run(run())


def test_a_mark_says_where_its_status_list_is(tmp_path: Path) -> None:
    async def run() -> None:
        store = SqliteStore(tmp_path / "store")
        await store.open()
        new = await marker_over(store, LocalCache()).sign(ct(), catalogue(), datetime.now(UTC), record)
        assert new.issued
        claims = read_mark(new.issued.documents[0].body).claims
        assert claims.status == "http://127.0.0.1/trust/status"
        await store.close()

    asyncio.run(run())


def test_a_result_dated_ahead_gets_no_mark_and_stops_no_answer(tmp_path: Path) -> None:
    async def run() -> None:
        store = SqliteStore(tmp_path / "store")
        await store.open()
        now = datetime.now(UTC)
        ahead = ct(performed=now + timedelta(minutes=2), reported=now + timedelta(minutes=3))
        marked = await marker_over(store, LocalCache()).sign(ahead, catalogue(), now, record)
        assert marked.issued is None
        assert marked.result.mark is not None
        assert marked.result.mark.state == "unsigned"
        await store.close()

    asyncio.run(run())


def test_a_mark_that_names_no_status_list_is_not_used_again(tmp_path: Path) -> None:
    """As version 0.2.0 issued them: nobody could look up whether they are withdrawn."""

    async def run() -> None:
        store = SqliteStore(tmp_path / "store")
        await store.open()
        marker = marker_over(store, LocalCache())
        first = await marker.sign(ct(), catalogue(), datetime.now(UTC), record)
        assert first.issued
        document = first.issued.documents[0]
        bare = issue(replace(read_mark(document.body).claims, status=""), KEY)
        await store.commit([first.issued.entry], [replace(document, body=bare)])
        second = await marker.sign(ct(), catalogue(), datetime.now(UTC), record)
        assert second.issued
        await store.commit([second.issued.entry], second.issued.documents)
        assert await signed(marker, ct()) == (second.issued.documents[0].id, "CHUANYU", False)
        await store.close()

    asyncio.run(run())


class Hanging:
    """A signer whose crypto machine takes its time."""

    public, kid, algorithm = KEY.public, KEY.kid, KEY.algorithm

    def sign(self, message: bytes) -> bytes:
        time.sleep(0.6)
        return KEY.sign(message)


def test_a_machine_that_takes_its_time_holds_nothing_else_up(tmp_path: Path) -> None:
    async def run() -> None:
        store = SqliteStore(tmp_path / "store")
        await store.open()
        marker = marker_over(store, LocalCache(), Hanging())
        signing = asyncio.create_task(marker.sign(ct(), catalogue(), datetime.now(UTC), record))
        began = time.monotonic()
        await asyncio.sleep(0.01)
        assert time.monotonic() - began < 0.15
        with pytest.raises(EvidenceUnavailable):
            await signing
        await store.close()

    asyncio.run(run())


class Silent:
    """A signer whose crypto machine does not answer."""

    public, kid, algorithm = KEY.public, KEY.kid, KEY.algorithm

    def sign(self, message: bytes) -> bytes:
        raise KeyStoreError("the device does not answer")


def test_without_a_key_that_signs_there_is_no_answer(tmp_path: Path) -> None:
    async def run() -> None:
        store = SqliteStore(tmp_path / "store")
        await store.open()
        marker = marker_over(store, LocalCache(), Silent())
        with pytest.raises(EvidenceUnavailable):
            await marker.sign(ct(), catalogue(), datetime.now(UTC), record)
        await store.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    "changed", ["nothing", "trust", "year", "catalogue", "result", "superseded", "forgotten"]
)
def test_a_mark_that_was_verified_is_remembered_while_nothing_has_changed(
    tmp_path: Path, changed: str
) -> None:
    async def run() -> str:
        store, cache, now, held = (
            SqliteStore(tmp_path / "store"),
            LocalCache(),
            datetime.now(UTC),
            catalogue(),
        )
        await store.open()
        sequencer, signing, lists = (
            Sequencer(store, [], "cq.lianren.example/exchange"),
            Signing([KEY]),
            [TRUST],
        )
        marker = Marker(
            "cq",
            "http://127.0.0.1/trust/status",
            signing,
            store,
            cache,
            trust=lambda: lists[-1],
            withdrawals=Withdrawals("cq", sequencer, signing),
            withdrawn=lambda claims: "",
        )
        (new,) = await marker.sign_all([ct()], held, now, record)
        assert new.issued
        await store.commit([new.issued.entry], new.issued.documents)
        kept = ct()  # the node's answer, which the broker keeps for a while
        (found,) = await marker.sign_all([kept], held, now, record)
        assert (found.result.mark, found.issued) == (new.result.mark, None)
        await cache.close()
        await store.close()  # from here on only what is remembered can be had
        asked = [ct(value="2")] if changed == "result" else [ct()]
        if changed == "trust":
            lists.append(TrustList([], [TRUST.lists["cq"]]))
        if changed == "catalogue":
            held = with_version(held, "none", "none")
        if changed == "superseded":
            asked.append(ct(id="later", status="corrected"))
        if changed == "year":
            now += timedelta(days=365)
        if changed == "forgotten":
            del kept
        try:
            again = await marker.sign_all(asked, held, now, record)
        except StoreUnavailable:
            return "looked up"
        return "remembered" if again == [found] else "other"

    assert asyncio.run(run()) == ("remembered" if changed == "nothing" else "looked up")
