"""Step 2 of one question: what is planned, by code or by the hospital's own name, or why it has no item."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from catalog import Catalogue
from gateway.errors import BadRequest
from gateway.model import CheckRequest, Unnamed
from gateway.review import Listening
from gateway.rules import Rules
from mapping import LocalName
from recognition import Planned, Result

UNNAMED: dict[str, tuple[str, str]] = {
    "unknown": ("目录中没有此名称，请核对或改选项目", "no item has this name; check it or send a code"),
    "ambiguous": ("此名称可指不同项目，请改选项目", "the name may mean different items; send a code"),
    "scale_unsaid": ("此名称须注明定量或定性", "the name needs to say whether it is quantitative"),
    "specimen_unsaid": ("此名称须同时注明标本", "the name needs its specimen beside it"),
    "no_modality": ("此名称须同时注明检查类型", "the name needs its modality beside it"),
    "conflict": ("名称与随附的检查类型、标本或标识不一致", "the name contradicts what is beside it"),
    "lost_character": ("名称中有丢失的字符，请检查字符集", "a character of the name was lost on the way"),
    "part_unsaid": ("此名称没有写明检查部位", "the name says no body part"),
    "part_undivided": ("此名称的部位须写明到具体部位", "the part has to be a single one, such as the knee"),
    "several_regions": ("一次扫描多个部位，请改选项目", "one scan of several regions; send a code"),
    "side_unsaid": ("此名称须注明左、右或双侧", "the name needs its side"),
    "method_unsaid": ("此名称须注明平扫或增强", "the name needs its method: plain or contrast"),
    "view_unsaid": ("此名称须注明体位", "the name needs its view"),
    "share_unsaid": ("此名称须注明计数或百分比", "the name needs to say number or share"),
    "time_unsaid": ("此名称须注明采样时间", "the name needs its sampling time"),
    "out_of_scope": ("此名称不是互认范围内的检查检验", "the name is of another kind of service"),
    "panel": ("此组合的成员因医院而异，请发送各项目", "the panel's members are the site's; send its items"),
    "several": ("此名称包含多个项目，请分别发送", "the name holds several items; send each"),
    "not_listed": ("目录中没有此项目", "the catalogue in force has no item for it"),
    "empty": ("没有填写名称", "there is no name"),
}  # fmt: skip
"""Why a name has no item: the reason code in Chinese and English."""
OLDEST = datetime(1, 1, 2, tzinfo=UTC)
"""Stands for the time of a result that has none."""


def name_planned(
    request: CheckRequest, site: str, rules: Rules, names: Listening
) -> tuple[tuple[Planned, ...], tuple[int, ...], tuple[Unnamed, ...]]:
    """Step 2: by item or panel code, else by the hospital's own name; an unknown code is a wrong request.

    The numbers are the places that the planned ones have in the request.
    """
    planned: list[Planned] = []
    places: list[int] = []
    unnamed: list[Unnamed] = []
    for number, wanted in enumerate(request.planned):
        if bool(wanted.name) == bool(wanted.item):
            raise BadRequest("needs either a name or an item code", field=f"planned[{number}]")
        places.append(number)
        if code := wanted.item or rules.normaliser.panel(wanted.name):
            planned.append(planned_by(code, rules.catalogue, f"planned[{number}].item"))
            continue
        named, review = names.heard(
            LocalName(
                name=wanted.name,
                kind=wanted.kind,
                modality=wanted.modality,
                specimen=wanted.specimen,
                site=site,
                code=wanted.code,
            )
        )
        if named.items:
            planned.append(Planned(wanted.name, named.items))
        else:
            places.pop()
            zh, en = UNNAMED[named.reason]
            unnamed.append(Unnamed(number, wanted.name, named.reason, review, zh, en))
    return tuple(planned), tuple(places), tuple(unnamed)


def planned_of(
    results: Sequence[Result], catalogue: Catalogue
) -> tuple[tuple[Planned, ...], tuple[Unnamed, ...]]:
    """Step 2 where nothing is planned: the items of the person's own results, the newest first, and the names
    of those that have none. What is not surely the person's plans nothing."""
    newest: dict[str, datetime] = {}
    unread: dict[str, str] = {}
    for result in results:
        item = catalogue.items.get(result.reading.item or "")
        if result.identity != "strong":
            continue
        if item is None or item.kind != result.kind:
            unread[result.local_name] = result.reading.reason
            continue
        when = result.performed or result.reported or OLDEST
        newest[item.code] = max(newest.get(item.code, OLDEST), when)
    codes = sorted(newest, key=lambda code: (-newest[code].timestamp(), code))
    return (
        tuple(Planned(catalogue.item(code).name, (code,)) for code in codes),
        tuple(
            Unnamed(place, name, reason, "", *UNNAMED.get(reason, UNNAMED["unknown"]))
            for place, (name, reason) in enumerate(sorted(unread.items()))
        ),
    )


def planned_by(code: str, catalogue: Catalogue, field: str) -> Planned:
    """What is planned by the code of an item or panel.

    Raises:
        BadRequest: this version has neither.
    """
    if panel := catalogue.panels.get(code):
        return Planned(panel.name, panel.members, panel.code)
    if item := catalogue.items.get(code):
        return Planned(item.name, (item.code,))
    raise BadRequest(f"is no item or panel of catalogue {catalogue.version}", field=field)
