"""A small archive over real sockets: lists of series and instances, and DICOM files, as the tests say."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, KeyObjectSelectionDocumentStorage

from tests.serving import Reply, http_answer

STUDY = "2.25.1"


def dicom(syntax: str = ExplicitVRLittleEndian, **attributes: Any) -> bytes:
    """A DICOM file with these attributes."""
    dataset = Dataset()
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = "2.25.1.1.1"
    dataset.StudyInstanceUID = STUDY
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    file = BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def note(
    title: str,
    *instances: str,
    uid: str = "2.25.1.9.1",
    scheme: str = "DCM",
    study: str = STUDY,
    syntax: str = ExplicitVRLittleEndian,
) -> bytes:
    """A key object note of this title about these instances."""
    code, place, series = Dataset(), Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator = title, scheme
    series.ReferencedSOPSequence = [Dataset() for _ in instances]
    for referenced, instance in zip(series.ReferencedSOPSequence, instances, strict=True):
        referenced.ReferencedSOPInstanceUID = instance
    place.StudyInstanceUID, place.ReferencedSeriesSequence = study, [series]
    return dicom(
        syntax,
        SOPClassUID=KeyObjectSelectionDocumentStorage,
        SOPInstanceUID=uid,
        Modality="KO",
        ConceptNameCodeSequence=[code],
        CurrentRequestedProcedureEvidenceSequence=[place],
    )


def part(data: bytes, media: str = 'multipart/related; type="application/dicom"; boundary=b') -> bytes:
    """The answer to a retrieval."""
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + data + b"\r\n--b--\r\n"
    return http_answer(body if media.startswith("multipart") else data, media=media)


def tagged(**values: Any) -> dict[str, Any]:
    """A DICOM JSON object: ``t00080060="CT"``."""
    return {name.removeprefix("t"): {"Value": [value]} for name, value in values.items()}


def archive(
    series: Mapping[str, str],
    instances: Mapping[str, Sequence[str]],
    files: Callable[[str], Reply],
    studies: Any = (),
) -> Callable[[str, bytes], Reply]:
    """Answers as an archive with these series (UID and modality), the instances of each, and files by their
    instance's UID."""

    def reply(first: str, _: bytes) -> Reply:
        steps = first.partition(" ")[2].partition(" ")[0].partition("?")[0].strip("/").split("/")
        if len(steps) == 1:
            found = [*studies]
        elif steps[-1] == "series":
            found = [
                tagged(t0020000E=uid, t00080060=modality, t00201209=len(instances.get(uid, ())))
                for uid, modality in series.items()
            ]
        elif steps[-1] == "instances":
            found = [tagged(t00080018=uid) for uid in instances.get(steps[3], ())]
            found = found[:1] if "limit=1 " in f"{first.split()[1]} " else found
        else:
            return files(steps[-1])
        return http_answer(json.dumps(found).encode(), media="application/dicom+json")

    return reply
