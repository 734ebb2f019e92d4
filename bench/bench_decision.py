"""The decision in process, for 10 and for 100 prior results of one check.

Bars (design, section 7): 10 results in at most 200 µs, 100 results in at most 2 ms, on one core.

The baseline evaluates the windows, the level rules and the negative list for the same results with a generic
rule engine (rule-engine, from PyPI, BSD-3). It is spared everything else: it is handed the rules that apply
and the facts of every result, worked out beforehand, and neither matches items nor words reasons nor ranks.
Caches of the catalogue are warm on both sides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import rule_engine

from bench.machine import cpu_us, heading
from catalog import FACTS
from recognition import Check, Planned, Result, decide
from recognition.case import cases
from recognition.context import question_of, values
from tests.recognition.cases import NOW, catalogue, check, ct, lab

PANEL = catalogue().panels["LFT"]
_SIGNS = {"&&": " and ", "||": " or ", "!=": "!=", "!": " not "}


def main() -> None:
    """Measure and print."""
    heading("decision in process", "make bench")
    first = [lab(code, id=code, version_key=code) for code in PANEL.members[:9]]
    many = [
        lab(code, id=f"{code}/{days}", version_key=f"{code}/{days}", days_ago=days)
        for days in range(9)
        for code in PANEL.members
    ]
    _measure("10 results", [*first, ct()], 200)
    _measure("100 results", many[:100], 2000)


def _measure(title: str, results: Sequence[Result], bar: int) -> None:
    asked = Check(
        at=NOW, receiver=check().receiver, planned=(Planned(PANEL.name, PANEL.members, PANEL.code),)
    )
    repeat = 2000 // len(results)
    engine = _rule_engine(asked, results)
    decide(asked, results, catalogue())
    took = cpu_us(lambda: decide(asked, results, catalogue()), number=repeat)
    baseline = cpu_us(engine, number=max(repeat // 10, 1))
    print(
        f"  {title}: {took:.0f} µs CPU, bar {bar} µs;"
        f" rule-engine for windows and conditions alone {baseline:.0f} µs, ratio {took / baseline:.3f}"
    )


def _rule_engine(asked: Check, results: Sequence[Result]) -> Callable[[], object]:
    """The same windows and conditions, compiled for the generic engine, with the facts of every result."""
    compiled: dict[str, rule_engine.Rule] = {}
    work: list[tuple[list[rule_engine.Rule], dict[str, Any]]] = []
    for case in cases(question_of(asked, catalogue()), results):
        texts = [f"age_days > {limit.window.days}" for limit in case.limits]
        if case.aim is not None:
            texts += [_translated(c.text) for step in (6, 8) for _, c in case.aim.conditions[step]]
        facts = dict(values(case, FACTS)) | {"age_days": (asked.at - (case.limits[0].base or asked.at)).days}
        work.append(([compiled.setdefault(text, rule_engine.Rule(text)) for text in texts], facts))
    return lambda: [[rule.matches(facts) for rule in rules] for rules, facts in work]


def _translated(condition: str) -> str:
    """CEL's signs in the engine's words."""
    return re.sub(r"&&|\|\||!=|!", lambda sign: _SIGNS[sign[0]], condition)


if __name__ == "__main__":
    main()
