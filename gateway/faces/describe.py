"""The OpenAPI description of the routes, generated from the values they read and write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from gateway.model import Problem

JSON, FHIR_JSON, PROBLEM_JSON = "application/json", "application/fhir+json", "application/problem+json"
CALLER = (400, 401, 403, 404, 409, 413, 415, 422)
_TEMPLATE = "#/components/schemas/{name}"
_RESPONSES = "x-responses"  # taken over at the end: FastAPI would mix in answers that these routes never give
_types: dict[str, type] = {Problem.__name__: Problem}


def describe(
    body: type | None = None,
    answer: type | None = None,
    *,
    media_type: str = JSON,
    refusals: Sequence[int] = (),
    refused: Sequence[str] = (),
    query: Sequence[tuple[str, str]] = (),
    token: bool = True,
) -> dict[str, Any]:
    """``openapi_extra`` of a route.

    Args:
        body, answer: what it reads and answers; any JSON object where there is no type for it.
        media_type: of both; a FHIR resource has no schema here.
        refusals: statuses that it answers besides those that all of its kind do.
        refused: media types of refusals, besides that of its kind.
        query: its query parameters, each with its meaning; all are whole numbers.
        token: whether it needs one.
    """
    fhir = media_type == FHIR_JSON
    refusal = {FHIR_JSON: _OUTCOME} if fhir else {PROBLEM_JSON: {"schema": _schema(Problem)}}
    refusal |= {
        media: _OUTCOME if media == FHIR_JSON else {"schema": {"type": "string"}} for media in refused
    }
    responses: dict[str, Any] = {
        "200": {"description": "The answer", "content": {media_type: {"schema": _schema(answer, media_type)}}}
    }
    always = {503, *((401, 403, 429) if token else ()), *((406,) if fhir else ())}
    for status in sorted({*refusals, *always}):
        responses[str(status)] = {"description": "Refused; see docs/errors.md", "content": refusal}
    extra: dict[str, Any] = {_RESPONSES: responses}
    if token:
        extra["security"] = [{"bearer": []}]
    if body is not None:
        extra["requestBody"] = {
            "required": True,
            "content": {media_type: {"schema": {"type": "object"} if fhir else _schema(body, media_type)}},
        }
    if query:
        extra["parameters"] = [
            {"name": name, "in": "query", "description": meaning, "schema": {"type": "integer", "minimum": 0}}
            for name, meaning in query
        ]
    return extra


_BINARY = ("application/octet-stream", "application/cose", "application/dicom")
_OUTCOME = {"schema": {"type": "object", "description": "OperationOutcome"}}


def _schema(kind: type | None, media_type: str = JSON) -> dict[str, Any]:
    if media_type.startswith("text/"):
        return {"type": "string"}
    if media_type in _BINARY or media_type.startswith("image/"):
        return {"type": "string", "format": "binary"}
    if kind is None or kind is dict:
        return {"type": "object"}
    _types[kind.__name__] = kind
    return {"$ref": _TEMPLATE.format(name=kind.__name__)}


def openapi(app: FastAPI) -> dict[str, Any]:
    """The description of the app, made once."""
    if app.openapi_schema is None:
        description = get_openapi(
            title=app.title,
            version=app.version,
            summary=app.summary,
            description=app.description,
            routes=app.routes,
        )
        for path in description["paths"].values():
            for operation in path.values():
                operation["responses"] = operation.pop(_RESPONSES)
        _, schemas = msgspec.json.schema_components(tuple(_types.values()), ref_template=_TEMPLATE)
        components = description.setdefault("components", {})
        components["schemas"] = schemas
        components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
        app.openapi_schema = description
    return app.openapi_schema
