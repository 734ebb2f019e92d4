"""Traces, as a real collector receives them: who asked whom, in one trace, and nothing about a person."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Sent
from starlette.types import ASGIApp, Receive, Scope, Send

from adapters.http import PASSED_ON
from gateway._settings_checks import checked
from gateway.demo.people import BY_KEY
from gateway.errors import SettingsError
from gateway.keeper import roots_of
from gateway.keyring import open_keys
from gateway.source import create_source
from gateway.tracing import Span, open_traces, span
from tests.gateway.live import (
    CLIENTS,
    NODE,
    OWN,
    PATIENT,
    Live,
    ask,
    body,
    gateway_with,
    persons_in,
    settings_for,
    source_of,
)
from tests.serving import serve

pytestmark = pytest.mark.slow

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALLER = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=value"}


@dataclass
class Collector:
    """What an OTLP receiver was sent."""

    url: str = ""
    paths: list[str] = field(default_factory=list)
    requests: list[ExportTraceServiceRequest] = field(default_factory=list)

    @property
    def spans(self) -> list[Sent]:
        return [
            one
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for one in scope.spans
        ]

    def until(self, found: Callable[[list[Sent]], bool], seconds: float = 8) -> list[Sent]:
        """The spans, once they are as they should be."""
        end = time.monotonic() + seconds
        while not found(self.spans):
            assert time.monotonic() < end, [one.name for one in self.spans]
            time.sleep(0.05)
        return self.spans


@contextmanager
def collecting() -> Iterator[Collector]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["content-length"]))
            collector.paths.append(self.path)
            collector.requests.append(ExportTraceServiceRequest.FromString(content))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        collector.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield collector
        server.shutdown()


class Heard:
    """A node that notes the headers it was sent."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.headers: list[dict[str, str]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self.headers.append({name.decode(): value.decode() for name, value in scope["headers"]})
        await self._app(scope, receive, send)


@dataclass
class Traced:
    """A gateway over one node, both seen."""

    live: Live
    collector: Collector
    node: Heard

    def trace(self, path: str = "/api/v1/checks", **headers: str) -> tuple[str, list[Sent]]:
        """Ask a check and give its trace: the id, and its spans once the request's own is there."""
        answer = self.live.client().post(path, json=body(), headers=headers)
        (line,) = [
            one
            for one in self.live.events("check_answered")
            if one["request"] == answer.headers["x-request-id"]
        ]
        id_ = line["trace"]
        found = self.collector.until(lambda spans: any(_is_request(one, id_) for one in spans))
        return id_, [one for one in found if one.trace_id.hex() == id_]


def _is_request(one: Sent, trace: str) -> bool:
    return one.trace_id.hex() == trace and one.kind == Sent.SPAN_KIND_SERVER


def named(spans: list[Sent], name: str) -> Sent:
    (found,) = [one for one in spans if one.name == name]
    return found


def attributes(one: Sent) -> dict[str, str | int]:
    return {pair.key: pair.value.string_value or pair.value.int_value for pair in one.attributes}


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    folder = tmp_path_factory.mktemp("traced")
    with collecting() as collector, source_of(folder):
        node = Heard(create_source(folder / f"{NODE}.sqlite3", institution=OWN))
        with serve(node) as url:
            fhir = {"id": NODE, "kind": "fhir", "url": url, "institution": OWN, "timeout_ms": 7000}
            with gateway_with(folder, [fhir], otlp_url=collector.url) as live:
                yield Traced(live, collector, node)


def test_a_check_is_a_trace_of_the_request_the_node_and_the_ledger(traced: Traced) -> None:
    _, spans = traced.trace()
    request = named(spans, "POST /api/v1/checks")
    below = {one.name for one in spans if one.parent_span_id == request.span_id}
    assert below == {"ask node", "write ledger"}


def test_a_request_says_its_face_route_and_status(traced: Traced) -> None:
    _, spans = traced.trace()
    assert attributes(named(spans, "POST /api/v1/checks")) == {
        "http.request.method": "POST",
        "http.route": "/api/v1/checks",
        "http.response.status_code": 200,
        "lianren.face": "rest",
    }


