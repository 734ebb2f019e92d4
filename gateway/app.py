"""The application: settings in, an ASGI app out; everything with a life of its own lives in the lifespan."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from gateway.checks import Checks
from gateway.citing import Citing
from gateway.decisions import Decisions
from gateway.directory import Directory
from gateway.errors import TABLE
from gateway.explaining import Explaining
from gateway.faces import (
    audit_events,
    capability,
    catalogues,
    cds,
    consent_fhir,
    consents,
    decisions,
    dicomweb_retrieve,
    dicomweb_search,
    dicomweb_store,
    directory,
    docs,
    explain,
    export,
    fhir,
    history,
    ledger,
    marks,
    nodes,
    oauth,
    operations,
    operator,
    orders,
    peer,
    provenance,
    publications,
    resources,
    rest,
    review,
    search,
    statistics,
    subscriptions,
    terminology,
    viewings,
    witness,
)
from gateway.faces.access import Access
from gateway.faces.common import Guard
from gateway.faces.describe import openapi
from gateway.faces.direct import Direct
from gateway.faces.origins import Origins, parts
from gateway.flow import Flow
from gateway.history import Reminders
from gateway.imaging.giving import Giving
from gateway.imaging.listing import Listing
from gateway.imaging.opening import Opening
from gateway.imaging.retrieving import Retrieving
from gateway.imaging.storing import Storing
from gateway.imaging.studies import Studies
from gateway.imaging.viewing import Viewings
from gateway.log import ABOUT, Log
from gateway.metrics import Metrics, face_of
from gateway.outcomes import Outcomes
from gateway.peers import Peers
from gateway.persons.consenting import Consenting
from gateway.prefetch import Prefetching
from gateway.publications import Publications
from gateway.reading import Reading
from gateway.recognising import Recognising
from gateway.search import Searching
from gateway.settings import Settings
from gateway.stewarding import Stewarding
from gateway.subscriptions import Endpoints, Notifying, Subscriptions
from gateway.tracing import Traces, open_traces
from gateway.wiring import open_gateway
from quality.headers import READER, load

VERSION = "0.6.0"


class Application:
    """Pure ASGI, outermost: what a server runs. It counts, times and traces every request.

    ``flow`` ends it in order; ``failed`` says why it could not be started, where it could not.
    """

    def __init__(self, guard: Guard, flow: Flow) -> None:
        self._guard = guard
        self.flow = flow
        self.failed: Exception | None = None
        self._metrics: Metrics | None = None
        self._traces: Traces | None = None

    def started(self, metrics: Metrics, traces: Traces | None) -> None:
        """The gateway runs, and is seen by these."""
        self._metrics = self._guard.metrics = metrics
        self._traces = traces
        self.flow.observe(metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the life of the whole."""
        if scope["type"] != "http":
            await self._guard(scope, receive, send)
            return
        began = time.perf_counter()
        try:
            if self._traces:
                await self._traced(self._traces, scope, receive, send)
            else:
                await self._guard(scope, receive, send)
        finally:
            if self._metrics:
                status = scope["state"].get("status", "aborted")
                self._metrics.request(face_of(scope["path"]), status, time.perf_counter() - began)

    async def _traced(self, traces: Traces, scope: Scope, receive: Receive, send: Send) -> None:
        with traces.request(scope["method"], scope["headers"]) as span:
            ABOUT.set({"trace": span.trace_id})
            await self._guard(scope, receive, send)
            span.answered(
                face_of(scope["path"]),
                getattr(scope.get("route"), "path", ""),
                scope["state"].get("status", 0),
            )


