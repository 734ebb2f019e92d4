"""The evidence of one decision in one file, which is verified with nothing but pinned keys.

    {"format": "lianren evidence v1", "decision": "<id of the check>",
     "note": "<signed checkpoint with its cosignatures>", "keys": ["<signed key list>", …],
     "entries": [{"index": 7, "body": "<the entry>", "proof": ["<base64>", …],
                  "salt": "<base64>", "payload": "<base64>"}, …],
     "marks": ["XR1:…", …]}

Entries are those of the question, of every node's answer, of the marks cited and of the verdict, then what
came of it as far as it was known: outcomes, views, withdrawals. Each has its inclusion proof (RFC 6962) under
the checkpoint; salt and payload are null where they were erased, never the verdict's. Marks of other gateways
have no entry in this ledger and stand in `marks` alone.

`verify` makes the checks of `audit` on it, so that a report reads alike:

1. NOTE: as there.
2. REPLAY: each entry is well formed, and its proof leads to the checkpoint's root.
3. CONSISTENCY: not made; a file of one decision does not hold a history.
4. MARKS: each mark is validly signed by a key that counted when it was issued; one of this gateway is what
   its entry records; each mark that the verdict cites is here, and is about the result that it is cited for.
5. PAYLOADS: each payload opens its entry's commitment.
6. BINDINGS: question, answers and verdict are of this decision, bind each other, and none is left out: they
   were written in one piece, so every place between question and verdict must be here.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import MsgspecError, Struct, json

from security import mark, note
from security._bindings import FOLLOWS
from security._disclosed import check_recorded, verified
from security._findings import Broken, NotMade
from security._signers import Pinned, check_signers, signed_sentence, verifiers_of, vouched
from security.audit import AuditReport, run
from security.errors import Check, LedgerRefused, MarkRefused, TrustError
from security.ledger import Entry, opens, read_entry
from security.note import Checkpoint
from security.tree import leaf_hash, verify_inclusion
from security.trust import TrustList

FORMAT = "lianren evidence v1"
MAX_SIZE = 64 << 20  # bytes


class Piece(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry with the hashes of its inclusion proof, and what opens it, None where that was erased."""

    index: int
    body: str
    proof: tuple[bytes, ...]
    salt: bytes | None = None
    payload: bytes | None = None


