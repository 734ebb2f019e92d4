"""``explain``: why a decision came out as it did, and what it would be under other rules, step by step."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from gateway.commands.common import AsJson, Stop, console, print_json, read_file

if TYPE_CHECKING:
    from rich.console import Console

    from gateway.explaining import ExplainAnswer, Judged
    from recognition import Result
    from recognition.explain import StepTrace, Trace

_ID = re.compile(r"[0-9a-f]{32}")
VERDICTS = {
    "recognised": "✓ 可互认 recognised",
    "view_only": "○ 仅供调阅 view only",
    "not_recognised": "✗ 不予互认 not recognised",
}
WIDE = 160
"""Columns of a table where nobody looks at a terminal: a file, or a pipe."""
LOOKED = {
    "identity": "身份标识",
    "local_name": "原名",
    "concept": "概念",
    "unread": "未读出原因",
    "exact": "同一项目",
    "stand_in": "替代关系",
    "stand_in_owner": "替代关系负责人",
    "list": "互认目录",
    "value": "数值",
    "unit": "单位",
    "images_held": "现有影像",
    "images_expected": "应有影像",
    "status": "报告状态",
    "superseded_by": "已被取代",
    "undecided_versions": "版本并列",
    "state": "标识状态",
    "printed": "印制标识",
    "ranges": "标识范围",
    "receiver_region": "接诊地区",
    "institution": "出具机构",
    "day": "检查日",
    "records": "资格记录",
    "held": "当日有效",
    "listed_units": "目录单位",
    "comparable": "可比",
    "factor": "换算系数",
    "factor_source": "系数来源",
    "flags": "质量标记",
}
"""What the steps look at, in Chinese (:mod:`recognition.explain` has it in English)."""


def explain(
    what: Annotated[
        str, typer.Argument(help="Id of a decision, or a JSON file with a hypothetical check; - for input.")
    ],
    gateway: Annotated[str, typer.Option(help="Base address of the gateway.")] = "http://127.0.0.1:8080",
    token_file: Annotated[Path | None, typer.Option(help="File with the bearer token.")] = None,
    catalogue: Annotated[
        str, typer.Option(help="Catalogue version; the decision's own, or what is in force, if left out.")
    ] = "",
    at: Annotated[
        str, typer.Option(help="Moment of asking, RFC 3339; the decision's own, or now, if left out.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Explain a decision, or one that might be.

    Exit status 1: a stored decision comes out otherwise under this version or at this time.
    """
    from gateway.asking import Refused, post
    from gateway.explaining import ExplainAnswer

    body: dict[str, Any] = {"id": what} if _ID.fullmatch(what) else _read(Path(what))
    body |= {"catalogue": catalogue} if catalogue else {}
    body |= {"at": _moment(at)} if at else {}
    token = read_file(token_file).decode().strip() if token_file else ""
    try:
        answer = post(f"{gateway.rstrip('/')}/api/v1/explain", token, body, ExplainAnswer)
    except Refused as refused:
        raise Stop(f"lianren: {refused}") from None
    if as_json:
        print_json(answer)
    else:
        print_explanation(console(), answer)
    stored = answer.stored
    raise typer.Exit(1 if stored and (stored.verdicts or stored.orders) else 0)


