"""A FHIR R4 source: what a hospital without a FHIR server runs beside its own system.

It takes resources in (:mod:`gateway.resources.interactions`, :mod:`gateway.resources.bundles`), keeps them in
one file with what they were before, and answers the searches that a gateway or the hospital asks. Its rules
are those of the gateway's own published nodes. What comes in is checked first, and its bytes are served as
they came, but for ``meta.versionId`` and ``meta.lastUpdated``.

A parameter that is not known here is refused, not passed over, unless ``Prefer: handling=lenient`` says so: a
search that is wider than what was asked for shows records that nobody asked for. A long answer goes on at an
opaque address, so that no number stands in one. The source is meant for loopback or the hospital's own
network; who may ask is the business of what stands in front of it.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.body import BadBody, receive
from gateway.errors import Failure, GatewayError, Gone, Row, failure_of, outcome_of
from gateway.resources import local
from gateway.resources.bundles import Bundles
from gateway.resources.file_shelf import FileShelf
from gateway.resources.intake import beside
from gateway.resources.interactions import VERSIONED, Call, Interactions, Reply, call_of, offered
from gateway.resources.parameters import INCLUDES, TABLE, revincludes
from gateway.resources.query import pairs_of, query_of
from gateway.resources.searchset import Searchset
from gateway.resources.validating import validate
from gateway.resources.values import MEDIA, STORED

FORM = frozenset({"application/x-www-form-urlencoded"})
MAX_BYTES = 16 * 1024 * 1024
OPEN_ROWS = 50_000
"""How many matches are remembered for the pages of long answers, the oldest searches forgotten first."""

_VALIDATE = "http://hl7.org/fhir/OperationDefinition/Resource-validate"
_LENIENT = re.compile(r"(?:^|[,;\s])handling\s*=\s*\"?lenient", re.IGNORECASE)


class _Source:
    """The interactions. ``pages`` are the searches whose answers have more than one page."""

    def __init__(self, shelf: FileShelf, institution: str) -> None:
        self.shelf = shelf
        self.turn = asyncio.Lock()
        self.pages: OrderedDict[str, Searchset] = OrderedDict()
        self.capabilities = _capabilities(institution)

    async def metadata(self, _: Request) -> Response:
        return _answer(self.capabilities)

    async def bundle(self, request: Request) -> Response:
        raw = await receive(request.scope, request.receive, limit=MAX_BYTES)
        base = _base(request)
        writes = Interactions(self.shelf, base, self.turn)
        bundles = Bundles(base, lambda: writes, partial(self._look, writes, base), lambda *_: None)
        return Response(await bundles.answer(raw, request.headers.get("Prefer", "")), media_type=MEDIA)

    async def instance(self, request: Request) -> Response:
        """Everything at the address of a type or of a resource."""
        base, raw = _base(request), b""
        if request.method in ("POST", "PUT"):
            raw = await receive(request.scope, request.receive, limit=MAX_BYTES)
        query = request.scope["query_string"].decode("latin-1")
        call = call_of(request.method, request.path_params["path"], request.headers, query, raw)
        writes = Interactions(self.shelf, base, self.turn)
        if call.method in ("GET", "HEAD"):
            reply = await self._look(writes, base, call)
        else:
            reply = await writes.write(call)
        return Response(reply.body, reply.status, reply.headers, MEDIA if reply.body else None)

    async def validate(self, request: Request) -> Response:
        """``$validate`` of a type or of a resource."""
        raw = await receive(request.scope, request.receive, limit=MAX_BYTES)
        type_, id_ = request.path_params["type"], request.path_params.get("id", "")
        offered(type_)
        mode = request.query_params.get("mode", "")
        return Response(await beside(validate, raw, type_, id_, mode), media_type=MEDIA)

    async def search(self, request: Request) -> Response:
        """``POST [base]/<Type>/_search``."""
        if request.scope["query_string"]:
            raise BadBody("address", "parameters in the address of a _search", "put them in the body", 400)
        form = await receive(request.scope, request.receive, limit=65536, types=FORM)
        type_, lenient = request.path_params["type"], bool(_LENIENT.search(request.headers.get("Prefer", "")))
        offered(type_)
        return Response(await self._found(type_, form, _base(request), lenient), media_type=MEDIA)

    async def page(self, request: Request) -> Response:
        name, _, start = request.path_params["page"].partition(".")
        found = self.pages.get(name)
        if found is None or not (start.isascii() and start.isdigit() and len(start) < 10):
            raise Gone("this continuation is forgotten; search again")
        return Response(found.page(_base(request), int(start), name), media_type=MEDIA)

    async def _look(self, writes: Interactions, base: str, call: Call) -> Reply:
        if len(call.parts) == 1:
            (type_,) = offered(call.path)
            body = await self._found(type_, call.query.encode(), base, bool(_LENIENT.search(call.prefer)))
            return Reply(status=200, body=body)
        return await writes.look(call)

    async def _found(self, type_: str, query: bytes, base: str, lenient: bool) -> bytes:
        wanted = query_of(type_, pairs_of(query), lenient=lenient, own=True)
        found = await local.search(self.shelf, wanted, (base,))
        name = uuid.uuid4().hex if found.paged else ""
        if name:
            self.pages[name] = found
            while sum(len(one.rows) for one in self.pages.values()) > OPEN_ROWS:
                self.pages.popitem(last=False)
        return found.page(base, 0, name)


def create_source(store_path: Path, *, institution: str) -> Starlette:
    """The ASGI application of a source over the SQLite file ``store_path``, which is made if need be.

    ``institution`` is the code of the hospital, told in the CapabilityStatement.
    """
    shelf = FileShelf(store_path)
    source = _Source(shelf, institution)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        shelf.close()

    return Starlette(
        routes=[
            Route("/metadata", source.metadata),
            Route("/", source.bundle, methods=["POST"]),
            Route("/_page/{page}", source.page),
            Route("/{type}/_search", source.search, methods=["POST"]),
            Route("/{type}/$validate", source.validate, methods=["POST"]),
            Route("/{type}/{id}/$validate", source.validate, methods=["POST"]),
            Route("/{path:path}", source.instance, methods=["GET", "POST", "PUT", "DELETE"]),
        ],
        exception_handlers=dict.fromkeys((BadBody, GatewayError, HTTPException, Exception), _refuse),
        lifespan=lifespan,
    )


def _base(request: Request) -> str:
    return str(request.base_url).rstrip("/")


def _answer(content: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type=MEDIA)


async def _refuse(_: Request, wrong: Exception) -> Response:
    if isinstance(wrong, HTTPException):
        row = Row(wrong.status_code, "method-not-allowed", "caller", "not-supported", "")
        failure, headers = Failure(row, str(wrong.detail)), wrong.headers or {}
    else:
        failure, headers = failure_of(wrong), {}
    answer = _answer(outcome_of(failure), failure.row.status)
    answer.headers.update(headers)
    return answer


def _capabilities(institution: str) -> dict[str, Any]:
    codes = ("read", "vread", "update", "delete", "history-instance", "create", "search-type")
    resources = [
        {
            "type": type_,
            "interaction": [{"code": code} for code in codes],
            **VERSIONED,
            "searchInclude": [f"{type_}:{name}" for name in INCLUDES.get(type_, {})],
            "searchRevInclude": revincludes(type_),
            "searchParam": [{"name": name, "type": one.kind} for name, one in TABLE[type_].items()],
            "operation": [{"name": "validate", "definition": _VALIDATE}],
        }
        for type_ in STORED
    ]
    resources = [{name: value for name, value in one.items() if value} for one in resources]
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": "2026-11-22",
        "kind": "instance",
        "implementation": {"description": f"联认 FHIR source of {institution}"},
        "fhirVersion": "4.0.1",
        "format": ["json"],
        "rest": [
            {
                "mode": "server",
                "resource": resources,
                "interaction": [{"code": "transaction"}, {"code": "batch"}],
            }
        ],
    }
