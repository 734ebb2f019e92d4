"""What the demonstration and ``lianren check`` put on the screen, on terminals and in files."""

from __future__ import annotations

import io
import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from rich.cells import cell_len
from rich.console import Console

from adapters import Report
from gateway.demo import show
from gateway.demo.network import DemoGateway, Network, _fresh
from gateway.demo.people import BY_KEY
from gateway.demo.processes import Peer
from gateway.demo.questions import Asked
from gateway.demo.records import Records
from gateway.demo.show import print_answer, unheard
from gateway.demo.traps import TRAPS
from gateway.model import (
    AdviceOut,
    BestOut,
    CatalogueRef,
    CheckAnswer,
    Coded,
    LedgerRef,
    ResultOut,
    VerdictOut,
)
from recognition import Reason

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
NODES = (
    Report(node="sc-his", kind="fhir", state="empty", took_ms=17),
    Report(node="gw-cq", kind="gateway", state="answered", took_ms=30),
    Report(node="cq-pacs", kind="dicomweb", state="answered", took_ms=57, results=1, via="gw-cq"),
)
SILENT = Report(
    node="cq-his", kind="fhir", state="unreachable", took_ms=9, via="gw-cq", detail="connection refused"
)
LATE = VerdictOut(
    verdict="not_recognised",
    reasons=(
        Reason("R7.1", 7, "已超出该项目的互认时限，" * 5 + "不予互认。", "The window " * 12 + "has ended."),
    ),
    result=ResultOut(
        id="1",
        node="cq-his",
        kind="imaging",
        institution=Coded("EX-CQ-01", "重庆示例第一医院"),
        local_name="MR 颅脑平扫[1]",
        status="final",
        performed=NOW,
        reported=NOW,
        specimen="",
        value="",
        unit="",
        study_uid="",
        images=None,
    ),
    item=None,
    serves=None,
    list=None,
    mark=None,
    expires=None,
)
ITEM = Coded("CT-013", "胸部CT平扫")
ANSWER = CheckAnswer(
    id="0" * 32,
    request_id="1",
    receiver=Coded("EX-SC-01", "成都示例医院"),
    asked_at=NOW,
    answered_at=NOW,
    catalogue=CatalogueRef("2026.11-illustrative", True, "示例目录。", "An illustrative catalogue."),
    complete=True,
    advice=(AdviceOut(0, "胸部CT平扫", None, (), (ITEM,), zh="须开具", en="order it"),),
    verdicts=(LATE,),
    unnamed=(),
    nodes=NODES,
    ledger=LedgerRef("sc.lianren.example/exchange", "0" * 64, 7),
)
INCOMPLETE = msgspec.structs.replace(ANSWER, complete=False, nodes=(*NODES, SILENT))


def screen(width: int | None = None) -> Console:
    """A terminal of this width, or a file, where lines are not broken."""
    return Console(file=io.StringIO(), highlight=False, soft_wrap=width is None, width=width)


def shown(out: Console) -> list[str]:
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue().splitlines()


def answer_on(answer: CheckAnswer, width: int | None = None) -> list[str]:
    out = screen(width)
    print_answer(out, answer)
    return shown(out)


def test_no_line_of_an_answer_is_wider_than_the_terminal() -> None:
    assert max(map(cell_len, answer_on(INCOMPLETE, 80))) <= 80


def test_what_does_not_fit_a_line_hangs_below_its_beginning() -> None:
    lines = answer_on(ANSWER, 80)
    at = next(number for number, line in enumerate(lines) if line.startswith("      R7.1 "))
    assert re.match(r" {11}\S", lines[at + 1])


def test_nothing_is_broken_in_a_file() -> None:
    (line,) = [line for line in answer_on(ANSWER) if line.startswith("      R7.1 ")]
    assert line.endswith("has ended.")


def test_nodes_without_a_record_are_counted_and_not_listed() -> None:
    (line,) = [line for line in answer_on(ANSWER) if "nodes:" in line]
    assert line == "  节点 nodes: cq-pacs(gw-cq) answered 57ms  其余 2 个节点无记录 / 2 others: nothing"


def test_a_node_that_failed_is_listed_with_its_failure() -> None:
    assert "  ! cq-his(gw-cq): unreachable 9ms connection refused" in answer_on(INCOMPLETE)


def test_the_advice_stands_first_in_both_languages() -> None:
    assert answer_on(ANSWER)[1] == "  胸部CT平扫: 须开具 / order it"


@pytest.mark.parametrize(("others", "shown_best"), [(2, ["    ★ 胸部CT平扫: 最新 / the newest"]), (0, [])])
def test_the_best_of_several_results_is_named_with_its_reason(others: int, shown_best: list[str]) -> None:
    best = BestOut(ITEM, "1", others, "最新", "the newest")
    advice = msgspec.structs.replace(ANSWER.advice[0], best=(best,))
    lines = answer_on(msgspec.structs.replace(ANSWER, advice=(advice,)))
    assert [line for line in lines if "★" in line] == shown_best


