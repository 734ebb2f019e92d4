"""Offline audit of an exported ledger: no server, no database, no trust but in the pinned keys.

`verify_export` makes six checks on the folder that `export` describes, in this order:

1. NOTE: the checkpoint is signed by the log itself and by enough of the pinned keys.
2. REPLAY: replaying every entry gives the checkpoint's root, every entry is well formed, and every tile
   equals the replay.
3. CONSISTENCY: the tree begins with the tree of the auditor's earlier checkpoint, when there is one.
4. MARKS: each mark is validly signed by a key that counted when it was issued, its entry stands in the tree,
   and no later entry withdraws it; each mark entry has its mark, or the manifest calls it erased.
5. PAYLOADS: each disclosed payload opens its entry's commitment; each entry has its payload, or the manifest
   calls it erased.
6. BINDINGS: each `binds` names an earlier entry; answers, verdicts and outcomes follow their question.

A failed check names the first broken record. A check is not made where there is nothing to make it on: no
earlier checkpoint for 3, no disclosed payloads for 5, and for 3 to 6, which read the replayed entries, no
successful replay. The replay of an unsigned checkpoint is made all the same: it says more about what
happened. The manifest is the exporter's word: it tells what was cut from an export from what the exporter
declares erased, and cannot tell whether that was hidden.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from msgspec import Struct

from security import export, mark, note, tiles
from security.errors import Check, KeyListRefused, MarkRefused, TrustError
from security.export import Disclosure, MarkClaim
from security.keys import PublicKey
from security.ledger import Entry, opens, read_entry
from security.note import Checkpoint, NoteVerifier
from security.tree import Tree, consistency_proof, leaf_hash, verify_consistency
from security.trust import KeyList, TrustList, read_key_list

State = Literal["passed", "failed", "not_made"]

# What an entry of these types must answer; the others may stand alone.
FOLLOWS = {
    "answer": frozenset({"question"}),
    "verdict": frozenset({"question", "answer"}),
    "outcome": frozenset({"question", "answer", "verdict"}),
}


class Pinned(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the auditor trusts; readable from JSON.

    `logs` are verifier keys of notes, of the log and of its witnesses, of which `required` must have
    signed; `roots` are the root keys that vouch for the key lists in the export.
    """

    logs: tuple[str, ...]
    required: int = 1
    roots: tuple[PublicKey, ...] = ()


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
        return {"NOTE", "REPLAY"} <= made and all(check.state != "failed" for check in self.checks)


def verify_export(folder: Path, pinned: Pinned, previous_note: str | None = None) -> AuditReport:
    """Make the six checks. `previous_note` is the checkpoint that the auditor kept from the last audit.

    Bad material never raises: it is a failed check.
    """
    audit = _Audit(folder, pinned, previous_note)
    steps: dict[Check, Callable[[], tuple[str, str]]] = {
        Check.NOTE: audit.note,
        Check.REPLAY: audit.replay,
        Check.CONSISTENCY: audit.consistency,
        Check.MARKS: audit.marks,
        Check.PAYLOADS: audit.payloads,
        Check.BINDINGS: audit.bindings,
    }
    results = []
    for check, step in steps.items():
        audit.examined = 0
        state: State = "passed"
        try:
            zh, en = step()
        except _Broken as broken:
            state, zh, en = "failed", f"{broken.record}：{broken.zh}", f"{broken.record}: {broken.en}"
        except _NotMade as not_made:
            state, zh, en = "not_made", not_made.zh, not_made.en
        result = CheckResult(
            number=check.value, name=check.name, state=state, examined=audit.examined, zh=zh, en=en
        )
        results.append(result)
    head = audit.head
    return AuditReport(
        origin=head.origin if head else "", size=head.size if head else 0, checks=tuple(results)
    )


