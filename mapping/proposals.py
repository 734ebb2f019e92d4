"""From what sites confirmed to words of the lexicon.

A token that the grammars cannot explain, and that three sites confirmed in the same meaning, is proposed as a
word: the one word, of those that the tables know, with which every one of these names is read as it was
confirmed. Nothing is admitted here. A proposal carries the amended row of its table; who releases tables
takes it in only where :func:`replay_proposal` changes no answer.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from catalog import Catalogue
from mapping.normalise import Normaliser
from mapping.reading import LocalName
from mapping.sites import SiteMapping, SiteTable
from mapping.slots import slots_of
from mapping.tables import Lexicon, Tables, Word, tables
from mapping.text import folded

SITES = 3
"""How many sites make a token a matter of the language and no longer of one hospital."""

_DATA = resources.files("mapping") / "data"
_PATTERN_SIGNS = frozenset("{}|;, ")


class Proposal(Struct, frozen=True, kw_only=True):
    """A word for the lexicon, and the confirmed mappings that it comes from.

    ``row`` is the line of ``file`` as it would be, ``replaces`` the line as it is.
    """

    token: str
    kind: Literal["imaging", "lab"]
    slot: str
    value: str
    sites: tuple[str, ...]
    mappings: tuple[str, ...]
    file: str
    row: str
    replaces: str


class Changed(Struct, frozen=True):
    """An answer that a proposal would change: of the dev set, of a pair, or of a confirmed mapping."""

    what: Literal["dev", "pair", "confirmed"]
    name: str
    before: str
    after: str


class Replay(Struct, frozen=True):
    """What a proposal was tried on, and which answers it would change."""

    names: int
    pairs: int
    confirmed: int
    changed: tuple[Changed, ...]

    @property
    def admissible(self) -> bool:
        """Whether no answer changes."""
        return not self.changed


def proposals(catalogue: Catalogue, table: SiteTable) -> list[Proposal]:
    """The words that confirmed mappings of three or more sites ask for."""
    groups: dict[tuple[str, str], list[SiteMapping]] = defaultdict(list)
    for mapping in table.active.values():
        if mapping.token and not _PATTERN_SIGNS & set(mapping.token):
            groups[_kind(mapping.concept), folded(mapping.token)].append(mapping)
    found = []
    for (kind, token), mappings in sorted(groups.items()):
        if len({mapping.local.site for mapping in mappings}) >= SITES:
            proposal = _word(catalogue, kind, token, mappings)
            if proposal:
                found.append(proposal)
    return found


def replay_proposal(
    catalogue: Catalogue,
    table: SiteTable,
    proposal: Proposal,
    names: Sequence[LocalName] = (),
    pairs: Iterable[tuple[LocalName, LocalName]] = (),
) -> Replay:
    """Read everything again with the proposed word, behind no site's table.

    Args:
        catalogue: the one in force.
        table: all its confirmed mappings are tried.
        proposal: the word.
        names: the dev set; its readings must stay as they are.
        pairs: names that must never get one answer.
    """
    before, after = Normaliser(catalogue), _with(catalogue, proposal.kind, proposal.token, _of(proposal))
    changed: list[Changed] = []

    def targets(local: LocalName) -> tuple[str, str]:
        return before.read(local).target or "", after.read(local).target or ""

    for local in names:
        old, new = targets(local)
        if old != new:
            changed.append(Changed("dev", local.name, old, new))
    count = 0
    for one, other in pairs:
        count += 1
        (old_one, new_one), (old_other, new_other) = targets(one), targets(other)
        if new_one and new_one == new_other and (old_one, old_other) != (new_one, new_other):
            changed.append(Changed("pair", f"{one.name} / {other.name}", old_one, new_one))
    for mapping in table.active.values():
        old, new = targets(mapping.local)
        if new not in (old, mapping.concept):
            changed.append(Changed("confirmed", mapping.local.name, mapping.concept, new))
    return Replay(len(names), count, len(table.active), tuple(changed))


def _word(catalogue: Catalogue, kind: str, token: str, mappings: Sequence[SiteMapping]) -> Proposal | None:
    """The first word with which every name is read as it was confirmed."""
    lexicon = _lexicon(tables(), kind)
    shared = set.intersection(*(set(slots_of(mapping.concept).values()) for mapping in mappings))
    words = {word for word in lexicon.words.values() if word.value in shared - {"-"} or word.slot == "noise"}
    for word in sorted(words, key=_preference):
        normaliser = _with(catalogue, kind, token, word)
        if all(normaliser.read(mapping.local).target == mapping.concept for mapping in mappings):
            if (place := _row(kind, token, word)) is None:
                continue
            file, row, old = place
            return Proposal(
                token=token,
                kind="imaging" if kind == "imaging" else "lab",
                slot=word.slot,
                value=word.value,
                sites=tuple(sorted({mapping.local.site for mapping in mappings})),
                mappings=tuple(sorted(mapping.id for mapping in mappings)),
                file=file,
                row=row,
                replaces=old,
            )
    return None


def _with(catalogue: Catalogue, kind: str, token: str, word: Word) -> Normaliser:
    held = tables()
    lexicon = Lexicon()
    lexicon.words = {**_lexicon(held, kind).words, token: word}
    lexicon.close()
    if kind == "imaging":
        return Normaliser(catalogue, replace(held, imaging=lexicon))
    return Normaliser(catalogue, replace(held, laboratory=lexicon))


def _of(proposal: Proposal) -> Word:
    words = _lexicon(tables(), proposal.kind).words.values()
    return min(
        (word for word in words if (word.slot, word.value) == (proposal.slot, proposal.value)),
        key=_preference,
    )


def _row(kind: str, token: str, word: Word) -> tuple[str, str, str] | None:
    """The file that has the word, its row with the token added, and the row as it is."""
    file, column, value = {
        ("lab", "analyte"): ("analytes.csv", "analyte", word.value),
        ("lab", "panel"): ("panels.csv", "panel", word.value),
        ("imaging", "part"): ("parts.csv", "part", word.value),
    }.get((kind, word.slot), (f"{kind}_words.csv", "value", word.value))
    reader = csv.DictReader((_DATA / file).read_text(encoding="utf-8").splitlines())
    for row in reader:
        implied = " ".join(f"{slot}={said}" for slot, said in word.implies)
        if (
            row[column] != value
            or row.get("slot", word.slot) != word.slot
            or row.get("implies", "") != implied
        ):
            continue
        into = "short" if file == "analytes.csv" and token.isascii() else "words"
        amended = {**row, into: ";".join(filter(None, (row[into], token)))}
        columns = reader.fieldnames or ()
        return file, _line(amended, columns), _line(row, columns)
    return None


def _line(row: dict[str, str], columns: Sequence[str]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow([row[column] for column in columns])
    return out.getvalue()


def _preference(word: Word) -> tuple[bool, bool, str, str, tuple[tuple[str, str], ...]]:
    """Words that say nothing come first, for the rest of a name may say it all; then what it is about."""
    return word.slot != "noise", word.slot not in ("analyte", "part"), word.slot, word.value, word.implies


def _lexicon(held: Tables, kind: str) -> Lexicon:
    return held.imaging if kind == "imaging" else held.laboratory


def _kind(concept: str) -> str:
    return "imaging" if "part" in slots_of(concept) else "lab"
