"""What the header of an image says of its quality, over files made here and those of the conformance set."""

from __future__ import annotations

import csv
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    EnhancedCTImageStorage,
    MRImageStorage,
)

from mapping.tables import tables
from quality.headers import OTHER_PART, OTHER_SIDE, Header, checks, flags, header_of, load
from recognition.flags import ATTRIBUTES, words
from recognition.parts import known
from tests.adapters.dicom_archive import dicom

SHARED = Path(__file__).resolve().parents[3] / "shared/conformance"
CHEST = "CT|胸部|-|plain|-"
KNEE = "DR|膝关节|L|-|正位"
TABLE = (resources.files("quality") / "data/header_checks.csv").read_text(encoding="utf-8")
LIST = list(csv.DictReader(TABLE.splitlines()))


@pytest.fixture(scope="module", autouse=True)
def _loaded() -> None:
    load()


def ct(**changes: Any) -> bytes:
    return dicom(
        **({"Modality": "CT", "KVP": "120", "SliceThickness": "5", "BodyPartExamined": "CHEST"} | changes)
    )


def mr(**changes: Any) -> bytes:
    own = {"SOPClassUID": MRImageStorage, "Modality": "MR", "ScanningSequence": "SE", "EchoTime": "100"}
    return dicom(**(own | changes))


def dx(**changes: Any) -> bytes:
    own = {
        "SOPClassUID": DigitalXRayImageStorageForPresentation,
        "Modality": "DX",
        "KVP": "60",
        "BodyPartExamined": "KNEE",
        "ImageLaterality": "L",
        "PatientName": "Zhang^San",
        "PatientSex": "M",
        "PatientBirthDate": "19800101",
        "StudyDate": "20261111",
        "InstitutionName": "EX",
        "AccessionNumber": "A1",
    }
    return dicom(**{name: value for name, value in (own | changes).items() if value is not None})


def found(data: bytes, concept: str, *beside: str) -> tuple[str, ...]:
    header = header_of(data)
    assert header is not None
    return flags(header, concept, beside)


@pytest.mark.parametrize(
    ("data", "concept"),
    [
        (ct(), CHEST),
        (dx(), KNEE),
        (mr(), "MR|颅脑|-|plain|-"),
        (mr(SeriesDescription="ax T2W", RepetitionTime="4000"), "MR|颅脑|-|plain|-"),
        (dx(BodyPartExamined="CHEST", ImageLaterality=None), "DR|胸部|-|-|正位"),
        (ct(BodyPartExamined="PELVIS"), "CT|盆腔|-|plain|-"),
        (ct(ContrastBolusAgent="NONE"), CHEST),
        (
            mr(SeriesDescription="t1_fl2d", ScanningSequence=["GR", "SP"], RepetitionTime="8", EchoTime="3"),
            "MR|颅脑|-|plain|-",
        ),
    ],
    ids=["ct", "dx", "mr", "t2", "chest film", "pelvis", "no agent", "gradient echo"],
)
def test_a_header_as_it_ought_to_be_is_not_flagged(data: bytes, concept: str) -> None:
    assert found(data, concept) == ()


