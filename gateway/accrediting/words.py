"""The findings in words: what was looked at, and what to do where it is not so. Chinese, then English; the
sentences stand in ``words.csv``."""

from __future__ import annotations

import csv
from pathlib import Path

from msgspec import Struct


class Words(Struct, frozen=True):
    """What is looked at (``zh``, ``en``), and what to do about it."""

    zh: str
    en: str
    fix_zh: str
    fix_en: str


def _read(file: Path) -> dict[str, Words]:
    with file.open(encoding="utf-8", newline="") as lines:
        return {row.pop("id"): Words(**row) for row in csv.DictReader(lines)}


WORDS = _read(Path(__file__).with_name("words.csv"))
"""By the id of the finding; the part before the point is its group."""

GROUPS: dict[str, tuple[str, str]] = {
    "identity": ("身份", "Identity"),
    "search": ("检索", "Search"),
    "retrieval": ("调阅", "Retrieval"),
    "names": ("名称", "Names"),
    "units": ("单位", "Units"),
    "times": ("时间", "Times"),
    "charset": ("字符集", "Character sets"),
    "errors": ("错误处理", "Errors"),
    "behaviour": ("负载行为", "Behaviour"),
    "latency": ("时延", "Latency"),
}
STATES: dict[str, tuple[str, str]] = {
    "passed": ("通过", "passed"),
    "advice": ("建议", "advice"),
    "fix": ("须整改", "to fix"),
    "not_made": ("未测", "not made"),
}
