"""A gateway over two hospitals and their archives, with studies whose right answers are known.

The hospital in Chongqing has a FHIR source, an Orthanc and an old archive that knows no metadata and no
frames (tiny-pacs); the one in Chengdu has a FHIR source and an Orthanc whose names are GB18030.

- 㛃 (:data:`PERSON`) has studies in all three. The chest CT of Chongqing is in Chengdu too, under the number
  that 㛃 has there, and with fewer instances.
- 乙 (:data:`NAMESAKE`) has in Chengdu the Patient ID that 㛃 has in Chongqing: two people.
- 喆 (:data:`WAITING`) has a report in Chongqing whose images no archive has yet.
- Every image is the pattern of :func:`pattern`: quarters of four greys, so that what a viewer draws is known.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
from pydicom import dcmread
from pydicom.dataset import Dataset

from gateway.demo import peers
from gateway.demo._writer import Network
from gateway.demo.people import BY_KEY
from gateway.demo.processes import Peer, free_port
from gateway.demo.studies import SIDE, store
from gateway.source import create_source
from tests.gateway.live import Live, gateway_with
from tests.peers import started
from tests.serving import serve

CQ, SC = "EX-CQ-01", "EX-SC-01"
HOSPITALS = {"cq-his": CQ, "sc-his": SC}
ARCHIVES = {"cq-pacs": CQ, "cq-old": CQ, "sc-pacs": SC}
PERSON, NAMESAKE, WAITING = BY_KEY["jie"], BY_KEY["yi"], BY_KEY["zhe"]
GREYS = (0, 1365, 2730, 4095)
"""The quarters of every image: above left and right, below left and right; 12 bits."""
CHEST, KNEE, BRAIN, OLD = "CT 胸部平扫", "DR 左膝关节正侧位", "MR 颅脑平扫", "CT 头颅平扫"
"""㛃's studies, as hospitals call them: CHEST is in two archives, BRAIN in Chengdu, OLD in the old one."""
HANZI = "示例^患者㛃"
"""How Chengdu writes the name: in the first group, where many machines have it and viewers look for it."""


@dataclass
class Imaging:
    """The running gateway, its archives, what each of them holds (instances by study description), and the
    instances of 喆, which wait to be stored."""

    live: Live
    archives: dict[str, Peer]
    held: dict[str, dict[str, list[Dataset]]]
    waiting: list[Dataset]

    def uid(self, description: str) -> str:
        """The Study Instance UID of one of 㛃's studies."""
        return next(
            str(held[description][0].StudyInstanceUID) for held in self.held.values() if description in held
        )

    def viewing(self, person: str = PERSON.number, **more: Any) -> dict[str, Any]:
        """A viewing of this person, opened: what the gateway answered."""
        return viewing(self.live, person, **more)


def viewing(live: Live, person: str, **more: Any) -> dict[str, Any]:
    """A viewing of this person at a gateway, opened: what it answered."""
    patient = {"type": "resident-id", "value": person}
    answer = live.client().post("/api/v1/viewings", json={"patient": patient, **more})
    assert answer.is_success, answer.text
    opened: dict[str, Any] = answer.json()
    return opened


@contextmanager
def imaging(folder: Path, **more: Any) -> Iterator[Imaging]:
    """All servers, on loopback; ``more`` are settings of the gateway."""
    bundles, held, waiting = records(datetime.now(UTC))
    with ExitStack() as stack, ThreadPoolExecutor(3) as pool:
        starts = {
            "cq-pacs": partial(peers.orthanc, folder, name="cq-pacs"),
            "sc-pacs": partial(peers.orthanc, folder, name="sc-pacs"),
            "cq-old": partial(peers.tiny_pacs, folder, name="cq-old"),
        }
        starting = {name: pool.submit(started, start) for name, start in starts.items()}
        archives = {name: stack.enter_context(future.result()) for name, future in starting.items()}
        nodes = [stack.enter_context(hospital(folder, name, bundles[name])) for name in HOSPITALS]
        for name, institution in ARCHIVES.items():
            for study in held[name].values():
                store(archives[name].url, study)
            identity = next(his for his, code in HOSPITALS.items() if code == institution)
            node = {"id": name, "kind": "dicomweb", "url": archives[name].url, "identity": identity}
            takes = {"stores": name == "cq-pacs"}
            nodes.append({**node, "institution": institution, "timeout_ms": 7000, **takes})
        settings = {"base_url": f"http://127.0.0.1:{free_port()}", **more}
        live = stack.enter_context(gateway_with(folder, nodes, **settings))
        yield Imaging(live, archives, held, waiting)


