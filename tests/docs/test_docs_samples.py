"""The sample clients beside the pages do what the pages say of them."""

from __future__ import annotations

import importlib.util
import io
import json
import re
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from gateway.access.scopes import needed
from gateway.app import create_app
from gateway.demo.network import Network
from gateway.demo.people import BY_KEY
from gateway.keyring import make_keys
from gateway.log import Log
from tests.docs.pages import ROOT
from tests.gateway.live import CLIENTS, OWN, settings_for
from tests.serving import misbehave, serve

SAMPLES = ROOT / "docs/samples"
PYTHON, TOKENS, JAVA, NHSA = (
    SAMPLES / name for name in ("lianren_client.py", "tokens.py", "LianrenClient.java", "nhsa.py")
)
PATHS: list[str] = list(json.loads((ROOT / "openapi/openapi.json").read_bytes())["paths"])
NUMBER = BY_KEY["jia"].number


def loaded(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def verdict(code: str, **fields: Any) -> dict[str, Any]:
    result = {
        "id": "n/Observation/1",
        "kind": "lab",
        "institution": {"code": "EX-CQ-01", "name": "重庆示例第一医院"},
        "local_name": "白蛋白",
        "reported": "2026-11-20T08:00:00+08:00",
        "study_uid": "",
    }
    reasons = [{"rule": "R0.1", "zh": "各项核对均通过"}]
    shared = {"verdict": code, "reasons": reasons, "item": None, "mark": None, "expires": None, "also": []}
    return shared | {"result": result | fields}


def answer(*verdicts: dict[str, Any], complete: bool = True, **more: Any) -> dict[str, Any]:
    return {"verdicts": [*verdicts], "complete": complete, "unnamed": []} | more


QUESTION_5401 = {
    "psn_no": "P-示例-1",
    "exam_org_code": "H-示例-1",
    "exam_item_code": "LOCAL-1",
    "exam_item_name": "白蛋白",
    "insuplc_admdvs": "510100",
}
QUESTION_4804 = {
    "psnName": "示例患者甲",
    "psnCertType": "01",
    "certno": NUMBER,
    "imgExamType": "CT平扫",
    "examPart": "胸部",
}


def test_a_5401_question_becomes_a_check_of_its_item() -> None:
    assert loaded(NHSA).check_of_5401(QUESTION_5401, NUMBER, "r1") == {
        "request_id": "r1",
        "patient": {"type": "resident-id", "value": NUMBER},
        "planned": [{"name": "白蛋白", "code": "LOCAL-1"}],
    }


def test_a_5401_answer_has_the_recognised_results_alone() -> None:
    said = answer(verdict("recognised"), verdict("view_only", id="n/Observation/2"))
    (report,) = loaded(NHSA).reports_of_5401(QUESTION_5401, said, {"EX-CQ-01": "H50010300001"}.__getitem__)
    assert report["psn_no"] == "P-示例-1"
    assert report["rpotc_no"] == "n/Observation/1"
    assert report["rpt_date"] == "2026-11-20"
    assert (report["rpotc_type_code"], report["fixmedins_code"]) == ("LIS", "H50010300001")
    assert (report["exam_rslt_abn"], report["examCcls"]) == ("", "")


def test_a_5401_answer_has_the_day_in_china() -> None:
    said = answer(verdict("recognised", reported="2026-11-20T20:00:00Z"))
    assert loaded(NHSA).reports_of_5401(QUESTION_5401, said)[0]["rpt_date"] == "2026-11-21"


def test_a_5401_answer_has_the_same_result_of_two_nodes_once() -> None:
    twin = verdict("recognised", id="m/Observation/1") | {"also": ["n/Observation/1"]}
    said = answer(verdict("recognised") | {"also": ["m/Observation/1"]}, twin)
    (report,) = loaded(NHSA).reports_of_5401(QUESTION_5401, said)
    assert report["rpotc_no"] == "n/Observation/1"


def test_a_5401_answer_takes_a_result_without_a_time() -> None:
    said = answer(verdict("recognised", reported=None))
    assert loaded(NHSA).reports_of_5401(QUESTION_5401, said)[0]["rpt_date"] == ""


def test_a_report_is_found_by_its_number_or_not_at_all() -> None:
    sample, said = loaded(NHSA), answer(verdict("recognised"))
    assert sample.detail_of_5402(said, "n/Observation/1")["reason"] == "各项核对均通过"
    assert sample.detail_of_5402(said, "n/Observation/9") is None


def test_the_name_of_a_4804_question_is_not_passed_on() -> None:
    asked = loaded(NHSA).check_of_4804(QUESTION_4804, "r1")
    assert asked["planned"] == [{"name": "胸部CT平扫", "kind": "imaging"}]
    assert "示例患者甲" not in json.dumps(asked, ensure_ascii=False)


@pytest.mark.parametrize(
    ("said", "state", "address"),
    [
        (answer(verdict("recognised", study_uid="1.2.3")), "found", "https://viewer.example/1.2.3"),
        (answer(verdict("not_recognised", study_uid="1.2.3")), "none", ""),
        (answer(), "none", ""),
        (answer(complete=False), "unknown", ""),
        (answer(unnamed=[{"name": "胸部CT"}]), "unknown", ""),
    ],
)
def test_a_4804_answer_has_three_states(said: dict[str, Any], state: str, address: str) -> None:
    viewer = "https://viewer.example/{study_uid}"
    assert loaded(NHSA).address_of_4804(said, viewer) == (state, address)


@pytest.mark.slow
@pytest.mark.xdist_group("network")
def test_a_5401_question_is_answered_by_a_gateway(network: Network) -> None:
    sample, asking = loaded(NHSA), network.gateways["sc"]
    question = QUESTION_5401 | {"exam_item_name": "白细胞计数", "exam_item_code": ""}
    body = sample.check_of_5401(question, NUMBER, "sample-5401")
    headers = {"Authorization": f"Bearer {asking.tokens['EX-SC-01']}"}
    said = httpx.post(f"{asking.url}/api/v1/checks", json=body, headers=headers, trust_env=False, timeout=30)
    (report,) = sample.reports_of_5401(question, said.json())
    assert report["exam_rpotc_name"] == "白细胞计数"
    assert sample.detail_of_5402(said.json(), report["rpotc_no"])["value"]


@pytest.mark.slow
@pytest.mark.xdist_group("network")
def test_a_4804_question_is_answered_by_a_gateway(network: Network) -> None:
    sample, asking = loaded(NHSA), network.gateways["sc"]
    body = sample.check_of_4804(QUESTION_4804, "sample-4804")
    headers = {"Authorization": f"Bearer {asking.tokens['EX-SC-01']}"}
    said = httpx.post(f"{asking.url}/api/v1/checks", json=body, headers=headers, trust_env=False, timeout=30)
    state, address = sample.address_of_4804(said.json(), "https://viewer.example/{study_uid}")
    assert state == "found"
    assert re.fullmatch(r"https://viewer\.example/[0-9.]+", address)


@pytest.mark.slow
@pytest.mark.xdist_group("network")
def test_the_python_client_goes_through_a_visit(variables: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, PYTHON],
        env=variables,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    reception, order, decision, record = done.stdout.splitlines()
    assert reception.startswith("接诊 reception: 近期有")
    assert order == "开单 order: 已有可互认的结果，不必再开"
    assert decision == "处置 decision: closed"
    assert record.startswith("病历 record: 引用重庆示例第一医院检查结果")


def test_the_python_client_tells_a_gateway_that_is_not_there_from_a_refusal() -> None:
    sample = loaded(PYTHON)
    nobody = sample.Lianren("http://127.0.0.1:9", lambda: "token", patience=0.5)
    with closing(nobody), pytest.raises(sample.Unavailable, match="cannot be reached"):
        nobody.history({"type": "resident-id", "value": NUMBER})


def test_the_python_client_takes_a_proxy_without_a_gateway_for_unavailable() -> None:
    sample = loaded(PYTHON)
    refusal = b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\n<hr>"
    with misbehave(lambda first, body: refusal) as url:
        client = sample.Lianren(url, lambda: "token")
        with closing(client), pytest.raises(sample.Unavailable, match="does not answer"):
            client.history({"type": "resident-id", "value": NUMBER})


@pytest.mark.slow
@pytest.mark.xdist_group("network")
def test_the_python_client_names_the_field_that_is_refused(network: Network) -> None:
    sample, asking = loaded(PYTHON), network.gateways["sc"]
    client = sample.Lianren(asking.url, lambda: asking.tokens["EX-SC-01"], patience=30)
    with closing(client), pytest.raises(sample.Refused) as refused:
        client.history({"type": "resident-id", "value": "123"})
    assert (refused.value.status, refused.value.code, refused.value.field) == (
        422,
        "identity-refused",
        "patient.value",
    )


@pytest.fixture
def own_key(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A gateway that knows a system by its public key: its address, and the file with the private one."""
    key = tmp_path / "key.json"
    (tmp_path / "jwks.json").write_text(loaded(TOKENS).new_key(key, "hospital-his-2026"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    client = {"id": "hospital-his", "institution": OWN, "roles": ["his"], "jwks_file": tmp_path / "jwks.json"}
    address = f"http://127.0.0.1:{port}"
    settings = settings_for(tmp_path, dict.fromkeys(CLIENTS, ""), [], clients=[client], base_url=address)
    make_keys(settings)
    with serve(create_app(settings, Log(io.StringIO())), port) as url:
        yield url, key


def test_a_system_gets_its_tokens_itself(own_key: tuple[str, Path]) -> None:
    url, key = own_key
    tokens = loaded(TOKENS).Tokens(url, "hospital-his", key)
    with closing(loaded(PYTHON).Lianren(url, tokens, patience=30)) as gateway:
        said = gateway.history({"type": "resident-id", "value": NUMBER})
    assert said["zh"] == "未找到近期检查检验结果"
    assert tokens() == tokens()  # one that counts still is used again


def test_a_new_key_is_for_its_owner_alone_and_replaces_none(tmp_path: Path) -> None:
    file = tmp_path / "key.json"
    shown = loaded(TOKENS).new_key(file, "k1")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "d" not in json.loads(shown)["keys"][0]
    with pytest.raises(FileExistsError):
        loaded(TOKENS).new_key(file, "k2")


@pytest.mark.parametrize("file", [PYTHON, JAVA], ids=lambda file: file.name)
def test_every_address_in_a_sample_is_one_of_the_gateway(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    found = re.findall(r'"(/api/v1/[^"]*)"( \+ check \+ "([^"]*)")?', text)
    used = {path + ("{check_id}" + after if more else "") for path, more, after in found}
    assert used
    assert {path.replace("{check}", "{check_id}") for path in used} <= {*PATHS}
    assert {needed("POST", path)[0] for path in used} == {"check"}


@pytest.mark.slow
def test_the_java_client_compiles_for_java_17(tmp_path: Path) -> None:
    if not (javac := shutil.which("javac")):
        pytest.skip("needs javac of a JDK 17 or later")
    done = subprocess.run(
        [
            javac,
            "-Xlint:all,-serial",
            "-Werror",
            "--release",
            "17",
            "-encoding",
            "UTF-8",
            "-d",
            tmp_path,
            JAVA,
        ],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
