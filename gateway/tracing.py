"""OpenTelemetry traces: a span for every request, for every node asked, and for the write to the ledger.

The context of W3C Trace Context comes in from the caller and goes on to nodes and other gateways
(:data:`adapters.http.PASSED_ON`). Names and attributes are routes, node ids, states and counts; no address,
header, body or message of an exception gets in. A caller's context that holds something like a person's
number is not taken.

Traces are made only where the setting ``otlp_url`` is set: without it nothing of OpenTelemetry is imported,
and :func:`span` costs one look at a context variable. What is finished waits in a queue of bounded size, and
is lost where the collector does not keep up.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from contextvars import ContextVar, Token
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from adapters.http import PASSED_ON
from gateway.errors import SettingsError

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span as OtelSpan
    from opentelemetry.trace import Tracer

Value = str | int | bool
Kind = Literal["server", "client", "internal"]

EXPORT_S = 2.0
"""Seconds that one batch may take to the collector, and its queue at the end."""
QUEUE = 2048
STATE = 512
"""Characters of a caller's ``tracestate`` that go on: what W3C Trace Context asks for (section 3.3.1.5).
A node may refuse a request for headers that are too long, and would count as broken."""
_PERSON = re.compile(r"[0-9]{6}(19|20)?[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])[0-9]{3}")
"""A resident number (GB 11643), of 18 or, as before 1999, 15 digits: region, date of birth, order."""


class Nothing:
    """The span where no traces are made."""

    def set(self, attributes: Mapping[str, Value]) -> None:
        """Nothing."""

    def __enter__(self) -> Nothing:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class Span:
    """One stretch of work. While it is entered, it is the parent of what :func:`span` makes, and what is sent
    to nodes carries its context."""

    def __init__(self, tracer: Tracer, name: str, span: OtelSpan) -> None:
        self.tracer = tracer
        self.span = span
        self._name = name
        self._tokens: tuple[Token[Span | None], Token[tuple[tuple[str, str], ...]]] | None = None

    @property
    def trace_id(self) -> str:
        """32 hex digits, for the log."""
        return f"{self.span.get_span_context().trace_id:032x}"

    def set(self, attributes: Mapping[str, Value]) -> None:
        """Attributes: codes, ids and counts of this gateway's own making."""
        self.span.set_attributes(attributes)

    def answered(self, face: str, route: str, status: int) -> None:
        """How a request ended: the template of its route, never its address."""
        self.span.set_attributes({"lianren.face": face, "http.response.status_code": status})
        if route:
            self.span.update_name(f"{self._name} {route}")
            self.span.set_attribute("http.route", route)
        if status >= 500:
            self.failed(str(status))

    def __enter__(self) -> Span:
        context = self.span.get_span_context()
        parent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
        headers = [("traceparent", parent)]
        if context.trace_state:
            headers.append(("tracestate", context.trace_state.to_header()))
        self._tokens = _HERE.set(self), PASSED_ON.set(tuple(headers))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._tokens is not None:
            _HERE.reset(self._tokens[0])
            PASSED_ON.reset(self._tokens[1])
        if kind is not None:
            self.failed(kind.__name__)
        self.span.end()

    def failed(self, what: str) -> None:
        """It did not come to its end, or to an answer of 5xx; ``what`` is a class or a status."""
        from opentelemetry.trace import StatusCode

        self.span.set_status(StatusCode.ERROR)
        self.span.set_attribute("error.type", what)


_HERE: ContextVar[Span | None] = ContextVar("span", default=None)
_NOTHING = Nothing()


def span(name: str, attributes: Mapping[str, Value], kind: Kind = "internal") -> Span | Nothing:
    """A span below the one that is entered here, for a ``with`` statement; nothing where there is none."""
    here = _HERE.get()
    if here is None:
        return _NOTHING
    from opentelemetry.trace import set_span_in_context

    return _started(here.tracer, name, kind, set_span_in_context(here.span), attributes)


class Traces:
    """Makes spans and sends them to a collector."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("lianren")

    def request(self, method: str, headers: Iterable[tuple[bytes, bytes]]) -> Span:
        """The span of a request, below the caller's where the caller sent a context."""
        attributes = {"http.request.method": method}
        return _started(self._tracer, method, "server", _context(headers), attributes)

    async def aclose(self) -> None:
        """Send what is finished; a collector that does not answer is waited for no longer than a batch may
        take."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def end() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # the loop has ended: it did not wait any longer
                loop.call_soon_threadsafe(done.set)

        # not the loop's executor: the process would wait for it at its end
        threading.Thread(target=end, daemon=True, name="traces").start()
        try:
            await asyncio.wait_for(done.wait(), EXPORT_S)
        except TimeoutError:
            return


def open_traces(otlp_url: str, version: str, name: str) -> Traces | None:
    """What makes traces and sends them to ``<otlp_url>/v1/traces``; None where the address is empty.

    ``OTEL_TRACES_SAMPLER``, ``OTEL_RESOURCE_ATTRIBUTES`` and ``OTEL_EXPORTER_OTLP_HEADERS`` of the
    environment count, as OpenTelemetry describes them.

    Raises:
        SettingsError: the packages are not installed.
    """
    if not otlp_url:
        return None
    try:
        import requests
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise SettingsError("otlp_url: traces need more packages: pip install 'lianren[otel]'") from None
    session = requests.Session()
    session.trust_env = False  # addresses come from the settings alone
    exporter = OTLPSpanExporter(
        endpoint=f"{otlp_url.rstrip('/')}/v1/traces", timeout=EXPORT_S, session=session
    )
    resource = Resource.create(
        {"service.name": "lianren", "service.version": version, "service.namespace": name}
    )
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(
        BatchSpanProcessor(
            exporter,
            max_queue_size=QUEUE,
            schedule_delay_millis=1000,
            export_timeout_millis=EXPORT_S * 1000,
        )
    )
    return Traces(provider)


def _started(
    tracer: Tracer, name: str, kind: Kind, context: Context, attributes: Mapping[str, Value]
) -> Span:
    from opentelemetry.trace import SpanKind

    return Span(tracer, name, tracer.start_span(name, context, SpanKind[kind.upper()], attributes))


def _context(headers: Iterable[tuple[bytes, bytes]]) -> Context:
    """The caller's context; an empty one where it sent none, or one that could tell of a person."""
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    sent: dict[str, str] = {}
    for name, value in headers:
        if name == b"traceparent" or (name == b"tracestate" and len(value) <= STATE):
            sent[name.decode()] = value.decode("latin-1")
    if any(_PERSON.search(value) for value in sent.values()):
        sent = {}
    return TraceContextTextMapPropagator().extract(sent, Context())
