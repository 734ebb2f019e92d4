"""What the hospitals of the demonstration hold: first questions, hard cases, and ordinary records.

:func:`everything` writes the records of all nodes relative to one moment, so that what lies just inside a
window today does so tomorrow. ``traps.py`` has the questions to them and the right answers.
"""

from __future__ import annotations

import random
from datetime import date, datetime, timedelta

from msgspec import Struct
from pydicom.dataset import Dataset

from catalog import Qualification
from gateway.demo._writer import ARCHIVES, NODES, Network, Row
from gateway.demo.people import PEOPLE
from gateway.demo.traps import TRAPS, Trap

__all__ = ["ARCHIVES", "NODES", "TRAPS", "Records", "Trap", "everything"]


class Records(Struct, frozen=True):
    """Seeds: a FHIR transaction Bundle (JSON bytes) by node, studies by archive, further qualifications.

    The qualifications are to be added to the bundled catalogue: their periods hang on the day of asking.
    """

    bundles: dict[str, bytes]
    studies: dict[str, list[list[Dataset]]]
    qualifications: tuple[Qualification, ...]


def everything(now: datetime) -> Records:
    """All records of the demonstration network as they stand at ``now`` (aware)."""
    network = Network(now)
    _first_questions(network)
    _windows_and_marks(network)
    _quality_and_versions(network)
    _other_images(network)
    _ordinary(network)
    return Records(network.bundles(), network.studies, (_ended(network.today),))


def _ended(today: date) -> Qualification:
    """Valid on the day of the examination, ended between then and today."""
    return Qualification(
        id="Q-SX-01-ENDED",
        institution="EX-SX-01",
        items="2000204A",
        valid_from=today - timedelta(days=365),
        valid_to=today - timedelta(days=10),
        scope="LAB8",
        level="agreement",
        batch="",
        basis="检验联盟室间质评(示例)",
        status="active",
        status_from=None,
        reason="",
        source="made up for the demonstration (示例)",
    )


LIVER = (
    Row("血清总蛋白", "71.3", "g/L", "全国HR"),
    Row("血清白蛋白", "43.10", "g/L", "全国HR"),
    Row("前白蛋白", "268", "mg/L", "全国HR"),
    Row("谷丙转氨酶", "31", "U/L", "鄂HR"),
    Row("谷草转氨酶", "27", "U/L", "全国HR"),
    Row("碱性磷酸酶", "78", "U/L", "全国HR"),
    Row("谷氨酰转肽酶", "24", "U/L", "全国HR"),
    Row("胆碱酯酶", "8120", "U/L", "全国HR"),
    Row("总胆红素", "12.6", "μmol/L", "全国HR"),
    Row("直接胆红素", "3.9", "μmol/L", "全国HR"),
    Row("总胆汁酸", "4.20", "μmol/L", "全国HR"),
    Row("乳酸脱氢酶", "182", "U/L", "全国HR"),
)
"""The liver panel of the second question, in the words of the hospital in Wuhan."""


def _first_questions(network: Network) -> None:
    network.image(
        "jia", "EX-CQ-01", "ct-chest", "CT 胸部平扫", "CT", "CHEST", network.at(9, "09:30"), instances=5
    )
    network.lab(
        "yi",
        "EX-HB-01",
        "liver",
        network.at(6, "11:20"),
        LIVER,
    )
    network.image(
        "bing",
        "EX-CQ-01",
        "mr-brain",
        "MR 颅脑平扫",
        "MR",
        "HEAD",
        network.at(95, "14:10"),
        charset="gb18030",
    )


def _windows_and_marks(network: Network) -> None:
    at_once = timedelta(minutes=1)
    inside, outside = network.at(30, "00:05"), network.at(31, "23:55")
    albumin = (Row("白蛋白", "41.2", "g/L", "全国HR"),)
    network.lab(
        "ding", "EX-CQ-01", "edge-in", inside, (Row("白蛋白", "40.8", "g/L", "川渝HR"),), sampled=at_once
    )
    network.lab("ding", "EX-HB-01", "edge-out", outside, albumin, sampled=at_once)
    week, margin = timedelta(days=7), timedelta(minutes=5)
    potassium = (Row("钾", "4.10", "mmol/L", "检验联盟HR"),)
    network.lab("wu", "EX-HB-01", "hours-in", network.now - week + margin, potassium, sampled=at_once)
    network.lab("wu", "EX-HN-01", "hours-out", network.now - week - margin, potassium, sampled=at_once)
    network.lab(
        "ji",
        "EX-HB-01",
        "marks",
        network.at(4, "10:05"),
        (
            Row("【全国HR】白蛋白", "39.7", "g/L"),
            Row("★总蛋白", "68.0", "g/L"),
            Row("前白蛋白", "251", "mg/L", "武汉HR"),
        ),
    )
    network.lab(
        "geng",
        "EX-CQ-02",
        "chongqing-only",
        network.at(5, "15:40"),
        (Row("白蛋白", "42.5", "g/L", "重庆HR"),),
        held_by="EX-CQ-01",
    )


