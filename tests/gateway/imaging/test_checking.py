"""Which files may be stored, and what is said of the others."""

from __future__ import annotations

import random
import zlib
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    MRImageStorage,
    RLELossless,
)

from gateway.imaging.character_sets import encodings_of
from gateway.imaging.checking import examine
from gateway.imaging.elements import DEPTH
from gateway.imaging.instances import CLASS, MISMATCH, SYNTAX, UNREADABLE, Instance, Refused
from gateway.imaging.parts_in import Span
from tests.adapters.dicom_archive import dicom

MOST = 1_000_000


def file(**attributes: Any) -> bytes:
    """A CT image of 2 by 2 pixels that may be stored, but for these attributes."""
    right: dict[str, Any] = {
        "PatientID": "A1",
        "IssuerOfPatientID": "EX",
        "SeriesInstanceUID": "2.25.1.1",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": 2,
        "Columns": 2,
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        "PixelData": bytes(8),
    }
    return dicom(**{name: value for name, value in (right | attributes).items() if value is not None})


def written(syntax: UID) -> bytes:
    """That file in another transfer syntax."""
    image = dcmread(BytesIO(file()))
    image.file_meta.TransferSyntaxUID = syntax
    image["PixelData"].VR = "OW"
    out = BytesIO()
    little = syntax.is_little_endian
    dcmwrite(out, image, implicit_vr=syntax.is_implicit_VR, little_endian=little, force_encoding=True)
    return out.getvalue()


def said_to_be(uid: str) -> bytes:
    """That file with another Transfer Syntax UID in its File Meta Information."""
    data, value = file(), uid.encode() + b"\0" * (len(uid) % 2)
    former = b"\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\0"
    now = former[:6] + len(value).to_bytes(2, "little") + value
    length = int.from_bytes(data[140:144], "little") + len(now) - len(former)
    return (data[:140] + length.to_bytes(4, "little") + data[144:]).replace(former, now)


def examined(data: bytes) -> Instance:
    """The instance of a file that lies between other bytes."""
    return examine(b"xx" + data + b"yy", Span(2, len(data)), MOST)


def refused(data: bytes) -> Refused:
    with pytest.raises(Refused) as wrong:
        examined(data)
    assert len(wrong.value.words) <= 64
    return wrong.value


def test_an_instance_is_read_with_what_it_is_and_whose() -> None:
    one = examined(file())
    assert (one.study, one.series, one.uid, one.patient, one.issuer) == (
        "2.25.1",
        "2.25.1.1",
        "2.25.1.1.1",
        "A1",
        "EX",
    )


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_every_way_of_writing_elements_is_read(syntax: UID) -> None:
    assert examined(written(syntax)).study == "2.25.1"


def test_pixels_in_fragments_are_gone_through() -> None:
    image = dcmread(BytesIO(file()))
    image.compress(RLELossless)
    out = BytesIO()
    image.save_as(out)
    assert examined(out.getvalue()).uid == image.SOPInstanceUID


def test_an_empty_patient_id_is_one_that_is_not_known() -> None:
    assert examined(file(PatientID="")).patient == ""


@pytest.mark.parametrize("at", [100, 140, 200, 300, -12, -1])
def test_a_file_that_was_cut_off_is_refused(at: int) -> None:
    assert refused(file()[:at]).reason == UNREADABLE


def test_more_bytes_than_a_data_set_has_are_refused() -> None:
    assert refused(file() + b"\0" * 8).reason == UNREADABLE


@pytest.mark.parametrize("name", ["PatientID", "StudyInstanceUID", "SeriesInstanceUID"])
def test_what_an_instance_is_found_by_must_be_there(name: str) -> None:
    assert (
        "missing"
        in refused(file(**{name: None}) if name != "StudyInstanceUID" else file(StudyInstanceUID="")).words
    )


