"""The flags a record may carry, in words.

A flag is ``<dimension>:<finding>``, set by whoever read the record; a result with one is looked at, and not
relied on (step 9).
"""

from __future__ import annotations

FLAGS: dict[str, tuple[str, str]] = {
    "timeliness:performed-in-the-future": ("检查时间在将来", "performed in the future"),
    "timeliness:reported-in-the-future": ("报告时间在将来", "reported in the future"),
    "timeliness:reported-before-performed": ("报告早于检查", "reported before it was performed"),
    "consistency:mark-on-name-and-report-differ": (
        "名称与报告上的标识不同",
        "name and report carry different marks",
    ),
    "consistency:name-on-study-and-report-differ": (
        "检查与报告的名称不同",
        "study and report have different names",
    ),
    "consistency:name-on-record-and-archive-differ": (
        "病历与影像库的名称不同",
        "record and archive differ in the name",
    ),
    "consistency:unit-and-code-differ": ("单位与其编码不同", "the unit and its code differ"),
    "consistency:institution-not-of-this-node": (
        "出具机构不属于该节点",
        "the node may not speak for the institution",
    ),
    "completeness:no-institution": ("未写明出具机构", "no institution is named"),
    "completeness:no-name": ("没有项目名称", "no name"),
    "completeness:no-performed-time": ("没有检查时间", "no time of the examination"),
    "completeness:no-report-time": ("没有报告时间", "no time of the report"),
    "completeness:no-status": ("报告状态不明", "no known status"),
    "completeness:no-study-uid": ("没有检查实例号", "no study UID"),
    "completeness:study-not-held": ("报告所指的检查不在该节点", "the study that is reported is not there"),
    "accuracy:value-not-readable": ("结果值无法识别", "the value cannot be read"),
    "accuracy:value-and-absent-reason": ("既有结果值又注明缺失", "a value, and a reason for its absence"),
    "accuracy:study-uid-malformed": ("检查实例号格式错误", "the study UID is malformed"),
    "continuity:version-without-report-time": ("更正版本没有报告时间", "a correction without a report time"),
    "performed:date-only": ("检查时间只有日期", "only the date of the examination"),
    "performed:no-zone": ("检查时间没有时区", "the examination's time has no zone"),
    "performed:not-a-time": ("检查时间无法识别", "the examination's time cannot be read"),
    "reported:date-only": ("报告时间只有日期", "only the date of the report"),
    "reported:no-zone": ("报告时间没有时区", "the report's time has no zone"),
    "reported:not-a-time": ("报告时间无法识别", "the report's time cannot be read"),
}


def words(flag: str) -> tuple[str, str]:
    """A flag in Chinese and English; one that another gateway made up stands for itself."""
    return FLAGS.get(flag, (flag, flag))
