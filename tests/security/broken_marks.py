"""Makes tests/data/marks: a mark for each defect, in the folder of the step of `mark.verify` that refuses it.

The files of `inclusion` are broken proofs of the good mark. `python -m tests.security.broken_marks` writes
them again; a test compares them with what this module makes. Every signer here is Ed25519, so the bytes are
always the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cbor2
from msgspec.structs import replace

from security import mark, note, status
from security.keys import KeyPair
from security.ledger import EntryType, Sealed, seal
from security.note import Checkpoint
from security.status import Withdrawn
from security.tlog_proof import Proof
from security.tree import Tree, inclusion_proof
from tests.security.material import (
    CLAIMS,
    COMPROMISED_KEY,
    DAY,
    LATER_KEY,
    LOG_KEY,
    MARK_KEY,
    NOW,
    RESULT_DIGEST,
    RETIRED_KEY,
    SC_MARK_KEY,
    fixed_ed25519,
)

FOLDER = Path(__file__).resolve().parents[1] / "data" / "marks"
WITHDRAWN_ID = bytes(range(16, 32))


def good() -> str:
    """The mark that counts."""
    return mark.to_text(mark.issue(CLAIMS, MARK_KEY))


def broken() -> dict[str, str]:
    """Path under FOLDER to the text of the mark."""
    data = mark.issue(CLAIMS, MARK_KEY)
    parts = list(cbor2.loads(data).value)
    signature = parts[3]
    text = mark.to_text
    return {
        # 1 format
        "format/other_prefix": good().replace("XR1:", "HC1:"),
        "format/character_outside_base45": good()[:-1] + "a",
        "format/truncated": text(data[:-1]),
        "format/byte_after_the_end": text(data + b"\0"),
        "format/oversized": text(data + bytes(2000)),
        "format/not_cbor": text(b"\xff" * 200),
        "format/deeply_nested": text(b"\x81" * 900),
        "format/without_cose_tag": text(_encode(parts)),
        "format/three_parts": text(_tagged(parts[:3])),
        "format/unprotected_header": text(_tagged([parts[0], {1: -8}, *parts[2:]])),
        "format/signature_of_63_bytes": text(_tagged([*parts[:3], signature[:-1]])),
        "format/unknown_algorithm": text(_tagged([_encode({1: -257, 4: b"cq-mark-202601a"}), *parts[1:]])),
        "format/header_without_key": text(_tagged([_encode({1: -8}), *parts[1:]])),
        "format/key_id_with_a_line_break": text(
            _tagged([_encode({1: -8, 4: b"cq-mark\n202601a"}), *parts[1:]])
        ),
        "format/key_id_as_text": text(_tagged([_encode({1: -8, 4: "cq-mark-202601a"}), *parts[1:]])),
        "format/algorithm_as_float": text(_tagged([_encode({1: -8.0, 4: b"cq-mark-202601a"}), *parts[1:]])),
        "format/time_as_float": _signed({6: CLAIMS.issued.timestamp()}),
        "format/hash_stated_though_it_is_the_usual_one": _signed({17: 1}),
        "format/version_2": _signed({0: 2}),
        "format/version_missing": _signed({0: None}),
        "format/unknown_claim": _signed({99: "x"}),
        "format/digest_missing": _signed({10: None}),
        "format/digest_of_31_bytes": _signed({10: bytes(31)}),
        "format/digest_as_text": _signed({10: "0" * 32}),
        "format/item_empty": _signed({11: ""}),
        "format/printed_form_with_an_escape": _signed({16: "川渝HR\x1b[2K"}),
        "format/printed_form_that_turns_the_line": _signed({16: "川渝\u202eRH"}),
        "format/status_with_a_line_break": _signed({18: "https://cq.example/\nvalid"}),
        "format/time_as_text": _signed({4: "2026-12-20"}),
        "format/time_beyond_the_calendar": _signed({4: 2**62}),
        "format/issued_before_performed": _signed({6: int((NOW - 30 * DAY).timestamp())}),
        "format/status_empty_instead_of_absent": _signed({18: ""}),
        "format/number_not_in_shortest_form": text(
            data.replace(b"\xa2\x01\x27\x04", b"\xa2\x01\x38\x07\x04")
        ),
        # 2 key
        "key/key_unknown": _by(fixed_ed25519("cq", "mark", "u")),
        "key/key_of_another_owner": _by(SC_MARK_KEY),
        "key/key_for_another_purpose": _by(LOG_KEY),
        "key/key_compromised": _by(COMPROMISED_KEY),
        "key/issued_after_the_key_was_retired": _by(RETIRED_KEY),
        "key/issued_before_the_key_counts": _by(LATER_KEY),
        "key/algorithm_is_not_the_key_s": text(
            _tagged([_encode({1: -7, 4: MARK_KEY.kid.encode()}), *parts[1:]])
        ),
        # 3 signature
        "signature/claim_changed": text(data.replace(b"CHUANYU", b"QUANGUO")),
        "signature/signature_changed": text(
            _tagged([*parts[:3], signature[:-1] + bytes([signature[-1] ^ 1])])
        ),
        "signature/signature_of_another_mark": text(
            _tagged([*parts[:3], mark.issue(replace(CLAIMS, item="250104002"), MARK_KEY)[-64:]])
        ),
        # 4 scope
        "scope/of_a_foreign_city": _with(scope="WUHAN", printed="武汉HR"),
        # 5 expiry
        "expiry/expired": _with(expires=NOW - DAY),
        "expiry/expires_now": _with(expires=NOW),
        "expiry/issued_in_the_future": _with(issued=NOW + DAY),
        # 6 digest
        "digest/of_another_result": _with(digest=bytes(32)),
        # 7 inclusion: see broken_proofs
        # 8 withdrawn
        "withdrawn/withdrawn_by_the_issuer": _with(mark_id=WITHDRAWN_ID),
    }


def good_proof() -> Proof:
    """The proof that the good mark is entry 5 of a ledger of 7."""
    return _proof(_entry())


def status_list() -> bytes:
    """The issuer's status list, by which the good mark counts."""
    withdrawn = [Withdrawn(WITHDRAWN_ID, "amended", NOW - DAY), Withdrawn(bytes(16), "other", NOW - DAY)]
    return status.issue(withdrawn, MARK_KEY, number=2, issued=NOW, fresh=DAY)


