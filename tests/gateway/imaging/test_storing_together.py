"""Two replicas of a gateway that store into one archive, and an archive that breaks off in the middle."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from gateway.demo.peers import redis
from tests.gateway.imaging.keeping_archive import Archive, values
from tests.gateway.imaging.test_storing import FAILED, image, store
from tests.gateway.live import NODE, OWN, Live, gateway_with
from tests.peers import needed
from tests.serving import serve

pytestmark = pytest.mark.slow

Replicas = tuple[Live, Live, Archive]


@pytest.fixture
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    archive = Archive()
    with needed(), ExitStack() as stack:
        shared = stack.enter_context(redis(tmp_path_factory.mktemp("redis"))).url
        url = stack.enter_context(serve(archive))
        common = {"url": url, "institution": OWN, "timeout_ms": 7000}
        nodes: list[dict[str, Any]] = [
            {"id": NODE, "kind": "fhir", **common},
            {"id": "cq-pacs", "kind": "dicomweb", "identity": NODE, "stores": True, **common},
        ]
        one, other = (
            stack.enter_context(gateway_with(tmp_path_factory.mktemp("gateway"), nodes, redis=shared))
            for _ in range(2)
        )
        yield one, other, archive


def test_of_two_patients_who_race_into_one_study_one_is_stored(replicas: Replicas) -> None:
    *both, archive = replicas
    archive.takes_s = 0.5
    with ThreadPoolExecutor() as threads:
        answers = [
            threads.submit(store, live, image(number, PatientID=f"P{number}"))
            for number, live in enumerate(both)
        ]
    assert sorted(answer.result().status_code for answer in answers) == [200, 409]
    assert len(archive.kept) == 1


def test_of_an_archive_that_breaks_off_what_it_said_before_is_told_and_on_record(replicas: Replicas) -> None:
    live, _, archive = replicas
    archive.dies_at = 2
    before, *_ = live.kept()
    answer = store(live, *(image(number) for number in range(250)))
    assert answer.status_code == 202
    assert values(answer.json(), FAILED, "00081197") == [0x0110] * 50
    assert live.kept()[0] == before + 1
    assert live.events("images_stored")[-1]["kept"] == 200


def test_the_same_request_again_stores_the_rest(replicas: Replicas) -> None:
    live, _, archive = replicas
    archive.dies_at = 2
    files = [image(number) for number in range(250)]
    store(live, *files)
    assert store(live, *files).status_code == 200
