"""What a FHIR server is asked, beyond the questions of a gateway."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Literal

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from adapters import NodeError, NodeRefused
from adapters.fhir_search import MEDIA, Dialect, Form, Searcher
from gateway.accrediting import behaviour, shown
from gateway.accrediting.kit import Kit, Seen, passed, unless
from gateway.nodes import dialect_of, line_of
from recognition import SHANGHAI
from security.identity import Identifier

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
    kit.software = " ".join(str(said.software.get(key, "")) for key in ("name", "version")).strip()[:80]
    return Seen("passed" if said.fhir_version.startswith("4.0.") else "fix", said.fhir_version[:20])


async def found(kit: Kit) -> Seen:
    """Every patient of the file."""
    wrong = []
    for number, patient in enumerate(kit.patients.known, start=1):
        if not any(_has(one, patient.person) for one in await _patients(kit, patient.person)):
            wrong.append(f"patient {number}")
    return unless(wrong, len(kit.patients.known))


async def once(kit: Kit) -> Seen:
    """No patient twice."""
    wrong = []
    for number, patient in enumerate(kit.patients.known, start=1):
        held = {one.id for one in await _patients(kit, patient.person) if _has(one, patient.person)}
        if len(held) > 1:
            wrong.append(f"patient {number}: {len(held)}")
    return unless(wrong, len(kit.patients.known), "advice")


async def unknown(kit: Kit) -> Seen:
    """Nobody, where nobody has the number."""
    strangers = kit.strangers()
    led = [len(await _patients(kit, person)) for person in strangers]
    return unless([f"{count} Patients" for count in led if count], len(led))


async def exact(kit: Kit) -> Seen:
    """Nobody, where the number is cut short."""
    wrong = []
    for number, patient in enumerate(kit.patients.known, start=1):
        cut = Identifier(patient.person.type, patient.person.system, patient.person.value[:-2])
        if await _patients(kit, cut):
            wrong.append(f"patient {number}")
    return unless(wrong, len(kit.patients.known))


async def method(kit: Kit) -> Seen:
    """The search that the settings name."""
    await _patients(kit, kit.patients.known[0].person)
    return passed(kit.settings.dialect.search)


async def other_method(kit: Kit) -> Seen:
    """The other one finds the same; nothing of this product needs it."""
    other: Literal["post", "get"] = "get" if kit.settings.dialect.search == "post" else "post"
    person = kit.patients.known[0].person
    try:
        there = await _patients(kit, person, replace(_dialect(kit), search=other))
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
        whole = await _searcher(kit).find(type_, form)
        if 1 < len(whole.resources) <= 40:
            looked += 1
            pages = await Searcher(kit.line, replace(_dialect(kit), page=1)).find(type_, form)
            if sorted(map(_id, pages.resources)) != sorted(map(_id, whole.resources)):
                wrong.append(f"{type_}: {len(pages.resources)} / {len(whole.resources)}")
    return unless(wrong, looked)


async def page_size(kit: Kit) -> Seen:
    """A page of one has one."""
    looked, wrong = 0, []
    for type_, _ in _types(kit):
        form = await _form(kit)
        if len((await _searcher(kit).find(type_, form)).resources) > 1:
            looked += 1
            bundle = msgspec.json.decode(await _search(kit, type_, [*form, ("_count", "1")]), type=_Page)
            if sum(entry.search.mode == "match" for entry in bundle.entry) != 1:
                wrong.append(f"{type_}: {len(bundle.entry)}")
    return unless(wrong, looked, "advice")


async def person_names(kit: Kit) -> Seen:
    """As the owner writes them; the names are not told."""
    wrong, looked = [], 0
    for number, patient in enumerate(kit.patients.known, start=1):
        held = [one for one in await _patients(kit, patient.person) if _has(one, patient.person)]
        if patient.said.name and held:
            looked += 1
            if not any(_plain(patient.said.name) in _written(name) for one in held for name in one.name):
                wrong.append(f"patient {number}")
    return unless(wrong, looked)


async def bad_request(kit: Kit) -> Seen:
    """A date that is none. To pass over it is allowed (FHIR R4 3.1.1.3.1), to break on it is not."""
    form = [*await _form(kit), ("date", "ge2026-13-45")]
    return await behaviour.refused(lambda: _search(kit, "Observation", form), "advice")


async def unknown_path(kit: Kit) -> Seen:
    """A type that is none."""
    return await behaviour.refused(lambda: kit.line.get_json("Lianren/1", accept=MEDIA), "advice")


async def unknown_resource(kit: Kit) -> Seen:
    """An id that nobody gave."""
    path = "Observation/lianren-no-such-id"
    return await behaviour.refused(lambda: kit.line.get_json(path, accept=MEDIA), "fix")


async def token(kit: Kit) -> Seen:
    """Credentials that are wrong."""
    has = bool(kit.settings.token_file or kit.settings.password_file)
    line = line_of(kit.settings, {"Authorization": "Bearer lianren-wrong-token"})
    person = kit.strangers()[0]
    try:
        await Searcher(line, _dialect(kit)).find("Patient", _by_number(person))
    except NodeRefused as refused:
        return passed(refused.detail)
    finally:
        await line.aclose()
    return behaviour.let_in(kit, "fix" if has else "advice")


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
    "errors.unknown_path": unknown_path,
    "errors.unknown_resource": unknown_resource,
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
    entry: tuple[_Entry, ...] = ()


class _Identified(Struct, frozen=True):
    id: str = ""


async def _patients(kit: Kit, person: Identifier, dialect: Dialect | None = None) -> list[_Patient]:
    """Everybody that a number leads to."""
    searcher = Searcher(kit.line, dialect) if dialect else _searcher(kit)
    led = await searcher.find("Patient", _by_number(person))
    return [msgspec.json.decode(raw, type=_Patient) for raw in led.resources]


async def _form(kit: Kit) -> Form:
    """The search for the records of the first patient who is there."""
    for patient in kit.patients.known:
        for held in await _patients(kit, patient.person):
            if _has(held, patient.person):
                bare = kit.settings.dialect.patient == "id"
                return [("patient", held.id if bare else f"Patient/{held.id}")]
    raise NodeRefused("no patient of the file was found")


async def _ids(kit: Kit, type_: str, form: Form) -> set[str]:
    return {_id(raw) for raw in (await _searcher(kit).find(type_, form)).resources}


async def _search(kit: Kit, type_: str, form: Sequence[tuple[str, str]]) -> bytes:
    """One page, as the dialect says."""
    if kit.settings.dialect.search == "get":
        return await kit.line.get_json(type_, form, accept=MEDIA)
    return await kit.line.post_form(f"{type_}/_search", form, accept=MEDIA)


def _types(kit: Kit) -> list[tuple[str, str]]:
    wanted = {"lab": "Observation", "imaging": "ImagingStudy"}
    return [
        (type_, _BOUNDS[type_]) for type_ in ("DiagnosticReport", *(wanted[k] for k in kit.settings.kinds))
    ]


def _searcher(kit: Kit) -> Searcher:
    return Searcher(kit.line, _dialect(kit))


def _dialect(kit: Kit) -> Dialect:
    return dialect_of(kit.settings)


def _by_number(person: Identifier) -> Form:
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
