"""The one place that pseudonyms come from: its epochs, its rate, and what it does when the keys turn."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import SettingsError, TooManyRequests
from gateway.persons.pseudonyms import PURPOSE, REREAD, Persons
from security.identity import identifier
from security.keystore import KeyStore
from security.pseudonym import PseudonymKey, Pseudonyms

PERSON = identifier("resident-id", "999999199001010016")
NOW = datetime(2026, 11, 22, tzinfo=UTC)


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> KeyStore:
    """Keys that no test changes."""
    store = KeyStore(tmp_path_factory.mktemp("persons") / "keys", b"a passphrase of a test")
    store.new_secret(PURPOSE, NOW)
    return store


@pytest.fixture
def keys(tmp_path: Path) -> KeyStore:
    store = KeyStore(tmp_path / "keys", b"a passphrase of a test")
    store.new_secret(PURPOSE, NOW)
    return store


def of(persons: Persons, recipient: str = "cq") -> Pseudonyms:
    return asyncio.run(persons.pseudonyms(PERSON, recipient))


def test_a_pseudonym_is_made_under_the_secret_of_the_key_store(keys: KeyStore) -> None:
    ((id_, secret),) = keys.secrets(PURPOSE).items()
    epoch = id_.removeprefix("pseudonym-")
    persons = Persons(keys, 60)
    assert persons.epoch == epoch == "202611a"
    assert of(persons) == Pseudonyms(PseudonymKey(secret, epoch).pseudonym(PERSON, "cq"))


def test_a_new_epoch_is_taken_up_while_running_and_the_former_one_is_still_found(keys: KeyStore) -> None:
    clock = Clock()
    persons = Persons(keys, 60, clock=clock)
    before = of(persons)
    keys.new_secret(PURPOSE, NOW + timedelta(days=40))
    assert of(persons) == before
    clock.now += REREAD
    after = of(persons)
    assert (persons.epoch, after.former) == ("202701a", (before.current,))
    assert after.current != before.current


def test_epochs_come_newest_first(keys: KeyStore) -> None:
    keys.new_secret(PURPOSE, NOW)
    keys.new_secret(PURPOSE, NOW + timedelta(days=40))
    made = of(Persons(keys, 60))
    assert [one.partition(".")[0] for one in made.all] == ["202701a", "202611b", "202611a"]


def test_keys_that_cannot_be_read_any_more_go_on_in_memory(keys: KeyStore, tmp_path: Path) -> None:
    clock = Clock()
    persons = Persons(keys, 60, clock=clock)
    before = of(persons)
    (file,) = (tmp_path / "keys").glob("*.secret")
    file.write_bytes(b"damaged")
    clock.now += REREAD
    assert of(persons) == before


def test_without_a_key_it_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="lianren keys new"):
        Persons(KeyStore(tmp_path / "keys", b"a passphrase of a test"), 60)


def test_what_is_over_the_rate_is_refused_until_there_is_room_again(keys: KeyStore) -> None:
    clock = Clock()
    persons = Persons(keys, 3, clock=clock)
    for _ in range(3):
        of(persons)
    with pytest.raises(TooManyRequests) as refused:
        of(persons)
    assert refused.value.retry_after == 20
    assert PERSON.value not in str(refused.value)
    clock.now += refused.value.retry_after
    of(persons)
    with pytest.raises(TooManyRequests):
        of(persons)


def test_what_one_minute_leaves_is_not_saved_beyond_one_minute(keys: KeyStore) -> None:
    clock = Clock()
    persons = Persons(keys, 2, clock=clock)
    clock.now += 3600
    of(persons)
    of(persons)
    with pytest.raises(TooManyRequests):
        of(persons)


@settings(max_examples=50)
@given(steps=st.lists(st.floats(0, 40), min_size=1, max_size=60), rate=st.integers(1, 20))
def test_in_no_span_more_is_made_than_the_rate_allows(
    shared: KeyStore, steps: list[float], rate: int
) -> None:
    clock = Clock()
    persons = Persons(shared, rate, clock=clock)
    made = 0
    for step in steps:
        clock.now += step
        try:
            of(persons)
            made += 1
        except TooManyRequests:
            continue
    assert made <= rate + sum(steps) * rate / 60 + 1e-6
