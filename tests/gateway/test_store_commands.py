"""``lianren store``: the tables of a gateway's store, without its keys."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway.cli import app
from gateway.commands.common import Stop


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "lianren.toml"
    file.write_text(
        'name = "重庆示例"\nowner = "cq"\nregion = "500000"\nbase_url = "http://127.0.0.1:8080"\n'
        'data_dir = "data"\nmigrate = false\n',
        encoding="utf-8",
    )
    return file


def store(config: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["store", *words, "--config", str(config)])


def revision(config: Path) -> str:
    return str(json.loads(store(config, "status", "--json").stdout)["revision"])


def test_a_store_without_tables_is_not_of_this_version(config: Path) -> None:
    done = store(config, "status")
    assert (done.exit_code, "无 none" in done.stdout) == (1, True)


def test_an_upgrade_makes_the_tables_although_a_start_may_not(config: Path) -> None:
    assert store(config, "upgrade").exit_code == 0
    assert store(config, "upgrade").exit_code == 0
    done = store(config, "status")
    assert (done.exit_code, "0005" in done.stdout) == (0, True)


def test_a_downgrade_has_to_be_confirmed(config: Path) -> None:
    store(config, "upgrade")
    stop = store(config, "downgrade", "0004").exception
    assert isinstance(stop, Stop)
    assert "--yes" in str(stop)
    assert revision(config) == "0005"


def test_a_downgrade_and_an_upgrade_lead_back(config: Path) -> None:
    store(config, "upgrade")
    assert store(config, "downgrade", "0004", "--yes").exit_code == 0
    assert revision(config) == "0004"
    store(config, "upgrade")
    assert revision(config) == "0005"


def test_there_is_no_way_back_to_what_never_was(config: Path) -> None:
    store(config, "upgrade")
    stop = store(config, "downgrade", "0009", "--yes").exception
    assert isinstance(stop, Stop)
    assert "0001, 0002, 0003, 0004, 0005" in str(stop)
