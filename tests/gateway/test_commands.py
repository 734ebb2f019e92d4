"""The commands that need no running gateway of their own, on the screen and for machines."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner, Result

from adapters import Report
from gateway.cli import app
from gateway.model import CatalogueRef, CheckAnswer, Coded, LedgerRef
from security import mark, note
from security.audit import Pinned
from security.export import write_export
from security.ledger import seal
from security.note import Checkpoint, NoteVerifier
from security.tree import Frontier
from security.trust import sign_key_list
from tests.security.material import CLAIMS, DAY, LOG_KEY, MARK_KEY, NOW, RESULT_DIGEST, ROOT, key_list


def lianren(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


# mark


@pytest.fixture
def marked(tmp_path: Path) -> list[str | Path]:
    """A mark that holds for ten years from NOW on, with its key list and roots, as words of a command."""
    lasting = msgspec.structs.replace(CLAIMS, expires=NOW + 3650 * DAY)
    listed = msgspec.structs.replace(key_list(MARK_KEY), expires=NOW + 3650 * DAY)
    (tmp_path / "mark").write_text(mark.to_text(mark.issue(lasting, MARK_KEY)))
    (tmp_path / "keys.json").write_bytes(sign_key_list(listed, [ROOT]))
    (tmp_path / "roots.json").write_bytes(msgspec.json.encode([ROOT.public]))
    return [tmp_path / "mark", "--keys", tmp_path / "keys.json", "--roots", tmp_path / "roots.json"]


def test_a_mark_is_shown_with_its_times_in_shanghai(marked: list[str | Path]) -> None:
    done = lianren("mark", "show", marked[0])
    assert "签发 issued 2026-11-20 18:00 +08:00 by cq" in done.stdout


def test_a_valid_mark_is_said_to_be_valid_in_both_languages(marked: list[str | Path]) -> None:
    done = lianren("mark", "verify", *marked)
    assert done.exit_code == 0
    assert [line.partition(" ")[0][:5] for line in done.stdout.splitlines()] == ["标识有效：", "valid", "–"]


def test_a_valid_mark_is_verified_for_machines(marked: list[str | Path]) -> None:
    done = lianren("mark", "verify", *marked, "--json", "--digest", RESULT_DIGEST.hex())
    told = json.loads(done.stdout)
    assert (done.exit_code, told["valid"], told["claims"]["item"]) == (0, True, CLAIMS.item)


def test_a_refused_mark_names_its_step_for_machines(marked: list[str | Path]) -> None:
    done = lianren("mark", "verify", *marked, "--json", "--digest", "00" * 32)
    told = json.loads(done.stdout)
    assert (done.exit_code, told["valid"], told["step"]) == (1, False, "digest")


# ledger


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """The export of a ledger of one entry, payloads not disclosed."""
    origin = "log.cq.example/exchange/sm3"
    entries = [seal("view", b"{}", time=NOW, from_="cq", to="sc")]
    frontier = Frontier().extend((entry.leaf for entry in entries), "sm3")
    text = Checkpoint(origin, 1, frontier.root("sm3")).to_text()
    write_export(tmp_path, [entry.body for entry in entries], note.sign(text, origin, [LOG_KEY]))
    pins = Pinned(logs=(NoteVerifier.of(origin, LOG_KEY.public).to_text(),), roots=(ROOT.public,))
    (tmp_path / "pinned.json").write_bytes(msgspec.json.encode(pins))
    return tmp_path


def test_what_was_not_checked_is_shown_as_not_made(export: Path) -> None:
    done = lianren("ledger", "verify", export)
    assert done.exit_code == 0
    assert [line[:3] for line in done.stdout.splitlines()[1:7]] == ["✓ 1", "✓ 2", "– 3", "✓ 4", "– 5", "✓ 6"]


def test_the_state_of_every_check_is_told_to_machines(export: Path) -> None:
    (export / "tile/0/000.p/1").write_bytes(bytes(32))
    done = lianren("ledger", "verify", export, "--json")
    states = [check["state"] for check in json.loads(done.stdout)["checks"]]
    assert (done.exit_code, states) == (1, ["passed", "failed", *["not_made"] * 4])


# check


@pytest.fixture
def gateway() -> Iterator[str]:
    """The address of a server that gives one answer: nothing to order, one node not heard."""
    answer = CheckAnswer(
        id="0" * 32,
        request_id="1",
        receiver=Coded("EX-SC-01", "成都示例医院"),
        asked_at=NOW,
        answered_at=NOW,
        catalogue=CatalogueRef("1", True, "示例目录。", "An illustrative catalogue."),
        complete=False,
        advice=(),
        verdicts=(),
        unnamed=(),
        nodes=(Report(node="cq-his", kind="fhir", state="late", took_ms=3000),),
        ledger=LedgerRef("sc.lianren.example/exchange", "0" * 64, 7),
    )

    class Answering(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(msgspec.json.encode(answer))

        def log_message(self, *_: object) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_an_incomplete_answer_is_said_on_standard_error(
    gateway: str, tmp_path: Path, more: list[str]
) -> None:
    files = {name: tmp_path / name for name in ("patient", "token")}
    for file in files.values():
        file.write_text("1")
    words = ["--patient", str(files["patient"]), "--token-file", str(files["token"]), *more]
    done = lianren("check", "胸部CT平扫", "--gateway", gateway, *words)
    assert done.exit_code == 0
    assert done.stderr.splitlines() == ["lianren: 查询不完整：cq-his 未应答 / incomplete, not heard: cq-his"]
