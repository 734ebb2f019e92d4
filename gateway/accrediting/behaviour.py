"""How a node behaves: towards errors, slow and many clients, clients that leave; its clock and its speed."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from adapters import Line, NodeFaulty, NodeRefused, NodeUnreachable
from adapters.transport.terms import Origin
from gateway.accrediting.kit import Kit, Seen, passed, unless
from gateway.accrediting.values import Latency, State
from gateway.nodes import authorization_of, line_of, tls_of

SLOW_S = 1.5
"""How long a slow client takes to send its request, and again to read the answer."""
DRIFT = timedelta(seconds=5), timedelta(seconds=60)
"""By how much a clock may differ, and from where on times are wrong."""
_PIECES = 10
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d{1,15})\r\n", re.IGNORECASE)


async def refused(ask: Callable[[], Awaitable[object]], otherwise: State) -> Seen:
    """Whether it refuses (4xx); a failure of its own is to be fixed, an answer is ``otherwise``."""
    try:
        await ask()
    except NodeRefused as said:
        return passed(said.detail)
    except NodeFaulty as said:
        return Seen("fix", said.detail)
    return Seen(otherwise, "it answered")


def refuses(path: str, accept: str, otherwise: State) -> Callable[[Kit], Awaitable[Seen]]:
    """Whether it refuses a path that leads to nothing."""
    return lambda kit: refused(lambda: kit.line.get_json(path, accept=accept), otherwise)


async def wrong_token(kit: Kit, ask: Callable[[Line], Awaitable[object]]) -> Seen:
    """Credentials that are wrong; one that needs none is advised to ask for some."""
    line = line_of(kit.settings, {"Authorization": "Bearer lianren-wrong-token"})
    try:
        await ask(line)
    except NodeRefused as said:
        return passed(said.detail)
    finally:
        await line.aclose()
    if kit.settings.certificate_file:
        return Seen("not_made", "client certificate")  # whether it asks for that cannot be seen
    has = kit.settings.token_file or kit.settings.password_file
    return Seen("fix" if has else "advice", "it answered")


def clock(path: str) -> Callable[[Kit], Awaitable[Seen]]:
    """Its Date header (RFC 9110 section 6.6.1) beside this machine's clock."""

    async def look(kit: Kit) -> Seen:
        reply = await kit.line.exchange("GET", path)
        if not (date := reply.headers.get("date")):
            return Seen("not_made", "no Date")
        try:
            apart = parsedate_to_datetime(date) - datetime.now(UTC)
        except (TypeError, ValueError):
            return Seen("fix", "its Date is no time")
        wrong = sum(abs(apart) > limit for limit in DRIFT)
        return Seen(("passed", "advice", "fix")[wrong], f"{apart.total_seconds():+.0f} s")

    return look


def slow_client(path: str, accept: str) -> Callable[[Kit], Awaitable[Seen]]:
    """A request in small pieces, and an answer that is read as slowly."""

    async def look(kit: Kit) -> Seen:
        if kit.settings.proxy:
            return Seen("not_made", "proxy")
        status = await _slowly(kit, path, accept)
        return Seen("passed" if status == 200 else "fix", f"status {status}" if status else "cut off")

    return look


async def _slowly(kit: Kit, path: str, accept: str) -> int:
    """The status of a whole answer; 0 where the connection ended before."""
    origin = Origin.of(kit.line.base_url)
    context = tls_of(kit.settings).context() if origin.scheme == "https" else None
    request = (
        f"GET {urlsplit(kit.line.base_url).path}/{path} HTTP/1.1\r\nHost: {origin.host_header}\r\n"
        f"Accept: {accept}\r\nX-Padding: {'x' * 200}\r\nConnection: close\r\n"
        + "".join(f"{name}: {value}\r\n" for name, value in authorization_of(kit.settings).items())
        + "\r\n"
    ).encode()
    try:
        connecting = asyncio.open_connection(origin.host, origin.port, ssl=context)
        reader, writer = await asyncio.wait_for(connecting, 10)
    except (OSError, TimeoutError):
        raise NodeUnreachable("no connection") from None
    try:
        step = math.ceil(len(request) / _PIECES)
        for start in range(0, len(request), step):
            writer.write(request[start : start + step])
            await writer.drain()
            await asyncio.sleep(SLOW_S / _PIECES)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        await asyncio.sleep(SLOW_S)
        body = await asyncio.wait_for(reader.read(), 30)
    except (OSError, EOFError, asyncio.LimitOverrunError, TimeoutError):
        return 0
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    status, length = head.partition(b" ")[2][:3], _LENGTH.search(head)
    whole = length is None or int(length[1]) == len(body)
    return int(status) if status.isdigit() and whole else 0


async def many_clients(kit: Kit) -> Seen:
    """Twice as many questions at once as a gateway asks, about different patients: each gets its answer."""
    alone = [{result.id for result in answer.results} for answer in await kit.shown()]
    questions = 2 * kit.settings.connections
    asked = [number % len(alone) for number in range(questions)]
    answers = await asyncio.gather(
        *(kit.node.prior(kit.question(kit.patients.known[number].person)) for number in asked)
    )
    wrong = []
    for number, answer in zip(asked, answers, strict=True):
        if answer.report.state not in ("answered", "empty"):
            wrong.append(f"{answer.report.state}: {answer.report.detail}")
        elif {result.id for result in answer.results} != alone[number]:
            wrong.append(f"patient {number + 1}: another answer than alone")
    return unless(wrong, questions)


async def leaving_client(kit: Kit) -> Seen:
    """Clients that go away in the middle of their question."""
    person = kit.patients.known[0].person
    for wait in (0.0, 0.002, 0.005, 0.01, 0.02):
        leaving = asyncio.create_task(kit.node.prior(kit.question(person)))
        await asyncio.sleep(wait)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
    report = (await kit.node.prior(kit.question(person))).report
    gone = report.state in ("late", "unreachable")
    return Seen("fix", f"{report.state}: {report.detail}") if gone else passed()


async def latency(kit: Kit, questions: int) -> tuple[Seen, Latency]:
    """Whole questions, one after another, about every patient in turn."""
    took = []
    for number in range(questions):
        patient = kit.patients.known[number % len(kit.patients.known)]
        started = time.perf_counter()
        await kit.node.prior(kit.question(patient.person))
        took.append((time.perf_counter() - started) * 1000)
    limit = kit.settings.timeout_ms
    p50, p95, p99 = (_percentile(took, share) for share in (0.5, 0.95, 0.99))
    measured = Latency(
        questions=questions, p50_ms=p50, p95_ms=p95, p99_ms=p99, most_ms=round(max(took), 1), limit_ms=limit
    )
    return Seen("passed" if p95 <= limit else "fix", f"p95 {p95:g} ms, timeout_ms {limit}"), measured


def _percentile(values: Sequence[float], share: float) -> float:
    """The nearest rank."""
    ordered = sorted(values)
    return round(ordered[max(math.ceil(share * len(ordered)) - 1, 0)], 1)
