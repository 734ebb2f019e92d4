"""A printed mark can be read again, and verified with files alone."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as Xml

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
import zxingcpp

from gateway.keeper import roots_of
from gateway.keyring import open_keys
from gateway.marks.printing import MODULE_MM, WIDTH_MM, label, picture
from gateway.model import VerdictOut
from security import mark as marks
from security import tlog_proof
from security.trust import TrustList
from tests.gateway.live import Live, ask, body, gateway_over_source
from tests.security.broken_marks import good

Pixels = npt.NDArray[np.uint8]
_RUN = re.compile(r"M(\d+) (\d+)h(\d+)v1h-(\d+)z")
_SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A real gateway over a real node."""
    with gateway_over_source(tmp_path_factory.mktemp("printing")) as live:
        yield live


@pytest.fixture(scope="module")
def verdict(live: Live) -> VerdictOut:
    """A recognised result with its mark."""
    (verdict,) = ask(live.client(), body("白蛋白")).verdicts
    assert verdict.mark is not None
    assert verdict.mark.signed
    return verdict


def drawn(svg: bytes, scale: int = 4) -> Pixels:
    """The QR code of a label as a picture, drawn from its path."""
    (path,) = Xml.fromstring(svg).iter(f"{_SVG}path")  # noqa: S314 - what this gateway made
    runs = [tuple(map(int, run)) for run in _RUN.findall(path.attrib["d"])]
    size = max(x + length for x, _, length, _ in runs) + 4
    picture: Pixels = np.full((size, size), 255, np.uint8)
    for x, y, length, back in runs:
        assert length == back
        picture[y, x : x + length] = 0
    return np.kron(picture, np.ones((scale, scale), np.uint8))


def scanned(picture: Pixels) -> str:
    """What a reader of QR codes sees; one of all codes may take a few of its lines for another."""
    wanted = zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCode)
    (found,) = zxingcpp.read_barcodes(picture, formats=wanted)
    return str(found.text)


def unpacked(png: bytes) -> Pixels:
    """The pixels of a PNG of one bit, without a library for pictures."""
    width, height = struct.unpack(">II", png[16:24])
    place, data = 8, b""
    while place < len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        if png[place + 4 : place + 8] == b"IDAT":
            data += png[place + 8 : place + 8 + length]
        place += length + 12
    row = (width + 7) // 8 + 1
    lines = np.frombuffer(zlib.decompress(data), np.uint8).reshape(height, row)
    rows = [np.zeros(row - 1, np.uint8)]
    for line in lines:
        assert line[0] in (0, 2), "filtered in another way than from the line above"
        rows.append(line[1:] + rows[-1] if line[0] else line[1:])
    return np.unpackbits(np.array(rows[1:]), axis=1)[:, :width] * np.uint8(255)


def test_the_label_is_read_back(live: Live, verdict: VerdictOut) -> None:
    assert verdict.mark is not None
    response = live.client().get(f"/api/v1/marks/{verdict.mark.id}.svg")
    assert response.headers["content-type"] == "image/svg+xml"
    assert scanned(drawn(response.content)) == verdict.mark.signed


def test_the_picture_is_read_back(live: Live, verdict: VerdictOut) -> None:
    assert verdict.mark is not None
    response = live.client().get(f"/api/v1/marks/{verdict.mark.id}.png")
    assert response.headers["content-type"] == "image/png"
    assert scanned(unpacked(response.content)) == verdict.mark.signed


