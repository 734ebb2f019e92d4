"""Organization, Practitioner and Endpoint: searched and read over the catalogue and what was published.

A publisher without a hospital's role searches his own node alone, as for every other type.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI, Request
from msgspec.structs import replace
from starlette.responses import Response

from gateway.body import receive as take_in
from gateway.directory import TYPES, Directory
from gateway.errors import BadParameter
from gateway.faces._parameters import lenient
from gateway.faces.common import FHIR_JSON, client_of
from gateway.faces.describe import describe
from gateway.faces.search import FORM, searched
from gateway.pages import Paged
from gateway.resources.interactions import call_of, shown
from gateway.resources.parameters import TABLE
from gateway.resources.query import CONTROLS, Pairs, numbered, pairs_of, query_of
from gateway.wiring import Gateway

router = APIRouter(prefix="/fhir", tags=["fhir"])
_REFUSALS = (400, 403, 404, 405)


def capabilities() -> list[dict[str, Any]]:
    """What the CapabilityStatement says of it."""
    words = {"Practitioner": {"documentation": "an identifier that may be a person's by POST _search alone"}}
    return [
        {
            "type": type_,
            "interaction": [{"code": "read"}, {"code": "search-type", **words.get(type_, {})}],
            "searchParam": [{"name": name, "type": one.kind} for name, one in TABLE[type_].items()],
        }
        for type_ in TYPES
    ]


async def _search(request: Request) -> Response:
    """Those that fit, of the catalogue in force and of what was published."""
    app, scope, client = request.app, request.scope, client_of(request)
    type_, node = _type_of(scope["path"]), request.path_params.get("node", "")
    if request.method == "GET":
        pairs = pairs_of(scope["query_string"])
        if any(_personal(type_, name, text) for name, text in pairs):
            raise BadParameter(
                f"would put a number into an address; send it by POST {type_}/_search", field="identifier"
            )
    elif scope["query_string"]:
        raise BadParameter("must stand in the body, where no log keeps them", field="parameters")
    else:
        limit = app.state.gateway.settings.body_limit
        pairs = pairs_of(await take_in(scope, request.receive, limit=limit, types=frozenset({FORM})))
    if "publisher" in client.roles and "his" not in client.roles and type_ != "Endpoint":
        body = await searched(app, type_, pairs, scope, client, node)
    else:
        body = await _found(app, type_, pairs, node, client.id, ignore=lenient(scope))
    return Response(body, headers={"Cache-Control": "no-store"}, media_type=FHIR_JSON)


async def _found(app: FastAPI, type_: str, pairs: Pairs, node: str, client: str, *, ignore: bool) -> bytes:
    gateway: Gateway = app.state.gateway
    directory: Directory = app.state.directory
    query = query_of(type_, pairs, lenient=ignore)
    query = replace(query, told=tuple(pair for pair in query.told if not _personal(type_, *pair)))
    found = await directory.search(query, node)
    name = await gateway.pages.keep(Paged(client=client, type=type_, found=found))
    return found.page(f"{gateway.settings.base_url}/fhir", 0, name)


def _personal(type_: str, name: str, text: str) -> bool:
    """Whether a parameter may hold somebody's number: practitioners have those of persons, too."""
    return type_ == "Practitioner" and numbered("Patient", name, text)


async def _read(request: Request) -> Response:
    """The Endpoint of an institution that this gateway is responsible for."""
    client_of(request)
    id_, query = request.path_params["id"], request.scope["query_string"].decode("latin-1")
    kept = await request.app.state.directory.institutions.get("Endpoint", id_)
    reply = shown(kept, call_of("GET", f"Endpoint/{id_}", request.headers, query))
    headers = {"Cache-Control": "no-store", **reply.headers}
    return Response(reply.body, reply.status, headers, FHIR_JSON if reply.body else None)


def _type_of(path: str) -> str:
    return path.removesuffix("/_search").rpartition("/")[2]


def _routes() -> None:
    for type_ in TYPES:
        offered = {name: {"type": "string"} for name in (*TABLE[type_], *CONTROLS)}
        listed = [{"name": name, "in": "query", "schema": schema} for name, schema in offered.items()]
        for below in ("", "/nodes/{node:path}") if type_ != "Endpoint" else ("",):
            place = {"name": "node", "in": "path", "required": True, "schema": {"type": "string"}}
            way = [place] if below else []
            where = " that were published to a node" if below else ""
            asked = describe(media_type=FHIR_JSON, refusals=_REFUSALS) | {"parameters": [*way, *listed]}
            form = {"schema": {"type": "object", "properties": offered}}
            sent = describe(media_type=FHIR_JSON, refusals=(*_REFUSALS, 413, 415))
            sent |= {"requestBody": {"required": True, "content": {FORM: form}}}
            sent |= {"parameters": way} if way else {}
            for path, method, extra in (
                (f"{below}/{type_}", "GET", asked),
                (f"{below}/{type_}/_search", "POST", sent),
            ):
                router.add_api_route(
                    path,
                    _search,
                    methods=[method],
                    name=f"search_{type_}",
                    openapi_extra=extra,
                    summary=f"Search {type_} resources{where}",
                )
    one = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
    router.add_api_route(
        "/Endpoint/{id}",
        _read,
        methods=["GET"],
        openapi_extra=describe(media_type=FHIR_JSON, refusals=(404,)) | {"parameters": [one]},
        summary="Read an Endpoint",
    )


_routes()