@pytest.mark.parametrize(
    ("data", "concept", "flag"),
    [
        (ct(KVP="200"), CHEST, "header:range:KVP=200/70-150/kV"),
        (ct(KVP=None), CHEST, "header:missing:KVP"),
        (ct(SliceThickness=None), CHEST, "header:missing:SliceThickness"),
        (
            ct(BodyPartExamined="PELVIS", SliceThickness="8"),
            "CT|盆腔|-|plain|-",
            "header:range:SliceThickness=8/<=5/mm",
        ),
        (
            ct(BodyPartExamined="PELVIS", Rows=256),
            "CT|盆腔|-|plain|-",
            "header:range:Rows=256/512/pixel",
        ),
        (
            mr(SeriesDescription="T2WI", RepetitionTime="900"),
            "MR|膝关节|L|plain|-",
            "header:range:RepetitionTime=900/>2000/ms",
        ),
        (
            mr(ProtocolName="ax FLAIR", InversionTime="100"),
            "MR|颅脑|-|plain|-",
            "header:range:InversionTime=100/2000-3000/ms",
        ),
        (mr(ScanningSequence=None), "MR|颅脑|-|plain|-", "header:missing:ScanningSequence"),
        (
            ct(ProtocolName="LDCT", KVP="140"),
            CHEST,
            "header:range:KVP=140/<=120/kV",
        ),
        (dx(PatientName=None), KNEE, "header:missing:PatientName"),
        (dx(PatientBirthDate=None), KNEE, "header:missing:PatientAge"),
        (dx(ImageLaterality="U"), KNEE, "header:missing:Laterality"),
        (dx(Laterality="R"), KNEE, "header:contradiction:Laterality"),
        (dx(AcquisitionDate="20250101"), KNEE, "header:contradiction:AcquisitionDate"),
        (ct(ContrastBolusAgent="x"), CHEST, "header:contradiction:ContrastBolusAgent"),
    ],
)
def test_what_is_not_as_it_ought_to_be_is_flagged(data: bytes, concept: str, flag: str) -> None:
    assert flag in found(data, concept)


def test_one_deviation_from_a_source_of_little_trust_is_not_told() -> None:
    assert found(ct(KVP="100"), CHEST) == ()


def test_it_is_told_beside_what_weighs_more() -> None:
    assert "header:range:KVP=100/120/kV" in found(ct(KVP="100", SliceThickness=None), CHEST)


def test_a_number_that_is_not_there_deviates_from_nothing() -> None:
    assert found(mr(SeriesDescription="T2WI"), "MR|膝关节|L|plain|-") == ()


def test_the_sequence_decides_which_rows_apply() -> None:
    assert found(mr(SeriesDescription="T1W", RepetitionTime="500", EchoTime="12"), "MR|颅脑|-|plain|-") == ()


def test_what_an_enhanced_image_says_elsewhere_is_not_missed() -> None:
    assert found(ct(SOPClassUID=EnhancedCTImageStorage, KVP=None), CHEST) == ()


