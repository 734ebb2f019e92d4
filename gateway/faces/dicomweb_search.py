"""QIDO-RS (PS3.18 §10.6): searches over the archives of a viewing, below ``/dicomweb``.

Merged over all archives, or of one named archive below ``/dicomweb/nodes/<node>`` (``<peer>/<node>`` behind
another gateway). ``Lianren-Nodes`` says of every archive how it was; ``Warning`` what was passed over, what
is left, and who was not heard. Headers have room for so many; with ``nodestates=true`` all of it stands in
the body, around the list.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, cast

import msgspec
from fastapi import APIRouter, Request
from msgspec import Raw
from starlette.responses import Response

from adapters import Report
from adapters.peer import way_of
from gateway.errors import BadParameter, NotAcceptable
from gateway.faces.describe import describe
from gateway.imaging.accept import media_of
from gateway.imaging.listing import Listing, Page, Place
from gateway.imaging.query import DicomQuery, query_of
from gateway.imaging.values import DICOM_JSON, Level
from gateway.imaging.viewing import viewing_of
from gateway.resources.query import pairs_of
from quality.record import DICOM_UID

router = APIRouter(prefix="/dicomweb", tags=["dicomweb"])
NODES = "Lianren-Nodes"
_LENGTH, _NAMED = 2048, 8
"""Characters of that header, and nodes that were not heard with a warning of their own: a proxy in front
takes 4 KB of headers, and other gateways report as many nodes as they like."""
_JSON = (DICOM_JSON, "application/json", "application/*", "*/*")
_XML = ("application/dicom+xml", "application/*", "*/*")
_ENTRY = re.compile(r'(?:[^,"]|"[^"]*")+')
_WAY = re.compile(r"[a-z0-9][a-z0-9-]{0,30}(/[a-z0-9][a-z0-9-]{0,30}){0,4}")
_TEXT = re.compile(r"[^ !#-\[\]-~]")


async def search(request: Request, level: Level) -> Response:
    """One search: of the person's objects of a level, or of those below a study or series."""
    scope, parts = request.scope, request.path_params
    viewed = viewing_of(scope)
    place = Place(level, parts.get("study", ""), parts.get("series", ""), parts.get("node", ""))
    if place.way and not _WAY.fullmatch(place.way):
        raise BadParameter("is no name of a node", field="node")
    for name, uid in (("study", place.study), ("series", place.series)):
        if uid and not DICOM_UID.fullmatch(uid):
            raise BadParameter("is no UID: digits and dots, at most 64 (PS3.5 section 9.1)", field=name)
    pairs = pairs_of(scope["query_string"])
    given = [text for name, text in pairs if name == "accept"] or request.headers.getlist("accept")
    xml = _prefers_xml(", ".join(given))
    under: Level | None = "series" if place.series else "studies" if place.study else None
    query = query_of(level, pairs, under=under)
    listing = cast("Listing", request.app.state.listing)
    page = await listing.search(viewed, place, query)
    return answer(page, query, f"{listing.base}{scope['path'].removeprefix('/dicomweb')}", xml=xml)


def answer(page: Page, query: DicomQuery, service: str, *, xml: bool) -> Response:
    """What a search tells, in the form that is taken; 204 where nothing is found (section 10.6.3.1)."""
    headers = {NODES: _states(page.reports), "Cache-Control": "no-store"}
    if query.nodestates:
        if xml:
            raise NotAcceptable("nodestates has a form in JSON alone", field="nodestates")
        told = {
            "complete": all(report.complete for report in page.reports),
            "nodes": page.reports,
            "studies": Raw(page.body),
        }
        response = Response(msgspec.json.encode(told), headers=headers, media_type="application/json")
    elif not page.objects:
        response = Response(status_code=204, headers=headers)
    elif xml:
        from gateway.imaging.native import related

        body, media = related(page.body)
        response = Response(body, headers=headers, media_type=media)
    else:
        response = Response(page.body, headers=headers, media_type=DICOM_JSON)
    for sentence in warnings(page, query):
        response.headers.append("Warning", f'299 {service}: "{_TEXT.sub("?", sentence)}"')
    return response


