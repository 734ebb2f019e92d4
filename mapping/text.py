"""Canonical text of a local name, and the recognition marks that may stand inside it.

Hospitals print one name in full or half width, with blanks between the characters, in traditional script,
and with the mark in front of it (【全国HR】白蛋白, ★总蛋白, 甘油三酯(鄂HR)). The mark is data and is kept; it
is never part of the name (Guangming Daily 2022-02-22 for the form; the shapes are those of the lists in the
field). A star is a mark only in front of the name, a bracket only where HR ends it: HLA-B*27 and LP(A) keep
theirs.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Callable
from functools import cache, lru_cache, wraps
from importlib import resources
from typing import TypeVar

from msgspec import Struct

STARS = "★☆*＊"
"""Signs before a name whose footnote says: recognised in the issuer's province (鄂, 苏)."""

LONGEST = 400
"""Characters of the longest text that is looked at as a name; the longest real one seen has 60."""

_MARK = re.compile(
    r"[\[(【〔「]\s*(?P<bracketed>[一-鿿]{0,12}?)\s*HR\s*[\])】〕」]"
    rf"|^[\s]*(?P<star>[{re.escape(STARS)}])"
    r"|^\s*(?P<bare>[一-鿿]{1,12}?)HR(?=[\s:：\-])"
)
_SPACE = re.compile(r"[\s\u200b-\u200f\u2060\ufeff\u00ad]+")
# What a hospital's system writes without loss; anything else is looked up in the character database.
_USUAL = re.compile(r"[\s!-~\u00a0-\u024f\u0370-\u03ff\u2000-\u2029\u2030-\u205e\u2070-\u22ff\u2460-\u24ff"
                    r"\u2600-\u26ff\u3000-\u30ff\u3200-\u33ff\u4e00-\u9fef\uff01-\uffee]*")  # fmt: skip
_LOST = ("Co", "Cn", "Cc", "Cs")
_OVERRIDES = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

_T = TypeVar("_T")


def remembered(function: Callable[[str], _T]) -> Callable[[str], _T]:
    """The same function with a memory of the texts that it met last, bounded in number and bytes: what is
    longer than anything real is not remembered."""
    known = lru_cache(4096)(function)
    return wraps(function)(lambda text: known(text) if len(text) <= LONGEST else function(text))


class Text(Struct, frozen=True):
    """A local name made comparable. ``mark`` is None where the name carries none; empty for a bare HR.

    ``lost`` tells that a character could not have been written by a person (private use, replacement), or
    that the text runs in two directions, so that what a person saw is not what is stored.
    ``ranges`` are those of all marks written with HR, empty for a bare one. Where two of them differ nobody
    knows which holds, and ``mark`` is None.
    """

    canonical: str
    mark: str | None
    lost: bool
    ranges: tuple[str, ...] = ()

    @property
    def marks_differ(self) -> bool:
        """Whether the marks of the name name two ranges."""
        return len(set(self.ranges) - {""}) > 1


def upper(text: str) -> str:
    """NFKC, upper-case Latin, no blanks."""
    return _SPACE.sub("", unicodedata.normalize("NFKC", text)).upper()


@cache
def _script() -> dict[int, str]:
    """One sign for one sign: simplified script, one kind of bracket, dash, stroke and quotation mark."""
    data = (resources.files("mapping") / "data" / "script.csv").read_text(encoding="utf-8")
    table = {ord(row["traditional"]): row["simplified"] for row in csv.DictReader(data.splitlines())}
    for signs, sign in (
        ("[【〔「『{〈《﹝", "("),
        ("]】〕」』}〉》﹞", ")"),
        ("‐‑‒–—―－−─━ー", "-"),
        ("/∕⁄／╱\\＼", "/"),
        ("，﹐", ","),
        ("；﹔", ";"),
        ("：﹕", ":"),
        ("≧", "≥"),
        ("≦", "≤"),
        ("“”„‟″", '"'),
        ("‘’‚′`´", "'"),
        ("＋﹢➕&＆", "+"),
        ("Γ", "γ"),
        ("Α", "α"),
        ("Β", "β"),
        ("Κ", "κ"),
        ("Λ", "λ"),
        ("Δ", "δ"),
        ("Μ", "μ"),
        ("ß", "β"),
    ):
        table.update(dict.fromkeys(map(ord, signs), sign))
    return table


def folded(text: str) -> str:
    """The form in which two writings of one word are equal: :func:`upper`, one script, one punctuation."""
    return upper(text.replace("ß", "β")).translate(_script())


def canonical(name: str) -> Text:
    """NFKC, upper-case Latin, no blanks, all marks taken out. Never raises; any string is a name."""
    lost = not _USUAL.fullmatch(name) and any(
        (unicodedata.category(c) in _LOST and not c.isspace()) or c == "\ufffd" or c in _OVERRIDES
        for c in name
    )
    text = unicodedata.normalize("NFKC", name)
    if len(text) > LONGEST or ("HR" not in text and text.lstrip()[:1] not in STARS):
        return Text(upper(name).strip(":-_"), None, lost)
    marks: list[str] = []
    ranges: list[str] = []
    while found := _MARK.search(text):
        marks.append(found["bracketed"] or found["bare"] or "")
        if not found["star"]:
            ranges.append(marks[-1])
        text = text[: found.start()] + text[found.end() :]
    # One range, however often it is printed and whatever stars stand beside it, is the mark.
    mark = max(marks, key=len, default=None) if len(set(marks) - {""}) < 2 else None
    return Text(upper(text).strip(":-_"), mark, lost, tuple(ranges))


def places(name: str, text: str) -> list[int] | None:
    """Where each character of the comparable ``text`` stands in ``name``; None where that cannot be told."""
    found, at = [], 0
    for place, character in enumerate(name):
        for one in folded(character):
            if at < len(text) and text[at] == one:
                found.append(place)
                at += 1
    return found if at == len(text) else None


@remembered
def printed_range(mark: str) -> str:
    """The range of a mark that stands alone: 川渝 of 川渝HR, 赤峰 of "赤峰 HR", empty of HR and of a star."""
    text = _SPACE.sub("", unicodedata.normalize("NFKC", mark)).strip("[]()【】")
    return text.strip(STARS).removesuffix("HR")