def create_app(settings: Settings, log: Log | None = None) -> Application:
    """The gateway as an ASGI application; it opens its stores and nodes when the server starts it.

    Raises (when started):
        SettingsError, CatalogueError, TrustError, AdapterError: with one line that says what to do.
    """
    write = log or Log()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            try:
                if traces := open_traces(settings.otlp_url, VERSION, settings.owner):
                    stack.push_async_callback(traces.aclose)
                gateway = await stack.enter_async_context(open_gateway(settings, write))
            except Exception as error:
                application.failed = error  # the server tells only that, not why, it did not start
                raise
            checks = Checks(gateway)
            app.state.gateway = gateway
            app.state.checks = checks
            app.state.viewings = Viewings(gateway)
            app.state.opening = Opening(gateway, checks, app.state.viewings)
            app.state.studies = Studies(gateway)
            app.state.retrieving = Retrieving(gateway, app.state.viewings, app.state.studies)
            app.state.listing = Listing(gateway, app.state.studies, app.state.viewings)
            app.state.consenting = Consenting(gateway)
            outcomes = app.state.outcomes = Outcomes(gateway, checks)
            app.state.reminders = Reminders(checks, outcomes)
            app.state.decisions = Decisions(checks, outcomes)
            app.state.citing = Citing(checks, outcomes)
            app.state.peers = Peers(gateway)
            app.state.giving = Giving(gateway, app.state.studies, app.state.viewings)
            app.state.prefetching = Prefetching(settings)
            stack.push_async_callback(app.state.prefetching.aclose)
            loop = asyncio.get_running_loop()
            later = loop.call_later(orders.LOAD_AFTER_S, loop.run_in_executor, None, orders.load)
            stack.callback(later.cancel)
            if any(placed.settings.kind == "dicomweb" for placed in gateway.nodes.placed()):
                READER.submit(load)  # else the first check would say that images could not be verified
            app.state.publications = Publications(gateway)
            app.state.storing = Storing(gateway)
            reading = app.state.reading = Reading(gateway)
            app.state.recognising = Recognising(gateway, checks, reading)
            app.state.directory = Directory(gateway)
            app.state.turns = defaultdict(asyncio.Lock)
            endpoints = Endpoints(settings)
            stack.push_async_callback(endpoints.aclose)
            app.state.subscriptions = Subscriptions(gateway, endpoints)
            notifying = Notifying(gateway, outcomes, endpoints)
            notifying.start()
            stack.push_async_callback(notifying.aclose)
            app.state.explaining = Explaining(gateway)
            app.state.stewarding = Stewarding(gateway)
            app.state.searching = Searching(gateway)
            terminologies = app.state.terminologies = terminology.Terminologies(gateway)
            app.state.capabilities = capability.Capabilities(gateway, terminologies, VERSION)
            app.state.flow = flow
            application.started(gateway.metrics, traces)
            yield

    app = describe_app(lifespan)
    direct = Direct(app, app, (*rest.DIRECT, *search.DIRECT, *terminology.DIRECT, *resources.DIRECT))
    flow = Flow(
        Access(dicomweb_retrieve.Images(direct, app), app),
        in_flight=settings.max_in_flight,
        streams=settings.max_streams,
        waiting=settings.max_waiting,
        patience={
            "order": settings.deadline_ms / 1000,
            "background": settings.search_deadline_ms / 1000,
            "image": settings.search_deadline_ms / 1000,
        },
        log=write,
    )
    called = parts(settings.cds_origins, settings.viewer_origins)
    inner = Origins(flow, called) if called else flow
    guard = Guard(inner, write, explained=settings.refusals == "explained")
    application = Application(guard, flow)
    for kind in TABLE:
        app.add_exception_handler(kind, guard.handle)
    for further in (HTTPException, Exception):
        app.add_exception_handler(further, guard.handle)
    return application


def describe_app(lifespan: object = None) -> FastAPI:
    """The routes alone, for the running gateway and for the published description."""
    app = FastAPI(
        title="联认 Lianren",
        version=VERSION,
        summary="检查检验结果互认 gateway: ask before ordering again",
        lifespan=lifespan,  # type: ignore[arg-type]
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # where TLS ends at a proxy, a body and its token would go on without it
        # FastAPI's own traces and logs hold addresses and the words of exceptions: never, whatever the
        # environment says (gateway.tracing makes this gateway's)
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    for face in (
        rest,
        history,
        decisions,
        publications,
        consents,
        explain,
        viewings,
        dicomweb_retrieve,
        dicomweb_search,
        dicomweb_store,
        review,
        statistics,
        catalogues,
        peer,
        export,
        subscriptions,
        capability,
        fhir,
        directory,
        consent_fhir,
        search,
        terminology,
        resources,
        cds,
        ledger,
        marks,
        provenance,
        audit_events,
        witness,
        oauth,
        operations,
        operator,
        nodes,
        docs,
    ):
        app.include_router(face.router)
    app.openapi = lambda: openapi(app)  # type: ignore[method-assign]
    return app