def _quality_and_versions(network: Network) -> None:
    alliance = "检验联盟HR"
    potassium = (Row("血清钾", "3.9", "mmol/L", alliance),)
    network.lab("xin", "EX-JX-01", "lapsed", network.at(2, "09:50"), potassium)
    triglycerides = (Row("甘油三酯", "1.32", "mmol/L", alliance),)
    network.lab("ren", "EX-SX-01", "ended", network.at(20, "10:30"), triglycerides)
    first, corrected = network.at(3, "10:00"), network.at(3, "16:30")
    network.lab("gui", "EX-HB-01", "twice", first, (Row("总胆固醇", "7.4", "mmol/L", alliance),))
    network.lab(
        "gui",
        "EX-HB-01",
        "twice",
        corrected,
        (Row("总胆固醇", "4.7", "mmol/L", alliance),),
        status="corrected",
        version=2,
        sampled=corrected - first + timedelta(hours=3),
    )
    glucose = (Row("尿葡萄糖定量", "0.8", "mmol/L", "川渝HR"),)
    network.lab("chou", "EX-CQ-01", "urine", network.at(4, "08:40"), glucose, specimen="尿液")
    trace = (Row("降钙素原", "<0.1", "ng/mL", alliance),)
    network.lab("chou", "EX-NX-01", "trace", network.at(8, "11:15"), trace)
    sodium = (Row("钠", "141", "mmol/L", alliance),)
    network.lab("mao", "EX-SX-01", "early", network.at(1, "08:30"), sodium, status="preliminary")


def _other_images(network: Network) -> None:
    network.image(
        "jie",
        "EX-CQ-01",
        "ct-enhanced",
        "CT 胸部平扫+增强",
        "CT",
        "CHEST",
        network.at(12, "16:20"),
        charset="gb18030",
        contrast="碘海醇",
    )
    network.image(
        "zi", "EX-CQ-01", "ct-gone", "CT 颅脑平扫", "CT", "HEAD", network.at(8, "11:00"), archived=False
    )
    network.image(
        "zhe",
        "EX-CQ-01",
        "dr-left-knee",
        "DR 左膝关节正侧位",
        "DX",
        "KNEE",
        network.at(6, "10:40"),
        instances=2,
        charset="gb18030",
        side="L",
    )
    network.image("yin", "EX-CQ-01", "ct-unnamed", "胸部特需套餐B", "CT", "CHEST", network.at(7, "15:00"))
    network.image(
        "mao", "EX-SC-01", "dr-chest", "DR 胸部正侧位", "DX", "CHEST", network.at(5, "09:10"), instances=2
    )
    network.image("xin", "EX-SC-01", "mr-lumbar", "MR 腰椎平扫", "MR", "LSPINE", network.at(15, "13:30"))


_ORDINARY = {
    "EX-CQ-01": (("白细胞计数", 6.2, "10^9/L"), ("血红蛋白", 138, "g/L"), ("血小板计数", 214, "10^9/L")),
    "EX-SC-01": (("白细胞数", 5.8, "10^9/L"), ("血红蛋白测定", 142, "g/L"), ("血小板", 230, "10^9/L")),
    "EX-HB-01": (("WBC", 7.1, "10*9/L"), ("HGB", 129, "g/L"), ("PLT", 198, "10*9/L")),
    "EX-HA-01": (("白细胞总数", 6.6, "10^9/L"), ("Hb", 151, "g/L"), ("血小板数目", 251, "10^9/L")),
    "EX-HN-01": (("肌酐", 72, "μmol/L"), ("尿素", 5.2, "mmol/L"), ("血清尿酸", 331, "μmol/L")),
    "EX-HI-01": (("SCr", 68, "umol/L"), ("UREA", 4.7, "mmol/L"), ("URIC", 302, "umol/L")),
    "EX-SX-01": (("血肌酐", 81, "µmol/L"), ("血清尿素", 6.0, "mmol/L"), ("血尿酸", 377, "µmol/L")),
    "EX-JX-01": (("CREA", 77, "μmol/L"), ("尿素", 5.5, "mmol/L"), ("血清尿酸", 348, "μmol/L")),
    "EX-GX-01": (("红细胞计数", 4.7, "10^12/L"), ("血红蛋白浓度", 133, "g/L"), ("白细胞数目", 6.9, "10^9/L")),
    "EX-NX-01": (("RBC", 5.1, "10^12/L"), ("血红蛋白", 156, "g/L"), ("Plt", 222, "10^9/L")),
}
"""What every hospital has of several patients, in its own words: blood count or renal function."""


def _ordinary(network: Network) -> None:
    for place, (institution, rows) in enumerate(_ORDINARY.items()):
        specimen = "全血" if "L" in rows[0][2] and rows[0][2].startswith("10") else "血清"
        for step in range(4):
            person = PEOPLE[(place * 3 + step * 5) % len(PEOPLE)]
            chance = random.Random(f"{institution}{person.key}")  # noqa: S311 - values, not secrets
            report = tuple(
                Row(name, f"{usual * chance.uniform(0.9, 1.1):.{int(usual < 20)}f}", unit)
                for name, usual, unit in rows
            )
            issued = network.at(2 + 4 * step + place, "10:45")
            network.lab(person.key, institution, f"usual-{person.key}", issued, report, specimen=specimen)
