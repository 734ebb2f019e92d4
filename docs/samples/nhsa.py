"""Messages of the shapes 5401, 5402 and 4804 of medical insurance front ends, answered by a Lianren gateway.

The field names are those of vendors' public code; no official text was read, so compare them with the
interface document of your province before you use this. docs/his.md has the same mapping as tables. Plain
functions from one message to another: what is sent and read on either side stays yours.

What cannot be mapped is left empty and never made up: conclusions of reports are not exchanged (what is
recognised is the value or the image), and a gateway does not say whether a finding is positive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

Message = dict[str, Any]
Found = Literal["found", "none", "unknown"]
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
    return [
        {
            "psn_no": message["psn_no"],
            "rpotc_no": one["result"]["id"],
            "rpt_date": (one["result"]["reported"] or "")[:10],
            "rpotc_type_code": KINDS[one["result"]["kind"]],
            "fixmedins_code": fixmedins(one["result"]["institution"]["code"]),
            "exam_rpotc_name": one["result"]["local_name"],
            "exam_rslt_poit_flag": "",
            "exam_rslt_abn": "",
            "examCcls": "",
        }
        for one in answer["verdicts"]
        if one["verdict"] == "recognised"
    ]


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
        return "found", viewer.format(study_uid=best["result"]["study_uid"])
    return ("none" if answer["complete"] and not answer["unnamed"] else "unknown"), ""
