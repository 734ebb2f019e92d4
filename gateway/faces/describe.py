"""The OpenAPI description of the routes, generated from the values they read and write."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from gateway.model import CheckAnswer, CheckRequest, OutcomeIn, OutcomeOut, Problem

_TEMPLATE = "#/components/schemas/{name}"
_TYPES = (CheckRequest, CheckAnswer, OutcomeIn, OutcomeOut, Problem)
REFUSALS = (400, 401, 403, 404, 409, 413, 415, 422, 503)


def describe(
    body: type | None = None, answer: type | None = None, *, media_type: str = "application/json"
) -> dict[str, Any]:
    """``openapi_extra`` of a route: its body, its answer, and the refusals it shares with all others."""
    responses: dict[str, Any] = {
        "200": {"description": "The answer", "content": {media_type: {"schema": _schema(answer)}}}
    }
    refusal = {"application/problem+json": {"schema": _schema(Problem)}}
    if media_type == "application/fhir+json":
        refusal = {media_type: {"schema": {"type": "object", "description": "OperationOutcome"}}}
    for status in REFUSALS:
        responses[str(status)] = {"description": "Refused; see docs/errors.md", "content": refusal}
    extra: dict[str, Any] = {"responses": responses, "security": [{"bearer": []}]}
    if body is not None or media_type == "application/fhir+json":
        extra["requestBody"] = {"required": True, "content": {media_type: {"schema": _schema(body)}}}
    return extra


def _schema(kind: type | None) -> dict[str, Any]:
    return {"$ref": _TEMPLATE.format(name=kind.__name__)} if kind in _TYPES else {"type": "object"}


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
        _, schemas = msgspec.json.schema_components(_TYPES, ref_template=_TEMPLATE)
        components = description.setdefault("components", {})
        components.setdefault("schemas", {}).update(schemas)
        components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
        app.openapi_schema = description
    return app.openapi_schema
