"""The lexicon: tables that people edit, compiled once into dictionaries of words.

Every table stands in ``data/`` with the source of each row. A field ``words`` holds words separated by
``;``; braces stand for a choice, so that ``{a|b|}c`` is ac, bc and c. Words are compiled in canonical form
(simplified script, upper case, no blanks), together with the spellings of ``variants.csv``.

A compiled :class:`Lexicon` finds the longest word at a place by looking up slices of the lengths that words
with that first character have; this needs a tenth of the time of a large regular expression, and none to
compile.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import resources

from msgspec import Struct

from mapping.errors import BadTable
from mapping.text import folded

_CHOICE = re.compile(r"\{([^{}]*)\}")
_DATA = resources.files("mapping") / "data"

JOINERS = {
    **{sign: sign for sign in "+,;、_/-:()"},
    **dict.fromkeys(("及", "和", "与", "以及", "加", "并"), "、"),
    **dict.fromkeys("|，．", ","),
    **dict.fromkeys(("·", ".", "!", '"', "'", "“", "”", "‘", "’"), "-"),
}
"""Signs and words between the parts of a name, and what they count as."""

SILENT_IN_LABORATORY = frozenset("-_·.,:;'\"“”‘’′*°")
"""Signs that a laboratory name may carry or leave out: CA19-9 is CA199, 抗链球菌溶血素“O” has no quotes."""


class Word(Struct, frozen=True):
    """What a word says: a slot with its value, and values that it implies for other slots."""

    slot: str
    value: str
    implies: tuple[tuple[str, str], ...] = ()


class Lexicon:
    """Words by text. :meth:`longest` finds the word at a place; an ASCII word never ends inside another."""

    def __init__(self) -> None:
        self.words: dict[str, Word] = {}
        self._lengths: dict[str, tuple[int, ...]] = {}

    def add(self, text: str, word: Word) -> None:
        """Register a word; the first meaning of a text stays."""
        self.words.setdefault(text, word)

    def close(self) -> None:
        """Index the words after the last :meth:`add`."""
        lengths: dict[str, set[int]] = defaultdict(set)
        for text in self.words:
            lengths[text[0]].add(len(text))
        self._lengths = {first: tuple(sorted(found, reverse=True)) for first, found in lengths.items()}

    def longest(self, text: str, start: int) -> tuple[int, Word] | None:
        """The end and the meaning of the longest word of ``text`` at ``start``."""
        for length in self._lengths.get(text[start], ()):
            end = start + length
            word = self.words.get(text[start:end])
            if word is not None and end <= len(text):
                if end < len(text) and _inside(text[start:end], text[end], word):
                    continue
                return end, word
        return None


def _inside(text: str, following: str, word: Word) -> bool:
    """Whether a word that ends here cuts an abbreviation in two: IGG of IGG4, CT of CTX; not CT of CT64."""
    last = text[-1]
    if word.slot == "time" and not text[0].isascii():
        return False
    if not (last.isascii() and following.isascii() and last.isalnum() and following.isalnum()):
        return False
    return last.isalpha() == following.isalpha() or word.slot not in ("modality", "noise", "film", "method")


class Part(Struct, frozen=True):
    """A body part: whether it has sides, its name on plain film, as vessels, and the part it lies inside.

    ``in_dr`` is empty where the name is the same, and ``!`` where there is no plain film of it.
    """

    name: str
    sides: str
    in_dr: str
    in_vessel: str
    inside: str


class Analyte(Struct, frozen=True):
    """An analyte: the specimen meant where none is said (or empty), all it is found in, its scale.

    ``elsewhere`` gives its code in a specimen where it is another analyte (white cells of a urine strip are
    the esterase), or ``!`` where such a name says too little. ``shares`` says that it is counted
    or given as a share of the cells, so that a name must say which.
    """

    code: str
    default: str
    specimens: frozenset[str]
    elsewhere: dict[str, str]
    shares: frozenset[str]
    scale: str
    enzyme: bool


class Setting(Struct, frozen=True):
    """What a panel or department beside a name says: the specimen, the modality, and which panel it is.

    A specimen ``?`` is one that no concept has; a word without a code says nothing (泌尿 is no urine).
    """

    code: str
    specimen: str
    modality: str


class Family(Struct, frozen=True):
    """A family of panels: its specimen, and the analytes that a name may put it in front of (肝功能GPT)."""

    specimen: str
    members: frozenset[str]


class Tables(Struct, frozen=True, kw_only=True):
    """All tables, compiled. ``version`` is a digest of their bytes."""

    version: str
    imaging: Lexicon
    laboratory: Lexicon
    parts: dict[str, Part]
    analytes: dict[str, Analyte]
    weak: dict[str, frozenset[str]]
    short: dict[str, frozenset[str]]
    ratios: dict[tuple[str, str], str]
    panels: dict[str, Family]
    settings: dict[str, Setting]
    vocabulary: dict[str, frozenset[str]]
    scale_matters: frozenset[str]
    dicom: dict[str, frozenset[str]]
    loinc: dict[str, str]


@cache
def tables() -> Tables:
    """The bundled tables.

    Raises:
        BadTable: a row cannot be used.
    """
    names = sorted(entry.name for entry in _DATA.iterdir() if entry.name.endswith(".csv"))
    content = {name: (_DATA / name).read_bytes() for name in names}
    digest = hashlib.sha256()
    for name in names:
        digest.update(name.encode() + b"\0" + content[name])
    read = {name: list(csv.DictReader(data.decode().splitlines())) for name, data in content.items()}
    spellings = [(row["usual"], row["written"]) for row in read["variants.csv"]]
    imaging, parts = _imaging(read, spellings)
    compiled = _Laboratory(read, spellings)
    vocabulary: dict[str, set[str]] = defaultdict(set)
    for row in read["vocabulary.csv"]:
        vocabulary[row["slot"]].add(row["code"])
    scored = next(row["note"] for row in read["vocabulary.csv"] if row["slot"] == "scale")
    return Tables(
        version=f"names-{digest.hexdigest()[:12]}",
        imaging=imaging,
        laboratory=compiled.lexicon,
        parts=parts,
        analytes=compiled.analytes,
        weak={text: frozenset(codes) for text, codes in compiled.weak.items()},
        short={code: frozenset(texts) for code, texts in compiled.short.items()},
        ratios={(row["over"], row["under"]): row["analyte"] for row in read["ratios.csv"]},
        panels={
            row["panel"]: Family(row["specimen"], frozenset(row["members"].split()))
            for row in read["panels.csv"]
        },
        settings={
            row["word"].upper(): Setting(row["setting"], row["specimen"], row["modality"])
            for row in sorted(read["settings.csv"], key=lambda row: -len(row["word"]))
        },
        vocabulary={slot: frozenset(codes) for slot, codes in vocabulary.items()},
        scale_matters=frozenset(scored.removeprefix("scored only for ").split()),
        dicom={row["word"]: frozenset(row["parts"].split(";")) for row in read["dicom_body_parts.csv"]},
        loinc={row["loinc"]: row["concept"] for row in read["loinc.csv"]},
    )


def expand(pattern: str) -> Iterator[str]:
    """Every word of a pattern with choices: ``{a|b|}c`` is ac, bc, c; choices may nest."""
    found = _CHOICE.search(pattern)
    if found is None:
        yield pattern
        return
    for choice in found[1].split("|"):
        yield from expand(pattern[: found.start()] + choice + pattern[found.end() :])


def _words(field: str, spellings: Iterable[tuple[str, str]]) -> Iterator[str]:
    for pattern in field.split(";"):
        for text in expand(pattern):
            written = [folded(text)]
            for usual, other in spellings:
                if len(written) > 1 or usual in written[0]:
                    written += [one.replace(usual, other) for one in written if usual in one]
            yield from filter(None, written)


def _implied(field: str) -> tuple[tuple[str, str], ...]:
    pairs = (pair.partition("=") for pair in field.split())
    return tuple((slot, value) for slot, _, value in pairs)


def _imaging(
    read: dict[str, list[dict[str, str]]], spellings: list[tuple[str, str]]
) -> tuple[Lexicon, dict[str, Part]]:
    lexicon = Lexicon()
    parts: dict[str, Part] = {}
    for sign, counts_as in JOINERS.items():
        lexicon.add(sign, Word("joiner", counts_as))
    for row in read["parts.csv"]:
        name = row["part"]
        if row["sides"] not in ("one", "pair", "both"):
            raise BadTable("parts.csv", name, "sides must be one, pair or both")
        parts.setdefault(name, Part(name, row["sides"], row["in_dr"], row["in_vessel"], row["inside"]))
        for text in _words(row["words"], spellings):
            lexicon.add(text, Word("part", name))
    for row in read["imaging_words.csv"]:
        word = Word(row["slot"], row["value"], _implied(row["implies"]))
        for text in _words(row["words"], spellings):
            lexicon.add(text, word)
    lexicon.close()
    return lexicon, parts


class _Laboratory:
    """The laboratory words: names and abbreviations of analytes, panels, and what may stand around them."""

    def __init__(self, read: dict[str, list[dict[str, str]]], spellings: list[tuple[str, str]]) -> None:
        self.lexicon = Lexicon()
        self.analytes: dict[str, Analyte] = {}
        self.weak: dict[str, set[str]] = defaultdict(set)
        self.short: dict[str, set[str]] = defaultdict(set)
        for sign in "+/()、,;":
            self.lexicon.add(sign, Word("joiner", sign))
        for text, counts_as in (("及", "、"), ("和", "、"), ("与", "、"), ("#", "#")):
            self.lexicon.add(text, Word("joiner" if counts_as == "、" else "count", counts_as))
        for row in read["analytes.csv"]:
            self._analyte(row, spellings)
        for slot, file, value in (("panel", "panels.csv", "panel"), ("", "lab_words.csv", "value")):
            for row in read[file]:
                word = Word(slot or row["slot"], row[value])
                for text in self._bare(_words(row["words"], spellings)):
                    self.lexicon.add(text, word)
        for text in self.weak:
            self.lexicon.add(text, Word("weak", text))
        self.lexicon.close()

    def _analyte(self, row: dict[str, str], spellings: list[tuple[str, str]]) -> None:
        code = row["analyte"]
        others = [other for other in row["others"].split(";") if other]
        elsewhere = dict(other.split("=") for other in others if "=" in other)
        shares = frozenset(other for other in others if other in "#%")
        specimens = {row["default"], *(o.partition("=")[0] for o in others if o not in ("#", "%"))} - {""}
        words = list(self._bare(_words(row["words"], spellings)))
        self.analytes[code] = Analyte(
            code, row["default"], frozenset(specimens), elsewhere, shares, row["scale"], "酶" in row["words"]
        )
        for text in words:
            self._strong(text, code)
        for text in self._bare(_words(row["short"], spellings)):
            self._strong(text, code)
            self.short[code].add(text)
        for text in self._bare(_words(row["weak"], spellings)):
            self.weak[text].add(code)
            self.short[code].add(text)

    def _strong(self, text: str, code: str) -> None:
        held = self.lexicon.words.get(text)
        if held is not None and held.value != code:
            raise BadTable("analytes.csv", code, f"{text} is a word of {held.value} already")
        self.lexicon.add(text, Word("analyte", code))

    @staticmethod
    def _bare(texts: Iterable[str]) -> Iterator[str]:
        for text in texts:
            bare = "".join(c for c in text if c not in SILENT_IN_LABORATORY)
            if bare:
                yield bare
