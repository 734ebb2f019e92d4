"""What is counted, and which rates are made of the counts: names, sources and denominators, in words.

Three rates go by the name 互认率 and differ in what they divide by; none is given without its own name.
"""

from __future__ import annotations

from msgspec import Struct


class Count(Struct, frozen=True):
    """One count of a row: its name, and exactly what is counted. ``part_of``: the count it is a part of."""

    id: str
    name_zh: str
    name_en: str
    words_zh: str
    words_en: str
    part_of: str = ""


class Rate(Struct, frozen=True):
    """One rate: the counts added above and below the line, and where this definition was published."""

    id: str
    name_zh: str
    name_en: str
    source: str
    numerator: tuple[str, ...]
    denominator: tuple[str, ...]
    numerator_zh: str
    numerator_en: str
    denominator_zh: str
    denominator_en: str


COUNTS = (
    Count(
        "on_record",
        "已有结果",
        "results on record",
        "一次核对中患者已有本目录项目结果的项目；同一项目的多份结果合计一次",
        "items of one check of which the patient already had a result; several results count once",
    ),
    Count(
        "reminders",
        "提醒",
        "reminders",
        "其中至少有一份结果可互认并已提示的项目",
        "of these, the ones for which at least one recognised result was shown",
        "on_record",
    ),
    Count(
        "accepted",
        "互认（采纳）",
        "accepted",
        "现处置为采纳的提醒；有一份结果仍被采纳即计",
        "reminders of which a result stands accepted by the last word on it",
        "reminders",
    ),
    Count(
        "declined",
        "不互认",
        "declined",
        "现处置为不互认且理由计入拒绝的提醒",
        "reminders that stand declined for a reason that counts as a refusal",
        "reminders",
    ),
    Count(
        "set_apart",
        "不计入拒绝",
        "set apart",
        "现处置为不互认、理由不计入拒绝（如98、99）的提醒",
        "reminders that stand declined for a reason that is no refusal, such as 98 and 99",
        "reminders",
    ),
    Count(
        "withdrawn",
        "撤销",
        "withdrawn",
        "处置已撤销且未再处置、或开单已取消的提醒",
        "reminders whose decision was withdrawn and not replaced, or whose order was cancelled undecided",
        "reminders",
    ),
    Count(
        "without_feedback",
        "未反馈",
        "without feedback",
        "未收到采纳、不互认或撤销的提醒，包括仅调阅的",
        "reminders with no decision, also where a result was only viewed or cited",
        "reminders",
    ),
    Count(
        "accepted_otherwise",
        "提醒之外的互认",
        "accepted otherwise",
        "没有可互认的结果而医师采纳的项目",
        "items without a recognised result of which the doctor accepted one all the same",
        "on_record",
    ),
    Count(
        "not_reminded",
        "未提醒",
        "not reminded",
        "没有可互认的结果且未采纳的项目",
        "items without a recognised result, and none accepted",
        "on_record",
    ),
    Count(
        "viewed",
        "调阅",
        "viewed",
        "调阅次数：每份结果每次调阅",
        "times that a result was opened",
    ),
    Count(
        "cited",
        "引用",
        "cited",
        "引用次数：每份结果每次引用入病历",
        "times that a result was cited in the record",
    ),
)

RATES = (
    Rate(
        "accepted_of_reminders",
        "同期互认率",
        "accepted among reminders",
        "Dy.MedicalRecognition (public code): 同期互认率 = 采纳 ÷ 提醒",
        ("accepted",),
        ("reminders",),
        "采纳的提醒",
        "reminders accepted",
        "同期核对发出的提醒",
        "reminders of the checks of the period",
    ),
    Rate(
        "accepted_of_viewed",
        "调阅互认率",
        "accepted per viewing",
        "Jiangsu recognition platform (public code): 调阅互认率 = 互认次数 ÷ 调阅次数",
        ("accepted", "accepted_otherwise"),
        ("viewed",),
        "互认次数；未经调阅的也计，故可大于1",
        "items accepted, also those never opened, so that it may exceed 1",
        "调阅次数",
        "times that a result was opened",
    ),
    Rate(
        "accepted_of_on_record",
        "检查检验结果互认率",
        "accepted among results on record",
        "2025年国家医疗质量安全改进目标 (as read in public code): 互认的结果 ÷ 同期就诊患者已有的结果",
        ("accepted", "accepted_otherwise"),
        ("on_record",),
        "互认的项目；同一项目的多份结果合计一次",
        "items accepted; several results of one item count once",
        "同期核对的患者当时已有结果的目录项目，以各节点所答为限",
        "items of which the patients asked about already had a result, as far as the nodes said",
    ),
)

SAVING_ZH = "估算值：采纳项目乘以目录所载价格之和，非实际结算金额；无价格的项目不计入"
SAVING_EN = "An estimate: the catalogue's price of every item accepted, added up; no account was read"
