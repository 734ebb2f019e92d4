"""Lay what the archives hold onto what the hospitals' systems say of the same studies. Pure.

What is recognised of an examination is its images (Art. 2 of 国卫医发〔2022〕6号), and only the archive knows
whether they are there. For every imaging result of a hospital's record, by institution and study UID:

* an archive of the institution holds the study: ``images.held`` is its count (the largest of several);
* every archive of the institution was heard and none holds it: 0;
* one of them was not heard in full, or there is none: None, it cannot be said.

A study that only an archive knows stays a result of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from adapters.node import Answer
from recognition import Images, Result

Study = tuple[str, str]


def join_images(answers: Sequence[Answer], institutions: Mapping[str, str]) -> tuple[Result, ...]:
    """The results of all answers, those of records and archives joined, in the order of their ids.

    ``institutions`` gives each archive's institution by node id. The answers are those of one gateway's own
    nodes; their order does not matter.
    """
    heard: dict[str, bool] = {}
    archived: dict[Study, Result] = {}
    records: list[Result] = []
    for answer in answers:
        report = answer.report
        if report.kind == "dicomweb":
            place = institutions[report.node]
            whole = report.state in ("answered", "empty") and not report.fault
            heard[place] = heard.get(place, True) and whole
            for result in answer.results:
                archived[_study(result)] = _fuller(archived.get(_study(result)), result)
        else:
            records += answer.results
    recorded = {_study(result) for result in records}
    joined = [
        *(
            _with_images(r, archived.get(_study(r)), heard.get(r.institution, False)) if r.study_uid else r
            for r in records
        ),
        *(result for study, result in archived.items() if study not in recorded),
    ]
    return tuple(sorted(joined, key=lambda result: (result.node, result.id)))


def _study(result: Result) -> Study:
    return result.institution, result.study_uid


def _fuller(one: Result | None, other: Result) -> Result:
    """Of two archives' copies of a study the one with more images; the first by name where they are equal."""
    if one is None:
        return other
    return min(one, other, key=lambda result: (-_held(result), result.node))


def _held(result: Result) -> int:
    return (result.images.held or 0) if result.images else 0


def _with_images(result: Result, copy: Result | None, heard: bool) -> Result:
    held = _held(copy) if copy else 0 if heard else None
    expected = result.images.expected if result.images else None
    return msgspec.structs.replace(result, images=Images(held, expected))