def broken_proofs() -> dict[str, str]:
    """Path under FOLDER to the text of a proof of the good mark that does not hold."""
    proof, text = good_proof(), good_proof().to_text()
    first, second, *rest = proof.hashes
    lines = text.split("\n")
    other = mark.issue(replace(CLAIMS, item="250104002"), MARK_KEY)
    return {
        "inclusion/other_version": text.replace("tlog-proof@v1", "tlog-proof@v2"),
        "inclusion/without_checkpoint": text.partition("\n\n")[0],
        "inclusion/without_entry": "\n".join(line for line in lines if not line.startswith("extra ")),
        "inclusion/index_with_leading_zero": text.replace("index 5", "index 05"),
        "inclusion/hash_of_31_bytes": replace(proof, hashes=(first[:-1], second, *rest)).to_text(),
        "inclusion/of_another_entry": replace(proof, index=4).to_text(),
        "inclusion/beyond_the_ledger": replace(proof, index=7).to_text(),
        "inclusion/hashes_in_another_order": replace(proof, hashes=(second, first, *rest)).to_text(),
        "inclusion/hash_missing": replace(proof, hashes=proof.hashes[:-1]).to_text(),
        "inclusion/hash_too_many": replace(proof, hashes=(*proof.hashes, first)).to_text(),
        "inclusion/entry_changed": replace(
            proof, entry=proof.entry.replace(b'"item":"250104001"', b'"item":"250104002"')
        ).to_text(),
        "inclusion/entry_of_another_mark": _proof(_entry(mark=bytes(16).hex())).to_text(),
        "inclusion/entry_of_another_type": _proof(_entry("withdrawal")).to_text(),
        "inclusion/entry_of_another_gateway": _proof(_entry(from_="sc")).to_text(),
        "inclusion/entry_of_other_bytes": _proof(_entry(payload=other)).to_text(),
        "inclusion/salt_changed": replace(proof, salt=bytes(32)).to_text(),
        "inclusion/checkpoint_of_another_root": text.replace(
            _root(text), _root(_proof(_entry(item="x")).to_text())
        ),
        "inclusion/signed_by_another_gateway": _proof(_entry(), signer=fixed_ed25519("sc", "log")).to_text(),
        "inclusion/signed_by_a_key_for_marks": _proof(_entry(), signer=MARK_KEY).to_text(),
        "inclusion/not_signed_by_the_log_itself": _proof(_entry(), name="witness.example").to_text(),
    }


