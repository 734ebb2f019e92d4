"""Reads a catalogue folder: ``catalogue.toml`` and one CSV a table, compiled into one :class:`Catalogue`.

The tables are for people: UTF-8 (with or without a byte-order mark), a heading row, several values in a cell
joined by ``;``, patterns of items joined by blanks. Column order is free. A folder either loads whole or is
refused with every finding at once; nothing is repaired in silence.

The bundled catalogue is illustrative. The official texts of the 川渝 2025 lists, their windows and their
negative list were not public in what could be read, and every row names where it comes from.
"""

from __future__ import annotations

import tomllib
from datetime import datetime
from pathlib import Path
from typing import Any

from catalog._checks import Sheets, check
from catalog._tables import Table, read_sheet
from catalog.errors import CatalogueError, Finding
from catalog.model import (
    ANY,
    Catalogue,
    Hierarchy,
    Institution,
    Item,
    ItemList,
    Panel,
    Qualification,
    ReasonCode,
    Region,
    Rule,
    StandIn,
    Window,
)

BUNDLED = Path(__file__).parent / "data" / "illustrative"
"""The folder of the illustrative catalogue that comes with the package."""

HEAD = "catalogue.toml"
_HEAD_KEYS = {
    "version": (str, "text"),
    "name": (str, "text"),
    "owner": (str, "text"),
    "effective_from": (datetime, "a time such as 2026-11-01T00:00:00+08:00"),
    "illustrative": (bool, "true or false"),
    "notice_zh": (str, "text"),
    "notice_en": (str, "text"),
}

_REGIONS = Table("regions.csv", Region, ("code",), ("parents", "marks"))
_LISTS = Table("lists.csv", ItemList, ("id",))
_IMAGING = Table("items_imaging.csv", Item, ("code",), ("aliases", "units"), {"kind": "imaging"})
_LAB = Table("items_lab.csv", Item, ("code",), ("aliases", "units"), {"kind": "lab"})
_PANELS = Table("panels.csv", Panel, ("code",), ("aliases",))
_WINDOWS = Table("windows.csv", Window, ("list", "target", "setting"))
_RULES = Table("rules.csv", Rule, ("id",), ("reason_code",), {"fact": "", "items": ANY, "region": ANY})
_NEGATIVE = Table("negative_list.csv", Rule, ("id",), ("reason_code",), {"step": 8})
_STAND_INS = Table("stand_ins.csv", StandIn, ("ordered", "prior"))
_REASON_CODES = Table("reason_codes.csv", ReasonCode, ("system", "code"))
_INSTITUTIONS = Table("institutions.csv", Institution, ("code",))
_QUALIFICATIONS = Table("qualifications.csv", Qualification, ("id",), ("status_from", "reason"))
_HIERARCHY = Table("hierarchy.csv", Hierarchy, ("region",))


def load(folder: Path | None = None) -> Catalogue:
    """Loads one catalogue version.

    Args:
        folder: the folder of its tables; None for the bundled illustrative catalogue.

    Raises:
        CatalogueError: the folder may not be used; ``findings`` names every file, row and column to mend.
    """
    place = BUNDLED if folder is None else folder
    if not place.is_dir():
        raise CatalogueError((Finding(str(place), 0, "", "is no folder; name the folder of a catalogue"),))
    findings: list[Finding] = []
    head = _head(place, findings)
    sheets = Sheets(
        regions=read_sheet(place, _REGIONS, findings),
        lists=read_sheet(place, _LISTS, findings),
        imaging=read_sheet(place, _IMAGING, findings),
        lab=read_sheet(place, _LAB, findings),
        panels=read_sheet(place, _PANELS, findings),
        windows=read_sheet(place, _WINDOWS, findings),
        rules=read_sheet(place, _RULES, findings),
        negative=read_sheet(place, _NEGATIVE, findings),
        stand_ins=read_sheet(place, _STAND_INS, findings),
        reason_codes=read_sheet(place, _REASON_CODES, findings),
        institutions=read_sheet(place, _INSTITUTIONS, findings),
        qualifications=read_sheet(place, _QUALIFICATIONS, findings),
        hierarchy=read_sheet(place, _HIERARCHY, findings),
    )
    findings.extend(check(sheets))
    if findings:
        raise CatalogueError(tuple(findings))
    return Catalogue(
        **head,
        regions={row.value.code: row.value for row in sheets.regions.rows},
        lists={row.value.id: row.value for row in sheets.lists.rows},
        items={row.value.code: row.value for row in sheets.imaging.rows + sheets.lab.rows},
        panels={row.value.code: row.value for row in sheets.panels.rows},
        windows=tuple(row.value for row in sheets.windows.rows),
        rules={row.value.id: row.value for row in sheets.rules.rows + sheets.negative.rows},
        stand_ins=tuple(row.value for row in sheets.stand_ins.rows),
        reason_codes={(row.value.system, row.value.code): row.value for row in sheets.reason_codes.rows},
        institutions={row.value.code: row.value for row in sheets.institutions.rows},
        qualifications=tuple(row.value for row in sheets.qualifications.rows),
        hierarchies=tuple(row.value for row in sheets.hierarchy.rows),
    )


def _head(folder: Path, findings: list[Finding]) -> dict[str, Any]:
    def wrong(key: str, message: str) -> None:
        findings.append(Finding(HEAD, 0, key, message))

    try:
        head = tomllib.loads((folder / HEAD).read_text(encoding="utf-8-sig"))
    except OSError as error:
        wrong("", f"cannot be read ({error.strerror}); a catalogue folder needs this file")
        return {}
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        wrong("", f"is not TOML in UTF-8 ({error})")
        return {}
    for key in head.keys() - _HEAD_KEYS.keys():
        wrong(key, f"is no key of this file; they are {', '.join(_HEAD_KEYS)}")
    for key, (kind, words) in _HEAD_KEYS.items():
        if key not in head:
            wrong(key, "is missing; a value is required")
        elif not isinstance(head[key], kind) or head[key] == "":
            wrong(key, f"must be {words}, and not empty")
        elif kind is datetime and head[key].tzinfo is None:
            wrong(key, "has no time zone; write 2026-11-01T00:00:00+08:00")
    return head
