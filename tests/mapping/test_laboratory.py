"""The grammar of laboratory names."""

from __future__ import annotations

import pytest

from catalog import load
from mapping import LocalName, Normaliser

NORMALISER = Normaliser(load())


def read(name: str, **fields: str) -> tuple[str | None, str]:
    named = NORMALISER.read(LocalName(name=name, kind="lab", **fields))
    return named.target, named.reason


@pytest.mark.parametrize(
    "name",
    [
        *(
            "ALT",
            "谷丙转氨酶",
            "谷丙转氨酶（ALT）",
            "血清丙氨酸氨基转移酶测定（ALT）",
            "丙氨酸氨基轉移酶(GPT)",
        ),
        *("谷丙轉胺酶", "丙胺酸轉胺酶", "【全国HR】 谷丙 转氨酶", "肝功能GPT", "谷丙转氨酶(速率法)"),
    ],
)
def test_one_analyte_is_read_from_its_usual_spellings(name: str) -> None:
    assert read(name) == ("ALT|S|QN|-", "")


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("r-谷氨酰转肽酶", "GGT|S|QN|-"),
        ("谷酰转酞酶", "GGT|S|QN|-"),
        ("血清磷酸肌酸激酶", "CK|S|QN|-"),
        ("尿糖定量", "GLU|U|QN|-"),
        ("24小时尿蛋白定量", "PRO|U24|QN|-"),
        ("尿酸碱度", "PH|U|QN|-"),
        ("尿沉渣白细胞计数", "WBC|U|QN|沉渣"),
        ("白细胞（便常规）", "WBC|F|?|镜检"),
        ("尿潜血", "BLD|U|QL|-"),
        ("便潜血", "OB|F|QL|-"),
        ("尿白细胞", "LEU|U|?|-"),
        ("谷草／谷丙", "AST/ALT|S|QN|-"),
        ("游离PSA/总PSA", "F/T-PSA|S|QN|-"),
        ("胃蛋白酶原Ⅰ/Ⅱ", "PG1/2|S|QN|-"),
        ("尿微量白蛋白/尿肌酐", "UACR|U|QN|-"),
        ("红细胞分布宽度(CV)", "RDWCV|B|QN|-"),
        ("红细胞分布宽度", "RDW?|B|QN|-"),
        ("网织红细胞比值", "RET%|B|QN|-"),
        ("餐后血糖(2小时)", "GLU|S|QN|2hPP"),
        ("餐后2hC肽", "CPEP|S|QN|2hPP"),
        ("空腹血糖(FBG)", "GLU|S|QN|fasting"),
        ("氧分压（体温）", "PO2|BG|QN|体温校正"),
        ("超敏C反应蛋白测定（全程）", "CRP|S|QN|全程"),
        ("肌酸激酶-MB同工酶活性", "CKMB|S|ACT|-"),
        ("甲胎蛋白（发光法-定量）", "AFP|S|QN|-"),
        ("HIV抗体(I/II)(初筛试验)", "HIVAB|S|QL|初筛"),
        ("尿早早孕检测", "HCG|U|QL|-"),
        ("胃幽门螺杆菌（血清法）", "HPAB|S|?|-"),
        ("糖化血红蛋白(IFCC)", "HBA1C|B|QN|IFCC"),
        ("D-二聚体(DDU)", "DD|P|QN|DDU"),
        ("血糖(血糖仪)", "GLU|S|QN|POCT"),
        ("血常规-3分类", "PANEL|CBC|B|3分类"),
        ("甲功七项", "PANEL|THYROID|S|七项"),
        ("乙肝两对半定量", "PANEL|HBV5|S|定量"),
    ],
)
def test_the_words_of_a_name_become_its_concept(name: str, target: str) -> None:
    assert read(name)[0] == target


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("免疫球蛋白", "unknown"),
        ("降钙素原x", "unknown"),
        ("谷丙转氨酶2", "unknown"),
        ("(白蛋白", "unknown"),
        ("白蛋白/", "unknown"),
        ("肌酐/尿", "ambiguous"),
        ("PSA/TPSA", "ambiguous"),
        ("谷丙转氨酶(AST)", "ambiguous"),
        ("血小板(PCT)", "conflict"),
        ("总蛋白(ALB)", "conflict"),
        ("甲胎蛋白(AFP) MOM", "out_of_scope"),
        ("HIV抗体确证试验", "out_of_scope"),
        ("白蛋白百分比", "ambiguous"),
        ("肾功能+电解质", "several"),
        ("血常规CRP", "several"),
        ("血常规+ALT", "several"),
        ("肝功能T", "ambiguous"),
        ("糖耐量1小时", "unknown"),
        ("空腹甘油三酯", "time_unsaid"),
        ("血清蛋白", "conflict"),
        ("胸水白蛋白", "not_listed"),
        ("尿白蛋白（試紙）", "ambiguous"),
    ],
)
def test_what_a_careful_reader_would_not_read_is_not_read(name: str, reason: str) -> None:
    assert read(name) == (None, reason)


