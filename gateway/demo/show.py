"""The demonstration on the screen: answers as a person would want to read them, and what to try next."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.cells import cell_len, set_cell_size
from rich.text import Text

from adapters import Report
from gateway.asking import Refused
from gateway.demo import network as networks
from gateway.demo.network import Network
from gateway.demo.people import BY_KEY, INSTITUTIONS
from gateway.demo.processes import PeerError
from gateway.demo.questions import Asked, ask_all
from gateway.demo.records import NODES
from gateway.model import CheckAnswer, VerdictOut
from gateway.settings import load_settings
from recognition import SHANGHAI

if TYPE_CHECKING:
    from rich.console import Console

FIRST_PORT = 8080
FIRST_QUESTIONS = 3
_HEARD = ("answered", "empty")
_VERDICTS = {
    "recognised": ("green", "✓", "可互认", "recognised"),
    "view_only": ("yellow", "○", "仅供调阅", "view only"),
    "not_recognised": ("red", "✗", "不予互认", "not recognised"),
}


def run_demo(*, folder: Path, port: int | None, once: bool, as_json: bool, export: Path | None) -> int:
    """Start, ask, print; stay until Ctrl-C unless ``once``. Returns 0 only when every answer was right.

    What cannot be started is one line on standard error and status 2.
    """
    from rich.console import Console

    out = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    progress = Console(stderr=True, highlight=False, soft_wrap=True)
    for number in (signal.SIGTERM, signal.SIGINT):  # ignored in what a script started by `… &`
        signal.signal(number, signal.default_int_handler)
    try:
        with networks.running(
            folder, port or (None if once else FIRST_PORT), lambda text: progress.print(f"… {text}")
        ) as network:
            asked = ask_all(network)
            if export:
                _export(network, export)
            if as_json:
                sys.stdout.write(msgspec.json.format(msgspec.json.encode(_report(asked))).decode() + "\n")
            else:
                _print(out, network, asked, export)
            if not once:
                _print_next(out, network)
                _wait()
            return 1 if any(one.wrong for one in asked) else 0
    except (PeerError, Refused) as wrong:
        progress.print(f"lianren: {wrong}", markup=False)
        return 2
    except KeyboardInterrupt:
        return 130


def _wait() -> None:
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        return


def _report(asked: list[Asked]) -> list[dict[str, object]]:
    return [
        {
            "key": one.trap.key,
            "about": one.trap.about,
            "about_en": one.trap.about_en,
            "right": not one.wrong,
            "wrong": one.wrong,
            "answer": one.answer,
        }
        for one in asked
    ]


def _export(network: Network, folder: Path) -> None:
    import asyncio

    from gateway.audit.exporting import export_ledger

    config = next(gateway.config for gateway in network.gateways.values() if gateway.owner == "sc")
    asyncio.run(export_ledger(load_settings(config), folder, disclose=True))


def _print(out: Console, network: Network, asked: list[Asked], export: Path | None) -> None:
    for number, one in enumerate(asked[:FIRST_QUESTIONS], start=1):
        out.rule(f"{number}. {one.trap.about}", align="left")
        _line(out, "   ", one.trap.about_en)
        print_answer(out, one.answer)
    out.rule("更多情形 further cases: ✓ 回答正确 answered as it should be", align="left")
    for one in asked[FIRST_QUESTIONS:]:
        _line(out, f"  {'✗' if one.wrong else '✓'} ", f"{one.trap.about} / {one.trap.about_en}")
        for verdict, rule in dict.fromkeys((v.verdict, v.reasons[0].rule) for v in one.answer.verdicts):
            _, sign, zh, en = _VERDICTS[verdict]
            _line(out, "      → ", f"{sign} {zh} {en} {rule}")
    for one in asked:
        for line in one.wrong:
            _line(out, "  ✗ ", f"{one.trap.key}: {line}", "red")
    right = sum(not one.wrong for one in asked)
    notice = asked[0].answer.catalogue
    out.print(
        f"\n{len(asked)} 问中 {right} 问回答正确 {right} of {len(asked)} answers came out as they should."
    )
    for text in (notice.notice_zh, notice.notice_en, *network.notes):
        _line(out, "! ", text)
    if export:
        out.print(
            f"账本已导出，核验请用 ledger exported, verify it with:\n  lianren ledger verify {_word(export)}",
            markup=False,
            soft_wrap=True,
        )


def print_answer(out: Console, answer: CheckAnswer) -> None:
    """One answer: advice, verdicts with reasons, marks, node states, ledger."""
    out.print(f"{answer.receiver.name}  {_when(answer)}  目录 {answer.catalogue.version}", markup=False)
    if answer.consent.basis != "none":
        _line(out, "  同意 consent: ", f"{answer.consent.zh} / {answer.consent.en}", "yellow")
    for advice in answer.advice:
        _line(out, "  ", f"{advice.planned}: {advice.zh} / {advice.en}", "bold")
        for best in advice.best:
            if best.others:
                _line(out, "    ★ ", f"{best.item.name}: {best.zh} / {best.en}", "dim")
    for unnamed in answer.unnamed:
        _line(out, "  ? ", f"{unnamed.name}: {unnamed.zh} / {unnamed.en}", "yellow")
    for verdict in answer.verdicts:
        _print_verdict(out, verdict)
    notes = {(note.rule, note.zh, note.en) for verdict in answer.verdicts for note in verdict.notes}
    for rule, zh, en in sorted(notes):
        _line(out, f"  注 note {rule} ", f"{zh} / {en}", "dim")
    heard = [node for node in answer.nodes if node.state == "answered" and node.results]
    silent = [node for node in answer.nodes if node.state not in _HEARD]
    for node in silent:
        _line(out, "  ! ", f"{_node(node)}: {node.state} {node.took_ms}ms {node.detail}", "yellow")
    nodes = [f"{_node(node)} {node.state} {node.took_ms}ms" for node in heard]
    if others := len(answer.nodes) - len(heard) - len(silent):
        nodes.append(f"其余 {others} 个节点无记录 / {others} others: nothing")
    _line(out, "  节点 nodes: ", "  ".join(nodes), "dim")
    _line(out, "  存证 ledger: ", f"{answer.ledger.origin} #{answer.ledger.index}   check {answer.id}", "dim")
    out.print()


def unheard(answer: CheckAnswer) -> str:
    """The nodes that could not be heard, in a list for people."""
    return "、".join(node.node for node in answer.nodes if node.state not in _HEARD)


def _print_verdict(out: Console, verdict: VerdictOut) -> None:
    result = verdict.result
    value = f" {result.value} {result.unit}".rstrip() if result.value else ""
    if verdict.converted:
        value += f" = {verdict.converted.value} {verdict.converted.unit}"
    if result.reference:
        value += f" ({result.reference})"
    images = f" {result.images.held} 幅" if result.images and result.images.held else ""
    when = result.performed or result.reported
    day = when.astimezone(SHANGHAI).strftime("%Y-%m-%d %H:%M") if when else "?"
    mark = f"  {verdict.mark.printed}" if verdict.mark and verdict.mark.state == "valid" else ""
    until = f"  至 {verdict.expires.astimezone(SHANGHAI):%m-%d %H:%M}" if verdict.expires else ""
    reason = verdict.reasons[0]
    colour, sign, zh, _ = _VERDICTS[verdict.verdict]
    notes = "".join(f"  {note.rule}" for note in verdict.notes)
    what = f"{result.local_name}{value}{images}  {result.institution.name} {day}{mark}{until}{notes}"
    _line(out, f"  {sign} {zh} ", what, lead_style=colour)
    if verdict.verdict != "recognised":
        _line(out, f"      {reason.rule} ", f"{reason.zh} / {reason.en}")


def _node(node: Report) -> str:
    return f"{node.node}({node.via})" if node.via else node.node


def _when(answer: CheckAnswer) -> str:
    return answer.asked_at.astimezone(SHANGHAI).strftime("%Y-%m-%d %H:%M:%S")


def _line(out: Console, lead: str, text: str, style: str = "", *, lead_style: str = "") -> None:
    """Print a line; where the console breaks lines, what follows hangs below the end of ``lead``."""
    width = cell_len(lead)
    whole = Text(text, style)
    for line in [whole] if out.soft_wrap else whole.wrap(out, max(out.width - width, 20)):
        out.print(Text(lead, lead_style or style) + line)
        lead = " " * width


def _print_next(out: Console, network: Network) -> None:
    gateway = network.gateways["sc"]
    home = gateway.config.parent
    (home / "his-token").write_text(gateway.tokens["EX-SC-01"])
    (home / "his-token").chmod(0o600)
    for name, person in (("patient", "jia"), ("patient-liver", "yi")):
        (home / name).write_text(BY_KEY[person].number)
    (home / "auth").write_text(f"Authorization: Bearer {gateway.tokens['EX-SC-01']}")
    (home / "auth").chmod(0o600)
    patient = {"type": "resident-id", "value": BY_KEY["jia"].number}
    viewing = {"patient": patient, "planned": [{"name": "胸部CT平扫"}]}
    (home / "viewing.json").write_bytes(msgspec.json.encode(viewing))
    width = max(cell_len(one.name) for one in network.gateways.values()) + 2
    for one in network.gateways.values():
        out.print(f"{set_cell_size(one.name, width)}{one.url}/docs", markup=False)
    program = "lianren" if shutil.which("lianren") else _word(Path(sys.executable).with_name("lianren"))
    ask = f"--gateway {gateway.url} --token-file {_word(home / 'his-token')} --patient"
    audit, config = f"A={_word(home)}/audit-$(date +%H%M%S)", _word(gateway.config)
    headers = f"-H @{_word(home / 'auth')} -H 'Content-Type: application/json'"
    opened = f"curl -s {gateway.url}/api/v1/viewings {headers} -d @{_word(home / 'viewing.json')}"
    taken = """python3 -c 'import json, sys; print(json.load(sys.stdin)["token"])'"""
    listed = f'curl -s {gateway.url}/dicomweb/studies -H "Authorization: Bearer $T"'
    node = "cq-his"
    hospital = INSTITUTIONS[next(code for code, name in NODES.items() if name == node)]
    steps = {
        "再问一次：胸部CT，肝功能 ask again: chest CT, liver panel": (
            f"{program} check 胸部CT平扫 {ask} {_word(home / 'patient')}",
            f"{program} check 肝功能12项 {ask} {_word(home / 'patient-liver')}",
        ),
        "打开调阅，列出胸部CT的图像 open a viewing, list the chest CT's images": (
            f"T=$({opened} | {taken}); {listed} | python3 -m json.tool --no-ensure-ascii",
        ),
        "导出账本并核验 export the ledger and verify it": (
            f'{audit}; {program} ledger export --disclose -c {config} "$A" && {program} ledger verify "$A"',
        ),
        f"停掉{hospital}的系统 {node}，再问胸部CT stop this hospital's system, ask again": (
            f"kill {network.nodes[node].process.pid}",
        ),
    }
    out.print("\n试一试，另开终端，在本目录 try next, in a second terminal, in this folder:")
    for number, (about, commands) in enumerate(steps.items(), start=1):
        _line(out, f"  {number}. ", about)
        for command in commands:
            out.print(f"     {command}", markup=False, soft_wrap=True)
    out.print("\nCtrl-C 停止 stops everything.")


def _word(path: Path) -> str:
    """The path as a word of a shell command, relative to this folder where that is shorter."""
    return shlex.quote(min(str(path), os.path.relpath(path), key=len))