class Evidence(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file; entries in the order of the ledger, marks as text, key lists as signed envelopes."""

    format: str = FORMAT
    decision: str
    note: str
    keys: tuple[str, ...]
    entries: tuple[Piece, ...]
    marks: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        """The file's bytes, for people too: indented JSON."""
        return json.format(json.encode(self))


def read(data: bytes) -> Evidence:
    """Read an evidence file, strictly and without verifying. Raises LedgerRefused at NOTE."""
    try:
        evidence = json.decode(data, type=Evidence)
    except (MsgspecError, UnicodeError, RecursionError) as wrong:
        raise LedgerRefused(Check.NOTE, f"not an evidence file: {wrong}") from None
    if evidence.format != FORMAT:
        raise LedgerRefused(Check.NOTE, f"not an evidence file of the known form '{FORMAT}'")
    indexes = [piece.index for piece in evidence.entries]
    if not indexes or indexes != sorted(set(indexes)):
        raise LedgerRefused(
            Check.NOTE, "an evidence file has its entries in the order of the ledger, each once"
        )
    if any((piece.salt is None) != (piece.payload is None) for piece in evidence.entries):
        raise LedgerRefused(Check.NOTE, "an entry's salt and payload are both there or both erased")
    return evidence


def verify(data: bytes, pinned: Pinned, newer: Sequence[bytes] = ()) -> AuditReport:
    """Make the checks; `newer` as in `audit`. Bad material never raises: it is a failed check."""
    audit = _Audit(data, pinned, newer)
    steps = (audit.note, audit.replay, audit.consistency, audit.marks, audit.payloads, audit.bindings)
    checks = run(audit, steps)
    head = audit.head
    return AuditReport(origin=head.origin if head else "", size=head.size if head else 0, checks=checks)


class _Cited(Struct, frozen=True):
    """Of a verdict's payload: the result's digest (hexadecimal), and the mark that it was decided by."""

    result: str
    mark: str = ""


class _Said(Struct, frozen=True):
    """Of the payload of a question, answer or verdict: the check that it belongs to, and what it cites."""

    check: str = ""
    verdicts: tuple[_Cited, ...] = ()


class _Audit:
    """What one run has read so far; each public method is a check and returns its sentence."""

    def __init__(self, data: bytes, pinned: Pinned, newer: Sequence[bytes]) -> None:
        self.data = data
        self.newer = newer
        self.pinned = pinned
        self.examined = 0
        self.head: Checkpoint | None = None
        self.evidence: Evidence | None = None
        self.trust, self.refused = TrustList(pinned.every_root()), ""
        self.entries: dict[int, Entry] = {}

    def note(self) -> tuple[str, str]:
        self.examined = 1
        try:
            self.evidence = read(self.data)
            self.head = Checkpoint.from_text(note.split(self.evidence.note)[0])
            envelopes = [envelope.encode() for envelope in self.evidence.keys]
            self.trust, self.refused = vouched(envelopes, self.trust.roots, self.newer)
            verifiers = verifiers_of(self.pinned, self.trust)
            verified = note.verify_checkpoint(self.evidence.note, verifiers, self.pinned.required)
            newest = read_entry(self.evidence.entries[-1].body.encode()).time
            check_signers(verified, verifiers, self.trust, newest)
        except (TrustError, UnicodeError) as wrong:
            raise Broken("note", "检查点的签名不成立", str(wrong)) from None
        return signed_sentence(verified, self.head.size)

    def replay(self) -> tuple[str, str]:
        if self.evidence is None or self.head is None:
            raise NotMade("没有可读的检查点，未核对", "not made: no readable checkpoint to prove under")
        found: dict[int, Entry] = {}
        hash_name = self.head.hash_name
        for piece in self.evidence.entries:
            self.examined += 1
            try:
                body = piece.body.encode()
                found[piece.index] = read_entry(body)
                leaf = leaf_hash(body, hash_name)
                verify_inclusion(leaf, piece.index, self.head.size, piece.proof, self.head.root, hash_name)
            except (TrustError, UnicodeError) as wrong:
                raise Broken(f"#{piece.index}", "条目不在检查点之下", str(wrong)) from None
        self.entries = found
        return (
            f"{self.examined} 个条目均在检查点之下",
            f"the proofs of {self.examined} entries lead to the checkpoint's root",
        )

    def consistency(self) -> tuple[str, str]:
        raise NotMade("单项证据不含历史，未作比较", "not made: the evidence of one decision holds no history")

    def marks(self) -> tuple[str, str]:
        evidence = self._proven()
        claims: dict[str, mark.Claims] = {}
        unpinned: set[str] = set()
        for text in evidence.marks:
            record = f"marks[{self.examined}]"
            self.examined += 1
            try:
                read_mark = mark.read(text).claims
                claims[read_mark.mark_id.hex()] = read_mark
            except MarkRefused as wrong:
                raise Broken(record, "标识无法读取", str(wrong)) from None
            if all(root.owner != read_mark.issuer for root in self.trust.roots):
                unpinned.add(read_mark.issuer)
            else:
                verified(record, text, self.trust, self.refused)
        self._own_marks(evidence)
        for index, said in self._payloads_of("verdict").items():
            for cited in said.verdicts:
                if not cited.mark:
                    continue
                if cited.mark not in claims:
                    raise Broken(
                        f"#{index}",
                        "判定所引用的标识不在此文件中",
                        f"it cites the mark {cited.mark}, not here",
                    )
                if claims[cited.mark].digest.hex() != cited.result:
                    raise Broken(
                        f"#{index}",
                        "判定所引用的标识属于另一结果",
                        f"the mark {cited.mark} is about another result than it is cited for",
                    )
        gone = [entry.mark for entry in self.entries.values() if entry.type == "withdrawal"]
        zh, en = (
            f"{len(claims)} 个标识由当时有效的密钥签名",
            f"{len(claims)} marks: signed by keys that counted then",
        )
        if gone:
            zh, en = f"{zh}；其后撤回 {len(gone)} 个", f"{en}; withdrawn since: {', '.join(gone)}"
        if unpinned:
            names = ", ".join(sorted(unpinned))
            zh = f"{zh}；未核对签名（未固定其根密钥）：{names}"
            en = f"{en}; signatures not verified, since no root of theirs is pinned: {names}"
        return zh, en

    def payloads(self) -> tuple[str, str]:
        evidence = self._proven()
        erased = 0
        for piece in evidence.entries:
            if piece.salt is None or piece.payload is None:  # both, as read
                erased += 1
                continue
            self.examined += 1
            if not opens(piece.body.encode(), piece.salt, piece.payload):
                raise Broken(
                    f"#{piece.index}",
                    "披露的内容与承诺不符",
                    "the disclosed payload is not the committed one",
                )
        if not self.examined:
            raise NotMade("内容均已删除，未作核对", "not made: every payload was erased")
        zh, en = f"{self.examined} 项内容与承诺相符", f"{self.examined} payloads open their commitments"
        return (f"{zh}（已删除 {erased} 项）", f"{en} ({erased} erased)") if erased else (zh, en)

    def bindings(self) -> tuple[str, str]:
        evidence = self._proven()
        questions = [index for index, entry in self.entries.items() if entry.type == "question"]
        if len(questions) != 1:
            raise Broken("entries", "没有唯一的提问", f"{len(questions)} questions, where there is one")
        (first,) = questions
        question = self.entries[first].commit
        verdicts = [
            index
            for index, entry in self.entries.items()
            if (entry.type, entry.binds) == ("verdict", question)
        ]
        if len(verdicts) != 1:
            raise Broken(f"#{first}", "提问没有唯一的判定", f"{len(verdicts)} verdicts bind the question")
        known: dict[str, str] = {}
        for index, entry in self.entries.items():
            self.examined += 1
            if entry.binds and entry.binds not in known:
                raise Broken(f"#{index}", "关联的条目不在此前", "it binds an entry that is not before it")
            if entry.type in FOLLOWS and known.get(entry.binds) not in FOLLOWS[entry.type]:
                raise Broken(f"#{index}", "应关联其所回答的问题", f"a {entry.type} must bind its question")
            known[entry.commit] = entry.type
        missing = sorted(set(range(first, verdicts[0])) - self.entries.keys())
        if missing:
            raise Broken(
                f"#{missing[0]}",
                "提问与判定之间缺少此条目",
                "missing, though question and verdict were written in one piece",
            )
        if verdicts[0] not in self._payloads_of("verdict"):
            raise Broken(
                f"#{verdicts[0]}",
                "判定的内容不在此文件中，无从知其属于哪次核对",
                "the verdict's payload is not here, which says of which check it is",
            )
        for kind in ("question", "verdict"):
            for index, said in self._payloads_of(kind).items():
                if said.check != evidence.decision:
                    raise Broken(f"#{index}", "属于另一次核对", f"it is of another check: {said.check}")
        return (
            f"{self.examined} 个条目属于同一次核对，无遗漏",
            f"{self.examined} entries are of this decision, and none is left out before the verdict",
        )

    def _own_marks(self, evidence: Evidence) -> None:
        """A mark entry's payload is the mark that it records."""
        for piece in evidence.entries:
            entry = self.entries[piece.index]
            if entry.type != "mark" or piece.payload is None:
                continue
            record = f"#{piece.index}"
            check_recorded(record, verified(record, piece.payload, self.trust, self.refused), entry)

    def _payloads_of(self, kind: str) -> dict[int, _Said]:
        found: dict[int, _Said] = {}
        for piece in self._proven().entries:
            if self.entries[piece.index].type == kind and piece.payload is not None:
                try:
                    found[piece.index] = json.decode(piece.payload, type=_Said)
                except (MsgspecError, UnicodeError, RecursionError) as wrong:
                    raise Broken(f"#{piece.index}", "内容无法读取", str(wrong)) from None
        return found

    def _proven(self) -> Evidence:
        if self.evidence is None or not self.entries:
            raise NotMade("入账未得到证明，此项未作", "not made, since the inclusion is not proven")
        return self.evidence
