"""The facts that a condition may name, each with its type and its meaning."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Value = bool | int | str
FactType = Literal["bool", "int", "text"]


class Fact(Struct, frozen=True):
    """A fact that a condition may name: its type and what it means. All are always known to a decision.

    ``values`` are the only ones of a text that has few.
    """

    type: FactType
    zh: str
    en: str
    values: tuple[str, ...] = ()


FACTS: dict[str, Fact] = {
    # the encounter
    "setting": Fact(
        "text",
        "就诊类型",
        "outpatient, inpatient or emergency",
        ("outpatient", "inpatient", "emergency"),
    ),
    "emergency": Fact("bool", "急诊、急救", "an emergency, or the setting is emergency"),
    "condition_changed": Fact("bool", "病情变化", "the condition has changed"),
    "pre_operation": Fact("bool", "拟行手术", "an operation is ahead"),
    "pre_transfusion": Fact("bool", "拟行输血", "a transfusion is ahead"),
    "forensic": Fact("bool", "司法、伤残、病退鉴定", "a judicial, disability or sick-retirement appraisal"),
    "serial": Fact("bool", "需连续性检查", "a serial examination is needed for diagnosis or monitoring"),
    "drug_treatment": Fact("bool", "药物治疗中", "the disease is under drug treatment"),
    "endemic_area": Fact("bool", "病区居住6个月及以上", "six months or more of residence in an endemic area"),
    "disease": Fact("text", "病种", "the disease in question, such as kashin-beck or echinococcosis"),
    "receiver_level": Fact(
        "int", "接诊机构等级", "grade of the asking institution, 0 (none) to 5 (三级甲等)"
    ),
    # between the examination and the question
    "intervening_procedure": Fact("bool", "检查后有手术或介入", "a procedure took place since"),
    "operation_since": Fact("bool", "检查后有手术", "an operation took place since"),
    "transfusion_since": Fact("bool", "检查后有输血", "a transfusion took place since"),
    "intervention_since": Fact("bool", "检查后有介入", "an intervention took place since"),
    "treatment_since": Fact("bool", "检查后有治疗", "drug, radiation or other treatment began since"),
    # the result
    "abnormal": Fact("bool", "结果异常", "the result is flagged as abnormal"),
    "stand_in": Fact("bool", "以其他项目替代", "another item stands in for the planned one"),
    "printed_mark": Fact("bool", "报告印有互认标识", "the report carries a printed mark"),
    "age_hours": Fact("int", "距检查的小时数", "whole hours since the examination"),
    "sites": Fact("int", "同次检查的部位数", "body parts imaged by this institution on that day"),
    # the item
    "item": Fact("text", "项目代码", "code of the planned item"),
    "kind": Fact("text", "项目类别", "imaging or lab", ("imaging", "lab")),
    "group": Fact("text", "项目分组", "group of the planned item"),
    # the issuing institution
    "issuer": Fact("text", "出具机构代码", "code of the issuing institution"),
    "issuer_level": Fact("int", "出具机构等级", "its grade, 0 (none or unknown) to 5 (三级甲等)"),
    "same_institution": Fact("bool", "本机构结果", "the asking institution issued it"),
    "same_alliance": Fact("bool", "同一医联体", "both are of one medical alliance (医联体, 医共体)"),
}
"""Every fact, by name; the decision establishes each of them (:mod:`recognition.steps`)."""
