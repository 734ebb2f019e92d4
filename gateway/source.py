"""A FHIR R4 source: what a hospital without a FHIR server runs beside its own system.

It takes reports in (by PUT, POST or a Bundle) and answers the searches that a gateway asks. The bytes of a
resource are kept as they came and served unchanged, because a decimal that was parsed and written again is
another one (72.50 becomes 72.5) and a signature over it breaks. What comes in is checked first; see
``_source_intake.py``.

A parameter that is not known here is refused, not passed over: a search that is wider than what was asked for
shows records that nobody asked for. A long answer goes on at an opaque address, so that no number stands in
one. The source is meant for loopback or the hospital's own network; who may ask is the business of what
stands in front of it.
"""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from msgspec import Raw, Struct
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway._source_intake import BOM, TYPES, Taken, take
from gateway._source_search import PARAMETERS
from gateway._source_store import Kept, SourceStore
from gateway.body import BadBody, decode, receive

MEDIA = "application/fhir+json"
FORM = frozenset({"application/x-www-form-urlencoded"})
MAX_BYTES = 16 * 1024 * 1024
PAGE, MAX_PAGE, OPEN_PAGES = 50, 500, 1000


class _Action(Struct, frozen=True, forbid_unknown_fields=True):
    method: str
    url: str


class _Entry(Struct, frozen=True, kw_only=True, rename="camel"):
    resource: Raw
    request: _Action
    full_url: str = ""


class _Bundle(Struct, frozen=True, kw_only=True, rename="camel"):
    resource_type: str
    type: str
    entry: tuple[_Entry, ...] = ()


class _Source:
    """The interactions. ``pages`` are the open continuations of long answers, the oldest forgotten first."""

    def __init__(self, store: SourceStore, institution: str) -> None:
        self.store = store
        self.pages: OrderedDict[str, tuple[str, list[str], int, int]] = OrderedDict()
        self.capabilities = _capabilities(institution)

    async def metadata(self, _: Request) -> Response:
        return _answer(self.capabilities)

    async def bundle(self, request: Request) -> Response:
        raw = await receive(request.scope, request.receive, limit=MAX_BYTES)
        bundle = decode(raw.removeprefix(BOM), _Bundle)
        if bundle.resource_type != "Bundle" or bundle.type not in ("transaction", "batch"):
            raise BadBody("Bundle.type", "neither transaction nor batch", "send one of them", 422)
        if bundle.type == "transaction":
            taken = [_entry(entry, f"entry[{n}]") for n, entry in enumerate(bundle.entry)]
            places = [(resource.type, resource.id) for resource in taken]
            if len(set(places)) != len(places):
                raise BadBody("entry", "one resource twice in a transaction", "send its last state", 422)
            _check_references(bundle)
            kept = self.store.put(taken)
            entries = [{"response": _response(t, k)} for t, k in zip(taken, kept, strict=True)]
        else:
            entries = [self._batched(entry, f"entry[{n}]") for n, entry in enumerate(bundle.entry)]
        answer = {"resourceType": "Bundle", "type": f"{bundle.type}-response", "entry": entries}
        return _answer({name: value for name, value in answer.items() if value})

    async def create(self, request: Request) -> Response:
        type_ = _type(request)
        raw = await receive(request.scope, request.receive, limit=MAX_BYTES)
        return self._keep(request, take(raw, type_, _new_id(), new=True))

    async def update(self, request: Request) -> Response:
        type_ = _type(request)
        raw = await receive(request.scope, request.receive, limit=MAX_BYTES)
        return self._keep(request, take(raw, type_, request.path_params["id"]))

    async def read(self, request: Request) -> Response:
        kept = self.store.get(_type(request), request.path_params["id"])
        if kept is None:
            raise HTTPException(404, "there is no such resource")
        return Response(kept.body, headers=kept.headers, media_type=MEDIA)

    async def search(self, request: Request) -> Response:
        type_ = _type(request)
        query = request.scope["query_string"]
        if request.method == "POST":
            if query:
                raise BadBody(
                    "address", "parameters in the address of a _search", "put them in the body", 400
                )
            query = await receive(request.scope, request.receive, limit=65536, types=FORM)
        pairs = _pairs(query)
        ids = self.store.find(type_, [pair for pair in pairs if pair[0] != "_count"])
        return self._page(request, type_, ids, 0, _count(pairs))

    async def page(self, request: Request) -> Response:
        found = self.pages.get(request.path_params["page"])
        if found is None:
            raise HTTPException(410, "this continuation is forgotten; search again")
        return self._page(request, *found)

    def _page(self, request: Request, type_: str, ids: list[str], start: int, count: int) -> Response:
        base = str(request.base_url).rstrip("/")
        links = []
        if 0 < count < len(ids) - start:
            name = uuid.uuid4().hex
            self.pages[name] = (type_, ids, start + count, count)
            while len(self.pages) > OPEN_PAGES:
                self.pages.popitem(last=False)
            links.append({"relation": "next", "url": f"{base}/_page/{name}"})
        shown = [(id_, self.store.get(type_, id_)) for id_ in ids[start : start + count]]
        entries = [
            {"fullUrl": f"{base}/{type_}/{id_}", "resource": Raw(kept.body), "search": {"mode": "match"}}
            for id_, kept in shown
            if kept
        ]
        answer = {"resourceType": "Bundle", "type": "searchset", "total": len(ids)}
        lists = {"link": links, "entry": entries}
        return _answer(answer | {name: value for name, value in lists.items() if value})

    def _keep(self, request: Request, taken: Taken) -> Response:
        (kept,) = self.store.put([taken])
        headers = kept.headers | {"Location": f"{str(request.base_url).rstrip('/')}/{taken.type}/{taken.id}"}
        return Response(kept.body, 201 if kept.version == 1 else 200, headers, MEDIA)

    def _batched(self, entry: _Entry, place: str) -> dict[str, Any]:
        try:
            taken = _entry(entry, place)
        except BadBody as wrong:
            status = f"{wrong.status} {HTTPStatus(wrong.status).phrase}"
            return {"response": {"status": status, "outcome": _outcome(str(wrong), wrong.field)}}
        (kept,) = self.store.put([taken])
        return {"response": _response(taken, kept)}


