"""Numbers of persons and organisations. Every number here is made up: area code 999999 is nobody's."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from security.errors import IdentityRefused
from security.identity import (
    IDENTIFIER_TYPES,
    RESIDENT_SYSTEM,
    Identifier,
    identifier,
    identifier_in,
    known_type,
    organisation_code,
    resident_number,
)

GOOD = "999999199001010016"
WITH_X = "99999919900101018X"


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
    with pytest.raises(IdentityRefused, match="resident-id, residence-permit, permanent-residence, passport"):
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


# The two numbers of the Immigration Administration's note on the card of 2023; the old form of one of them.
@pytest.mark.parametrize("number", ["911124198108030024", "932682198501010017"])
def test_a_permanent_residence_card_of_2023_is_one_identifier_with_the_resident_number(number: str) -> None:
    card = identifier("permanent-residence", number)
    assert card == identifier("resident-id", number) == identifier_in(RESIDENT_SYSTEM, number)


def test_an_earlier_permanent_residence_card_has_three_letters_and_12_digits() -> None:
    card = identifier("permanent-residence", "can110081080310")
    assert (card.type, card.value) == ("permanent-residence", "CAN110081080310")


@pytest.mark.parametrize("area", ["810000", "820000", "830000"])
def test_a_residence_permit_carries_a_resident_number(area: str) -> None:
    number = _checked(f"{area}19900101001")
    assert identifier("residence-permit", number) == identifier("resident-id", number)


@pytest.mark.parametrize(
    "written", ["H01234567", "h01234567", "H0123456700", "H0123456712", "Ｈ０１２３４５６７"]
)
def test_the_count_of_cards_is_no_part_of_a_permit_of_hong_kong_or_macao_residents(written: str) -> None:
    assert identifier("hk-macao-permit", written).value == "H01234567"


@pytest.mark.parametrize("number", ["01234567", "0123456701"])
def test_a_permit_of_taiwan_residents_has_8_or_10_digits(number: str) -> None:
    assert identifier("taiwan-permit", number).value == number


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("residence-permit", GOOD),
        ("residence-permit", _checked("84000019900101001")),
        ("permanent-residence", _checked("11010119900101001")),
        ("permanent-residence", "911124198108030025"),
        ("permanent-residence", "999999900101001"),
        ("permanent-residence", "CAN11008108031"),
        ("permanent-residence", "CA1110081080310"),
        ("hk-macao-permit", "C01234567"),
        ("hk-macao-permit", "H0123456"),
        ("hk-macao-permit", "H012345671"),
        ("taiwan-permit", "0123456"),
        ("taiwan-permit", "012345678"),
        ("taiwan-permit", "T1234567"),
    ],
)
def test_a_malformed_permit_or_card_is_refused_and_not_repeated(type_: str, value: str) -> None:
    with pytest.raises(IdentityRefused) as refusal:
        identifier(type_, value)
    assert value not in str(refusal.value)


@pytest.mark.parametrize(
    ("code", "type_", "value"),
    [
        ("01", "resident-id", GOOD),
        ("03", "passport", "USA:X12345678"),
        ("06", "hk-macao-permit", "M01234567"),
        ("07", "taiwan-permit", "01234567"),
    ],
)
def test_the_code_of_ws_364_names_the_type_too(code: str, type_: str, value: str) -> None:
    assert known_type(code)
    assert identifier(code, value) == identifier(type_, value)


def test_a_code_of_a_document_that_is_not_taken_is_unknown() -> None:
    assert not known_type("04")  # 军官证: no rule for its number is public


@given(
    text=st.text(alphabet="0123456789HMCANXhmx:- Ｈ０", max_size=24),
    type_=st.sampled_from([*IDENTIFIER_TYPES]),
)
def test_what_was_made_canonical_stays_as_it_is(text: str, type_: str) -> None:
    with suppress(IdentityRefused):
        person = identifier(type_, text)
        assert identifier(person.type, person.text) == identifier_in(person.system, person.value) == person


@given(serial=st.integers(0, 99_999_999), first=st.sampled_from("HM"), cards=st.integers(0, 99))
def test_a_permit_renewed_is_the_same_person(serial: int, first: str, cards: int) -> None:
    life = f"{first}{serial:08d}"
    assert identifier("hk-macao-permit", f"{life}{cards:02d}") == identifier("hk-macao-permit", life)


@given(text=st.from_regex(r"9[0-9]{16}[0-9X]", fullmatch=True))
def test_a_number_is_the_same_person_whichever_of_the_two_cards_it_is_written_for(text: str) -> None:
    found: list[Identifier | None] = []
    for type_ in ("resident-id", "permanent-residence"):
        try:
            found.append(identifier(type_, text))
        except IdentityRefused:
            found.append(None)
    assert found[0] == found[1]
