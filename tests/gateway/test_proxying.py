"""``lianren nginx``: what an nginx in front of a gateway is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.commands.common import Stop

SETTINGS = """
name = "示例"
owner = "cq"
region = "500000"
base_url = "https://gateway.example.org"
data_dir = "data"
{offload}
[[nodes]]
id = "cq-his"
kind = "fhir"
url = "https://his.example.org/fhir"
institution = "EX-CQ-01"
[[nodes]]
id = "cq-pacs"
kind = "dicomweb"
url = "https://pacs.example.org/dicom-web"
institution = "EX-CQ-01"
identity = "cq-his"
ca_file = "ca.pem"
"""


def printed(folder: Path, offload: str, *further: str) -> str:
    file = folder / "lianren.toml"
    file.write_text(SETTINGS.format(offload=offload), encoding="utf-8")
    return CliRunner().invoke(app, ["nginx", "-c", str(file), *further], catch_exceptions=False).output


def test_each_archive_has_a_location_that_verifies_its_certificate(tmp_path: Path) -> None:
    text = printed(tmp_path, 'uds = "gateway.sock"\noffload = "/archives"')
    assert "location /archives/cq-pacs/ {" in text
    assert "location /archives/cq-his/" not in text
    assert "proxy_pass https://lianren-cq-pacs/dicom-web/;" in text
    assert "proxy_ssl_name pacs.example.org;" in text
    assert f"proxy_ssl_trusted_certificate {tmp_path / 'ca.pem'};" in text


def test_what_it_connects_to_stands_before_the_server(tmp_path: Path) -> None:
    text = printed(tmp_path, 'uds = "gateway.sock"\noffload = "/archives"', "--upstreams")
    assert f"server unix:{tmp_path / 'gateway.sock'};" in text
    assert "server pacs.example.org:443;" in text


def test_nobody_passes_a_certificate_of_his_own_making(tmp_path: Path) -> None:
    header = 'client_certificate_header = "X-Client-Certificate"'
    text = printed(tmp_path, f'uds = "gateway.sock"\noffload = "/archives"\n{header}')
    assert text.count("proxy_set_header X-Client-Certificate $ssl_client_escaped_cert;") == 2


@pytest.mark.parametrize(
    ("offload", "wrong"), [("", "nothing to fetch"), ('offload = "/archives"', "offload: needs uds")]
)
def test_without_a_socket_or_an_offload_it_says_what_is_missing(
    tmp_path: Path, offload: str, wrong: str
) -> None:
    with pytest.raises(Stop, match=wrong):
        printed(tmp_path, offload)
