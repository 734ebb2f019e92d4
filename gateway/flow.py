"""Flow control, pure ASGI, inside of the Guard: how many requests are worked on, how many may wait, the end.

One process works on ``in_flight`` requests at a time and keeps ``waiting`` more; whatever comes on top is
refused with 503 before it costs memory. What a doctor waits for (:data:`ORDER_TIME`) goes before everything
else, in three ways: it takes the next turn that is free, background work never has more than half of the
turns, and where all places are taken the youngest background request gives its place up. One turn in sixteen
is for background work alone: a consent is revoked, a mark withdrawn, on the busiest of days. Nobody waits
longer than its kind has use for, nor once its caller has hung up (:class:`gateway.serving.Bounded`). Health
and metrics pass always.

Images on their way take long, and a slow viewer keeps one for minutes: they have ``streams`` turns of their
own, and never one of the others'.

When the process is told to stop, :meth:`Flow.drain` refuses what is new and asks callers to close their
connections, while everything that was taken in is still answered.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from typing import Any, Literal, get_args

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.errors import GatewayError, Overloaded, Stopping, failure_of
from gateway.faces.common import render
from gateway.log import Log
from gateway.metrics import Metrics

Urgency = Literal["order", "background", "image"]
URGENCIES: tuple[Urgency, ...] = get_args(Urgency)

ORDER_TIME = (
    "/api/v1/checks",
    "/api/v1/decisions",
    "/api/v1/reminders",
    "/api/v1/results",
    "/api/v1/viewings",
    "/cds-services",
    "/fhir/ServiceRequest/$check-recognition",
    "/oauth/token",
    "/trust/",
    "/witness/",
)
"""Where addresses begin that a doctor waits for: checks, other gateways' questions, and what these need."""
IMAGES = "/dicomweb/"
"""Where addresses of images begin."""
OPEN = ("/health/", "/metrics")
"""What passes always: whoever looks after a gateway at its limit must see it."""
TELL_S = 1.0
"""How often the log says at most that requests are refused."""

_LIST = re.compile(r"/(studies|series|instances)/?$")  # of QIDO-RS: short, like other searches
_WAITED: ContextVar[float] = ContextVar("waited", default=0.0)


def waited_s() -> float:
    """Seconds that the request at hand waited, mostly for its turn: they are gone from its deadline."""
    return _WAITED.get()


def spent(seconds: float) -> None:
    """The request at hand spent so many seconds more before its question: they are gone from its deadline."""
    _WAITED.set(_WAITED.get() + seconds)


def urgency_of(path: str, method: str = "GET") -> Urgency:
    """Whether somebody waits for this at order time, and whether it is images on their way: those that are
    stored, too, and no list of them."""
    if path.startswith(IMAGES) and (method == "POST" or not _LIST.search(path)):
        return "image"
    return "order" if path.startswith(ORDER_TIME) else "background"


