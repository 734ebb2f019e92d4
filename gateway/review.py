"""What could not be named, counted: the rows of the review queue.

While a question is asked, a :class:`Listening` stands between whoever has a name and whatever reads names. It
remembers the names that got no item, and the confirmed mappings that a reading rested on. Both are kept in
the commit of the question: a name as a count in its row, which is made at the first time and may be deleted;
a mapping as a mark beside the decision's id, so that a revocation can say which decisions it reopens.

A row is one site's name with its code and fields; its id is the key that a confirmation has
(:func:`mapping.sites.key_of`). The rows of one site are a group of tallies, so whoever sends ever new names
fills its own site's queue at most, and pushes out what was met least. Names of examinations are no personal
data, but hospitals put anything there: a text in which a person's number is recognised makes no row, and no
more than 200 characters of a text are kept.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime

import msgspec
from msgspec import Struct

from adapters.store import Document, Tally, storable
from catalog import Catalogue
from mapping import LocalName, Named
from mapping.sites import Reads, SiteTable, beside, key_of
from security.errors import IdentityRefused
from security.identity import identifier

KIND = "review"
RESTING = "resting"
DRIFT = "drift"
"""The reason of a row whose code the site confirmed under another name or unit."""

LONGEST = 200
_NUMBERS = re.compile(
    r"(?=([1-9][0-9]{16}[0-9X]))|(?=([1-9][0-9]{14}))|(?=((?<![A-Z])[A-Z]{3}:[A-Z]{0,3}[0-9]{5,17}))"
)
_KINDS = ("resident-id", "resident-id", "passport")


class Row(Struct, frozen=True):
    """A name as the site wrote it, with code and fields, and why it got no item when it was last met."""

    local: LocalName
    reason: str
    token: str


class Rests(Struct, frozen=True):
    """A decision that rested on a mapping: the check, and the gateway or client that asked for it."""

    check: str
    asked_by: str


class Listening:
    """Reads names as ``reads`` does, and remembers what a steward has to know of it."""

    def __init__(self, reads: Reads, table: SiteTable, catalogue: Catalogue) -> None:
        self._reads = reads
        self._table = table
        self._sites = catalogue.institutions
        self._met: list[tuple[str, Row]] = []
        self._used: dict[str, None] = {}

    def read(self, local: LocalName) -> Named:
        """The reading of a name; never raises."""
        return self.heard(local)[0]

    def heard(self, local: LocalName) -> tuple[Named, str]:
        """The reading, and the id of its row in the queue; empty where it makes none."""
        named = self._reads.read(local)
        if named.confirmed:
            self._used[named.confirmed] = None
        drifted = self._table.drifted(local)
        if local.site not in self._sites or (named.items and not drifted) or not kept_as_written(local):
            return named, ""
        row = Row(_cut(local), DRIFT if drifted else named.reason, named.residue[:LONGEST])
        self._met.append((key_of(local), row))
        return named, self._met[-1][0]

    def panel(self, name: str) -> str | None:
        """The code of the panel with this name or code, or None."""
        return self._reads.panel(name)

    def tallies(self, now: datetime) -> list[Tally]:
        """What was met, for the commit of the question."""
        return [Tally(kind=KIND, id=key, body=_body(row), first=now, last=now) for key, row in self._met]

    def resting(self, check: str, asked_by: str, id_: str, now: datetime) -> list[Document]:
        """That this question rested on mappings, for the commit of the question."""
        body = msgspec.json.encode(Rests(check, asked_by))
        return [Document(kind=RESTING, id=f"{mapping}.{id_}", body=body, at=now) for mapping in self._used]


def read_row(tally: Tally) -> Row:
    """The row that a tally counts."""
    return msgspec.json.decode(tally.body, type=Row)


def kept_as_written(local: LocalName) -> bool:
    """Whether a name may stand in the queue: it can be stored, and holds nothing like a person's number."""
    texts = [local.name, local.code, *beside(local).values()]
    return bool(local.name.strip()) and all(storable(text) and not _person_in(text) for text in texts)


def _person_in(text: str) -> bool:
    if not any(c.isdigit() for c in text):
        return False
    bare = re.sub(r"[^\w:]|_", "", unicodedata.normalize("NFKC", text)).upper()
    for found in _NUMBERS.finditer(bare):
        for kind, number in zip(_KINDS, found.groups(), strict=True):
            try:
                if number:
                    identifier(kind, number)
                    return True
            except IdentityRefused:
                continue
    return False


def _cut(local: LocalName) -> LocalName:
    return LocalName(**{name: text[:LONGEST] for name, text in msgspec.structs.asdict(local).items()})


def _body(row: Row) -> bytes:
    said = {name: text for name, text in msgspec.structs.asdict(row.local).items() if text}
    return msgspec.json.encode({"local": said, "reason": row.reason, "token": row.token})
