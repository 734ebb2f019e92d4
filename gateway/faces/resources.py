"""FHIR resources by their addresses: read over all nodes; created, updated and deleted by their publishers.

``/fhir/<Type>/<id>`` means a publisher's own resource, else that of the only node that has one;
``/fhir/nodes/<node>/<Type>/<id>`` means that node's, and each node is a service base of its own, so that
relative references inside untouched bytes lead to the same node. What is not the caller's own is shown by
:class:`gateway.reading.Reading`, with consent and evidence; what is, by its repository.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from starlette.convertors import Convertor, register_url_convertor
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope

from adapters.published import PublishedNode
from gateway.access.clients import Client
from gateway.errors import BadParameter, NotFound, NotPermitted
from gateway.faces.common import FHIR_JSON, JSON, body_of, client_of, let_in
from gateway.faces.describe import describe
from gateway.faces.direct import Answered, Quick
from gateway.holding import is_number
from gateway.reading import Reading
from gateway.repository import Repository, own
from gateway.resources import local
from gateway.resources.bundles import Bundles
from gateway.resources.intake import beside
from gateway.resources.interactions import (
    VERSIONED,
    Call,
    Interactions,
    Reply,
    call_of,
    criteria,
    history,
    not_offered,
    offered,
    shown,
)
from gateway.resources.query import pairs_of, query_of
from gateway.resources.validating import validate
from gateway.resources.values import STORED, Place
from gateway.wiring import Gateway

router = APIRouter(prefix="/fhir", tags=["fhir"])
_AT_NODE = "/nodes/{node:node}"
_REFUSALS = (400, 404, 405, 409, 410, 412, 413, 415, 422)


class _Type(Convertor[str]):
    """A type that is kept."""

    regex = "|".join(STORED)

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


class _Node(_Type):
    """``<node>``, or ``<peer>/<node>`` behind another gateway."""

    regex = "[a-z0-9-]+(?:/[a-z0-9-]+)*"


register_url_convertor("stored", _Type())
register_url_convertor("node", _Node())


class Resources:
    """What one client does with resources at a service base: that of a node, or of all."""

    def __init__(self, app: FastAPI, client: Client, node: str = "") -> None:
        gateway: Gateway = app.state.gateway
        root = f"{gateway.settings.base_url}/fhir"
        self._app = app
        self._gateway = gateway
        self._client = client
        self._node = node
        self.base = f"{root}/nodes/{node}" if node else root

    async def look(self, call: Call) -> Reply:
        """A read, a former version, or a history: of the publisher's own, or at the nodes.

        Raises:
            NotFound, Gone …: see :class:`Interactions` and :class:`gateway.reading.Reading`.
        """
        parts = offered(call.path)
        mine = self._mine()
        if len(parts) < 2:
            return await self._searched(mine, call)
        if mine:
            try:
                return await self._at(mine).look(call)
            except NotFound:
                if "his" not in self._client.roles:
                    raise
        institutions = self._app.state.directory.institutions
        if len(parts) == 2 and not self._node and (listed := await institutions.get(*parts)):
            return shown(listed, call)
        reading: Reading = self._app.state.reading
        match parts[2:]:
            case []:
                place = Place(parts[0], parts[1], self._node)
            case ["_history"]:
                place = Place(parts[0], parts[1], self._node)
                return history(await reading.history(place, self._client), self.base, call)
            case ["_history", version]:
                place = Place(parts[0], parts[1], self._node, version)
            case _:
                return shown(None, call)
        kept = await reading.read(place, self._client)
        placed = self._gateway.nodes.placed()
        published = any(one.node.id == kept.node and isinstance(one.node, PublishedNode) for one in placed)
        return shown(kept, call, own=published)

    async def write(self, call: Call) -> Reply:
        """A write of a publisher at its node. Raises NotPermitted, and as :meth:`Interactions.write`."""
        return await self._writes().write(call)

    async def bundle(self, raw: bytes, prefer: str) -> bytes:
        """Raises as :meth:`Bundles.answer`."""
        bundles = Bundles(self.base, self._writes, self.look, self._client.permit)
        return await bundles.answer(raw, prefer)

    async def _searched(self, mine: Repository | None, call: Call) -> Reply:
        """A search in a Bundle: a publisher's of its own node; nodes are searched by ``_search``."""
        if mine is None:
            raise not_offered(call)
        query = query_of(call.parts[0], pairs_of(call.query.encode()), own=True)
        return Reply(status=200, body=(await local.search(mine, query, (self.base,))).page(self.base))

    def _mine(self) -> Repository | None:
        if "publisher" not in self._client.roles:
            return None
        try:
            return own(self._gateway, self._client, self._node)
        except NotPermitted:
            return None

    def _writes(self) -> Interactions:
        return self._at(own(self._gateway, self._client, self._node))

    def _at(self, repository: Repository) -> Interactions:
        return Interactions(repository, self.base, self._app.state.turns[repository.node.id])


def _resources(request: Request) -> Resources:
    return Resources(request.app, client_of(request), request.path_params.get("node", ""))


def _call(request: Request, body: bytes = b"") -> Call:
    path, query = request.scope["path"].removeprefix("/fhir/"), request.scope["query_string"]
    if node := request.path_params.get("node"):
        path = path.removeprefix(f"nodes/{node}/")
    return call_of(request.method, path, request.headers, query.decode("latin-1"), body)


def _response(reply: Reply) -> Response:
    headers = {"Cache-Control": "no-store", **reply.headers}
    return Response(reply.body, reply.status, headers, FHIR_JSON if reply.body else None)


