"""What every kind of node does alike: keep to the budget, time the answer, turn errors into states."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Iterable
from typing import TypeVar, cast

from msgspec import Struct

from adapters.errors import NodeError, NodeLate
from adapters.node import Answer, Fault, Node, Question, Report, State
from recognition import Result
from security.http_signature import SignedAnswer

T = TypeVar("T")

MOST = 500
"""How many results of one node are looked at."""


class Heard(Struct, frozen=True, kw_only=True):
    """What a node said when it could be heard."""

    results: tuple[Result, ...] = ()
    behind: tuple[Report, ...] = ()
    digest: bytes = b""
    fault: Fault = ""
    detail: str = ""
    modalities: tuple[tuple[str, str], ...] = ()
    gateway: str = ""
    signed: SignedAnswer | None = None


async def answer_of(node: Node, question: Question, seconds: float, asking: Awaitable[Heard]) -> Answer:
    """Await ``asking`` within the node's ``seconds`` and the question's budget; errors become states."""
    started = time.monotonic()
    try:
        try:
            async with asyncio.timeout(min(seconds, question.budget)):
                said = await asking
        except TimeoutError:
            raise NodeLate("did not answer in time") from None
    except NodeError as error:
        return Answer(report=failed(node, started, error))
    found = bool(said.results or said.detail)
    report = Report(
        node=node.id,
        kind=node.kind,
        state="answered" if found else "empty",
        took_ms=elapsed_ms(started),
        results=len(said.results),
        fault=said.fault,
        detail=said.detail,
    )
    return Answer(
        report=report,
        results=said.results,
        behind=said.behind,
        digest=said.digest,
        modalities=said.modalities,
        gateway=said.gateway,
        signed=said.signed,
    )


async def all_of(calls: Iterable[Awaitable[T]]) -> list[T]:
    """Await calls side by side. The first failing one, in their order, is raised when all have ended."""
    results = []
    for result in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
        results.append(result)
    return results


async def ping_of(node: Node, calling: Awaitable[bytes]) -> Report:
    """Whether the node answers this call, and how long it took."""
    started = time.monotonic()
    try:
        await calling
    except NodeError as error:
        return failed(node, started, error)
    return Report(node=node.id, kind=node.kind, state="answered", took_ms=elapsed_ms(started))


def failed(node: Node, started: float, error: NodeError) -> Report:
    """The report of a node that gave no usable answer; ``error.state`` is one of the states."""
    return Report(
        node=node.id,
        kind=node.kind,
        state=cast("State", error.state),
        took_ms=elapsed_ms(started),
        fault="node",
        detail=error.detail,
    )


def elapsed_ms(started: float) -> int:
    """Milliseconds since a ``time.monotonic()``."""
    return round((time.monotonic() - started) * 1000)


def bearer(token: str) -> dict[str, str]:
    """The header that carries an access token; none without a token."""
    return {"Authorization": f"Bearer {token}"} if token else {}


def heard(
    results: list[Result],
    digest: bytes,
    unreadable: list[str],
    what: str,
    modalities: tuple[tuple[str, str], ...] = (),
) -> Heard:
    """What one node said: the newest of its results, and in words what was left out, by its places."""
    details = []
    if unreadable:
        named = ", ".join(unreadable[:5]) + (" …" if len(unreadable) > 5 else "")
        details.append(f"{len(unreadable)} {what} could not be read: {named}")
    if len(results) > MOST:
        details.append(f"{len(results)} results, of which the {MOST} newest were kept")
        results = sorted(results, key=_newest_first)[:MOST]
    return Heard(
        results=tuple(sorted(results, key=lambda result: result.id)),
        digest=digest,
        fault="node" if details else "",
        detail="; ".join(details),
        modalities=modalities,
    )


def _newest_first(result: Result) -> tuple[float, str]:
    when = result.performed or result.reported
    return (-when.timestamp() if when else math.inf), result.id


def in_reach(result: Result, question: Question) -> bool:
    """Whether the result is of the time that was asked for; one without any time is kept."""
    times = [moment for moment in (result.performed, result.reported) if moment]
    return not times or max(times) >= question.since
