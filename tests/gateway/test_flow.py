"""Flow control: so many at a time, the doctor's question first, an honest refusal, and an orderly end."""

from __future__ import annotations

import asyncio
import io
import socket
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.demo.processes import free_port, wait_until
from gateway.faces.common import Guard
from gateway.flow import URGENCIES, Flow, Urgency, urgency_of, waited_s
from gateway.log import Log
from gateway.metrics import Metrics
from gateway.serving import config_of
from tests.gateway.live import NODE, OWN, Live, audit, body, gateway_with
from tests.serving import misbehave

pytestmark = pytest.mark.anyio

CHECK, SEARCH = "/api/v1/checks", "/api/v1/statistics"
LONG = 30.0


class Desk:
    """An application whose requests end when they are told to; ``begun`` are their addresses in order."""

    def __init__(self, **limits: Any) -> None:
        self.begun: list[str] = []
        self.waited: list[float] = []
        self.most = 0
        self._open: list[asyncio.Future[None]] = []
        self.log = io.StringIO()
        self.metrics = Metrics()
        defaults: dict[str, Any] = {
            "in_flight": 2,
            "waiting": 2,
            "patience": {"order": LONG, "background": LONG},
        }
        self.flow = Flow(self._work, **(defaults | limits), log=Log(self.log))
        self.flow.observe(self.metrics)
        self.app: ASGIApp = Guard(self.flow, Log(self.log))

    async def _work(self, scope: Scope, _: Receive, send: Send) -> None:
        if scope["path"].startswith("/health/"):
            await send_empty(send)
            return
        self.begun.append(scope["path"])
        self.waited.append(waited_s())
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._open.append(done)
        self.most = max(self.most, len(self._open))
        try:
            await done
        finally:
            self._open.remove(done)
        await send_empty(send)

    def finish(self, number: int = 0) -> None:
        self._open[number].set_result(None)

    def finish_all(self) -> None:
        for done in self._open:
            if not done.done():
                done.set_result(None)

    async def ask(self, path: str) -> httpx.Response:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app), base_url="http://gateway"
        ) as client:
            return await client.post(path)

    def start(self, path: str) -> asyncio.Task[httpx.Response]:
        return asyncio.create_task(self.ask(path))

    def value(self, name: str, urgency: str) -> float:
        found = next(
            line.rpartition(" ")[2]
            for line in self.metrics.render().decode().splitlines()
            if line.startswith(f'{name}{{urgency="{urgency}"}}')
        )
        return float(found)


async def nothing() -> Message:
    return {"type": "http.disconnect"}


async def swallow(_: Message) -> None:
    return None


async def send_empty(send: Send) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


@asynccontextmanager
async def full(
    *waiting: str, **limits: Any
) -> AsyncIterator[tuple[Desk, list[asyncio.Task[httpx.Response]]]]:
    """A desk whose turns two checks have, and what waits behind them, each in its own task."""
    desk = Desk(**limits)
    tasks = []
    for path in (CHECK, CHECK, *waiting):
        tasks.append(desk.start(path))
        await settle()
    try:
        yield desk, tasks
    finally:
        while desk.flow.busy:
            desk.finish_all()
            await settle()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize(
    ("path", "urgency"),
    [
        ("/api/v1/checks", "order"),
        ("/api/v1/checks/1/outcomes", "order"),
        ("/api/v1/results", "order"),
        ("/cds-services/result-recognition", "order"),
        ("/fhir/ServiceRequest/$check-recognition", "order"),
        ("/oauth/token", "order"),
        ("/trust/keys", "order"),
        ("/api/v1/explain", "background"),
        ("/api/v1/statistics", "background"),
        ("/api/v1/publications", "background"),
        ("/fhir/AuditEvent", "background"),
        ("/fhir/DiagnosticReport/_search", "background"),
        ("/ledger/entries", "background"),
    ],
)
def test_what_a_doctor_waits_for_is_told_from_what_can_wait(path: str, urgency: Urgency) -> None:
    assert urgency_of(path) == urgency


