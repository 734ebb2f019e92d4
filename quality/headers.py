"""What the header of an image says of its quality: the first evidence, and a weak one. No pixels are read.

:func:`header_of` reads the beginning of one instance and keeps what the checks ask for: technical numbers,
side, part, and of identifying attributes whether there is a value, never the value. :func:`flags` lays this
beside the concept of the report. The checks are rows of ``data/header_checks.csv``, each with its source,
its certainty and how far it is trusted; modality, part, method and sequence decide which rows apply. What
only a look at the image could answer is no row there.

A row that is not met makes a flag ``header:…``, told as a note (R9.5) that changes no verdict, and only where
what is found weighs enough together: one deviation from a textbook is none. Side or part of another
examination than the report's makes a ``consistency:…`` flag, with which a result may be viewed only (R9.2).
Nothing here refuses.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib import resources
from io import BytesIO
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from mapping.tables import tables
from quality._dicom import READER, deflated, load, quietly
from recognition.parts import known, relation

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = [
    "OTHER_PART",
    "OTHER_SIDE",
    "READER",
    "Check",
    "Header",
    "begins",
    "checks",
    "flags",
    "header_of",
    "load",
]

OTHER_SIDE = "consistency:side-on-images-and-report-differ"
OTHER_PART = "consistency:part-on-images-and-report-differ"

ENOUGH = 0.5
"""What findings must weigh together to be told."""
_TRUST = {"high": 1.0, "medium": 0.5, "low": 0.2}

# The classic IODs: what enhanced ones say of an image stands in functional groups, which are not read.
_KINDS = {
    "1.2.840.10008.5.1.4.1.1.1": "DR",
    "1.2.840.10008.5.1.4.1.1.1.1": "DR",
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.4": "MR",
}
_SEQUENCES = {
    "T2-FLAIR": r"FLAIR(?!.*T1)",
    "T1-FLAIR": r"T1.*FLAIR|FLAIR.*T1",
    "T2": r"(?<![A-Z0-9])T2(?!.*FLAIR)(?!\*)",
    "T1": r"(?<![A-Z0-9])T1(?!.*(FLAIR|FFE|GRE|SPGR|MPR|VIBE|3D))",
    "PD": r"(?<![A-Z])PD(W|WI)?(?![A-Z])",
    "DWI": r"DWI|DIFFUSION|扩散|弥散",
    "low-dose": r"LOW.?DOSE|LDCT|低剂量",
    "portable": r"PORTABLE|BEDSIDE|床旁|床边",
}
_TEXTS = ("SeriesDescription", "ProtocolName", "SequenceName")
_SPIN_ECHO = frozenset({"T1", "T2", "PD"})
_NO_AGENT = frozenset({"", "NONE", "NO", "N", "无"})
_FURTHER = ("SpecificCharacterSet", "AnatomicRegionSequence")
_SIDES = ("ImageLaterality", "Laterality")
_OPPOSITE = {"L": "R", "R": "L"}
_ALIKE = {"PatientAge": ("PatientAge", "PatientBirthDate"), "Laterality": _SIDES}
_PIXELS = 0x7FE00008
_LONGEST = 64  # of a long string (LO)


class Header(Struct, frozen=True, kw_only=True):
    """What is kept of a header. ``study`` is its Study Instance UID; ``kind`` the modality as concepts have
    it, empty for an IOD that the rows are not about; ``part`` and ``protocol`` are words of DICOM PS3.16
    Annex L; ``missing`` are attributes without a value, ``odd`` those that contradict others."""

    study: str = ""
    kind: str = ""
    side: str = ""
    part: str = ""
    protocol: tuple[str, ...] = ()
    sequences: tuple[str, ...] = ()
    numbers: tuple[tuple[str, float], ...] = ()
    missing: tuple[str, ...] = ()
    odd: tuple[str, ...] = ()
    agent: bool = False


class Check(Struct, frozen=True, kw_only=True):
    """A row: what an attribute should be, of which images, who says so, and how far that is trusted."""

    modality: str
    part: str
    method: str
    sequence: str
    attribute: str
    reference: str
    unit: str
    trust: str
    source: str
    certainty: str
    note: str


@cache
def checks() -> tuple[Check, ...]:
    """The bundled rows."""
    text = (resources.files("quality") / "data/header_checks.csv").read_text(encoding="utf-8")
    return tuple(Check(**row) for row in csv.DictReader(text.splitlines()))


_ATTRIBUTES = frozenset(
    {
        *(one for check in checks() for one in _ALIKE.get(check.attribute, (check.attribute,))),
        *(
            "SOPClassUID",
            "StudyInstanceUID",
            "BodyPartExamined",
            "ContrastBolusAgent",
            "StudyDate",
            "AcquisitionDate",
        ),
        *_TEXTS,
    }
)


def begins(data: bytes) -> bool:
    """Whether this is the beginning of a DICOM file (PS3.10 section 7.1), or of one that lost its preamble
    and begins with its file meta or its data, as archives keep what was sent to them so."""
    return data[128:132] == b"DICM" or data[:2] in (b"\2\0", b"\10\0")


def header_of(data: bytes) -> Header | None:
    """What the beginning of a DICOM file says; None where it cannot be read as one, or says nothing.

    Whatever the bytes are, nothing is raised. Of a deflated file nothing is read and nothing kept.
    """
    if not begins(data):
        return None
    if deflated(data):
        return Header()
    try:
        with quietly():
            return _header(_read(data))
    except Exception:  # pydicom raises whatever the bytes make it; none of it is a fault here
        return None


def flags(header: Header, concept: str, beside: Sequence[str] = ()) -> tuple[str, ...]:
    """What the header of an image has against the concept of its report, as flags in order.

    ``beside`` are the concepts of further reports on the same study: what fits one of them is no
    contradiction.
    """
    wanted = [slots for one in (concept, *beside) for slots in _examinations(one)]
    own = _examinations(concept)
    if len(own) != 1:
        return ()
    found = {*_contradictions(header, wanted)}
    unmet = [check for check in checks() if _applies(check, header, own[0]) and not _met(check, header)]
    weight = sum(_TRUST[check.trust] for check in unmet) + len(header.odd) * _TRUST["medium"]
    if weight >= ENOUGH:
        numbers = dict(header.numbers)
        found |= {_flag(check, numbers.get(check.attribute)) for check in unmet}
        found |= {f"header:contradiction:{attribute}" for attribute in header.odd}
    if header.agent and own[0][3] == "plain":
        found.add("header:contradiction:ContrastBolusAgent")
    return tuple(sorted(found))


def _examinations(concept: str) -> list[list[str]]:
    slots = [one.strip().split("|") for one in concept.split(";;")]
    return [one for one in slots if len(one) == 5]


def _contradictions(header: Header, wanted: Sequence[Sequence[str]]) -> Iterator[str]:
    sides = {side for _, _, side, _, _ in wanted}
    if sides == {_OPPOSITE.get(header.side, "")}:
        yield OTHER_SIDE
    parts = {
        part for word in (header.part, *header.protocol) if word for part in tables().dicom.get(word, ())
    }
    placed = all(known(slots[1]) for slots in wanted)
    if header.part and placed and not any(relation(part, slots[1]) for part in parts for slots in wanted):
        yield OTHER_PART


def _applies(check: Check, header: Header, slots: Sequence[str]) -> bool:
    modality, part, side, method, _ = slots
    return (
        check.modality == header.kind == modality
        and check.method in ("", method)
        and (not check.part or relation(part, check.part) == "same")
        and (not check.sequence or check.sequence in header.sequences)
        and (check.attribute != "Laterality" or side != "-")
    )


def _met(check: Check, header: Header) -> bool:
    """A number that is not there deviates from nothing."""
    if check.reference == "present":
        return check.attribute not in header.missing
    number = dict(header.numbers).get(check.attribute)
    return number is None or _within(check.reference)(number)


@cache
def _within(reference: str) -> Callable[[float], bool]:
    for sign, inside in _SIGNS:
        if reference.startswith(sign):
            bound = float(reference.removeprefix(sign))
            return lambda number: inside(number, bound)
    least, _, most = reference.partition("-")
    return lambda number: float(least) <= number <= float(most or least)


_SIGNS: tuple[tuple[str, Callable[[float, float], bool]], ...] = (
    ("<=", lambda number, bound: number <= bound),
    (">=", lambda number, bound: number >= bound),
    ("<", lambda number, bound: number < bound),
    (">", lambda number, bound: number > bound),
)


def _flag(check: Check, number: float | None) -> str:
    if check.reference == "present":
        return f"header:missing:{check.attribute}"
    return f"header:range:{check.attribute}={number:g}/{check.reference}/{check.unit}"


def _read(data: bytes) -> Dataset:
    """The elements before the pixels that are there whole."""
    from pydicom.datadict import tag_for_keyword
    from pydicom.filereader import read_partial
    from pydicom.tag import BaseTag

    wanted: list[BaseTag | int] = [BaseTag(tag_for_keyword(name) or 0) for name in (*_ATTRIBUTES, *_FURTHER)]
    file, size = BytesIO(data + bytes(12)), len(data)  # the zeros end an element that was cut in its head

    def past(tag: Any, _: str | None, length: int) -> bool:
        return bool(tag >= _PIXELS or (length != 0xFFFFFFFF and file.tell() + length > size))

    return read_partial(file, stop_when=past, force=True, specific_tags=wanted)


def _header(dataset: Dataset) -> Header | None:
    said = {name: text for name in _ATTRIBUTES if (text := _text(dataset, name))}
    if not said:
        return None
    sides = {said[name] for name in _SIDES if said.get(name) in ("L", "R", "B")}
    texts = " ".join(said.get(name, "") for name in _TEXTS).upper()
    side = next(iter(sides)) if len(sides) == 1 else ""
    odd = ["Laterality"] if len(sides) > 1 else []
    if said.get("AcquisitionDate", "9") < said.get("StudyDate", ""):
        odd.append("AcquisitionDate")
    wanted = {check.attribute for check in checks() if check.reference == "present"}
    missing = {name for name in wanted if not any(said.get(one) for one in _ALIKE.get(name, (name,)))}
    numbers = {name: _number(said.get(name, "")) for name in sorted(_numeric())}
    other = _SPIN_ECHO if said.get("ScanningSequence") == "GR" else frozenset()
    return Header(
        study=said.get("StudyInstanceUID", ""),
        kind=_KINDS.get(said.get("SOPClassUID", ""), ""),
        side=side,
        part=next(_words(said.get("BodyPartExamined", "")), ""),
        protocol=tuple(sorted({*_words(f"{texts} {_region(dataset)}")})),
        sequences=tuple(
            name for name, pattern in _SEQUENCES.items() if name not in other and re.search(pattern, texts)
        ),
        numbers=tuple((name, number) for name, number in numbers.items() if number is not None),
        missing=tuple(sorted(missing if sides else missing | {"Laterality"})),
        odd=tuple(odd),
        agent=said.get("ContrastBolusAgent", "").upper() not in _NO_AGENT,
    )


def _text(dataset: Dataset, name: str) -> str:
    """The beginning of an attribute's first value as text; empty where there is none that can be read."""
    try:
        value = dataset.get(name)
        if value is not None and not isinstance(value, str | float | int) and hasattr(value, "__getitem__"):
            value = value[0] if len(value) else None
        return "" if value is None else str(value)[:_LONGEST].strip(" \0")
    except Exception:  # see header_of
        return ""


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


@cache
def _numeric() -> frozenset[str]:
    return frozenset(check.attribute for check in checks() if check.reference != "present")


def _words(text: str) -> Iterator[str]:
    """The words of PS3.16 Annex L in a text."""
    known = tables().dicom
    return (word for word in re.split(r"[^A-Z0-9]+", text.upper().replace("-", "")) if word in known)


def _region(dataset: Dataset) -> str:
    try:
        return str(dataset.AnatomicRegionSequence[0].CodeMeaning)
    except Exception:  # see header_of
        return ""
