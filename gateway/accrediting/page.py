"""The report as one page that needs nothing else and prints on A4."""

from __future__ import annotations

from html import escape
from itertools import groupby

import msgspec

from gateway.accrediting.values import Finding, Signed
from gateway.accrediting.words import GROUPS, STATES
from recognition import SHANGHAI

_STYLE = """
@page { size: A4; margin: 16mm 14mm; }
* { box-sizing: border-box; }
body { font: 10pt/1.45 "Noto Sans CJK SC", "Source Han Sans SC", "Microsoft YaHei", "PingFang SC",
  system-ui, sans-serif; color: #1a1a1a; max-width: 182mm; margin: 8mm auto; padding: 0 4mm; }
h1 { font-size: 17pt; margin: 0 0 1mm; }
h2 { font-size: 12pt; margin: 6mm 0 1.5mm; break-after: avoid; }
.en { color: #555; }
.verdict { border: 1.5pt solid; border-radius: 2mm; padding: 2.5mm 4mm; margin: 4mm 0; font-weight: bold; }
table { width: 100%; border-collapse: collapse; table-layout: fixed; }
th, td { text-align: left; vertical-align: top; padding: 1.2mm 2mm; border-bottom: .4pt solid #bbb; }
tr { break-inside: avoid; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .6mm 5mm; margin: 3mm 0; }
dt { color: #555; } dd { margin: 0; overflow-wrap: anywhere; }
td.state { width: 31mm; white-space: nowrap; font-weight: bold; }
td.seen { width: 52mm; font-size: 8.5pt; overflow-wrap: anywhere; color: #444; }
.todo { margin-top: .8mm; padding-left: 3mm; border-left: 2pt solid; }
.passed { color: #14692c; } .advice { color: #8a5a00; } .fix { color: #a3161a; } .not_made { color: #666; }
.todo span { color: #1a1a1a; }
footer { margin-top: 8mm; font-size: 8pt; color: #555; overflow-wrap: anywhere; }
""".strip()
_SIGNS = {"passed": "✓", "advice": "!", "fix": "✗", "not_made": "–"}


def page(signed: Signed) -> bytes:
    """The page of a signed report: the same bytes for the same report."""
    report = signed.report
    node = report.node
    state = "passed" if report.passed else "fix"
    zh, en = ("通过", "passed") if report.passed else ("未通过", "not passed")
    facts = [
        ("节点 node", f"{node.id} ({node.kind})"),
        ("机构 institution", node.institution),
        ("地址 address", node.url),
        ("软件 software", node.software or "–"),
        ("网关 gateway", f"{report.gateway}, Lianren {report.program}"),
        ("目录 catalogue", report.catalogue),
        ("时间 made", report.made.astimezone(SHANGHAI).isoformat(" ", "seconds")),
        ("患者与结果 patients and results", f"{report.patients} / {report.results}"),
    ]
    if report.latency:
        took = report.latency
        times = f"p50 {took.p50_ms:g}, p95 {took.p95_ms:g}, p99 {took.p99_ms:g}, ≤ {took.most_ms:g} ms"
        facts.append(("时延 latency", f"{times} ({took.questions})"))
    told = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    groups = "".join(
        f'<h2>{GROUPS[name][0]} <span class="en">{GROUPS[name][1]}</span></h2>'
        f"<table>{''.join(map(_row, found))}</table>"
        for name, found in groupby(report.findings, lambda finding: finding.id.partition(".")[0])
    )
    counts = ", ".join(
        f"{zh_} {en_}: {sum(finding.state == name for finding in report.findings)}"
        for name, (zh_, en_) in STATES.items()
    )
    embedded = msgspec.json.encode(signed).decode().replace("<", "\\u003c")
    return (
        '<!DOCTYPE html>\n<html lang="zh-CN"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\';'
        " style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>节点验收报告 {escape(node.id)}</title><style>\n{_STYLE}\n</style></head>\n<body>"
        '<h1>节点验收报告</h1><div class="en">Accreditation of a node · 联认 Lianren</div>'
        f'<div class="verdict {state}">{_SIGNS[state]} {zh} <span>{en}</span></div>'
        f"<dl>{told}</dl><p>{counts}</p>{groups}"
        "<footer>本页由所附签名数据生成，核验 this page is made of the signed data in it; verify:"
        " <code>lianren node accredit --verify</code><br>"
        f"签名 signature: {escape(signed.signature)}</footer>"
        f'<script type="application/json" id="signed">{embedded}</script></body></html>\n'
    ).encode()


def _row(finding: Finding) -> str:
    zh, en = STATES[finding.state]
    todo = (
        f'<div class="todo {finding.state}"><span>{escape(finding.fix_zh)}'
        f' <span class="en">{escape(finding.fix_en)}</span></span></div>'
        if finding.fix_zh
        else ""
    )
    return (
        f'<tr><td class="state {finding.state}">{_SIGNS[finding.state]} {zh} {en}</td>'
        f'<td>{escape(finding.zh)} <span class="en">{escape(finding.en)}</span>{todo}</td>'
        f'<td class="seen">{escape(finding.seen)}</td></tr>'
    )
