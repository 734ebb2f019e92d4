"""The REST interactions of FHIR R4 (http.html) on one shelf of resources.

An interaction is a :class:`Call`, as it comes over HTTP or as an entry of a Bundle, and is answered by a
:class:`Reply`. A write is planned first and kept then, so that a transaction keeps all of its plans at once.
What a plan presumes of the version that stands there goes to the shelf with the change: between the look and
the write nobody comes in unseen.

The criteria of a conditional write name an ``identifier`` or an ``_id``: by those a shelf finds everything
that it has, so that "there is none" is certain. Several processes may find that at once: what is created then
comes to an id that each of them has for these criteria, so that one creates it, and the others look again.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct

from adapters.fhir_time import span
from gateway.body import BadBody
from gateway.errors import BadParameter, Gone, NotFound, NotOffered, PreconditionFailed
from gateway.resources.conditions import conditions
from gateway.resources.intake import BOM, beside, take
from gateway.resources.local import search
from gateway.resources.query import Query, pairs_of, query_of
from gateway.resources.searchset import shaped
from gateway.resources.stamping import stamped
from gateway.resources.tokens import asked
from gateway.resources.values import STORED, Change, Kept, Shelf, VersionConflict
from security.errors import IdentityRefused
from security.identity import resident_number

VERSIONED: dict[str, Any] = {
    "versioning": "versioned-update",
    "readHistory": True,
    "updateCreate": True,
    "conditionalCreate": True,
    "conditionalRead": "not-match",
    "conditionalUpdate": True,
    "conditionalDelete": "single",
}
"""What a CapabilityStatement says of every type that is kept."""
T = TypeVar("T")
HISTORY = 1000
"""How many versions of a resource are told, the newest ones."""
TURNS = 8
"""How many ids are tried for what is created by criteria."""

_FORM = frozenset({"_format", "_pretty"})
_READ = _FORM | {"_summary", "_elements"}
_TAG = re.compile(r'(?:W/)?"([^"]{1,64})"')
_RETURN = re.compile(r"(?:^|[,;])\s*return\s*=\s*\"?([a-z]+)\"?\s*(?=[,;]|$)", re.IGNORECASE)
_DONE = msgspec.json.encode(
    {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": "information", "code": "informational", "diagnostics": "done"}],
    }
)


class Call(Struct, frozen=True, kw_only=True):
    """One interaction: ``path`` and ``query`` below the service base, the body, the headers that count."""

    method: str
    path: str
    query: str = ""
    body: bytes = b""
    if_match: str = ""
    if_none_match: str = ""
    if_none_exist: str | None = None
    prefer: str = ""

    @property
    def parts(self) -> list[str]:
        """The path, part by part: type, id and what is below."""
        return self.path.strip("/").split("/")

    @property
    def conditional(self) -> bool:
        """Whether what it does depends on a search."""
        return self.if_none_exist is not None or (self.method in ("PUT", "DELETE") and len(self.parts) == 1)


class Reply(Struct, frozen=True, kw_only=True):
    """What came of it: status, body, the version that it is about, and where that was written."""

    status: int
    body: bytes = b""
    kept: Kept | None = None
    location: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """ETag, Last-Modified, Location: those that there are."""
        told = self.kept.headers if self.kept else {}
        return told | ({"Location": self.location} if self.location else {})


class Plan(Struct, frozen=True, kw_only=True):
    """What a write comes down to: a change, or nothing where ``standing`` (the newest version) does."""

    type: str
    id: str
    standing: Kept | None
    change: Change | None


class Interactions:
    """Interactions on a shelf at the service base ``base``.

    ``turn`` is held over conditional writes, so that those of one process do not contend. Methods raise what
    the shelf raises, besides their own.
    """

    def __init__(self, shelf: Shelf, base: str, turn: asyncio.Lock) -> None:
        self.turn = turn
        self._shelf = shelf
        self._base = base

    async def look(self, call: Call) -> Reply:
        """``read``, ``vread`` and ``history`` of an instance.

        Raises:
            NotFound: it never was here, or its type is not kept here, or nothing ever is at this address.
            Gone: it was deleted.
            BadParameter: see docs/errors.md.
        """
        match offered(call.path):
            case [type_, id_]:
                return shown(await self._shelf.get(type_, id_), call)
            case [type_, id_, "_history"]:
                return history(await self._shelf.history(type_, id_, HISTORY), self._base, call)
            case [type_, id_, "_history", version] if version.isascii() and version.isdigit():
                return shown(await self._shelf.get(type_, id_, int(version[:18])), call)
        return shown(None, call)

    async def write(self, call: Call) -> Reply:
        """``create``, ``update`` and ``delete``, each with or without a condition.

        Raises:
            BadBody: the resource or a condition is refused (400, 422).
            NotFound, NotOffered: the type is not kept here, or this is not done with it.
            PreconditionFailed: another version stands there, or criteria mean several.
        """

        async def work() -> Reply:
            return (await self.keep([(call, await self.plan(call))]))[0]

        return await self.in_turn([call], work)

    async def in_turn(self, calls: Sequence[Call], work: Callable[[], Awaitable[T]]) -> T:
        """Do the work of these calls: where one is conditional, in its turn, and again if things changed
        since the look."""
        if not any(call.conditional for call in calls):
            return await work()
        async with self.turn:
            with suppress(PreconditionFailed):
                return await work()
            return await work()

    async def plan(self, call: Call) -> Plan:
        """What a write comes down to as things stand. Raises as :meth:`write`."""
        match call.method, offered(call.path):
            case "POST", [type_]:
                return await self._create(type_, call)
            case "PUT", [type_, id_]:
                return await self._update(type_, id_, call)
            case "PUT", [type_]:
                return await self._update_one(type_, call)
            case "DELETE", [type_, id_]:
                return await self._delete(type_, id_, call)
            case "DELETE", [type_]:
                one = await self.one(type_, call.query)
                return await self._delete(type_, one.id if one else "", call)
        raise not_offered(call)

    async def keep(self, plans: Sequence[tuple[Call, Plan]]) -> list[Reply]:
        """Carry out all plans or none, and tell of each. Raises PreconditionFailed."""
        changes = [plan.change for _, plan in plans if plan.change]
        try:
            kept = iter(await self._shelf.put(changes) if changes else ())
        except VersionConflict as conflict:
            raise PreconditionFailed(
                f"another version of {conflict.place} stands there than is presumed; read it, and send again"
            ) from None
        return [self._told(call, plan, next(kept) if plan.change else None) for call, plan in plans]

    async def one(self, type_: str, query: str) -> Kept | None:
        """The resource that the criteria of a condition mean, or None.

        Raises:
            BadBody: 400 for criteria that are none.
            PreconditionFailed: several fit, or might, since nothing is asked for that a shelf finds all by.
        """
        wanted = tuple(conditions(type_, criteria(query)))
        if not wanted:
            raise BadBody("criteria", "missing", "ask for an identifier: identifier=system|value", 400)
        if not asked(wanted) and all(one.name != "_id" for one in wanted):
            raise PreconditionFailed("criteria must name an identifier or an _id, so that one is meant")
        found = (await search(self._shelf, Query(type=type_, conditions=wanted), (self._base,))).rows
        if len(found) > 1:
            raise PreconditionFailed(f"{len(found)} resources fit these criteria; narrow them to one")
        return await self._shelf.get(type_, found[0].place.partition("/")[2]) if found else None

    async def _create(self, type_: str, call: Call) -> Plan:
        id_ = await self._vacant(type_, call.if_none_exist or "")
        if call.if_none_exist is not None and (one := await self.one(type_, call.if_none_exist)):
            return Plan(type=type_, id=one.id, standing=one, change=None)
        taken = await beside(take, call.body, type_, id_, new=True)
        change = Change(type=type_, id=taken.id, body=taken.body, expected=0)
        return Plan(type=type_, id=taken.id, standing=None, change=change)

    async def _update(self, type_: str, id_: str, call: Call) -> Plan:
        _refuse_number(id_)
        if _own_id(call.body) not in (id_, None):  # R4 http.html#update: SHALL be a 400
            raise BadBody("id", "missing, or not the id of the address", "make them equal", 400)
        taken = await beside(take, call.body, type_, id_)
        standing = await self._shelf.get(type_, id_)
        expected = _expected(call, standing)
        change = Change(type=type_, id=id_, body=taken.body, expected=expected)
        return Plan(type=type_, id=id_, standing=standing, change=change)

    async def _update_one(self, type_: str, call: Call) -> Plan:
        """R4 http.html#cond-update: none fits, and it is created, at its own id where it has one."""
        own = _own_id(call.body)
        vacant = own or await self._vacant(type_, call.query)
        one = await self.one(type_, call.query)
        if one and own and own != one.id:
            raise BadBody("id", "not the id of the resource that fits", "leave it out, or send its own", 400)
        id_ = one.id if one else vacant
        _refuse_number(id_)
        taken = await beside(take, call.body, type_, id_, new=not own)
        expected = _expected(call, one)
        if expected is None:
            standing = one or (await self._shelf.get(type_, id_))
            expected = standing.version if standing and (one or standing.deleted) else 0
        change = Change(type=type_, id=id_, body=taken.body, expected=expected)
        return Plan(type=type_, id=id_, standing=one, change=change)

    async def _delete(self, type_: str, id_: str, call: Call) -> Plan:
        """What is gone, or never was, is deleted as well as can be."""
        standing = await self._shelf.get(type_, id_) if id_ else None
        expected = _expected(call, standing)
        change = None
        if standing and not standing.deleted:
            if call.conditional:
                expected = standing.version
            change = Change(type=type_, id=id_, body=b"", expected=expected)
        return Plan(type=type_, id=id_, standing=standing, change=change)

    async def _vacant(self, type_: str, query: str) -> str:
        """An id that nothing has: by criteria, the same wherever this shelf is written to. It is chosen
        before the look for what fits: what is created in between stands at this id, and is a conflict."""
        told = asked(conditions(type_, criteria(query))) if query else []
        for _ in range(TURNS if told else 0):
            id_ = await self._shelf.id_for(type_, told)
            if await self._shelf.get(type_, id_) is None:
                return id_
            told = [*told, id_]  # deleted, or it got another identifier
        return uuid.uuid4().hex

    def _told(self, call: Call, plan: Plan, changed: Kept | None) -> Reply:
        kept = changed or plan.standing
        if call.method == "DELETE" or kept is None:
            return Reply(status=204, kept=kept)
        created = changed is not None and (plan.standing is None or plan.standing.deleted)
        return Reply(
            status=201 if created else 200,
            body=_body(kept, call.prefer),
            kept=kept,
            location=f"{self._base}/{kept.type}/{kept.id}/_history/{kept.version}",
        )