@pytest.mark.parametrize("uid", ["1.2.03", "1..2", "1.2.", "../1.2", "1.2/..", "1.2\\1.3"])
def test_what_is_no_uid_is_refused(uid: str) -> None:
    data = file(SeriesInstanceUID="2.25.1." + "7" * max(len(uid) - 7, 1))
    place = data.index(b"2.25.1.7")
    length = int.from_bytes(data[place - 2 : place], "little")
    spoilt = data[:place] + uid.encode().ljust(length, b"\0")[:length] + data[place + length :]
    assert refused(spoilt).reason == UNREADABLE


@pytest.mark.parametrize("number", ["A*", "A?1", "A\\B"])
def test_a_patient_id_that_would_ask_for_others_is_refused(number: str) -> None:
    assert refused(file(PatientID=number)).reason == UNREADABLE


def test_a_data_set_of_another_class_than_its_file_says_does_not_match() -> None:
    data = file(SOPClassUID=CTImageStorage)
    assert refused(data.replace(CTImageStorage.encode(), MRImageStorage.encode(), 1)).reason == MISMATCH


def test_of_an_instance_its_data_set_says_which_it_is() -> None:
    data = file()
    assert examined(data.replace(b"2.25.1.1.1", b"2.25.1.1.2", 1)).uid == "2.25.1.1.1"


def test_a_patient_id_may_be_in_any_character_set() -> None:
    image = file(SpecificCharacterSet="GB18030", PatientID="门诊7".encode("gb18030"))
    assert examined(image).patient == "门诊7"


@pytest.mark.parametrize("uid", ["1.2.840.10008.1.1", "1.2.840.10008.1.3.10", "1.2.826.0.1.3680043.2.1"])
def test_what_is_no_image_or_document_is_refused_by_its_class(uid: str) -> None:
    assert refused(file(SOPClassUID=UID(uid))).reason == CLASS


@pytest.mark.parametrize(
    "uid", ["1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.7.1", "1.2.840.10008.1.1", "1.2.3"]
)
def test_pixels_that_lie_elsewhere_are_refused_by_their_transfer_syntax(uid: str) -> None:
    assert refused(said_to_be(uid)).reason == SYNTAX


def test_a_file_that_is_a_program_as_well_is_refused() -> None:
    assert refused(b"MZ" + file()[2:]).reason == UNREADABLE


def test_fewer_pixels_than_the_header_says_are_refused() -> None:
    assert "pixels" in refused(file(Rows=3)).words


def test_a_deflated_file_that_grows_without_end_is_refused() -> None:
    data = written(DeflatedExplicitVRLittleEndian)
    begins = 144 + int.from_bytes(data[140:144], "little")
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = squeeze.compress(bytes(20 * MOST)) + squeeze.flush()
    assert "inflates to more than" in refused(data[:begins] + bomb).words


def test_a_deflated_file_without_a_data_set_is_refused() -> None:
    data = written(DeflatedExplicitVRLittleEndian)
    begins = 144 + int.from_bytes(data[140:144], "little")
    assert refused(data[:begins] + b"\x03\x00").reason == UNREADABLE


def test_an_icon_may_be_compressed() -> None:
    fragments = b"\xfe\xff\x00\xe0\0\0\0\0" * 2 + b"\xfe\xff\xdd\xe0\0\0\0\0"
    pixels = b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff" + fragments
    item = b"\xfe\xff\x00\xe0" + len(pixels).to_bytes(4, "little") + pixels
    icon = b"\x88\0\0\x02SQ\0\0" + len(item).to_bytes(4, "little") + item
    assert examined(file().replace(b"\xe0\x7f\x10\0OW", icon + b"\xe0\x7f\x10\0OW")).uid


def nested(depth: int) -> bytes:
    inner = Dataset()
    for _ in range(depth):
        outer = Dataset()
        outer.ContentSequence = Sequence([inner])
        inner = outer
    return file(ContentSequence=inner.ContentSequence if depth else [])


def test_sequences_may_be_as_deep_as_any_report_has_them() -> None:
    assert examined(nested(DEPTH)).uid


def test_deeper_sequences_are_refused_and_cost_no_stack() -> None:
    assert "nested" in refused(nested(DEPTH + 1)).words


def test_an_attribute_that_is_there_twice_is_refused() -> None:
    data = file(PatientComments="A")
    once = b"\x10\x00\x20\x00LO\x02\x00A1"
    assert refused(data.replace(once, once * 2)).reason == UNREADABLE


