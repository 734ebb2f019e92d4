"""Batches and transactions (R4 http.html#transaction): the interactions of a Bundle's entries.

A batch is done entry by entry, and a failure is that entry's own. A transaction is kept as a whole or not at
all: its writes are planned (DELETE, POST, PUT), then kept at once, and its reads come last.

Inside a transaction resources refer to one another by the ``fullUrl`` of entries whose ids are given out
here, and to others by criteria (``Patient?identifier=…``). Such references mean nothing once it is carried
out, so they become ``<Type>/<id>``, as the specification asks. Only the text of a ``reference`` is replaced:
every other byte of a resource stays as it came.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from http import HTTPStatus
from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from gateway.body import BadBody, decode
from gateway.errors import TERSE, GatewayError, PreconditionFailed, failure_of, outcome_of
from gateway.resources.intake import BOM, check_bundle
from gateway.resources.interactions import Call, Interactions, Plan, Reply, not_offered, offered, told_of
from gateway.resources.issues import ResourceRefused
from gateway.resources.values import STORED
from security.errors import IdentityRefused

ORDER = ("DELETE", "POST", "PUT", "GET", "HEAD")
"""In which order the entries of a transaction are carried out; PATCH is not offered."""
LETTERS = {"DELETE": "d", "POST": "c", "PUT": "u"}
_REFERENCE = re.compile(rb'"reference"\s*:\s*("(?:[^"\\]|\\.)*+")')
_CRITERIA = re.compile(rf"({'|'.join(STORED)})\?(.+)", re.DOTALL)
_RESTFUL = re.compile(rf".*/({'|'.join(STORED)})/([A-Za-z0-9\-.]{{1,64}})")


class _Request(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    method: str
    url: str
    if_match: str = ""
    if_none_match: str = ""
    if_none_exist: str | None = None


class _Entry(Struct, frozen=True, kw_only=True, rename="camel"):
    request: _Request
    resource: Raw = Raw()
    full_url: str = ""


class _Bundle(Struct, frozen=True, kw_only=True, rename="camel"):
    resource_type: str = ""
    type: str = ""
    entry: tuple[_Entry, ...] = ()


class Bundles:
    """Carries out Bundles at the service base ``base``.

    Args:
        writes: on what shelf entries write; asked for once an entry does.
        look: answers entries that read.
        permit: raises for a type and a letter (``cruds``) that the caller may not.
    """

    def __init__(
        self,
        base: str,
        writes: Callable[[], Interactions],
        look: Callable[[Call], Awaitable[Reply]],
        permit: Callable[[str, str], None],
    ) -> None:
        self._base = base
        self._writes = writes
        self._look = look
        self._permit = permit

    async def answer(self, raw: bytes, prefer: str = "") -> bytes:
        """The ``batch-response`` or ``transaction-response`` to a Bundle.

        Raises:
            BadBody: it is none of the two (400, 422), or an entry of a transaction is refused.
            GatewayError: an entry of a transaction cannot be carried out; nothing was kept.
        """
        bundle = decode(raw.removeprefix(BOM), _Bundle)
        if bundle.resource_type != "Bundle" or bundle.type not in ("transaction", "batch"):
            raise BadBody("Bundle.type", "neither transaction nor batch", "send one of them", 400)
        check_bundle(raw)
        calls = [self._call(entry, prefer) for entry in bundle.entry]
        if bundle.type == "batch":
            told = [await self._batched(call) for call in calls]
        else:
            replies = await self._transaction(bundle, calls)
            told = [_told(call, reply, self._base) for call, reply in zip(calls, replies, strict=True)]
        answer = {"resourceType": "Bundle", "type": f"{bundle.type}-response"}
        return msgspec.json.encode(answer | ({"entry": told} if told else {}))

    def _call(self, entry: _Entry, prefer: str) -> Call:
        request = entry.request
        path, _, query = request.url.removeprefix(f"{self._base}/").partition("?")
        return Call(
            method=request.method,
            path=path,
            query=query,
            body=bytes(entry.resource),
            if_match=request.if_match,
            if_none_match=request.if_none_match,
            if_none_exist=request.if_none_exist,
            prefer=prefer or "return=minimal",
        )

    async def _batched(self, call: Call) -> dict[str, Any]:
        try:
            return _told(call, await self._one(call), self._base)
        except (BadBody, GatewayError, IdentityRefused) as error:
            failure = failure_of(error)
            failure = replace(failure, message=TERSE.get(type(error), failure.message))
            status = f"{failure.row.status} {HTTPStatus(failure.row.status).phrase}"
            return {"response": {"status": status, "outcome": outcome_of(failure)}}

    async def _one(self, call: Call) -> Reply:
        self._let_in(call)
        if call.method in LETTERS:
            return await self._writes().write(call)
        return await self._look(call)

    def _let_in(self, call: Call) -> None:
        """Whether this is offered, and to this caller. Raises NotOffered, NotFound, as ``permit``."""
        if call.method not in ORDER:
            raise not_offered(call)
        type_, *below = offered(call.path)
        self._permit(type_, LETTERS.get(call.method, "r" if below else "s"))

    async def _transaction(self, bundle: _Bundle, calls: list[Call]) -> list[Reply]:
        replies: dict[int, Reply] = {}
        plans: dict[int, Plan] = {}
        writing = [n for n, call in enumerate(calls) if call.method in LETTERS]
        for n, call in enumerate(calls):
            with _placed(n):
                self._let_in(call)
        if writing:
            writes = self._writes()
            async with writes.turn if any(calls[n].conditional for n in writing) else nullcontext():
                for n in sorted(writing, key=lambda n: ORDER.index(calls[n].method)):
                    with _placed(n):
                        plans[n] = await writes.plan(calls[n])
                _check_places(calls, plans)
                names = _names(bundle, plans)
                for n, plan in plans.items():
                    with _placed(n):
                        plans[n] = await _resolved(plan, names, writes)
                kept = await writes.keep([(calls[n], plan) for n, plan in plans.items()])
            replies.update(zip(plans, kept, strict=True))
        for n, call in enumerate(calls):
            if n not in replies:
                with _placed(n):
                    replies[n] = await self._look(call)
        return [replies[n] for n in range(len(calls))]


def _check_places(calls: Sequence[Call], plans: Mapping[int, Plan]) -> None:
    """No two entries may be about one resource, however they name it. Raises BadBody (400)."""
    seen: set[tuple[str, str]] = set()
    for n, plan in plans.items():
        call = calls[n]
        about = {(plan.type, plan.id)} if plan.id else set()
        about |= {(plan.type, call.if_none_exist or call.query)} if call.conditional else set()
        if about & seen:
            todo = "send its last state, once"
            raise BadBody(f"Bundle.entry[{n}]", "a resource that another entry is about, too", todo, 400)
        seen |= about


def _names(bundle: _Bundle, plans: Mapping[int, Plan]) -> dict[str, str]:
    """What resources of a transaction call one another → where they stand once it is carried out."""
    names: dict[str, str] = {}
    for n, plan in plans.items():
        url, place = bundle.entry[n].full_url, f"{plan.type}/{plan.id}"
        if url and plan.id:
            names[url] = place
            if found := _RESTFUL.fullmatch(url):  # by a relative reference from beside it
                names[f"{found[1]}/{found[2]}"] = place
    return names


async def _resolved(plan: Plan, names: Mapping[str, str], writes: Interactions) -> Plan:
    """The same with references that hold afterwards. Raises BadBody, PreconditionFailed."""
    if plan.change is None or not plan.change.body:
        return plan
    found: dict[bytes, bytes] = {}
    for match in _REFERENCE.finditer(plan.change.body):
        said = msgspec.json.decode(match[1], type=str)
        place = names.get(said, said)
        if criteria := _CRITERIA.fullmatch(said):
            if (one := await writes.one(criteria[1], criteria[2])) is None:
                raise PreconditionFailed("a reference by criteria finds nothing", field="reference")
            place = f"{one.type}/{one.id}"
        if place != said:
            found[match[1]] = msgspec.json.encode(place)
    if not found:
        return plan

    def put(match: re.Match[bytes]) -> bytes:
        return match[0].removesuffix(match[1]) + found.get(match[1], match[1])

    return replace(plan, change=replace(plan.change, body=_REFERENCE.sub(put, plan.change.body)))


@contextmanager
def _placed(number: int) -> Iterator[None]:
    """Have what is refused say in which entry it stands."""
    place = f"Bundle.entry[{number}]"
    try:
        yield
    except ResourceRefused as refused:
        raise ResourceRefused([issue.below(f"{place}.resource") for issue in refused.issues]) from None
    except BadBody as wrong:
        raise BadBody(f"{place}.{wrong.field}", wrong.what, wrong.todo, wrong.status) from None
    except (GatewayError, IdentityRefused) as error:
        error.field = f"{place}.{error.field or 'request'}"
        raise


def _told(call: Call, reply: Reply, base: str) -> dict[str, Any]:
    response: dict[str, Any] = {"status": f"{reply.status} {HTTPStatus(reply.status).phrase}"}
    if reply.location:
        response["location"] = reply.location.removeprefix(f"{base}/")
    if reply.kept:
        response |= told_of(reply.kept)
    content = {"resource": Raw(reply.body)} if reply.body else {}
    if content and call.method in LETTERS and "operationoutcome" in call.prefer.lower():
        response["outcome"] = content.pop("resource")
    return content | {"response": response}
