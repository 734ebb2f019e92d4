"""Real DICOM files for the archives of the demonstration, and the way into an archive by STOW-RS.

Small CT, DX and MR studies with noise for pixels. The headers say what a hospital's machine would say: the
study's name in its own words, the local patient number, local time with its offset, and the name in the
character set that the machine uses. UIDs are derived from the study's key below 2.25 (PS3.5 §B.2), so a
second run meets the studies of the first.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from io import BytesIO
from typing import Any, Literal
from zoneinfo import ZoneInfo

import httpx
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    MRImageStorage,
)

from gateway.demo.people import INSTITUTIONS, Person

Modality = Literal["CT", "DX", "MR"]
Charset = Literal["utf-8", "gb18030"]

SHANGHAI = ZoneInfo("Asia/Shanghai")
SIDE = 64
_CHARACTER_SETS = {"utf-8": "ISO_IR 192", "gb18030": "GB18030"}
_REGIONS = {"CHEST": ("51185008", "Chest"), "KNEE": ("72696002", "Knee")}  # PS3.16 Annex L, of the DX studies
_NAMESPACE = uuid.UUID("6f1d3c52-0c5e-5d6b-9c68-6c69616e7265")


class StoreRefused(Exception):
    """An archive did not keep every instance; the message counts them and gives the failure codes."""


def uid_for(*words: object) -> UID:
    """A UID below 2.25 that is the same for the same words."""
    return UID(f"2.25.{uuid.uuid5(_NAMESPACE, '/'.join(map(str, words))).int}")


def study(
    person: Person,
    institution: str,
    *,
    description: str,
    modality: Modality,
    body_part: str,
    performed: datetime,
    instances: int,
    charset: Charset,
    side: Literal["L", "R"] | None = None,
    contrast: str | None = None,
    uid: UID,
) -> list[Dataset]:
    """One study of one series, ready to be stored.

    Args:
        institution: its code.
        description: the hospital's own name of the study.
        body_part: a defined term of BodyPartExamined (PS3.16 Annex L), such as CHEST.
        performed: aware; written as local time of Asia/Shanghai with its offset.
        side: of a paired part.
        contrast: the agent, where one was given.
        uid: StudyInstanceUID; series and instances follow from it.
    """
    local = performed.astimezone(SHANGHAI)
    common = Dataset()
    common.SpecificCharacterSet = _CHARACTER_SETS[charset]
    common.TimezoneOffsetFromUTC = f"{local:%z}"
    common.StudyInstanceUID = uid
    common.SeriesInstanceUID = uid_for(uid, 1)
    common.FrameOfReferenceUID = uid_for(uid, "frame")
    common.PositionReferenceIndicator = None
    common.StudyDate = common.SeriesDate = f"{local:%Y%m%d}"
    common.StudyTime = common.SeriesTime = f"{local:%H%M%S}"
    common.AccessionNumber = f"A{int(uid.rpartition('.')[2]) % 10**10:010d}"
    common.StudyID = "1"
    common.SeriesNumber = 1
    common.Modality = modality
    common.Manufacturer = "示例设备"
    common.InstitutionName = INSTITUTIONS[institution]
    common.ReferringPhysicianName = ""
    common.StudyDescription = description
    common.RequestedProcedureDescription = description
    common.ProtocolName = f"{body_part.title()} {'C+' if contrast else 'routine'}"
    common.BodyPartExamined = body_part
    common.PatientName = person.dicom_name
    common.PatientID = person.mrns[institution]
    common.IssuerOfPatientID = institution
    common.PatientBirthDate = f"{person.birth_date:%Y%m%d}"
    common.PatientSex = {"male": "M", "female": "F"}[person.gender]
    if contrast:
        common.ContrastBolusAgent = contrast
    noise = random.Random(uid)  # noqa: S311 - pixels, not secrets
    return [_instance(common, modality, number, local, side, noise) for number in range(1, instances + 1)]


def _instance(
    common: Dataset,
    modality: Modality,
    number: int,
    performed: datetime,
    side: str | None,
    noise: random.Random,
) -> Dataset:
    image = Dataset()
    image.update(common)
    taken = performed + timedelta(seconds=number)
    image.InstanceNumber = number
    image.AcquisitionDate = image.ContentDate = f"{taken:%Y%m%d}"
    image.AcquisitionTime = image.ContentTime = f"{taken:%H%M%S}"
    _KINDS[modality](image, number, side)
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.Rows = image.Columns = SIDE
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    image.PixelData = b"".join(
        (2048 + noise.randrange(-200, 200)).to_bytes(2, "little") for _ in range(SIDE**2)
    )
    image.SOPInstanceUID = uid_for(common.StudyInstanceUID, 1, number)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = image.SOPClassUID
    meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta = meta
    return image


def _slice(image: Dataset, number: int, side: str | None, thickness: int) -> None:
    image.PatientPosition = "HFS"
    image.ImagePositionPatient = [-SIDE, -SIDE, number * thickness]
    image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    image.PixelSpacing = [2, 2]
    image.SliceThickness = thickness
    if side:
        image.Laterality = side


def _ct(image: Dataset, number: int, side: str | None) -> None:
    image.SOPClassUID = CTImageStorage
    image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    _slice(image, number, side, 5)
    image.KVP = 120
    image.AcquisitionNumber = 1
    image.RescaleIntercept, image.RescaleSlope, image.RescaleType = -2048, 1, "HU"


def _mr(image: Dataset, number: int, side: str | None) -> None:
    image.SOPClassUID = MRImageStorage
    image.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    _slice(image, number, side, 6)
    image.ScanningSequence, image.SequenceVariant, image.ScanOptions = "SE", "NONE", ""
    image.MRAcquisitionType = "2D"
    image.MagneticFieldStrength = 1.5
    image.RepetitionTime, image.EchoTime, image.EchoTrainLength = 500, 12, 1


def _dx(image: Dataset, number: int, side: str | None) -> None:
    image.SOPClassUID = DigitalXRayImageStorageForPresentation
    image.ImageType = ["ORIGINAL", "PRIMARY"]
    image.PresentationIntentType = "FOR PRESENTATION"
    image.ImageLaterality = side or "U"  # and no Laterality, which this IOD allows only in its absence
    image.ViewPosition = ("PA", "LL")[(number - 1) % 2]
    image.PatientOrientation = ["L", "F"]
    image.KVP = 70
    image.DetectorType = "DIRECT"
    image.ImagerPixelSpacing = [0.2, 0.2]
    image.PixelIntensityRelationship, image.PixelIntensityRelationshipSign = "LOG", -1
    image.RescaleIntercept, image.RescaleSlope, image.RescaleType = 0, 1, "US"
    image.PresentationLUTShape = "IDENTITY"
    image.LossyImageCompression = "00"
    image.BurnedInAnnotation = "NO"
    image.WindowCenter, image.WindowWidth = 2048, 4096
    image.AcquisitionContextSequence = []
    image.PositionerType = ""
    region = Dataset()
    region.CodeValue, region.CodeMeaning = _REGIONS[image.BodyPartExamined]
    region.CodingSchemeDesignator = "SCT"
    image.AnatomicRegionSequence = [region]


_KINDS = {"CT": _ct, "MR": _mr, "DX": _dx}


def store(dicomweb_url: str, datasets: Sequence[Dataset]) -> None:
    """Store instances in one STOW-RS request (PS3.18 §10.5) and read the answer for each of them.

    Raises:
        StoreRefused: the archive kept fewer instances than were sent.
        httpx.HTTPError: the archive did not answer.
    """
    boundary = uuid.uuid4().hex
    answer = httpx.post(
        f"{dicomweb_url}/studies",
        content=b"".join(_parts(datasets, boundary)),
        headers={
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            "Accept": "application/dicom+json",
        },
        timeout=30,
        trust_env=False,
    )
    said: dict[str, Any] = answer.json() if "json" in answer.headers.get("Content-Type", "") else {}
    sent = {str(dataset.SOPInstanceUID) for dataset in datasets}
    kept = {entry["00081155"]["Value"][0] for entry in said.get("00081199", {}).get("Value", ())}
    if answer.status_code != 200 or not sent <= kept:
        codes = {entry["00081197"]["Value"][0] for entry in said.get("00081198", {}).get("Value", ())}
        raise StoreRefused(
            f"the archive kept {len(sent & kept)} of {len(sent)} instances "
            f"(HTTP {answer.status_code}, failure reasons {sorted(codes)})"
        )


def _parts(datasets: Iterable[Dataset], boundary: str) -> Iterable[bytes]:
    for dataset in datasets:
        file = BytesIO()
        dataset.save_as(file, enforce_file_format=True)
        yield f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode() + file.getvalue() + b"\r\n"
    yield f"--{boundary}--\r\n".encode()
