"""``lianren ledger``: pins of several gateways, evidence files, two exports, and what the options refuse."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from security.audit import Pinned
from tests.gateway.publishing import lianren
from tests.security.material import LOG_KEY, SC_ROOT
from tests.security.test_crossing import CQ, PINNED, SC, SC_LOG, exported, received, sent
from tests.security.test_proof_file import CHECK, EVIDENCE, LEDGER, _evidence, _seal
from tests.security.test_proof_file import PINNED as CQ_PINS


@pytest.fixture
def evidence(tmp_path: Path) -> list[str | Path]:
    """An evidence file and the pins of its gateway, as words of a command."""
    (tmp_path / "evidence.json").write_bytes(EVIDENCE.to_bytes())
    (tmp_path / "pins.json").write_bytes(msgspec.json.encode(CQ_PINS))
    return [tmp_path / "evidence.json", "--pinned", tmp_path / "pins.json"]


def test_an_evidence_file_is_verified_by_the_pins_alone(evidence: list[str | Path]) -> None:
    done = lianren("ledger", "verify", *evidence)
    assert done.status == 0
    assert [line[:3] for line in done.out.splitlines()[1:]] == ["✓ 1", "✓ 2", "– 3", "✓ 4", "✓ 5", "✓ 6"]


def test_the_pins_of_several_gateways_count_together(evidence: list[str | Path], tmp_path: Path) -> None:
    (tmp_path / "more.json").write_bytes(msgspec.json.encode(Pinned(logs=(), roots=(SC_ROOT.public,))))
    alone = lianren("ledger", "verify", *evidence)
    both = lianren("ledger", "verify", *evidence, "--pinned", tmp_path / "more.json")
    assert ("not verified" in alone.out, "not verified" in both.out, both.status) == (True, False, 0)


def test_more_signers_than_there_are_can_be_required(evidence: list[str | Path]) -> None:
    done = lianren("ledger", "verify", *evidence, "--required", "2", "--json")
    states = {check["name"]: check["state"] for check in json.loads(done.out)["checks"]}
    assert (done.status, states["NOTE"]) == (1, "failed")


def test_an_evidence_file_brings_no_pins(evidence: list[str | Path]) -> None:
    done = lianren("ledger", "verify", evidence[0])
    assert (done.status, "brings no pins" in done.out) == (2, True)


def test_nothing_that_is_verified_writes_to_the_terminal(tmp_path: Path) -> None:
    drawn = "\x1b[2J\n✓ 6 bindings"
    verdict = _seal(
        "verdict", {"check": CHECK, "verdicts": [{"result": "", "mark": drawn}]}, LEDGER[1].entry_id
    )
    data = _evidence([*LEDGER[:4], verdict], (1, 2, 3, 4)).to_bytes()
    (tmp_path / "evidence.json").write_bytes(data)
    (tmp_path / "pins.json").write_bytes(msgspec.json.encode(CQ_PINS))
    done = lianren("ledger", "verify", tmp_path / "evidence.json", "--pinned", tmp_path / "pins.json")
    assert (done.status, drawn in done.out, "�[2J�✓ 6" in done.out) == (1, False, True)


def test_what_is_not_there_is_not_verified(evidence: list[str | Path], tmp_path: Path) -> None:
    done = lianren("ledger", "verify", tmp_path / "nothing", *evidence[1:])
    assert (done.status, "does not exist" in done.out) == (2, True)


def test_a_file_too_large_for_evidence_is_not_read(evidence: list[str | Path]) -> None:
    with Path(evidence[0]).open("r+b") as file:
        file.truncate(1 << 40)
    done = lianren("ledger", "verify", *evidence)
    assert (done.status, "larger than the evidence" in done.out) == (2, True)


@pytest.mark.parametrize("option", ["--previous", "--other"])
def test_an_evidence_file_is_compared_with_nothing(evidence: list[str | Path], option: str) -> None:
    done = lianren("ledger", "verify", *evidence, option, evidence[0])
    assert (done.status, "go with an export" in done.out) == (2, True)


def test_a_file_that_holds_no_pins_is_named(evidence: list[str | Path]) -> None:
    done = lianren("ledger", "verify", evidence[0], "--pinned", evidence[0])
    assert (done.status, "holds no pins" in done.out) == (2, True)


@pytest.mark.parametrize(("heard", "status"), [(b"one", 0), (b"two", 1)])
def test_two_exports_are_laid_beside_each_other(tmp_path: Path, heard: bytes, status: int) -> None:
    ours = exported(tmp_path / "cq", received(heard), CQ, LOG_KEY)
    theirs = exported(tmp_path / "sc", sent(b"one"), SC, SC_LOG)
    (tmp_path / "pins.json").write_bytes(msgspec.json.encode(PINNED))
    done = lianren("ledger", "verify", ours, "--other", theirs, "--pinned", tmp_path / "pins.json")
    assert done.status == status


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A file of settings that need not hold, because the options are refused first."""
    file = tmp_path / "lianren.toml"
    file.write_text(
        f'name = "示例"\nowner = "cq"\nregion = "500000"\nbase_url = "http://127.0.0.1"\n'
        f'data_dir = "{tmp_path}/data"\nkey_passphrase_file = "{tmp_path}/passphrase"\n'
    )
    return file


@pytest.mark.parametrize("option", ["--from", "--to"])
def test_a_time_that_is_none_is_refused(config: Path, tmp_path: Path, option: str) -> None:
    done = lianren("ledger", "export", tmp_path / "out", "-c", config, option, "yesterday")
    assert (done.status, f"{option}: 'yesterday' is no time" in done.out) == (2, True)


def test_an_export_goes_into_an_empty_folder(config: Path, tmp_path: Path) -> None:
    done = lianren("ledger", "export", tmp_path, "-c", config)
    assert (done.status, "is not empty" in done.out) == (2, True)


def test_evidence_goes_into_a_new_file(config: Path) -> None:
    done = lianren("ledger", "prove", "0" * 32, config, "-c", config)
    assert (done.status, "exists" in done.out) == (2, True)
