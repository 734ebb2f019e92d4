"""Results and checks for the tests of the decision, on the bundled catalogue."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from catalog import Catalogue, Rule, Window, load
from recognition import Check, Context, Images, Mark, Planned, Reading, Result, decide
from recognition.model import Verdict

CST = ZoneInfo("Asia/Shanghai")
NOW = datetime(2026, 11, 20, 10, 0, tzinfo=CST)
ALBUMIN, POTASSIUM, GLUCOSE, URINE_GLUCOSE = "1100104A", "1400605A", "1700104A", "1700110A"


@cache
def catalogue() -> Catalogue:
    return load()


def imaging_item(concept: str) -> str:
    found = catalogue().item_for(concept)
    assert found is not None, concept
    return found.code


CHEST_PLAIN = imaging_item("CT|胸部|-|plain|-")
CHEST_BOTH = imaging_item("CT|胸部|-|plain+contrast|-")


def lab(item: str = ALBUMIN, *, days_ago: float = 5, **changes: Any) -> Result:
    """A Wuhan value that a Chengdu hospital may rely on."""
    moment = NOW - timedelta(days=days_ago)
    unit = (catalogue().item(item).units or ("",))[0]
    result = Result(
        id=f"hb-lis/Observation/{item}",
        node="hb-lis",
        kind="lab",
        institution="EX-HB-01",
        local_name=catalogue().item(item).name,
        reading=Reading(item, catalogue().item(item).concept, ""),
        identity="strong",
        status="final",
        performed=moment,
        reported=moment,
        version_key=f"R1/{item}",
        value="41.2",
        unit=unit,
        mark=Mark("CN", "全国HR", "valid"),
    )
    return msgspec.structs.replace(result, **changes)


def ct(item: str = CHEST_PLAIN, *, days_ago: float = 9, **changes: Any) -> Result:
    """A Chongqing chest CT with all its images."""
    moment = NOW - timedelta(days=days_ago)
    result = Result(
        id=f"cq-pacs/{item}",
        node="cq-pacs",
        kind="imaging",
        institution="EX-CQ-01",
        local_name=catalogue().item(item).name,
        reading=Reading(item, catalogue().item(item).concept, ""),
        identity="strong",
        status="final",
        performed=moment,
        reported=moment,
        version_key=f"2.25.{item}",
        study_uid="2.25.1",
        images=Images(held=120, expected=120),
        mark=Mark("CHUANYU", "川渝HR", "valid"),
    )
    return msgspec.structs.replace(result, **changes)


def check(*items: str, receiver: str = "EX-SC-01", at: datetime = NOW, **context: Any) -> Check:
    planned = Planned("planned", items or (ALBUMIN,))
    return Check(at=at, receiver=receiver, planned=(planned,), context=Context(**context))


def judged(result: Result, asked: Check | None = None) -> Verdict:
    """The one verdict on one result."""
    decision = decide(asked or check(result.reading.item or ALBUMIN), [result], catalogue())
    assert len(decision.verdicts) == 1
    return decision.verdicts[0]


def rules(verdict: Verdict) -> list[str]:
    return [reason.rule for reason in verdict.reasons]


def notes(verdict: Verdict) -> list[str]:
    return [note.rule for note in verdict.notes]


def window_row(**changes: Any) -> Window:
    """A window of seven days for the laboratory list of 川渝."""
    row = {
        "list": "cy-lab",
        "target": "*",
        "days": 7,
        "clock": "calendar_days",
        "base": "report",
        "boundary": "including",
        "setting": "*",
        "institution": "",
        "view_days": 0,
        "is_default": False,
        "source": "a test",
        "certainty": "illustrative",
    }
    return msgspec.convert(row | changes, Window)


def with_windows(*rows: Window) -> Catalogue:
    """The bundled catalogue with these windows and no others."""
    return msgspec.structs.replace(catalogue(), windows=rows)


def with_rules(*found: Rule) -> Catalogue:
    """The bundled catalogue with these rules as well."""
    return msgspec.structs.replace(catalogue(), rules=catalogue().rules | {rule.id: rule for rule in found})


def condition(when: str, **changes: Any) -> Rule:
    """A line of the negative list."""
    line = {
        "id": "N99",
        "step": 8,
        "effect": "view_only",
        "when": when,
        "region": "CN",
        "zh": "测试",
        "en": "test",
        "source": "a test",
        "owner": "a test",
        "certainty": "illustrative",
    }
    return msgspec.convert(line | changes, Rule)


def from_chongqing(item: str, **changes: Any) -> Result:
    """A Chongqing value that a Chengdu hospital may rely on."""
    told: dict[str, Any] = {"institution": "EX-CQ-01", "mark": Mark("CHUANYU", "川渝HR", "valid")}
    return lab(item, **told | changes)
