"""What callers ask about marks: their state, the proof that the ledger has them, withdrawing one, and which
checks of an institution a withdrawal concerns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from gateway.access.clients import Client
from gateway.body import holds_number
from gateway.errors import BadRequest, EvidenceUnavailable, NotFound, NotPermitted
from gateway.marks.index import INDEX, MarkedResult
from gateway.marks.withdrawing import SETTLED, Told, Withdrawal
from gateway.model import LedgerRef, MarkStatusOut, NoticeOut, NoticesOut, WithdrawalIn, WithdrawalOut
from gateway.settings import Role
from gateway.wiring import Gateway
from gateway.witness.witnessing import newest_cosigned
from security import note
from security.errors import MarkRefused
from security.mark import Mark, verify_signature
from security.mark import read as read_mark
from security.note import Checkpoint
from security.status import REASONS
from security.tlog_proof import Proof

READERS: tuple[Role, ...] = ("his", "auditor", "steward")
_ID = re.compile(r"[0-9a-f]{32}")


class Marks:
    """Answers about the marks of this gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def mark(self, mark_id: str) -> Mark:
        """A mark that this gateway issued.

        Raises:
            NotFound: it issued none of this id.
        """
        if _ID.fullmatch(mark_id) and (kept := await self._gateway.store.document("mark", mark_id)):
            try:
                return read_mark(kept.body)
            except MarkRefused:  # not written by this gateway
                pass
        raise NotFound(
            "no mark of this id was issued here; ask the gateway that its issuer names", field="id"
        )

    async def status(self, mark_id: str, now: datetime) -> MarkStatusOut:
        """Whether a mark counts at ``now``. Raises NotFound."""
        mark = await self.mark(mark_id)
        claims = mark.claims
        await self._gateway.withdrawals.refresh()
        out = MarkStatusOut(
            mark=mark_id,
            issuer=claims.issuer,
            status="valid" if now < claims.expires else "expired",
            issued=claims.issued,
            expires=claims.expires,
        )
        if withdrawal := self._gateway.withdrawals.of_mark(mark_id):
            _, zh, en = REASONS[withdrawal.reason]
            return msgspec.structs.replace(
                out, status="withdrawn", reason=withdrawal.reason, at=withdrawal.at, zh=zh, en=en
            )
        try:
            verify_signature(mark.data, trust=self._gateway.trust.list)
        except MarkRefused:
            zh, en = "签发密钥已失效", "the key that signed it no longer counts"
            return msgspec.structs.replace(out, status="invalid", zh=zh, en=en)
        return out

    async def proof(self, mark_id: str, client: Client) -> str:
        """The proof that the ledger holds a mark (:mod:`security.tlog_proof`).

        It is under the newest checkpoint that other gateways cosigned, where that reaches the mark's entry,
        else under the newest one.

        Raises:
            NotPermitted: the client neither reads results nor audits.
            NotFound: no such mark, or what opens its entry was erased.
            EvidenceUnavailable: no checkpoint over its entry is signed yet.
        """
        client.require(*READERS)
        store, claims = self._gateway.store, (await self.mark(mark_id)).claims
        place = f"d|{claims.digest.hex()}|{claims.item}|{mark_id}"
        indexed = await store.document(INDEX, place)
        entry_id = msgspec.json.decode(indexed.body, type=MarkedResult).entry if indexed else ""
        index, secret = await store.index_of(entry_id), await store.secret(entry_id)
        if index is None or secret is None:
            raise NotFound("what opens the ledger entry of this mark is no longer kept", field="id")
        notes = (await newest_cosigned(store), await store.note())
        checkpoint = next((note_ for note_ in notes if note_ is not None and _size(note_) > index), None)
        if checkpoint is None:
            raise EvidenceUnavailable("no checkpoint over this entry is signed yet; try again")
        (entry,) = await store.entries(index, 1)
        hashes = await self._gateway.sequencer.inclusion(index, _size(checkpoint))
        return Proof(
            index=index, hashes=tuple(hashes), checkpoint=checkpoint, entry=entry, salt=secret.salt
        ).to_text()

    async def withdraw(self, mark_id: str, asked: WithdrawalIn, client: Client) -> WithdrawalOut:
        """Withdraw a mark, with all marks of the same result and item; a repeated call changes nothing.

        Raises:
            NotFound: no such mark.
            NotPermitted: the client is neither a steward nor of the institution that examined.
            BadRequest: the words are missing or hold a number.
            EvidenceUnavailable: it could not be written down.
        """
        client.require("his", "steward")
        claims = (await self.mark(mark_id)).claims
        if client.institution != claims.institution and ("steward" not in client.roles or client.institution):
            raise NotPermitted(
                f"client {client.id} may withdraw marks of its own institution only; ask a steward"
            )
        refuse_odd_words(asked)
        withdrawals, now = self._gateway.withdrawals, datetime.now(UTC)
        for new in await withdrawals.withdraw(
            [claims], asked.reason, by=client.id, now=now, text=asked.text.strip()
        ):
            self._gateway.metrics.withdrawals.labels(new.reason).inc()
            self._gateway.log("mark_withdrawn", mark=new.mark, by=new.by, reason=new.reason)
        held = withdrawals.of_mark(mark_id)
        if held is None:  # laid into the store: its issuer is another gateway
            raise NotFound("this mark was not issued here", field="id")
        return await self._out(held)

    async def notices(self, since: int, client: Client) -> NoticesOut:
        """The withdrawals after a number that concern checks of the client's institution; all for an auditor.

        ``next`` stays behind what was withdrawn within the last minute: a check that could not know of it yet
        may still be being written, so those come again.

        Raises:
            NotPermitted: the client reads no results of any institution.
        """
        client.require("his", "auditor")
        if not (client.institution or "auditor" in client.roles):
            raise NotPermitted(f"client {client.id} speaks for no institution")
        withdrawals = self._gateway.withdrawals
        await withdrawals.refresh()
        page = withdrawals.after(since)
        found = [
            _notice(told, check, one.result, one.item)
            for told in page
            for check, one in await withdrawals.recognised(told.withdrawal.mark)
            if one.issuer == told.withdrawal.issuer
            and ("auditor" in client.roles or one.institution == client.institution)
        ]
        return NoticesOut(withdrawals=tuple(found), next=_settled(page, since, datetime.now(UTC)))

    async def _out(self, held: Withdrawal) -> WithdrawalOut:
        index = await self._gateway.store.index_of(held.entry)
        _, zh, en = REASONS[held.reason]
        return WithdrawalOut(
            mark=held.mark,
            reason=held.reason,
            at=held.at,
            zh=zh,
            en=en,
            ledger=LedgerRef(self._gateway.origin, held.entry, -1 if index is None else index),
        )


def refuse_odd_words(asked: WithdrawalIn) -> None:
    """The words of a withdrawal say why, and name no person. Raises BadRequest."""
    if asked.reason == "other" and not asked.text.strip():
        raise BadRequest("must say why, where the reason is 'other'", field="text")
    if holds_number(asked.text):
        raise BadRequest("must say why in words, without numbers of persons", field="text")


def _notice(told: Told, check: str, result: str, item: str) -> NoticeOut:
    one = told.withdrawal
    _, zh, en = REASONS[one.reason]
    return NoticeOut(
        number=told.number,
        mark=one.mark,
        issuer=one.issuer,
        reason=one.reason,
        at=one.at,
        check=check,
        result=result,
        item=item,
        zh=zh,
        en=en,
    )


def _settled(page: Sequence[Told], since: int, now: datetime) -> int:
    """The last number of the page before the first that is not settled."""
    number = since
    for told in page:
        if told.at > now - SETTLED:
            break
        number = told.number
    return number


def _size(checkpoint: str) -> int:
    return Checkpoint.from_text(note.split(checkpoint)[0]).size
