"""Messages of the shapes 5401, 5402 and 4804 of medical insurance front ends, answered by a Lianren gateway.

The field names are those of vendors' public code; no official text was read, so compare them with the
interface document of your province before you use this. docs/his.md has the same mapping as tables. Plain
functions from one message to another: what is sent and read on either side stays yours.

What cannot be mapped is left empty and never made up: conclusions of reports are not exchanged (what is
recognised is the value or the image), and a gateway does not say whether a finding is positive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, Literal
from urllib.parse import quote

Message = dict[str, Any]
Found = Literal["found", "none", "unknown"]
CHINA = timezone(timedelta(hours=8))
KINDS = {"imaging": "PACS", "lab": "LIS"}
"""Our kind of a result → the type of its report, as front ends write it; your platform may have codes."""


def check_of_5401(message: Message, resident_number: str, request_id: str) -> Message:
    """项目互认信息查询 → the body of ``POST /api/v1/checks``.

    ``resident_number`` belongs to ``psn_no``, which is a number of the insurance and nobody else's.
    """
    planned = {"name": message["exam_item_name"], "code": message.get("exam_item_code", "")}
    patient = {"type": "resident-id", "value": resident_number}
    return {"request_id": request_id, "patient": patient, "planned": [planned]}


def reports_of_5401(
    message: Message, answer: Message, fixmedins: Callable[[str], str] = lambda code: code
) -> list[Message]:
    """The answer of the check → one report for each recognised result, the one to show first at the head.

    ``fixmedins`` gives the insurance's code of an institution.
    """
    reports = []
    told: set[str] = set()
    for one in answer["verdicts"]:
        result = one["result"]
        if one["verdict"] != "recognised" or result["id"] in told:
            continue
        told |= {result["id"], *one["also"]}  # for several items, or of several nodes
        reports.append(
            {
                "psn_no": message["psn_no"],
                "rpotc_no": result["id"],
                "rpt_date": _day(result["reported"]),
                "rpotc_type_code": KINDS[result["kind"]],
                "fixmedins_code": fixmedins(result["institution"]["code"]),
                "exam_rpotc_name": result["local_name"],
                "exam_rslt_poit_flag": "",
                "exam_rslt_abn": "",
                "examCcls": "",
            }
        )
    return reports


def _day(time: str | None) -> str:
    """The day in China, whichever offset the time is written with; empty where there is none."""
    return datetime.fromisoformat(time).astimezone(CHINA).date().isoformat() if time else ""


def detail_of_5402(answer: Message, rpotc_no: str) -> Message | None:
    """报告明细: the result as the check has it, with its mark and reason; None where there is none.

    The fields of 5402 were not to be read, so these are ours: fill in those of your province.
    """
    for one in answer["verdicts"]:
        if one["result"]["id"] == rpotc_no:
            told = {name: one[name] for name in ("verdict", "item", "mark", "expires")}
            return {**one["result"], **told, "reason": one["reasons"][0]["zh"]}
    return None


def check_of_4804(message: Message, request_id: str) -> Message:
    """重复检查校验 → the body of ``POST /api/v1/checks``. The name of the person is not sent: the number is
    enough. ``psnCertType`` is a code of CV02.01.101, which the gateway takes as it is."""
    patient = {"type": message["psnCertType"], "value": message["certno"]}
    planned = {"name": f"{message['examPart']}{message['imgExamType']}", "kind": "imaging"}
    return {"request_id": request_id, "patient": patient, "planned": [planned]}


def address_of_4804(answer: Message, viewer: str) -> tuple[Found, str]:
    """Whether there is an examination to look at, and where: ``viewer`` with ``{study_uid}`` in it.

    ``unknown``: nothing was found and somebody was not heard, or the examination could not be named.
    """
    best: Mapping[str, Any] | None = next(
        (one for one in answer["verdicts"] if one["verdict"] == "recognised" and one["result"]["study_uid"]),
        None,
    )
    if best is not None:
        return "found", viewer.format(study_uid=quote(best["result"]["study_uid"], safe=""))
    return ("none" if answer["complete"] and not answer["unnamed"] else "unknown"), ""
