"""``lianren bridge`` in front of real DIMSE archives: dcmtk's dcmqrscp by C-MOVE and C-GET, and Orthanc."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import HTTP
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from adapters import DicomwebNode
from gateway.demo.peers import lianren, orthanc
from gateway.demo.people import BY_KEY
from gateway.demo.processes import LOOPBACK, MissingPeer, Peer, free_port, start
from gateway.demo.studies import Charset, store, study, uid_for
from recognition import Images
from tests.adapters.test_dicomweb_node import His
from tests.e2e.conftest import lianren as command
from tests.gateway.imaging.network import CHEST, CQ, PERSON, hospital, records, viewing
from tests.gateway.live import gateway_with
from tests.node_cases import ask, normaliser, question
from tests.peers import needed

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("dimse")]

NUMBER = BY_KEY["zhe"].mrns["EX-CQ-01"]
JSON, STOW = "application/dicom+json", 'multipart/related; type="application/dicom"'
CONFORMANCE = Path(__file__).resolve().parents[3] / "shared/conformance/dicom"


def chest(charset: Charset, instances: int = 3) -> list[Dataset]:
    return study(
        BY_KEY["zhe"],
        "EX-CQ-01",
        description="胸部CT平扫",
        modality="CT",
        body_part="CHEST",
        performed=datetime(2026, 11, 9, 17, 30, tzinfo=UTC),
        instances=instances,
        charset=charset,
        uid=uid_for("bridge", charset),
    )


STUDIES = {charset: chest(charset) for charset in ("utf-8", "gb18030")}
UTF8 = STUDIES["utf-8"][0]
WAY = f"/studies/{UTF8.StudyInstanceUID}/series/{UTF8.SeriesInstanceUID}/instances/{UTF8.SOPInstanceUID}"


def dcmqrscp(folder: Path, port: int, move_port: int) -> Peer:
    """dcmtk's archive, which knows the bridge as a move destination."""
    program = shutil.which("dcmqrscp")
    if not program:
        raise MissingPeer("dcmqrscp", "apt-get install --no-install-recommends dcmtk")
    (folder / "PACS").mkdir()
    config = folder / "dcmqrscp.cfg"
    config.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        f"HostTable BEGIN\nbridge = (LIANREN, {LOOPBACK}, {move_port})\nHostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nPACS {folder / 'PACS'} RW (200, 1024mb) ANY\nAETable END\n"
    )
    echo = ["echoscu", "-aec", "PACS", LOOPBACK, str(port)]
    command = [program, "-c", str(config)]
    return start(
        "dcmqrscp",
        "dcmqrscp",
        command,
        folder,
        f"{LOOPBACK}:{port}",
        lambda: subprocess.run(echo, check=False, capture_output=True).returncode == 0,
    )