def call_of(method: str, path: str, headers: Mapping[str, str], query: str = "", body: bytes = b"") -> Call:
    """The call of an HTTP request; ``headers`` know their names whatever the case."""
    return Call(
        method=method,
        path=path,
        query=query,
        body=body,
        if_match=headers.get("if-match", ""),
        if_none_match=headers.get("if-none-match", ""),
        if_none_exist=headers.get("if-none-exist"),
        prefer=headers.get("prefer", ""),
    )


def offered(path: str) -> list[str]:
    """The parts of an address about a type that is kept here. Raises NotFound."""
    parts = path.strip("/").split("/")
    if parts[0] not in STORED:
        raise NotFound(f"this type is not kept here; those that are: {', '.join(STORED)}")
    return parts


def not_offered(call: Call) -> NotOffered:
    """That there is no such interaction at this place."""
    return NotOffered(f"{call.method} is not offered here; the CapabilityStatement says what is")


def criteria(query: str) -> list[tuple[str, str]]:
    """The parameters of an address, without those that speak of the answer's form. Raises BadBody (400)."""
    return [pair for pair in pairs_of(query.encode("utf-8")) if pair[0] not in _FORM]


def shown(kept: Kept | None, call: Call, *, own: bool = True) -> Reply:
    """One version as a read answers it: 304 where the caller has it. What is not of our ``own`` shelves is
    shown in the very bytes that its node sent. Raises NotFound, Gone."""
    if kept is None:
        raise NotFound("there is no such resource, or no such version of it")
    if kept.deleted:
        raise Gone("this resource was deleted; its history has what it was")
    if call.if_none_match and _names(call.if_none_match, kept):
        return Reply(status=304, kept=kept)
    body = stamped(kept) if own else kept.body
    return Reply(status=200, body=_narrowed(body, kept.type, call) if call.query else body, kept=kept)


