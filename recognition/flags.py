"""The flags a record may carry, in words.

A flag is ``<dimension>:<finding>``, set by whoever read the record; a result with one is looked at, and not
relied on (step 9). One of the dimension ``header`` is about the header of an image (``quality/headers.py``):
a note, and no more. It names an attribute of DICOM, and may carry the number that is there, the one that was
to be there, and their unit: ``header:range:KVP=200/70-150/kV``.
"""

from __future__ import annotations

import re

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
    "consistency:side-on-images-and-report-differ": (
        "影像标注的侧别与报告不同",
        "images and report differ in the side",
    ),
    "consistency:part-on-images-and-report-differ": (
        "影像标注的部位与报告不同",
        "images and report differ in the body part",
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


HEADER = "header:"
"""How a flag begins that is about the header of an image."""

ATTRIBUTES: dict[str, tuple[str, str]] = {
    "AccessionNumber": ("检查号", "accession number"),
    "AcquisitionDate": ("采集日期", "date of acquisition"),
    "ContrastBolusAgent": ("对比剂", "contrast agent"),
    "DataCollectionDiameter": ("扫描视野", "scan field of view"),
    "DiffusionBValue": ("b值", "b value"),
    "DistanceSourceToDetector": ("焦片距", "source to detector distance"),
    "EchoTime": ("回波时间TE", "echo time"),
    "Exposure": ("管电流量", "exposure"),
    "FocalSpots": ("焦点", "focal spot"),
    "InstitutionName": ("医院名称", "institution"),
    "InversionTime": ("反转时间TI", "inversion time"),
    "KVP": ("管电压", "tube voltage"),
    "Laterality": ("侧别标记", "side"),
    "PatientAge": ("年龄", "age"),
    "PatientName": ("姓名", "name"),
    "PatientSex": ("性别", "sex"),
    "ReconstructionDiameter": ("重建视野", "reconstructed field of view"),
    "RepetitionTime": ("重复时间TR", "repetition time"),
    "RevolutionTime": ("旋转时间", "rotation time"),
    "Rows": ("矩阵", "matrix"),
    "ScanningSequence": ("扫描序列", "scanning sequence"),
    "SliceThickness": ("层厚", "slice thickness"),
    "StudyDate": ("检查日期", "date of the study"),
    "TotalCollimationWidth": ("准直宽度", "collimation"),
}
_HEADER = re.compile(
    r"header:(missing|contradiction|range):([A-Za-z]{1,40})"
    r"(?:=([0-9.e+-]{1,16})/([0-9.<>=-]{1,24})/([A-Za-z0-9/]{1,8}))?"
)


def words(flag: str) -> tuple[str, str]:
    """A flag in Chinese and English; one that another gateway made up stands for itself."""
    found = _HEADER.fullmatch(flag)
    if found is None or found[2] not in ATTRIBUTES or (found[1] == "range") is (found[3] is None):
        return FLAGS.get(flag, (flag, flag))
    kind, attribute, seen, reference, unit = found.groups()
    zh, en = ATTRIBUTES[attribute]
    if kind == "missing":
        return f"缺少{zh}", f"no {en}"
    if kind == "contradiction":
        return f"{zh}前后矛盾", f"the {en} contradicts the rest"
    return f"{zh}{seen}，参考{reference} {unit}", f"{en} {seen}, reference {reference} {unit}"
