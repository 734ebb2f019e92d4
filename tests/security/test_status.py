"""Status lists: what is withdrawn is found, nothing else is, and each broken list is refused at its step."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from security import _cose, mark, status
from security.errors import MarkRefused, StatusRefused
from security.keys import Algorithm, KeyPair
from security.status import StatusList, Withdrawn
from tests.security.material import (
    CLAIMS,
    COMPROMISED_KEY,
    DAY,
    LOG_KEY,
    MARK_KEY,
    NOW,
    SC_MARK_KEY,
    fixed_ed25519,
    new_key,
    trust,
)

ISSUED = NOW - DAY / 2
ONE = Withdrawn(bytes(range(16)), "amended", NOW - DAY)


def made(*withdrawn: Withdrawn, key: KeyPair = MARK_KEY, number: int = 1, issued: datetime = ISSUED) -> bytes:
    return status.issue(withdrawn, key, number=number, issued=issued, fresh=DAY)


def verified(data: bytes, **more: Any) -> StatusList:
    arguments: dict[str, Any] = {"trust": trust(), "now": NOW} | more
    return status.verify(data, **arguments)


def many(count: int) -> list[Withdrawn]:
    return [Withdrawn(number.to_bytes(16), "evaluation-failed", NOW - DAY) for number in range(1, count + 1)]


@pytest.mark.parametrize("algorithm", ["Ed25519", "ES256", "SM2"])
def test_a_list_of_each_algorithm_counts(algorithm: Algorithm) -> None:
    key = MARK_KEY if algorithm == "Ed25519" else new_key(algorithm)
    assert list(verified(made(ONE, key=key))) == [ONE]


def test_an_empty_list_counts() -> None:
    assert len(verified(made(number=0))) == 0


@given(
    ids=st.sets(st.binary(min_size=16, max_size=16), max_size=40),
    other=st.binary(min_size=16, max_size=16),
    reason=st.sampled_from(sorted(status.REASONS)),
)
def test_what_is_withdrawn_is_found_and_nothing_else(
    ids: set[bytes], other: bytes, reason: status.Reason
) -> None:
    held = status.read(made(*(Withdrawn(id_, reason, NOW) for id_ in ids - {bytes(16)})))
    assert {one.mark_id for one in held} == ids - {bytes(16)}
    assert all(held.find(one.mark_id) == one for one in held)
    assert (held.find(other) is not None) == (other in ids - {bytes(16)})


@pytest.mark.parametrize(("count", "size"), [(1, 152), (1_000, 21_135), (100_000, 2_100_139)])
def test_a_list_is_as_small_as_its_page_says(count: int, size: int) -> None:
    assert abs(len(made(*many(count))) - size) <= 4


def test_a_withdrawn_mark_is_refused_with_reason_and_time() -> None:
    with pytest.raises(MarkRefused, match=r"2026-11-21 18:00.*the report was amended") as refusal:
        mark.verify(
            mark.issue(CLAIMS, MARK_KEY), trust=trust(), now=NOW, withdrawn=verified(made(ONE)).withdrawn
        )
    assert refusal.value.step == "withdrawn"


def test_the_list_of_another_issuer_says_nothing_of_a_mark() -> None:
    theirs = verified(made(key=SC_MARK_KEY))
    assert theirs.withdrawn(CLAIMS) == "the status list is of 'sc', the mark of 'cq'"


def test_a_mark_that_is_not_listed_is_not_withdrawn() -> None:
    assert verified(made(ONE)).withdrawn(replace(CLAIMS, mark_id=bytes(16))) == ""


def test_a_mark_is_no_status_list_and_a_status_list_no_mark() -> None:
    with pytest.raises(StatusRefused, match="header"):
        status.read(mark.issue(CLAIMS, MARK_KEY))
    with pytest.raises(MarkRefused, match="header"):
        mark.read(made(ONE))


def test_replicas_may_sign_one_number_at_different_times() -> None:
    later = verified(made(ONE, number=4))
    assert len(verified(made(ONE, number=4, issued=ISSUED - DAY / 24), held=later)) == 1


def signed(changes: dict[int, object]) -> bytes:
    """A list with a valid signature over claims that no honest signer would write; None takes one away."""
    claims = cbor2.loads(status.read(made(ONE)).message.payload) | changes
    left = {number: value for number, value in claims.items() if value is not None}
    return _cose.sign(_cose.encode(left), MARK_KEY, status.TYPE)


def changed(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position:][1:]


RECORD = ONE.mark_id + b"\1" + bytes(4)
HELD = status.read(made(ONE, number=5))
BROKEN: dict[str, tuple[Callable[[], bytes], dict[str, Any]]] = {
    "format/not cbor": (lambda: b"\xff" * 40, {}),
    "format/truncated": (lambda: made(ONE)[:-1], {}),
    "format/byte after the end": (lambda: made(ONE) + b"\0", {}),
    "format/version 2": (lambda: signed({0: 2}), {}),
    "format/claim missing": (lambda: signed({20: None}), {}),
    "format/unknown claim": (lambda: signed({99: 1}), {}),
    "format/number as text": (lambda: signed({20: "1"}), {}),
    "format/number below 0": (lambda: signed({20: -1}), {}),
    "format/time beyond the calendar": (lambda: signed({4: 2**62}), {}),
    "format/ends when issued": (lambda: signed({4: int(ISSUED.timestamp())}), {}),
    "format/half a withdrawal": (lambda: signed({21: RECORD[:-1]}), {}),
    "format/unknown reason": (lambda: signed({21: RECORD[:16] + b"\x09" + RECORD[17:]}), {}),
    "format/withdrawn twice": (lambda: signed({21: RECORD * 2}), {}),
    "format/out of order": (lambda: signed({21: b"\xff" * 16 + RECORD[16:] + RECORD}), {}),
    "key/unknown": (lambda: made(ONE, key=fixed_ed25519("cq", "mark", "u")), {}),
    "key/for another purpose": (lambda: made(ONE, key=LOG_KEY), {}),
    "key/compromised": (lambda: made(ONE, key=COMPROMISED_KEY), {}),
    "key/of another issuer": (lambda: signed({1: "sc"}), {}),
    "signature/changed": (lambda: changed(made(ONE), -1), {}),
    "signature/mark id changed": (lambda: made(ONE).replace(ONE.mark_id, ONE.mark_id[:-1] + b"\xee"), {}),
    "freshness/over": (lambda: made(ONE), {"now": ISSUED + DAY}),
    "freshness/issued in the future": (lambda: made(ONE), {"now": ISSUED - DAY / 24}),
    "rollback/older than the held one": (lambda: made(number=4), {"held": HELD}),
    "rollback/of another issuer": (lambda: made(key=SC_MARK_KEY, number=9), {"held": HELD}),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_list_is_refused_at_its_step(case: str) -> None:
    make, more = BROKEN[case]
    with pytest.raises(StatusRefused) as refusal:
        verified(make(), **more)
    assert refusal.value.step == case.partition("/")[0], refusal.value


def test_two_withdrawals_of_one_mark_are_not_signed() -> None:
    with pytest.raises(StatusRefused):
        made(ONE, ONE)


@given(data=st.binary(max_size=300))
def test_bytes_that_are_no_list_are_refused_as_such(data: bytes) -> None:
    with pytest.raises(StatusRefused):
        status.read(data)
