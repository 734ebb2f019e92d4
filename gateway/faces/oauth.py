"""OAuth 2: the token endpoint, the keys of access tokens, and what a client discovers beforehand.

SMART Backend Services STU2 (``/fhir/.well-known/smart-configuration``) and RFC 8414
(``/.well-known/oauth-authorization-server``) tell the same; so a client that knows either needs no more of us
than its own key set handed in.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.access.scopes import OF_ROLE
from gateway.access.tokens import ASSERTION_TYPE, GRANT
from gateway.errors import TokenNotGiven
from gateway.faces.common import TOKEN_PATH, body_of, gateway_of, reply
from gateway.faces.describe import describe
from security.jwt import ALGORITHMS

router = APIRouter(tags=["access"])
FORM = "application/x-www-form-urlencoded"
_MOST_FIELDS = 16
_PARAMETERS = {
    "grant_type": {"type": "string", "enum": [GRANT]},
    "client_assertion_type": {"type": "string", "enum": [ASSERTION_TYPE]},
    "client_assertion": {"type": "string", "description": "JWT of RFC 7523; its jti counts once"},
    "scope": {"type": "string", "description": "all that the client may have if left out"},
    "purpose_of_use": {"type": "string", "description": "codes of HL7 v3 PurposeOfUse, the main one first"},
    "client_id": {"type": "string", "description": "not needed: the assertion names it"},
}
_ANSWER = {
    "type": "object",
    "required": ["access_token", "token_type", "expires_in", "scope"],
    "properties": {
        "access_token": {"type": "string"},
        "token_type": {"type": "string", "enum": ["Bearer"]},
        "expires_in": {"type": "integer"},
        "scope": {"type": "string", "description": "what was given, which may be less than was asked"},
    },
}
_REFUSAL = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string"}, "error_description": {"type": "string"}},
}


def _described() -> dict[str, Any]:
    extra = describe(refusals=(400, 401, 413, 415), token=False)
    fields = {"type": "object", "required": list(_PARAMETERS)[:3], "properties": _PARAMETERS}
    extra["requestBody"] = {"required": True, "content": {FORM: {"schema": fields}}}
    for status, response in extra["x-responses"].items():
        response["content"] = {"application/json": {"schema": _ANSWER if status == "200" else _REFUSAL}}
    return extra


@router.post(TOKEN_PATH, openapi_extra=_described(), summary="An access token for a signed assertion")
async def token(request: Request) -> Response:
    """OAuth 2 client credentials with ``private_key_jwt`` (RFC 6749, RFC 7523; SMART Backend Services)."""
    gateway, now = gateway_of(request), datetime.now(UTC)
    clients = gateway.clients
    body = await body_of(request, FORM)
    if "authorization" in request.headers:
        raise TokenNotGiven("invalid_request", "an Authorization header came along with the assertion")
    certificate = clients.certificate(request.scope["headers"], request.scope.get("client"))
    issued = await clients.tokens.issue(_form(body), certificate, now)
    return reply(issued, headers={"Pragma": "no-cache"})  # RFC 6749 section 5.1


@router.get("/oauth/jwks", openapi_extra=describe(token=False), summary="The keys of access tokens")
async def jwks(request: Request) -> Response:
    """A JSON Web Key Set (RFC 7517): access tokens can be verified by it without asking."""
    return reply({"keys": gateway_of(request).clients.tokens.published(datetime.now(UTC))})


@router.get(
    "/fhir/.well-known/smart-configuration",
    openapi_extra=describe(token=False),
    summary="SMART configuration",
)
async def smart_configuration(request: Request) -> Response:
    """What a SMART backend client has to know (SMART App Launch 2, conformance)."""
    capabilities = ["client-confidential-asymmetric", "permission-v1", "permission-v2"]
    return reply(_metadata(request) | {"capabilities": capabilities})


@router.get(
    "/.well-known/oauth-authorization-server",
    openapi_extra=describe(token=False),
    summary="OAuth 2 server metadata",
)
async def server_metadata(request: Request) -> Response:
    """The same, for OAuth 2 clients (RFC 8414)."""
    return reply(_metadata(request))


def _metadata(request: Request) -> dict[str, Any]:
    gateway = gateway_of(request)
    tokens = gateway.clients.tokens
    return {
        "issuer": tokens.issuer,
        "token_endpoint": tokens.endpoint,
        "jwks_uri": f"{tokens.issuer}/oauth/jwks",
        "grant_types_supported": [GRANT],
        "response_types_supported": [],
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        "scopes_supported": sorted({scope for held in OF_ROLE.values() for scope in held.split()}),
        "tls_client_certificate_bound_access_tokens": bool(gateway.settings.client_certificate_header),
    }


def _form(body: bytes) -> dict[str, str]:
    """The parameters, each once (RFC 6749 section 3.2). Raises TokenNotGiven."""
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            encoding="utf-8",
            errors="strict",
            max_num_fields=_MOST_FIELDS,
        )
    except ValueError:  # UnicodeDecodeError is one
        raise TokenNotGiven("invalid_request", "the body is no form of a few fields") from None
    form = dict(pairs)
    if len(form) < len(pairs):
        raise TokenNotGiven("invalid_request", "a parameter is there twice")
    return {name: value for name, value in form.items() if value}
