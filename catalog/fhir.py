"""An edition as FHIR R4 (4.0.1) resources in one Bundle, and back, without losing a cell.

* *items* are the concepts of :data:`ITEM_SYSTEM`; an edition's Bundle holds a fragment of it, the catalogue
  in force the whole. Aliases are designations; concept, its slots, group, lists and units are properties.
* each *list* is a ValueSet: the items whose property ``lists`` names it.
* *stand-ins* are a ConceptMap from the ordered item to the prior ones that may serve. The prior is ``wider``
  (R4 concept-map-equivalence: "the target mapping is wider in meaning than the source concept"): frontal and
  lateral views hold the frontal one. It is not ``subsumes``, which is for "the source is-a target": a plain
  CT is no kind of plain and contrast CT.
* *concepts* are a ConceptMap from what a local name means to the item it projects onto, ``equivalent`` ("the
  definitions of the concepts mean the same thing"): one concept has one item.
* every table, those behind the value sets and maps too, and the head are CodeSystems whose concepts are the
  rows (:mod:`catalog._fhir_rows`). Value sets and maps are derived from them.

Reading is strict: a Bundle is taken when writing what was read gives the same resources again. Only what
servers change on the way is free: ids, ``meta``, ``text``, ``fullUrl`` and the order of the entries.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args

from msgspec import Struct
from msgspec.structs import replace

from catalog._fhir_read import BASE, HEAD_TABLE, ITEM_SYSTEM, KINDS, Read, compare, read_bundle, stem
from catalog._fhir_rows import SLOTS, PublicationStatus, Shape, slots_of
from catalog._sheets import HEAD, IMAGING, LAB, TABLES, Sheets
from catalog.entries import Item, ItemList, Rule, StandIn
from catalog.errors import CatalogueError, Finding
from catalog.load import Draft, read_files
from catalog.model import Catalogue
from catalog.tables import Table
from catalog.write import write

__all__ = [
    "BASE",
    "CONCEPT_SYSTEM",
    "EDITION_SYSTEM",
    "ITEM_SYSTEM",
    "PublicationStatus",
    "Resource",
    "from_bundle",
    "in_force",
    "to_bundle",
]

CONCEPT_SYSTEM = f"{BASE}/CodeSystem/concepts"
EDITION_SYSTEM = "urn:lianren:edition"

Resource = dict[str, Any]

_RULES: Table[Rule] = Table("rules.csv", Rule, ("id",))
_ITEM: Table[Item] = Table("items_*.csv", Item, ("code",))
_ID = re.compile(r"[A-Za-z0-9\-.]{1,40}")  # with the table's name it stays a FHIR id of at most 64
_Rows = Mapping[str, tuple[Table[Any], Sequence[Any]]]


class _Stamp(Struct, frozen=True, kw_only=True):
    """What all resources of one export say of themselves."""

    prefix: str
    version: str
    title: str
    publisher: str
    date: str
    status: PublicationStatus
    experimental: bool
    copyright: str


def to_bundle(draft: Draft, *, status: PublicationStatus = "active") -> Resource:
    """An edition as a FHIR R4 Bundle of type ``collection``.

    Args:
        draft: the edition.
        status: publication status of its resources.

    Raises:
        CatalogueError: its id, or that of a list, is none of FHIR.
    """
    edition = draft.edition
    stamp = _Stamp(
        prefix=f"{_id(edition.id, HEAD)}-",
        version=f"{edition.id}@{edition.version}",
        title=edition.name,
        publisher=edition.owner,
        date=edition.effective_from.isoformat(),
        status=status,
        experimental=edition.illustrative,
        copyright="\n".join(filter(None, (edition.notice_zh, edition.notice_en))),
    )
    rows: _Rows = {
        table.file: (table, tuple(row.value for row in getattr(draft.sheets, name).rows))
        for name, table in _tables()
    }
    resources = [_rows("edition", HEAD_TABLE, [edition], stamp), *_resources(rows, stamp)]
    return {
        "resourceType": "Bundle",
        "identifier": {"system": EDITION_SYSTEM, "value": stamp.version},
        "type": "collection",
        "entry": [
            {"fullUrl": f"{BASE}/{resource['resourceType']}/{resource['id']}", "resource": resource}
            for resource in resources
        ],
    }


def from_bundle(bundle: object) -> dict[str, bytes]:
    """The files of the edition in a Bundle that :func:`to_bundle` wrote, as :mod:`catalog.write` writes them.

    Args:
        bundle: the decoded JSON.

    Raises:
        CatalogueError: ``findings`` name the FHIRPath, what is wrong there and what to do.
    """
    read = read_bundle(bundle)
    try:
        draft = read_files(read.files)
        written = to_bundle(draft, status=_status(read))
    except CatalogueError as wrong:
        raise CatalogueError(tuple(read.placed(finding) for finding in wrong.findings)) from None
    compare(written, read)
    return write(draft)


def in_force(catalogue: Catalogue) -> list[Resource]:
    """The editions in force together as resources: every item, list, row and map once, without a prefix."""
    stamp = _Stamp(
        prefix="",
        version=catalogue.version,
        title="互认目录",
        publisher=" · ".join(dict.fromkeys(edition.owner for edition in catalogue.editions)),
        date=catalogue.effective_from.isoformat(),
        status="active",
        experimental=catalogue.illustrative,
        copyright="\n".join(filter(None, catalogue.notices)),
    )
    rows: dict[str, tuple[Table[Any], Sequence[Any]]] = {
        table.file: (table, [item for item in catalogue.items.values() if item.kind == KINDS[table.file]])
        for table in (IMAGING, LAB)
    }
    for name, table in _tables():
        if table.make is not Rule and table.make is not Item:
            held = getattr(catalogue, name)
            rows[table.file] = (table, tuple(held.values() if isinstance(held, dict) else held))
    rows[_RULES.file] = (_RULES, tuple(catalogue.rules.values()))
    return [_rows("editions", HEAD_TABLE, catalogue.editions, stamp), *_resources(rows, stamp)]


def _tables() -> Iterable[tuple[str, Table[Any]]]:
    return zip(Sheets.__struct_fields__, TABLES, strict=True)


def _status(read: Read) -> PublicationStatus:
    path, resource = read.head
    known: tuple[PublicationStatus, ...] = get_args(PublicationStatus)
    for status in known:
        if resource.get("status") == status:
            return status
    raise CatalogueError((Finding(f"{path}.status", 0, "", f"must be one of {', '.join(known)}"),))


def _resources(rows: _Rows, stamp: _Stamp) -> Iterator[Resource]:
    items: list[Item] = [item for file in KINDS for item in rows[file][1]]
    if items:
        yield _items(items, stamp)
        if not stamp.prefix:
            include = [{"system": ITEM_SYSTEM}]
            yield _head("ValueSet", "items", stamp) | {"compose": {"include": include}}
    for table, values in rows.values():
        if values and table.make is not Item:
            yield _rows(stem(table), table, values, stamp)
        if table.make is ItemList:
            yield from (_value_set(value, stamp) for value in values)
    if items:
        meanings = [(item.concept, item.code, "equivalent", "") for item in items]
        yield _concept_map("concepts", CONCEPT_SYSTEM, meanings, stamp)
    stand_ins: Sequence[StandIn] = rows["stand_ins.csv"][1]
    if stand_ins:
        served = [(entry.ordered, entry.prior, "wider", f"{entry.zh} / {entry.en}") for entry in stand_ins]
        yield _concept_map("stand-ins", ITEM_SYSTEM, served, stamp)


def _head(kind: str, name: str, stamp: _Stamp) -> Resource:
    resource_id = f"{stamp.prefix}{name}"
    words = re.split(r"[^A-Za-z0-9]+", f"lianren-{resource_id}")
    resource: Resource = {
        "resourceType": kind,
        "id": resource_id,
        "url": f"{BASE}/{kind}/{resource_id}",
        "version": stamp.version,
        "name": "".join(word[:1].upper() + word[1:] for word in words),
        "title": f"{stamp.title}: {name}",
        "status": stamp.status,
        "experimental": stamp.experimental,
        "date": stamp.date,
        "publisher": stamp.publisher,
    }
    return resource | ({"copyright": stamp.copyright} if stamp.copyright else {})


def _rows(name: str, table: Table[Any], values: Sequence[Any], stamp: _Stamp) -> Resource:
    shape = Shape(table)
    return _head("CodeSystem", name, stamp) | {
        "caseSensitive": True,
        "content": "complete",
        "count": len(values),
        "property": [{"code": column, "type": kind} for column, (kind, _) in shape.properties.items()],
        "concept": [shape.concept(value) for value in values],
    }


def _items(items: Sequence[Item], stamp: _Stamp) -> Resource:
    system = _rows("items", _ITEM, items, stamp)
    for item, concept in zip(items, system["concept"], strict=True):
        concept["property"] += slots_of(item.kind, item.concept)
    system["property"] += [{"code": slot, "type": "string"} for slots in SLOTS.values() for slot in slots]
    whole = {"content": "complete", "valueSet": f"{BASE}/ValueSet/items"}
    return system | {
        "url": ITEM_SYSTEM,
        **({"content": "fragment"} if stamp.prefix else whole),
        "filter": [{"code": "lists", "operator": ["="], "value": "the id of a recognition list"}],
    }


def _value_set(entry: ItemList, stamp: _Stamp) -> Resource:
    chosen = {"property": "lists", "op": "=", "value": entry.id}
    return _head("ValueSet", _id(entry.id, "lists.csv"), replace(stamp, prefix="")) | {
        "title": entry.name,
        "publisher": entry.owner,
        "compose": {"include": [{"system": ITEM_SYSTEM, "filter": [chosen]}]},
    }


def _concept_map(
    name: str, source: str, pairs: Iterable[tuple[str, str, str, str]], stamp: _Stamp
) -> Resource:
    """From pairs of code, target, equivalence and comment."""
    elements: dict[str, list[Resource]] = {}
    for code, target, equivalence, comment in pairs:
        entry = {"code": target, "equivalence": equivalence}
        elements.setdefault(code, []).append(entry | ({"comment": comment} if comment else {}))
    group = {
        "source": source,
        "target": ITEM_SYSTEM,
        "element": [{"code": code, "target": targets} for code, targets in elements.items()],
    }
    return _head("ConceptMap", name, stamp) | {"group": [group]}


def _id(text: str, file: str) -> str:
    if not _ID.fullmatch(text):
        message = f"{text!r} is no id of FHIR: A-Z a-z 0-9 - . and 40 at most; correct it"
        raise CatalogueError((Finding(file, 0, "id", message),))
    return text
