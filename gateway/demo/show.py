"""The demonstration on the screen: answers as a person would want to read them, and what to try next."""

from __future__ import annotations

import shutil
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.markup import escape

from gateway.asking import Refused
from gateway.demo import network as networks
from gateway.demo.network import Network
from gateway.demo.peers import PeerError
from gateway.demo.people import BY_KEY
from gateway.demo.questions import Asked, ask_all
from gateway.model import CheckAnswer, VerdictOut
from gateway.settings import load_settings
from recognition import SHANGHAI

if TYPE_CHECKING:
    from rich.console import Console

FIRST_PORT = 8080
FIRST_QUESTIONS = 3
_SIGNS = {
    "recognised": "[green]✓ 可互认[/]",
    "view_only": "[yellow]○ 仅供调阅[/]",
    "not_recognised": "[red]✗ 不予互认[/]",
}


def run_demo(*, folder: Path, port: int | None, once: bool, as_json: bool, export: Path | None) -> int:
    """Start, ask, print; stay until Ctrl-C unless ``once``. Returns 0 only when every answer was right.

    What cannot be started is one line on standard error and status 2.
    """
    from rich.console import Console

    out = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    progress = Console(stderr=True, highlight=False, soft_wrap=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
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
            "right": not one.wrong,
            "wrong": one.wrong,
            "answer": one.answer,
        }
        for one in asked
    ]


def _export(network: Network, folder: Path) -> None:
    import asyncio

    from gateway.exporting import export_ledger

    config = next(gateway.config for gateway in network.gateways.values() if gateway.owner == "sc")
    asyncio.run(export_ledger(load_settings(config), folder, disclose=True))


def _print(out: Console, network: Network, asked: list[Asked], export: Path | None) -> None:
    for number, one in enumerate(asked[:FIRST_QUESTIONS], start=1):
        out.rule(f"{number}. {one.trap.about}", align="left")
        print_answer(out, one.answer)
    out.rule("更多情形 further cases", align="left")
    for one in asked[FIRST_QUESTIONS:]:
        sign = "✓" if not one.wrong else "✗"
        rules = ", ".join(sorted({verdict.reasons[0].rule for verdict in one.answer.verdicts})) or "–"
        out.print(f"  {sign} {one.trap.about}  → {rules}", markup=False)
    for one in asked:
        for line in one.wrong:
            out.print(f"  ✗ {one.trap.key}: {line}", markup=False, style="red")
    right = sum(not one.wrong for one in asked)
    notice = asked[0].answer.catalogue
    out.print(
        f"\n{right} of {len(asked)} answers came out as they should. {notice.notice_zh} {notice.notice_en}",
        markup=False,
    )
    for note in network.notes:
        out.print(f"! {note}", markup=False)
    if export:
        out.print(f"ledger export: {export}; verify it with: lianren ledger verify {export}", markup=False)


def print_answer(out: Console, answer: CheckAnswer) -> None:
    """One answer: advice, verdicts with reasons, marks, node states, ledger."""
    out.print(f"{answer.receiver.name}  {_when(answer)}  目录 {answer.catalogue.version}", markup=False)
    for advice in answer.advice:
        if not advice.to_order:
            out.print(f"  [bold]{escape(advice.planned)}: 不必再开 nothing to order[/]")
        elif advice.served:
            names = "、".join(item.name for item in advice.to_order)
            total = len(advice.served) + len(advice.to_order)
            share = f"{total} 项中 {len(advice.served)} 项可互认"
            out.print(f"  [bold]{escape(advice.planned)}: {share}，只需开 order only: {names}[/]")
        else:
            out.print(f"  [bold]{escape(advice.planned)}: 须开单 to be ordered[/]")
    for unnamed in answer.unnamed:
        out.print(f"  [yellow]? {escape(unnamed.name)}: {unnamed.zh} / {unnamed.en}[/]")
    for verdict in answer.verdicts:
        _print_verdict(out, verdict)
    for node in answer.nodes:
        if node.state not in ("answered", "empty"):
            where = f"{node.node} ({node.via})" if node.via else node.node
            out.print(f"  [yellow]! {where}: {node.state}[/] {escape(node.detail)}")
    nodes = "  ".join(
        f"{node.node}{f'({node.via})' if node.via else ''} {node.state} {node.took_ms}ms"
        for node in answer.nodes
    )
    out.print(f"  节点 nodes: {nodes}", markup=False, style="dim")
    out.print(
        f"  存证 ledger: {answer.ledger.origin} #{answer.ledger.index}   check {answer.id}\n",
        markup=False,
        style="dim",
    )


def _print_verdict(out: Console, verdict: VerdictOut) -> None:
    result = verdict.result
    value = f" {result.value} {result.unit}" if result.value else ""
    images = f" {result.images.held} 幅" if result.images and result.images.held else ""
    when = result.performed or result.reported
    day = when.astimezone(SHANGHAI).strftime("%Y-%m-%d %H:%M") if when else "?"
    mark = f"  {verdict.mark.printed}" if verdict.mark and verdict.mark.state == "valid" else ""
    until = f"  至 {verdict.expires.astimezone(SHANGHAI):%m-%d %H:%M}" if verdict.expires else ""
    reason = verdict.reasons[0]
    what = f"{result.local_name}{value}{images}  {result.institution.name} {day}{mark}{until}"
    out.print(f"  {_SIGNS[verdict.verdict]} {escape(what)}")
    if verdict.verdict != "recognised":
        out.print(f"      {reason.rule} {reason.zh} / {reason.en}", markup=False)


def _when(answer: CheckAnswer) -> str:
    return answer.asked_at.astimezone(SHANGHAI).strftime("%Y-%m-%d %H:%M:%S")


def _print_next(out: Console, network: Network) -> None:
    gateway = network.gateways["sc"]
    token = gateway.config.parent / "his-token"
    token.write_text(gateway.tokens["EX-SC-01"])
    token.chmod(0o600)
    patient = gateway.config.parent / "patient"
    patient.write_text(BY_KEY["jia"].number)
    for one in network.gateways.values():
        out.print(f"{one.name:<8} {one.url}/docs", markup=False)
    program = shutil.which("lianren") or str(Path(sys.executable).with_name("lianren"))
    audit = gateway.config.parent / "audit"
    lines = [
        f"{program} check 胸部CT平扫 --gateway {gateway.url} --token-file {token} --patient {patient}",
        f"{program} ledger export -c {gateway.config} {audit} && {program} ledger verify {audit}",
        f"kill {network.nodes['cq-his'].process.pid}   # one node gone: ask again, and see it named",
    ]
    out.print("\n试一试 try next:")
    for line in lines:
        out.print(f"  {line}", markup=False)
    out.print("\nCtrl-C 停止 stops everything.")
