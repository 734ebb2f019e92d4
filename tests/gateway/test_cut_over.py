"""A change-over from one edition to the next, in a gateway that is being asked all the time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from msgspec import Struct
from starlette.types import Receive, Scope, Send

from gateway.model import CheckAnswer
from tests.gateway.live import OWN, Live, ask, body, gateway_with
from tests.gateway.publishing import SECONDS, config_of, edition, published, soon, states, until
from tests.gateway.test_catalogues import BUNDLED_VERSION, look
from tests.serving import serve

pytestmark = pytest.mark.slow

DAY = timedelta(days=1)


class Sleepy:
    """A FHIR node that knows nobody, and takes its time to say so."""

    def __init__(self) -> None:
        self.seconds = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        await asyncio.sleep(self.seconds)
        headers = [(b"content-type", b"application/fhir+json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"resourceType":"Bundle","type":"searchset"}'})


class Story(Struct):
    """What was seen: the states before and after, and every answer with the time it arrived at."""

    live: Live
    cut: datetime
    announced: dict[str, str]
    in_force: dict[str, str]
    answers: list[tuple[datetime, CheckAnswer]]
    across: tuple[datetime, CheckAnswer]


def asked(client: httpx.Client, *codes: str) -> tuple[datetime, CheckAnswer]:
    planned = {"planned": [{"item": code} for code in codes]} if codes else {}
    answer = ask(client, body() | planned)
    return datetime.now(UTC), answer


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Two editions are replaced and one is new, at one moment, while four callers go on asking."""
    folder, node = tmp_path_factory.mktemp("cut-over"), Sleepy()
    with serve(node) as url:
        fhir = {"id": "slow", "kind": "fhir", "url": url, "institution": OWN, "timeout_ms": 7000}
        with gateway_with(folder, [fhir], catalogue_poll_s=1) as live:
            config, his, past = config_of(live, folder / "config"), live.client(), datetime.now(UTC) - DAY
            edition(folder / "first", "1", past, ("OLD1", "BOTH"), edition_id="ex-over")
            edition(folder / "first", "1", past, ("END1",), edition_id="ex-end")
            published(folder / "first", config)
            cut = soon(4)
            edition(folder / "next", "2", cut, ("NEW1", "BOTH"), edition_id="ex-over")
            edition(folder / "next", "2", cut, ("END2",), edition_id="ex-end", overlap_days=0)
            edition(folder / "next", "1", cut, ("LOAD1",), edition_id="ex-load")
            published(folder / "next", config)
            until(lambda: "ex-load@1" in states(his))
            announced = states(his)

            def go_on(_: int) -> list[tuple[datetime, CheckAnswer]]:
                seen = []
                while datetime.now(UTC) < cut + 1.2 * SECONDS:
                    seen.append(asked(his))
                return seen

            def across() -> tuple[datetime, CheckAnswer]:
                time.sleep(max(0, (cut - datetime.now(UTC)).total_seconds() - 1))
                node.seconds = 1.6
                try:
                    return asked(his, "BOTH")
                finally:
                    node.seconds = 0

            with ThreadPoolExecutor(4) as pool:
                slow = pool.submit(across)
                answers = [one for found in pool.map(go_on, range(3)) for one in found]
            until(lambda: states(his)["ex-load@1"] == "in_force", 3)
            yield Story(live, cut, announced, states(his), answers, slow.result())


def test_what_is_published_is_announced_until_its_time(story: Story) -> None:
    names = ("ex-over@1", "ex-over@2", "ex-load@1")
    assert [story.announced[name] for name in names] == ["in_force", "announced", "announced"]


def test_at_its_time_it_is_in_force_and_its_predecessor_is_not(story: Story) -> None:
    names = ("ex-over@1", "ex-over@2", "ex-end@1", "ex-load@1")
    assert [story.in_force[name] for name in names] == ["overlapping", "in_force", "superseded", "in_force"]


def test_every_check_is_answered_under_what_was_in_force_when_it_began(story: Story) -> None:
    wrong = [
        answer.answered_at
        for _, answer in story.answers
        if ("ex-load@1" in answer.catalogue.version) != (answer.answered_at >= story.cut)
    ]
    assert wrong == []


def test_checks_were_asked_before_and_after_the_change(story: Story) -> None:
    assert {"ex-load@1" in answer.catalogue.version for _, answer in story.answers} == {True, False}


def test_a_check_that_began_before_the_change_finishes_under_what_it_began_with(story: Story) -> None:
    arrived, answer = story.across
    assert answer.answered_at < story.cut < arrived
    assert "ex-over@1" in answer.catalogue.version
    assert answer.complete


def test_the_change_is_in_the_log_and_at_the_health_page(story: Story) -> None:
    (event,) = [e for e in story.live.events("catalogue_in_force") if "ex-load@1" in e["catalogue"]]
    assert event["catalogue"] == story.live.client().get("/health/ready").json()["catalogue"]
    accepted = {event["edition"] for event in story.live.events("catalogue_accepted")}
    assert {"ex-over@1", "ex-over@2", "ex-end@2", "ex-load@1"} <= accepted


def test_a_dropped_code_is_decided_under_the_edition_that_has_it(story: Story) -> None:
    _, answer = asked(story.live.client(), "OLD1")
    assert "ex-over@1" in answer.catalogue.version
    end = (story.cut + 30 * DAY + timedelta(hours=8)).strftime("%Y-%m-%d %H:%M +08:00")
    assert end in answer.catalogue.notice_zh
    assert end in answer.catalogue.notice_en
    assert "取代" in answer.catalogue.notice_zh


@pytest.mark.parametrize("codes", [("NEW1",), ("BOTH",), ("BOTH", "NEW1")])
def test_a_code_in_force_is_decided_under_what_is_in_force(story: Story, codes: tuple[str, ...]) -> None:
    _, answer = asked(story.live.client(), *codes)
    assert "ex-over@2" in answer.catalogue.version
    assert "取代" not in answer.catalogue.notice_zh


@pytest.mark.parametrize(
    ("codes", "field"),
    [
        (("OLD1", "NEW1"), "planned[0].item"),
        (("END1",), "planned[0].item"),
        (("BOTH", "NO1"), "planned[1].item"),
    ],
)
def test_codes_that_no_edition_has_together_are_refused_by_what_is_in_force(
    story: Story, codes: tuple[str, ...], field: str
) -> None:
    asked_for = body() | {"planned": [{"item": code} for code in codes]}
    refused = story.live.client().post("/api/v1/checks", json=asked_for)
    assert (refused.status_code, refused.json()["field"]) == (422, field)


def test_every_version_that_an_answer_named_can_be_had_again(story: Story) -> None:
    catalogues = look(story.live.settings)
    overlapping = asked(story.live.client(), "OLD1")[1].catalogue.version
    for version in {answer.catalogue.version for _, answer in story.answers} | {overlapping}:
        assert catalogues.under(version).catalogue.version == version


def test_the_catalogue_of_any_day_can_be_had_again(story: Story) -> None:
    catalogues = look(story.live.settings)
    before = catalogues.at(story.cut - SECONDS).catalogue
    assert ("OLD1" in before.items, "OLD1" in catalogues.at(story.cut).catalogue.items) == (True, False)
    assert catalogues.at(story.cut - 2 * DAY).catalogue.version == BUNDLED_VERSION
