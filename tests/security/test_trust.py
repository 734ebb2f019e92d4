"""Key lists over the life of their roots: taken over, turned, ended, and never rolled back."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace

from security.errors import KeyListRefused, UnknownKey
from security.keys import KeyPair, PublicKey
from security.trust import TrustList, read_key_list, sign_key_list, signed_by
from tests.security.material import (
    DAY,
    MARK_KEY,
    NOW,
    ROOT,
    SC_ROOT,
    envelope,
    fixed_ed25519,
    key_list,
    trust,
)

TURN = NOW - 10 * DAY
NEW_ROOT = fixed_ed25519("cq", "root", "b")
NEW = replace(NEW_ROOT.public, not_before=TURN)
NEW_PAIR = KeyPair(NEW, NEW_ROOT.pkcs8)
"""The root that follows ROOT from TURN on."""


def ended(root: KeyPair, at: datetime) -> PublicKey:
    """The record of a root that was retired."""
    return replace(root.public, status="retired", not_after=at)


def signed(*roots: KeyPair, issued: datetime, version: int = 1) -> bytes:
    return sign_key_list(key_list(MARK_KEY, version=version, issued=issued), roots)


def test_an_envelope_says_which_roots_signed_it() -> None:
    assert signed_by(signed(ROOT, NEW_PAIR, issued=NOW)) == {ROOT.kid, NEW.kid}


def test_what_is_no_envelope_says_nothing() -> None:
    with pytest.raises(KeyListRefused, match="not a signed key list"):
        signed_by(b"{}")


@pytest.mark.parametrize("pins", [[ROOT.public], [NEW], [ROOT.public, NEW]], ids=["old", "new", "both"])
def test_while_a_root_turns_either_may_be_pinned(pins: list[PublicKey]) -> None:
    taken = TrustList(pins).add(signed(ROOT, NEW_PAIR, issued=NOW - DAY), NOW)
    assert taken.lists["cq"].version == 1


def test_after_the_old_root_has_ended_its_signature_is_not_asked_for() -> None:
    pins = [ended(ROOT, NOW - 2 * DAY), NEW]
    assert TrustList(pins).add(signed(NEW_PAIR, issued=NOW - DAY), NOW).lists["cq"].version == 1


def test_a_list_of_the_time_before_the_turn_is_read_with_todays_pins() -> None:
    pins = [ended(ROOT, NOW - 2 * DAY), NEW]
    assert read_key_list(signed(ROOT, issued=TURN - DAY), pins).version == 1


def test_a_root_that_has_ended_signs_no_list_that_counts_now() -> None:
    backdated = signed(ROOT, issued=TURN - DAY)
    with pytest.raises(KeyListRefused, match=f"not signed by its pinned root {NEW.kid}"):
        TrustList([ended(ROOT, NOW - 2 * DAY), NEW]).add(backdated, NOW)


def test_a_list_backdated_by_both_roots_is_refused_too() -> None:
    with pytest.raises(KeyListRefused, match="counts from"):
        TrustList([ended(ROOT, NOW), NEW]).add(signed(ROOT, NEW_PAIR, issued=TURN - DAY), NOW)


def test_a_compromised_root_signs_nothing() -> None:
    with pytest.raises(KeyListRefused, match="compromised"):
        read_key_list(envelope(), [replace(ROOT.public, status="compromised")])


def test_the_signature_of_a_new_root_alone_does_not_do_while_the_old_one_counts() -> None:
    with pytest.raises(KeyListRefused, match=f"not signed by its pinned root {ROOT.kid}"):
        TrustList([ROOT.public, NEW]).add(signed(NEW_PAIR, issued=NOW - DAY), NOW)


def test_a_list_of_the_future_is_refused() -> None:
    with pytest.raises(KeyListRefused, match="compare the clocks"):
        TrustList([ROOT.public]).add(signed(ROOT, issued=NOW + timedelta(hours=1)), NOW)


def test_a_clock_a_little_ahead_does_no_harm() -> None:
    ahead = signed(ROOT, issued=NOW + timedelta(minutes=1))
    assert TrustList([ROOT.public]).add(ahead, NOW).lists["cq"].version == 1


def test_a_list_that_has_expired_is_not_relied_on_any_more() -> None:
    with pytest.raises(UnknownKey):
        trust().fresh(NOW + 31 * DAY).key(MARK_KEY.kid, NOW, "mark")


def test_an_expired_list_leaves_the_others_alone() -> None:
    lasting = replace(key_list(owner="sc"), expires=NOW + 99 * DAY)
    held = trust().add(sign_key_list(replace(lasting, version=2), [SC_ROOT]), NOW)
    assert set(held.fresh(NOW + 31 * DAY).lists) == {"sc"}


def test_while_all_are_fresh_nothing_changes() -> None:
    held = trust()
    assert held.fresh(NOW) is held