def _read(file: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(read_file(file), type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError) as wrong:
        raise Stop(f"lianren: {file} is no JSON object: {wrong}") from None


def _moment(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Stop(f"lianren: --at: {text!r} is no time; write 2026-11-22T08:30:00+08:00") from None
    if moment.tzinfo is None:
        raise Stop(f"lianren: --at: {text!r} has no time zone; write {text}+08:00")
    return moment.isoformat()


def print_explanation(out: Console, answer: ExplainAnswer) -> None:
    """The decision as tables: advice, then for each result its steps, then the rankings and what differs."""
    explanation = answer.explanation
    out.print(
        f"{answer.receiver.name}  {_when(answer.at)}  目录 catalogue {answer.catalogue.version}", markup=False
    )
    for advice in explanation.decision.advice:
        served, left = (_names(codes, answer) for codes in (advice.served, advice.to_order))
        out.print(f"  {advice.planned}: 可互认 recognised {served}；须开 to order {left}", markup=False)
    for trace, verdict in zip(explanation.traces, explanation.decision.verdicts, strict=True):
        _print_trace(out, trace, verdict.result, answer)
    for ranking in explanation.rankings:
        if len(ranking.standings) > 1:
            out.print(f"\n{_name(ranking.item, answer)}: 先后 ranking", markup=False)
            for place, standing in enumerate(ranking.standings, start=1):
                why = f"  {standing.zh} / {standing.en}" if standing.zh else ""
                out.print(f"  {place}. {standing.result}{why}", markup=False)
    if explanation.unrelated:
        out.print(f"\n与拟开项目无关 unrelated: {', '.join(explanation.unrelated)}", markup=False)
    _print_stored(out, answer)


def _print_trace(out: Console, trace: Trace, result: Result, answer: ExplainAnswer) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    issuer = answer.names.get(result.institution, result.institution)
    aim = f" → {_name(trace.aim, answer)}" if trace.aim else ""
    out.print(
        f"\n{VERDICTS[trace.verdict]}  {issuer} {result.local_name}{aim}  [{trace.result}]", markup=False
    )
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("步骤 step", no_wrap=True)
    table.add_column("")
    table.add_column("所见 what it looked at", overflow="fold", ratio=1)
    table.add_column("规则 rules", overflow="fold", ratio=1)
    for step in trace.steps:
        rules = [f"{found.rule} {found.zh} / {found.en}" for found in (*step.reasons, *step.notes)]
        table.add_row(
            Text(f"{step.number} {step.zh} {step.en}"),
            "✓" if step.passed else "✗",
            Text("\n".join(_looked(step))),
            Text("\n".join(rules)),
        )
    out.print(table, width=None if out.is_terminal else WIDE)


def _looked(step: StepTrace) -> list[str]:
    """What a step looked at, a line each: values, conditions with their facts, windows with their ends."""
    lines = [
        f"{LOOKED[name]} {name}: {_fact(value)}"
        for name, value in step.looked.items()
        if value is not None and value != ""
    ]
    for asked in step.asked:
        if asked.holds:
            facts = ", ".join(f"{name}={_fact(value)}" for name, value in asked.facts.items())
            lines.append(f"成立 holds: {asked.rule} {asked.when}  ({facts})")
    if others := [f"{asked.rule} {asked.when}" for asked in step.asked if not asked.holds]:
        lines.append(f"不成立 do not hold: {'; '.join(others)}")
    for window in step.windows:
        default = "，地区默认 area default" if window.is_default else ""
        own = "，本机构 own" if window.own else ""
        lines.append(
            f"{window.list} {window.target}: {window.days}天 days {window.clock} from {window.base}"
            f" ({window.boundary}){default}{own}: {_when(window.counted_from)} → {_when(window.until)}"
        )
        if window.viewable_until:
            lines.append(f"可调阅至 viewable until {_when(window.viewable_until)}")
    return lines


def _print_stored(out: Console, answer: ExplainAnswer) -> None:
    stored = answer.stored
    if stored is None:
        return
    out.print(f"\n原决定 stored decision {answer.id}: {_when(stored.at)}, {stored.catalogue}", markup=False)
    if stored.identical:
        out.print("  重放结果逐字节一致 replayed: identical to the byte")
    elif not stored.verdicts and not stored.orders:
        out.print("  结论相同 the same verdicts and orders")
    for one in stored.verdicts:
        out.print(f"  {one.result}: {_judged(one.stored)} → {_judged(one.now)}", markup=False)
    for order in stored.orders:
        more = tuple(code for code in order.now if code not in order.stored)
        less = tuple(code for code in order.stored if code not in order.now)
        told = f"多开 more {_names(more, answer)}；少开 fewer {_names(less, answer)}"
        out.print(f"  {order.planned}: {told}", markup=False)


def _judged(one: Judged | None) -> str:
    if one is None:
        return "– 不涉及 no verdict"
    until = f" 至 until {_when(one.expires)}" if one.expires else ""
    return f"{VERDICTS[one.verdict]} {','.join(one.rules)}{until}"


def _names(codes: tuple[str, ...], answer: ExplainAnswer) -> str:
    return "、".join(_name(code, answer) for code in codes) or "–"


def _name(code: str, answer: ExplainAnswer) -> str:
    return f"{answer.names[code]} {code}" if code in answer.names else code


def _fact(value: bool | int | str) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value) or "–"


def _when(moment: datetime | None) -> str:
    from recognition import SHANGHAI

    return moment.astimezone(SHANGHAI).strftime("%Y-%m-%d %H:%M") if moment else "?"