def _narrowed(body: bytes, type_: str, call: Call) -> bytes:
    """As much of it as is wanted (R4 http.html#read). Raises BadParameter, BadBody."""
    told = pairs_of(call.query.encode())
    if unknown := {name for name, _ in told} - _READ:
        raise BadParameter(f"is no parameter of a read: use {', '.join(sorted(_READ))}", field=min(unknown))
    query = query_of(type_, told)
    if query.counted:
        raise BadParameter("counts what a search finds: use true, text, data or false", field="_summary")
    return bytes(shaped(body, query))


def history(versions: Sequence[Kept], base: str, call: Call) -> Reply:
    """The history of an instance (http.html#history), the newest version first.

    Raises:
        NotFound: it never was here.
        BadParameter: a parameter that is none of ``_count``, ``_since`` and ``_format``.
    """
    if not versions:
        raise NotFound("there is no such resource")
    asked = dict(criteria(call.query))
    if unknown := asked.keys() - {"_count", "_since", "_before"}:
        raise BadParameter("is no parameter of a history: use _count and _since", field=min(unknown))
    wanted = [kept for kept in versions if _since(asked, kept)]
    count, before = (_number(asked, name) for name in ("_count", "_before"))
    left = [kept for kept in wanted if before is None or kept.version < before]
    page = left if count is None else left[:count]
    place = f"{base}/{versions[0].type}/{versions[0].id}"
    link = [{"relation": "self", "url": f"{place}/_history"}]
    if page and len(page) < len(left):
        further = f"{place}/_history?_count={count}&_before={page[-1].version}"
        since = f"&_since={asked['_since']}" if "_since" in asked else ""
        link.append({"relation": "next", "url": further + since.replace("+", "%2B")})
    entries = [_entry(kept, place) for kept in page]
    bundle: dict[str, Any] = {"resourceType": "Bundle", "type": "history", "total": len(wanted), "link": link}
    return Reply(status=200, body=msgspec.json.encode(bundle | ({"entry": entries} if entries else {})))


