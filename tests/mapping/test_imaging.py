"""The grammar of imaging names."""

from __future__ import annotations

import pytest

from catalog import load
from mapping import LocalName, Normaliser

NORMALISER = Normaliser(load())


def read(name: str, **fields: str) -> tuple[str | None, str]:
    named = NORMALISER.read(LocalName(name=name, kind="imaging", **fields))
    return named.target, named.reason


@pytest.mark.parametrize(
    "name",
    [
        *("胸部CT平扫", "CT胸部平扫", " 胸部 ＣＴ 平扫 ", "CT平扫(胸部)", "平扫CT【胸部】", "肺部CT平扫"),
        *("64排螺旋CT胸部平扫", "胸部電腦斷層(無造影劑)", "胸部CT平扫(不出片)", "胸部CT平扫 280元"),
        *("【川渝HR】胸部CT平扫", "胸部/肺CT平扫", "胸部CT普通扫描", "多排螺旋CT平扫（胸部）"),
    ],
)
def test_one_examination_is_read_from_its_usual_spellings(name: str) -> None:
    assert read(name) == ("CT|胸部|-|plain|-", "")


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("CT增强(头颈CTA)", "CT|头颈血管|-|CTA|-"),
        ("CT血管成像（下肢动脉）", "CT|下肢血管|U|CTA|-"),
        ("CT肺动脉成像", "CT|肺动脉|-|CTA|-"),
        ("头颅MRA", "MR|颅脑血管|-|MRA|-"),
        ("MRCP", "MR|胰胆管|-|MRCP|-"),
        ("胰胆管MR水成像", "MR|胰胆管|-|MRCP|-"),
        ("CT平扫+增强(全腹部)", "CT|全腹部|-|plain+contrast|-"),
        ("肝脏MR增强(普美显)", "MR|肝脏|-|contrast|普美显"),
        ("垂体MR增强（动态）", "MR|垂体|-|contrast|动态"),
        ("肺部HRCT", "CT|胸部|-|plain|高分辨"),
        ("胸片升级肺部CT（不出片）", "CT|胸部|-|U|-"),
        ("胸部DR免费升级CT", "CT|胸部|-|U|-"),
        ("磁共振平扫（双膝关节 场强3.0T及以上）", "MR|膝关节|B|plain|-"),
        ("胸部電腦掃描（造影）", "CT|胸部|-|contrast|-"),
        ("头颅DR正侧位", "DR|头颅|-|-|正侧位"),
        ("胸左侧位", "DR|胸部|-|-|左侧位"),
        ("左跟骨侧位", "DR|跟骨|L|-|侧位"),
        ("正位+侧位 右膝", "DR|膝关节|R|-|正侧位"),
        ("颈椎正侧位+双斜位", "DR|颈椎|-|-|正侧位+双斜位"),
        ("华柯氏位", "DR|副鼻窦|-|-|瓦氏位+柯氏位"),
        ("乳突伦氏位", "DR|乳突|U|-|伦氏位"),
        ("口腔全景片", "DR|口腔全景|-|-|-"),
        ("尿路平片(KUB)", "DR|泌尿系|-|-|U"),
        ("上段胸椎CT", "CT|胸椎|-|U|上段"),
        ("腰椎间盘CT(L3-4、L4-5、L5-S1)", "CT|腰椎间盘|-|U|-"),
        ("双侧骶髂关节CT平扫", "CT|骶髂关节|-|plain|-"),
    ],
)
def test_the_slots_of_a_name_become_its_concept(name: str, target: str) -> None:
    assert read(name)[0] == target


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("胸部CTA", "part_undivided"),
        ("冠脉CT", "method_unsaid"),
        ("头颅平扫MRA", "ambiguous"),
        ("颈部MRA增强", "ambiguous"),
        ("MRCP增强", "ambiguous"),
        ("头颅CTA平扫+增强", "ambiguous"),
        ("脑静脉CTA", "not_listed"),
        ("下肢静脉CTA", "not_listed"),
        ("颈胸CT平扫", "several_regions"),
        ("颅骨CT平扫", "not_listed"),
        ("胸部CT增强扫描(不含造影剂)", "unknown"),
        ("胸部CT增强(无造影剂)", "conflict"),
        ("颅脑磁共振功能成像", "ambiguous"),
        ("胸部CT平扫/增强", "ambiguous"),
        ("CT膝关节造影", "ambiguous"),
        ("左侧胸部正位片", "ambiguous"),
        ("膝关节左侧位", "ambiguous"),
        ("左膝关节正侧位+髌骨轴位", "side_unsaid"),
        ("单侧膝关节MR", "side_unsaid"),
        ("双(多)能骨密度", "out_of_scope"),
        ("AI辅助诊断(CT肺结节)", "out_of_scope"),
        ("SPECT-CT甲状腺显像", "out_of_scope"),
        ("MR关节造影", "out_of_scope"),
        ("磁共振平扫（双K关节）", "unknown"),
        ("胸段MR", "unknown"),
        ("R平扫(肩关节)", "unknown"),
        ("侧双肘关节正位", "unknown"),
        ("胸部CT平扫(不出片", "unknown"),
        ("胸部CT平扫+", "unknown"),
        ("胸部?CT平扫", "unknown"),
        ("双乳轴侧位", "out_of_scope"),
        ("骨盆功能位", "view_unsaid"),
        ("头颅CT平扫+胸部", "several_regions"),
        ("颈椎+腰椎正侧位", "several_regions"),
        ("胸部、上腹部CT平扫", "several_regions"),
    ],
)
def test_what_a_careful_reader_would_not_read_is_not_read(name: str, reason: str) -> None:
    target, said = read(name)
    assert (target is None or "|U|" in target, said) == (True, reason)


