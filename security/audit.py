"""Offline audit of an exported ledger: no server, no database, no trust but in the pinned keys.

`verify_export` makes six checks on the folder that `export` describes, in this order:

1. NOTE: the checkpoint is signed by the log itself, and it or the cosigned one beside it by enough of the
   pinned names; every key that signed counted then.
2. REPLAY: replaying every entry gives the checkpoint's root, every entry is well formed, and every tile
   equals the replay.
3. CONSISTENCY: the tree begins with that of the cosigned checkpoint, and with that of the auditor's earlier
   one, where there are such.
4. MARKS: each mark is validly signed by a key that counted when it was issued, and its entry stands in the
   tree, entered when it was issued; each mark entry has its mark, or the export declares why not.
   Withdrawals are counted: what was withdrawn later was rightly given before.
5. PAYLOADS: each disclosed payload opens its entry's commitment; each entry has its payload, or the export
   declares why not; the own key list is the newest in the ledger, and what other gateways signed they signed.
6. BINDINGS: each `binds` names an earlier entry; answers, verdicts and outcomes follow their question, no
   entry stands there twice.

A failed check names the first broken record. A check is not made where there is nothing to make it on: no
earlier checkpoint for 3, no disclosed payloads for 5, and for 3 to 6, which go beside the replay, no
successful replay. The replay of an unsigned checkpoint is made all the same: it says more about what
happened. What is declared absent is the exporter's word: it tells what was cut from an export from what the
exporter says is erased, and cannot tell whether that was hidden.

The ledger is read once, a bundle of 256 entries at a time, and checks 4 to 6 look at each as it passes.
Memory does not grow with the ledger; check 6 keeps about 90 bytes an entry in a temporary folder.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

from msgspec import Struct

from security import export, note
from security._answers import Crossing
from security._bindings import Bindings
from security._disclosed import Cross, Marks, Payloads
from security._findings import Broken, NotMade
from security._signers import Pinned, check_signers, owner_of, signed_sentence, verifiers_of, vouched
from security.errors import Check, LedgerRefused, TrustError
from security.ledger import read_entry
from security.note import Checkpoint
from security.replay import Replay
from security.trust import TrustList

__all__ = ["AuditReport", "CheckResult", "Pinned", "Progress", "run", "verify_export"]

State = Literal["passed", "failed", "not_made"]
Progress = Callable[[int, int], None]
"""Called as the entries pass: how many, of how many."""


class CheckResult(Struct, frozen=True, kw_only=True):
    """One check: its outcome, how many records it examined, and a sentence in Chinese and English."""

    number: int
    name: str
    state: State
    examined: int
    zh: str
    en: str

    @property
    def passed(self) -> bool:
        """Whether the check was made and found nothing wrong."""
        return self.state == "passed"


class AuditReport(Struct, frozen=True, kw_only=True):
    """The six checks in their order; `origin` and `size` are what the checkpoint says, signed or not."""

    origin: str
    size: int
    checks: tuple[CheckResult, ...]

    @property
    def passed(self) -> bool:
        """Whether no check failed, and the note and the replay were checked."""
        made = {check.name for check in self.checks if check.passed}
        return {Check.NOTE.name, Check.REPLAY.name} <= made and all(
            check.state != "failed" for check in self.checks
        )


def verify_export(
    folder: Path,
    pinned: Pinned,
    previous_note: str | None = None,
    *,
    other: Path | None = None,
    newer: Sequence[bytes] = (),
    progress: Progress = lambda done, of: None,
) -> AuditReport:
    """Make the six checks. `previous_note` is the checkpoint that the auditor kept from the last audit.

    `newer` are signed key lists from elsewhere, which tell what keys were called compromised since.
    `other` is the export of another gateway: it is verified too, and check 6 then also finds what one logged
    as received and the other did not log as sent.

    Bad material never raises: it is a failed check. Raises OSError when the temporary folder is full.
    """
    with tempfile.TemporaryDirectory(prefix="lianren-audit-") as scratch:
        audit = _Audit(folder, pinned, previous_note, Path(scratch), progress, newer)
        audit.other = other
        return audit.report()


class Examining(Protocol):
    """What makes checks, and counts how many records the running one has examined."""

    examined: int


def run(audit: Examining, steps: Sequence[Callable[[], tuple[str, str]]]) -> tuple[CheckResult, ...]:
    """Make the six checks in their order; each step returns its sentence in Chinese and English."""
    results = []
    for check, step in zip(Check, steps, strict=True):
        audit.examined = 0
        state: State = "passed"
        try:
            zh, en = step()
        except Broken as broken:
            state, zh, en = "failed", f"{broken.record}：{broken.zh}", f"{broken.record}: {broken.en}"
        except NotMade as not_made:
            state, zh, en = "not_made", not_made.zh, not_made.en
        results.append(
            CheckResult(
                number=check.value, name=check.name, state=state, examined=audit.examined, zh=zh, en=en
            )
        )
    return tuple(results)


class _Audit:
    """What one run has read so far; each public method is a check and returns its sentence."""

    def __init__(
        self,
        folder: Path,
        pinned: Pinned,
        previous_note: str | None,
        scratch: Path,
        progress: Progress,
        newer: Sequence[bytes],
    ) -> None:
        self.folder = folder
        self.pinned = pinned
        self.previous_note = previous_note
        self.scratch = scratch
        self.progress = progress
        self.newer = newer
        self.examined = 0
        self.head: Checkpoint | None = None
        self.previous: Checkpoint | Broken | None = None
        self.trust, self.refused = TrustList(pinned.every_root()), ""
        self.owner = ""
        self.cosigned: Checkpoint | None = None
        self.newest: datetime | None = None
        self.replayed: Replay | None = None
        self.malformed: Broken | None = None
        self.beside: dict[Check, Marks | Payloads | Broken] = {}
        self.bound: Bindings | None = None
        self.other: Path | None = None
        self.cross: Cross | None = None
        self.crossing: Crossing | None = None
        self.beyond: _Audit | None = None

    def report(self) -> AuditReport:
        """All checks in their order."""
        steps = (self.note, self.replay, self.consistency, self.marks, self.payloads, self.bindings)
        checks, head = run(self, steps), self.head
        return AuditReport(origin=head.origin if head else "", size=head.size if head else 0, checks=checks)

    def note(self) -> tuple[str, str]:
        self.examined = 1
        try:
            signed = export.read_file(self.folder, export.CHECKPOINT, Check.NOTE)
            self.head = Checkpoint.from_text(note.split(signed)[0])
            lists: list[bytes] = []
            with suppress(TrustError):  # without key lists the pinned keys have to do; check 4 says why
                lists = export.read_key_lists(self.folder)
            self.trust, self.refused = vouched(lists, self.trust.roots, self.newer)
            verifiers = verifiers_of(self.pinned, self.trust)
            verified = note.verify_checkpoint(signed, verifiers)
            self.newest = self._newest(self.head, self.head)
            self.owner = owner_of(verified, verifiers)
            check_signers(verified, verifiers, self.trust, self.newest or datetime.now(UTC))
            beside = export.read_file(self.folder, export.COSIGNED, Check.NOTE, may_be_absent=True)
            quorum = note.verify_checkpoint(beside or signed, verifiers, self.pinned.required)
            newest = self._newest(quorum.checkpoint, self.head) or self.newest
            check_signers(quorum, verifiers, self.trust, newest or datetime.now(UTC))
            if quorum.checkpoint.origin != self.head.origin:
                raise LedgerRefused(Check.NOTE, f"the cosigned one is of {quorum.checkpoint.origin}")
            self.cosigned = quorum.checkpoint if beside else None
        except TrustError as wrong:
            raise Broken("checkpoint", "检查点的签名不成立", str(wrong)) from None
        return signed_sentence(quorum, self.head.size)

    def _newest(self, checkpoint: Checkpoint, head: Checkpoint) -> datetime | None:
        """When the newest entry under a checkpoint says that it was made."""
        return export.time_of(self.folder, checkpoint.size - 1, head.size)

    def replay(self) -> tuple[str, str]:
        if self.head is None:
            raise NotMade("没有可读的检查点，未重放", "not made: no readable checkpoint to replay to")
        self._prepare(self.head)
        sizes = [one.size for one in (self.previous, self.cosigned) if isinstance(one, Checkpoint)]
        run = Replay(self.folder, self.head, sizes)
        try:
            run.run(self._pass)
        finally:
            self.examined = run.examined
        if self.malformed is not None:
            raise self.malformed
        self.replayed = run
        return (
            f"重放 {self.examined} 条，得到检查点的根与各哈希块：无一增删、改动或移位",
            f"replaying {self.examined} entries gives the checkpoint's root: nothing was changed",
        )

    def consistency(self) -> tuple[str, str]:
        without = "未提供上次审计的检查点", "no checkpoint of an earlier audit was given"
        if self.previous is None and self.cosigned is None:
            raise NotMade(f"{without[0]}，未作比较", f"not made: {without[1]}")
        run = self._replayed()
        if self.cosigned is not None:
            self.examined = 1
            _begins(run, self.cosigned, "见证者签过的", "that witnesses cosigned")
        if self.previous is None:
            size = self.cosigned.size if self.cosigned else 0
            return f"前 {size} 条与见证的一致；{without[0]}", f"the first {size} are cosigned; {without[1]}"
        old = self.previous
        self.examined += 1
        if isinstance(old, Broken):
            raise old
        if old.origin != run.head.origin:
            raise Broken("checkpoint", "上次的检查点属于另一账本", f"the earlier one is of {old.origin}")
        _begins(run, old, "上次审计的", "of the last audit")
        return (
            f"前 {old.size} 条与上次审计一致：历史未被改写",
            f"the first {old.size} entries are those of the last audit: history was not rewritten",
        )

    def marks(self) -> tuple[str, str]:
        return self._end(Check.MARKS)

    def payloads(self) -> tuple[str, str]:
        return self._end(Check.PAYLOADS)

    def bindings(self) -> tuple[str, str]:
        self.examined = self._replayed().examined
        if self.bound is not None:
            self.bound.check()
        if self.crossing is not None:
            return self._crossed(self.crossing)
        return (
            f"{self.examined} 条的关联均指向此前的条目：每个答复、判定与处置都属于其提问",
            f"the bindings of {self.examined} entries hold: each answer belongs to its question",
        )

    def _prepare(self, head: Checkpoint) -> None:
        """What goes beside the replay; what cannot be read is broken from the start."""
        if self.previous_note is not None:
            try:
                self.previous = note.verify_checkpoint(
                    self.previous_note, verifiers_of(self.pinned, self.trust)
                ).checkpoint
            except TrustError as wrong:
                self.previous = Broken("checkpoint", "上次的检查点签名不成立", f"the earlier one: {wrong}")
        (self.scratch / "bindings").mkdir()
        self.bound = Bindings(self.scratch / "bindings", head.size)
        try:
            export.read_key_lists(self.folder)
            self.beside[Check.MARKS] = Marks(self.folder, self.trust, self.refused)
        except TrustError as wrong:
            self.beside[Check.MARKS] = _unreadable(Marks.file, wrong)
        try:
            if self.other is not None:
                self._begin_crossing(self.other)
            self.beside[Check.PAYLOADS] = Payloads(self.folder, self.trust, self.owner, self.cross)
        except TrustError as wrong:
            self.beside[Check.PAYLOADS] = _unreadable(Payloads.file, wrong)

    def _begin_crossing(self, folder: Path) -> None:
        """The other export's checkpoint is read first: it says whose it is, and how far it goes."""
        (self.scratch / "other").mkdir()
        (self.scratch / "crossing").mkdir()
        other = _Audit(folder, self.pinned, None, self.scratch / "other", self.progress, self.newer)
        with suppress(Broken):  # said by its own report, when that is made
            other.note()
        newest = datetime.min.replace(tzinfo=UTC)
        self.crossing = crossing = Crossing(
            self.scratch / "crossing",
            (self.owner, other.owner),
            (self.newest or newest, other.newest or newest),
        )
        self.cross, other.cross = partial(crossing.take, 0), partial(crossing.take, 1)
        self.beyond = other

    def _crossed(self, crossing: Crossing) -> tuple[str, str]:
        """The other export is verified as a whole, and what it discloses is joined with this one."""
        report = self.beyond.report() if self.beyond else None
        failed = next((check for check in report.checks if check.state == "failed"), None) if report else None
        if self.beyond is None or failed is not None:
            zh, en = (failed.zh, failed.en) if failed else ("", "")
            raise Broken("other", f"另一导出未通过：{zh}", f"the other export does not pass: {en}")
        if not (self.owner and self.beyond.owner) or self.owner == self.beyond.owner:
            raise Broken(
                "other",
                "须为两个网关的导出，且双方的根密钥均已固定",
                "it takes the exports of two gateways, and pins with the roots of both",
            )
        crossing.check()
        both = f"{self.owner}, {self.beyond.owner}"
        return (
            f"{self.examined} 条的关联均成立；{both} 往来答复 {crossing.examined} 条，双方记录一致",
            f"the bindings of {self.examined} entries hold; {both}: {crossing.examined} answers, both logged",
        )

    def _pass(self, first: int, bodies: Sequence[bytes]) -> None:
        """One bundle, as the replay reads it."""
        if self.malformed is not None or self.bound is None:
            return
        for index, body in enumerate(bodies, start=first):
            try:
                entry = read_entry(body)
            except TrustError as wrong:
                self.malformed = Broken(f"#{index}", "条目格式不符", str(wrong))
                return
            self.bound.take(index, entry)
            for check, records in self.beside.items():
                if not isinstance(records, Broken):
                    try:
                        records.take(index, body, entry)
                    except Broken as broken:
                        self.beside[check] = broken
                    except TrustError as wrong:
                        self.beside[check] = _unreadable(records.file, wrong)
        if self.head is not None:
            self.progress(first + len(bodies), self.head.size)

    def _end(self, check: Check) -> tuple[str, str]:
        run, records = self._replayed(), self.beside[check]
        if isinstance(records, Broken):
            raise records
        self.examined = records.examined
        try:
            return records.end(run.head.size)
        except TrustError as wrong:
            raise _unreadable(records.file, wrong) from None

    def _replayed(self) -> Replay:
        if self.replayed is None:
            raise NotMade("重放未通过，此项未作", "not made, since the replay did not pass")
        return self.replayed


def _begins(run: Replay, old: Checkpoint, zh: str, en: str) -> None:
    """Raise Broken unless the replayed tree begins with that of a checkpoint."""
    if old.size > run.head.size:
        raise Broken(
            "checkpoint",
            f"导出早于{zh}检查点：{run.head.size} 条，检查点为 {old.size} 条",
            f"the export is older than the checkpoint {en}: {run.head.size} entries, not {old.size}",
        )
    if run.roots.get(old.size) != old.root:
        raise Broken(
            "checkpoint",
            f"与{zh}检查点不一致，账本曾被改写",
            f"the first {old.size} entries are not those {en}: the ledger was rewritten",
        )


def _unreadable(file: str, wrong: TrustError) -> Broken:
    return Broken(file, "文件无法读取", str(wrong))
