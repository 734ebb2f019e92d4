"""Numbers of persons and organisations, in one canonical form each.

Resident numbers follow GB 11643-1999 (18 digits: area, birth date, sequence, check character of ISO 7064
MOD 11-2; numbers of 15 digits from before 1999 are extended). Organisation codes follow GB 32100-2015.
Errors never repeat a number: they end in logs.
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

    `resident-id` 居民身份证; `passport` as `<ISO 3166 alpha-3 country>:<number>`; `health-card` 电子健康卡.
    """
    accepted = IDENTIFIER_TYPES.get(type)
    if accepted is None:
        raise IdentityRefused(f"unknown identifier type; accepted are {', '.join(IDENTIFIER_TYPES)}")
    return accepted(value)


def identifier_in(system: str, value: str) -> Identifier | None:
    """The canonical identifier of a FHIR Identifier's system and value; None for a system not accepted here.

    Raises IdentityRefused when the value is malformed.
    """
    if system.startswith(PASSPORT_SYSTEM):
        return identifier("passport", f"{system.removeprefix(PASSPORT_SYSTEM)}:{value}")
    accepted = {RESIDENT_SYSTEM: "resident-id", HEALTH_CARD_SYSTEM: "health-card"}.get(system)
    return identifier(accepted, value) if accepted else None


def _fold(text: str) -> str:
    return text.translate(_FULL_WIDTH).strip().upper()


def _resident_check(number: str) -> str:
    total = sum(int(digit) * weight for digit, weight in zip(number[:17], _RESIDENT_WEIGHTS, strict=True))
    return _RESIDENT_CHECKS[total % 11]


def _resident(value: str) -> Identifier:
    return Identifier("resident-id", RESIDENT_SYSTEM, resident_number(value))


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
IDENTIFIER_TYPES: dict[str, Callable[[str], Identifier]] = {
    "resident-id": _resident,
    "passport": _passport,
    "health-card": _health_card,
}