@pytest.mark.parametrize(
    "name", ["TG", "PCT", "CA", "AG", "PT", "TT", "P", "K", "T3", "C3", "Mb", "Fg", "Na"]
)
def test_an_abbreviation_that_collides_in_practice_is_not_read(name: str) -> None:
    assert read(name) == (None, "ambiguous")


@pytest.mark.parametrize(
    "name", ["肌酐(CARE)", "血小板(TLT)", "胱抑素C(SYS-C)", "尿素氮(BON)", "尿蛋白(RPO)"]
)
def test_one_typing_slip_in_the_own_abbreviation_is_read_over(name: str) -> None:
    assert read(name)[0] is not None


@pytest.mark.parametrize("name", ["白蛋白(ALP)", "甲状腺素(FT4)", "补体C3(C4)", "肌酐(XYZ)", "CA125(CA153)"])
def test_letters_that_are_another_abbreviation_or_none_are_not_read_over(name: str) -> None:
    assert read(name)[0] is None


@pytest.mark.parametrize(
    "name", ["GLU", "WBC", "葡萄糖", "葡萄糖测定", "葡萄糖(GLU)", "白细胞", "红细胞", "pH值", "酮体", "比重"]
)
def test_a_bare_name_that_means_several_items_needs_its_specimen(name: str) -> None:
    assert read(name) == (None, "specimen_unsaid")


@pytest.mark.parametrize(
    ("name", "specimen", "target"),
    [
        ("葡萄糖", "血清", "GLU|S|QN|-"),
        ("GLU", "血浆", "GLU|S|QN|-"),
        ("葡萄糖", "脑脊液", "GLU|CSF|QN|-"),
        ("WBC", "全血", "WBC|B|QN|-"),
        ("ALB", "血清", "ALB|S|QN|-"),
        ("PH", "动脉血", "PH|BG|QN|-"),
        ("UREA", "尿", "UREA|U|QN|-"),
        ("肌酐", "尿", "CREA|U|QN|-"),
        ("免疫球蛋白G", "脑脊液", "IGG|CSF|QN|-"),
        ("香草扁桃酸", "尿", "VMA|U|QN|-"),
        ("血肌酐", "静脉血", "CREA|S|QN|-"),
        ("钾", "24小时尿", "K|U24|QN|-"),
        ("24小时尿蛋白定量", "尿液", "PRO|U24|QN|-"),
    ],
)
def test_the_specimen_chooses_for_a_name_that_says_none(name: str, specimen: str, target: str) -> None:
    assert read(name, specimen=specimen)[0] == target


@pytest.mark.parametrize("name", ["葡萄糖", "GLU", "尿葡萄糖", "尿蛋白"])
def test_a_strip_analyte_in_urine_is_no_measurement_unless_it_says_so(name: str) -> None:
    target, reason = read(name, specimen="尿液")
    assert ((target or "").split("|")[1:3], reason) == (["U", "?"], "scale_unsaid")


@pytest.mark.parametrize("name", ["总蛋白", "白蛋白", "TP", "尿液白蛋白"])
def test_serum_proteins_in_urine_are_not_read(name: str) -> None:
    assert NORMALISER.read(LocalName(name=name, kind="lab", specimen="尿液")).item is None


@pytest.mark.parametrize(
    ("name", "specimen"),
    [
        *(("肌酐(尿)", "血清"), ("肌酐(血)", "尿"), ("尿尿素", "血清"), ("血糖", "尿"), ("mALB", "血清")),
        *(("凝血酶原时间", "血清"), ("白蛋白", "胸水"), ("白蛋白", "?"), ("血清白蛋白", "尿")),
    ],
)
def test_a_specimen_that_contradicts_the_name_or_is_unknown_is_a_conflict(name: str, specimen: str) -> None:
    assert read(name, specimen=specimen) == (None, "conflict")


@pytest.mark.parametrize(
    ("name", "panel", "target"),
    [
        ("白细胞", "血常规", "WBC|B|QN|-"),
        ("白细胞", "尿常规", "LEU|U|QL|-"),
        ("白细胞", "大便常规", "WBC|F|?|镜检"),
        ("白细胞", "尿沉渣", "WBC|U|?|沉渣"),
        ("蛋白", "尿常规", "PRO|U|QL|-"),
        ("葡萄糖", "生化全项", "GLU|S|QN|-"),
        ("PH", "血气分析", "PH|BG|QN|-"),
        ("红细胞", "尿常规", None),
        ("血清钾", "尿常规", None),
    ],
)
def test_the_panel_says_the_specimen_of_a_bare_name(name: str, panel: str, target: str | None) -> None:
    assert read(name, panel=panel)[0] == target


