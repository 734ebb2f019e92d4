"""Statistics, for auditors and stewards over everything and for a hospital over its own."""

from __future__ import annotations

import re
from datetime import date
from typing import Any, get_args

from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.errors import BadRequest
from gateway.faces.common import client_of, gateway_of, reply
from gateway.faces.describe import describe
from gateway.model import Moment
from gateway.statistics import SMALLEST_THRESHOLD, By, Query, Side, Statistics, as_csv, statistics

CSV = "text/csv"
_DAY = {"type": "string", "format": "date"}
_PARAMETERS: tuple[tuple[str, str, dict[str, Any], bool], ...] = (
    ("from", "first day, in Asia/Shanghai", _DAY, True),
    ("to", "last day, which counts in full", _DAY, True),
    ("by", "what a row is", {"type": "string", "enum": list(get_args(By))}, True),
    ("side", "whose statistics", {"type": "string", "enum": list(get_args(Side))}, False),
    (
        "moment",
        "which checks are counted: those at the order, at reception, or about one report",
        {"type": "string", "enum": list(get_args(Moment)), "default": "order"},
        False,
    ),
    (
        "threshold",
        "counts from 1 to one below this are hidden",
        {"type": "integer", "minimum": SMALLEST_THRESHOLD, "default": SMALLEST_THRESHOLD},
        False,
    ),
)

router = APIRouter(prefix="/api/v1", tags=["statistics"])


@router.get(
    "/statistics",
    openapi_extra=describe(None, Statistics, refusals=(403, 422))
    | {
        "parameters": [
            {"name": name, "in": "query", "description": words, "schema": schema, "required": required}
            for name, words, schema, required in _PARAMETERS
        ]
    },
    summary="Counts and rates with named denominators",
)
async def read_statistics(request: Request) -> Response:
    """Reminders, viewings, decisions and 互认率 in its three definitions, by row and in total.

    Small counts are hidden. Reading is recorded in the ledger. ``Accept: text/csv`` gives the table as CSV.
    """
    client = client_of(request)
    given = request.query_params
    names = [name for name, *_ in _PARAMETERS]
    for name in given:
        if name not in names:
            raise BadRequest(f"is no parameter; they are {', '.join(names)}", field=name[:64])
        if len(given.getlist(name)) > 1:
            raise BadRequest("is there twice; send it once", field=name)
    query = Query(
        from_=_day(given.get("from", ""), "from"),
        to=_day(given.get("to", ""), "to"),
        by=_one_of(By, given.get("by", ""), "by"),
        side=_one_of(Side, given.get("side", "receiver"), "side"),
        moment=_one_of(Moment, given.get("moment", "order"), "moment"),
        threshold=_threshold(given.get("threshold", str(SMALLEST_THRESHOLD))),
    )
    if query.to < query.from_:
        raise BadRequest("lies before from; send the last day of the period", field="to")
    found = await statistics(gateway_of(request), query, client)
    if CSV in request.headers.get("accept", ""):
        return Response(as_csv(found), media_type=CSV, headers={"Cache-Control": "no-store"})
    return reply(found)


def _day(text: str, field: str) -> date:
    try:
        day = date.fromisoformat(text if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text) else "")
    except ValueError:
        raise BadRequest("must be a day, such as 2026-11-30", field=field) from None
    if not 2000 <= day.year < 2200:
        raise BadRequest("must be a day between 2000 and 2199", field=field)
    return day


def _one_of(kind: Any, text: str, field: str) -> Any:
    if text not in get_args(kind):
        raise BadRequest(f"must be one of {', '.join(get_args(kind))}", field=field)
    return text


def _threshold(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", text) or int(text) < SMALLEST_THRESHOLD:
        raise BadRequest(f"must be a whole number of at least {SMALLEST_THRESHOLD}", field="threshold")
    return int(text)