class _Broken(Exception):
    """The first broken record of a check, and what is wrong with it in both languages."""

    def __init__(self, record: str, zh: str, en: str) -> None:
        super().__init__(record, zh, en)
        self.record, self.zh, self.en = record, zh, en


class _NotMade(Exception):
    """There is nothing to make a check on; why, in both languages."""

    def __init__(self, zh: str, en: str) -> None:
        super().__init__(zh, en)
        self.zh, self.en = zh, en


class _Audit:
    """What one run has read so far; each public method is a check and returns its sentence."""

    def __init__(self, folder: Path, pinned: Pinned, previous_note: str | None) -> None:
        self.folder = folder
        self.pinned = pinned
        self.previous_note = previous_note
        self.examined = 0
        self.head: Checkpoint | None = None
        self.bodies: list[bytes] = []
        self.entries: list[Entry] = []
        self.tree: Tree | None = None

    def note(self) -> tuple[str, str]:
        self.examined = 1
        try:
            signed = export.read_file(self.folder, export.CHECKPOINT, Check.NOTE)
            self.head = Checkpoint.from_text(note.split(signed)[0])
            signed_by = note.verify_checkpoint(signed, self._verifiers(), self.pinned.required).signed_by
        except TrustError as wrong:
            raise _Broken("checkpoint", "检查点的签名不成立", str(wrong)) from None
        names = ", ".join(sorted({verifier.name for verifier in signed_by}))
        return f"检查点由已固定的密钥签名：{names}", f"the checkpoint is signed by pinned keys of {names}"

    def replay(self) -> tuple[str, str]:
        if self.head is None:
            raise _NotMade("没有可读的检查点，未重放", "not made: no readable checkpoint to replay to")
        try:
            for bundle in export.read_bundles(self.folder, self.head.size):
                self.bodies += bundle
                self.examined += len(bundle)
            tree = export.replay(self.bodies, self.head)
        except TrustError as wrong:
            self._find_misfit(self.head)
            raise _Broken("tile/entries", "重放全部条目得不到检查点的根", str(wrong)) from None
        for index, body in enumerate(self.bodies):
            try:
                self.entries.append(read_entry(body))
            except TrustError as wrong:
                raise _Broken(f"#{index}", "条目格式不符", str(wrong)) from None
        for level, index, width in tiles.tiles_of(tree.size):
            path = tiles.tile_path(level, index, width)
            try:
                same = export.read_file(self.folder, path, Check.REPLAY) == tiles.tile_bytes(
                    tree.hash_at, level, index, width
                )
            except TrustError as wrong:
                raise _Broken(path, "文件缺失或无法读取", str(wrong)) from None
            if not same:
                raise _Broken(path, "哈希块与重放结果不同", "the tile differs from the replay")
        self.tree = tree
        return (
            f"重放 {self.examined} 条，得到检查点的根，各哈希块一致",
            f"replaying {self.examined} entries gives the checkpoint's root and every tile",
        )

    def consistency(self) -> tuple[str, str]:
        if self.previous_note is None:
            raise _NotMade(
                "未提供上次审计的检查点，未作比较", "not made: no checkpoint of an earlier audit was given"
            )
        tree, head = self._replayed()
        self.examined = 1
        try:
            old = note.verify_checkpoint(
                self.previous_note, self._verifiers(), self.pinned.required
            ).checkpoint
        except TrustError as wrong:
            raise _Broken("checkpoint", "上次的检查点签名不成立", f"the earlier one: {wrong}") from None
        if old.origin != head.origin:
            raise _Broken("checkpoint", "上次的检查点属于另一账本", f"the earlier one is of {old.origin}")
        if old.size > head.size:
            raise _Broken(
                "checkpoint",
                f"导出早于您保存的检查点：{head.size} 条，检查点为 {old.size} 条",
                f"the export is older than your checkpoint: {head.size} entries, not {old.size}",
            )
        try:
            proof = consistency_proof(old.size, head.size, tree.hash_at, tree.hash_name)
            verify_consistency(old.size, head.size, proof, old.root, head.root, tree.hash_name)
        except TrustError as wrong:
            raise _Broken("checkpoint", "与上次审计的检查点不一致，账本曾被改写", str(wrong)) from None
        return f"前 {old.size} 条与上次审计一致", f"the first {old.size} entries are those of the last audit"

    def marks(self) -> tuple[str, str]:
        withdrawals: dict[str, int] = {}
        self._replayed()
        for index, entry in enumerate(self.entries):
            if entry.type == "withdrawal":
                withdrawals[entry.mark] = index
        claimed: set[int] = set()
        try:
            trust, refused = self._trust()
            manifest = export.read_manifest(self.folder, Check.MARKS)
            for claim in export.read_lines(self.folder, export.MARKS, MarkClaim, Check.MARKS):
                self.examined += 1
                self._mark(claim, trust, refused, withdrawals)
                claimed.add(claim.index)
        except TrustError as wrong:
            raise _Broken(export.MARKS, "文件无法读取", str(wrong)) from None
        due = export.mark_entries(self.entries)
        zh, en = _tally(export.MARKS, due, claimed, manifest.marks, manifest.erased)
        return (
            f"标识条目 {zh}：签名有效、已入账且未被撤回",
            f"{en} mark entries: validly signed, in the ledger and not withdrawn",
        )

    def payloads(self) -> tuple[str, str]:
        self._replayed()
        opened: set[int] = set()
        try:
            manifest = export.read_manifest(self.folder, Check.PAYLOADS)
            for disclosed in export.read_lines(self.folder, export.SECRETS, Disclosure, Check.PAYLOADS):
                self.examined += 1
                body = self._body(disclosed.index)
                if not opens(body, disclosed.salt, disclosed.payload):
                    raise _Broken(
                        f"#{disclosed.index}",
                        "披露的内容与承诺不符",
                        "the disclosed payload is not the committed one",
                    )
                opened.add(disclosed.index)
        except TrustError as wrong:
            raise _Broken(export.SECRETS, "文件无法读取", str(wrong)) from None
        if not opened and not manifest.payloads:
            raise _NotMade("此导出未披露内容，未作核对", "not made: this export discloses no payloads")
        due = set(range(len(self.bodies)))
        zh, en = _tally(export.SECRETS, due, opened, manifest.payloads, manifest.erased)
        return f"披露内容 {zh}：与承诺相符", f"{en} payloads disclosed: they open their commitments"

    def bindings(self) -> tuple[str, str]:
        self._replayed()
        types: dict[str, str] = {}
        for index, entry in enumerate(self.entries):
            self.examined += 1
            must_follow = FOLLOWS.get(entry.type)
            if entry.binds and entry.binds not in types:
                raise _Broken(f"#{index}", "关联的条目此前不存在", "it binds an entry that is not before it")
            if must_follow and types.get(entry.binds) not in must_follow:
                raise _Broken(
                    f"#{index}",
                    "应关联其所回答的问题",
                    f"a {entry.type} must bind its {' or '.join(sorted(must_follow))}",
                )
            if entry.commit in types:
                raise _Broken(f"#{index}", "承诺与此前条目重复", "its commitment stands in an earlier entry")
            types[entry.commit] = entry.type
        return f"{self.examined} 条的关联均指向此前的条目", f"the bindings of {self.examined} entries hold"

    def _mark(self, claim: MarkClaim, trust: TrustList, refused: str, withdrawals: dict[str, int]) -> None:
        record = f"{export.MARKS} #{claim.index}"
        try:
            mark_id = mark.verify_signature(claim.mark, trust=trust).claims.mark_id.hex()
        except MarkRefused as wrong:
            reason = f"{wrong} {refused}".strip() if wrong.step == "key" else str(wrong)
            raise _Broken(record, "标识的签名或密钥无效", f"{wrong.step}: {reason}") from None
        self._body(claim.index)
        entry = self.entries[claim.index]
        if (entry.type, entry.mark) != ("mark", mark_id):
            raise _Broken(record, "该条目不是此标识的入账记录", "the entry there does not record this mark")
        if withdrawals.get(mark_id, -1) > claim.index:
            at = withdrawals[mark_id]
            raise _Broken(record, f"标识已被条目 #{at} 撤回", f"the mark was withdrawn by entry #{at}")

    def _find_misfit(self, head: Checkpoint) -> None:
        """Raise _Broken for the first entry, of those read, whose leaf hash is not in its tile."""
        for index, width in tiles.bundles_of(head.size):
            first = index * tiles.TILE_WIDTH
            hashes = [leaf_hash(body, head.hash_name) for body in self.bodies[first : first + width]]
            if not hashes:
                return
            try:
                tile = export.read_file(self.folder, tiles.tile_path(0, index, width), Check.REPLAY)
            except TrustError:
                return
            for place, leaf in enumerate(hashes):
                if tile[place * len(leaf) : (place + 1) * len(leaf)] != leaf:
                    name = tiles.entries_path(index, width)
                    raise _Broken(
                        f"#{first + place}",
                        f"{name} 的第 {place} 条与其哈希块不符（自 0 计）",
                        f"entry {place} of {name} does not fit its tile",
                    )

    def _trust(self) -> tuple[TrustList, str]:
        """The key lists that a pinned root vouches for, each owner's newest; and why one was left out."""
        newest: dict[str, KeyList] = {}
        refused = ""
        for envelope in export.read_key_lists(self.folder):
            try:
                found = read_key_list(envelope, self.pinned.roots)
            except KeyListRefused as wrong:
                refused = f"({wrong})"
                continue
            if found.owner not in newest or newest[found.owner].version < found.version:
                newest[found.owner] = found
        return TrustList(self.pinned.roots, newest.values()), refused

    def _verifiers(self) -> list[NoteVerifier]:
        return [NoteVerifier.from_text(key) for key in self.pinned.logs]

    def _replayed(self) -> tuple[Tree, Checkpoint]:
        if self.tree is None or self.head is None:
            raise _NotMade("重放未通过，此项未作", "not made, since the replay did not pass")
        return self.tree, self.head

    def _body(self, index: int) -> bytes:
        if not 0 <= index < len(self.bodies):
            raise _Broken(f"#{index}", "账本中没有该条目", f"the ledger has {len(self.bodies)} entries")
        return self.bodies[index]


