"""The lines of an export beside the entries of its ledger: marks, payloads, and what is declared absent.

All of them are in the order of the ledger, so each file is read once, a line ahead of the entry that passes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Generic, TypeVar

from msgspec import MsgspecError, Struct, json

from security import export, mark
from security._answers import Answer, hold, read_answer
from security._findings import Broken, NotMade
from security._signers import vouched
from security.errors import Check, KeyListRefused, MarkRefused
from security.export import Absence, Disclosure, MarkClaim
from security.ledger import Entry, opens
from security.trust import TrustList, read_key_list

Cross = Callable[[int, Entry, Answer | None], None]
"""Gets each entry of an answer, with what its payload says where that is disclosed."""

Line = TypeVar("Line", MarkClaim, Disclosure, Absence)


class Lines(Generic[Line]):
    """A file of JSON lines, read as the entries pass."""

    def __init__(self, folder: Path, name: str, kind: type[Line], check: Check) -> None:
        self.name = name
        self._lines: Iterator[Line] = export.read_lines(folder, name, kind, check)
        self.next: Line | None = next(self._lines, None)

    def at(self, index: int) -> Line | None:
        """The line of the entry at `index`, once. Raises LedgerRefused."""
        found = self.next
        if found is None or found.index != index:
            return None
        self.next = next(self._lines, None)
        return found

    def end(self, size: int, said: int, found: int) -> None:
        """Raise Broken where lines are left over, or are not as many as the manifest says."""
        if self.next is not None:
            raise Broken(
                f"#{self.next.index}", "账本中没有该条目", f"{self.name}: the ledger has {size} entries"
            )
        if found != said:
            raise Broken(
                self.name, f"有 {found} 条，清单为 {said} 条", f"{found}, but the manifest says {said}"
            )


class Tally:
    """Counts what is there, erased and not selected of what is due in one file, as the entries pass."""

    def __init__(self, folder: Path, check: Check) -> None:
        self._absent = Lines(folder, export.ABSENT, Absence, check)
        self._range: Absence | None = None
        self.due = self.found = self.erased = self.not_selected = 0
        self._gone: list[int] = []

    def why(self, index: int) -> export.Why | None:
        """What the export declares of the entry at `index`. Raises LedgerRefused."""
        while (self._range is None or self._range.last < index) and (
            self._absent.next is not None and self._absent.next.first <= index
        ):
            self._range = self._absent.at(self._absent.next.first)
        held = self._range
        return held.why if held is not None and held.first <= index <= held.last else None

    def count(self, index: int, file: str, *, there: bool) -> None:
        """Count one that is due. Raises Broken where it is neither there nor declared absent, or both."""
        self.due += 1
        why = self.why(index)
        if there and why is not None:
            raise Broken(f"#{index}", "声明为不在，却仍在", f"declared as {why}, but it is here")
        if there:
            self.found += 1
        elif why == "erased":
            self.erased += 1
            if len(self._gone) < 5:
                self._gone.append(index)
        elif why == "not_selected":
            self.not_selected += 1
        else:
            raise Broken(
                f"#{index}",
                f"{file} 缺少此条目，且未声明为已删除或未选",
                f"missing from {file}, and not declared as erased or not selected",
            )

    def told(self) -> tuple[str, str]:
        """The counts in both languages."""
        zh, en = f"{self.due} 条中 {self.found} 条", f"{self.found} of {self.due}"
        reasons_zh, reasons_en = [], []
        if self.erased:
            places = ", ".join(f"#{index}" for index in self._gone)
            places += ", ..." if self.erased > len(self._gone) else ""
            reasons_zh.append(f"已删除 {self.erased} 条：{places}")
            reasons_en.append(f"{self.erased} erased: {places}")
        if self.not_selected:
            reasons_zh.append(f"未选 {self.not_selected} 条")
            reasons_en.append(f"{self.not_selected} not selected")
        if reasons_en:
            return f"{zh}（{'；'.join(reasons_zh)}）", f"{en} ({'; '.join(reasons_en)})"
        return zh, en


class _Announced(Struct, frozen=True, rename={"from_": "from"}):
    """Of the payload of an erasure: in which part of the ledger, the end not included."""

    from_: int
    to: int


_NEVER = sys.maxsize, sys.maxsize


class Payloads:
    """Check 5: each disclosed payload opens its entry's commitment, and each entry has one or is declared.

    The key list of `owner`, whose log it is, that the export brings must be in the ledger, or somebody else
    signed it with the owner's roots; and the ledger must have no newer one, in which a key may have been
    called compromised.
    """

    file = export.SECRETS

    def __init__(self, folder: Path, trust: TrustList, owner: str = "", cross: Cross | None = None) -> None:
        self.examined = 0
        self._trust = trust
        self._folder = folder
        self._announced: list[tuple[int, int]] = []
        self._owner = owner
        brought, _ = vouched(export.read_key_lists(folder), trust.roots)
        self._own = self._unseen = brought.lists.get(owner)  # unseen until its entry has passed
        self._cross = cross
        self._held = 0
        self._manifest = export.read_manifest(folder, Check.PAYLOADS)
        self._secrets = Lines(folder, self.file, Disclosure, Check.PAYLOADS)
        self._tally = Tally(folder, Check.PAYLOADS)
        self._any = self._manifest.disclosed or self._secrets.next is not None

    def take(self, index: int, body: bytes, entry: Entry) -> None:
        """The next entry. Raises Broken, LedgerRefused."""
        if not self._any:
            if self._cross is not None and entry.type == "answer":
                self._cross(index, entry, None)
            return
        disclosed = self._secrets.at(index)
        if disclosed is not None:
            self.examined += 1
            if not opens(body, disclosed.salt, disclosed.payload):
                raise Broken(
                    f"#{index}", "披露的内容与承诺不符", "the disclosed payload is not the committed one"
                )
        self._tally.count(index, self.file, there=disclosed is not None)
        if entry.type == "answer":
            self._answer(index, entry, disclosed)
        if entry.type == "erasure" and disclosed is not None:
            with suppress(MsgspecError, UnicodeError, RecursionError):
                told = json.decode(disclosed.payload, type=_Announced)
                self._announced.append((told.from_, min(told.to, index)))
        if entry.type == "keys":
            self._key_list(index, disclosed)

    def end(self, size: int) -> tuple[str, str]:
        """The sentence of the check. Raises Broken, NotMade."""
        if not self._any:
            raise NotMade("此导出未披露内容，未作核对", "not made: this export discloses no payloads")
        self._secrets.end(size, self._manifest.payloads, self.examined)
        if self._unseen is not None:
            version = self._unseen.version
            raise Broken(
                export.KEYS,
                f"密钥清单第 {version} 版不在账本中",
                f"the ledger does not have version {version} of the key list: who made it?",
            )
        zh, en = self._tally.told()
        if lost := self._lost():
            zh = f"{zh}，其中 {lost} 条无删除记录"
            en = f"{en}, {lost} of them without an erasure entry,"
        zh = f"披露内容 {zh}：与当时的承诺相符"
        en = f"{en} payloads disclosed: they are what was committed to at the time"
        if self._held:
            zh, en = (
                f"{zh}；{self._held} 条答复有对方网关签名",
                f"{en}; {self._held} answers signed by the answerer",
            )
        return zh, en

    def _lost(self) -> int:
        """How many are declared erased where no entry of type erasure announced it."""
        lost, place = 0, 0
        announced = iter(sorted(self._announced))
        first, end = next(announced, _NEVER)
        for absence in export.read_lines(self._folder, export.ABSENT, Absence, Check.PAYLOADS):
            if absence.why != "erased":
                continue
            place = max(place, absence.first)
            while place <= absence.last:
                if place >= end:
                    first, end = next(announced, _NEVER)
                elif place >= first:
                    place = end
                else:
                    lost += min(first, absence.last + 1) - place
                    place = min(first, absence.last + 1)
        return lost

    def _key_list(self, index: int, disclosed: Disclosure | None) -> None:
        """What is not disclosed may be the one."""
        if disclosed is None:
            self._unseen = None
            return
        try:
            found = read_key_list(disclosed.payload, self._trust.roots)
        except KeyListRefused:
            return
        if found == self._unseen:
            self._unseen = None
        elif found.owner == self._owner and (self._own is None or found.version > self._own.version):
            raise Broken(
                f"#{index}",
                f"密钥清单第 {found.version} 版在账本中，却不在 {export.KEYS}",
                f"it is version {found.version} of the key list, which {export.KEYS} withholds",
            )

    def _answer(self, index: int, entry: Entry, disclosed: Disclosure | None) -> None:
        answer = read_answer(index, disclosed.payload) if disclosed else None
        if answer is not None:
            self._held += hold(index, answer, self._trust)
        if self._cross is not None:
            self._cross(index, entry, answer)


class Marks:
    """Check 4: each mark is validly signed by a key that counted when it was issued, and stands in its entry;
    each mark entry has its mark or is declared."""

    file = export.MARKS

    def __init__(self, folder: Path, trust: TrustList, refused: str) -> None:
        self.examined = 0
        self._trust = trust
        self._refused = refused
        self._manifest = export.read_manifest(folder, Check.MARKS)
        self._claims = Lines(folder, self.file, MarkClaim, Check.MARKS)
        self._tally = Tally(folder, Check.MARKS)
        self._withdrawn = 0

    def take(self, index: int, body: bytes, entry: Entry) -> None:
        """The next entry. Raises Broken, LedgerRefused."""
        claim = self._claims.at(index)
        if claim is not None:
            self.examined += 1
            self._verify(claim, entry)
        if entry.type == "mark":
            self._tally.count(index, self.file, there=claim is not None)
        self._withdrawn += entry.type == "withdrawal"

    def end(self, size: int) -> tuple[str, str]:
        """The sentence of the check. Raises Broken."""
        self._claims.end(size, self._manifest.marks, self.examined)
        zh, en = self._tally.told()
        return (
            f"标识条目 {zh}：由当时有效的密钥签名、已入账；其后撤回 {self._withdrawn} 次",
            f"{en} mark entries: signed by keys that counted then; {self._withdrawn} withdrawals since",
        )

    def _verify(self, claim: MarkClaim, entry: Entry) -> None:
        record = f"{self.file} #{claim.index}"
        check_recorded(record, verified(record, claim.mark, self._trust, self._refused), entry)


def verified(record: str, data: bytes | str, trust: TrustList, refused: str) -> mark.Claims:
    """The claims of a mark whose key counted when it was issued; `refused` says which key lists were left
    out. Raises Broken."""
    try:
        return mark.verify_signature(data, trust=trust).claims
    except MarkRefused as wrong:
        reason = f"{wrong} {refused}".strip() if wrong.step == "key" else str(wrong)
        raise Broken(record, "标识的签名或密钥无效", f"{wrong.step}: {reason}") from None


def check_recorded(record: str, claims: mark.Claims, entry: Entry) -> None:
    """Raise Broken unless the entry records the mark, and did when it was issued: whoever signs with a key
    that was retired dates the mark back, and cannot date back the entry."""
    if (entry.type, entry.mark) != ("mark", claims.mark_id.hex()):
        raise Broken(record, "该条目不是此标识的入账记录", "the entry there does not record this mark")
    if abs(entry.time - claims.issued) > mark.CLOCK_SKEW:
        raise Broken(
            record,
            "标识的签发时间与入账时间不符",
            f"issued on {claims.issued.isoformat()}, but entered on {entry.time.isoformat()}",
        )