def test_a_node_says_which_it_was_and_how_it_answered(traced: Traced) -> None:
    _, spans = traced.trace()
    asked = named(spans, "ask node")
    assert attributes(asked) == {
        "lianren.node": NODE,
        "lianren.kind": "fhir",
        "lianren.state": "answered",
    }
    assert asked.kind == Sent.SPAN_KIND_CLIENT


def test_the_trace_of_the_caller_goes_on(traced: Traced) -> None:
    id_, spans = traced.trace(**CALLER)
    assert id_ == TRACE
    assert named(spans, "POST /api/v1/checks").parent_span_id.hex() == PARENT


def test_what_is_sent_to_a_node_carries_the_span_that_sent_it(traced: Traced) -> None:
    traced.node.headers.clear()
    trace = TRACE[::-1]
    id_, spans = traced.trace(**CALLER | {"traceparent": f"00-{trace}-{PARENT}-01"})
    asked = named(spans, "ask node").span_id.hex()
    sent = [one for one in traced.node.headers if one.get("traceparent", "").startswith(f"00-{id_}")]
    assert sent
    assert {one["traceparent"] for one in sent} == {f"00-{id_}-{asked}-01"}
    assert {one["tracestate"] for one in sent} == {"vendor=value"}


def test_a_question_that_goes_on_to_another_gateway_is_one_trace(traced: Traced, tmp_path: Path) -> None:
    cq, collector = traced.live, traced.collector
    (tmp_path / "token").write_text(cq.tokens["peer"])
    (tmp_path / "roots").write_bytes(msgspec.json.encode(roots_of(open_keys(cq.settings), "cq")))
    node = {"id": "gw-cq", "kind": "gateway", "url": cq.url, "owner": "cq", "token_file": tmp_path / "token"}
    pins = [{"owner": "cq", "url": cq.url, "keys_file": tmp_path / "roots"}]
    with gateway_with(tmp_path, [node], owner="sc", pins=pins, otlp_url=collector.url) as sc:
        ask(sc.client("other"), body())
        (line,) = sc.events("check_answered")
        found = collector.until(lambda spans: sum(_is_request(one, line["trace"]) for one in spans) == 2)
    spans = [one for one in found if one.trace_id.hex() == line["trace"]]
    below = {one.parent_span_id: one for one in spans if one.name != "write ledger"}
    way = [named(spans, "POST /api/v1/checks")]
    while below.get(way[-1].span_id):
        way.append(below[way[-1].span_id])
    assert [one.name for one in way] == [
        "POST /api/v1/checks",
        "ask node",
        "POST /api/v1/results",
        "ask node",
    ]


