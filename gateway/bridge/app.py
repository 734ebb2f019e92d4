"""The DICOMweb server in front of a DIMSE archive: QIDO-RS, WADO-RS without rendering, STOW-RS.

Instances leave as the archive gives them, while it gives them: the first is on its way to the caller before
the second is there. What cannot be given whole is cut off, and never looks whole. The bridge is meant for
loopback or the archive's own network; where it listens elsewhere, it asks for a token.
"""

from __future__ import annotations

import asyncio
import errno
import hmac
import mmap
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from tempfile import TemporaryFile
from typing import TypeVar

import msgspec
from pydicom.dataset import Dataset
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from adapters.errors import NodeError, NodeLate
from gateway.body import BadBody
from gateway.bridge import answers
from gateway.bridge.associations import ECHO, QUERY, Associations, offers
from gateway.bridge.finding import SUCCESS, find
from gateway.bridge.retrieving import Retrieving
from gateway.bridge.searching import Search
from gateway.bridge.storing import store
from gateway.bridge.transfer import Transfer
from gateway.bridge.values import Archive, Arrived, Wanted
from gateway.errors import (
    BadParameter,
    Failure,
    GatewayError,
    NotAcceptable,
    NotAuthenticated,
    NotFound,
    Overloaded,
    failure_of,
)
from gateway.faces.common import Guard, render
from gateway.imaging.accept import DICOM, JSON, Media, accepted
from gateway.imaging.addresses import FACE, asked_of
from gateway.imaging.outcomes import told
from gateway.imaging.parts import bulk_of, frames_of
from gateway.imaging.parts_in import Parts, boundary_of
from gateway.imaging.storing import examined
from gateway.imaging.values import Level
from gateway.log import Log
from quality.record import DICOM_UID

T = TypeVar("T")
Make = Callable[[Transfer, Arrived], Awaitable[Response | tuple[answers.Pieces, str]]]

STORED, STORED_BYTES = 10_000, 4 * 1024**3
"""Instances of one request that stores, and its bytes."""


class _Bridge:
    """The interactions. Retrievals and stores have threads of their own, so that queries do not wait for
    them, and turns, so that nobody waits for them for ever."""

    def __init__(self, archive: Archive, log: Log) -> None:
        self._archive = archive
        self._log = log
        self._associations = Associations(archive)
        self._retrieving = Retrieving(self._associations)
        self._queries = ThreadPoolExecutor(archive.associations, thread_name_prefix="bridge-query")
        self._transfers = ThreadPoolExecutor(archive.associations, thread_name_prefix="bridge-transfer")
        self._turns = asyncio.Semaphore(archive.associations)

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        if self._archive.move_port:
            self._retrieving.listen()
        yield
        await asyncio.to_thread(self._close)

    async def live(self, _: Request) -> Response:
        return Response(b'{"status":"ok"}', media_type="application/json")

    async def ready(self, request: Request) -> Response:
        """Whether the archive answers a C-ECHO."""
        if not await answers.unless_gone(request.receive, self._ask(self._echo)):
            raise NodeLate("did not answer a C-ECHO")
        return Response(b'{"status":"ok"}', media_type="application/json")

    async def search(self, request: Request) -> Response:
        level: Level = request.scope["path"].rpartition("/")[2]
        pairs, base = request.query_params.multi_items(), _base(request)
        search = Search(level, pairs, _uids(request), self._find, self._archive, base)
        return answers.listed(await answers.unless_gone(request.receive, search.run()))

    async def retrieve(self, request: Request) -> Response:
        """Instances, each a part (one alone may go without), metadata, frames or a bulk value."""
        asked = asked_of(FACE + request.scope["path"], request.scope["query_string"], _accept(request))
        if asked is None or asked.resource in ("rendered", "thumbnail"):
            raise NotFound("nothing is rendered by this bridge")
        taken = accepted(asked.resource, asked.accept, one=asked.one)
        wanted = Wanted(*asked.below.split("/")[1:6:2])
        base, patience = _base(request), self._archive.progress_s

        async def made(transfer: Transfer, first: Arrived) -> Response | tuple[answers.Pieces, str]:
            match asked.resource:
                case "metadata":
                    return answers.metadata(transfer, first, base, patience), JSON
                case "frames":
                    return await answers.frames(first, lambda file: frames_of(file, asked.frames), taken)
                case "bulk":
                    path = asked.below.partition("/bulkdata/")[2]
                    return await answers.frames(first, lambda file: (bulk_of(file, path),), taken)
            if answers.held_to(taken, "an instance", DICOM, first.syntax) and asked.one:
                return answers.alone(transfer, first, patience), DICOM
            boundary = answers.new_boundary()
            pieces = answers.parts(transfer, first, taken, boundary, patience)
            return pieces, answers.related(DICOM, boundary)

        if asked.resource == "metadata" and not taken.takes(Media("", JSON)):
            raise NotAcceptable(f"metadata is given as {JSON} here", field="Accept")
        if asked.resource == "bulk" and not (wanted.instance and "/bulkdata/" in asked.below):
            raise NotFound("there is nothing at this address")
        return await self._retrieved(request, wanted, made)

    async def store(self, request: Request) -> Response:
        """Instances into the archive, of one study where the address names it."""
        study, size = next(iter(_uids(request)), ""), 0
        await self._turn()
        try:
            with TemporaryFile(prefix="lianren-bridge-") as file:
                boundary = boundary_of(request.headers.get("Content-Type", ""))
                parts = Parts(boundary, file.write, most_parts=STORED, most_bytes=STORED_BYTES)
                async for piece in request.stream():
                    size += len(piece)
                    if size > STORED_BYTES:
                        raise BadBody("body", f"more than {STORED_BYTES} bytes", "send less at once", 413)
                    parts.feed(piece)
                parts.end()
                file.flush()
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            good, refused = await asyncio.to_thread(examined, data, parts.spans, STORED_BYTES, study)
            work = partial(store, self._associations, data, good)
            kept = await asyncio.get_running_loop().run_in_executor(self._transfers, work)
        except ClientDisconnect:
            raise BadBody("body", "ended before its end", "send it again", 400) from None
        finally:
            self._turns.release()
        answered = told(_base(request), good, kept, refused)
        return Response(msgspec.json.encode(answered.dataset), answered.status, media_type=JSON)

    async def refuse(self, request: Request, wrong: Exception) -> Response:
        """What the archive did, as a refusal: 504 where it is late, else 502."""
        assert isinstance(wrong, NodeError)  # noqa: S101 - Starlette hands over what is registered
        self._note(wrong)
        failure = failure_of(wrong)
        named = Failure(failure.row, f"the archive {wrong.detail}")
        response = render(named, request.scope["path"], request.scope["state"]["request_id"])
        if isinstance(wrong, NodeLate):
            response.status_code = 504
        return response

    async def full(self, guard: Guard, request: Request, wrong: Exception) -> Response:
        """A disk without room as 503, and what else the system says as what it is."""
        if isinstance(wrong, OSError) and wrong.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            wrong = Overloaded("the bridge has no room for instances (TMPDIR); ask again later")
        return await guard.handle(request, wrong)

    async def _retrieved(self, request: Request, wanted: Wanted, make: Make) -> Response:
        """What ``make`` makes of a retrieval once its first instance is there."""
        await answers.unless_gone(request.receive, self._turn())
        ends = AsyncExitStack()
        ends.callback(self._turns.release)
        try:
            transfer = Transfer(wanted, self._archive.spool_bytes)
            future = self._transfers.submit(self._retrieving.run, transfer)
            ends.push_async_callback(asyncio.to_thread, self._retrieving.stop, transfer)
            ends.callback(future.cancel)
            coming = transfer.next(self._archive.progress_s)
            first = await answers.unless_gone(request.receive, coming)
            if first is None:
                raise NotFound("the archive has no such study, series or instance")
            made = await make(transfer, first)
        except BaseException:
            await asyncio.shield(ends.aclose())
            raise
        if isinstance(made, Response):
            await asyncio.shield(ends.aclose())
            return made
        return answers.Streamed(*made, ends.aclose, self._note)

    async def _turn(self) -> None:
        """Wait for a turn, which is to be released. Raises Overloaded."""
        try:
            async with asyncio.timeout(self._archive.progress_s):
                await self._turns.acquire()
        except TimeoutError:
            raise Overloaded("as many transfers as --associations says are under way; ask again") from None

    async def _find(self, identifier: Dataset) -> tuple[list[Dataset], bool]:
        stop = threading.Event()
        try:
            return await self._ask(partial(find, self._associations, identifier, self._archive.most, stop))
        finally:
            stop.set()

    async def _ask(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._queries, work)

    def _note(self, wrong: NodeError) -> None:
        self._log("node_failed", node=self._archive.title, state=wrong.state, detail=wrong.detail)

    def _echo(self) -> bool:
        with self._associations.lent(QUERY) as (association, _):
            offers(association, ECHO, "C-ECHO")
            status = association.send_c_echo().get("Status")
            return bool(status == SUCCESS)

    def _close(self) -> None:
        self._retrieving.close()
        self._associations.close()
        self._queries.shutdown(cancel_futures=True)
        self._transfers.shutdown(cancel_futures=True)


