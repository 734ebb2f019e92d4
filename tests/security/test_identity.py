"""Numbers and pseudonyms. Every number here is made up: its area code 999999 is nobody's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from security.errors import IdentityRefused, KeyStoreError
from security.identity import (
    IDENTIFIER_TYPES,
    RESIDENT_SYSTEM,
    identifier,
    identifier_in,
    organisation_code,
    resident_number,
)
from security.pseudonym import Pseudonymiser

GOOD = "999999199001010016"
WITH_X = "99999919900101018X"
KEY = bytes(range(32))


def _checked(body: str) -> str:
    """The 17 digits with their check character, worked out by the definition of ISO 7064 MOD 11-2."""
    remainder = 0
    for digit in body:
        remainder = (remainder + int(digit)) * 2 % 11
    value = (12 - remainder) % 11
    return body + ("X" if value == 10 else str(value))


def test_the_made_up_numbers_are_right_by_the_definition() -> None:
    assert _checked(GOOD[:17]) == GOOD
    assert _checked(WITH_X[:17]) == WITH_X


@pytest.mark.parametrize(
    "written",
    [
        "99999919900101018x",
        " 99999919900101018X ",
        "９９９９９９１９９００１０１０１８Ｘ",
        "99999919900101018ｘ\u3000",
    ],
)
def test_the_spellings_of_a_resident_number_become_one(written: str) -> None:
    assert resident_number(written) == WITH_X


def test_a_number_of_15_digits_is_extended() -> None:
    assert resident_number("999999900101001") == GOOD


BAD_NUMBERS = {
    "a wrong check character": "999999199001010017",
    "x where the check is a digit": "99999919900101001X",
    "a day that is not": _checked("99999919900230001"),
    "a month that is not": _checked("99999919901301001"),
    "a birth date to come": _checked("99999929900101001"),
    "a birth date of long ago": _checked("99999917900101001"),
    "17 digits": GOOD[:17],
    "19 digits": GOOD + "0",
    "a letter inside": "9999991990010A0016",
    "zero at the start": _checked("09999919900101001"),
    "digits of another script": "٩٩٩٩٩٩١٩٩٠٠١٠١٠٠١٦",
    "a superscript digit": "99999919900101001²",
    "spaces inside": "999999 19900101 0016",
    "15 digits with an impossible date": "999999901301001",
    "nothing": "",
}


@pytest.mark.parametrize("case", BAD_NUMBERS)
def test_a_resident_number_is_refused_for(case: str) -> None:
    with pytest.raises(IdentityRefused):
        resident_number(BAD_NUMBERS[case])


@pytest.mark.parametrize("case", [case for case in BAD_NUMBERS if BAD_NUMBERS[case]])
def test_the_refusal_never_repeats_the_number(case: str) -> None:
    with pytest.raises(IdentityRefused) as refusal:
        resident_number(BAD_NUMBERS[case])
    assert BAD_NUMBERS[case] not in str(refusal.value)
    assert refusal.value.__cause__ is None
    assert refusal.value.__suppress_context__ or refusal.value.__context__ is None


@given(
    body=st.from_regex(r"[1-9][0-9]{5}19[5-9][0-9]0[1-9]1[0-9][0-9]{3}", fullmatch=True),
    place=st.integers(0, 16),
    step=st.integers(1, 9),
)
def test_one_changed_digit_is_always_noticed(body: str, place: int, step: int) -> None:
    number = _checked(body)
    assert resident_number(number) == number
    changed = number[:place] + str((int(number[place]) + step) % 10) + number[place + 1 :]
    with pytest.raises(IdentityRefused):
        resident_number(changed)


@given(text=st.text(max_size=30))
def test_no_text_makes_a_number_fail_otherwise(text: str) -> None:
    for read in (resident_number, organisation_code, *IDENTIFIER_TYPES.values()):
        try:
            read(text)
        except IdentityRefused:
            continue


def test_identifiers_have_the_system_of_their_type() -> None:
    assert identifier("resident-id", GOOD).system == "urn:oid:2.16.156.10011.1.3"
    assert identifier("health-card", "A" * 64).system == "urn:oid:2.16.156.10011.1.19"
    passport = identifier("passport", "usa:x12345678")
    assert (passport.system, passport.value) == ("http://hl7.org/fhir/sid/passport-USA", "X12345678")


def test_an_unknown_identifier_type_is_refused_with_those_accepted() -> None:
    with pytest.raises(IdentityRefused, match="resident-id, passport, health-card"):
        identifier("driving-licence", "1")


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("passport", "12345678"),
        ("passport", "CN:1234567"),
        ("health-card", "1"),
        ("health-card", "a b c d e f g"),
    ],
)
def test_a_malformed_identifier_is_refused(type_: str, value: str) -> None:
    with pytest.raises(IdentityRefused):
        identifier(type_, value)


@pytest.mark.parametrize(
    ("type_", "text"), [("resident-id", GOOD), ("passport", "USA:X12345678"), ("health-card", "A1234567")]
)
def test_an_identifier_comes_back_from_its_text_and_from_its_system(type_: str, text: str) -> None:
    person = identifier(type_, text)
    assert person.text == text
    assert identifier(type_, person.text) == identifier_in(person.system, person.value) == person


@pytest.mark.parametrize("system", ["", "urn:oid:2.16.156.10011.1.11", RESIDENT_SYSTEM + "0"])
def test_an_identifier_of_another_system_is_not_taken(system: str) -> None:
    assert identifier_in(system, GOOD) is None


@pytest.mark.parametrize("value", [GOOD[:17], "USA:X12345678"])
def test_a_malformed_value_of_an_accepted_system_is_refused(value: str) -> None:
    with pytest.raises(IdentityRefused):
        identifier_in(RESIDENT_SYSTEM, value)


def test_printing_an_identifier_hides_its_number() -> None:
    assert GOOD not in repr(identifier("resident-id", GOOD))


def test_a_unified_social_credit_code_is_checked() -> None:
    assert organisation_code("91350100m000100y43") == "91350100M000100Y43"  # the example of GB 32100-2015


@pytest.mark.parametrize("code", ["91350100M000100Y44", "91350100M000100Y4", "I1350100M000100Y43", ""])
def test_a_wrong_unified_social_credit_code_is_refused(code: str) -> None:
    with pytest.raises(IdentityRefused):
        organisation_code(code)


def test_a_pseudonym_is_the_same_for_every_spelling() -> None:
    maker = Pseudonymiser(KEY, "2026a")
    assert maker.for_recipient("resident-id", "999999900101001", "sc") == maker.for_recipient(
        "resident-id", GOOD, "sc"
    )


def test_a_pseudonym_stays_what_it_is() -> None:
    made = Pseudonymiser(KEY, "2026a").for_recipient("resident-id", GOOD, "sc")
    assert made == "2026a.5jKEx0893tlDTUaLd8qqiD4B4Ux2SoSlKWHlK8M_Yd8"


def test_pseudonyms_differ_by_person_type_recipient_epoch_and_key() -> None:
    maker = Pseudonymiser(KEY, "2026a")
    made = {
        maker.for_recipient("resident-id", GOOD, "sc"),
        maker.for_recipient("resident-id", WITH_X, "sc"),
        maker.for_recipient("health-card", GOOD, "sc"),
        maker.for_recipient("resident-id", GOOD, "lab8"),
        Pseudonymiser(KEY, "2026b").for_recipient("resident-id", GOOD, "sc"),
        Pseudonymiser(KEY[::-1], "2026a").for_recipient("resident-id", GOOD, "sc"),
    }
    assert len({text.partition(".")[2] for text in made}) == 6


def test_a_pseudonym_holds_nothing_of_the_number() -> None:
    assert GOOD[6:14] not in Pseudonymiser(KEY, "2026a").for_recipient("resident-id", GOOD, "sc")


@pytest.mark.parametrize(
    ("key", "epoch"), [(bytes(31), "2026a"), (KEY, ""), (KEY, "2026.a"), (KEY, "a" * 17)]
)
def test_a_short_key_or_an_unfit_epoch_is_refused(key: bytes, epoch: str) -> None:
    with pytest.raises(KeyStoreError):
        Pseudonymiser(key, epoch)


def test_a_malformed_number_gets_no_pseudonym() -> None:
    with pytest.raises(IdentityRefused):
        Pseudonymiser(KEY, "2026a").for_recipient("resident-id", GOOD[:17], "sc")
