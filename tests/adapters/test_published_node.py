"""What was published to a gateway, asked as a node: a FHIR server's results, and honest states."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Raw

from adapters import Answer, FhirNode, Question
from adapters.published import LIMIT, REMEMBERED_S, PublishedNode
from adapters.sqlite import SqliteStore
from adapters.store import Held
from gateway.demo.people import check_digit
from gateway.holding import held_of
from gateway.model import BundleIn, EntryIn
from gateway.publications import read_bundle
from gateway.readings import Readings
from gateway.settings import NodeSettings
from gateway.source import create_source
from mapping import LocalName, Named
from mapping.sites import Reads
from security.identity import Identifier
from tests.node_cases import (
    NOW,
    NUMBER,
    SYSTEM,
    ask,
    normaliser,
    observation,
    patient,
    question,
    report,
    study,
    transaction,
)
from tests.serving import serve

PERSON = "e1.person"
SETTINGS = NodeSettings(id="cq-his", kind="published", institution="EX-CQ-01")
FHIR = {"Content-Type": "application/fhir+json"}
_serial = count(100)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    app = create_source(tmp_path_factory.mktemp("source") / "s.sqlite3", institution="EX-CQ-01")
    with serve(app) as url:
        yield url


def held(*resources: dict[str, Any], number: str = NUMBER) -> list[Held]:
    """Resources as they are kept once they are published."""
    entries = [EntryIn(Raw(msgspec.json.encode(one))) for one in resources]
    bundle = BundleIn(resource_type="Bundle", type="collection", entry=entries)
    parcel = read_bundle(bundle, Identifier("resident", SYSTEM, number), SETTINGS, normaliser(), NOW)
    return [
        held_of(SETTINGS.id, name, body, NOW, person=PERSON, whose=f"{SYSTEM}|{number}")
        for name, body in parcel.records.items()
    ]


def asked(**changes: Any) -> Question:
    return question(**{"pseudonyms": (PERSON,)} | changes)


def answers(
    folder: Path, kept: Sequence[Held], *questions: Question, reads: Reads | None = None
) -> list[Answer]:
    """What one node says to these questions, one after the other, where this is kept."""

    async def run() -> list[Answer]:
        store = SqliteStore(folder / "store.sqlite3")
        await store.open()
        try:
            await store.hold(kept)
            node = PublishedNode(SETTINGS.id, "EX-CQ-01", lambda: reads or normaliser(), store)
            return [await node.prior(one) for one in questions]
        finally:
            await store.unhold(persons=[PERSON])
            await store.close()

    return asyncio.run(run())


NAMES = ("血清白蛋白", "总蛋白", "某院特需套餐乙", "钾", "★甘油三酯")
DAYS = st.integers(0, 200).filter(lambda day: abs(day - 90) > 1)


@st.composite
def labs(draw: st.DrawFn) -> dict[str, Any]:
    """A laboratory result of some day, inside the window or before it."""
    at = NOW - timedelta(days=draw(DAYS), hours=draw(st.integers(0, 23)))
    value: dict[str, Any] = draw(
        st.sampled_from(
            (
                {"valueQuantity": {"value": 43.5, "unit": "g/L"}},
                {"valueQuantity": {"value": 0.1, "comparator": "<", "unit": "ng/mL"}},
                {"valueString": "阴性", "valueQuantity": None},
            )
        )
    )
    status = draw(st.sampled_from(("final", "corrected", "preliminary", "entered-in-error")))
    made = observation(
        effectiveDateTime=at.isoformat(),
        issued=(at + timedelta(hours=3)).isoformat(),
        code={"text": draw(st.sampled_from(NAMES))},
        status=status,
        **value,
    )
    return {name: one for name, one in made.items() if one is not None}


@st.composite
def images(draw: st.DrawFn) -> list[dict[str, Any]]:
    """A study with its report, one without, or a report that names a study that is not there."""
    at = NOW - timedelta(days=draw(DAYS))
    uid = f"2.25.{draw(st.integers(1, 10**9))}"
    pair = [study(uid=uid, started=at.isoformat()), report(issued=(at + timedelta(hours=1)).isoformat())]
    return draw(st.sampled_from((pair, pair[:1], pair[1:])))


def named(
    records: Sequence[dict[str, Any]], studies: Sequence[list[dict[str, Any]]], serial: int
) -> list[dict[str, Any]]:
    """The same with ids of their own, about one patient, whose number has never been used before."""
    found = [one | {"id": f"o-{serial}-{place}"} for place, one in enumerate(records)]
    for place, group in enumerate(studies):
        name = f"s-{serial}-{place}"
        for one in group:
            links = {"imagingStudy": [{"reference": f"ImagingStudy/{name}"}]} if "imagingStudy" in one else {}
            found.append(one | links | {"id": name})
    return [one | {"subject": {"reference": f"Patient/p-{serial}"}} for one in found]


@given(records=st.lists(labs(), max_size=6), studies=st.lists(images(), max_size=3))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_same_resources_give_the_results_that_they_give_through_a_fhir_server(
    source: str, tmp_path: Path, records: list[dict[str, Any]], studies: list[list[dict[str, Any]]]
) -> None:
    serial = next(_serial)
    number = (first := f"99000019700101{serial:03d}") + check_digit(first)
    everything = [patient(f"p-{serial}", number, f"m{serial}"), *named(records, studies, serial)]
    sent = httpx.post(
        source, content=msgspec.json.encode(transaction(*everything)), headers=FHIR, trust_env=False
    )
    assert sent.status_code == 200, sent.text
    whom = Identifier("resident", SYSTEM, number)
    there = ask(FhirNode(SETTINGS.id, source, "EX-CQ-01", normaliser), question(person=whom))
    (here,) = answers(tmp_path, held(*everything, number=number), asked(person=whom))
    assert here.results == there.results
    assert (here.report.state, here.report.fault) == (there.report.state, there.report.fault)


def test_what_is_asked_again_is_answered_alike(tmp_path: Path) -> None:
    kept = held(patient(), observation(), study(), report())
    first, second, labs_only = answers(tmp_path, kept, asked(), asked(), asked(kinds=("lab",)))
    assert first.results == second.results
    assert first.digest == second.digest
    assert {result.kind for result in first.results} == {"lab", "imaging"}
    assert {result.kind for result in labs_only.results} == {"lab"}


def test_every_name_is_read_at_every_question(tmp_path: Path) -> None:
    class Heard:
        def __init__(self) -> None:
            self.names: list[str] = []
            self._reads = Readings(normaliser())

        def read(self, local: LocalName) -> Named:
            self.names.append(local.name)
            return self._reads.read(local)

        def panel(self, name: str) -> str | None:
            return self._reads.panel(name)

    heard = Heard()
    answers(tmp_path, held(patient(), observation()), asked(), asked(), reads=heard)
    assert heard.names == ["血清白蛋白", "血清白蛋白"]


def test_a_name_that_means_something_else_by_now_is_answered_so(tmp_path: Path) -> None:
    class Turning:
        turned = False

        def read(self, local: LocalName) -> Named:
            return normaliser().read(msgspec.structs.replace(local, name="总蛋白") if self.turned else local)

        def panel(self, name: str) -> str | None:
            return None

    reads = Turning()

    async def run() -> list[str | None]:
        store = SqliteStore(tmp_path / "store.sqlite3")
        await store.open()
        await store.hold(held(patient(), observation()))
        node = PublishedNode(SETTINGS.id, "EX-CQ-01", lambda: reads, store)
        items = []
        for _ in range(2):
            items.append((await node.prior(asked())).results[0].reading.item)
            reads.turned = True
        await store.close()
        return items

    before, after = asyncio.run(run())
    assert before != after


def test_what_was_read_is_not_kept_beyond_its_time(tmp_path: Path) -> None:
    async def run() -> bool:
        now, store = 0.0, SqliteStore(tmp_path / "store.sqlite3")
        await store.open()
        await store.hold(held(patient(), observation()))
        node = PublishedNode(SETTINGS.id, "EX-CQ-01", normaliser, store, lambda: now)
        gone = weakref.ref((await node.prior(asked())).results[0])
        await store.unhold(persons=[PERSON])
        now += REMEMBERED_S + 1
        await node.prior(asked())  # whatever is asked next
        await store.close()
        return gone() is None

    assert asyncio.run(run())


def test_what_lies_before_the_time_asked_for_is_not_told(tmp_path: Path) -> None:
    (answer,) = answers(tmp_path, held(patient(), observation()), asked(since=NOW - timedelta(days=1)))
    assert (answer.report.state, answer.results) == ("empty", ())


def test_another_person_has_nothing_of_it(tmp_path: Path) -> None:
    (answer,) = answers(tmp_path, held(patient(), observation()), asked(pseudonyms=("e1.other",)))
    assert answer.report.state == "empty"


def test_a_record_that_names_another_person_is_never_shown(tmp_path: Path) -> None:
    wrong = observation(subject={"identifier": {"system": SYSTEM, "value": "990000198502020022"}})
    kept = [
        msgspec.structs.replace(one, body=msgspec.json.encode(wrong))
        for one in held(patient(), observation())
    ]
    (answer,) = answers(tmp_path, kept, asked())
    assert (answer.report.state, answer.results) == ("faulty", ())
    assert "another person" in answer.report.detail


def test_a_question_without_pseudonyms_is_no_empty_answer(tmp_path: Path) -> None:
    (answer,) = answers(tmp_path, held(patient(), observation()), question())
    assert (answer.report.state, answer.report.fault) == ("unreachable", "gateway")


def test_a_store_that_is_away_is_no_empty_answer(tmp_path: Path) -> None:
    closed = SqliteStore(tmp_path / "gone" / "store.sqlite3")
    answer = asyncio.run(PublishedNode("x", "EX-CQ-01", normaliser, closed).prior(asked()))
    assert (answer.report.state, answer.report.fault) == ("unreachable", "gateway")


def test_more_than_is_looked_at_is_said(tmp_path: Path) -> None:
    many = [observation(f"o{n}", status="entered-in-error") for n in range(LIMIT + 1)]
    (answer,) = answers(tmp_path, held(patient(), *many), asked())
    assert "older than the" in answer.report.detail
    assert answer.report.fault == "node"