@contextmanager
def hospital(folder: Path, name: str, bundle: bytes) -> Iterator[dict[str, Any]]:
    """The FHIR source of a hospital with these records, as a node of a gateway."""
    institution = HOSPITALS[name]
    with serve(create_source(folder / f"{name}.sqlite3", institution=institution)) as url:
        headers = {"Content-Type": "application/fhir+json"}
        said = httpx.post(url, content=bundle, headers=headers, trust_env=False)
        assert said.status_code == httpx.codes.OK, said.text
        yield {"id": name, "kind": "fhir", "url": url, "institution": institution, "timeout_ms": 7000}


def records(
    now: datetime,
) -> tuple[dict[str, bytes], dict[str, dict[str, list[Dataset]]], list[Dataset]]:
    """What the hospitals' systems hold (a Bundle each), what the archives do, and what waits to be stored."""
    network = Network(now)
    network.image("jie", CQ, "ct-chest", CHEST, "CT", "CHEST", network.at(9, "09:30"), instances=5)
    network.image("jie", CQ, "dr-knee", KNEE, "DX", "KNEE", network.at(20, "10:00"), instances=2, side="L")
    network.image("jie", CQ, "ct-head", OLD, "CT", "HEAD", network.at(400, "15:20"), instances=3)
    network.image("jie", SC, "mr-brain", BRAIN, "MR", "HEAD", network.at(3, "14:10"), charset="gb18030")
    network.image("zhe", CQ, "ct-new", CHEST, "CT", "CHEST", network.at(1, "08:50"), charset="gb18030")
    network.image("yi", SC, "ct-chest", CHEST, "CT", "CHEST", network.at(5, "11:40"), charset="gb18030")
    chest, knee, old, waiting = network.studies["cq-pacs"]
    brain, other = network.studies["sc-pacs"]
    for dataset in (*chest, *knee, *old, *brain, *other, *waiting):
        dataset.PixelData = pattern(dataset)
    namesake = PERSON.mrns[CQ]
    for dataset in other:
        dataset.PatientID = namesake
    for dataset in brain:
        dataset.PatientName = HANZI
    bundles = network.bundles()
    bundles["sc-his"] = bundles["sc-his"].replace(NAMESAKE.mrns[SC].encode(), namesake.encode())
    copies = [_copied(dataset) for dataset in chest[:3]]
    held = {
        "cq-pacs": {CHEST: chest, KNEE: knee},
        "cq-old": {OLD: old},
        "sc-pacs": {BRAIN: brain, CHEST: copies, "乙": other},
    }
    return bundles, held, [_read_again(dataset) for dataset in waiting]


def pattern(dataset: Dataset) -> bytes:
    """Pixels in four quarters of :data:`GREYS`; in a CT they are the same numbers of HU less 2048."""
    half = SIDE // 2
    rows = [b"".join(grey.to_bytes(2, "little") * half for grey in pair) for pair in (GREYS[:2], GREYS[2:])]
    assert dataset.Rows == dataset.Columns == SIDE
    return rows[0] * half + rows[1] * half


def _read_again(dataset: Dataset) -> Dataset:
    """The instance as a client has it that read it from a file: it is written as one again."""
    with BytesIO() as file:
        dataset.save_as(file, enforce_file_format=True)
        return dcmread(BytesIO(file.getvalue()))


def _copied(dataset: Dataset) -> Dataset:
    """The same instance as the archive in Chengdu keeps it: the number that the person has there, GB18030."""
    copy = deepcopy(dataset)
    copy.SpecificCharacterSet = "GB18030"
    copy.PatientName = HANZI
    copy.PatientID, copy.IssuerOfPatientID = PERSON.mrns[SC], SC
    return copy