def create_bridge(archive: Archive, log: Log, token: str = "") -> ASGIApp:
    """The ASGI application of a bridge to ``archive``; every call but ``/health`` needs the token, if any.

    It fails to start (OSError) where the port for C-MOVE cannot be had.
    """
    bridge = _Bridge(archive, log)
    study, series = "/studies/{study}", "/studies/{study}/series/{series}"
    searches = (
        "/studies",
        "/series",
        "/instances",
        study + "/series",
        study + "/instances",
        series + "/instances",
    )
    routes = [
        Route("/health/live", bridge.live),
        Route("/health/ready", bridge.ready),
        Route("/studies", bridge.store, methods=["POST"]),
        Route(study, bridge.store, methods=["POST"]),
        *(Route(path, bridge.search) for path in searches),
        Route("/studies/{below:path}", bridge.retrieve),
    ]
    app = Starlette(routes=routes, lifespan=bridge.lifespan)
    guard = Guard(_Door(app, token) if token else app, log, explained=True)
    for kind in (BadBody, GatewayError, HTTPException, Exception):
        app.add_exception_handler(kind, guard.handle)
    app.add_exception_handler(NodeError, bridge.refuse)
    app.add_exception_handler(OSError, partial(bridge.full, guard))
    return guard


class _Door:
    """Pure ASGI: lets nobody in without the token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._held = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not scope["path"].startswith("/health/"):
            sent = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(sent, self._held):
                raise NotAuthenticated("send this bridge's token, as Authorization: Bearer")
        await self._app(scope, receive, send)


def _uids(request: Request) -> list[str]:
    """The UIDs of the address, from the study down."""
    uids = [request.path_params[name] for name in ("study", "series") if name in request.path_params]
    if not all(DICOM_UID.fullmatch(uid) for uid in uids):
        raise BadParameter(
            "no UID: digits in groups with dots between them, at most 64 characters", field="address"
        )
    return uids


def _accept(request: Request) -> str:
    return request.headers.get("Accept", "")


def _base(request: Request) -> str:
    return str(request.base_url).rstrip("/")
