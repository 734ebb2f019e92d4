"""The questions that are easy to answer wrongly, and the right answers.

The first three are asked first by the demonstration; all of them hold under the bundled catalogue with the
further qualifications of :func:`gateway.demo.records.everything`.
"""

from __future__ import annotations

from msgspec import Struct

from catalog import Kind
from recognition import VerdictCode

ResultKey = str | tuple[str, str]
"""A result in an answer: ``(institution, local name)``, or its source where two share both."""


class Trap(Struct, frozen=True, kw_only=True):
    """A question, what is hard about it, and the right answer.

    ``expected`` gives verdict and main rule of each prior result.
    """

    key: str
    person: str
    asked_by: str
    through: str
    ordered: tuple[str, ...]
    kind: Kind
    about: str
    about_en: str
    expected: dict[ResultKey, tuple[VerdictCode, str]]


OK: tuple[VerdictCode, str] = ("recognised", "R0.1")

TEN_OF_TWELVE = (
    "血清总蛋白",
    "血清白蛋白",
    "前白蛋白",
    "碱性磷酸酶",
    "谷氨酰转肽酶",
    "胆碱酯酶",
    "总胆红素",
    "直接胆红素",
    "总胆汁酸",
    "乳酸脱氢酶",
)

TRAPS = (
    Trap(
        key="chest-ct",
        person="jia",
        asked_by="EX-SC-01",
        through="sc",
        ordered=("胸部CT平扫",),
        kind="imaging",
        about="成都开胸部CT平扫，9天前在重庆做过，图像在",
        about_en="Chengdu orders a plain chest CT; Chongqing did one 9 days ago and holds its images",
        expected={("EX-CQ-01", "CT 胸部平扫"): OK},
    ),
    Trap(
        key="liver-panel",
        person="yi",
        asked_by="EX-SC-01",
        through="sc",
        ordered=("肝功能12项",),
        kind="lab",
        about="成都开肝功能12项，6天前在武汉做过：10项可互认，ALT和AST需检",
        about_en="Chengdu orders the liver panel of 12; Wuhan did it 6 days ago: 10 may serve, ALT and AST "
        "are left to order",
        expected={
            **{("EX-HB-01", name): OK for name in TEN_OF_TWELVE},
            ("EX-HB-01", "谷丙转氨酶"): ("view_only", "R4.1"),
            ("EX-HB-01", "谷草转氨酶"): ("not_recognised", "R5.2"),
        },
    ),
    Trap(
        key="brain-mr-late",
        person="bing",
        asked_by="EX-SC-01",
        through="sc",
        ordered=("MR 颅脑平扫",),
        kind="imaging",
        about="成都开颅脑MR平扫，重庆的已过95天，超出时限",
        about_en="Chengdu orders a plain brain MR; Chongqing's is 95 days old, past its window",
        expected={("EX-CQ-01", "MR 颅脑平扫"): ("not_recognised", "R7.1")},
    ),
    Trap(
        key="calendar-edge",
        person="ding",
        asked_by="EX-SC-01",
        through="sc",
        ordered=("白蛋白",),
        kind="lab",
        about="按自然日30天：重庆的报告日加30天是今天，武汉的是昨天，都在零点前后",
        about_en="30 calendar days: for Chongqing's result they end today, for Wuhan's they ended "
        "yesterday, both near midnight",
        expected={
            ("EX-CQ-01", "白蛋白"): OK,
            ("EX-HB-01", "白蛋白"): ("not_recognised", "R7.1"),
        },
    ),
    Trap(
        key="elapsed-edge",
        person="wu",
        asked_by="EX-HA-01",
        through="lab8",
        ordered=("血钾",),
        kind="lab",
        about="按连续24小时计7天：武汉的还差5分钟届满，长沙的已过5分钟",
        about_en="7 days as hours elapsed: Wuhan's result has 5 minutes left, Changsha's ended 5 minutes ago",
        expected={
            ("EX-HB-01", "钾"): OK,
            ("EX-HN-01", "钾"): ("not_recognised", "R7.1"),
        },
    ),
    Trap(
        key="mark-in-name",
        person="ji",
        asked_by="EX-SC-01",
        through="sc",
        ordered=("白蛋白", "总蛋白"),
        kind="lab",
        about="标识写在名称里：【全国HR】通行，★是出具机构所在省的标识",
        about_en="The mark stands in the name: 【全国HR】 holds everywhere, ★ is the mark of the issuer's "
        "own province",
        expected={
            ("EX-HB-01", "【全国HR】白蛋白"): OK,
            ("EX-HB-01", "★总蛋白"): ("view_only", "R4.1"),
        },
    ),
    Trap(
        key="city-mark",
        person="ji",
        asked_by="EX-SC-01",
        through="sc",
        ordered=("前白蛋白",),
        kind="lab",
        about="武汉HR是外市标识，成都不认；机构的资格是全国的",
        about_en="武汉HR is another city's mark and does not reach Chengdu, though the hospital is qualified "
        "nationally",
        expected={("EX-HB-01", "前白蛋白"): ("view_only", "R4.1")},
    ),
    Trap(
        key="one-side-mark",
        person="geng",
        asked_by="EX-SC-01",
        through="sc",
        ordered=("白蛋白",),
        kind="lab",
        about="万州的结果只在重庆范围内互认，由重庆第一医院的系统提供",
        about_en="Wanzhou's result counts within Chongqing only; the system of Chongqing's first hospital "
        "serves it",
        expected={("EX-CQ-02", "白蛋白"): ("view_only", "R4.1")},
    ),
    Trap(
        key="lapsed",
        person="xin",
        asked_by="EX-HA-01",
        through="lab8",
        ordered=("血钾",),
        kind="lab",
        about="南昌的电解质资格在检查日以前已届满",
        about_en="Nanchang's qualification for electrolytes had ended before the day of the test",
        expected={("EX-JX-01", "血清钾"): ("not_recognised", "R5.1")},
    ),
    Trap(
        key="ended-since",
        person="ren",
        asked_by="EX-HA-01",
        through="lab8",
        ordered=("甘油三酯",),
        kind="lab",
        about="太原的资格在检查日有效，10天前才结束：按检查日判断",
        about_en="Taiyuan was qualified on the day of the test and is not since 10 days ago: the day of the "
        "test decides",
        expected={("EX-SX-01", "甘油三酯"): OK},
    ),
    Trap(
        key="corrected",
        person="gui",
        asked_by="EX-HA-01",
        through="lab8",
        ordered=("总胆固醇",),
        kind="lab",
        about="同一报告的旧版已被更正，更正版单独判断",
        about_en="An older version of a report was corrected; the corrected one is judged by itself",
        expected={
            "Observation/twice-1-v1": ("not_recognised", "R3.5"),
            "Observation/twice-1-v2": OK,
        },
    ),
    Trap(
        key="urine-for-serum",
        person="chou",
        asked_by="EX-SC-01",
        through="sc",
        ordered=("血糖",),
        kind="lab",
        about="已有的是尿葡萄糖，拟开的是血糖",
        about_en="Glucose in urine is on record, glucose in blood is to be ordered",
        expected={("EX-CQ-01", "尿葡萄糖定量"): ("not_recognised", "R2.2")},
    ),
    Trap(
        key="below-limit",
        person="chou",
        asked_by="EX-HA-01",
        through="lab8",
        ordered=("降钙素原",),
        kind="lab",
        about="低于检出限的结果写作<0.1，原样保留",
        about_en="A result below the limit of detection is written <0.1 and stays as written",
        expected={("EX-NX-01", "降钙素原"): OK},
    ),
    Trap(
        key="preliminary",
        person="mao",
        asked_by="EX-HA-01",
        through="lab8",
        ordered=("血钠",),
        kind="lab",
        about="太原的报告还是初步报告",
        about_en="Taiyuan's report is still preliminary",
        expected={("EX-SX-01", "钠"): ("not_recognised", "R3.4")},
    ),
    Trap(
        key="enhanced-for-plain",
        person="jie",
        asked_by="EX-SC-01",
        through="sc",
        ordered=("胸部CT平扫",),
        kind="imaging",
        about="平扫+增强包含平扫；姓名用GB18030，有四字节汉字",
        about_en="Plain + contrast includes plain; the patient's name is in GB18030 with a four-byte "
        "character",
        expected={("EX-CQ-01", "CT 胸部平扫+增强"): OK},
    ),
    Trap(
        key="plain-for-enhanced",
        person="jia",
        asked_by="EX-SC-01",
        through="sc",
        ordered=("胸部CT平扫+增强",),
        kind="imaging",
        about="平扫不能代替平扫+增强，但其中的平扫可以互认，只需加做增强",
        about_en="Plain cannot stand for plain + contrast, but for its plain part: only the contrast is "
        "left to do",
        expected={("EX-CQ-01", "CT 胸部平扫"): OK},
    ),
    Trap(
        key="images-gone",
        person="zi",
        asked_by="EX-SC-01",
        through="sc",
        ordered=("颅脑CT平扫",),
        kind="imaging",
        about="报告还在，图像已不在影像库中",
        about_en="The report is still there, its images have left the archive",
        expected={("EX-CQ-01", "CT 颅脑平扫"): ("not_recognised", "R3.1")},
    ),
    Trap(
        key="other-knee",
        person="zhe",
        asked_by="EX-SC-01",
        through="sc",
        ordered=("DR 右膝关节正侧位",),
        kind="imaging",
        about="已有的是左膝，拟开的是右膝",
        about_en="The left knee is on record, the right knee is to be ordered",
        expected={("EX-CQ-01", "DR 左膝关节正侧位"): ("not_recognised", "R2.2")},
    ),
    Trap(
        key="unknown-name",
        person="yin",
        asked_by="EX-SC-01",
        through="sc",
        ordered=("胸部CT平扫",),
        kind="imaging",
        about="医院自己的套餐名，对应不到目录",
        about_en="The hospital's own package name has no place in the catalogue",
        expected={("EX-CQ-01", "胸部特需套餐B"): ("view_only", "R2.1")},
    ),
    Trap(
        key="two-views-for-one",
        person="mao",
        asked_by="EX-CQ-01",
        through="cq",
        ordered=("DR 胸部正位",),
        kind="imaging",
        about="反方向：重庆开胸部正位，成都5天前做过正侧位",
        about_en="The other way round: Chongqing orders a frontal chest film, Chengdu did frontal and "
        "lateral 5 days ago",
        expected={("EX-SC-01", "DR 胸部正侧位"): OK},
    ),
)
"""The hard cases; the first three are the questions that the demonstration asks first."""
