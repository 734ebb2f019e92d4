"""Reads the CodeSystems of a Bundle back into the files of an edition, strictly; see :mod:`catalog.fhir`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from msgspec import Struct

from catalog._fhir_rows import SLOTS, Shape, listed
from catalog._sheets import HEAD, IMAGING, LAB, TABLES
from catalog.entries import Edition, Item
from catalog.errors import CatalogueError, Finding
from catalog.tables import YES_NO, Table
from catalog.write import csv_file, head

BASE = "https://lianren.example/fhir"
ITEM_SYSTEM = f"{BASE}/CodeSystem/items"
HEAD_TABLE: Table[Edition] = Table(HEAD, Edition, ("id",), ("notice_zh", "notice_en"))
KINDS = {IMAGING.file: "imaging", LAB.file: "lab"}
"""The kind of the items in each of their tables."""

_DERIVED = frozenset({"kind", "method_dependent"}.union(*SLOTS.values()))
_FREE = frozenset({"id", "meta", "text"})
_TYPES = ("CodeSystem", "ValueSet", "ConceptMap")
_MOST = 20
_Found = dict[tuple[str, str], tuple[str, dict[str, Any]]]


class Read(Struct, frozen=True):
    """What was read: the files; the resources by type and url with their FHIRPaths; the FHIRPath of each row
    of a file; the resource with the head, and its FHIRPath."""

    files: dict[str, bytes]
    found: _Found
    places: dict[str, list[str]]
    head: tuple[str, dict[str, Any]]

    def placed(self, finding: Finding) -> Finding:
        """A finding about a file's row, at its place in the Bundle."""
        rows = self.places.get(finding.file, [])
        at = max(finding.row - 2, 0)
        return Finding(rows[at] if at < len(rows) else finding.file, 0, finding.column, finding.message)


def stem(table: Table[Any]) -> str:
    """The name of a table in ids and urls."""
    return table.file.rpartition(".")[0].replace("_", "-")


def read_bundle(bundle: object) -> Read:
    """The files of the one edition in a Bundle.

    Raises:
        CatalogueError: it is no Bundle of one edition, or a concept cannot be a row.
    """
    findings: list[Finding] = []
    found = _resources(bundle, findings)
    heads = [url for kind, url in found if kind == "CodeSystem" and url.endswith("-edition")]
    if not findings and len(heads) != 1:
        message = f"holds {len(heads)} editions; send one Bundle for each, with its CodeSystem …-edition"
        findings.append(Finding("Bundle.entry", 0, "", message))
    _stop(findings)
    files: dict[str, bytes] = {}
    places: dict[str, list[str]] = {}
    for table in TABLES:
        url = ITEM_SYSTEM if table.make is Item else f"{heads[0].removesuffix('edition')}{stem(table)}"
        if held := found.get(("CodeSystem", url)):
            rows, places[table.file] = _rows(table, *held, findings)
            if rows:
                files[table.file] = csv_file(rows[0], (row.values() for row in rows))
    path, resource = found["CodeSystem", heads[0]]
    rows, places[HEAD] = _rows(HEAD_TABLE, path, resource, findings)
    if len(rows) == 1:
        files[HEAD] = _head(rows[0], places[HEAD][0], findings)
    else:
        findings.append(Finding(f"{path}.concept", 0, "", "must hold the head of one edition"))
    _stop(findings)
    return Read(files, found, places, (path, resource))


def compare(written: dict[str, Any], read: Read) -> None:
    """See that the resources that were read are those that their own rows give when written again.

    Raises:
        CatalogueError: naming each place that differs.
    """
    findings: list[Finding] = []
    expected = {(r["resourceType"], r["url"]): r for r in (entry["resource"] for entry in written["entry"])}
    for key, (path, resource) in read.found.items():
        if key not in expected:
            message = f"the {key[0]} {key[1]} is not made by this edition; remove it"
            findings.append(Finding(path, 0, "", message))
            continue
        given = {name: value for name, value in resource.items() if name not in _FREE}
        wanted = {name: value for name, value in expected[key].items() if name not in _FREE}
        findings.extend(_differences(wanted, given, path))
    for kind, url in expected.keys() - read.found.keys():
        findings.append(Finding("Bundle.entry", 0, "", f"has no {kind} {url}; add it, its rows are here"))
    _stop(findings)