class Flow:
    """Lets requests through to ``app``, so many at a time.

    Args:
        in_flight: requests worked on at a time.
        streams: images on their way at a time, besides those.
        waiting: requests that may wait for their turn.
        patience: seconds that a request of each urgency waits at most.
        log: is told, once in a while, how many were refused.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        in_flight: int,
        streams: int = 128,
        waiting: int,
        patience: dict[Urgency, float],
        log: Log,
    ) -> None:
        self._app = app
        self._turns = in_flight
        self._limits: dict[Urgency, int] = {
            "order": in_flight - in_flight // 16,
            "background": max(1, in_flight // 2),
            "image": streams,
        }
        self._places = waiting
        self._patience = patience
        self._log = log
        self._running: dict[Urgency, int] = dict.fromkeys(URGENCIES, 0)
        self._queues: dict[Urgency, dict[asyncio.Future[None], None]] = {each: {} for each in URGENCIES}
        self._metrics: Metrics | None = None
        self._refused = 0
        self._told = 0.0
        self._over = asyncio.Event()
        self.stopping = False

    def observe(self, metrics: Metrics) -> None:
        """Show in these metrics what is in flight, what waits, and what is refused."""
        self._metrics = metrics
        for urgency in URGENCIES:
            metrics.in_flight.labels(urgency).set_function(partial(self._running.__getitem__, urgency))
            metrics.waiting.labels(urgency).set_function(partial(len, self._queues[urgency]))
            metrics.shed.labels(urgency)

    @property
    def busy(self) -> int:
        """How many requests are worked on or wait."""
        return sum(self._running.values()) + sum(map(len, self._queues.values()))

    async def drain(self, seconds: float) -> int:
        """Take nothing new, and return when all that was taken in has ended, or after so many seconds: how
        many requests are left then."""
        self.stopping = True
        if self.busy:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), seconds)
        return self.busy

    def hurry(self) -> None:
        """Wait for nothing any more."""
        self._over.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or scope["path"].startswith(OPEN):
            await self._app(scope, receive, send)
            return
        urgency = urgency_of(scope["path"], scope["method"])
        try:
            await self._turn(urgency, scope)
        except (Overloaded, Stopping) as refused:
            await self._refuse(refused, urgency, scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            if not self.stopping or "status" in scope["state"]:
                raise
            await self._refuse(_stopping(), urgency, scope, receive, send)  # the server gave it up
        finally:
            self._leave(urgency)

    async def _turn(self, urgency: Urgency, scope: Scope) -> None:
        """Return when it is this request's turn, which it then has until it leaves."""
        if self.stopping:
            raise _stopping()
        if self._free(urgency):
            self._running[urgency] += 1
            _WAITED.set(0.0)  # a connection may hand the context of one request on to the next
            return
        if sum(map(len, self._queues.values())) >= self._places:
            behind = self._queues["background"]
            if urgency != "order" or not behind:
                raise _overloaded()
            youngest = behind.popitem()[0]
            if not youngest.done():
                youngest.set_exception(_overloaded())
        loop = asyncio.get_running_loop()
        began = loop.time()
        turn: asyncio.Future[None] = loop.create_future()
        self._queues[urgency][turn] = None
        waited_enough = loop.call_later(self._patience[urgency], self._give_up, urgency, turn)
        state: dict[str, Any] = scope["state"]
        state["gone"] = turn.cancel
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._queues[urgency].pop(turn, None)
            elif turn.exception() is None:  # it was this request's turn already
                self._leave(urgency)
            raise
        finally:
            waited_enough.cancel()
            del state["gone"]
        _WAITED.set(loop.time() - began)

    def _free(self, urgency: Urgency) -> bool:
        running = self._running
        together = running["order"] + running["background"]
        return running[urgency] < self._limits[urgency] and (urgency == "image" or together < self._turns)

    def _leave(self, urgency: Urgency) -> None:
        """A request has ended: the next ones have their turns."""
        self._running[urgency] -= 1
        for each, queue in self._queues.items():
            while queue and self._free(each):
                turn = next(iter(queue))
                del queue[turn]
                if not turn.done():
                    self._running[each] += 1
                    turn.set_result(None)
        if self.stopping and not self.busy:
            self._over.set()

    def _give_up(self, urgency: Urgency, turn: asyncio.Future[None]) -> None:
        if not turn.done():
            self._queues[urgency].pop(turn, None)
            turn.set_exception(_overloaded())

    async def _refuse(
        self, refused: GatewayError, urgency: Urgency, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer in the face's shape. The log is told sums: a line each would cost more than the refusal."""
        failure = failure_of(refused)
        if self._metrics:
            if isinstance(refused, Overloaded):  # the end of a process is no alarm
                self._metrics.shed.labels(urgency).inc()
            self._metrics.refusals.labels(failure.row.code).inc()
        self._refused += 1
        now = asyncio.get_running_loop().time()
        if now >= self._told + TELL_S:
            self._log("requests_shed", refused=self._refused, in_flight=sum(self._running.values()))
            self._refused, self._told = 0, now
        later = {"Retry-After": "1" if urgency == "order" else "5"}
        if self.stopping:
            later["Connection"] = "close"
        response = render(failure, scope["path"], scope["state"]["request_id"], later)
        await response(scope, receive, send)


def _stopping() -> Stopping:
    return Stopping("this gateway is being stopped; ask again with the same request id, another one answers")


def _overloaded() -> Overloaded:
    return Overloaded("this gateway has as many requests as it can hold; go on as without it, and ask again")
