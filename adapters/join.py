"""Lay what the archives hold onto what the hospitals' systems say of the same studies. Pure.

What is recognised of an examination is its images (Art. 2 of 国卫医发〔2022〕6号), and only the archive knows
whether they are there. For every imaging result of a hospital's record, by institution and study UID:

* an archive of the institution shows the study: ``images.held`` is its count (the largest of several);
* every archive of the institution was heard and none holds it: 0;
* one of them was not heard in full, or did not show in time what it lists, or there is none: None, it cannot
  be said. One that was not asked because it announced nothing for the person holds nothing, and counts as
  heard.

``images.expected`` is what the record says, or the manifest in the archive where that is more. A record and
an archive that call one study two things (another item, another modality) are both in doubt: the result is
flagged, and so is one whose images say another side or part, or are not as they ought to be
(:mod:`quality.headers`). A study that only an archive knows stays a result of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from adapters.node import Answer
from quality.headers import Header, flags
from recognition import Images, Result

DIFFER = "consistency:name-on-record-and-archive-differ"

Study = tuple[str, str]


def join_images(answers: Sequence[Answer], institutions: Mapping[str, str]) -> tuple[Result, ...]:
    """The results of all answers, those of records and archives joined, in the order of their ids.

    ``institutions`` gives each archive's institution by node id. The answers are those of one gateway's own
    nodes; their order does not matter.
    """
    heard: dict[str, bool] = {}
    archived: dict[Study, Result] = {}
    modalities: dict[str, str] = {}
    headers: dict[str, Header] = {}
    records: list[Result] = []
    for answer in answers:
        report = answer.report
        if report.kind == "dicomweb":
            place = institutions[report.node]
            heard[place] = heard.get(place, True) and report.complete and not report.fault
            modalities.update(answer.modalities)
            headers.update(answer.headers)
            for result in answer.results:
                archived[_study(result)] = _fuller(archived.get(_study(result)), result)
        else:
            records += answer.results
    recorded: dict[Study, list[str]] = {}
    for result in records:
        recorded.setdefault(_study(result), []).append(result.reading.concept or "")
    joined = [result for study, result in archived.items() if study not in recorded]
    for result in records:
        if result.study_uid:
            copy = archived.get(_study(result))
            result = _with_images(result, copy, heard.get(result.institution, False))
            found = [DIFFER] if copy and _differ(result, copy, modalities.get(copy.id, "")) else []
            if copy and (header := headers.get(copy.id)):
                found += flags(header, result.reading.concept or "", recorded[_study(result)])
            if found:
                result = msgspec.structs.replace(result, flags=tuple(sorted({*result.flags, *found})))
        joined.append(result)
    return tuple(sorted(joined, key=lambda result: (result.node, result.id)))


def _study(result: Result) -> Study:
    return result.institution, result.study_uid


def _fuller(one: Result | None, other: Result) -> Result:
    """Of two archives' copies of a study the one that shows more images, one that showed none in time before
    one that has none; the first by name where they are equal."""
    if one is None:
        return other
    return min(one, other, key=lambda result: (-_counted(result), result.node))


def _counted(result: Result) -> float:
    """Images shown; between none and one where that is not known."""
    held = result.images.held if result.images else 0
    return 0.5 if held is None else held


def _with_images(result: Result, copy: Result | None, heard: bool) -> Result:
    held, own = (copy.images.held if copy and copy.images else 0 if heard else None), result.images
    said = [
        images.expected
        for images in (own, copy.images if copy else None)
        if images and images.expected is not None
    ]
    return msgspec.structs.replace(result, images=Images(held, max(said, default=None)))


def _differ(record: Result, copy: Result, modality: str) -> bool:
    """Whether the record is read as another item than the archive's copy, or one of another modality."""
    item, concept = record.reading.item, record.reading.concept or ""
    other_item = item and copy.reading.item and item != copy.reading.item
    return bool(other_item or (item and modality and concept.split("|")[0] != modality))
