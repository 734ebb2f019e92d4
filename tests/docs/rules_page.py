"""The tables of docs/rules.md, from the bundled catalogue: ``python -m tests.docs.rules_page`` makes them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from catalog import FACTS, Rule, load
from tests.docs.pages import ROOT

PAGE = ROOT / "docs/rules.md"

_ENDING = ("中文", "English", "reason code", "source", "certainty")
_CONDITION = ("rule", "effect", "condition", "items", "area", *_ENDING)


def page() -> str:
    """The page with its tables as they should be."""
    rules = load().rules.values()
    tables = {
        "Steps of the decision": _table(
            ("rule", "step", "effect", *_ENDING),
            ((f"`{r.id}`", str(r.step), r.effect, *_ending(r)) for r in rules if not r.when),
        ),
        "Level rules": _conditions(rule for rule in rules if rule.when and rule.step == 6),
        "Negative list": _conditions(rule for rule in rules if rule.when and rule.step == 8),
        "Facts": _table(
            ("fact", "type", "中文", "English"),
            ((f"`{name}`", fact.type, fact.zh, fact.en) for name, fact in FACTS.items()),
        ),
    }
    text = PAGE.read_text(encoding="utf-8")
    for heading, table in tables.items():
        head, found, rest = text.partition(f"\n## {heading}\n")
        before, _, after = re.split(r"(?m)((?:^\|.*\n)+)", rest, maxsplit=1)
        text = f"{head}{found}{before}{table}{after}"
    return text


def _conditions(rules: Iterable[Rule]) -> str:
    rows = (
        (
            f"`{r.id}`",
            r.effect,
            f"`{r.when}`",
            f"`{r.items}`",
            f"{r.region} {r.institution}".strip(),
            *_ending(r),
        )
        for r in sorted(rules, key=lambda rule: rule.id)
    )
    return _table(_CONDITION, rows)


def _ending(rule: Rule) -> tuple[str, ...]:
    return rule.zh, rule.en, rule.reason_code, rule.source, rule.certainty


def _table(heading: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heading, ("---",) * len(heading), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
