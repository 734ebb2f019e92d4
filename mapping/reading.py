"""What the grammars read and what they answer: tokens, a local name with its fields, a reading.

A reading either has concepts, or it has a reason. Reasons are codes; :data:`REASONS` lists them all.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec import Struct

from mapping.tables import Lexicon, Word

REASONS = (
    "empty",
    "lost_character",
    "unknown",
    "no_modality",
    "part_unsaid",
    "part_undivided",
    "several_regions",
    "side_unsaid",
    "method_unsaid",
    "view_unsaid",
    "specimen_unsaid",
    "scale_unsaid",
    "share_unsaid",
    "time_unsaid",
    "conflict",
    "ambiguous",
    "out_of_scope",
    "panel",
    "several",
    "not_listed",
)
"""Every reason why a name got no single item.

- ``empty``: there is no name, or nothing but a mark;
- ``lost_character``: a character of the name was lost on its way;
- ``unknown``: a part of the name is explained by no table (it is the residue);
- ``no_modality``: an imaging name would be read with its modality, and neither it nor a field says it;
- ``part_unsaid``: an imaging name says no body part;
- ``part_undivided``: the part it says is no single one (四肢, 脊柱);
- ``several_regions``: one scan of several regions, and not several examinations;
- ``side_unsaid``, ``method_unsaid``, ``view_unsaid``: the slot in which items differ is not said;
- ``specimen_unsaid``: the name means different items in blood and urine, and no field says the specimen;
- ``scale_unsaid``: quantity or quality, mass or activity;
- ``share_unsaid``: a number of cells or their share;
- ``time_unsaid``: a sampling time that is not fasting or after a meal;
- ``conflict``: the name, its fields, codes or marks contradict each other; both readings are candidates;
- ``ambiguous``: what is said may mean several things (an abbreviation that collides);
- ``out_of_scope``: another kind of examination, an addition to one, a service;
- ``panel``: a panel; its members are the site's;
- ``several``: several examinations, each with its item;
- ``not_listed``: the concept is read, and the catalogue in force has no item for it.
"""


class LocalName(Struct, frozen=True, kw_only=True):
    """A name as a message carries it, with the fields beside it; empty where the message is silent.

    ``context`` is free text such as ``panel=尿常规;dept=检验科``. ``contrast`` is yes or no. The codes are
    evidence: ``wst886`` and ``loinc`` for the laboratory; ``dicom_body_part`` (0018,0015),
    ``dicom_protocol`` (0018,1030), ``dicom_region`` (the meaning in 0008,2218) and ``dicom_laterality``
    (0020,0060 or 0020,0062) for images. ``site`` is the institution whose name and ``code`` it is; both say
    nothing by themselves, and are for what the site confirmed (:mod:`mapping.sites`).
    """

    name: str
    kind: str = ""
    modality: str = ""
    specimen: str = ""
    body_part: str = ""
    side: str = ""
    unit: str = ""
    result_type: str = ""
    panel: str = ""
    department: str = ""
    context: str = ""
    contrast: str = ""
    wst886: str = ""
    loinc: str = ""
    dicom_body_part: str = ""
    dicom_protocol: str = ""
    dicom_region: str = ""
    dicom_laterality: str = ""
    site: str = ""
    code: str = ""


class Token(Struct, frozen=True):
    """A stretch of the comparable text and the word it is; ``word`` is None where no table has it."""

    start: int
    end: int
    text: str
    word: Word | None


class Named(Struct, frozen=True, kw_only=True):
    """The reading of one name.

    ``target`` is the concept, or several joined by `` ;; ``, also where the catalogue has no item for it;
    None on an abstention. ``item`` is the one item, ``items`` all of them where one name holds several
    examinations. ``reason`` is empty where there is one item, else a code of :data:`REASONS`. ``spans`` are
    ``(start, end, slot)`` over the name as written. ``residue`` is what nobody could explain,
    ``candidates`` are the readings that compete, and ``differs`` is the slot in which they differ.
    ``tables`` names the versions of catalogue and tables. ``confirmed`` is the id of the site's own mapping,
    where that one counted.
    """

    name: str
    target: str | None
    item: str | None
    reason: str
    spans: tuple[tuple[int, int, str], ...]
    tables: str
    mark: str | None
    items: tuple[str, ...] = ()
    residue: str = ""
    candidates: tuple[str, ...] = ()
    differs: str = ""
    confirmed: str = ""


class Read(Struct, frozen=True, kw_only=True):
    """What a grammar made of a name.

    ``concepts`` are the examinations that it names. ``reason`` is empty for concepts that are complete in
    their own slots; concepts with a reason say which slot keeps them from being an item. ``spans`` are
    ``(start, end, slot)`` over the text that was read.
    """

    concepts: tuple[str, ...] = ()
    reason: str = ""
    spans: tuple[tuple[int, int, str], ...] = ()
    residue: str = ""
    candidates: tuple[str, ...] = ()


class Silent(Exception):
    """A grammar abstains: no error, but how it stops at what it cannot say."""

    def __init__(self, reason: str, candidates: tuple[str, ...] = (), residue: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.candidates = candidates
        self.residue = residue


_NUMBER = re.compile(
    r"[≥≤<>]?\d+(?:\.\d+)?(?:T(?![A-Z0-9])|特斯拉)|[≥≤<>]?\d+(?:排|层|列|源)(?:螺旋)?|[≥≤<>]?\d+(?:-\d+)?(?:周)?岁(?:以上|以下|及以上|及以下)?"
    r"|[CTLS]\d{1,2}(?:[-/~][CTLS]?\d{1,2})+(?:[、,/+][CTLS]\d{1,2}[-/][CTLS]?\d{1,2})*"
    r"|[¥￥]?\d+(?:\.\d+)?元(?:/?次)?|\d+期|\d+个?(?:部位|体位)|(?:含)?\d+个?(?:椎间盘|间盘|盘)"
)
"""Numbers around an imaging name that do not change it: field strength, rows, ages, spine levels, prices."""

_RUN = re.compile(r"[0-9A-Z]+")


def scan(text: str, lexicon: Lexicon, *, numbers: bool) -> list[Token]:
    """Cut a text into words, longest first; stretches that no word explains become tokens without one."""
    tokens: list[Token] = []
    at, size, unknown = 0, len(text), -1
    while at < size:
        found = lexicon.longest(text, at)
        if found is None and numbers and (number := _NUMBER.match(text, at)):
            found = number.end(), _NOISE
        if found is None:
            if unknown < 0:
                unknown = at
            run = _RUN.match(text, at)
            at = run.end() if run else at + 1
            continue
        if unknown >= 0:
            tokens.append(Token(unknown, at, text[unknown:at], None))
            unknown = -1
        end, word = found
        tokens.append(Token(at, end, text[at:end], word))
        at = end
    if unknown >= 0:
        tokens.append(Token(unknown, size, text[unknown:], None))
    return tokens


def dangling(tokens: Sequence[Token]) -> None:
    """A name that begins or ends with a sign between parts has lost one, and so has one with half a bracket.

    Raises:
        Silent: 白蛋白/, 胸部CT平扫+, (白蛋白.
    """
    open_ = sum(
        (token.text == "(") - (token.text == ")")
        for token in tokens
        if token.word is not None and token.word.slot == "joiner"
    )
    if open_:
        raise Silent("unknown", residue="(" if open_ > 0 else ")")
    for token in (*tokens[:1], *tokens[-1:]):
        if token.word is not None and token.word.slot == "joiner" and token.word.value in "+/、":
            raise Silent("unknown", residue=token.text)


_NOISE = Word("noise", "")
