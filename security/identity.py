"""Numbers of persons and organisations, in one canonical form each.

Resident numbers follow GB 11643-1999 (18 digits: area, birth date, sequence, check character of ISO 7064
MOD 11-2; numbers of 15 digits from before 1999 are extended). Organisation codes follow GB 32100-2015.
Errors never repeat a number: they end in logs.

| type | document | number | WS/T 364.3 |
|---|---|---|---|
| `resident-id` | 居民身份证 | resident number | 01 |
| `residence-permit` | 港澳居民居住证, 台湾居民居住证 | resident number of area 810000, 820000 or 830000 | – |
| `permanent-residence` | 外国人永久居留身份证 | 9 and the resident form, or 3 letters, 12 digits | – |
| `passport` | 护照 | country and number | 03 |
| `hk-macao-permit` | 港澳居民来往内地通行证 | H or M and 8 digits | 06 |
| `taiwan-permit` | 台湾居民来往大陆通行证 | 8 digits, or 10 | 07 |
| `health-card` | 电子健康卡, 居民健康卡 | 8 to 64 letters and digits | – |

A code of table CV02.01.101 (WS/T 364.3, 身份证件类别代码) is taken for the type, too. The first three types
share one space of numbers (the Immigration Administration's note of 2023 on the new card: the first digit
tells foreigners from citizens), so a person has one identifier whichever of them a hospital wrote.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime

from msgspec import Struct

from security.errors import IdentityRefused
from security.keys import SHANGHAI

_RESIDENT = re.compile(r"[1-9][0-9]{16}[0-9X]")
_RESIDENT_15 = re.compile(r"[1-9][0-9]{14}")
_RESIDENT_WEIGHTS = [2 ** (17 - place) % 11 for place in range(17)]
_RESIDENT_CHECKS = "10X98765432"
_ORGANISATION_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"  # GB 32100 leaves out I, O, S, V, Z
_ORGANISATION = re.compile(f"[{_ORGANISATION_ALPHABET}]{{18}}")
_PERMANENT_OLD = re.compile(r"[A-Z]{3}[0-9]{12}")
_HK_MACAO = re.compile(r"([HM][0-9]{8})([0-9]{2})?")
_TAIWAN = re.compile(r"[0-9]{8}([0-9]{2})?")
_PERMIT_AREAS = ("810000", "820000", "830000")
_PASSPORT = re.compile(r"([A-Z]{3}):([A-Z0-9]{5,20})")
_HEALTH_CARD = re.compile(r"[A-Z0-9]{8,64}")
_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}


class Identifier(Struct, frozen=True):
    """A person's number: its type, the URI of its system (FHIR Identifier.system) and its canonical value."""

    type: str
    system: str
    value: str

    @property
    def text(self) -> str:
        """The form that `identifier` reads back: with the country in front where the system names it."""
        country = self.system.removeprefix(PASSPORT_SYSTEM)
        return f"{country}:{self.value}" if country != self.system else self.value

    def __repr__(self) -> str:
        return f"Identifier({self.type}, …)"


def resident_number(text: str) -> str:
    """The canonical resident number 公民身份号码: 18 characters, full-width folded, X in upper case.

    Raises IdentityRefused for another length, an impossible birth date or a wrong check character.
    """
    number = _fold(text)
    if _RESIDENT_15.fullmatch(number):
        number = f"{number[:6]}19{number[6:]}"
        number += _resident_check(number)
    if not _RESIDENT.fullmatch(number):
        raise IdentityRefused("a resident number has 18 digits (the last may be X), or 15 in its old form")
    try:
        born = date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        born = date.min
    if not date(1900, 1, 1) <= born <= datetime.now(SHANGHAI).date():
        raise IdentityRefused("the birth date inside the resident number is not a date that can be")
    if number[17] != _resident_check(number):
        raise IdentityRefused("the check character of the resident number is wrong; compare it with the card")
    return number


def organisation_code(text: str) -> str:
    """The canonical unified social credit code 统一社会信用代码 (18 characters, GB 32100-2015).

    Raises IdentityRefused for another form or a wrong check character.
    """
    code = _fold(text)
    if not _ORGANISATION.fullmatch(code):
        raise IdentityRefused(
            "a unified social credit code has 18 digits and capitals, without I, O, S, V and Z"
        )
    total = sum(
        _ORGANISATION_ALPHABET.index(sign) * pow(3, place, 31) for place, sign in enumerate(code[:17])
    )
    if code[17] != _ORGANISATION_ALPHABET[-total % 31]:
        raise IdentityRefused("the check character of the unified social credit code is wrong")
    return code


def identifier(type: str, value: str) -> Identifier:  # noqa: A002 - the field's own name
    """The canonical identifier of an accepted type. Raises IdentityRefused, which lists the accepted ones.

    A passport is written as `<ISO 3166 alpha-3 country>:<number>`; the others as they stand on the card.
    """
    accepted = IDENTIFIER_TYPES.get(_TYPE_CODES.get(type, type))
    if accepted is None:
        raise IdentityRefused(f"unknown identifier type; accepted are {', '.join(IDENTIFIER_TYPES)}")
    return accepted(value)


