"""CodeSystem, ValueSet and ConceptMap of the catalogue: read, search, and the operations on them (FHIR R4).

A parameter that is not offered is refused by name, unless the caller prefers ``handling=lenient``.
``$translate`` is asked for every name of every list, so it is answered ahead of the router
(:mod:`gateway.faces.direct`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import Response
from starlette.types import Receive, Scope

from catalog.fhir import BASE, Resource
from gateway.errors import BadParameter, NotFound
from gateway.faces._parameters import Asked, form_of, from_query, lenient, sought
from gateway.faces._terminology import OPERATIONS, TRANSLATE, Operation, Terminologies, terminologies_of
from gateway.faces.common import FHIR_JSON, client_of, gateway_of, let_in, reply
from gateway.faces.describe import describe
from gateway.faces.direct import quick
from gateway.terminology import Terminology

__all__ = ["DIRECT", "TYPES", "Terminologies", "capabilities", "router"]

router = APIRouter(prefix="/fhir", tags=["fhir"])
TYPES = ("CodeSystem", "ValueSet", "ConceptMap")

_SEARCHED = ("_id", "url", "version", "name", "_summary")
_SUMMARY = ("true", "false", "text", "data", "count")
_DETAILS = frozenset({"concept", "compose", "group", "copyright"})
"""Of what is served here, no summary element of its type (without Σ in R4)."""
_MANDATORY = frozenset({"resourceType", "id", "status", "content"})
_SUBSETTED = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}


async def _translated(app: FastAPI, scope: Scope, receive: Receive) -> bytes:
    """The answer to a GET that was asked before, else a new one."""
    terminologies: Terminologies = app.state.terminologies
    query, got = scope["query_string"], scope["method"] == "GET"
    if got and (known := terminologies.translated.get(query)):
        let_in(scope)
        return known
    scope["app"] = app
    body = await TRANSLATE(Request(scope, receive))
    if got and not lenient(scope):
        terminologies.keep(query, body)
    return body


def capabilities() -> list[Resource]:
    """What is offered of the three types, as CapabilityStatement.rest.resource has it.

    ``$translate`` has a definition of its own: it takes ``display``, ``kind``, ``modality`` and ``specimen``
    beside R4's parameters, and gives ``reason`` where there is no match.
    """
    searched = [
        {"name": "_id", "type": "token"},
        {"name": "url", "type": "uri"},
        {"name": "version", "type": "token"},
        {"name": "name", "type": "string"},
    ]
    return [
        {
            "type": kind,
            "interaction": [{"code": "read"}, {"code": "search-type"}],
            "searchParam": searched,
            "operation": [
                {"name": one.name, "definition": f"{_definitions(one)}/{kind}-{one.name}"}
                for one in OPERATIONS
                if one.kind == kind
            ],
        }
        for kind in TYPES
    ]


def statement(terminology: Terminology, capability: Resource) -> Resource:
    """The TerminologyCapabilities that go with a CapabilityStatement."""
    names = ("name", "status", "date", "kind", "software", "implementation")
    expanded = next(one for one in OPERATIONS if one.name == "expand").offered
    return {
        "resourceType": "TerminologyCapabilities",
        **{name: capability[name] for name in names},
        "codeSystem": [
            {"uri": resource["url"], "version": [{"code": terminology.version, "isDefault": True}]}
            for (kind, _), resource in terminology.resources.items()
            if kind == "CodeSystem"
        ],
        "expansion": {
            "hierarchical": False,
            "paging": True,
            "incomplete": False,
            "parameter": [{"name": name} for name in expanded],
            "textFilter": "the words of a name, in any order",
        },
        "codeSearch": "explicit",
        "validateCode": {"translations": False},
        "translation": {"needsMap": False},
    }


def _definitions(operation: Operation) -> str:
    return f"{BASE if operation is TRANSLATE else 'http://hl7.org/fhir'}/OperationDefinition"


# Read and search


async def _read(request: Request) -> Response:
    client_of(request)
    kind, resource_id = request.url.path.split("/")[2:4]
    asked = from_query(request.scope["query_string"], {"_summary": "text"}, ignore=lenient(request.scope))
    resource = terminologies_of(request).now().get(kind, resource_id)
    return reply(_summarised(resource, _summary(asked)), media_type=FHIR_JSON)


async def _search(request: Request) -> Response:
    client_of(request)
    kind = request.url.path.split("/")[2]
    offered = dict.fromkeys(_SEARCHED, "text")
    asked = await sought(request, offered)
    summary = _summary(asked)
    try:
        terminology = await terminologies_of(request).under(asked.version("version"))
    except NotFound:
        found: list[Resource] = []
    else:
        found = [
            resource
            for (held, resource_id), resource in terminology.resources.items()
            if held == kind
            and asked.text("_id") in ("", resource_id)
            and asked.canonical() in ("", resource["url"])
            and resource["name"].casefold().startswith(asked.text("name").casefold())
        ]
    base = f"{gateway_of(request).settings.base_url}/fhir/{kind}"
    bundle: Resource = {"resourceType": "Bundle", "type": "searchset", "total": len(found)}
    bundle["link"] = [
        {"relation": "self", "url": f"{base}?{urlencode(asked.values, doseq=True)}".rstrip("?")}
    ]
    if found and summary != "count":
        bundle["entry"] = [
            {
                "fullUrl": f"{base}/{resource['id']}",
                "resource": _summarised(resource, summary),
                "search": {"mode": "match"},
            }
            for resource in found
        ]
    return reply(bundle, media_type=FHIR_JSON)


def _summary(asked: Asked) -> str:
    wanted = asked.text("_summary") or "false"
    if wanted not in _SUMMARY:
        raise BadParameter(f"must be one of {', '.join(_SUMMARY)}", field="_summary")
    return wanted


def _summarised(resource: Resource, summary: str) -> Resource:
    if summary not in ("true", "text"):
        return resource
    kept = {
        name: value
        for name, value in resource.items()
        if (name not in _DETAILS if summary == "true" else name in _MANDATORY)
    }
    return kept | {"meta": {"tag": [_SUBSETTED]}}


# The routes


def _parameters(offered: dict[str, str], *, of_one: bool = False) -> list[dict[str, Any]]:
    """Query parameters, and the id of a path, as OpenAPI describes them."""
    schemas = {"number": {"type": "integer", "minimum": 0}, "flag": {"type": "boolean"}}
    told: list[dict[str, Any]] = [
        {"name": name, "in": "query", "schema": schemas.get(kind, {"type": "string"})}
        for name, kind in offered.items()
        if kind not in ("coding", "concept")
    ]
    one = {"name": "resource_id", "in": "path", "required": True, "schema": {"type": "string"}}
    return [one, *told] if of_one else told


def _routes() -> None:
    for operation in OPERATIONS:
        for one in ("", "/{resource_id}") if operation.instance else ("",):
            path = f"/{operation.kind}{one}/${operation.name}"
            for method in ("GET", "POST"):
                posted = method == "POST"
                extra = describe(
                    dict if posted else None,
                    media_type=FHIR_JSON,
                    refusals=(400, 404, 413, 415, 422) if posted else (400, 404),
                )
                extra["parameters"] = _parameters({} if posted else operation.offered, of_one=bool(one))
                router.add_api_route(
                    path,
                    _endpoint(operation),
                    methods=[method],
                    openapi_extra=extra,
                    summary=operation.about,
                    description=f"The operation ${operation.name} of FHIR R4 for {operation.kind}.",
                    name=f"{operation.kind}_{operation.name}",
                )
    for kind in TYPES:
        for path, endpoint, offered, about in (
            (
                f"/{kind}",
                _search,
                _SEARCHED,
                "Search by url, version or name",
            ),
            (f"/{kind}/{{resource_id}}", _read, ("_summary",), "Read by id"),
        ):
            extra = describe(None, media_type=FHIR_JSON, refusals=(400, 404) if endpoint is _read else (400,))
            extra["parameters"] = _parameters(dict.fromkeys(offered, "text"), of_one=endpoint is _read)
            router.add_api_route(
                path,
                endpoint,
                methods=["GET"],
                openapi_extra=extra,
                summary=about,
                description=f"Of the {kind} resources of the catalogue in force, or of a version.",
                name=f"{kind}{endpoint.__name__}",
            )
        listed = _parameters(dict.fromkeys(_SEARCHED, "text"))
        router.add_api_route(
            f"/{kind}/_search",
            _search,
            methods=["POST"],
            openapi_extra=describe(media_type=FHIR_JSON, refusals=(400, 413, 415)) | form_of(listed),
            summary="Search by url, version or name, by a form",
            description=f"Of the {kind} resources of the catalogue in force, or of a version.",
            name=f"{kind}_search_form",
        )


def _endpoint(operation: Operation) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        body = await operation(request, request.path_params.get("resource_id", ""))
        return Response(body, headers={"Cache-Control": "no-store"}, media_type=FHIR_JSON)

    return answer


_routes()
DIRECT = quick(router, "/fhir/ConceptMap/$translate", FHIR_JSON, _translated)
