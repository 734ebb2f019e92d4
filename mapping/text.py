"""Canonical text of a local name, and the recognition marks that may stand inside it.

Hospitals print one name in full or half width, with blanks between the characters, and with the mark in
front of it (【全国HR】白蛋白, ★总蛋白, 甘油三酯(鄂HR)). The mark is data and is kept; it is never part of the
name (Guangming Daily 2022-02-22 for the form; the shapes are those of the lists in the field). A star is a
mark only in front of the name, a bracket only where HR ends it: HLA-B*27 and LP(A) keep theirs.
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
    r"|^\s*(?P<bare>[一-鿿]{1,12}?)HR(?=[\s:：\-])"
)
_SPACE = re.compile(r"\s+")


class Text(Struct, frozen=True):
    """A local name made comparable. ``mark`` is None where the name carries none; empty for a bare HR.

    ``lost`` tells that a character could not have been written by a person (private use, replacement).
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


def folded(text: str) -> str:
    """NFKC, upper-case Latin, no blanks."""
    return _SPACE.sub("", unicodedata.normalize("NFKC", text)).upper()


def canonical(name: str) -> Text:
    """NFKC, upper-case Latin, no blanks, all marks taken out. Never raises; any string is a name."""
    lost = any(unicodedata.category(c) in ("Co", "Cn", "Cc", "Cs") for c in name) or "\ufffd" in name
    text = unicodedata.normalize("NFKC", name)
    marks: list[str] = []
    ranges: list[str] = []
    while found := _MARK.search(text):
        marks.append(found["bracketed"] or found["bare"] or "")
        if not found["star"]:
            ranges.append(marks[-1])
        text = text[: found.start()] + text[found.end() :]
    # One range, however often it is printed and whatever stars stand beside it, is the mark.
    mark = max(marks, key=len, default=None) if len(set(marks) - {""}) < 2 else None
    return Text(folded(text).strip(":-_"), mark, lost, tuple(ranges))


def printed_range(mark: str) -> str:
    """The range of a mark that stands alone: 川渝 of 川渝HR, 赤峰 of "赤峰 HR", empty of HR and of a star."""
    text = _SPACE.sub("", unicodedata.normalize("NFKC", mark)).strip("[]()【】")
    return text.strip(STARS).removesuffix("HR")