@pytest.mark.parametrize(
    "headers",
    [
        {"traceparent": f"00-00000000000000{PATIENT[:17]}a-{PARENT}-01"},
        {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": f"vendor={PATIENT}"},
        {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": f"vendor={PATIENT[:6]}{PATIENT[8:17]}"},
        {"traceparent": "00-nonsense"},
        {"traceparent": f"ff-{TRACE}-{PARENT}-01"},
        {"traceparent": f"00-{'0' * 32}-{PARENT}-01"},
    ],
)
def test_a_context_that_is_malformed_or_could_tell_of_a_person_is_not_taken(
    traced: Traced, headers: dict[str, str]
) -> None:
    id_, spans = traced.trace(**headers)
    assert id_ not in headers["traceparent"]
    assert named(spans, "POST /api/v1/checks").parent_span_id == b""


def test_a_state_that_a_node_could_choke_on_does_not_go_on_and_the_trace_does(traced: Traced) -> None:
    traced.node.headers.clear()
    trace = f"{TRACE[:-1]}0"
    state = ",".join(f"vendor{n}={'a' * 200}" for n in range(30))
    id_, spans = traced.trace(traceparent=f"00-{trace}-{PARENT}-01", tracestate=state)
    assert id_ == trace
    assert named(spans, "POST /api/v1/checks").parent_span_id.hex() == PARENT
    assert traced.node.headers
    assert not any("tracestate" in one for one in traced.node.headers)


def test_one_days_questions_tell_nothing_of_a_person(traced: Traced) -> None:
    client = traced.live.client()
    for person in BY_KEY.values():
        number = person.number
        client.post("/api/v1/checks", json=body("白蛋白", "血糖", person.name, patient=number))
        client.post("/api/v1/checks", json=body(patient=number[:-1] + "?"))
        client.get(f"/api/v1/checks/{number}")
        client.get("/fhir/Consent", params={"patient": number})
        client.get(f"/{number}", headers={"X-Request-Id": number, "User-Agent": number})
    client.get("/nowhere")
    spans = traced.collector.until(
        lambda spans: any(attributes(one).get("lianren.face") == "other" for one in spans)
    )
    told = "".join(str(request) for request in traced.collector.requests)
    assert len(spans) > 5 * len(BY_KEY)
    assert persons_in(told) == []
    assert persons_in("".join(one.SerializeToString().decode("utf-8", "replace") for one in spans)) == []


def test_a_refusal_of_this_gateway_is_an_error_and_one_of_the_caller_is_not(traced: Traced) -> None:
    client = traced.live.client()
    client.post("/api/v1/checks", json={})
    found = traced.collector.until(
        lambda spans: any(attributes(one).get("http.response.status_code") == 422 for one in spans)
    )
    refused = [one for one in found if attributes(one).get("http.response.status_code") == 422]
    assert {one.status.code for one in refused} == {0}


def test_traces_go_to_the_address_below_the_collector(traced: Traced) -> None:
    traced.trace()
    assert set(traced.collector.paths) == {"/v1/traces"}


def test_the_resource_says_which_gateway_it_was(traced: Traced) -> None:
    traced.trace()
    resource = traced.collector.requests[0].resource_spans[0].resource
    told = {pair.key: pair.value.string_value for pair in resource.attributes}
    assert (told["service.name"], told["service.namespace"]) == ("lianren", "cq")


def test_every_line_of_a_request_has_its_id_and_its_trace(traced: Traced) -> None:
    id_, _ = traced.trace(**{"X-Request-Id": "order-17"})
    (line,) = [one for one in traced.live.events("check_answered") if one.get("request") == "order-17"]
    assert line["trace"] == id_


def test_the_address_of_a_collector_holds_no_password(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="otlp_url"):
        checked(
            tmp_path,
            settings_for(tmp_path, dict.fromkeys(CLIENTS, ""), [], clients=[], otlp_url="https://a:b@c"),
        )


def test_without_an_address_there_are_no_spans_and_nothing_is_passed_on() -> None:
    assert open_traces("", "0", "cq") is None
    with span("ask node", {"lianren.node": "n"}) as nothing:
        assert nothing is span("write ledger", {})
        assert PASSED_ON.get() == ()


def test_the_framework_sends_no_traces_of_its_own_whatever_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collecting() as collector:
        monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        with gateway_with(tmp_path, []) as live:
            live.client().get(f"/api/v1/checks/{PATIENT}")
            live.stop()
        assert collector.requests == []


def test_without_an_address_the_sdk_is_not_imported() -> None:
    code = "import sys, gateway.app; print([m for m in sys.modules if m.startswith('opentelemetry.sdk')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_address_without_the_packages_is_one_line_that_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['opentelemetry.sdk'] = None\n"
        "from gateway.errors import SettingsError\n"
        "from gateway.tracing import open_traces\n"
        "try: open_traces('http://127.0.0.1:4318', '0', 'cq')\n"
        "except SettingsError as wrong: print(wrong)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "lianren[otel]" in done.stdout


def test_a_collector_that_hangs_keeps_nobody_waiting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        traces = open_traces(f"http://127.0.0.1:{silent.getsockname()[1]}", "0", "cq")
        assert traces is not None

        async def run() -> float:
            began = time.monotonic()
            for _ in range(10_000):  # more than the queue holds
                with traces.request("GET", ()) as one, span("ask node", {}):
                    assert isinstance(one, Span)
            asked = time.monotonic() - began
            await traces.aclose()
            return asked

        began = time.monotonic()
        assert asyncio.run(run()) < 5
        assert time.monotonic() - began < 12


def test_a_span_that_breaks_says_the_class_and_not_the_message() -> None:
    with collecting() as collector:
        traces = open_traces(collector.url, "0", "cq")
        assert traces is not None

        async def run() -> None:
            with suppress(LookupError), traces.request("GET", ()), span("ask node", {}):
                raise LookupError(PATIENT)
            await traces.aclose()

        asyncio.run(run())
        broken = named(collector.spans, "ask node")
        assert attributes(broken) == {"error.type": "LookupError"}
        assert broken.status.code == 2
        assert PATIENT not in str(collector.requests)
