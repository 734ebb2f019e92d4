"""The facts of a result that a mark is bound to, and their digest.

What is recognised is the value or the images, not the document around them (Art. 2 of the 2022 rules), so
the digest covers the facts as the hospital wrote them and nothing that a server may change on the way: not
the bytes of one FHIR server's answer, not our own reading of the name. ``record`` says which record of the
hospital holds them (type and id, or study), so that no two persons' results share a digest.
The form is RFC 8785: every value is a string, every key ASCII, keys in order.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from datetime import UTC, datetime

import msgspec

from recognition.model import Result

_ENCODER = msgspec.json.Encoder(order="sorted")


def facts(result: Result) -> bytes:
    """The canonical bytes (RFC 8785 JSON) over which the result's digest is taken."""
    return _ENCODER.encode(
        {
            "institution": result.institution,
            "kind": result.kind,
            "name": result.local_name,
            "performed": _instant(result.performed),
            "record": result.source,
            "reported": _instant(result.reported),
            "specimen": result.specimen,
            "status": result.status,
            "study": result.study_uid,
            "unit": result.unit,
            "v": "1",
            "value": result.value,
        }
    )


def digest(result: Result) -> bytes:
    """SHA-256 (32 bytes) over :func:`facts`."""
    return hashlib.sha256(facts(result)).digest()


def _instant(moment: datetime | None) -> str:
    if moment is None:
        return ""
    with suppress(OverflowError):  # at the edge of the calendar it stays as it was written
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="seconds")
