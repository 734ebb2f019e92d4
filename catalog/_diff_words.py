"""How tables, columns and values are called in a difference, in Chinese and English."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from catalog.entries import ANY
from catalog.model import Catalogue

Words = tuple[str, str]
"""In Chinese, in English."""

EMPTY: Words = ("（空）", "(empty)")

COLUMNS: dict[str, Words] = {
    "additions": ("机构可自行收紧", "institutions may tighten it"),
    "aliases": ("别名", "aliases"),
    "alliances": ("医联体", "alliances"),
    "amount": ("价格", "price"),
    "base": ("起算时间", "counted from"),
    "basis": ("评价依据", "basis"),
    "batch": ("批次", "batch"),
    "boundary": ("末日", "last day"),
    "certainty": ("可信程度", "certainty"),
    "clock": ("计时方式", "clock"),
    "concept": ("概念", "concept"),
    "counts_as_refusal": ("计为不互认", "counts as a refusal"),
    "days": ("天数", "days"),
    "edition": ("所属目录", "edition"),
    "effect": ("处理", "effect"),
    "effective_from": ("生效时间", "in force from"),
    "en": ("英文说明", "English words"),
    "factor": ("系数", "factor"),
    "gateway": ("网关", "gateway"),
    "group": ("分组", "group"),
    "illustrative": ("示例", "illustrative"),
    "institution": ("机构", "institution"),
    "is_default": ("默认时限", "regional default"),
    "items": ("适用项目", "items"),
    "kind": ("类别", "kind"),
    "level": ("等级", "level"),
    "lists": ("所在名单", "lists"),
    "marks": ("标识范围", "printed marks"),
    "members": ("组成项目", "members"),
    "method_dependent": ("结果依赖方法", "depends on the method"),
    "name": ("名称", "name"),
    "needs_text": ("需填写说明", "needs a text"),
    "notice_en": ("英文声明", "English notice"),
    "notice_zh": ("中文声明", "Chinese notice"),
    "offset": ("偏移", "offset"),
    "overlap_days": ("过渡天数", "overlap in days"),
    "owner": ("责任方", "owner"),
    "parents": ("上级区域", "lies in"),
    "reason": ("原因", "reason"),
    "reason_code": ("原因代码", "reason code"),
    "region": ("区域", "region"),
    "scope": ("范围", "scope"),
    "source": ("来源", "source"),
    "status": ("状态", "status"),
    "status_from": ("状态起始时间", "status since"),
    "step": ("步骤", "step"),
    "units": ("单位", "units"),
    "valid_from": ("有效期起", "valid from"),
    "valid_to": ("有效期止", "valid to"),
    "version": ("版本", "version"),
    "view_days": ("可调阅天数", "viewable for days"),
    "when": ("条件", "condition"),
    "zh": ("中文说明", "Chinese words"),
}
"""The column of a table → what a steward calls it."""

_VALUES: dict[str, dict[str, Words]] = {
    "clock": {
        "calendar_days": ("自然日", "calendar days"),
        "elapsed_24h": ("满24小时", "periods of 24 hours"),
    },
    "base": {"report": ("报告时间", "the report"), "performed": ("检查时间", "the examination")},
    "boundary": {"including": ("含末日", "counts"), "excluding": ("不含末日", "does not count")},
    "effect": {
        "recognised": ("互认", "recognised"),
        "note": ("提示", "note"),
        "view_only": ("仅供调阅", "view only"),
        "not_recognised": ("不予互认", "not recognised"),
    },
    "status": {
        "active": ("有效", "active"),
        "suspended": ("暂停", "suspended"),
        "withdrawn": ("撤销", "withdrawn"),
    },
    "kind": {"imaging": ("检查", "imaging"), "lab": ("检验", "laboratory")},
    "items": {"*": ("全部项目", "all items")},
    "setting": {
        "*": ("不限就诊类型", "any setting"),
        "outpatient": ("门诊", "outpatient"),
        "inpatient": ("住院", "inpatient"),
        "emergency": ("急诊", "emergency"),
    },
}
_NAMED = {
    "region": "regions",
    "scope": "regions",
    "parents": "regions",
    "members": "items",
    "institution": "institutions",
}
"""The column that holds a code → the table that has its name."""

NOUNS: dict[str, tuple[str, str, str]] = {
    "editions": ("目录版本", "edition", "editions"),
    "lists": ("名单", "list", "lists"),
    "items": ("项目", "item", "items"),
    "windows": ("互认时限", "window", "windows"),
    "rules": ("规则", "rule", "rules"),
    "stand_ins": ("替代关系", "stand-in", "stand-ins"),
    "panels": ("组合", "panel", "panels"),
    "qualifications": ("资格", "qualification", "qualifications"),
    "institutions": ("机构", "institution", "institutions"),
    "conversions": ("单位换算", "conversion", "conversions"),
    "regions": ("区域", "region", "regions"),
    "reason_codes": ("原因代码", "reason code", "reason codes"),
    "prices": ("价格", "price", "prices"),
}
"""Table → what one row is called in Chinese, and one and several in English."""


def change_words(old: Catalogue, new: Catalogue, column: str, before: Any, after: Any) -> Words:
    """What a column changed from and to; for several values, which came and which went."""
    if not isinstance(before, tuple):
        was, now = value_words(old, column, before), value_words(new, column, after)
        zh, en = COLUMNS[column]
        return f"{zh} {was[0]} → {now[0]}", f"{en} {was[1]} → {now[1]}"
    came = [value_words(new, column, value) for value in after if value not in before]
    went = [value_words(old, column, value) for value in before if value not in after]
    parts = [("增加 ", "added ", came), ("去掉 ", "removed ", went)]
    if not came and not went:
        parts = [("顺序改为 ", "now in the order ", [value_words(new, column, value) for value in after])]
    zh = "；".join(f"{word}{joined(values)[0]}" for word, _, values in parts if values)
    en = "; ".join(f"{word}{joined(values)[1]}" for _, word, values in parts if values)
    return f"{COLUMNS[column][0]} {zh}", f"{COLUMNS[column][1]} {en}"


def value_words(catalogue: Catalogue, column: str, value: Any) -> Words:
    """A value as a steward reads it: regions and items with their names, words for the words of the model."""
    if isinstance(value, tuple):
        return joined([value_words(catalogue, column, each) for each in value])
    if isinstance(value, bool):
        return ("是", "yes") if value else ("否", "no")
    if value in ("", None):
        return EMPTY
    text = str(value)
    named: Mapping[str, Any] = getattr(catalogue, _NAMED.get(column, ""), {})
    if text in named:
        text = f"{named[text].name}({text})"
    return _VALUES.get(column, {}).get(text, (text, text))


def told_words(catalogue: Catalogue, row: Any, columns: Sequence[str], *, named: bool = True) -> Words:
    """The values of these columns of a row that say something, with or without the columns' names.

    The columns ``zh`` and ``en`` are each told in their own language only.
    """
    zh: list[str] = []
    en: list[str] = []
    for column in columns:
        value = getattr(row, column)
        if value in ("", (), 0) or (value == ANY and not named):
            continue
        label_zh, label_en = COLUMNS.get(column, ("", ""))
        value_zh, value_en = value_words(catalogue, column, value)
        if isinstance(value, bool):  # the name of the column is what it says
            value_zh = value_en = ""
        elif not named or column in ("zh", "en"):
            label_zh = label_en = ""
        if column != "en":
            zh.append(f"{label_zh} {value_zh}".strip())
        if column != "zh":
            en.append(f"{label_en} {value_en}".strip())
    return "、".join(zh), ", ".join(en)


def title(catalogue: Catalogue, table: str, row: Any) -> Words:
    """What a row is called beside its table and what it shares with others."""

    def item(code: str) -> str:
        return f"{catalogue.items[code].name}({code})" if code in catalogue.items else code

    match table:
        case "windows" if row.target == ANY:
            return "整个名单", "whole list"
        case "windows" if row.target.startswith("group:"):
            return f"分组 {row.target[6:]}", f"group {row.target[6:]}"
        case "windows":
            return (item(row.target),) * 2
        case "stand_ins":
            return f"{item(row.prior)} 代 {item(row.ordered)}", f"{item(row.prior)} for {item(row.ordered)}"
        case "conversions":
            return (f"{item(row.item)} {row.unit} → {row.to_unit}",) * 2
        case "prices":
            return joined([value_words(catalogue, name, getattr(row, name)) for name in ("items", "region")])
        case "reason_codes":
            return (f"{row.system}:{row.code}",) * 2
        case "items" | "panels" | "institutions" | "regions":
            return (f"{row.name}({row.code})",) * 2
        case "lists":
            return (f"{row.name}({row.id})",) * 2
    return (row.id,) * 2


def joined(values: Sequence[Words]) -> Words:
    """Several values in one phrase."""
    if not values:
        return EMPTY
    return "、".join(zh for zh, _ in values), ", ".join(en for _, en in values)
