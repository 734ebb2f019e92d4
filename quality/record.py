"""Data-quality flags of one result, by the five dimensions 及时性 一致性 完整性 准确性 连续性.

A flag is ``<dimension>:<finding>``, for machines; a result with one is looked at, not relied on (step 9 of
the decision). No national text defines the dimensions; the checks are derived and stay few, each one
something that can be seen on the result alone:

=============================================== ===================================================
``timeliness:performed-in-the-future``          performed after the moment of asking
``timeliness:reported-in-the-future``           reported after the moment of asking
``timeliness:reported-before-performed``        a report older than its examination
``consistency:mark-on-name-and-report-differ``  the name carries another range than the report
``completeness:no-institution``                 nobody answers for the result
``completeness:no-name``                        nothing says what was examined
``completeness:no-performed-time``              and no flag of the reading says why
``completeness:no-report-time``                 a final result that was never reported
``accuracy:value-not-readable``                 a unit, and beside it no number, bound or range
``accuracy:study-uid-malformed``                not a DICOM UID (PS3.5 section 9.1)
``continuity:version-without-report-time``      a correction that cannot be put in order
=============================================== ===================================================
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from datetime import datetime

from mapping import canonical, printed_range
from recognition import Result

_NUMBER = r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"
_VALUE = re.compile(rf"(?:[<>≤≥]=?\s*)?{_NUMBER}|{_NUMBER}\s*(?:-|~|--)\s*{_NUMBER}|\d+\s*:\s*\d+")
DICOM_UID = re.compile(r"(?=.{1,64}\Z)(?:0|[1-9][0-9]*+)(?:\.(?:0|[1-9][0-9]*+))*+")


def assess(result: Result, now: datetime) -> tuple[str, ...]:
    """The flags of a result, in order and each once: those that reading it left, and those found here.

    ``now`` is the moment of asking, aware.
    """
    return tuple(sorted({*result.flags, *_findings(result, now)}))


def _findings(result: Result, now: datetime) -> Iterator[str]:
    performed, reported = result.performed, result.reported
    if performed and performed > now:
        yield "timeliness:performed-in-the-future"
    if reported and reported > now:
        yield "timeliness:reported-in-the-future"
    if performed and reported and reported < performed:
        yield "timeliness:reported-before-performed"
    on_name = canonical(result.local_name).mark
    if on_name and result.printed_mark and printed_range(result.printed_mark) != on_name:
        yield "consistency:mark-on-name-and-report-differ"
    if not result.institution:
        yield "completeness:no-institution"
    if not result.local_name.strip():
        yield "completeness:no-name"
    if performed is None and not _said(result, "performed:"):
        yield "completeness:no-performed-time"
    if reported is None and result.status == "final" and not _said(result, "reported:"):
        yield "completeness:no-report-time"
    if result.unit and result.value and not _VALUE.fullmatch(_plain(result.value)):
        yield "accuracy:value-not-readable"
    if result.study_uid and not DICOM_UID.fullmatch(result.study_uid):
        yield "accuracy:study-uid-malformed"
    if reported is None and result.status in ("amended", "corrected"):
        yield "continuity:version-without-report-time"


def _said(result: Result, start: str) -> bool:
    return any(flag.startswith(start) for flag in result.flags)


def _plain(value: str) -> str:
    return unicodedata.normalize("NFKC", value).strip()