def known_type(type: str) -> bool:  # noqa: A002 - the field's own name
    """Whether `identifier` takes this type, by its name or by its code."""
    return _TYPE_CODES.get(type, type) in IDENTIFIER_TYPES


def identifier_in(system: str, value: str) -> Identifier | None:
    """The canonical identifier of a FHIR Identifier's system and value; None for a system not accepted here.

    Raises IdentityRefused when the value is malformed.
    """
    if system.startswith(PASSPORT_SYSTEM):
        return identifier("passport", f"{system.removeprefix(PASSPORT_SYSTEM)}:{value}")
    accepted = _SYSTEM_TYPES.get(system)
    return identifier(accepted, value) if accepted else None


def _fold(text: str) -> str:
    return text.translate(_FULL_WIDTH).strip().upper()


def _resident_check(number: str) -> str:
    total = sum(int(digit) * weight for digit, weight in zip(number[:17], _RESIDENT_WEIGHTS, strict=True))
    return _RESIDENT_CHECKS[total % 11]


def _resident(value: str) -> Identifier:
    return Identifier("resident-id", RESIDENT_SYSTEM, resident_number(value))


def _residence_permit(value: str) -> Identifier:
    person = _resident(value)
    if not person.value.startswith(_PERMIT_AREAS):
        raise IdentityRefused(
            f"the number of a residence permit begins with one of {', '.join(_PERMIT_AREAS)}"
        )
    return person


def _permanent_residence(value: str) -> Identifier:
    number = _fold(value)
    if _PERMANENT_OLD.fullmatch(number):
        return Identifier("permanent-residence", PERMANENT_RESIDENCE_SYSTEM, number)
    if len(number) != 18 or number[0] != "9":
        raise IdentityRefused(
            "a permanent residence card has 18 digits beginning with 9, or 3 letters and 12 digits"
        )
    return _resident(number)


def _hk_macao_permit(value: str) -> Identifier:
    match = _HK_MACAO.fullmatch(_fold(value))
    if match is None:
        raise IdentityRefused("a permit of Hong Kong or Macao residents has H or M and 8 digits")
    # the two further digits count the cards; the first nine stay a holder's for life
    return Identifier("hk-macao-permit", HK_MACAO_PERMIT_SYSTEM, match[1])


def _taiwan_permit(value: str) -> Identifier:
    number = _fold(value)
    if not _TAIWAN.fullmatch(number):
        raise IdentityRefused("a permit of Taiwan residents has 8 digits, or 10 in its old form")
    return Identifier("taiwan-permit", TAIWAN_PERMIT_SYSTEM, number)


def _passport(value: str) -> Identifier:
    match = _PASSPORT.fullmatch(_fold(value))
    if match is None:
        raise IdentityRefused("a passport number is <country in three letters>:<5 to 20 letters and digits>")
    # HL7 gives every country its own system, so the number stands alone in the value
    return Identifier("passport", f"{PASSPORT_SYSTEM}{match[1]}", match[2])


def _health_card(value: str) -> Identifier:
    card = _fold(value)
    if not _HEALTH_CARD.fullmatch(card):
        raise IdentityRefused("a health card number has 8 to 64 letters and digits")
    return Identifier("health-card", HEALTH_CARD_SYSTEM, card)


RESIDENT_SYSTEM = "urn:oid:2.16.156.10011.1.3"  # WS/T 500-2016: 患者身份证号标识
PASSPORT_SYSTEM = "http://hl7.org/fhir/sid/passport-"  # followed by the country
HEALTH_CARD_SYSTEM = "urn:oid:2.16.156.10011.1.19"  # WS/T 500-2016: 居民健康卡号
PERMANENT_RESIDENCE_SYSTEM = "urn:lianren:permanent-residence"  # no registered system was found for these
HK_MACAO_PERMIT_SYSTEM = "urn:lianren:hk-macao-permit"
TAIWAN_PERMIT_SYSTEM = "urn:lianren:taiwan-permit"
IDENTIFIER_TYPES: dict[str, Callable[[str], Identifier]] = {
    "resident-id": _resident,
    "residence-permit": _residence_permit,
    "permanent-residence": _permanent_residence,
    "passport": _passport,
    "hk-macao-permit": _hk_macao_permit,
    "taiwan-permit": _taiwan_permit,
    "health-card": _health_card,
}
_TYPE_CODES = {"01": "resident-id", "03": "passport", "06": "hk-macao-permit", "07": "taiwan-permit"}
_SYSTEM_TYPES = {
    RESIDENT_SYSTEM: "resident-id",
    PERMANENT_RESIDENCE_SYSTEM: "permanent-residence",
    HK_MACAO_PERMIT_SYSTEM: "hk-macao-permit",
    TAIWAN_PERMIT_SYSTEM: "taiwan-permit",
    HEALTH_CARD_SYSTEM: "health-card",
}
SYSTEMS = (*_SYSTEM_TYPES, f"{PASSPORT_SYSTEM}<country>")
"""Every system that `identifier_in` reads, for messages; a passport's ends in its country."""
