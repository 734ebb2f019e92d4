"""FHIR searches: ``GET /fhir/<Type>`` and ``POST /fhir/<Type>/_search``, or below ``/fhir/nodes/<node>``.

A hospital names a person, and gets what all nodes have of him (:mod:`gateway.search`); a publisher names
nobody, or his own patient, and gets what he keeps himself (:mod:`gateway.resources.local`). A person's number
comes in a form and stands in no address: a search by GET names the Patient by a reference, ``self`` is told
without the number, and further pages have a name of their own.

The answer is one searchset: the resources' own bytes, then an OperationOutcome that says of every node how it
was and of the whole whether it is complete. ``fullUrl`` names the node, ``…/fhir/nodes/<node>/<Type>/<id>``,
so that a relative reference inside a resource leads to its own node's resource.
"""

from __future__ import annotations

import re
from typing import Any, cast

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import Response
from starlette.types import Receive, Scope

from gateway.access.clients import Client
from gateway.body import receive as take_in
from gateway.errors import BadParameter
from gateway.faces._parameters import lenient
from gateway.faces._search_own import home, read_one, search_own, single
from gateway.faces.common import FHIR_JSON, let_in
from gateway.faces.describe import describe
from gateway.faces.direct import Quick, quick
from gateway.reading import Reading
from gateway.resources.conditions import CHAINS
from gateway.resources.parameters import INCLUDES, TABLE, revincludes
from gateway.resources.query import CONTROLS, Pairs, numbered, pairs_of, personal, query_of
from gateway.resources.values import SEARCHED, STORED, Place
from gateway.search import Searching, Wanted
from gateway.wiring import Gateway
from security.errors import IdentityRefused
from security.identity import SYSTEMS, Identifier, identifier_in

router = APIRouter(prefix="/fhir", tags=["fhir"])
FORM = "application/x-www-form-urlencoded"
TYPES = (*SEARCHED, *(type_ for type_ in STORED if type_ not in (*SEARCHED, "Organization", "Practitioner")))
"""The types that are searched here; :mod:`gateway.faces.directory` has those that are about institutions."""
PATIENT = "patient.identifier"
LONGEST = 60.0
"""Seconds that a caller may want a search to take."""
_FORM = frozenset({FORM})
_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?([0-9]{1,3})\"?\s*(?=[,;]|$)")
_REFERRING = ("patient", "subject", "patient:Patient", "subject:Patient")
_BY_NUMBER = (*CHAINS, "patient:identifier", "subject:identifier")
_REFUSALS = (400, 403, 404, 422)


def capabilities() -> list[dict[str, Any]]:
    """What the CapabilityStatement says of it."""
    return [
        {
            "type": type_,
            "interaction": [{"code": "search-type", "documentation": _documentation(type_)}],
            "searchParam": [{"name": name, "type": one.kind} for name, one in TABLE[type_].items()],
            **(
                {"searchInclude": [f"{type_}:{name}" for name in INCLUDES[type_]]}
                if type_ in INCLUDES
                else {}
            ),
            **({"searchRevInclude": listed} if (listed := revincludes(type_)) else {}),
        }
        for type_ in TYPES
    ]


def _documentation(type_: str) -> str:
    if type_ not in SEARCHED:
        return "what the publisher keeps at his own node"
    number = "identifier" if type_ == "Patient" else PATIENT
    return (
        f"over all nodes, of one person: POST _search with {number}=<system>|<number>, or a reference to the"
        " Patient; without a person, what the publisher keeps at his own node"
    )


async def searched(
    app: FastAPI, type_: str, pairs: Pairs, scope: Scope, client: Client, way: str = ""
) -> bytes:
    """The first page of a search. Raises what its parameters, the client and the nodes give reason for."""
    gateway = cast("Gateway", app.state.gateway)
    named = [pair for pair in pairs if _names_person(type_, *pair)]
    id_ = "" if named else single(pairs)
    if type_ not in SEARCHED or await _own(gateway, type_, named, id_, client, way):
        return await search_own(gateway, type_, pairs, client, way, ignore=lenient(scope))
    client.require("his")
    if id_:
        query = query_of(type_, pairs, lenient=lenient(scope))
        return await read_one(app, query, Place(type_, id_, way), client)
    person = await _person(app, type_, named, client, way)
    apart = [pair for pair in named if pair[0] != "_id"]
    query = query_of(type_, pairs, lenient=lenient(scope), apart=apart)
    seconds = _seconds(scope) or gateway.settings.search_deadline_ms / 1000
    wanted = Wanted(query=query, person=person, seconds=seconds, way=way)
    return await cast("Searching", app.state.searching).answer(wanted, client)


async def _own(gateway: Gateway, type_: str, named: Pairs, id_: str, client: Client, way: str) -> bool:
    """Whether a search is one of the publisher's own node: any that only a publisher sends; of one who is a
    hospital as well, those that name nobody, what stands there, or his own Patients whom nobody knows."""
    if "publisher" not in client.roles or "his" not in client.roles:
        return "publisher" in client.roles
    if id_:
        return bool(await home(gateway, [f"{type_}/{id_}"], client, way, unknown=False))
    if any(name not in (*_REFERRING, "_id") for name, _ in named):
        return False
    patients = [_reference(text) for _, listed in named for text in listed.split(",")]
    return not named or bool(await home(gateway, patients, client, way, unknown=True))