async def read(request: Request) -> Response:
    """The newest version, a former one, or the history with all of them."""
    return _response(await _resources(request).look(_call(request)))


async def write(request: Request) -> Response:
    """The publisher's alone. What was written is on record before the answer leaves."""
    resources = _resources(request)
    body = b"" if request.method == "DELETE" else await body_of(request, FHIR_JSON, JSON)
    call = _call(request, body)
    for name, value in criteria(call.query) if call.conditional else ():
        parts = [one.rpartition("|") for one in value.split(",")]
        if any(is_number(system, number) for system, _, number in parts):
            todo = "has no place in an address; send it in a Bundle, or with POST as If-None-Exist"
            raise BadParameter(f"is a person's number, which {todo}", field=name)
    return _response(await resources.write(call))


async def bundle(request: Request) -> Response:
    """A batch, entry by entry, or a transaction, kept as a whole or not at all."""
    resources = _resources(request)
    raw = await body_of(request, FHIR_JSON, JSON)
    answer = await resources.bundle(raw, request.headers.get("prefer", ""))
    return Response(answer, headers={"Cache-Control": "no-store"}, media_type=FHIR_JSON)


async def check(request: Request) -> Response:
    """What intake would say, as an OperationOutcome; nothing is kept."""
    client_of(request)
    raw = await body_of(request, FHIR_JSON, JSON)
    of, id_ = request.path_params["type"], request.path_params.get("id", "")
    found = await beside(validate, raw, of, id_, request.query_params.get("mode", ""))
    return Response(found, media_type=FHIR_JSON)


def capabilities() -> list[dict[str, Any]]:
    """What the CapabilityStatement says of it."""
    codes = ("create", "read", "vread", "update", "delete", "history-instance")
    return [
        {
            "type": type_,
            "interaction": [{"code": code} for code in codes],
            **VERSIONED,
            "operation": [
                {
                    "name": "validate",
                    "definition": "http://hl7.org/fhir/OperationDefinition/Resource-validate",
                }
            ],
        }
        for type_ in STORED
    ]


SYSTEM = ("transaction", "batch")
"""The interactions with the whole system, as the CapabilityStatement tells them."""


def _described(path: str, *, body: bool, answers: Mapping[int, str]) -> dict[str, Any]:
    extra = describe(dict if body else None, dict, media_type=FHIR_JSON, refusals=_REFUSALS)
    whole = extra["x-responses"].pop("200")
    for status, words in answers.items():
        content = {} if status in (204, 304) else {"content": whole["content"]}
        extra["x-responses"][str(status)] = {"description": words, **content}
    kinds: dict[str, dict[str, Any]] = {"type": {"enum": list(STORED)}}
    extra["parameters"] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", **kinds.get(name, {})}}
        for name in ("node", "type", "id", "version")
        if f"{{{name}" in path
    ]
    return extra


_READ = {200: "The resource", 304: "The caller has it"}
_WRITTEN = {200: "There as sent", 201: "Created"}
_ROUTES: tuple[tuple[str, str, Any, str, Mapping[int, str]], ...] = (
    ("POST", "", bundle, "Carry out a batch or a transaction", {200: "What came of each entry"}),
    ("POST", "/{type:stored}", write, "Create a resource", _WRITTEN),
    ("PUT", "/{type:stored}", write, "Update or create the one that fits", _WRITTEN),
    ("DELETE", "/{type:stored}", write, "Delete the one that fits", {204: "It is not there"}),
    ("POST", "/{type:stored}/$validate", check, "Look at a resource", {200: "What is wrong with it"}),
    ("GET", "/{type:stored}/{id}", read, "Read a resource", _READ),
    ("PUT", "/{type:stored}/{id}", write, "Update or create a resource", _WRITTEN),
    ("DELETE", "/{type:stored}/{id}", write, "Delete a resource", {204: "It is not there"}),
    ("POST", "/{type:stored}/{id}/$validate", check, "Look at an update", {200: "What is wrong with it"}),
    ("GET", "/{type:stored}/{id}/_history", read, "What a resource was", {200: "Its versions"}),
    ("GET", "/{type:stored}/{id}/_history/{version}", read, "Read a version", _READ),
)
for _base in ("", _AT_NODE):
    for _method, _path, _endpoint, _summary, _answers in _ROUTES:
        router.add_api_route(
            f"{_base}{_path}",
            _endpoint,
            methods=[_method],
            openapi_extra=_described(f"{_base}{_path}", body=_method in ("POST", "PUT"), answers=_answers),
            summary=f"{_summary}, at a node" if _base else _summary,
        )


async def read_directly(app: FastAPI, scope: Scope, _: Receive) -> Answered:
    """A read below ``/fhir``, without the router."""
    known = dict(scope["headers"]).get(b"if-none-match", b"").decode("latin-1")
    path, query = scope["path"].removeprefix("/fhir/"), scope["query_string"].decode("latin-1")
    call = Call(method="GET", path=path, query=query, if_none_match=known)
    reply = await Resources(app, let_in(scope)).look(call)
    return Answered(reply.status, reply.headers, reply.body)


_READING = next(
    route
    for route in router.routes
    if isinstance(route, Route)
    and route.path == "/fhir/{type:stored}/{id}"
    and "GET" in (route.methods or ())
)
DIRECT = [Quick(_READING, FHIR_JSON, read_directly, below=f"/fhir/{type_}") for type_ in STORED]