# Texts

NAME = "示例^患者㛃"


@pytest.mark.parametrize(
    ("charset", "encoding"), [("ISO_IR 192", "utf-8"), ("GB18030", "gb18030"), ("GBK", "gbk")]
)
def test_a_text_in_its_character_set_is_stored(charset: str, encoding: str) -> None:
    name = NAME[:-1] if charset == "GBK" else NAME
    assert examined(file(SpecificCharacterSet=charset, PatientName=name.encode(encoding)))


@pytest.mark.parametrize(
    ("charset", "encoding", "told"),
    [
        ("ISO_IR 192", "gb18030", "GB18030"),
        (None, "gb18030", "GB18030"),
        (None, "utf-8", "ISO_IR 192"),
        ("ISO_IR 100", "gb2312", "GB18030"),
        ("ISO_IR 100", "utf-8", "ISO_IR 192"),
        ("GB18030", "utf-8", "ISO_IR 192"),
    ],
)
def test_a_text_in_another_one_is_refused_with_what_it_probably_is(
    charset: str | None, encoding: str, told: str
) -> None:
    wrong = refused(file(SpecificCharacterSet=charset, PatientName="示例^患者".encode(encoding)))
    assert told in wrong.words


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 100", "Müller^Jörg"),
        ("ISO_IR 100", "Größe, größer"),
        ("ISO_IR 100", "Hääpää"),
        ("ISO_IR 100", "CRÉÉE ET AGRÉÉE"),
        ("ISO_IR 101", "Łęcki^Żółć"),
        ("ISO_IR 126", "Παπαδόπουλος"),
        ("ISO_IR 127", "حسن"),
        ("ISO_IR 138", "שרון^דבורה"),
        ("ISO_IR 144", "Иванов^Пётр"),
        ("ISO_IR 166", "สมชาย"),
        ("ISO_IR 203", "Œuvré"),
    ],
)
def test_a_name_in_another_alphabet_is_not_taken_for_hanzi(charset: str, name: str) -> None:
    encoding = encodings_of(charset.encode())[0]
    image = file(SpecificCharacterSet="ISO_IR 100", PatientName=name.encode(encoding))
    assert examined(image.replace(b"ISO_IR 100", charset.encode()))


@pytest.mark.parametrize("name", ["欧^璇峰江", "王^小东", "李^娜"])
def test_a_name_in_gb18030_is_not_taken_for_utf_8(name: str) -> None:
    assert examined(file(SpecificCharacterSet="GB18030", PatientName=name.encode("gb18030")))


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("\\ISO 2022 IR 87", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"),
        ("\\ISO 2022 IR 149", b"Hong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7"),
        ("\\ISO 2022 IR 58", b"Wang=\x1b$)A\xcd\xf5^\x1b$)A\xd0\xa1\xb6\xab"),
        ("ISO 2022 IR 100\\ISO 2022 IR 144", b"\xc4^\x1b-L\xbb\xee\x1b-A\xe4"),
    ],
)
def test_a_name_with_escape_sequences_is_stored(charset: str, name: bytes) -> None:
    assert examined(file(SpecificCharacterSet=charset.split("\\"), PatientName=name))


def test_an_unknown_character_set_is_refused() -> None:
    assert (
        "character set"
        in refused(file(SpecificCharacterSet="ISO_IR 100").replace(b"ISO_IR 100", b"ISO_IR 999")).words
    )


def test_a_text_deep_in_a_report_is_looked_at() -> None:
    item = Dataset()
    item.add_new(0x0040A160, "UT", "肺部未见异常".encode("gb18030"))
    wrong = refused(file(SpecificCharacterSet="ISO_IR 192", ContentSequence=[item]))
    assert "character set" in wrong.words


def test_an_item_has_no_character_set_of_the_item_before() -> None:
    before, within, after = Dataset(), Dataset(), Dataset()
    before.SpecificCharacterSet = "GB18030"
    before.add_new(0x0040A160, "UT", "肺部未见异常".encode("gb18030"))
    within.add_new(0x0040A160, "UT", "肺部未见异常".encode())
    after.ContentSequence = [within]
    assert examined(file(SpecificCharacterSet="ISO_IR 192", ContentSequence=[before, after]))


