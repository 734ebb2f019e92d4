"""The application: settings in, an ASGI app out; everything with a life of its own lives in the lifespan."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI
from starlette.exceptions import HTTPException

from gateway.checks import Checks
from gateway.errors import TABLE
from gateway.explaining import Explaining
from gateway.faces import (
    audit_events,
    catalogues,
    cds,
    consent_fhir,
    consents,
    docs,
    explain,
    fhir,
    ledger,
    marks,
    oauth,
    operations,
    operator,
    peer,
    provenance,
    rest,
    review,
    statistics,
    terminology,
    witness,
)
from gateway.faces.access import Access
from gateway.faces.common import Guard
from gateway.faces.describe import openapi
from gateway.log import Log
from gateway.outcomes import Outcomes
from gateway.peers import Peers
from gateway.persons.consenting import Consenting
from gateway.settings import Settings
from gateway.stewarding import Stewarding
from gateway.wiring import open_gateway

VERSION = "0.3.0"


def create_app(settings: Settings, log: Log | None = None) -> Guard:
    """The gateway as an ASGI application; it opens its stores and nodes when the server starts it.

    Raises (when started):
        SettingsError, CatalogueError, TrustError, AdapterError: with one line that says what to do.
    """
    write = log or Log()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            try:
                gateway = await stack.enter_async_context(open_gateway(settings, write))
            except Exception as error:
                guard.failed = error  # the server tells only that, not why, it did not start
                raise
            checks = Checks(gateway)
            app.state.gateway = gateway
            app.state.checks = checks
            app.state.consenting = Consenting(gateway)
            app.state.outcomes = Outcomes(gateway, checks)
            app.state.peers = Peers(gateway)
            app.state.explaining = Explaining(gateway)
            app.state.stewarding = Stewarding(gateway)
            app.state.terminologies = terminology.Terminologies(gateway)
            guard.metrics = gateway.metrics
            yield

    app = describe_app(lifespan)
    guard = Guard(Access(terminology.Direct(app), app), write, explained=settings.refusals == "explained")
    for kind in TABLE:
        app.add_exception_handler(kind, guard.handle)
    for further in (HTTPException, Exception):
        app.add_exception_handler(further, guard.handle)
    return guard


def describe_app(lifespan: object = None) -> FastAPI:
    """The routes alone, for the running gateway and for the published description."""
    app = FastAPI(
        title="联认 Lianren",
        version=VERSION,
        summary="检查检验结果互认 gateway: ask before ordering again",
        lifespan=lifespan,  # type: ignore[arg-type]
        docs_url=None,
        redoc_url=None,
    )
    for face in (
        rest,
        consents,
        explain,
        review,
        statistics,
        catalogues,
        peer,
        fhir,
        consent_fhir,
        terminology,
        cds,
        ledger,
        marks,
        provenance,
        audit_events,
        witness,
        oauth,
        operations,
        operator,
        docs,
    ):
        app.include_router(face.router)
    app.openapi = lambda: openapi(app)  # type: ignore[method-assign]
    return app
