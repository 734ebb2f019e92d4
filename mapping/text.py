"""Canonical text of a local name, and the recognition mark that may stand inside it.

Hospitals print one name in full or half width, with blanks between the characters, and with the mark in
front of it (【全国HR】白蛋白, ★总蛋白, 甘油三酯(鄂HR)). The mark is data and is kept; it is never part of the
name (Guangming Daily 2022-02-22 for the form; the shapes are those of the lists in the field).
"""

from __future__ import annotations

import re
import unicodedata

from msgspec import Struct

STARS = "★☆*＊"
"""Signs before a name whose footnote says: recognised in the issuer's province (鄂, 苏)."""

_MARK = re.compile(
    r"[\[(【〔「]\s*(?P<bracketed>[一-鿿]{0,12}?)\s*HR\s*[\])】〕」]"
    rf"|^[\s]*(?P<star>[{re.escape(STARS)}])"
    r"|^(?P<bare>[一-鿿]{1,12}?)HR(?=[\s:：\-])"
)
_SPACE = re.compile(r"\s+")


class Text(Struct, frozen=True):
    """A local name made comparable. ``mark`` is None where the name carries none; empty for a bare HR.

    ``lost`` tells that a character could not have been written by a person (private use, replacement).
    """

    canonical: str
    mark: str | None
    lost: bool


def canonical(name: str) -> Text:
    """NFKC, upper-case Latin, no blanks, mark taken out. Never raises; any string is a name."""
    lost = any(unicodedata.category(c) in ("Co", "Cn", "Cc", "Cs") for c in name) or "\ufffd" in name
    text = unicodedata.normalize("NFKC", name)
    mark: str | None = None
    if found := _MARK.search(text):
        mark = found["bracketed"] or found["bare"] or ""
        text = text[: found.start()] + text[found.end() :]
    return Text(_SPACE.sub("", text).upper().strip(":-_"), mark, lost)


def printed_range(mark: str) -> str:
    """The range of a mark that stands alone: 川渝 of 川渝HR, 赤峰 of "赤峰 HR", empty of HR and of a star."""
    text = _SPACE.sub("", unicodedata.normalize("NFKC", mark)).strip("[]()【】")
    return text.strip(STARS).removesuffix("HR")