def test_an_item_may_state_a_character_set_of_its_own() -> None:
    item, after = Dataset(), Dataset()
    item.SpecificCharacterSet = "GB18030"
    item.add_new(0x0040A160, "UT", "肺部未见异常".encode("gb18030"))
    after.add_new(0x0040A160, "UT", "肺部未见异常".encode())
    assert examined(file(SpecificCharacterSet="ISO_IR 192", ContentSequence=[item, after]))


# Files of others

NOT_STORED = {
    "ExplVR_BigEnd.dcm": "Patient ID",
    "ExplVR_BigEndNoMeta.dcm": "DICM",
    "ExplVR_LitEndNoMeta.dcm": "DICM",
    "GDCMJ2K_TextGBR.dcm": "Patient ID",
    "JPEGLSNearLossless_08.dcm": "Patient ID",
    "JPEGLSNearLossless_16.dcm": "Patient ID",
    "MR_truncated.dcm": "cut off",
    "SC_rgb_jls_lossy_line.dcm": "Patient ID",
    "SC_rgb_jls_lossy_sample.dcm": "Patient ID",
    "SC_rgb_jpeg.dcm": "VR",
    "UN_sequence.dcm": "SOP Instance UID",
    "chrSQEncoding.dcm": "SOP Instance UID",
    "chrSQEncoding1.dcm": "SOP Instance UID",
    "empty_charset_LEI.dcm": "SOP Class UID",
    "meta_missing_tsyntax.dcm": "SOP Class UID",
    "nested_priv_SQ.dcm": "SOP Class UID",
    "no_meta.dcm": "DICM",
    "no_meta_group_length.dcm": "Group Length",
    "priv_SQ.dcm": "SOP Instance UID",
    "rtplan_truncated.dcm": "cut off",
    "rtstruct.dcm": "DICM",
}
"""Of the files that pydicom carries, and what is wrong with them."""
CARRIED = sorted(
    path
    for folder in ("charset_files", "test_files")
    for path in (Path(pydicom.__file__).parent / "data" / folder).glob("*.dcm")
)


@pytest.mark.parametrize("path", CARRIED, ids=lambda path: path.name)
def test_a_file_that_pydicom_carries_is_stored_unless_something_is_wrong_with_it(path: Path) -> None:
    if wrong := NOT_STORED.get(path.name):
        assert wrong in refused(path.read_bytes()).words
    else:
        assert examined(path.read_bytes()).uid


# Anything

FILES = (file(), written(ImplicitVRLittleEndian), written(DeflatedExplicitVRLittleEndian), nested(3))


@given(st.sampled_from(FILES), st.integers(0, 2**32))
@settings(max_examples=300, deadline=None)
def test_no_bytes_whatever_do_more_than_be_refused(data: bytes, seed: int) -> None:
    chance, spoilt = random.Random(seed), bytearray(data)  # noqa: S311 - bytes of a test
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(128, len(spoilt))
        match chance.randrange(3):
            case 0:
                spoilt[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF, chance.randrange(256)))
            case 1:
                del spoilt[at : at + chance.randint(1, 8)]
            case _:
                spoilt[at:at] = spoilt[at : at + chance.randint(1, 64)]
        if len(spoilt) <= 128:
            return
    with suppress(Refused):
        assert examined(bytes(spoilt)).uid


def test_jpeg_2000_is_a_transfer_syntax_that_is_stored() -> None:
    image = dcmread(BytesIO(file()))
    image.PixelData = b"\xfe\xff\x00\xe0\x00\x00\x00\x00\xfe\xff\x00\xe0\x04\x00\x00\x00\xff\x4f\xff\x51"
    image["PixelData"].VR, image["PixelData"].is_undefined_length = "OB", True
    image.file_meta.TransferSyntaxUID = JPEG2000Lossless
    out = BytesIO()
    image.save_as(out)
    assert examined(out.getvalue()).uid