def create_source(store_path: Path, *, institution: str) -> Starlette:
    """The ASGI application of a source over the SQLite file ``store_path``, which is made if need be.

    ``institution`` is the code of the hospital, told in the CapabilityStatement.
    """
    store = SourceStore(store_path)
    source = _Source(store, institution)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        store.close()

    return Starlette(
        routes=[
            Route("/metadata", source.metadata),
            Route("/", source.bundle, methods=["POST"]),
            Route("/_page/{page}", source.page),
            Route("/{type}/_search", source.search, methods=["POST"]),
            Route("/{type}", source.search),
            Route("/{type}", source.create, methods=["POST"]),
            Route("/{type}/{id}", source.read),
            Route("/{type}/{id}", source.update, methods=["PUT"]),
        ],
        exception_handlers={BadBody: _refuse, HTTPException: _refuse, Exception: _refuse},
        lifespan=lifespan,
    )


def _type(request: Request) -> str:
    type_: str = request.path_params["type"]
    if type_ not in TYPES:
        raise HTTPException(404, f"only {', '.join(TYPES)} are kept here")
    return type_


def _entry(entry: _Entry, place: str) -> Taken:
    """The resource of one Bundle entry, checked for the place that its request names."""
    type_, _, id_ = entry.request.url.partition("/")
    method = entry.request.method
    if type_ not in TYPES or (method, bool(id_)) not in (("PUT", True), ("POST", False)):
        todo = f"PUT Type/id or POST Type, with {', '.join(TYPES)}"
        raise BadBody(f"{place}.request", "not an interaction of this source", todo, 422)
    try:
        return take(bytes(entry.resource), type_, id_ or _new_id(), new=not id_)
    except BadBody as wrong:
        raise BadBody(f"{place}.{wrong.field}", wrong.what, wrong.todo, wrong.status) from None


def _check_references(bundle: _Bundle) -> None:
    """Refuse what would have to be rewritten: references to a temporary address inside the transaction."""
    everything = b"".join(bytes(entry.resource) for entry in bundle.entry)
    for n, entry in enumerate(bundle.entry):
        if entry.full_url.startswith("urn:") and f'"{entry.full_url}"'.encode() in everything:
            todo = "use PUT and the resource's own id: what is kept is not rewritten"
            raise BadBody(f"entry[{n}].fullUrl", "referred to by a temporary address", todo, 422)


def _response(taken: Taken, kept: Kept) -> dict[str, str]:
    status = "201 Created" if kept.version == 1 else "200 OK"
    saved = kept.saved.isoformat(timespec="milliseconds")
    return {
        "status": status,
        "location": f"{taken.type}/{taken.id}",
        "etag": kept.headers["ETag"],
        "lastModified": saved,
    }


def _new_id() -> str:
    return uuid.uuid4().hex


def _pairs(query: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=64)
    except ValueError:
        raise BadBody("search", "not a list of parameters in UTF-8", "encode them as a form", 400) from None


def _count(pairs: Sequence[tuple[str, str]]) -> int:
    counts = [value for name, value in pairs if name == "_count"]
    if any(not (value.isascii() and value.isdigit() and len(value) < 10) for value in counts):
        raise BadBody("_count", "not a number", "give a whole number", 400)
    return min([MAX_PAGE, *(int(value) for value in counts)]) if counts else PAGE


def _answer(content: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type=MEDIA)


def _outcome(diagnostics: str, path: str, code: str = "invalid") -> dict[str, Any]:
    issue: dict[str, Any] = {"severity": "error", "code": code, "diagnostics": diagnostics}
    return {"resourceType": "OperationOutcome", "issue": [issue | ({"expression": [path]} if path else {})]}


async def _refuse(_: Request, wrong: Exception) -> Response:
    if isinstance(wrong, BadBody):
        return _answer(_outcome(str(wrong), wrong.field), wrong.status)
    if isinstance(wrong, HTTPException):
        code = {404: "not-found", 410: "expired"}.get(wrong.status_code, "not-supported")
        answer = _answer(_outcome(str(wrong.detail), "", code), wrong.status_code)
        answer.headers.update(wrong.headers or {})
        return answer
    return _answer(_outcome("this source failed; its log says how", "", "exception"), 500)


def _capabilities(institution: str) -> dict[str, Any]:
    interactions = [{"code": code} for code in ("read", "update", "create", "search-type")]
    resources = [
        {
            "type": type_,
            "interaction": interactions,
            "versioning": "no-version",
            "updateCreate": True,
            "searchParam": [{"name": name, "type": kind} for name, kind in PARAMETERS[type_].items()],
        }
        for type_ in TYPES
    ]
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