def test_brackets_in_a_hospitals_name_are_printed_as_they_are() -> None:
    assert any("MR 颅脑平扫[1]" in line for line in answer_on(ANSWER, 80))


def test_everybody_was_heard_in_a_complete_answer() -> None:
    assert unheard(ANSWER) == ""


# The screen of the demonstration


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Network:
    """What the screen needs of a network: its gateways by name and address, and a process to stop."""
    monkeypatch.chdir(tmp_path)
    made = Network(NOW, Records({}, {}, ()))
    for number, (owner, name) in enumerate(
        {"cq": "重庆示例", "sc": "四川示例", "lab8": "检验联盟示例"}.items()
    ):
        home = tmp_path / "a folder" / owner
        home.mkdir(parents=True)
        url = f"http://127.0.0.1:{8080 + number}"
        made.gateways[owner] = DemoGateway(owner, name, url, home / "lianren.toml", {"EX-SC-01": "t"})
    return made


def everything_printed(network: Network, width: int | None = None) -> list[str]:
    asked = [Asked(trap=trap, answer=ANSWER, wrong=()) for trap in TRAPS]
    out = screen(width)
    show._print(out, network, asked, None)
    return shown(out)


def test_every_trap_is_explained_in_both_languages(network: Network) -> None:
    text = "\n".join(everything_printed(network))
    assert [trap.key for trap in TRAPS if trap.about not in text or trap.about_en not in text] == []


def test_every_further_case_is_followed_by_its_verdict_in_words_with_the_rule(network: Network) -> None:
    lines = everything_printed(network)
    assert lines.count("      → ✗ 不予互认 not recognised R7.1") == len(TRAPS) - show.FIRST_QUESTIONS


def test_the_notice_of_the_catalogue_stands_on_lines_of_its_own(network: Network) -> None:
    assert {"! 示例目录。", "! An illustrative catalogue."} <= set(everything_printed(network))


def test_the_whole_screen_fits_80_columns(network: Network) -> None:
    assert max(map(cell_len, everything_printed(network, 80))) <= 80


@pytest.fixture
def stopped() -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process


@pytest.fixture
def next_steps(network: Network, stopped: subprocess.Popen[bytes]) -> list[str]:
    network.nodes["cq-his"] = Peer(
        "cq-his", "lianren", "http://127.0.0.1:1", network.gateways["cq"].config, stopped, lambda: stopped
    )
    out = screen(40)
    show._print_next(out, network)
    return shown(out)


def test_the_addresses_of_the_gateways_stand_in_one_column(next_steps: list[str]) -> None:
    assert len({cell_len(line.partition("http")[0]) for line in next_steps[:3]}) == 1


def test_a_command_is_one_line_on_a_narrow_terminal(next_steps: list[str]) -> None:
    commands = [
        line.split("lianren ")[1].split()[0] for line in next_steps if re.match(r" {5}\S*lianren ", line)
    ]
    assert commands == ["check", "check"]


def test_a_command_names_the_files_in_this_folder_by_their_short_path(next_steps: list[str]) -> None:
    words = [shlex.split(line) for line in next_steps if " check " in line]
    assert [line[line.index("--patient") + 1] for line in words] == [
        "a folder/sc/patient",
        "a folder/sc/patient-liver",
    ]


def test_the_patient_of_the_liver_panel_is_in_a_file_of_its_own(
    next_steps: list[str], tmp_path: Path
) -> None:
    assert next_steps
    assert (tmp_path / "a folder/sc/patient-liver").read_text() == BY_KEY["yi"].number


def test_the_export_goes_into_a_folder_of_another_name_each_time(next_steps: list[str]) -> None:
    (line,) = [line for line in next_steps if "ledger export" in line]
    assert "audit-$(date +%H%M%S);" in line


def test_the_process_to_stop_is_named_with_its_hospital(
    next_steps: list[str], stopped: subprocess.Popen[bytes]
) -> None:
    at = next_steps.index(f"     kill {stopped.pid}")
    assert "重庆示例第一医院的系统cq-his" in "".join(next_steps[at - 3 : at]).replace(" ", "")


def test_the_last_run_is_kept_and_the_one_before_goes(tmp_path: Path) -> None:
    said: list[str] = []
    for run in ("first", "second", "third"):
        (_fresh(tmp_path, said.append) / run).touch()
    kept = {file.relative_to(tmp_path).as_posix() for file in tmp_path.glob("*/*")}
    assert (kept, len(said)) == ({"run/third", "run.previous/second"}, 2)
