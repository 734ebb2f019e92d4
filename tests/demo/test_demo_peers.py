from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import asyncpg
import httpx
import msgspec
import pytest

from gateway.demo import peers, processes
from gateway.demo.people import BY_KEY
from gateway.demo.processes import MissingPeer, Peer, PeerError, PeerFailed
from gateway.demo.records import Records
from tests.peers import started


def alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def ended(pid: int) -> bool:
    """Gone, or waiting for an init process that is in no hurry to reap it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.slow
def test_postgres_starts_durable_and_leaves_no_process(tmp_path: Path) -> None:
    async def setting(dsn: str) -> str:
        connection = await asyncpg.connect(dsn)
        try:
            return str(await connection.fetchval("show fsync"))
        finally:
            await connection.close()

    peer = started(lambda: peers.postgres(tmp_path))
    with peer:
        assert asyncio.run(setting(peer.url)) == "on"
    assert not alive(peer.process.pid)
    assert peer.scratch is None or not peer.scratch.exists()


def test_redis_starts_and_leaves_no_process(tmp_path: Path) -> None:
    peer = started(lambda: peers.redis(tmp_path))
    with peer:
        assert alive(peer.process.pid)
    assert not alive(peer.process.pid)


def test_a_peer_started_in_a_thread_outlives_that_thread(tmp_path: Path) -> None:
    found: list[Peer] = []
    thread = threading.Thread(target=lambda: found.append(peers.redis(tmp_path)))
    thread.start()
    thread.join()
    if not found:
        pytest.skip("Redis is not available here")
    with found[0] as peer, pytest.raises(subprocess.TimeoutExpired):
        peer.process.wait(0.3)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills a child with its parent")
def test_a_peer_dies_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    started(lambda: peers.redis(tmp_path / "probe")).stop()
    script = (
        "import os, pathlib, sys; from gateway.demo import peers;"
        "print(peers.redis(pathlib.Path(sys.argv[1])).process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    processes.wait_until(lambda: ended(int(done.stdout)), 5)


def test_a_failing_start_says_where_the_log_is(tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    (tmp_path / "redis/dump.rdb").write_bytes(b"not a dump of any version")
    with pytest.raises(PeerError) as failure:
        peers.redis(tmp_path)
    if isinstance(failure.value, MissingPeer):
        pytest.skip(str(failure.value))
    assert isinstance(failure.value, PeerFailed)
    assert str(tmp_path / "redis.log") in str(failure.value)
    assert "load DB" in failure.value.log.read_text()


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PeerError, match=rf"port {port} .* in use|not available"):
            peers.tiny_pacs(tmp_path, port=port, name="archive")


def test_waiting_for_what_never_answers_ends_in_time() -> None:
    with pytest.raises(TimeoutError):
        processes.wait_until(f"http://127.0.0.1:{processes.free_port()}/", 0.2)


def test_a_missing_peer_says_in_one_line_how_to_get_it() -> None:
    assert str(MissingPeer("Orthanc", "apt-get install orthanc")) == (
        "Orthanc is not available here: apt-get install orthanc"
    )


def test_the_npm_lock_names_no_registry_and_keeps_the_hashes() -> None:
    lock = (Path(peers.__file__).parent / "medplum/package-lock.json").read_text()
    assert "resolved" not in lock
    assert "http" not in lock
    packages = msgspec.json.decode(lock)["packages"]
    assert all("integrity" in package for name, package in packages.items() if name)


@pytest.mark.slow
def test_medplum_answers_a_post_search_for_a_seeded_patient(tmp_path: Path, records: Records) -> None:
    person = BY_KEY["yi"]
    with started(lambda: peers.medplum(tmp_path)) as peer, httpx.Client(base_url=peer.url) as client:
        seeded = client.post(
            "", content=records.bundles["hb-lis"], headers={"Content-Type": "application/fhir+json"}
        )
        assert {entry["response"]["status"] for entry in seeded.json()["entry"]} == {"200"}
        who = {"identifier": f"urn:oid:2.16.156.10011.1.3|{person.number}"}
        patient = client.post("/Patient/_search", data=who).json()["entry"][0]["resource"]
        form = {"patient": f"Patient/{patient['id']}", "_count": "100"}
        found = client.post("/Observation/_search", data=form).json()
        assert "谷丙转氨酶" in {entry["resource"]["code"]["text"] for entry in found["entry"]}
