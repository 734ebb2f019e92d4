from __future__ import annotations

import pytest

from gateway.demo.people import AREA, INSTITUTIONS, PEOPLE, check_digit


@pytest.mark.parametrize(
    ("first_17", "last"),
    [("11010519491231002", "X"), ("44052418800101001", "4")],  # the examples of GB 11643-1999
)
def test_the_check_digit_is_that_of_the_standard(first_17: str, last: str) -> None:
    assert check_digit(first_17) == last


def test_a_check_digit_of_anything_but_17_digits_is_refused() -> None:
    with pytest.raises(ValueError, match="17 digits"):
        check_digit("1101051949123100X")


def test_every_number_has_the_unassigned_area_and_a_right_check_digit() -> None:
    assert all(p.number[:6] == AREA and p.number[17] == check_digit(p.number[:17]) for p in PEOPLE)


def test_every_number_says_the_date_of_birth_and_the_gender_of_its_person() -> None:
    assert all(
        p.number[6:14] == f"{p.birth_date:%Y%m%d}" and (int(p.number[16]) % 2 == 1) == (p.gender == "male")
        for p in PEOPLE
    )


def test_no_two_persons_share_a_number_or_a_local_number() -> None:
    assert len({p.number for p in PEOPLE}) == len(PEOPLE)
    assert len({mrn for p in PEOPLE for mrn in p.mrns.values()}) == len(PEOPLE) * len(INSTITUTIONS)


def test_one_name_needs_four_bytes_in_gb18030() -> None:
    assert any(len(character.encode("gb18030")) == 4 for p in PEOPLE for character in p.name)