def bridge(folder: Path, name: str, archive: str, *words: str) -> Peer:
    port = free_port()
    url = f"http://{LOOPBACK}:{port}"
    words = ("bridge", "--archive", archive, "--port", str(port), *words)
    return lianren(folder, list(words), url, f"{url}/health/live", name=name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bridge")


@pytest.fixture(scope="module")
def bridges(folder: Path) -> Iterator[dict[str, str]]:
    """The addresses of a bridge by C-MOVE and one by C-GET to dcmqrscp, and one by C-MOVE to Orthanc; both
    archives hold the studies."""
    with needed(), ExitStack() as stack, ThreadPoolExecutor(3) as pool:
        port, move_port, orthanc_port, orthanc_move_port = (free_port() for _ in range(4))
        stack.enter_context(dcmqrscp(folder, port, move_port))
        pacs = stack.enter_context(orthanc(folder, dicom_port=orthanc_port, name="orthanc"))
        modality = {"AET": "LIANREN", "Host": LOOPBACK, "Port": orthanc_move_port}
        root = f"http://{urlsplit(pacs.url).netloc}"
        httpx.put(f"{root}/modalities/lianren", json=modality, trust_env=False).raise_for_status()
        dcmtk = f"PACS@{LOOPBACK}:{port}"
        words = {
            "move": (dcmtk, "--move-port", str(move_port)),
            "get": (dcmtk,),
            "orthanc": (f"LIANREN@{LOOPBACK}:{orthanc_port}", "--move-port", str(orthanc_move_port)),
        }
        starting = {name: pool.submit(bridge, folder, name, *more) for name, more in words.items()}
        urls = {name: stack.enter_context(future.result()).url for name, future in starting.items()}
        for datasets in STUDIES.values():
            store(urls["get"], datasets)
            store(pacs.url, datasets)
        yield urls


@pytest.fixture(params=["move", "get", "orthanc"])
def client(bridges: dict[str, str], request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=bridges[request.param], trust_env=False, timeout=30) as client:
        yield client


def listed(client: httpx.Client, path: str, **params: str) -> list[dict[str, Any]]:
    answer = client.get(path, params=params, headers={"Accept": JSON})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


def values(matches: list[dict[str, Any]], tag: str) -> list[Any]:
    return sorted(match[tag]["Value"][0] for match in matches)


def parts(answer: httpx.Response) -> list[bytes]:
    """The bodies of the parts of a multipart answer."""
    assert answer.status_code == 200, answer.text
    head = f"Content-Type: {answer.headers['Content-Type']}\r\n\r\n".encode()
    message = message_from_bytes(head + answer.content, policy=HTTP)
    return [part.get_content() for part in message.iter_parts()]


def datasets(answer: httpx.Response) -> dict[str, Dataset]:
    read = [dcmread(BytesIO(part)) for part in parts(answer)]
    return {str(one.SOPInstanceUID): one for one in read}


def test_the_bridge_is_ready_where_its_archive_answers(client: httpx.Client) -> None:
    assert client.get("/health/ready").status_code == 200


def test_studies_of_a_patient_are_found_with_their_names(client: httpx.Client) -> None:
    found = listed(client, "/studies", PatientID=NUMBER)
    assert values(found, "0020000D") == sorted(str(one[0].StudyInstanceUID) for one in STUDIES.values())
    assert {match["00100010"]["Value"][0]["Ideographic"] for match in found} == {
        BY_KEY["zhe"].dicom_name.split("=")[1]
    }


def test_a_name_in_hanzi_finds(client: httpx.Client) -> None:
    assert len(listed(client, "/studies", PatientName="*" + BY_KEY["zhe"].name[-1] + "*")) == 2


def test_nobody_is_an_empty_list(client: httpx.Client) -> None:
    assert listed(client, "/studies", PatientID="nobody") == []


@pytest.mark.parametrize("path", ["series", "instances"])
def test_lower_levels_are_found_below_a_study(client: httpx.Client, path: str) -> None:
    found = listed(client, f"/studies/{UTF8.StudyInstanceUID}/{path}")
    tag = {"series": "SeriesInstanceUID", "instances": "SOPInstanceUID"}[path]
    wanted = {str(one[tag].value) for one in STUDIES["utf-8"]}
    assert {match[f"{UTF8[tag].tag:08X}"]["Value"][0] for match in found} == wanted


def test_instances_are_found_by_the_patient_alone(client: httpx.Client) -> None:
    assert len(listed(client, "/instances", PatientID=NUMBER)) == 6


@pytest.mark.parametrize("charset", ["utf-8", "gb18030"])
def test_a_study_comes_whole_and_as_it_is(client: httpx.Client, charset: Charset) -> None:
    sent = {str(one.SOPInstanceUID): one for one in STUDIES[charset]}
    answer = client.get(f"/studies/{STUDIES[charset][0].StudyInstanceUID}")
    got = datasets(answer)
    assert got.keys() == sent.keys()
    assert all(got[uid].PixelData == one.PixelData for uid, one in sent.items())
    assert all(got[uid].PatientName == one.PatientName for uid, one in sent.items())


def test_one_instance_comes_alone(client: httpx.Client) -> None:
    assert list(datasets(client.get(WAY))) == [UTF8.SOPInstanceUID]


def test_metadata_is_made_of_every_instance(client: httpx.Client) -> None:
    told = listed(client, f"/studies/{STUDIES['gb18030'][0].StudyInstanceUID}/metadata")
    assert [one["00081030"]["Value"] for one in told] == [["胸部CT平扫"]] * 3


def test_a_frame_is_taken_out_of_its_instance(client: httpx.Client) -> None:
    assert parts(client.get(f"{WAY}/frames/1")) == [UTF8.PixelData]


def test_what_is_not_there_is_404(client: httpx.Client) -> None:
    assert client.get("/studies/1.2.3").status_code == 404


def test_an_instance_is_stored_by_the_archive(client: httpx.Client) -> None:
    fresh = chest("utf-8", instances=5)[4]
    fresh.StudyInstanceUID = uid_for("bridge", "stored", client.base_url)
    fresh.PatientID = "STORED"
    store(str(client.base_url).rstrip("/"), [fresh])
    assert len(listed(client, "/studies", StudyInstanceUID=fresh.StudyInstanceUID)) == 1


def test_a_file_that_the_archive_refuses_takes_no_other_with_it(bridges: dict[str, str]) -> None:
    files = sorted(CONFORMANCE.glob("shared/*/*.dcm"))
    if not files:
        pytest.skip("the conformance material is not beside the checkout")
    head = b"--b\r\nContent-Type: application/dicom\r\n\r\n"
    body = b"".join(head + file.read_bytes() + b"\r\n" for file in files) + b"--b--\r\n"
    with httpx.Client(base_url=bridges["get"], trust_env=False, timeout=30) as client:
        answer = client.post("/studies", content=body, headers={"Content-Type": f"{STOW}; boundary=b"})
    told = answer.json()
    kept = {one["00081155"]["Value"][0] for one in told["00081199"]["Value"]}
    index = json.loads((CONFORMANCE / "index.json").read_text())
    good = [dcmread(CONFORMANCE / one["file"]) for one in index if one["expect"] == "accept"]
    taken = [one for one in good if not one.file_meta.TransferSyntaxUID.is_deflated]  # dcmqrscp takes none
    assert {str(one.SOPInstanceUID) for one in taken} <= kept


def test_a_gateway_asks_it_like_any_archive(client: httpx.Client) -> None:
    node = DicomwebNode("cq-pacs", str(client.base_url), "EX-CQ-01", His(NUMBER), normaliser, timeout=20)
    results = ask(node, question(budget=20)).results
    assert sorted((one.local_name, one.images) for one in results) == [("胸部CT平扫", Images(3))] * 2


def test_a_viewer_sees_it_through_a_gateway(bridges: dict[str, str], tmp_path: Path) -> None:
    bundles, held, _ = records(datetime.now(UTC))
    images = held["cq-pacs"][CHEST]
    store(bridges["move"], images)
    pacs = {"id": "cq-pacs", "kind": "dicomweb", "url": bridges["move"], "identity": "cq-his"}
    base = {"base_url": f"http://{LOOPBACK}:{free_port()}"}
    with (
        hospital(tmp_path, "cq-his", bundles["cq-his"]) as his,
        gateway_with(tmp_path, [his, {**pacs, "institution": CQ, "timeout_ms": 7000}], **base) as live,
    ):
        viewer = {"Authorization": f"Bearer {viewing(live, PERSON.number)['token']}"}
        address = f"{live.url}/dicomweb/studies"
        with httpx.Client(headers=viewer, trust_env=False, timeout=20) as client:
            found = client.get(address).json()
            whole = datasets(client.get(f"{address}/{images[0].StudyInstanceUID}"))
            told = client.get(f"{address}/{images[0].StudyInstanceUID}/metadata").json()
    assert str(images[0].StudyInstanceUID) in values(found, "0020000D")
    assert whole.keys() == {str(image.SOPInstanceUID) for image in images}
    assert {one["00081030"]["Value"][0] for one in told} == {CHEST}


def test_the_logs_hold_nothing_of_a_person(bridges: dict[str, str], folder: Path) -> None:
    httpx.get(f"{bridges['move']}/studies", params={"PatientID": NUMBER, "limit": "-1"}, trust_env=False)
    written = "".join((folder / f"{name}.log").read_text() for name in bridges)
    assert "request_refused" in written
    assert not [word for word in (NUMBER, BY_KEY["zhe"].name, BY_KEY["zhe"].pinyin) if word in written]


def test_the_extra_is_named_where_it_is_missing() -> None:
    without = "import sys; sys.modules['pynetdicom'] = None; from gateway.cli import main; main()"
    words = [sys.executable, "-c", without, "bridge", "--archive", "PACS@127.0.0.1:104"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    said = "lianren: bridge needs pynetdicom: pip install 'lianren[dimse]'\n"
    assert (done.returncode, done.stderr) == (2, said)


@pytest.mark.parametrize("token", [b"", b"\n", "示例".encode()])
def test_a_token_file_without_a_token_lets_nobody_in(tmp_path: Path, token: bytes) -> None:
    (tmp_path / "token").write_bytes(token)
    done = command("bridge", "--archive", "PACS@127.0.0.1:104", "--token-file", str(tmp_path / "token"))
    assert (done.returncode, "holds no token" in done.stderr) == (2, True)


def test_a_bridge_beyond_loopback_needs_a_token() -> None:
    done = command("bridge", "--archive", "PACS@127.0.0.1:104", "--host", "0.0.0.0")  # noqa: S104 - refused
    assert (done.returncode, "--token-file" in done.stderr) == (2, True)
