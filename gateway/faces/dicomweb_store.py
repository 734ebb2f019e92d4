"""STOW-RS (PS3.18 §10.5): where a hospital stores images in its own archive."""

from __future__ import annotations

from typing import Any, cast

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.errors import BadParameter, NotAcceptable
from gateway.faces.common import client_of
from gateway.faces.describe import describe
from gateway.imaging.accept import media_of
from gateway.imaging.storing import Storing
from gateway.imaging.values import DICOM_JSON
from quality.record import DICOM_UID

router = APIRouter(prefix="/dicomweb", tags=["dicomweb"])
DICOM_XML = "application/dicom+xml"
_HEADERS = {"Cache-Control": "no-store"}
_TAKEN = (DICOM_JSON, "application/json", "application/*", "*/*")


async def store(request: Request) -> Response:
    """Each instance is examined, then it goes to the archive; the answer tells what came of each. What was
    stored is on record before the answer leaves. The same request may be sent again."""
    client, parts = client_of(request), request.path_params
    xml = _xml(request.headers.get("accept", "*/*"))
    study = parts.get("study", "")
    if study and not DICOM_UID.fullmatch(study):
        raise BadParameter("is no UID (PS3.5 section 9.1)", field="study")
    storing = cast("Storing", request.app.state.storing)
    answered = await storing.take(
        client,
        request.headers,
        request.receive,
        way=parts.get("node", ""),
        study=study,
    )
    if xml:
        from gateway.imaging.native import native

        return Response(native(answered.dataset), answered.status, _HEADERS, DICOM_XML)
    return Response(msgspec.json.encode(answered.dataset), answered.status, _HEADERS, DICOM_JSON)


def _xml(accept: str) -> bool:
    """Whether the answer is wanted as XML; JSON is its form by default. Raises NotAcceptable."""
    ranges = [one for one in map(media_of, accept.split(",")) if one and one.q > 0]
    for one in sorted(ranges, key=lambda one: -one.q):
        if one.inner in _TAKEN:
            return False
        if one.inner == DICOM_XML:
            return True
    raise NotAcceptable(f"the answer has the forms {DICOM_JSON} and {DICOM_XML}", field="Accept")


def _described(path: str) -> dict[str, Any]:
    refusals = (400, 404, 406, 409, 413, 415, 502)
    extra = describe(None, dict, media_type=DICOM_JSON, refusals=refusals)
    told = {DICOM_JSON: {"schema": {"type": "object"}}, DICOM_XML: {"schema": {"type": "string"}}}
    for status, words in (
        ("200", "All instances are stored"),
        ("202", "Some are stored, or with warnings"),
        ("409", "None is stored; or several archives store, and none was named"),
    ):
        former = extra["x-responses"].get(status, {}).get("content", {}) if status == "409" else {}
        extra["x-responses"][status] = {"description": words, "content": {**told, **former}}
    extra["requestBody"] = {
        "required": True,
        "content": {"multipart/related": {"schema": {"type": "string", "format": "binary"}}},
    }
    extra["parameters"] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in ("node", "study")
        if f"{{{name}" in path
    ]
    return extra


for _base, _where in (("", ""), ("/nodes/{node}", ", in this archive")):
    for _path, _what in (("/studies", "Store instances"), ("/studies/{study}", "Store instances of a study")):
        router.add_api_route(
            f"{_base}{_path}",
            store,
            methods=["POST"],
            openapi_extra=_described(f"{_base}{_path}"),
            summary=f"{_what}{_where}",
        )
