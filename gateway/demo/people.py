"""The synthetic persons of the demonstration: the same people, with the same numbers, on every machine.

Nobody real can be meant: every name says 示例患者 (example patient), and every resident number carries the
area code 990000, which GB/T 2260 never assigned. The check digit is right (GB 11643-1999), so that the
numbers pass the same control as real ones.
"""

from __future__ import annotations

from datetime import date
from typing import Literal

from msgspec import Struct

AREA = "990000"
INSTITUTIONS = {
    "EX-CQ-01": "重庆示例第一医院",
    "EX-CQ-02": "万州示例医院",
    "EX-SC-01": "成都示例医院",
    "EX-SC-02": "绵阳示例医院",
    "EX-HB-01": "武汉示例医院",
    "EX-HA-01": "郑州示例医院",
    "EX-HN-01": "长沙示例医院",
    "EX-HI-01": "海口示例医院",
    "EX-SX-01": "太原示例医院",
    "EX-JX-01": "南昌示例医院",
    "EX-GX-01": "南宁示例医院",
    "EX-NX-01": "银川示例医院",
}
"""The made-up institutions: code and name."""


class Person(Struct, frozen=True):
    """One synthetic person. ``mrns`` gives the local patient number by institution."""

    key: str
    number: str
    name: str
    pinyin: str
    gender: Literal["male", "female"]
    birth_date: date
    mrns: dict[str, str]

    @property
    def dicom_name(self) -> str:
        """The name as a PN value: alphabetic group, then ideographic group (PS3.5 §6.2.1)."""
        return f"Shili^Huanzhe {self.pinyin}=示例^{self.name.removeprefix('示例')}"


def check_digit(first_17: str) -> str:
    """The last character of a resident number, ISO 7064 MOD 11-2 (GB 11643-1999 §3.5).

    Raises:
        ValueError: not 17 digits.
    """
    if len(first_17) != 17 or not first_17.isascii() or not first_17.isdigit():
        raise ValueError("a resident number has 17 digits before its check digit")
    total = sum(int(digit) * pow(2, 17 - place, 11) for place, digit in enumerate(first_17))
    return "10X98765432"[total % 11]


def _person(serial: int, key: str, character: str, pinyin: str, female: bool, born: str) -> Person:
    birth_date = date.fromisoformat(born)
    order = serial * 2 + (
        0 if female else 1
    )  # the last digit of the order code is odd for men, even for women
    first_17 = f"{AREA}{birth_date:%Y%m%d}{order:03d}"
    return Person(
        key=key,
        number=first_17 + check_digit(first_17),
        name=f"示例患者{character}",
        pinyin=pinyin,
        gender="female" if female else "male",
        birth_date=birth_date,
        mrns={code: f"{code[3:5]}{code[-2:]}{7000 + serial * 13:06d}" for code in INSTITUTIONS},
    )


# 㛃 (U+36C3) needs four bytes in GB18030 and 喆 (U+5586) is not in GB 2312: both are met in real names.
PEOPLE = tuple(
    _person(serial, *row)
    for serial, row in enumerate(
        (
            ("jia", "甲", "Jia", False, "1968-03-14"),
            ("yi", "乙", "Yi", True, "1975-11-02"),
            ("bing", "丙", "Bing", False, "1959-07-29"),
            ("ding", "丁", "Ding", True, "1982-01-20"),
            ("wu", "戊", "Wu", False, "1990-05-06"),
            ("ji", "己", "Ji", True, "1971-09-18"),
            ("geng", "庚", "Geng", False, "1964-12-31"),
            ("xin", "辛", "Xin", True, "1988-08-08"),
            ("ren", "壬", "Ren", False, "1955-04-01"),
            ("gui", "癸", "Gui", True, "1996-02-29"),
            ("jie", "㛃", "Jie", True, "1979-06-15"),
            ("zhe", "喆", "Zhe", False, "1985-10-10"),
            ("zi", "子", "Zi", False, "2001-03-03"),
            ("chou", "丑", "Chou", True, "1948-08-22"),
            ("yin", "寅", "Yin", False, "1977-12-05"),
            ("mao", "卯", "Mao", True, "1993-07-07"),
        ),
        start=1,
    )
)
"""All persons, in the order of their serial numbers."""

BY_KEY = {person.key: person for person in PEOPLE}
"""The same persons by key."""