@pytest.mark.parametrize(
    ("method", "path", "urgency"),
    [
        ("GET", "/dicomweb/studies/1.2", "image"),
        ("GET", "/dicomweb/nodes/sc/sc-pacs/studies/1.2/metadata", "image"),
        ("GET", "/dicomweb/wado", "image"),
        ("POST", "/dicomweb/studies", "image"),
        ("GET", "/dicomweb/studies", "background"),
        ("GET", "/dicomweb/studies/", "background"),
        ("GET", "/dicomweb/studies/1.2/series/3/instances", "background"),
    ],
)
def test_images_on_their_way_are_told_from_lists_of_them(method: str, path: str, urgency: Urgency) -> None:
    assert urgency_of(path, method) == urgency


async def test_images_take_no_turn_of_anybody_else() -> None:
    desk = Desk(in_flight=1, streams=2, waiting=1, patience=dict.fromkeys(URGENCIES, LONG))
    image = "/dicomweb/studies/1.2"
    tasks = [desk.start(path) for path in (image, image, image, SEARCH)]
    await settle()
    assert desk.begun == [image, image, SEARCH]
    assert (await desk.ask(image)).status_code == 503
    desk.finish_all()
    await settle()
    desk.finish_all()
    assert [(await task).status_code for task in tasks] == [204] * 4


async def test_no_more_than_the_limit_are_worked_on_at_a_time() -> None:
    async with full(CHECK, CHECK) as (desk, _):
        assert len(desk.begun) == 2


async def test_one_that_ends_gives_its_turn_to_one_that_waits() -> None:
    async with full(CHECK, CHECK) as (desk, _):
        desk.finish()
        await settle()
        assert len(desk.begun) == 3


async def test_a_check_that_came_later_goes_before_a_search() -> None:
    async with full(SEARCH, CHECK) as (desk, _):
        desk.finish()
        await settle()
        assert desk.begun[2:] == [CHECK]


async def test_searches_never_have_more_than_half_of_the_turns() -> None:
    desk = Desk(in_flight=4, waiting=4)
    tasks = [desk.start(SEARCH) for _ in range(4)]
    await settle()
    assert desk.begun == [SEARCH, SEARCH]
    tasks.append(desk.start(CHECK))
    await settle()
    assert desk.begun[2:] == [CHECK]
    while desk.flow.busy:
        desk.finish_all()
        await settle()
    assert [(await task).status_code for task in tasks] == [204] * 5


async def test_checks_never_have_all_of_the_turns() -> None:
    desk = Desk(in_flight=16, waiting=32)
    tasks = [desk.start(CHECK) for _ in range(20)]
    await settle()
    assert desk.begun == [CHECK] * 15
    tasks.append(desk.start(SEARCH))
    await settle()
    assert desk.begun[15:] == [SEARCH]
    while desk.flow.busy:
        desk.finish_all()
        await settle()
    assert {(await task).status_code for task in tasks} == {204}


async def test_one_turn_is_enough_for_a_search() -> None:
    desk = Desk(in_flight=1, waiting=0)
    search = desk.start(SEARCH)
    await settle()
    desk.finish()
    assert (await search).status_code == 204


async def test_what_finds_no_place_is_refused_at_once_and_told_when_to_come_again() -> None:
    async with full(CHECK, CHECK) as (desk, _):
        refused = await desk.ask(CHECK)
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        assert (refused.json()["fault"], refused.headers["retry-after"]) == ("gateway", "1")


async def test_fhir_is_refused_with_an_operation_outcome() -> None:
    async with full(CHECK, CHECK) as (desk, _):
        refused = await desk.ask("/fhir/DiagnosticReport/_search")
        assert refused.headers["content-type"] == "application/fhir+json"
        assert refused.json()["issue"][0]["code"] == "throttled"
        assert refused.headers["retry-after"] == "5"


async def test_a_token_is_refused_as_oauth_says() -> None:
    async with full(CHECK, CHECK) as (desk, _):
        assert (await desk.ask("/oauth/token")).json()["error"] == "temporarily_unavailable"


async def test_a_check_takes_the_place_of_the_search_that_came_last() -> None:
    async with full(SEARCH, "/api/v1/explain") as (desk, tasks):
        late = desk.start(CHECK)
        await settle()
        assert tasks[3].done()
        assert (await tasks[3]).status_code == 503
        assert not tasks[2].done()
        desk.finish()
        await settle()
        desk.finish_all()
        assert (await late).status_code == 204


async def test_a_search_never_takes_the_place_of_a_check() -> None:
    async with full(CHECK, CHECK) as (desk, tasks):
        assert (await desk.ask(SEARCH)).status_code == 503
        assert not any(task.done() for task in tasks)