_ORIGIN = "cq.lianren.example/exchange"
_PLACE, _SIZE = 5, 7


def _entry(type_: EntryType = "mark", **fields: Any) -> Sealed:
    known: dict[str, Any] = {
        "payload": mark.issue(CLAIMS, MARK_KEY),
        "time": CLAIMS.issued,
        "from_": "cq",
        "to": "cq",
        "item": CLAIMS.item,
        "mark": CLAIMS.mark_id.hex(),
        "salt": RESULT_DIGEST,
        "hash_name": "sha256",
    }
    return seal(type_, **(known | fields))


def _proof(entry: Sealed, signer: KeyPair = LOG_KEY, name: str = _ORIGIN) -> Proof:
    """The proof of an entry among others, under a checkpoint."""
    others = [_entry(payload=bytes([number]), mark="").leaf for number in range(_SIZE)]
    tree = Tree([*others[:_PLACE], entry.leaf, *others[_PLACE + 1 :]], "sha256")
    checkpoint = Checkpoint(_ORIGIN, _SIZE, tree.root())
    return Proof(
        index=_PLACE,
        hashes=tuple(inclusion_proof(_PLACE, _SIZE, tree.hash_at, "sha256")),
        checkpoint=note.sign(checkpoint.to_text(), name, [signer]),
        entry=entry.body,
        salt=entry.salt,
    )


def _encode(value: object) -> bytes:
    return cbor2.dumps(value, canonical=True)


def _tagged(parts: list[Any]) -> bytes:
    return _encode(cbor2.CBORTag(18, parts))


def _by(key: KeyPair) -> str:
    return mark.to_text(mark.issue(CLAIMS, key))


def _with(**claims: Any) -> str:
    return mark.to_text(mark.issue(replace(CLAIMS, **claims), MARK_KEY))


def _signed(changes: dict[int, object]) -> str:
    """A mark with a valid signature over claims that no honest signer would write; None takes one away."""
    protected, _, payload, _ = cbor2.loads(mark.issue(CLAIMS, MARK_KEY)).value
    claims = {
        number: value for number, value in (cbor2.loads(payload) | changes).items() if value is not None
    }
    changed = _encode(claims)
    signature = MARK_KEY.sign(_encode(["Signature1", protected, b"", changed]))
    return mark.to_text(_tagged([protected, {}, changed, signature]))


def _root(text: str) -> str:
    """The third line of a proof's checkpoint."""
    return text.partition("\n\n")[2].split("\n")[2]


def files() -> dict[str, bytes]:
    """Path under FOLDER to the content of each file."""
    return {
        "good.tlog-proof": good_proof().to_text().encode(),
        "status.cose": status_list(),
        **{f"{name}.txt": f"{text}\n".encode() for name, text in {"good": good(), **broken()}.items()},
        **{f"{name}.tlog-proof": text.encode() for name, text in broken_proofs().items()},
    }


def write() -> None:
    """Write the folder anew."""
    for name, content in files().items():
        file = FOLDER / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


if __name__ == "__main__":
    write()
