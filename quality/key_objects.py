"""What a key object note says of the images of its study: rejected, or to be complete by a manifest.

A key object selection document (PS3.3 A.35.4) has a title (PS3.16 CID 7010): four of them reject what it
refers to (IHE Radiology, Image Object Change Management), two are manifests of everything that there is.
All other titles (of interest, for teaching) say nothing of either.
"""

from __future__ import annotations

from io import BytesIO

from msgspec import Struct

from quality._dicom import deflated, quietly

REJECTING = frozenset({"113001", "113037", "113038", "113039"})
"""For quality reasons, for patient safety, incorrect worklist entry, data retention policy expired."""
MANIFESTS = frozenset({"113030", "113031"})


class Note(Struct, frozen=True):
    """A key object note: its SOP Instance UID, its title (a DCM code), and the instances of its own study
    that it is about."""

    instance: str
    title: str
    about: frozenset[str]

    @property
    def rejects(self) -> bool:
        """Whether what it is about is not to be used."""
        return self.title in REJECTING

    @property
    def manifest(self) -> bool:
        """Whether it is about all there ought to be."""
        return self.title in MANIFESTS


def note_of(data: bytes) -> Note | None:
    """The note in a whole DICOM file; None where it cannot be read as one. Nothing is raised. A deflated file
    is not read."""
    if deflated(data):
        return None
    from pydicom import dcmread

    try:
        with quietly():
            note = dcmread(BytesIO(data), force=True)
            title = note.ConceptNameCodeSequence[0]
            about = frozenset(
                str(instance.ReferencedSOPInstanceUID)
                for study in note.CurrentRequestedProcedureEvidenceSequence
                if study.StudyInstanceUID == note.StudyInstanceUID
                for series in study.ReferencedSeriesSequence
                for instance in series.ReferencedSOPSequence
            )
            code = str(title.CodeValue) if title.CodingSchemeDesignator == "DCM" else ""
            return Note(str(note.SOPInstanceUID), code, about)
    except Exception:  # pydicom raises whatever the bytes make it; none of it is a fault here
        return None
