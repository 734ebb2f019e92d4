"""The DICOMweb server in front of a DIMSE archive: QIDO-RS, WADO-RS without rendering, STOW-RS.

Instances leave as the archive gives them, while it gives them: the first is on its way to the caller before
the second is there. What cannot be given whole is cut off, and never looks whole. The bridge is meant for
loopback or the archive's own network; where it listens elsewhere, it asks for a token.
"""

from __future__ import annotations

import asyncio
import hmac
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from tempfile import TemporaryFile
from typing import TypeVar

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
    failure_of,
)
from gateway.faces.common import Guard, render
from gateway.imaging.accept import DICOM, JSON, Accepted, Media, Resource, accepted
from gateway.imaging.parts import Frame, bulk_of, frames_of
from gateway.imaging.parts_in import Parts, boundary_of
from gateway.imaging.values import Level
from gateway.log import Log
from quality.record import DICOM_UID

T = TypeVar("T")
Make = Callable[[Transfer, Arrived], tuple[answers.Pieces, str]]

FRAMES = 1000
"""Frames of one request."""
STORED, STORED_BYTES = 10_000, 4 * 1024**3
"""Instances of one request, and bytes of one of them."""


class _Bridge:
    """The interactions. Retrievals have threads of their own, so that queries do not wait for them."""

    def __init__(self, archive: Archive, log: Log) -> None:
        self._archive = archive
        self._log = log
        self._associations = Associations(archive)
        self._retrieving = Retrieving(self._associations)
        self._queries = ThreadPoolExecutor(archive.associations, thread_name_prefix="bridge-query")
        self._retrievals = ThreadPoolExecutor(archive.associations, thread_name_prefix="bridge-retrieve")

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        if self._archive.move_port:
            self._retrieving.listen()
        yield
        await asyncio.to_thread(self._close)

    async def live(self, _: Request) -> Response:
        return Response(b'{"status":"ok"}', media_type="application/json")

    async def ready(self, _: Request) -> Response:
        """Whether the archive answers a C-ECHO."""
        if not await self._ask(self._echo):
            raise NodeLate("did not answer a C-ECHO")
        return Response(b'{"status":"ok"}', media_type="application/json")

    async def search(self, request: Request) -> Response:
        level: Level = request.scope["path"].rpartition("/")[2]
        pairs, base = request.query_params.multi_items(), _base(request)
        search = Search(level, pairs, _uids(request), self._find, self._archive.charset, base)
        return answers.listed(await answers.unless_gone(request.receive, search.run()))

    async def instances(self, request: Request) -> Response:
        """A study, a series or an instance, each instance a part; one alone may go without."""
        wanted = _wanted(request)
        taken = accepted(_resource(wanted), _accept(request), one=bool(wanted.instance))
        patience, boundary = self._archive.progress_s, answers.new_boundary()

        def make(transfer: Transfer, first: Arrived) -> tuple[answers.Pieces, str]:
            if answers.held_to(taken, "an instance", DICOM, first.syntax) and wanted.instance:
                return answers.alone(transfer, first, patience), DICOM
            pieces = answers.parts(transfer, first, taken, boundary, patience)
            return pieces, answers.related(DICOM, boundary)

        return await self._retrieved(request, wanted, make)

    async def metadata(self, request: Request) -> Response:
        if not accepted("metadata", _accept(request)).takes(Media("", JSON)):
            raise NotAcceptable(f"metadata is given as {JSON} here", field="Accept")
        base, patience = _base(request), self._archive.progress_s
        return await self._retrieved(
            request,
            _wanted(request),
            lambda transfer, first: (answers.metadata(transfer, first, base, patience), JSON),
        )

    async def frames(self, request: Request) -> Response:
        texts = request.path_params["frames"].split(",")
        if len(texts) > FRAMES or not all(one.isascii() and one.isdigit() and len(one) < 10 for one in texts):
            raise BadParameter(f"write at most {FRAMES} numbers with commas between them", field="frames")
        numbers = [int(one) for one in texts]
        taken = accepted("frames", _accept(request), one=len(numbers) == 1)
        return await self._taken_apart(request, taken, lambda file: frames_of(file, numbers))

    async def bulk(self, request: Request) -> Response:
        taken = accepted("bulk", _accept(request))
        path = request.path_params["path"]
        return await self._taken_apart(request, taken, lambda file: (bulk_of(file, path),))

    async def store(self, request: Request) -> Response:
        """Instances into the archive, of one study where the address names it."""
        study = next(iter(_uids(request)), "")
        with TemporaryFile(prefix="lianren-bridge-") as file:
            boundary = boundary_of(request.headers.get("Content-Type", ""))
            parts = Parts(boundary, file.write, most_parts=STORED, most_bytes=STORED_BYTES)
            try:
                async for piece in request.stream():
                    parts.feed(piece)
            except ClientDisconnect:
                raise BadBody("body", "ended before its end", "send it again", 400) from None
            parts.end()
            done = await self._ask(partial(store, self._associations, file, parts.spans, study))
        return answers.stored(done, _base(request))

    async def refuse(self, request: Request, wrong: Exception) -> Response:
        """What the archive did, as a refusal: 504 where it is late, else 502."""
        assert isinstance(wrong, NodeError)  # noqa: S101 - Starlette hands over what is registered
        self._note(wrong)
        failure = failure_of(wrong)
        told = Failure(failure.row, f"the archive {wrong.detail}")
        response = render(told, request.scope["path"], request.scope["state"]["request_id"])
        if isinstance(wrong, NodeLate):
            response.status_code = 504
        return response

    async def _retrieved(self, request: Request, wanted: Wanted, make: Make) -> Response:
        """What ``make`` makes of a retrieval once its first instance is there."""
        transfer, end = self._begin(wanted)
        try:
            first = await self._first(request, transfer)
            pieces, media_type = make(transfer, first)
        except BaseException:
            await asyncio.shield(end())
            raise
        return answers.Streamed(pieces, media_type, end, self._note)

    async def _taken_apart(
        self, request: Request, taken: Accepted, read: Callable[[bytes], tuple[Frame, ...]]
    ) -> Response:
        """Something of one instance."""
        transfer, end = self._begin(_wanted(request))
        try:
            return answers.frames(read(answers.whole(await self._first(request, transfer))), taken)
        finally:
            await asyncio.shield(end())

    def _begin(self, wanted: Wanted) -> tuple[Transfer, answers.End]:
        """Have the archive asked, and how that is ended."""
        transfer = Transfer(wanted, self._archive.spool_bytes)
        future = self._retrievals.submit(self._retrieving.run, transfer)

        async def end() -> None:
            future.cancel()
            await asyncio.to_thread(self._retrieving.stop, transfer)

        return transfer, end

    async def _first(self, request: Request, transfer: Transfer) -> Arrived:
        coming = transfer.next(self._archive.progress_s)
        first = await answers.unless_gone(request.receive, coming)
        if first is None:
            raise NotFound("the archive has no such study, series or instance")
        return first

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
        self._retrievals.shutdown(cancel_futures=True)


