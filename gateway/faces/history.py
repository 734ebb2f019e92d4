"""The face of reminders: what a hospital's system shows in a box, at reception and at the order."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.faces.common import client_of, read, reply
from gateway.faces.describe import CALLER, describe
from gateway.history import ReminderOut, ReminderRequest

router = APIRouter(prefix="/api/v1", tags=["checks"])


@router.post(
    "/reminders",
    openapi_extra=describe(
        ReminderRequest, ReminderOut, refusals=tuple(status for status in CALLER if status != 404)
    ),
    summary="Remind of what the patient has",
)
async def remind(request: Request) -> Response:
    """A check in the short shape of a box: at reception what the patient has, at the order what serves. The
    same request id gives the same check again, with what the doctor said of its results until now."""
    client = client_of(request)
    return reply(await request.app.state.reminders.remind(await read(request, ReminderRequest), client))


@router.get(
    "/reminders/{check_id}",
    openapi_extra=describe(None, ReminderOut, refusals=(404,)),
    summary="Read a reminder again",
)
async def again(check_id: str, request: Request) -> Response:
    """The reminder that a check is, with what the doctor said of its results until now."""
    return reply(await request.app.state.reminders.again(check_id, client_of(request)))
