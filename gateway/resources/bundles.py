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
from asyncio import sleep
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from gateway.body import BadBody, decode
from gateway.errors import TERSE, GatewayError, PreconditionFailed, failure_of, outcome_of
from gateway.resources.intake import BOM, beside, check_bundle
from gateway.resources.interactions import (
    Call,
    Interactions,
    Plan,
    Reply,
    criteria,
    not_offered,
    offered,
    told_of,
)
from gateway.resources.issues import ResourceRefused
from gateway.resources.values import STORED
from security.errors import IdentityRefused

ORDER = ("DELETE", "POST", "PUT", "GET", "HEAD")
"""In which order the entries of a transaction are carried out; PATCH is not offered."""
ANSWER, LEAST = 32 * 1024 * 1024, 64 * 1024
"""How many bytes the reads of a Bundle come to, each counted as so many at least, for it is work whatever it
finds: those that are left then are refused."""
LETTERS = {"DELETE": "d", "POST": "c", "PUT": "u"}
_REFERENCE = re.compile(rb'"reference"\s*:\s*("(?:[^"\\]|\\.)*+")')
_CRITERIA = re.compile(rf"({'|'.join(STORED)})\?(.+)", re.DOTALL)
_RESTFUL = re.compile(rf"(.*/)(?:{'|'.join(STORED)})/[A-Za-z0-9\-.]{{1,64}}")


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
    """Carries out one Bundle at the service base ``base``.

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
        self._left = ANSWER

    async def answer(self, raw: bytes, prefer: str = "") -> bytes:
        """The ``batch-response`` or ``transaction-response`` to a Bundle.

        Raises:
            BadBody: it is none of the two (400, 422), or an entry of a transaction is refused.
            GatewayError: an entry of a transaction cannot be carried out; nothing was kept.
        """
        bundle = decode(raw.removeprefix(BOM), _Bundle)
        if bundle.resource_type != "Bundle" or bundle.type not in ("transaction", "batch"):
            raise BadBody("Bundle.type", "neither transaction nor batch", "send one of them", 400)
        await beside(check_bundle, raw)
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
        return await self._read(call)

    async def _read(self, call: Call) -> Reply:
        if self._left <= 0:
            raise BadBody("request", "more than one Bundle answers", "send fewer reads at once", 413)
        self._left -= LEAST
        await sleep(0)  # a shelf may answer at once: others get their turn
        reply = await self._look(call)
        self._left -= max(len(reply.body) - LEAST, 0)
        return reply

    def _let_in(self, call: Call) -> None:
        """Whether this is offered, and to this caller. Raises NotOffered, NotFound, as ``permit``."""
        if call.method not in ORDER:
            raise not_offered(call)
        type_, *below = offered(call.path)
        self._permit(type_, LETTERS.get(call.method, "r" if below else "s"))

    async def _transaction(self, bundle: _Bundle, calls: list[Call]) -> list[Reply]:
        replies: dict[int, Reply] = {}
        for n, call in enumerate(calls):
            with _placed(n):
                self._let_in(call)
        writing = {n: call for n, call in enumerate(calls) if call.method in LETTERS}
        if writing:
            writes = self._writes()
            replies = await writes.in_turn([*writing.values()], lambda: _written(bundle, writing, writes))
        for n, call in enumerate(calls):
            if n not in replies:
                with _placed(n):
                    replies[n] = await self._read(call)
        return [replies[n] for n in range(len(calls))]


async def _written(bundle: _Bundle, calls: Mapping[int, Call], writes: Interactions) -> dict[int, Reply]:
    """Carry out the writes of a transaction, or none."""
    plans: dict[int, Plan] = {}
    for n in sorted(calls, key=lambda n: ORDER.index(calls[n].method)):
        await sleep(0)
        with _placed(n):
            plans[n] = await writes.plan(calls[n])
    _check_places(calls, plans)
    names = _names(bundle, plans)
    for n, plan in plans.items():
        with _placed(n):
            plans[n] = await _resolved(plan, bundle.entry[n].full_url, names, writes)
    kept = await writes.keep([(calls[n], plan) for n, plan in plans.items()])
    return dict(zip(plans, kept, strict=True))


def _check_places(calls: Mapping[int, Call], plans: Mapping[int, Plan]) -> None:
    """No two entries may be about one resource, however they name it. Raises BadBody (400)."""
    seen: set[tuple[str, object]] = set()
    for n, plan in plans.items():
        call = calls[n]
        about: set[tuple[str, object]] = {(plan.type, plan.id)} if plan.id else set()
        if call.conditional:
            about.add((plan.type, frozenset(criteria(call.if_none_exist or call.query))))
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
    return names


async def _resolved(plan: Plan, url: str, names: dict[str, str], writes: Interactions) -> Plan:
    """The same with references that hold afterwards, ``url`` being the ``fullUrl`` of its entry: a relative
    reference means what stands beside it there, else it is one of ours (R4 bundle.html#references). Raises
    BadBody, PreconditionFailed."""
    if plan.change is None or not plan.change.body:
        return plan
    found: dict[bytes, bytes] = {}
    beside = _RESTFUL.fullmatch(url)
    for match in _REFERENCE.finditer(plan.change.body):
        said = msgspec.json.decode(match[1], type=str)
        place = names.get(said) or names.get(f"{beside[1]}{said}" if beside else "", said)
        if place == said and (sought := _CRITERIA.fullmatch(said)):
            if (one := await writes.one(sought[1], sought[2])) is None:
                raise PreconditionFailed("a reference by criteria finds nothing", field="reference")
            place = names[said] = f"{one.type}/{one.id}"
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
