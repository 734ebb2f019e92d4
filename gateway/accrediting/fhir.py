"""What a FHIR server is asked, beyond the questions of a gateway."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Literal
from urllib.parse import urlencode

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from adapters import NodeError, NodeRefused
from adapters.fhir_search import MEDIA, Dialect, Searcher
from gateway.accrediting import behaviour, shown
from gateway.accrediting.kit import Kit, Seen, each, passed, unless
from gateway.accrediting.values import Patient
from gateway.nodes import dialect_of
from recognition import SHANGHAI
from security.identity import Identifier

_Form = Sequence[tuple[str, str]]
_BOUNDS = {"Observation": "date", "DiagnosticReport": "issued", "ImagingStudy": "started"}


class _Capability(Struct, frozen=True, rename="camel"):
    resource_type: str = ""
    fhir_version: str = ""
    software: Mapping[str, object] = {}


class _Number(Struct, frozen=True):
    system: str = ""
    value: str = ""


class _Name(Struct, frozen=True):
    text: str = ""
    family: str = ""
    given: tuple[str, ...] = ()


class _Patient(Struct, frozen=True):
    id: str = ""
    identifier: tuple[_Number, ...] = ()
    name: tuple[_Name, ...] = ()


async def reachable(kit: Kit) -> Seen:
    """Something in JSON."""
    await kit.line.get_json("metadata", accept=MEDIA)
    return passed()


async def version(kit: Kit) -> Seen:
    """By its CapabilityStatement: 4.0.0 and 4.0.1 are R4, R4B has other numbers."""
    said = msgspec.json.decode(await kit.line.get_json("metadata", accept=MEDIA), type=_Capability)
    if said.resource_type != "CapabilityStatement":
        return Seen("advice", "no CapabilityStatement")
    kit.software = " ".join(str(said.software.get(key, "")) for key in ("name", "version")).strip()
    return Seen("passed" if said.fhir_version.startswith("4.0.") else "fix", said.fhir_version)


async def found(kit: Kit) -> Seen:
    """Every patient of the file."""

    async def look(patient: Patient) -> str:
        return "" if await _held(kit, patient) else "not found"

    return await each(kit, look)


async def once(kit: Kit) -> Seen:
    """No patient twice."""

    async def look(patient: Patient) -> str:
        ids = {one.id for one in await _held(kit, patient)}
        return str(len(ids)) if len(ids) > 1 else ""

    return await each(kit, look, "advice")


async def unknown(kit: Kit) -> Seen:
    """Nobody, where nobody has the number."""
    strangers = kit.strangers()
    led = [await _leads(kit, person) for person in strangers]
    return unless(["a Patient"] * sum(led), len(led))


async def exact(kit: Kit) -> Seen:
    """Nobody, where the number is cut short."""

    async def look(patient: Patient) -> str:
        cut = Identifier(patient.person.type, patient.person.system, patient.person.value[:-2])
        return "found" if await _leads(kit, cut) else ""

    return await each(kit, look)


async def method(kit: Kit) -> Seen:
    """The search that the settings name."""
    await _patients(kit, kit.patients.known[0].person)
    return passed(kit.settings.dialect.search)


async def other_method(kit: Kit) -> Seen:
    """The other one finds the same; nothing of this product needs it."""
    other: Literal["post", "get"] = "get" if kit.settings.dialect.search == "post" else "post"
    person = kit.patients.known[0].person
    try:
        there = await _patients(kit, person, replace(dialect_of(kit.settings), search=other))
    except NodeError as wrong:
        return Seen("advice", f"{other}: {wrong.detail}")
    here = await _patients(kit, person)
    return Seen("passed" if {p.id for p in here} == {p.id for p in there} else "advice", other)


async def bounds(kit: Kit) -> Seen:
    """Nothing of after tomorrow is found, and with an early bound all that is found without one."""
    if not kit.settings.dialect.since:
        return Seen("not_made", "dialect.since = false")
    wrong, looked = [], 0
    for type_, bound in _types(kit):
        form = await _form(kit)
        late = (kit.now + timedelta(days=2)).astimezone(SHANGHAI).isoformat(timespec="seconds")
        early = (kit.now - timedelta(days=36_500)).astimezone(SHANGHAI).isoformat(timespec="seconds")
        everything = await _ids(kit, type_, form)
        looked += 1
        if await _ids(kit, type_, [*form, (bound, f"ge{late}")]):
            wrong.append(f"{type_}: {bound}=ge({late[:10]})")
        elif everything - await _ids(kit, type_, [*form, (bound, f"ge{early}")]):
            wrong.append(f"{type_}: {bound}=ge({early[:10]})")
    return unless(wrong, looked)


async def paging(kit: Kit) -> Seen:
    """Pages of one, put together."""
    wrong, looked = [], 0
    for type_, _ in _types(kit):
        form = await _form(kit)
        whole = await _find(kit, type_, form)
        if 1 < len(whole) <= 40:
            looked += 1
            pages = await _find(kit, type_, form, replace(dialect_of(kit.settings), page=1))
            if sorted(map(_id, pages)) != sorted(map(_id, whole)):
                wrong.append(f"{type_}: {len(pages)} / {len(whole)}")
    return unless(wrong, looked)


async def page_size(kit: Kit) -> Seen:
    """A page of one has one."""
    looked, wrong = 0, []
    for type_, _ in _types(kit):
        form = await _form(kit)
        if len(await _find(kit, type_, form)) > 1:
            looked += 1
            bundle = msgspec.json.decode(await _search(kit, type_, [*form, ("_count", "1")]), type=_Page)
            if sum(entry.search.mode == "match" for entry in bundle.entry) != 1:
                wrong.append(f"{type_}: {len(bundle.entry)}")
    return unless(wrong, looked, "advice")


async def person_names(kit: Kit) -> Seen:
    """As the owner writes them; the names are not told."""

    async def look(patient: Patient) -> str | None:
        written = [_written(name) for one in await _held(kit, patient) for name in one.name]
        if not (patient.said.name and written):
            return None
        return "" if any(_plain(patient.said.name) in name for name in written) else "another"

    return await each(kit, look)


async def bad_request(kit: Kit) -> Seen:
    """A date that is none. To pass over it is allowed (FHIR R4 3.1.1.3.1), to break on it is not."""
    form = [*await _form(kit), ("date", "ge2026-13-45")]
    return await behaviour.refused(lambda: _search(kit, "Observation", form), "advice")


async def token(kit: Kit) -> Seen:
    """A search for somebody who is not there."""
    form = urlencode(_by_number(kit.strangers()[0]))
    dialect = dialect_of(kit.settings)
    return await behaviour.wrong_token(kit, lambda line: Searcher(line, dialect).find("Patient", form))


CHECKS: dict[str, Callable[[Kit], Awaitable[Seen]]] = {
    "identity.reachable": reachable,
    "identity.version": version,
    "identity.found": found,
    "identity.once": once,
    "identity.unknown": unknown,
    "identity.exact": exact,
    "identity.own": shown.own,
    "search.method": method,
    "search.other_method": other_method,
    "search.bounds": bounds,
    "search.paging": paging,
    "search.page_size": page_size,
    "search.complete": shown.complete,
    "retrieval.readable": shown.readable,
    "retrieval.values": shown.values,
    "retrieval.studies": shown.studies,
    "retrieval.images": shown.images,
    "retrieval.institution": shown.institution,
    "retrieval.flags": shown.flags,
    "names.read": shown.names,
    "units.stated": shown.units_stated,
    "units.known": shown.units_known,
    "units.values": shown.values_expected,
    "times.stated": shown.times_stated,
    "times.expected": shown.times_expected,
    "times.clock": behaviour.clock("metadata"),
    "charset.text": shown.text,
    "charset.person_names": person_names,
    "errors.bad_request": bad_request,
    "errors.unknown_path": behaviour.refuses("Lianren/1", MEDIA, "advice"),
    "errors.unknown_resource": behaviour.refuses("Observation/lianren-no-such-id", MEDIA, "fix"),
    "errors.token": token,
    "behaviour.slow_client": behaviour.slow_client("metadata", MEDIA),
    "behaviour.many_clients": behaviour.many_clients,
    "behaviour.leaving_client": behaviour.leaving_client,
}
"""In the order in which they are made and shown."""


class _Search(Struct, frozen=True):
    mode: str = "match"


class _Entry(Struct, frozen=True):
    search: _Search = _Search()


class _Page(Struct, frozen=True):
    type: Literal["searchset"]
    entry: tuple[_Entry, ...] = ()


class _Identified(Struct, frozen=True):
    id: str = ""


async def _patients(kit: Kit, person: Identifier, dialect: Dialect | None = None) -> list[_Patient]:
    """Everybody that a number leads to."""
    led = await _find(kit, "Patient", _by_number(person), dialect)
    return [msgspec.json.decode(raw, type=_Patient) for raw in led]


async def _held(kit: Kit, patient: Patient) -> list[_Patient]:
    """Those of them who have the number."""
    return [one for one in await _patients(kit, patient.person) if _has(one, patient.person)]


async def _leads(kit: Kit, person: Identifier) -> bool:
    """Whether a number leads to anybody. One entry is asked for: a server that ignores the number has all its
    patients to show."""
    body = await _search(kit, "Patient", [*_by_number(person), ("_count", "1")])
    page = msgspec.json.decode(body, type=_Page) if body else _Page("searchset")
    return any(entry.search.mode == "match" for entry in page.entry)


async def _form(kit: Kit) -> _Form:
    """The search for the records of the first patient who is there."""
    for patient in kit.patients.known:
        for held in await _held(kit, patient):
            bare = kit.settings.dialect.patient == "id"
            return [("patient", held.id if bare else f"Patient/{held.id}")]
    raise NodeRefused("no patient of the file was found")


async def _find(kit: Kit, type_: str, form: _Form, dialect: Dialect | None = None) -> Sequence[Raw]:
    """Every page of a search, in the dialect of the settings or another one."""
    searcher = Searcher(kit.line, dialect or dialect_of(kit.settings))
    return (await searcher.find(type_, urlencode(form))).resources


async def _ids(kit: Kit, type_: str, form: _Form) -> set[str]:
    return {_id(raw) for raw in await _find(kit, type_, form)}


async def _search(kit: Kit, type_: str, form: _Form) -> bytes:
    """One page, as the dialect says."""
    if kit.settings.dialect.search == "get":
        return await kit.line.get_json(type_, form, accept=MEDIA)
    return await kit.line.post_form(f"{type_}/_search", form, accept=MEDIA)


def _types(kit: Kit) -> list[tuple[str, str]]:
    wanted = {"lab": "Observation", "imaging": "ImagingStudy"}
    return [
        (type_, _BOUNDS[type_]) for type_ in ("DiagnosticReport", *(wanted[k] for k in kit.settings.kinds))
    ]


def _by_number(person: Identifier) -> _Form:
    return [("identifier", f"{person.system}|{person.value}")]


def _has(patient: _Patient, person: Identifier) -> bool:
    return any((one.system, one.value) == (person.system, person.value) for one in patient.identifier)


def _id(raw: Raw) -> str:
    return msgspec.json.decode(raw, type=_Identified).id


def _written(name: _Name) -> str:
    """All parts of a name, in both orders."""
    given = "".join(name.given)
    return _plain(f"{name.text}|{name.family}{given}|{given}{name.family}")


def _plain(name: str) -> str:
    return "".join(name.split()).casefold()
