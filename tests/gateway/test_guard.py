"""What nobody foresaw is one answer and one event, and neither repeats what a person sent."""

from __future__ import annotations

import io
import json
import logging

import httpx
from fastapi import FastAPI

from gateway.faces.common import Guard
from gateway.log import LibraryLog, Log
from tests.serving import serve

SECRET = "990000199001010017"


def broken(stream: io.StringIO) -> Guard:
    app = FastAPI()

    @app.get("/api/v1/broken")
    async def fail() -> None:
        raise RuntimeError(SECRET)

    guard = Guard(app, Log(stream))
    app.add_exception_handler(Exception, guard.handle)
    return guard


def test_an_unforeseen_error_is_answered_in_the_faces_shape_and_logged_once() -> None:
    stream = io.StringIO()
    with serve(broken(stream)) as url:
        answer = httpx.get(f"{url}/api/v1/broken", trust_env=False)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    (event,) = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (event["event"], event["error"], event["request"]) == (
        "internal_error",
        "RuntimeError",
        answer.json()["request"],
    )
    assert SECRET not in answer.text + stream.getvalue()


def test_what_a_library_logs_is_an_event_without_its_words() -> None:

    stream = io.StringIO()
    logger = logging.getLogger("lianren.test.library")
    logger.addHandler(LibraryLog(Log(stream)))
    logger.propagate = False
    logger.warning("patient %s", SECRET)
    assert json.loads(stream.getvalue())["logger"] == "lianren.test.library"
    assert SECRET not in stream.getvalue()