async def test_nobody_waits_longer_than_its_kind_has_use_for() -> None:
    async with full(patience={"order": 0.02, "background": LONG}) as (desk, _):
        assert (await desk.ask(CHECK)).json()["code"] == "overloaded"
        assert desk.flow.busy == 2


async def test_the_time_that_a_request_waited_is_known_while_it_is_worked_on() -> None:
    async with full(CHECK) as (desk, _):
        await asyncio.sleep(0.03)
        desk.finish()
        await settle()
        assert desk.waited[:2] == [0, 0]
        assert desk.waited[2] >= 0.03


async def test_a_caller_that_gives_up_while_it_waits_leaves_its_place() -> None:
    async with full(CHECK, CHECK) as (desk, tasks):
        tasks[2].cancel()
        await settle()
        third = desk.start(CHECK)
        await settle()
        assert not third.done()
        third.cancel()


async def test_a_caller_that_gives_up_in_the_moment_of_its_turn_gives_the_turn_back() -> None:
    async with full(CHECK) as (desk, tasks):
        desk.finish()
        await asyncio.sleep(0)
        tasks[2].cancel()
        await settle()
        assert desk.flow.busy == 1


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
async def test_health_passes_when_everything_is_taken(path: str) -> None:
    async with full(CHECK, CHECK) as (desk, _):
        assert (await desk.ask(path)).status_code == 204


async def test_an_application_that_breaks_gives_its_turn_back() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise LookupError

    flow = Flow(
        broken,
        in_flight=1,
        waiting=0,
        patience={"order": 1, "background": 1},
        log=Log(io.StringIO()),
    )
    with pytest.raises(LookupError):
        await flow({"type": "http", "path": CHECK, "method": "GET"}, nothing, swallow)
    assert flow.busy == 0


async def test_the_metrics_say_what_is_worked_on_what_waits_and_what_was_refused() -> None:
    async with full(CHECK, SEARCH) as (desk, _):
        await desk.ask(SEARCH)
        assert desk.value("lianren_requests_in_flight", "order") == 2
        assert desk.value("lianren_requests_waiting", "background") == 1
        assert desk.value("lianren_requests_shed_total", "background") == 1


async def test_the_log_tells_a_storm_of_refusals_in_one_line() -> None:
    async with full(CHECK, CHECK) as (desk, _):
        for _ in range(50):
            await desk.ask(CHECK)
        (line,) = desk.log.getvalue().splitlines()
        told = msgspec.json.decode(line)
        assert (told["event"], told["refused"], told["in_flight"]) == ("requests_shed", 1, 2)


async def test_a_gateway_that_is_told_to_stop_refuses_the_new_and_asks_to_close() -> None:
    async with full() as (desk, _):
        draining = asyncio.create_task(desk.flow.drain(LONG))
        await settle()
        refused = await desk.ask(CHECK)
        assert (refused.status_code, refused.json()["code"]) == (503, "stopping")
        assert refused.headers["connection"] == "close"
        assert not draining.done()
        assert desk.value("lianren_requests_shed_total", "order") == 0  # a roll-out is no alarm
        desk.finish_all()
        assert await draining == 0


async def test_what_waits_when_it_is_told_to_stop_is_still_answered() -> None:
    async with full(CHECK, SEARCH) as (desk, tasks):
        draining = asyncio.create_task(desk.flow.drain(LONG))
        while not draining.done():
            await settle()
            desk.finish_all()
        assert [(await task).status_code for task in tasks] == [204] * 4


async def test_an_idle_gateway_stops_at_once() -> None:
    assert await Desk().flow.drain(LONG) == 0


async def test_what_does_not_end_in_time_is_counted() -> None:
    async with full() as (desk, _):
        assert await desk.flow.drain(0.02) == 2


