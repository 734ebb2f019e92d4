"""What gateways said to each other, as each of them logged it.

The asker keeps with each answer of another gateway the signature of that gateway over question and answer
(`http_signature.SignedAnswer`); the answerer logs the digest of the answer that it sent. So an auditor holds
the answerer to the answer by its key, and with both exports finds what one logged as received and the other
did not log as sent.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from msgspec import MsgspecError, Struct, json

from security._findings import Broken
from security._parts import Parts
from security.errors import TrustError
from security.http_signature import SignedAnswer, check_answer
from security.ledger import Entry
from security.tree import HASH_SIZE
from security.trust import TrustList

LAG = timedelta(minutes=6)
"""Between the time of the asker's entry and that of the answerer's: clocks that differ, and the deadline."""


class Answer(Struct, frozen=True):
    """Of the payload of an answer: the node asked, empty where this gateway answers another; the digest of
    its bytes; and the other gateway's signature."""

    node: str = ""
    bytes: str = ""
    signed: SignedAnswer | None = None


def read_answer(index: int, payload: bytes) -> Answer:
    """What an answer's payload says. Raises Broken."""
    try:
        return json.decode(payload, type=Answer)
    except (MsgspecError, UnicodeError, RecursionError) as wrong:
        raise Broken(f"#{index}", "答复内容无法读取", str(wrong)) from None


def hold(index: int, answer: Answer, trust: TrustList) -> bool:
    """Whether another gateway is held to the answer: its signature verifies by a key that counted then.

    False where nobody signed, or no root of the signer is pinned. Raises Broken for a signature that is not
    of this answer.
    """
    signed = answer.signed
    if signed is None or all(root.owner != owner_of(signed) for root in trust.roots):
        return False
    try:
        check_answer(signed, lambda kid, at: trust.key(kid, at, "peer"))
    except TrustError as wrong:
        raise Broken(f"#{index}", "对方网关的签名不成立", str(wrong)) from None
    if signed.answer != answer.bytes:
        raise Broken(
            f"#{index}", "对方网关签的是另一答复", "the other gateway's signature is of another answer"
        )
    return True


def owner_of(signed: SignedAnswer) -> str:
    """Whose key signed: what its id begins with."""
    return signed.kid.partition("-")[0]


class Crossing:
    """What A logged as received B logged as sent, and the other way round; `folder` is for the join.

    The two sides are the exports of two gateways, A first. A side that is behind, because its export ends
    before the other's, is not blamed for what it cannot hold yet, nor one for what it does not disclose.
    """

    def __init__(self, folder: Path, owners: tuple[str, str], newest: tuple[datetime, datetime]) -> None:
        self._parts = Parts(folder, _ANSWERS)
        self._owners = owners
        self._newest = newest
        self._untold = [0, 0]
        self.examined = 0

    def take(self, side: int, index: int, entry: Entry, answer: Answer | None) -> None:
        """The next entry of a side, with what its payload says when it is an answer that is disclosed."""
        if entry.type != "answer":
            return
        other = 1 - side
        if answer is None:
            self._untold[side] += 1
        elif answer.signed is not None and owner_of(answer.signed) == self._owners[other]:
            behind = entry.time + LAG >= self._newest[other]
            self._parts.put(
                _key(answer.signed.answer), index, b"behind%d" % side if behind else b"got%d" % side
            )
        elif not answer.node and answer.bytes:
            self._parts.put(_key(answer.bytes), index, b"sent%d" % side)

    def check(self) -> None:
        """Join. Raises Broken for the first answer that one received and the other did not send."""
        missing: tuple[list[int], list[int]] = ([], [])
        for records in self._parts.read():
            held = list(records)
            sent = {(key, word) for key, _, word in held if word.startswith(b"sent")}
            for key, index, word in held:
                for side in (0, 1):
                    there = (key, b"sent%d" % (1 - side)) in sent
                    if word in (b"got%d" % side, b"behind%d" % side):
                        self.examined += there
                    if word == b"got%d" % side and not there:
                        missing[side].append(index)
        for side in (0, 1):
            asker, answerer = self._owners[side], self._owners[1 - side]
            if len(missing[side]) > self._untold[1 - side]:
                raise Broken(
                    f"{asker} #{min(missing[side])}",
                    f"{asker} 记为收到的答复，{answerer} 未记为发出",
                    f"{asker} logged it as received from {answerer}, which did not log it as sent",
                )


_ANSWERS = 10_000_000  # of two ledgers; only the number of parts follows from it


def _key(digest: str) -> bytes:
    """The digest's bytes; of what is no digest something that equals no other."""
    try:
        key = bytes.fromhex(digest)
    except ValueError:
        key = b""
    return key if len(key) == HASH_SIZE else digest.encode()[:HASH_SIZE].ljust(HASH_SIZE)