@pytest.mark.parametrize(
    ("name", "unit", "target"),
    [
        ("中性粒细胞", "%", "NEUT%|B|QN|-"),
        ("中性粒细胞", "10^9/L", "NEUT#|B|QN|-"),
        ("红细胞分布宽度", "fL", "RDWSD|B|QN|-"),
        ("肌酸激酶同工酶", "U/L", "CKMB|S|ACT|-"),
        ("肌酸激酶同工酶", "ng/mL", "CKMB|S|QN|-"),
        ("中性粒细胞百分比", "10^9/L", None),
        ("肌酸激酶同工酶质量", "U/L", None),
    ],
)
def test_the_unit_completes_or_contradicts(name: str, unit: str, target: str | None) -> None:
    assert read(name, unit=unit)[0] == target


@pytest.mark.parametrize(("code", "item"), [("1500104A", "1500104A"), ("1500204A", None), ("X", "1500104A")])
def test_a_ws_t_886_code_confirms_or_contradicts(code: str, item: str | None) -> None:
    named = NORMALISER.read(LocalName(name="谷丙转氨酶", kind="lab", wst886=code))
    assert named.item == item


def test_a_code_beside_a_name_nobody_knows_makes_no_reading() -> None:
    assert read("某项目", wst886="1500104A") == (None, "unknown")


@pytest.mark.parametrize(("loinc", "item"), [("1742-6", "1500104A"), ("1920-8", None), ("0-0", "1500104A")])
def test_a_loinc_code_confirms_or_contradicts_with_both_readings(loinc: str, item: str | None) -> None:
    named = NORMALISER.read(LocalName(name="谷丙转氨酶", kind="lab", loinc=loinc))
    assert (named.item, len(named.candidates)) == (item, 0 if item else 2)


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("总胆红素(钒酸盐氧化法)", "TBIL|S|QN|-"),
        ("尿素(脲酶-谷氨酸脱氢酶法)", "UREA|S|QN|-"),
        ("血清钾(干化学法)", "K|S|QN|-"),
        ("肌酐(肌氨酸氧化酶法)", "CREA|S|QN|-"),
        ("CK-MB(免疫抑制法)", "CKMB|S|ACT|-"),
        ("CK-MB(ng/mL)", "CKMB|S|QN|-"),
        ("梅毒抗体(RPR法)", None),
        ("梅毒抗体(快速血浆反应素环状卡片法)", None),
        ("C反应蛋白(超敏散射法)", None),
    ],
)
def test_a_method_in_brackets_changes_nothing_unless_it_says_another_item(
    name: str, target: str | None
) -> None:
    assert read(name)[0] == target


@pytest.mark.parametrize(
    ("name", "panel", "target"),
    [
        ("钾", "尿电解质", "K|U|QN|-"),
        ("肌酐", "尿微量白蛋白/肌酐", "CREA|U|QN|-"),
        ("肌酐", "24小时尿肌酐", "CREA|U24|QN|-"),
        ("尿素", "尿素测定", "UREA|S|QN|-"),
        ("肌酐", "泌尿科肾功能", "CREA|S|QN|-"),
        ("氯", "脑脊液生化", "CL|CSF|QN|-"),
        ("总蛋白", "胸水生化", None),
        ("氧分压", "生化", None),
        ("血糖", "糖耐量试验", None),
        ("皮质醇", "地塞米松抑制试验", None),
        ("空腹血糖", "糖耐量试验", "GLU|S|QN|fasting"),
        ("PT", "凝血功能", "PT|P|QN|-"),
        ("PCT", "血常规", "PLTCRIT|B|QN|-"),
        ("FBG", "凝血功能", "FIB|P|QN|-"),
        ("白细胞(LEU)", "尿常规", "LEU|U|QL|-"),
        ("白细胞(LEU)", "血常规", None),
    ],
)
def test_the_panel_beside_a_name_says_what_was_taken(name: str, panel: str, target: str | None) -> None:
    assert read(name, context=f"panel={panel}")[0] == target


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("白蛋白/球蛋白比值(A/G)", "A/G|S|QN|-"),
        ("红细胞分布宽度(RDW-CV)", "RDWCV|B|QN|-"),
        ("三碘甲状腺原氨酸(游离)", "FT3|S|QN|-"),
        ("抗-HIV(1+2)", "HIVAB|S|?|-"),
        ("有核红细胞计数", "NRBC|B|QN|-"),
        ("餐后2小时血糖(PBG)", "GLU|S|QN|2hPP"),
        ("甲功-T3", "T3|S|QN|-"),
        ("性激素(P)", "PROG|S|QN|-"),
        ("尿十项", "PANEL|UA|U|十"),
    ],
)
def test_a_bracket_that_says_more_is_taken_at_its_word(name: str, target: str) -> None:
    assert read(name)[0] == target


@pytest.mark.parametrize(
    "name",
    [
        *("FBG", "TTE", "LPS", "HTG", "Ca2+", "锌", "铜"),
        *("中性分叶核粒细胞百分比", "糖化血红蛋白A1", "空腹尿糖", "幽门螺杆菌IgG抗体", "红细胞容积"),
    ],
)
def test_words_that_stand_for_more_than_one_item_are_not_read(name: str) -> None:
    assert read(name)[0] is None