def create_bridge(archive: Archive, log: Log, token: str = "") -> ASGIApp:
    """The ASGI application of a bridge to ``archive``; every call but ``/health`` needs the token, if any.

    It fails to start (OSError) where the port for C-MOVE cannot be had.
    """
    bridge = _Bridge(archive, log)
    study, series = "/studies/{study}", "/studies/{study}/series/{series}"
    instance = series + "/instances/{instance}"
    searches = (
        "/studies",
        "/series",
        "/instances",
        study + "/series",
        study + "/instances",
        series + "/instances",
    )
    wanted = (study, series, instance)
    routes = [
        Route("/health/live", bridge.live),
        Route("/health/ready", bridge.ready),
        Route("/studies", bridge.store, methods=["POST"]),
        Route(study, bridge.store, methods=["POST"]),
        *(Route(path, bridge.search) for path in searches),
        *(Route(path, bridge.instances) for path in wanted),
        *(Route(path + "/metadata", bridge.metadata) for path in wanted),
        Route(instance + "/frames/{frames}", bridge.frames),
        Route(instance + "/bulkdata/{path:path}", bridge.bulk),
    ]
    app = Starlette(routes=routes, lifespan=bridge.lifespan)
    guard = Guard(_Door(app, token) if token else app, log, explained=True)
    for kind in (BadBody, GatewayError, HTTPException, Exception):
        app.add_exception_handler(kind, guard.handle)
    app.add_exception_handler(NodeError, bridge.refuse)
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


def _wanted(request: Request) -> Wanted:
    return Wanted(*_uids(request))


def _resource(wanted: Wanted) -> Resource:
    return "instance" if wanted.instance else "series" if wanted.series else "study"


def _uids(request: Request) -> list[str]:
    """The UIDs of the address, from the study down."""
    names = ("study", "series", "instance")
    uids = [request.path_params[name] for name in names if name in request.path_params]
    if not all(DICOM_UID.fullmatch(uid) for uid in uids):
        raise BadParameter(
            "no UID: digits in groups with dots between them, at most 64 characters", field="address"
        )
    return uids


def _accept(request: Request) -> str:
    return request.query_params.get("accept") or request.headers.get("Accept", "")


def _base(request: Request) -> str:
    return str(request.base_url).rstrip("/")
