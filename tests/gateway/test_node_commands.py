"""``lianren node``: beside a gateway, on its store."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway.cli import app
from gateway.commands.common import Stop
from gateway.keyring import make_keys
from gateway.settings import load_settings
from security.ledger import read_entry
from tests.gateway.live import PASSPHRASE
from tests.serving import http_answer, misbehave

NODE = '[[nodes]]\nid = "his"\nkind = "fhir"\nurl = "{url}"\ninstitution = "EX-CQ-01"\n'


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Something that says it is a FHIR server."""
    with misbehave(lambda *_: http_answer(b'{"resourceType":"CapabilityStatement"}')) as url:
        yield url


@pytest.fixture
def config(tmp_path: Path, server: str) -> Path:
    """A gateway's file with one node, and its keys."""
    (tmp_path / "passphrase").write_bytes(PASSPHRASE)
    (tmp_path / "passphrase").chmod(0o600)
    (tmp_path / "credentials").mkdir()
    file = tmp_path / "lianren.toml"
    file.write_text(
        'name = "重庆示例"\nowner = "cq"\nregion = "500000"\nbase_url = "http://127.0.0.1:8080"\n'
        'data_dir = "data"\nkey_passphrase_file = "passphrase"\nnode_files = "credentials"\n'
        + NODE.format(url=server),
        encoding="utf-8",
    )
    make_keys(load_settings(file))
    return file


def node(config: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["node", *words, "--config", str(config)])


def refused(config: Path, *words: str) -> str:
    stop = node(config, *words).exception
    assert isinstance(stop, Stop)
    return str(stop)


def listed(config: Path) -> dict[str, dict[str, object]]:
    return {one["id"]: one for one in json.loads(node(config, "list", "--json").stdout)}


def test_a_node_of_the_file_is_listed_as_such(config: Path) -> None:
    assert listed(config)["his"]["from"] == "file"


def test_a_setting_is_changed_and_the_others_stay(config: Path, server: str) -> None:
    assert node(config, "set", "his", "timeout_ms=900", "dialect.search=get").exit_code == 0
    found = listed(config)["his"]
    assert (found["timeout_ms"], found["dialect"]["search"], found["url"]) == (900, "get", server)  # type: ignore[index]


def test_a_node_is_added_by_its_file(config: Path, tmp_path: Path, server: str) -> None:
    file = tmp_path / "new.toml"
    file.write_text(NODE.replace('"his"', '"lis"').format(url=server) + 'kinds = ["lab"]\n')
    assert node(config, "set", "lis", "--file", str(file)).exit_code == 0
    assert listed(config)["lis"]["kinds"] == ["lab"]


def test_what_is_shown_of_a_node_can_be_set_again(config: Path, tmp_path: Path) -> None:
    file = tmp_path / "shown.toml"
    shown = node(config, "show", "his").stdout
    file.write_text("\n".join(line for line in shown.splitlines() if "dialect." not in line))
    assert node(config, "set", "copy", "--file", str(file)).exit_code == 0
    assert listed(config)["copy"]["url"] == listed(config)["his"]["url"]


def test_a_removed_node_is_not_listed(config: Path) -> None:
    assert node(config, "remove", "his").exit_code == 0
    assert listed(config) == {}


def test_a_renamed_node_keeps_its_settings(config: Path, server: str) -> None:
    assert node(config, "rename", "his", "emr").exit_code == 0
    assert listed(config)["emr"]["url"] == server


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("set", "his", "timeout_ms=0"), "timeout_ms"),
        (("set", "his", "colour=red"), "colour"),
        (("set", "his", "kinds=lab"), "kinds"),
        (("set", "his", "url=http://192.0.2.1/fhir"), "https"),
        (("set", "his", "url=https://user@example.org"), "password"),
        (("set", "his", "token_file=/etc/passwd"), "below"),
        (("set", "his", "token_file=../passphrase"), "below"),
        (("set", "his", "nonsense"), "KEY=VALUE"),
        (("set", "his"), "nothing to set"),
        (("set", "pacs", "kind=dicomweb", "url=https://a.example", "institution=X"), "FHIR node"),
        (("remove", "lis"), "no node"),
        (("rename", "his", "Nein!"), "pattern"),
        (("rename", "lis", "emr"), "no node"),
        (("show", "lis"), "no node"),
        (("probe", "lis"), "no node"),
    ],
)
def test_a_wrong_change_is_one_line_that_says_what_is_wrong(
    config: Path, words: tuple[str, ...], said: str
) -> None:
    assert said in refused(config, *words)


def test_the_node_that_an_archive_rests_on_is_not_removed(config: Path, server: str) -> None:
    words = ("set", "pacs", "kind=dicomweb", f"url={server}", "institution=EX-CQ-01", "identity=his")
    assert node(config, *words).exit_code == 0
    assert "pacs" in refused(config, "remove", "his")


def test_an_archive_follows_its_renamed_node(config: Path, server: str) -> None:
    words = ("set", "pacs", "kind=dicomweb", f"url={server}", "institution=EX-CQ-01", "identity=his")
    assert node(config, *words).exit_code == 0
    assert node(config, "rename", "his", "emr").exit_code == 0
    assert listed(config)["pacs"]["identity"] == "emr"


def test_credentials_are_named_by_their_file(config: Path, tmp_path: Path) -> None:
    (tmp_path / "credentials/his.token").write_text("a-secret-token\n")
    assert node(config, "set", "his", "token_file=his.token").exit_code == 0
    printed = node(config, "list", "--json").stdout
    assert "credentials/his.token" in printed
    assert "a-secret-token" not in printed


def test_every_node_is_asked_whether_it_is_there(config: Path) -> None:
    answered = node(config, "probe", "--json")
    assert (answered.exit_code, json.loads(answered.stdout)[0]["state"]) == (0, "answered")


def test_a_node_that_is_not_there_makes_the_probe_fail(config: Path) -> None:
    assert node(config, "set", "his", "url=http://127.0.0.1:9/fhir").exit_code == 0
    answered = node(config, "probe", "his")
    assert (answered.exit_code, "unreachable" in answered.stdout) == (1, True)


def test_every_change_is_an_entry_of_the_ledger(config: Path) -> None:
    node(config, "set", "his", "timeout_ms=900", "--by", "ops")
    node(config, "remove", "his", "--by", "ops")
    import asyncio

    from gateway.wiring import open_changes

    async def entries() -> list[tuple[str, str, str]]:
        async with open_changes(load_settings(config)) as (_, sequencer):
            bodies = await sequencer.store.entries(0, 10)
            return [(e.type, e.scheme, e.item) for e in map(read_entry, bodies)]

    assert asyncio.run(entries()) == [("node", "nodes/00000001", "his"), ("node", "nodes/00000002", "his")]


def test_a_list_behind_a_missing_change_is_still_json_and_says_so(config: Path) -> None:
    assert node(config, "set", "his", "timeout_ms=900").exit_code == 0
    assert node(config, "remove", "his").exit_code == 0
    with closing(sqlite3.connect(load_settings(config).data_dir / "lianren.sqlite3")) as connection:
        connection.execute("DELETE FROM document WHERE kind = 'node' AND id = '00000001'")
        connection.commit()
    said = node(config, "list", "--json")
    assert ([one["id"] for one in json.loads(said.stdout)], "00000001" in said.stderr) == (["his"], True)
