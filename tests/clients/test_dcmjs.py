"""The dicomweb-client of dcmjs, by node, with a gateway for its server."""

from __future__ import annotations

import json
import shutil
import subprocess
from base64 import b64decode
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from gateway.demo import environments
from tests.clients.conftest import HERE
from tests.gateway.imaging.network import BRAIN, Imaging, pattern
from tests.peers import needed

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("images")]


@pytest.fixture(scope="module")
def got(images: Imaging, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the client got of the first image of a study."""
    folder: Path = tmp_path_factory.mktemp("dicomjs")
    with needed():
        environments.packages(HERE / "dicomjs", folder, "dicomweb-client in JavaScript")
    shutil.copy(HERE / "dicomjs/ask.mjs", folder)
    one = images.held["sc-pacs"][BRAIN][0]
    words = [f"{images.live.url}/dicomweb", images.viewing()["token"]]
    words += [one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID]
    command = [shutil.which("node") or "node", str(folder / "ask.mjs"), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_studies_and_series_are_found(got: dict[str, Any]) -> None:
    assert len(got["studies"]) == 4
    assert len(got["series"]) == 1


def test_metadata_keep_the_name_in_hanzi(got: dict[str, Any]) -> None:
    names = [one["00100010"]["Value"][0]["Alphabetic"] for one in got["metadata"]]
    assert names == ["示例^患者㛃"] * 3


def test_the_frame_is_that_of_the_instance(got: dict[str, Any]) -> None:
    instance = dcmread(BytesIO(b64decode(got["instance"])))
    assert b64decode(got["frame"]) == instance.PixelData == pattern(instance)


def test_an_image_is_rendered(got: dict[str, Any]) -> None:
    assert b64decode(got["rendered"])[:2] == b"\xff\xd8"


def test_without_a_viewing_nothing_is_shown(got: dict[str, Any]) -> None:
    assert got["refused"] == 401
