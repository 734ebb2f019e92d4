"""Marks: what is signed comes back, and every broken one is refused at its step."""

from __future__ import annotations

from pathlib import Path

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from security import _base45, mark, status, tlog_proof
from security.errors import LedgerRefused, MarkRefused
from security.keys import Algorithm, raw_verifier
from security.mark import Claims, Mark
from tests.security.broken_marks import FOLDER, WITHDRAWN_ID, files, good, good_proof
from tests.security.material import (
    CLAIMS,
    DAY,
    MARK_KEY,
    NOW,
    RESULT_DIGEST,
    SM2_PUBLIC,
    fixed_ed25519,
    new_key,
    trust,
)

FOREIGN_COSE = (
    "d28455a2013a00010040044c63716d6830312d3230323661a05879a8017231323530303030303435303430313233"
    "34580250000102030405060708090a0b0c0d0e0f041a6afcea80061a691bb7000750101112131415161718191a1b"
    "1c1d1e1f0a582008e16691dfcc53e96a73dcfacc04f51dafa3175d34ec78e89563040a0264ce720b693235303130"
    "343030310c644351534358403cde15c888989fffa75a52229341c29c9149d9fe027b29c551fdd0135dec51ba51e7"
    "4d328470c1aa1909d3ac49be299fd1a911d3967f872947b2c73c80136dc4"
)
BROKEN = sorted(FOLDER.glob("*/*"))
STEPS = ("format", "key", "signature", "scope", "expiry", "digest", "inclusion", "withdrawn")


def _verify(text: str | bytes, proof: str | bytes | None = None) -> Mark:
    """Make every step; a mark that is not the good one shows that before its proof is looked at."""
    held = status.verify((FOLDER / "status.cose").read_bytes(), trust=trust(), now=NOW)
    return mark.verify(
        text,
        trust=trust(),
        now=NOW,
        scope_contains=lambda scope: scope == "CHUANYU",
        expected_digest=RESULT_DIGEST,
        proof=proof,
        withdrawn=held.withdrawn,
    )


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8").removesuffix("\n")


def test_the_good_mark_counts() -> None:
    proof = (FOLDER / "good.tlog-proof").read_bytes()
    assert _verify(_text(FOLDER / "good.txt"), proof).claims == CLAIMS