def _tally(file: str, due: set[int], found: set[int], said: int, erased: tuple[int, ...]) -> tuple[str, str]:
    """How many of the due entries were found, and which are erased, in both languages.

    Raises _Broken where that is not what the manifest says.
    """
    if hidden := sorted(due.difference(found, erased)):
        raise _Broken(
            f"#{hidden[0]}",
            f"{file} 缺少此条目，清单未列为已删除（共缺 {len(hidden)} 条）",
            f"missing from {file}, and the manifest does not call it erased ({len(hidden)} such entries)",
        )
    if present := sorted(found.intersection(erased)):
        raise _Broken(
            f"#{present[0]}", "清单列为已删除，却仍在", "the manifest calls it erased, but it is here"
        )
    if len(found) != said:
        raise _Broken(
            file, f"有 {len(found)} 条，清单为 {said} 条", f"{len(found)}, but the manifest says {said}"
        )
    zh, en = f"{len(due)} 条中 {len(found)} 条", f"{len(found)} of {len(due)}"
    gone = [f"#{index}" for index in sorted(due - found)]
    if not gone:
        return zh, en
    places = ", ".join(gone[:5]) + (", ..." if len(gone) > 5 else "")
    return f"{zh}（已删除 {len(gone)} 条：{places}）", f"{en} ({len(gone)} erased: {places})"