@pytest.mark.parametrize(
    "name", ["CT胸部平扫(HR)", "胸部CT(HR)平扫", "胸部CT平扫(胸部HR)", "★胸部CT[HR]平扫"]
)
def test_a_bare_hr_may_mean_high_resolution(name: str) -> None:
    assert read(name) == (None, "ambiguous")


@pytest.mark.parametrize("mark", sorted({r.mark for r in load().regions.values() if r.mark}))
def test_no_regions_mark_is_taken_for_high_resolution(mark: str) -> None:
    assert read(f"【{mark.removesuffix('HR')}HR】胸部CT平扫") == ("CT|胸部|-|plain|-", "")


@pytest.mark.parametrize(
    ("name", "fields", "target"),
    [
        ("胸部平扫", {"modality": "CT"}, "CT|胸部|-|plain|-"),
        ("颞颌关节", {"context": "dept=X光"}, "DR|颞下颌关节|U|-|U"),
        ("膝关节MR平扫", {"side": "左"}, "MR|膝关节|L|plain|-"),
        ("胸部CT", {"contrast": "no"}, "CT|胸部|-|plain|-"),
        ("胸部CT", {"contrast": "yes"}, "CT|胸部|-|U|-"),
        ("胸部CT平扫", {"dicom_body_part": "CHEST"}, "CT|胸部|-|plain|-"),
        ("胸部CT平扫", {"dicom_body_part": "WHOLEBODY"}, "CT|胸部|-|plain|-"),
        ("左膝MR平扫", {"dicom_laterality": "L"}, "MR|膝关节|L|plain|-"),
        ("膝关节MR平扫", {"dicom_laterality": "L"}, "MR|膝关节|U|plain|-"),
    ],
)
def test_fields_complete_and_tags_only_confirm(name: str, fields: dict[str, str], target: str) -> None:
    assert read(name, **fields)[0] == target


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("胸部CT平扫", {"modality": "MR"}),
        ("左膝MR平扫", {"side": "右"}),
        ("左膝MR平扫", {"dicom_laterality": "R"}),
        ("胸部CT增强", {"contrast": "no"}),
        ("胸部CT平扫", {"contrast": "yes"}),
        ("胸部CT平扫", {"dicom_body_part": "ABDOMEN"}),
        ("胸部CT平扫", {"body_part": "腹部"}),
        ("胸部CT平扫", {"dicom_protocol": "Chest C+"}),
        ("颈椎CT平扫", {"dicom_protocol": "L-Spine"}),
        ("胸部CT平扫", {"dicom_region": "Abdomen"}),
    ],
)
def test_a_field_or_tag_that_contradicts_is_a_conflict_with_both_readings(
    name: str, fields: dict[str, str]
) -> None:
    named = NORMALISER.read(LocalName(name=name, kind="imaging", **fields))
    assert (named.target, named.reason, len(named.candidates)) == (None, "conflict", 2)


@pytest.mark.parametrize("modality", ["US", "RF", "XA", "MG", "PT", "NM"])
def test_another_modality_is_out_of_scope(modality: str) -> None:
    assert read("胸部", modality=modality) == (None, "out_of_scope")


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("胸正位片", "DR|胸部|-|-|正位"),
        ("颈椎开口位", "DR|颈椎|-|-|张口位"),
        ("颅骨正侧位", "DR|头颅|-|-|正侧位"),
        ("胸腔X光", "DR|胸部|-|-|U"),
        ("脑静脉MR成像", "MR|颅脑血管|-|MRV|-"),
        ("双下肢静脉MRV", "MR|下肢血管|B|MRV|-"),
        ("冠脉CT造影", "CT|冠状动脉|-|CTA|-"),
        ("心脏MR功能成像", "MR|心脏|-|function|-"),
        ("腹部增强CT扫描", "CT|腹部*|-|contrast|-"),
        ("头颅MRI平扫+MRA", "MR|颅脑|-|plain|- ;; MR|颅脑血管|-|MRA|-"),
        ("头颅MRI平扫+MRA+DWI", "MR|颅脑|-|plain|DWI ;; MR|颅脑血管|-|MRA|-"),
        ("头颅CT平扫+CTA", "CT|颅脑|-|plain|- ;; CT|颅脑血管|-|CTA|-"),
        ("X射线计算机体层成像(CT)平扫(头部)", "CT|颅脑|-|plain|-"),
        ("颅脑MRI平扫(3.0特斯拉)", "MR|颅脑|-|plain|-"),
    ],
)
def test_names_of_price_lists_and_of_other_regions_are_read(name: str, target: str) -> None:
    assert read(name)[0] == target