async def test_a_second_signal_ends_the_waiting() -> None:
    async with full() as (desk, _):
        draining = asyncio.create_task(desk.flow.drain(LONG))
        await settle()
        desk.flow.hurry()
        assert await draining == 2


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(
        st.sampled_from(["check", "search", "end first", "end last", "give up"]), min_size=1, max_size=40
    ),
    in_flight=st.integers(1, 4),
    waiting=st.integers(0, 4),
)
def test_whatever_comes_and_goes_the_bounds_hold_and_everybody_is_answered(
    steps: list[str], in_flight: int, waiting: int
) -> None:
    async def run() -> None:
        desk = Desk(in_flight=in_flight, waiting=waiting)
        tasks: list[asyncio.Task[httpx.Response]] = []
        for step in steps:
            match step:
                case "check" | "search":
                    tasks.append(desk.start(CHECK if step == "check" else SEARCH))
                case "give up" if open_ := [task for task in tasks if not task.done()]:
                    open_[-1].cancel()
                case "end first" | "end last" if desk._open:
                    desk.finish(0 if step == "end first" else -1)
            await settle()
            assert desk.flow.busy <= in_flight + waiting
        while desk.flow.busy:
            desk.finish_all()
            await settle()
        assert desk.most <= in_flight
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        given_up = [answer for answer in answers if isinstance(answer, BaseException)]
        assert all(isinstance(answer, asyncio.CancelledError) for answer in given_up)
        assert {a.status_code for a in answers if isinstance(a, httpx.Response)} <= {204, 503}

    asyncio.run(run())


def test_a_caller_that_hangs_up_while_it_waits_leaves_its_place_to_another() -> None:
    done = threading.Event()

    async def held(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.to_thread(done.wait, LONG)
        await send_empty(send)

    patience: dict[Urgency, float] = {"order": LONG, "background": LONG}
    flow = Flow(held, in_flight=1, waiting=1, patience=patience, log=Log(io.StringIO()))
    server = uvicorn.Server(config_of(Guard(flow, Log(io.StringIO())), "127.0.0.1", free_port()))
    server.config.lifespan = "off"
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    asked = b"GET /api/v1/checks/1 HTTP/1.1\r\nHost: a\r\n\r\n"
    try:
        wait_until(lambda: server.started, 10)
        place = ("127.0.0.1", server.config.port)
        with (
            closing(socket.create_connection(place)) as first,
            closing(socket.create_connection(place)) as last,
        ):
            first.sendall(asked)
            wait_until(lambda: flow.busy == 1, 5)
            with closing(socket.create_connection(place)) as gone:
                gone.sendall(asked)
                wait_until(lambda: flow.busy == 2, 5)
            wait_until(lambda: flow.busy == 1, 5)
            last.sendall(asked)
            wait_until(lambda: flow.busy == 2, 5)
            done.set()
            for connection in (first, last):
                assert connection.recv(100).startswith(b"HTTP/1.1 204")
        assert flow.busy == 0
    finally:
        done.set()
        server.should_exit = True
        thread.join(10)


@pytest.mark.slow
def test_a_storm_of_checks_over_a_node_that_hangs_is_answered_or_refused_honestly(tmp_path: Path) -> None:
    with misbehave(lambda first, content: None) as url:
        node = {"id": NODE, "kind": "fhir", "url": url, "institution": OWN, "timeout_ms": 7000}
        limits: dict[str, Any] = {"max_in_flight": 3, "max_waiting": 3, "deadline_ms": 300}
        with gateway_with(tmp_path, [node], **limits) as live, ThreadPoolExecutor(24) as pool:
            client = live.client()
            asked = [pool.submit(client.post, "/api/v1/checks", json=body()) for _ in range(24)]
            assert client.get("/health/live").status_code == 200
            answers = [one.result() for one in asked]
            refused = [one for one in answers if one.status_code == 503]
            answered = [one.json() for one in answers if one.status_code == 200]
            assert len(refused) + len(answered) == 24
            assert refused
            assert {one.json()["code"] for one in refused} == {"overloaded"}
            assert all(one.headers["retry-after"] == "1" for one in refused)
            assert {(one["complete"], one["nodes"][0]["fault"]) for one in answered} == {(False, "node")}
            assert audit(live, tmp_path / "audit") == []


def test_a_running_gateway_counts_its_requests_by_face_and_status(gateway: Live, his: httpx.Client) -> None:
    his.post("/api/v1/checks", json=body())
    his.get("/fhir/Nothing")
    text = his.get("/metrics").text
    assert 'lianren_requests_total{face="rest",status="200"}' in text
    assert 'lianren_requests_total{face="fhir",status="404"}' in text
    assert 'lianren_request_seconds_bucket{face="rest",le="' in text
