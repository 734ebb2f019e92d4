"""What every kind of node does alike: keep to the budget, time the answer, turn errors into states."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Iterable, Sequence
from typing import TypeVar, cast

from msgspec import Struct

from adapters.errors import NodeError, NodeLate
from adapters.node import Answer, Copy, Fault, Listed, Match, Node, Question, Report, State
from quality.headers import Header
from recognition import Result
from security.http_signature import SignedAnswer

T = TypeVar("T")

MOST = 500
"""How many results of one node are looked at."""


class Heard(Struct, frozen=True, kw_only=True):
    """What a node said when it could be heard."""

    results: tuple[Result, ...] = ()
    matches: tuple[Match, ...] = ()
    listed: tuple[Listed, ...] = ()
    copy: Copy | None = None
    admits: str = ""
    behind: tuple[Report, ...] = ()
    digest: bytes = b""
    fault: Fault = ""
    detail: str = ""
    modalities: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, Header], ...] = ()
    gateway: str = ""
    signed: SignedAnswer | None = None


async def answer_of(node: Node, question: Question, seconds: float, asking: Awaitable[Heard]) -> Answer:
    """Await ``asking`` within the node's ``seconds`` and the question's budget, and for its patience after
    these; errors become states."""
    started = time.monotonic()
    try:
        try:
            async with asyncio.timeout(min(seconds, question.budget) + question.patience):
                said = await asking
        except TimeoutError:
            raise NodeLate("did not answer in time") from None
    except NodeError as error:
        return Answer(report=failed(node, started, error))
    found = bool(said.results or said.matches or said.listed or said.copy or said.detail)
    report = Report(
        node=node.id,
        kind=node.kind,
        state="answered" if found else "empty",
        took_ms=elapsed_ms(started),
        results=len(said.results) + len(said.matches) + len(said.listed) + (said.copy is not None),
        fault=said.fault,
        detail=said.detail,
    )
    return Answer(
        report=report,
        results=said.results,
        matches=said.matches,
        listed=said.listed,
        copy=said.copy,
        admits=said.admits,
        behind=said.behind,
        digest=said.digest,
        modalities=said.modalities,
        headers=said.headers,
        gateway=said.gateway,
        signed=said.signed,
    )


async def all_of(calls: Iterable[Awaitable[T]]) -> list[T]:
    """Await calls side by side. The first failing one, in their order, is raised when all have ended."""
    asked = list(calls)
    if len(asked) == 1:
        return [await asked[0]]
    results = []
    for result in await asyncio.gather(*asked, return_exceptions=True):
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
    unreadable: Sequence[str],
    what: str,
    modalities: tuple[tuple[str, str], ...] = (),
    past: Sequence[str] = (),
) -> Heard:
    """What one node said: the newest of its results, and in words what was left out, by its places."""
    details = left_out(what, unreadable, past)
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


def left_out(what: str, unreadable: Sequence[str], past: Sequence[str]) -> list[str]:
    """What of an answer is not shown, in words: the number and the first places."""
    told = ((unreadable, "could not be read"), (past, "lie outside the period asked for"))
    return [
        f"{len(places)} {what} {why}: {', '.join(places[:5])}{' …' if len(places) > 5 else ''}"
        for places, why in told
        if places
    ]


def _newest_first(result: Result) -> tuple[float, str]:
    when = result.performed or result.reported
    return (-when.timestamp() if when else math.inf), result.id


def in_reach(result: Result, question: Question) -> bool:
    """Whether the result is of the time that was asked for; one without any time is kept."""
    times = [moment for moment in (result.performed, result.reported) if moment]
    return not times or max(times) >= question.since