def _entry(kept: Kept, place: str) -> dict[str, Any]:
    status = "204 No Content" if kept.deleted else "201 Created" if kept.version == 1 else "200 OK"
    request = {"method": "DELETE" if kept.deleted else "PUT", "url": f"{kept.type}/{kept.id}"}
    response = {"status": status, **told_of(kept)}
    content = {} if kept.deleted else {"resource": Raw(stamped(kept))}
    return {"fullUrl": place, **content, "request": request, "response": response}


def told_of(kept: Kept) -> dict[str, str]:
    """``etag`` and ``lastModified`` of Bundle.entry.response."""
    return {"etag": kept.etag, "lastModified": kept.saved.isoformat(timespec="milliseconds")}


def _body(kept: Kept, prefer: str) -> bytes:
    """What the caller prefers to get of a write (http.html#ops): the resource, unless it says otherwise."""
    match wish[1].lower() if (wish := _RETURN.search(prefer)) else "":
        case "minimal":
            return b""
        case "operationoutcome":
            return _DONE
    return stamped(kept)


def _expected(call: Call, standing: Kept | None) -> int | None:
    """The version that must stand there still when the change is kept. Raises PreconditionFailed, BadBody."""
    version = standing.version if standing and not standing.deleted else 0
    if version and standing and _names(call.if_none_match, standing):
        raise PreconditionFailed("what stands there is what If-None-Match says does not")
    if not call.if_match:
        return (standing.version if standing else 0) if call.if_none_match.strip() == "*" else None
    if not version or standing is None or not _names(call.if_match, standing):
        raise PreconditionFailed("another version stands there than If-Match names; read it, and send again")
    return version


def _names(tags: str, kept: Kept) -> bool:
    """Whether If-Match or If-None-Match names this version; weak and strong tags are compared alike."""
    return tags.strip() == "*" or (kept.tag or str(kept.version)) in _TAG.findall(tags)


def _own_id(body: bytes) -> str | None:
    """The id that a resource brings along, if any; None for what cannot be read, which intake refuses."""
    try:
        return msgspec.json.decode(body.removeprefix(BOM), type=_Identified).id
    except (msgspec.MsgspecError, RecursionError):
        return None


class _Identified(Struct):
    id: str = ""


def _refuse_number(id_: str) -> None:
    """A resident number as an id would stand in every address and log. Raises BadBody (422)."""
    if len(id_) != 18:
        return
    with suppress(IdentityRefused):
        resident_number(id_)
        raise BadBody("id", "a person's number", "use the local one: ids stand in addresses and logs", 422)


def _since(asked: Mapping[str, str], kept: Kept) -> bool:
    """Raises BadParameter."""
    if "_since" not in asked:
        return True
    if (moment := span(asked["_since"])) is None:
        raise BadParameter("is no instant; write 2026-01-31T08:00:00+08:00", field="_since")
    return kept.saved >= moment[0]


def _number(asked: Mapping[str, str], name: str) -> int | None:
    """Raises BadParameter."""
    text = asked.get(name)
    if text is not None and not (text.isascii() and text.isdigit() and len(text) < 19):
        raise BadParameter("is no whole number", field=name)
    return None if text is None else int(text)