def warnings(page: Page, query: DicomQuery) -> Iterable[str]:
    """What a caller should know (section 8.3.4 and table 8.3.4-1)."""
    yield from query.warnings
    if page.left:
        yield f"There are {page.left} additional results that can be requested"
    unheard = [report for report in page.reports if not report.complete]
    for report in unheard[:_NAMED]:
        yield f"Node {way_of(report)} was not heard ({report.state}); the list may lack what it holds"
    if further := len(unheard) - len(unheard[:_NAMED]):
        yield f"{further} more nodes were not heard; the list may lack what they hold"


def _prefers_xml(header: str) -> bool:
    """Whether a list is wanted as XML in place of JSON (section 10.6.3.3). Raises NotAcceptable."""
    ranges = [
        media for entry in _ENTRY.findall(header or "*/*") if (media := media_of(entry)) and media.q > 0
    ]
    for media in sorted(ranges, key=lambda one: -one.q):
        if media.outer != "multipart/related" and media.inner in _JSON:
            return False
        if media.outer == "multipart/related" and media.inner in _XML:
            return True
    todo = 'application/dicom+json, or multipart/related; type="application/dicom+xml"'
    raise NotAcceptable(f"a search is answered as {todo}", field="Accept")


def _states(reports: Sequence[Report]) -> str:
    """How nodes were, as many as there is room for."""
    told, left = list[str](), _LENGTH
    for index, report in enumerate(reports):
        state = f"{way_of(report)};state={report.state};ms={report.took_ms}"
        left -= len(state) + 2
        if left < 0:
            return ", ".join([*told, f"...;more={len(reports) - index}"])
        told.append(state)
    return ", ".join(told)


def _described(below: str) -> dict[str, Any]:
    extra = describe(media_type=DICOM_JSON, refusals=(400, 404, 406, 502))
    extra["x-responses"]["204"] = {"description": "Nothing is found"}
    names = re.findall(r"\{(\w+)", below)
    extra["parameters"] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
    ] + [
        {"name": name, "in": "query", "description": meaning, "schema": schema}
        for name, (meaning, schema) in _PARAMETERS.items()
    ]
    return extra


_PARAMETERS: dict[str, tuple[str, dict[str, Any]]] = {
    "includefield": ("attributes to show besides, by keyword or tag; all", {"type": "string"}),
    "fuzzymatching": ("names in Hanzi, pinyin and half-width alike", {"type": "boolean"}),
    "limit": ("most objects to tell", {"type": "integer", "minimum": 0}),
    "offset": ("objects to pass over first", {"type": "integer", "minimum": 0}),
    "nodestates": ("the state of every node in the body, around the list", {"type": "boolean"}),
}


def _route(path: str, level: Level, summary: str) -> None:
    async def found(request: Request) -> Response:
        return await search(request, level)

    found.__doc__ = f"{level.capitalize()} of the viewing's person that meet all conditions of the address."
    router.add_api_route(
        path,
        found,
        methods=["GET"],
        name=f"dicomweb_{level}",
        openapi_extra=_described(path),
        summary=summary,
    )


_PLACES: Sequence[tuple[str, Level, str]] = (
    ("/studies/{study}/series/{series}/instances", "instances", "Search instances of a series"),
    ("/studies/{study}/instances", "instances", "Search instances of a study"),
    ("/studies/{study}/series", "series", "Search series of a study"),
    ("/instances", "instances", "Search instances"),
    ("/series", "series", "Search series"),
    ("/studies", "studies", "Search studies"),
)
for _path, _level, _summary in _PLACES:
    _route(_path, _level, _summary)
    _route(f"/nodes/{{node:path}}{_path}", _level, f"{_summary} at one archive")