def test_a_printed_code_still_reads_with_a_tenth_of_it_gone() -> None:
    code = drawn(label(marks.read(good())))
    size = len(code)
    code[size // 2 : size // 2 + size // 5, size // 2 : size // 2 + size // 4] = 255
    assert scanned(code) == good()


def test_the_label_says_what_the_mark_says_and_how_to_verify_it(live: Live, verdict: VerdictOut) -> None:
    assert verdict.mark is not None
    svg = live.client().get(f"/api/v1/marks/{verdict.mark.id}.svg").text
    assert verdict.item is not None
    for word in ("川渝HR", verdict.item.code, verdict.item.name, "EX-CQ-01", "lianren mark verify"):
        assert word in svg.replace("</text>", "").replace("\n", ""), word


def test_the_label_is_as_large_as_a_report_has_room_for() -> None:
    root = Xml.fromstring(label(marks.read(good())))  # noqa: S314 - what this gateway made
    assert root.attrib["width"] == f"{WIDTH_MM:g}mm"
    assert 25 <= float(root.attrib["height"].removesuffix("mm")) <= 45
    code = drawn(label(marks.read(good())), scale=1)
    assert 25 <= len(code) * MODULE_MM <= 36


def test_the_page_for_auditors_shows_what_is_printed() -> None:
    shown = Path(__file__).resolve().parents[2] / "docs/mark.svg"
    mark = marks.read((Path(__file__).parents[1] / "data/marks/good.txt").read_text().strip())
    assert shown.read_bytes() == label(mark, "CT 胸部平扫", "重庆示例第一医院")


def test_the_words_of_a_label_are_no_markup() -> None:
    svg = label(marks.read(good()), item="<script>&", institution='"></svg>')
    assert b"<script>" not in svg
    Xml.fromstring(svg)  # noqa: S314 - what this gateway made


def test_the_picture_states_its_resolution() -> None:
    png = picture(marks.read(good()))
    place = png.index(b"pHYs") + 4
    assert int.from_bytes(png[place : place + 4]) == round(300 / 0.0254)


@pytest.mark.parametrize("place", ["0" * 32 + ".svg", "0" * 32 + ".png", "x/proof", "..%2f.svg"])
def test_a_mark_that_was_not_issued_here_is_not_printed(live: Live, place: str) -> None:
    assert live.client().get(f"/api/v1/marks/{place}").status_code == 404


def test_a_stranger_prints_no_marks(live: Live, verdict: VerdictOut) -> None:
    assert verdict.mark is not None
    assert live.client("").get(f"/api/v1/marks/{verdict.mark.id}.svg").status_code == 401


def test_the_ledger_is_shown_to_hold_the_mark(live: Live, verdict: VerdictOut) -> None:
    assert verdict.mark is not None
    proof = live.client().get(f"/api/v1/marks/{verdict.mark.id}/proof").text
    roots = roots_of(open_keys(live.settings), "cq")
    now = datetime.now(UTC)
    trust = TrustList(roots).add(live.client("").get("/trust/keys").content, now)
    marks.verify(verdict.mark.signed, trust=trust, now=now, proof=proof)
    assert tlog_proof.read(proof).to_text() == proof
    assert len(proof) < 4096


@pytest.fixture
def files(live: Live, verdict: VerdictOut, tmp_path: Path) -> Path:
    """Everything that a stranger needs to verify a mark: the scanned text and four files."""
    assert verdict.mark is not None
    public, own = live.client(""), live.client()
    roots = roots_of(open_keys(live.settings), "cq")
    (tmp_path / "mark.txt").write_text(
        scanned(drawn(own.get(f"/api/v1/marks/{verdict.mark.id}.svg").content))
    )
    (tmp_path / "roots.json").write_bytes(msgspec.json.encode(roots))
    (tmp_path / "keys.json").write_bytes(public.get("/trust/keys").content)
    (tmp_path / "status.cose").write_bytes(public.get("/trust/status").content)
    (tmp_path / "mark.tlog-proof").write_bytes(own.get(f"/api/v1/marks/{verdict.mark.id}/proof").content)
    return tmp_path


def verified(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """The command, as a stranger runs it, with no gateway to ask."""
    command = [sys.executable, "-m", "gateway.cli", "mark", "verify", "mark.txt", "--json"]
    options = ["--keys", "keys.json", "--roots", "roots.json", "--status", "status.cose"]
    return subprocess.run(
        [*command, *options, "--proof", "mark.tlog-proof", *more],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )


def test_a_scanned_mark_is_verified_with_files_alone(files: Path) -> None:
    done = verified(files, "--region", "510100")
    assert (done.returncode, done.stderr) == (0, "")
    assert msgspec.json.decode(done.stdout)["not_made"] == ["digest"]


@pytest.mark.parametrize(
    ("step", "spoil"),
    [
        ("format", ["mark.txt", "XR1:"]),
        ("key", ["keys.json", "{}"]),
        ("inclusion", ["mark.tlog-proof", "c2sp.org/tlog-proof@v1\n"]),
        ("withdrawn", ["status.cose", "no list"]),
        ("scope", ["--region", "420100"]),
        ("digest", ["--digest", "00" * 32]),
    ],
)
def test_the_command_names_the_step_that_refuses(files: Path, step: str, spoil: list[str]) -> None:
    if spoil[0].startswith("--"):
        done = verified(files, *spoil)
    else:
        (files / spoil[0]).write_text(spoil[1])
        done = verified(files)
    assert done.returncode == 1, done.stderr
    assert msgspec.json.decode(done.stdout)["step"] == step


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_the_command_prints_a_mark_to_a_file(tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"mark{suffix}"
    command = [sys.executable, "-m", "gateway.cli", "mark", "print", good(), "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    body = out.read_bytes()
    assert scanned(drawn(body) if suffix == ".svg" else unpacked(body)) == good()
