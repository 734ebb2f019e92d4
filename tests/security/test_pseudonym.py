"""Pseudonyms under one key. Every number here is made up: its area code 999999 is nobody's."""

from __future__ import annotations

import pytest

from security.errors import KeyStoreError
from security.identity import identifier
from security.pseudonym import PseudonymKey, Pseudonyms

GOOD = "999999199001010016"
WITH_X = "99999919900101018X"
KEY = bytes(range(32))
PERSON = identifier("resident-id", GOOD)


def test_a_pseudonym_is_the_same_for_every_spelling() -> None:
    old = identifier("resident-id", "999999900101001")
    assert PseudonymKey(KEY, "2026a").pseudonym(old, "sc") == PseudonymKey(KEY, "2026a").pseudonym(
        PERSON, "sc"
    )


def test_a_pseudonym_stays_what_it_is() -> None:
    made = PseudonymKey(KEY, "2026a").pseudonym(PERSON, "sc")
    assert made == "2026a.5jKEx0893tlDTUaLd8qqiD4B4Ux2SoSlKWHlK8M_Yd8"


def test_pseudonyms_differ_by_person_type_recipient_epoch_and_key() -> None:
    maker = PseudonymKey(KEY, "2026a")
    made = {
        maker.pseudonym(PERSON, "sc"),
        maker.pseudonym(identifier("resident-id", WITH_X), "sc"),
        maker.pseudonym(identifier("health-card", GOOD), "sc"),
        maker.pseudonym(PERSON, "lab8"),
        PseudonymKey(KEY, "2026b").pseudonym(PERSON, "sc"),
        PseudonymKey(KEY[::-1], "2026a").pseudonym(PERSON, "sc"),
    }
    assert len({text.partition(".")[2] for text in made}) == 6


def test_a_pseudonym_holds_nothing_of_the_number() -> None:
    assert GOOD[6:14] not in PseudonymKey(KEY, "2026a").pseudonym(PERSON, "sc")


@pytest.mark.parametrize(
    ("key", "epoch"), [(bytes(31), "2026a"), (KEY, ""), (KEY, "2026.a"), (KEY, "a" * 17)]
)
def test_a_short_key_or_an_unfit_epoch_is_refused(key: bytes, epoch: str) -> None:
    with pytest.raises(KeyStoreError):
        PseudonymKey(key, epoch)


def test_printing_a_key_hides_it() -> None:
    assert repr(PseudonymKey(KEY, "2026a")) == "PseudonymKey(epoch 2026a)"


def test_all_pseudonyms_begin_with_the_one_that_new_things_are_kept_under() -> None:
    assert Pseudonyms("2027a.x", ("2026b.x", "2026a.x")).all == ("2027a.x", "2026b.x", "2026a.x")
