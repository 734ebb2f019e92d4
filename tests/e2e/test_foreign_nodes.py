"""Real foreign servers as nodes: what they do otherwise is refused or read, and never shown as somebody's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters import Answer, FhirNode
from adapters.fhir_search import Dialect
from gateway.demo import peers
from gateway.demo.peers import fhirsnake, medplum
from security.identity import Identifier, identifier
from tests import node_cases
from tests.gateway.live import OWN, STRANGER, body, gateway_with
from tests.gateway.live import ask as ask_gateway
from tests.node_cases import OTHER_NUMBER, normaliser, observation, question, report, study
from tests.peers import started

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("foreign-nodes")]

GET = Dialect(search="get", since=False)
ELSEWHERE: dict[str, Any] = {"subject": {"reference": "Patient/p2"}}
OLD = {"effectiveDateTime": "2020-01-10T08:00:00+08:00", "issued": "2020-01-10T11:00:00+08:00"}
PERSON = identifier("resident-id", STRANGER)


def patient(id_: str = "p1", number: str = STRANGER, mrn: str = "CQ01007013") -> dict[str, Any]:
    return node_cases.patient(id_, number, mrn)


def ask(node: FhirNode) -> Answer:
    return node_cases.ask(node, question(person=PERSON))


def searching(node: FhirNode, type_: str, bound: str) -> Answer:
    return node_cases.searching(node, type_, bound, question(person=PERSON))


ALONE = (patient(), observation(), observation("o2", **OLD), study(), report())


def node(url: str, dialect: Dialect = GET) -> FhirNode:
    return FhirNode("cq-his", url, "EX-CQ-01", normaliser, timeout=5.0, dialect=dialect)


@pytest.fixture(scope="module")
def everybody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """fhirsnake with the records of two persons."""
    folder = tmp_path_factory.getbasetemp() / "fhirsnake"  # one environment a session
    others = (patient("p2", OTHER_NUMBER, "CQ01007026"), observation("o3", **ELSEWHERE))
    with started(lambda: fhirsnake(folder, [*ALONE, *others], name="everybody")) as peer:
        yield peer.url


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """fhirsnake with the records of one person."""
    folder = tmp_path_factory.getbasetemp() / "fhirsnake"
    with started(lambda: fhirsnake(folder, ALONE, name="alone")) as peer:
        yield peer.url


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Medplum's router with the records of two persons."""
    peer = started(lambda: medplum(tmp_path_factory.mktemp("medplum")))
    media = {"Content-Type": "application/fhir+json"}
    with peer, httpx.Client(base_url=peer.url, headers=media, trust_env=False, timeout=30) as client:
        for number in (OTHER_NUMBER, STRANGER):
            person = client.post("/Patient", json=patient(number=number)).json()
            subject: dict[str, Any] = {"subject": {"reference": f"Patient/{person['id']}"}}
            imaging = client.post("/ImagingStudy", json=study(**subject)).json()
            reference = [{"reference": f"ImagingStudy/{imaging['id']}"}]
            for resource in (
                report(imagingStudy=reference, **subject),
                observation(**subject),
                observation("o2", **OLD, **subject),
            ):
                client.post(f"/{resource['resourceType']}", json=resource).raise_for_status()
        yield peer.url


def ids(answer: Answer) -> list[str]:
    return sorted(result.id for result in answer.results)


def test_a_server_that_ignores_every_parameter_shows_nobody_s_results(everybody: str) -> None:
    answer = ask(node(everybody))
    assert (answer.report.state, answer.report.fault, answer.results) == ("faulty", "node", ())
    assert "another person" in answer.report.detail


def test_a_search_of_a_server_that_ignores_every_parameter_finds_nothing(everybody: str) -> None:
    answer = searching(node(everybody), "Observation", "date")
    assert (answer.report.state, answer.matches) == ("faulty", ())


def test_a_server_without_post_searches_is_refused_in_its_own_words(alone: str) -> None:
    assert ask(node(alone, Dialect())).report.state == "refused"


def test_what_lies_before_the_time_asked_for_is_left_out_where_the_server_was_not_told_it(alone: str) -> None:
    answer = ask(node(alone))
    assert ids(answer) == ["cq-his/DiagnosticReport/d1", "cq-his/Observation/o1"]
    assert (answer.report.fault, answer.report.detail) == ("", "")


def test_what_lies_before_the_time_asked_for_is_named_where_the_server_was_told_it(alone: str) -> None:
    answer = ask(node(alone, Dialect(search="get")))
    assert ids(answer) == ["cq-his/DiagnosticReport/d1", "cq-his/Observation/o1"]
    assert answer.report.fault == "node"
    assert "1 resources lie outside the period asked for: Observation[" in answer.report.detail


@pytest.mark.parametrize(
    "dialect",
    [Dialect(), Dialect(search="get"), Dialect(since=False), Dialect(page=1)],
    ids=["plain", "get", "no bound", "pages of one"],
)
def test_medplum_answers_in_every_dialect_alike(router: str, dialect: Dialect) -> None:
    answer = ask(node(router, dialect))
    assert sorted(result.kind for result in answer.results) == ["imaging", "lab"], answer.report
    assert answer.report.fault == ""


@pytest.mark.parametrize(
    ("type_", "bound"), [("DiagnosticReport", "issued"), ("Observation", "date"), ("ImagingStudy", "started")]
)
def test_a_search_finds_at_medplum_what_is_the_person_s(router: str, type_: str, bound: str) -> None:
    answer = searching(node(router, Dialect()), type_, bound)
    assert [match.key.resource_type for match in answer.matches] == [type_], answer.report


def test_nobody_is_found_by_a_number_that_the_server_does_not_know(router: str) -> None:
    unknown = question(person=Identifier("resident", PERSON.system, "990000199912310033"))
    assert node_cases.ask(node(router, Dialect()), unknown).report.state == "empty"


def test_a_gateway_shows_what_is_the_person_s_and_names_the_server_that_leaks(
    everybody: str, router: str, tmp_path: Path
) -> None:
    nodes: list[dict[str, Any]] = [
        {"id": "leaks", "kind": "fhir", "url": everybody, "institution": OWN, "dialect": {"search": "get"}},
        {"id": "good", "kind": "fhir", "url": router, "institution": OWN, "timeout_ms": 5000},
    ]
    with gateway_with(tmp_path, nodes) as live:
        checked = ask_gateway(live.client(), body("白蛋白", patient=STRANGER))
        form = {"patient.identifier": f"{PERSON.system}|{STRANGER}"}
        found = live.client().post("/fhir/Observation/_search", data=form).json()
        log = live.log.getvalue()
    assert {node.node: node.state for node in checked.nodes} == {"leaks": "faulty", "good": "answered"}
    assert not checked.complete
    assert {verdict.result.node for verdict in checked.verdicts} == {"good"}
    *shown, outcome = found["entry"]
    assert {entry["fullUrl"].split("/")[-3] for entry in shown} == {"good"}
    assert "incomplete" in {issue["code"] for issue in outcome["resource"]["issue"]}
    assert not any(number in log for number in (STRANGER, OTHER_NUMBER))


def test_the_lock_of_fhirsnake_names_no_index_and_keeps_the_hashes() -> None:
    lock = (Path(peers.__file__).parent / "fhirsnake/requirements.lock").read_text(encoding="utf-8")
    packages = [part for part in lock.split("\n") if "==" in part]
    assert "http" not in lock
    assert any(package.startswith("fhirsnake==") for package in packages)
    assert lock.count("--hash=sha256:") >= len(packages)