async def _asked(app: FastAPI, type_: str, scope: Scope, receive: Receive, way: str = "") -> bytes:
    client, settings = let_in(scope), app.state.gateway.settings
    if scope["method"] != "POST":
        pairs = pairs_of(scope["query_string"])
        for name, text in pairs:
            if numbered(type_, name, text) or ("." not in name and personal(type_, name, text)):
                raise BadParameter(
                    f"would tell in an address who a person is; send it by POST {type_}/_search, in the body",
                    field=name,
                )
    elif scope["query_string"]:
        raise BadParameter("must stand in the body, where no log keeps them", field="parameters")
    else:
        pairs = pairs_of(await take_in(scope, receive, limit=settings.body_limit, types=_FORM))
    return await searched(app, type_, pairs, scope, client, way)


def _route(type_: str) -> list[Quick]:
    async def answer(app: FastAPI, scope: Scope, receive: Receive) -> bytes:
        return await _asked(app, type_, scope, receive)

    async def search(request: Request) -> Response:
        way = request.path_params.get("node", "")
        return _answer(await _asked(request.app, type_, request.scope, request.receive, way))

    search.__doc__ = f"Resources of type {type_}, as they stand at the nodes."
    quick_ones: list[Quick] = []
    for below, summary in (("", f"Search {type_}"), ("/nodes/{node:path}", f"Search {type_} at one node")):
        for path, method in ((f"{below}/{type_}", "GET"), (f"{below}/{type_}/_search", "POST")):
            router.add_api_route(
                path,
                search,
                methods=[method],
                name=f"search_{type_}",
                openapi_extra=_described(type_, method, node=bool(below)),
                summary=summary,
            )
            quick_ones += [] if below else quick(router, f"/fhir{path}", FHIR_JSON, answer)
    return quick_ones


@router.get(
    "/_page/{page}",
    openapi_extra=describe(media_type=FHIR_JSON, refusals=(403, 404, 410)),
    summary="A further page of a search",
)
async def page(page: str, request: Request) -> Response:
    """A page by the address that a searchset gave, for some minutes, and to the client that searched."""
    return _answer(await request.app.state.searching.page(page, let_in(request.scope)))


def _answer(body: bytes) -> Response:
    return Response(body, media_type=FHIR_JSON, headers={"Cache-Control": "no-store"})


def _described(type_: str, method: str, *, node: bool) -> dict[str, Any]:
    extra = describe(media_type=FHIR_JSON, refusals=(*_REFUSALS, *((413, 415) if method == "POST" else ())))
    names = [*TABLE[type_], *([PATIENT] if "patient" in TABLE[type_] else []), *CONTROLS]
    schemas = {name: {"type": "string"} for name in names} | {"_count": {"type": "integer", "minimum": 0}}
    parameters: list[dict[str, Any]] = []
    if node:
        way = {"type": "string", "description": "<node>, or <peer>/<node>"}
        parameters.append({"name": "node", "in": "path", "required": True, "schema": way})
    if method == "POST":
        form = {"schema": {"type": "object", "properties": schemas}}
        extra["requestBody"] = {"required": True, "content": {FORM: form}}
    else:
        parameters += [{"name": name, "in": "query", "schema": one} for name, one in schemas.items()]
    return extra | ({"parameters": parameters} if parameters else {})


DIRECT = [one for type_ in TYPES for one in _route(type_)]


def _names_person(type_: str, name: str, text: str) -> bool:
    """Whether a parameter says whose resources are meant."""
    if name == "identifier" if type_ == "Patient" else name in _BY_NUMBER:
        return numbered(type_, name, text)
    return name == "_id" if type_ == "Patient" else name in _REFERRING


def _reference(text: str) -> str:
    return text if "/" in text else f"Patient/{text}"


async def _person(app: FastAPI, type_: str, named: Pairs, client: Client, way: str) -> Identifier:
    """Raises BadParameter, IdentityRefused, and what the reading of a Patient raises."""
    gateway, reading = cast("Gateway", app.state.gateway), cast("Reading", app.state.reading)
    field = "identifier" if type_ == "Patient" else PATIENT
    if len(named) != 1:
        todo = "send <system>|<number> by POST, or a reference to the Patient"
        raise BadParameter(f"is {'missing' if not named else 'not the only one'}; {todo}", field=field)
    ((name, text),) = named
    if not numbered(type_, name, text):
        if "," in text:
            raise BadParameter("names several patients; send one", field=name)
        reference = _reference(text)
        if not way and "publisher" in client.roles:  # as a read: one's own, before that of any node
            way = await home(gateway, [reference], client, "", unknown=False)
        below = f"nodes/{way}/" if way and reference.count("/") == 1 else ""
        return await reading.person_of(below + reference, client)
    system, bar, value = text.partition("|")
    if not bar:
        raise BadParameter("is missing or has no system; send <system>|<number>", field=name)
    try:
        person = identifier_in(system, value)
    except IdentityRefused as refused:
        refused.field = name
        raise
    if person is None:
        raise BadParameter(f"is of no system that is known here: {', '.join(SYSTEMS)}", field=name)
    return person


def _seconds(scope: Scope) -> float | None:
    """How long the caller would wait (RFC 7240 section 4.3); None where it does not say."""
    preferred = b",".join(value for name, value in scope["headers"] if name == b"prefer")
    wait = _WAIT.search(preferred.decode("latin-1"))
    return min(float(wait[1]), LONGEST) if wait else None
