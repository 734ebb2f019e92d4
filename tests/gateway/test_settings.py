"""The configuration: every defect is one line that names the key, and no secret stands in the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import SettingsError
from gateway.settings import load_settings

TOP = {
    "name": '"示例"',
    "owner": '"cq"',
    "region": '"500000"',
    "base_url": '"http://127.0.0.1:8080"',
    "data_dir": '"/var/lib/lianren"',
}
NODE = {"id": '"his"', "kind": '"fhir"', "url": '"http://127.0.0.1:9000"', "institution": '"EX-CQ-01"'}
CLIENT = {"id": '"his"', "roles": '["his"]', "token_sha256": f'"{"0" * 64}"'}
KEYS_AT = {"id": '"his"', "roles": '["his"]'}
PIN = {"owner": '"sc"', "url": '"http://127.0.0.1:8081"', "keys_file": '"sc.json"'}


def written(folder: Path, top: dict[str, str] | None = None, **tables: dict[str, str]) -> Path:
    """The file of a configuration that is right but for what is given."""
    lines = [f"{key} = {value}" for key, value in (TOP | (top or {})).items()]
    for name, fields in tables.items():
        lines += [f"[[{name}]]", *(f"{key} = {value}" for key, value in fields.items())]
    file = folder / "lianren.toml"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def defect(file: Path) -> str:
    with pytest.raises(SettingsError) as wrong:
        load_settings(file)
    return str(wrong.value).removeprefix(f"{file}: ")


def test_a_whole_configuration_is_read(tmp_path: Path) -> None:
    settings = load_settings(written(tmp_path, nodes=NODE, clients=CLIENT, pins=PIN))
    assert (settings.owner, settings.nodes[0].id, settings.clients[0].id) == ("cq", "his", "his")


def test_the_address_of_a_gateway_is_known_without_a_slash_at_its_end(tmp_path: Path) -> None:
    settings = load_settings(written(tmp_path, {"base_url": '"https://gateway.example/"'}))
    assert settings.base_url == "https://gateway.example"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("owner", '"Chongqing!"'),
        ("base_url", '"ftp://127.0.0.1"'),
        ("port", "0"),
        ("port", '"http"'),
        ("deadline_ms", "10"),
        ("lookback_days", "0"),
        ("body_limit", "1"),
        ("catalogue_poll_s", "0"),
        ("mark_algorithm", '"RSA"'),
        ("demo", '"perhaps"'),
        ("nodes", '"his"'),
        ("colour", '"red"'),
        ("name", "7"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_its_key(tmp_path: Path, key: str, value: str) -> None:
    line = defect(written(tmp_path, {key: value}))
    assert line.startswith(f"{key}: ")
    assert "\n" not in line


@pytest.mark.parametrize("key", TOP)
def test_a_missing_setting_is_named(tmp_path: Path, key: str) -> None:
    file = written(tmp_path)
    file.write_text("\n".join(f"{name} = {value}" for name, value in TOP.items() if name != key))
    assert defect(file).startswith(f"{key}: ")


@pytest.mark.parametrize(
    ("table", "fields", "key"),
    [
        ("nodes", NODE | {"id": '"HIS 1"'}, "nodes.0.id"),
        ("nodes", NODE | {"kind": '"soap"'}, "nodes.0.kind"),
        ("nodes", NODE | {"url": '"127.0.0.1"'}, "nodes.0.url"),
        ("nodes", NODE | {"timeout_ms": "0"}, "nodes.0.timeout_ms"),
        ("nodes", NODE | {"institution": '""'}, "nodes.0.institution"),
        ("nodes", NODE | {"kind": '"dicomweb"'}, "nodes.0.identity"),
        ("nodes", NODE | {"colour": '"red"'}, "nodes.0.colour"),
        ("nodes", NODE | {"kind": '"published"'}, "nodes.0.url"),
        ("nodes", NODE | {"url": '""'}, "nodes.0.url"),
        ("nodes", NODE | {"url": '"http://192.0.2.1/fhir"'}, "nodes.0.url"),
        ("nodes", NODE | {"url": '"https://name:secret@example.org/fhir"'}, "nodes.0.url"),
        ("nodes", NODE | {"url": '"https://example.org/fhir?key=1"'}, "nodes.0.url"),
        ("nodes", NODE | {"url": '"https://example.org/fhir#top"'}, "nodes.0.url"),
        ("nodes", NODE | {"url": '"https:///fhir"'}, "nodes.0.url"),
        ("nodes", NODE | {"url": '"https://example.org:port/fhir"'}, "nodes.0.url"),
        ("nodes", NODE | {"url": '"https://示例.cn/fhir"'}, "nodes.0.url"),
        ("nodes", NODE | {"url": '"https://example.org/fhir\\r\\nX: 1"'}, "nodes.0.url"),
        ("nodes", NODE | {"identity": '"his"'}, "nodes.0.identity"),
        ("nodes", NODE | {"kind": '"gateway"', "owner": '"cq"'}, "nodes.0.owner"),
        ("nodes", NODE | {"user": '"lianren"'}, "nodes.0.user"),
        ("nodes", NODE | {"password_file": '"password"'}, "nodes.0.user"),
        ("nodes", NODE | {"user": '"a:b"', "password_file": '"password"'}, "nodes.0.user"),
        (
            "nodes",
            NODE | {"user": '"lianren"', "password_file": '"password"', "token_file": '"token"'},
            "nodes.0.token_file",
        ),
        ("nodes", NODE | {"certificate_key_file": '"key.pem"'}, "nodes.0.certificate_key_file"),
        ("nodes", NODE | {"kinds": "[]"}, "nodes.0.kinds"),
        ("nodes", NODE | {"charset": '"big5"'}, "nodes.0.charset"),
        ("nodes", NODE | {"proxy": '"socks5://127.0.0.1:1080"'}, "nodes.0.proxy"),
        ("nodes", NODE | {"proxy": '"http://proxy:port"'}, "nodes.0.proxy"),
        ("nodes", NODE | {"proxy": '"http://192.0.2.1:3128"'}, "nodes.0.proxy"),  # NODE is http on loopback
        ("nodes", NODE | {"dialect": '{search = "put"}'}, "nodes.0.dialect.search"),
        ("nodes", NODE | {"dialect": '{tongue = "x"}'}, "nodes.0.dialect.tongue"),
        ("clients", CLIENT | {"token_sha256": '"secret"'}, "clients.0.token_sha256"),
        ("clients", CLIENT | {"roles": "[]"}, "clients.0.roles"),
        ("clients", CLIENT | {"roles": '["king"]'}, "clients.0.roles.0"),
        ("clients", CLIENT | {"token": '"secret"'}, "clients.0.token"),
        ("pins", PIN | {"url": '"sc"'}, "pins.0.url"),
        ("pins", PIN | {"url": '"http://192.0.2.1"'}, "pins.0.url"),
        ("pins", PIN | {"url": '"http://[::1"'}, "pins.0.url"),
        ("pins", PIN | {"url": '"https://name:secret@example.org"'}, "pins.0.url"),
        ("pins", PIN | {"url": '"https://example.org/?a=b"'}, "pins.0.url"),
        ("pins", PIN | {"url": '"https://example.org\\r\\n.other"'}, "pins.0.url"),
        ("clients", KEYS_AT | {"jwks_url": '"https://name:secret@example.org/keys"'}, "clients.0.jwks_url"),
        ("clients", KEYS_AT | {"jwks_url": '"https://示例.cn/keys"'}, "clients.0.jwks_url"),
        ("clients", KEYS_AT | {"jwks_url": '"https://example.org/keys?a=b c"'}, "clients.0.jwks_url"),
        ("clients", KEYS_AT | {"jwks_url": '"http://192.0.2.1/keys"'}, "clients.0.jwks_url"),
    ],
)
def test_a_wrong_table_is_one_line_that_names_its_key(
    tmp_path: Path, table: str, fields: dict[str, str], key: str
) -> None:
    line = defect(written(tmp_path, **{table: fields}))
    assert line.startswith(f"{key}: ")
    assert "\n" not in line


def test_two_nodes_of_one_name_are_refused(tmp_path: Path) -> None:
    file = written(tmp_path, nodes=NODE)
    text = file.read_text(encoding="utf-8")
    file.write_text(text + "\n" + text[text.index("[[nodes]]") :], encoding="utf-8")
    assert defect(file).endswith("'his' is there twice")


def test_two_clients_of_one_name_are_refused(tmp_path: Path) -> None:
    file = written(tmp_path, clients=CLIENT)
    text = file.read_text(encoding="utf-8")
    file.write_text(text + "\n" + text[text.index("[[clients]]") :], encoding="utf-8")
    assert defect(file).startswith("clients.")


def test_an_address_with_a_password_is_not_repeated(tmp_path: Path) -> None:
    line = defect(written(tmp_path, nodes=NODE | {"url": '"https://name:secret@example.org/fhir"'}))
    assert "secret" not in line


def test_the_files_of_a_node_count_from_the_folder_of_the_settings(tmp_path: Path) -> None:
    settings = load_settings(
        written(tmp_path, {"node_files": '"nodes"'}, nodes=NODE | {"ca_file": '"ca.pem"'})
    )
    assert (settings.node_files, settings.nodes[0].ca_file) == (tmp_path / "nodes", tmp_path / "ca.pem")


@pytest.mark.parametrize("key", ["store", "redis"])
def test_an_address_with_a_password_stands_in_no_file(tmp_path: Path, key: str) -> None:
    line = defect(written(tmp_path, {key: '"postgresql://lianren:secret@db/lianren"'}))
    assert f"LIANREN_{key.upper()}" in line
    assert "secret" not in line


def test_the_environment_gives_what_the_file_may_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIANREN_STORE", "postgresql://lianren@db/lianren")
    assert load_settings(written(tmp_path)).store == "postgresql://lianren@db/lianren"


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIANREN_PORT", "9001")
    assert load_settings(written(tmp_path, {"port": "9000"})).port == 9001


def test_an_unknown_variable_of_the_environment_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIANREN_STOER", "postgresql://lianren:secret@db/lianren")
    line = defect(written(tmp_path))
    assert "LIANREN_STOER" in line
    assert "secret" not in line


def test_the_variable_that_names_the_file_is_no_unknown_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path)
    monkeypatch.setenv("LIANREN_CONFIG", str(file))  # what `lianren … --config` reads
    assert load_settings(file).owner == "cq"


def test_the_demo_mode_listens_on_loopback_only(tmp_path: Path) -> None:
    assert defect(written(tmp_path, {"demo": "true", "host": '"0.0.0.0"'})).startswith("host: ")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "cannot be read" in defect(tmp_path / "lianren.toml")


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    file = tmp_path / "lianren.toml"
    file.write_text("name: 示例", encoding="utf-8")
    assert "is not TOML" in defect(file)
