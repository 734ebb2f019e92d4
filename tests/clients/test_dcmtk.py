"""What the gateway passes on is DICOM to dcmtk, which shares no code with archives or with us."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from gateway.demo.processes import MissingPeer
from tests.gateway.imaging.network import BRAIN, CHEST, OLD, Imaging
from tests.peers import needed

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("images")]


@pytest.mark.parametrize("study", [CHEST, BRAIN, OLD])
def test_an_instance_says_the_same_to_dcm2json_as_its_metadata(
    images: Imaging, tmp_path: Path, study: str
) -> None:
    program = shutil.which("dcm2json")
    if not program:
        with needed():
            raise MissingPeer("dcmtk", "apt-get install dcmtk")
    one = next(held[study][0] for held in images.held.values() if study in held)
    below = f"studies/{one.StudyInstanceUID}/series/{one.SeriesInstanceUID}/instances/{one.SOPInstanceUID}"
    headers = {"Authorization": f"Bearer {images.viewing()['token']}"}
    with httpx.Client(base_url=f"{images.live.url}/dicomweb", headers=headers, trust_env=False) as client:
        multipart = client.get(below, headers={"Accept": 'multipart/related; type="application/dicom"'})
        metadata = client.get(f"{below}/metadata", headers={"Accept": "application/dicom+json"})
    assert (multipart.status_code, metadata.status_code) == (200, 200)
    file = tmp_path / "one.dcm"
    file.write_bytes(part_of(multipart))
    done = subprocess.run([program, str(file)], capture_output=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    told, (said,) = json.loads(done.stdout), metadata.json()
    for tag in ("00080018", "00081030", "00100010", "00280010"):
        assert told[tag]["Value"] == said[tag]["Value"], tag
    (other,) = said["00101002"][
        "Value"
    ]  # an image has the archive's own Patient ID, and metadata beside ours
    assert told["00100020"]["Value"] == other["00100020"]["Value"]


def part_of(answer: httpx.Response) -> bytes:
    """The body of the one part of a multipart answer."""
    boundary = answer.headers["Content-Type"].partition("boundary=")[2].partition(";")[0].strip('"')
    _, part, _ = answer.content.split(f"--{boundary}".encode())
    return part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
