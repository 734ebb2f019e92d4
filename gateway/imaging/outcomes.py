"""What a request that stores is answered: a data set in DICOM JSON (PS3.18 §10.5.3, annex I.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from adapters.dicomweb_store import Stored
from gateway.imaging.instances import Instance, Refused


class Answered(Struct, frozen=True):
    """What came of a request: HTTP status, and the data set that tells it of each instance in DICOM JSON
    (PS3.18 §10.5.3)."""

    status: int
    dataset: dict[str, Any]


def told(
    base: str, good: Sequence[Instance], stored: Mapping[str, Stored], refused: Sequence[Refused]
) -> Answered:
    """What came of each instance; ``base`` is the DICOMweb address of this gateway."""
    referenced, failed, others = list[dict[str, Any]](), list[dict[str, Any]](), list[dict[str, Any]]()
    for one in good:
        said = stored[one.uid]
        item = _named(one.sop_class, one.uid)
        if said.failure:
            failed.append(item | _element("00081197", "US", said.failure))
            continue
        if said.warning:
            item |= _element("00081196", "US", said.warning)
        url = f"{base}/studies/{one.study}/series/{one.series}/instances/{one.uid}"
        referenced.append(dict(sorted((item | _element("00081190", "UR", url)).items())))
    for bad in refused:
        words = _element("00000902", "LO", bad.words)
        reason = _element("00081197", "US", bad.reason)
        if bad.uid:
            failed.append(words | _named(bad.sop_class, bad.uid) | reason)
        else:
            others.append(words | reason)
    dataset = dict[str, Any]()
    studies = {one.study for one in good if not stored[one.uid].failure}
    if len(studies) == 1:
        dataset |= _element("00081190", "UR", f"{base}/studies/{studies.pop()}")
    sequences = (("00081198", failed), ("00081199", referenced), ("0008119A", others))
    dataset |= {tag: {"vr": "SQ", "Value": items} for tag, items in sequences if items}
    whole = not failed and not others and not any(one.warning for one in stored.values())
    return Answered(200 if whole else 202 if referenced else 409, dataset)


def _named(sop_class: str, uid: str) -> dict[str, Any]:
    return _element("00081150", "UI", sop_class) | _element("00081155", "UI", uid)


def _element(tag: str, vr: str, value: str | int) -> dict[str, Any]:
    return {tag: {"vr": vr, "Value": [value]}}
