"""A small client of the REST face, for the command line and the demonstration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import httpx
import msgspec

from gateway.model import CheckAnswer, Problem

T = TypeVar("T")


class Refused(Exception):
    """The gateway could not be reached or refused; the message is one line."""


def ask(gateway: str, token: str, body: Mapping[str, object], *, seconds: float = 30.0) -> CheckAnswer:
    """Post a check and read the answer.

    Raises:
        Refused: with the gateway's own sentence.
    """
    return post(f"{gateway.rstrip('/')}/api/v1/checks", token, body, CheckAnswer, seconds=seconds)


def post(
    address: str, token: str, body: Mapping[str, object], answer: type[T], *, seconds: float = 30.0
) -> T:
    """Post a body to a route of the REST face and read its answer.

    Raises:
        Refused: with the gateway's own sentence.
    """
    content = msgspec.json.encode(body)
    return _send("POST", address, token, answer, seconds, content=content)


def get(address: str, token: str, query: Mapping[str, str], answer: type[T], *, seconds: float = 30.0) -> T:
    """Read from a route of the REST face.

    Raises:
        Refused: with the gateway's own sentence.
    """
    return _send("GET", address, token, answer, seconds, params=dict(query))


def _send(
    method: str,
    address: str,
    token: str,
    answer: type[T],
    seconds: float,
    *,
    content: bytes | None = None,
    params: dict[str, str] | None = None,
) -> T:
    headers = {"Content-Type": "application/json"} if content is not None else {}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    try:
        response = httpx.request(
            method,
            address,
            content=content,
            params=params,
            headers=headers,
            timeout=seconds,
            trust_env=False,
        )
    except httpx.HTTPError as wrong:
        raise Refused(f"{address} cannot be asked: {type(wrong).__name__}") from None
    try:
        if response.status_code == 200:
            return msgspec.json.decode(response.content, type=answer)
        problem = msgspec.json.decode(response.content, type=Problem)
    except msgspec.MsgspecError:
        raise Refused(f"{address} answered {response.status_code} with something unreadable") from None
    raise Refused(
        f"{problem.status} {problem.code}: {problem.detail}"
        + (f" ({problem.field})" if problem.field else "")
    )
