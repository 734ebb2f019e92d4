"""Consent, in plain JSON: what a person said is taken down, read again, looked for, and revoked.

Whose statements are meant stands in a body: a person's number belongs into no address.
"""

from __future__ import annotations

from typing import cast

from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.faces.common import client_of, read, reply
from gateway.faces.describe import describe
from gateway.persons.consenting import ConsentIn, Consenting, ConsentOut, ConsentsOut, PersonQuery

router = APIRouter(prefix="/api/v1/consents", tags=["consents"])
_WRITING = (400, 403, 413, 415, 422, 429)


def consenting_of(request: Request) -> Consenting:
    """What the running gateway keeps of persons' statements."""
    return cast("Consenting", request.app.state.consenting)


@router.post(
    "", openapi_extra=describe(ConsentIn, ConsentOut, refusals=_WRITING), summary="Take down a consent"
)
async def record(request: Request) -> Response:
    """Opt-out, or the purposes that a person authorises. It counts from the answer on."""
    client = client_of(request)
    return reply(await consenting_of(request).record(await read(request, ConsentIn), client))


@router.post(
    "/search",
    openapi_extra=describe(PersonQuery, ConsentsOut, refusals=_WRITING),
    summary="What a person said",
)
async def search(request: Request) -> Response:
    """Every statement of the person that was not revoked, the oldest first. That it was read is recorded."""
    client = client_of(request)
    asked = await read(request, PersonQuery)
    return reply(await consenting_of(request).of_person(asked.patient, client))


@router.get(
    "/{consent_id}",
    openapi_extra=describe(None, ConsentOut, refusals=(403, 404)),
    summary="Read a consent again",
)
async def answer(consent_id: str, request: Request) -> Response:
    """A statement, to the institution that took it down or to an auditor. That it was read is recorded."""
    return reply(await consenting_of(request).find(consent_id, client_of(request)))


@router.post(
    "/{consent_id}/revocation",
    openapi_extra=describe(PersonQuery, ConsentOut, refusals=(*_WRITING, 404)),
    summary="Take a consent back",
)
async def revoke(consent_id: str, request: Request) -> Response:
    """From the answer on, it is as if it had never been said. Any hospital may, for who said it."""
    client = client_of(request)
    asked = await read(request, PersonQuery)
    return reply(await consenting_of(request).revoke(consent_id, asked.patient, client))