@pytest.mark.parametrize(
    ("header", "concept", "beside", "expected"),
    [
        (Header(side="R"), KNEE, (), (OTHER_SIDE,)),
        (Header(side="L"), KNEE, (), ()),
        (Header(side="B"), KNEE, (), ()),
        (Header(side="R"), "DR|膝关节|U|-|正位", (), ()),
        (Header(side="R"), CHEST, (), ()),
        (Header(side="R"), KNEE, ("DR|膝关节|R|-|正位",), ()),
        (Header(part="CHEST"), KNEE, (), (OTHER_PART,)),
        (Header(part="CHEST"), "CT|肋骨|L|plain|-", (), ()),
        (Header(part="CHEST"), KNEE, (CHEST,), ()),
        (Header(part="CHEST", protocol=("KNEE",)), KNEE, (), ()),
        (Header(part="ABDOMEN"), "CT|盆腔|-|plain|-", (), ()),
        (Header(part="CHEST"), "CT|不知何处|-|plain|-", (), ()),
        (Header(protocol=("CHEST",)), KNEE, (), ()),
    ],
)
def test_side_and_part_of_another_examination_are_contradictions(
    header: Header, concept: str, beside: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    assert flags(header, concept, beside) == expected


@pytest.mark.parametrize("concept", ["", "ALB|S|QN|-", "CT|胸部", f"{CHEST} ;; {KNEE}"])
def test_what_is_no_single_examination_is_held_against_nothing(concept: str) -> None:
    assert found(ct(KVP="900"), concept) == ()


def test_the_part_is_that_of_the_coded_region_where_the_word_is_wrong() -> None:
    region = Dataset()
    region.CodeMeaning = "Knee"
    data = dx(BodyPartExamined="CHEST", AnatomicRegionSequence=[region])
    assert OTHER_PART not in found(data, KNEE)


def test_nothing_that_names_a_person_is_kept() -> None:
    kept = str(header_of(dx(PatientID="A777", PatientComments="Zhang")))
    assert not any(word in kept for word in ("Zhang", "19800101", "A777", "A1", "EX"))


def test_nothing_is_logged_of_what_cannot_be_read(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    data = dx().replace(b"19800101", b"1980?1\xff\xff").replace(b"Zhang^San", b"Zhang\xff\xfe\xfd\xfc")
    assert header_of(data) is not None
    assert caplog.text == ""


def test_a_deflated_file_is_not_read() -> None:
    assert header_of(ct(syntax=DeflatedExplicitVRLittleEndian)) == Header()


@pytest.mark.parametrize(
    ("word", "concept"),
    [
        ("CHEST", "CT|胸椎|-|plain|-"),
        ("ABDOMEN", "CT|腰椎|-|plain|-"),
        ("NECK", "CT|颈椎|-|plain|-"),
        ("ABDOMEN", "CT|骨盆|-|plain|-"),
    ],
)
def test_a_part_that_images_of_a_wider_one_show_is_no_other_part(word: str, concept: str) -> None:
    assert OTHER_PART not in flags(Header(part=word), concept)


def test_the_beginning_of_a_file_is_read_as_far_as_it_goes() -> None:
    whole = ct()
    cut = header_of(whole[: whole.index(b"120")])
    assert cut is not None
    assert (cut.kind, dict(cut.numbers)) == ("CT", {"SliceThickness": 5.0})


FILES = sorted(SHARED.glob("dicom/**/*.dcm")) if SHARED.exists() else []


@pytest.mark.skipif(not FILES, reason="needs ../shared/conformance beside the checkout")
def test_every_file_of_the_conformance_set_is_read_or_none() -> None:
    for file in FILES:
        header = header_of(file.read_bytes()[:65_536])
        assert header is None or isinstance(flags(header, CHEST), tuple)


SAMPLES = [ct(), mr(SeriesDescription="T2WI"), dx()]


@given(st.sampled_from(SAMPLES), st.data())
@settings(max_examples=60)
def test_whatever_the_bytes_are_nothing_is_raised_and_nothing_refused(sample: bytes, data: Any) -> None:
    spoilt = bytearray(sample[: data.draw(st.integers(130, len(sample)))])
    for at in data.draw(st.lists(st.integers(132, len(spoilt) + 10), max_size=6)):
        if at < len(spoilt):
            spoilt[at] = data.draw(st.integers(0, 255))
    header = header_of(bytes(spoilt))
    told = flags(header, CHEST) if header else ()
    assert all(flag.startswith(("header:", "consistency:")) for flag in told)


@given(st.binary(max_size=300))
def test_any_bytes_are_no_header_or_one(data: bytes) -> None:
    header = header_of(bytes(128) + b"DICM" + data)
    assert header is None or isinstance(header, Header)


def test_every_check_has_its_source_its_certainty_and_a_trust() -> None:
    assert all(row["source"] and row["certainty"] in ("standard", "seen", "derived") for row in LIST)
    assert {check.trust for check in checks()} <= {"high", "medium", "low"}


def test_the_parts_of_the_checks_are_parts_of_concepts() -> None:
    vocabulary = tables().vocabulary["body_part"] | {"垂体"}
    assert all(check.part in vocabulary and known(check.part) for check in checks() if check.part)


def test_every_attribute_of_a_check_has_words() -> None:
    assert {check.attribute for check in checks()} <= ATTRIBUTES.keys()


def test_every_flag_of_a_check_is_told_in_words() -> None:
    told = {
        f"header:missing:{check.attribute}"
        if check.reference == "present"
        else f"header:range:{check.attribute}=7/{check.reference}/{check.unit}"
        for check in checks()
    }
    assert all(words(flag) != (flag, flag) for flag in told)


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        (
            "header:range:KVP=200/70-150/kV",
            ("管电压200，参考70-150 kV", "tube voltage 200, reference 70-150 kV"),
        ),
        ("header:missing:Laterality", ("缺少侧别标记", "no side")),
        ("header:range:KVP", ("header:range:KVP", "header:range:KVP")),
        ("header:missing:Unknown", ("header:missing:Unknown", "header:missing:Unknown")),
    ],
)
def test_a_flag_is_told_in_words_or_stands_for_itself(flag: str, told: tuple[str, str]) -> None:
    assert words(flag) == told