@pytest.mark.parametrize("file", BROKEN, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_a_broken_mark_is_refused_at_its_step(file: Path) -> None:
    proof = file.suffix == tlog_proof.SUFFIX
    with pytest.raises(MarkRefused) as refusal:
        _verify(good() if proof else _text(file), file.read_bytes() if proof else None)
    assert refusal.value.step == file.parent.name, refusal.value


def test_every_step_has_a_broken_file() -> None:
    assert {file.parent.name for file in BROKEN} == set(STEPS)


@pytest.mark.parametrize("failing", range(len(STEPS)), ids=STEPS)
def test_the_first_failing_step_is_the_one_that_is_named(failing: int) -> None:
    """Everything from this step on is wrong."""
    later = frozenset(STEPS[failing:])
    claims = replace(
        CLAIMS,
        mark_id=WITHDRAWN_ID if "withdrawn" in later else CLAIMS.mark_id,
        expires=NOW - DAY if "expiry" in later else CLAIMS.expires,
    )
    data = bytearray(mark.issue(claims, fixed_ed25519("cq", "mark", "u") if "key" in later else MARK_KEY))
    if "signature" in later:
        data[-1] ^= 1
    text = mark.to_text(bytes(data)).replace("XR1:", "HC1:" if "format" in later else "XR1:")
    held = status.verify((FOLDER / "status.cose").read_bytes(), trust=trust(), now=NOW)
    with pytest.raises(MarkRefused) as refusal:
        mark.verify(
            text,
            trust=trust(),
            now=NOW,
            scope_contains=lambda scope: "scope" not in later,
            expected_digest=bytes(32) if "digest" in later else RESULT_DIGEST,
            proof="no proof" if "inclusion" in later else None,
            withdrawn=held.withdrawn,
        )
    assert refusal.value.step == STEPS[failing]


def test_the_mark_files_are_what_their_script_makes() -> None:
    kept = {str(f.relative_to(FOLDER)): f.read_bytes() for f in FOLDER.rglob("*") if f.is_file()}
    assert kept == files(), "run python -m tests.security.broken_marks"


def test_a_proof_comes_back_from_its_text() -> None:
    assert tlog_proof.read(good_proof().to_text()) == good_proof()


@given(text=st.text(max_size=60))
def test_text_that_is_no_proof_is_refused_as_such(text: str) -> None:
    with pytest.raises(LedgerRefused):
        tlog_proof.read(text)


@given(position=st.integers(0, 10_000), character=st.characters(codec="utf-8"))
def test_no_character_of_a_proof_can_be_changed(position: int, character: str) -> None:
    text = good_proof().to_text()
    position %= len(text)
    changed = text[:position] + character + text[position + 1 :]
    if changed != text:
        with pytest.raises(MarkRefused) as refusal:
            _verify(good(), changed)
        assert refusal.value.step == "inclusion"


@pytest.mark.parametrize("algorithm", ["Ed25519", "ES256", "SM2"])
def test_a_mark_of_each_algorithm_counts_as_bytes_and_as_text(algorithm: Algorithm) -> None:
    data = mark.issue(CLAIMS, new_key(algorithm) if algorithm != "Ed25519" else MARK_KEY)
    assert _verify(data).claims == _verify(mark.to_text(data)).claims == CLAIMS


@pytest.mark.parametrize(
    ("address", "capacity"), [("", 419), ("https://cq.lianren.example/trust/status", 483)]
)
def test_a_mark_fits_a_qr_code_of_version_12_and_one_more_with_an_address(
    address: str, capacity: int
) -> None:
    longest = replace(CLAIMS, institution="12500000450401234X", digest_hash="sha256", status=address)
    text = mark.to_text(mark.issue(longest, new_key("SM2")))
    assert len(text) <= capacity  # alphanumeric capacity at level M, ISO/IEC 18004 table 7


def test_every_claim_comes_back() -> None:
    claims = replace(CLAIMS, digest_hash="sha256", status="https://example.org/status#7")
    assert mark.read(mark.issue(claims, MARK_KEY)).claims == claims


def test_a_mark_gives_back_its_text() -> None:
    assert mark.read(good()).text == good()


def test_a_mark_counts_to_its_last_second() -> None:
    assert mark.verify(good(), trust=trust(), now=CLAIMS.expires - DAY / 86400).claims == CLAIMS


def test_a_little_clock_skew_is_allowed() -> None:
    assert mark.verify(good(), trust=trust(), now=CLAIMS.issued - mark.CLOCK_SKEW).claims == CLAIMS


def test_who_signed_an_expired_mark_can_still_be_said() -> None:
    text = (FOLDER / "expiry" / "expired.txt").read_text(encoding="utf-8").removesuffix("\n")
    assert mark.verify_signature(text, trust=trust()).kid == MARK_KEY.kid


def test_what_is_signed_is_the_signature_structure_of_cose() -> None:
    # FOREIGN_COSE was made and verified by other tools, with the SM2 key of GB/T 32918.5 and other claims
    protected, _, payload, signature = cbor2.loads(bytes.fromhex(FOREIGN_COSE)).value
    structure = cbor2.dumps(["Signature1", protected, b"", payload])
    raw_verifier("SM2", SM2_PUBLIC).verify(structure, signature)
    own = mark.read(good())
    protected, _, payload, _ = cbor2.loads(own.data).value
    assert own.message.signed == cbor2.dumps(["Signature1", protected, b"", payload])


def test_a_cose_message_that_is_no_mark_is_refused() -> None:
    with pytest.raises(MarkRefused) as refusal:
        mark.read(bytes.fromhex(FOREIGN_COSE))
    assert refusal.value.step == "format"


BAD_CLAIMS: dict[str, Claims] = {
    "mark id of 15 bytes": replace(CLAIMS, mark_id=bytes(15)),
    "item of 65 characters": replace(CLAIMS, item="1" * 65),
    "expires when issued": replace(CLAIMS, expires=CLAIMS.issued),
    "owner in capitals": replace(CLAIMS, issuer="CQ"),
    "another version": replace(CLAIMS, version=2),
}


@pytest.mark.parametrize("case", BAD_CLAIMS)
def test_claims_that_no_reader_would_take_are_not_signed(case: str) -> None:
    with pytest.raises(MarkRefused) as refusal:
        mark.issue(BAD_CLAIMS[case], MARK_KEY)
    assert refusal.value.step == "format"


@given(data=st.binary(max_size=400))
def test_bytes_that_are_no_mark_are_refused_as_such(data: bytes) -> None:
    with pytest.raises(MarkRefused):
        mark.read(data)


@given(text=st.text(max_size=60))
def test_text_that_is_no_mark_is_refused_as_such(text: str) -> None:
    with pytest.raises(MarkRefused):
        mark.read("XR1:" + text)


@given(position=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_bit_of_a_mark_can_be_changed(position: int, bit: int) -> None:
    data = bytearray(mark.issue(CLAIMS, MARK_KEY))
    data[position % len(data)] ^= 1 << bit
    with pytest.raises(MarkRefused):
        _verify(bytes(data))


@given(data=st.binary(max_size=100))
def test_base45_gives_the_bytes_back(data: bytes) -> None:
    assert _base45.decode(_base45.encode(data)) == data


@given(text=st.text(alphabet="0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:", max_size=30))
def test_base45_has_one_form(text: str) -> None:
    try:
        data = _base45.decode(text)
    except ValueError:
        return
    assert _base45.encode(data) == text


@pytest.mark.parametrize(
    ("data", "text"), [(b"AB", "BB8"), (b"Hello!!", "%69 VD92EX0"), (b"base-45", "UJCLQE7W581")]
)
def test_base45_encodes_the_examples_of_rfc_9285(data: bytes, text: str) -> None:
    assert _base45.encode(data) == text


@pytest.mark.parametrize("text", ["GGW", ":::", "A", "AAAA", "::", "bb8", "ab"])
def test_base45_refuses_what_rfc_9285_forbids(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        _base45.decode(text)
