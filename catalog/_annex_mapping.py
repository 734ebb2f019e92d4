"""The mapping file of an annex: what is where in it, and what holds for all of its items."""

from __future__ import annotations

import csv
import io
import tomllib
from typing import Literal

import msgspec
from msgspec import Struct

from catalog._grids import decoded, refuse
from catalog._names import canonical_name
from catalog.entries import Base, Boundary, Clock, Edition, Kind, Setting

Role = Literal[
    "name", "code", "group", "concept", "aliases", "unit", "days", "mark", "note", "modality", "specimen"
]


class SheetRule(Struct, frozen=True, forbid_unknown_fields=True):
    """Which sheet (empty for the only one, or a CSV), its heading rows, and where the data begin."""

    heading: tuple[int, ...]
    first: int
    name: str = ""


class Columns(Struct, frozen=True, forbid_unknown_fields=True):
    """Which column plays which role: its heading (rows joined by ``/``) or its letter; empty for none."""

    name: str
    code: str = ""
    group: str = ""
    concept: str = ""
    aliases: str = ""
    unit: str = ""
    days: str = ""
    mark: str = ""
    note: str = ""
    modality: str = ""
    specimen: str = ""


class ItemRule(Struct, frozen=True, forbid_unknown_fields=True):
    """What holds for all items, and how names are taken apart.

    ``new_codes`` begins the codes of items for which neither the annex nor the catalogue has one; the row
    number follows. ``notes`` begin what is a note where it stands in brackets at the end of a name.
    ``short_names``: an abbreviation in brackets at the end of a name is an alias.
    """

    source: str
    certainty: str
    group: str = ""
    units: tuple[str, ...] = ()
    new_codes: str = ""
    separators: str = "、;"
    notes: tuple[str, ...] = ("备注", "注:")
    short_names: bool = False


class WindowRule(Struct, frozen=True, forbid_unknown_fields=True):
    """How days are counted in this list, its default, and words that stand for a number of days."""

    clock: Clock
    base: Base
    boundary: Boundary
    setting: Setting = "*"
    view_days: int = 0
    default_days: int = 0
    words: dict[str, int] = {}


class EditionRule(Edition, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The head of the edition, key by key as in ``catalogue.toml``."""


class ListRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The list that the annex publishes, column by column as in ``lists.csv``."""

    id: str
    name: str
    kind: Kind
    region: str
    owner: str
    additions: bool
    source: str
    certainty: str


class AnnexMapping(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A mapping file. ``skip``: how the first text of a row begins that is no item (合计, 注). ``fill_down``:
    the roles whose empty cells repeat the cell above. ``groups``: the annex's word for a group → its id."""

    edition: EditionRule
    list: ListRule
    sheet: SheetRule
    columns: Columns
    items: ItemRule
    window: WindowRule | None = None
    skip: tuple[str, ...] = ()
    fill_down: tuple[Role, ...] = ()
    groups: dict[str, str] = {}


def read_mapping(text: bytes, file: str) -> AnnexMapping:
    """A mapping file from its bytes.

    Raises:
        CatalogueError: it is no TOML, or a key is missing, unknown or of another type.
    """
    try:
        mapping = msgspec.convert(tomllib.loads(text.decode("utf-8-sig")), AnnexMapping)
    except msgspec.ValidationError as wrong:
        refuse(file, f"{wrong}; correct the key")
    except (ValueError, RecursionError) as wrong:  # tomllib lets more through than TOMLDecodeError
        refuse(file, f"is not TOML in UTF-8 ({str(wrong)[:200]})")
    rule = mapping.sheet
    if not rule.heading or sorted(set(rule.heading)) != list(rule.heading) or rule.heading[0] < 1:
        refuse(file, "sheet.heading must be the numbers of the heading rows in their order, such as [2, 3]")
    if rule.first <= rule.heading[-1]:
        refuse(file, "sheet.first must be the number of the first row below the heading")
    if {"name", "code"} & set(mapping.fill_down):
        refuse(file, "fill_down must not hold name or code: each item has its own")
    if mapping.columns.days and mapping.window is None:
        refuse(file, "columns.days needs the table [window], which says how days are counted")
    return mapping


def read_decisions(text: bytes, file: str) -> dict[str, str]:
    """A steward's own decisions: CSV with ``concept`` and ``code`` or ``name`` → the concept by either.

    Raises:
        CatalogueError: it is no CSV in UTF-8 or GB18030 with these columns, or decides one thing twice.
    """
    rows = csv.reader(io.StringIO(decoded(text, file), newline=""), strict=True)
    found: dict[str, str] = {}
    try:
        heading = [cell.strip() for cell in next(rows, [])]
        if "concept" not in heading or not {"code", "name"} & set(heading):
            refuse(file, "needs the columns concept and code, or concept and name", 1)
        for number, cells in enumerate(rows, start=2):
            texts = {name: cell.strip() for name, cell in zip(heading, cells, strict=False)}
            keys = [canonical_name(texts[name]) for name in ("code", "name") if texts.get(name)]
            if not any(texts.values()):
                continue
            if not keys or not texts.get("concept"):
                refuse(file, "needs a concept and a code or name", number)
            for key in keys:
                if found.setdefault(key, texts["concept"]) != texts["concept"]:
                    refuse(file, f"decides {key!r} a second time; keep one row", number)
    except csv.Error as wrong:
        refuse(file, f"is not well-formed CSV ({wrong})")
    return found