def _resources(bundle: object, findings: list[Finding]) -> _Found:
    found: _Found = {}
    if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
        findings.append(Finding("Bundle", 0, "", "is no Bundle; send what the export of an edition wrote"))
        return found
    if bundle.get("type") != "collection":
        findings.append(Finding("Bundle.type", 0, "", "must be collection"))
    for number, entry in enumerate(listed(bundle, "entry", "Bundle", findings)):
        path, resource = f"Bundle.entry[{number}].resource", entry.get("resource")
        kind, url = (
            (resource.get("resourceType"), resource.get("url"))
            if isinstance(resource, dict)
            else (None, None)
        )
        if not isinstance(resource, dict) or kind not in _TYPES:
            findings.append(Finding(path, 0, "", f"must be one of {', '.join(_TYPES)}; remove it"))
        elif not isinstance(url, str) or not url.startswith(f"{BASE}/{kind}/"):
            findings.append(Finding(f"{path}.url", 0, "", f"must begin with {BASE}/{kind}/"))
        elif (kind, url) in found:
            findings.append(Finding(f"{path}.url", 0, "", "stands twice in this Bundle; keep one of the two"))
        else:
            found[kind, url] = (path, resource)
    return found


def _rows(
    table: Table[Any], path: str, resource: dict[str, Any], findings: list[Finding]
) -> tuple[list[dict[str, str]], list[str]]:
    """The cells of each row that belongs into a table, and the rows' FHIRPaths."""
    rows: list[dict[str, str]] = []
    places: list[str] = []
    kind, shape = KINDS.get(table.file), Shape(table)
    for number, concept in enumerate(listed(resource, "concept", path, findings)):
        place = f"{path}.concept[{number}]"
        if kind is None:
            rows.append(shape.cells(concept, place, frozenset(), findings))
        else:
            stated = _kind(concept)
            if stated not in KINDS.values() and table is IMAGING:
                message = f"needs the property kind, {' or '.join(KINDS.values())}"
                findings.append(Finding(place, 0, "", message))
            if stated != kind:
                continue
            rows.append(shape.cells(concept, place, _DERIVED, findings))
        places.append(place)
    return rows, places


def _kind(concept: dict[str, Any]) -> object:
    properties = concept.get("property")
    for entry in properties if isinstance(properties, list) else ():
        if isinstance(entry, dict) and entry.get("code") == "kind":
            return entry.get("valueCode")
    return None


def _head(cells: dict[str, str], path: str, findings: list[Finding]) -> bytes:
    values: dict[str, Any] = {}
    for name, hint in HEAD_TABLE.columns().items():
        text = cells[name]
        try:
            values[name] = _HEAD_VALUES[hint](text) if hint in _HEAD_VALUES else text
        except (ValueError, KeyError):
            findings.append(Finding(path, 0, "", f"lacks a usable {name}; see the export of an edition"))
    return head(values)


_HEAD_VALUES: dict[Any, Callable[[str], Any]] = {
    int: int,
    bool: YES_NO.__getitem__,
    datetime: datetime.fromisoformat,
}


def _differences(wanted: Any, given: Any, path: str) -> Iterator[Finding]:
    if type(wanted) is not type(given):
        yield Finding(path, 0, "", f"is {_shown(given)} where {_shown(wanted)} belongs; correct it")
    elif isinstance(wanted, dict):
        for name in wanted.keys() - given.keys():
            yield Finding(f"{path}.{name}", 0, "", f"is missing; {_shown(wanted[name])} belongs here")
        for name, value in given.items():
            if name in wanted:
                yield from _differences(wanted[name], value, f"{path}.{name}")
            else:
                yield Finding(f"{path}.{str(name)[:64]}", 0, "", "would be lost here; remove it")
    elif isinstance(wanted, list):
        if len(wanted) != len(given):
            message = f"has {len(given)} entries where {len(wanted)} belong; correct it"
            yield Finding(path, 0, "", message)
        for number, (one, other) in enumerate(zip(wanted, given, strict=False)):
            yield from _differences(one, other, f"{path}[{number}]")
    elif wanted != given:
        yield Finding(path, 0, "", f"is {_shown(given)} where {_shown(wanted)} belongs; correct it")


def _shown(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    text = json.dumps(value) if not isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _stop(findings: list[Finding]) -> None:
    if findings:
        raise CatalogueError(tuple(findings[:_MOST]))
