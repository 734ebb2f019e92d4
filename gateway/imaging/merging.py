"""One list out of what several archives hold, and what this gateway says of each object (PS3.18 §F.2).

The elements that are not touched stay the archive's own bytes. What changes: the patient's id, which is the
viewing's alias with this gateway as issuer, while the archive's own id goes into Other Patient IDs Sequence;
RetrieveURL, which points here; and, of a study, the verdict and where it is from in private attributes
(:data:`CREATOR`, docs/imaging.md). Attributes ascend by tag (§F.2.2). A study that several archives hold
stands once, as its best source tells it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from adapters.dicomweb_studies import element
from adapters.node import Listed
from gateway.imaging.values import Level, Prior, Source, Viewing
from recognition import SHANGHAI

Members = dict[str, Raw]
"""The elements of an object by their tags."""

CREATOR = "LIANREN 1"
PATIENT_ID, ISSUER, OTHER_IDS, RETRIEVE_URL = "00100020", "00100021", "00101002", "00081190"
STUDY_UID, SERIES_UID, INSTANCE_UID = "0020000D", "0020000E", "00080018"
_PRIVATE, _GROUP = "00770010", "0077"
_TAG = re.compile(r"[0-9A-F]{8}")
_ENCODER = msgspec.json.Encoder(order="sorted")


class Told(Struct, frozen=True):
    """What one archive told: the way to it, its institution (empty behind another gateway), and objects of
    the person under one Patient ID."""

    way: str
    institution: str
    number: str
    listed: Sequence[Listed]


class Frame(Struct, frozen=True, kw_only=True):
    """What is said of all objects of a viewing.

    ``base`` is this gateway's DICOMweb service (or that of one archive here), ``fhir`` its FHIR service,
    ``issuer`` its owner id, and ``sources`` where each study is, the best source first.
    """

    base: str
    fhir: str
    issuer: str
    viewing: Viewing
    sources: Mapping[str, tuple[Source, ...]]


def studies(told: Sequence[Told], frame: Frame) -> list[Members]:
    """Studies: those of the viewing's priors in their order, then the newest first."""
    said = _Said(frame)
    retrieve, apart = said.retrieve, said.apart
    rows: dict[str, Members] = {}
    orders: dict[str, str] = {}
    for one in told:
        patient, plain, odd = said.patient(one), said.plain((one.way,)), _odd(one)
        for listed in one.listed:
            uid = listed.uid
            if uid in apart:
                if uid in rows and frame.sources[uid][0].node != one.way:  # told better before
                    continue
                block = Raw(said.block(uid, one.way))
            else:
                block = Raw(f'{plain}{uid}"]}}')
            row = rows[uid] = listed.members | patient
            if odd:
                _clear(row, listed.members, odd)
            row[RETRIEVE_URL] = Raw(f'{retrieve}{uid}"]}}')
            row[_PRIVATE] = block
            orders[uid] = listed.order
    ranked = [uid for uid in said.priors if orders.pop(uid, "")]
    return [rows[uid] for uid in (*ranked, *sorted(orders, key=orders.__getitem__, reverse=True))]


def below(told: Iterable[Told], frame: Frame, level: Level) -> list[Members]:
    """Series or instances, each once, in the order in which they were told; a study's best source is to be
    told first."""
    said = _Said(frame)
    rows: dict[str, Members] = {}
    for one in told:
        patient, odd = said.patient(one), _odd(one)
        for listed in one.listed:
            if listed.uid in rows:
                continue
            members = listed.members
            path = "/series/".join(text_of(members.get(tag)) for tag in (STUDY_UID, SERIES_UID))
            if level == "instances":
                path += f"/instances/{listed.uid}"
            row = rows[listed.uid] = members | patient if PATIENT_ID in members else {**members}
            if odd:
                _clear(row, members, odd)
            row[RETRIEVE_URL] = Raw(f'{said.retrieve}{path}"]}}')
    return list(rows.values())


def patient(viewing: Viewing, issuer: str, institution: str, number: str) -> Members:
    """The elements of a patient whom an archive of this institution (empty: not told) knows by a number of
    its own; with his Patient ID stands the issuer of that, as it is sorted."""
    item = {PATIENT_ID: element("LO", number)}
    if institution:
        item[ISSUER] = element("LO", institution)
    alias, whose = element("LO", viewing.patient_id), element("LO", issuer)
    return {
        PATIENT_ID: Raw(b'%b,"%b":%b' % (alias, ISSUER.encode(), whose)),
        OTHER_IDS: Raw(b'{"vr":"SQ","Value":[%b]}' % _ENCODER.encode(item)),
    }


def metadata(told: Members, patient: Members) -> bytes:
    """The metadata of an instance with these elements of its patient. Nothing in it passes for what this
    gateway says of a study."""
    row = told | patient
    row.pop(ISSUER, None)
    if OTHER_IDS in told:
        row[OTHER_IDS] = _both(told[OTHER_IDS], patient[OTHER_IDS])
    if any(tag.startswith(f"{_GROUP}00") and text_of(raw) == CREATOR for tag, raw in told.items()):
        row = {tag: raw for tag, raw in row.items() if not tag.startswith(_GROUP)}
    return _ENCODER.encode(row)


def encoded(rows: Sequence[Members | Raw]) -> bytes:
    """A list of objects as ``application/dicom+json``."""
    return _ENCODER.encode(rows)


def decoded(body: bytes | Raw) -> Any:
    """What an archive told. JSON knows numbers of any size, its readers do not: those stay texts."""
    try:
        return msgspec.json.decode(body)
    except msgspec.ValidationError:
        return json.loads(bytes(body), parse_int=str, parse_float=str)


def text_of(element: Raw | None) -> str:
    """The first value of an element as text; empty where there is none."""
    try:
        values = msgspec.json.decode(element, type=_Values).values if element is not None else ()
    except msgspec.MsgspecError:
        return ""
    return str(values[0]).strip(" \0") if values and values[0] is not None else ""


class _Values(Struct, frozen=True, gc=False):
    values: tuple[str | int | float | None, ...] = msgspec.field(default=(), name="Value")


class _Said:
    """What is said here of the objects of one viewing, as it is written."""

    def __init__(self, frame: Frame) -> None:
        viewing = frame.viewing
        self._frame = frame
        self._plain: dict[tuple[str, ...], str] = {}
        self.retrieve = f'{{"vr":"UR","Value":["{frame.base}/studies/'
        self.priors: Mapping[str, Prior] = {prior.study_uid: prior for prior in viewing.priors}
        self.apart = {uid for uid, held in frame.sources.items() if len(held) > 1} | self.priors.keys()
        self._catalogue = {"05": ("LO", viewing.catalogue.version)} if viewing.catalogue else {}

    def patient(self, one: Told) -> Members:
        """The elements of the patient of what an archive told."""
        return patient(self._frame.viewing, self._frame.issuer, one.institution, one.number)

    def plain(self, ways: tuple[str, ...]) -> str:
        """The private attributes of a study that these archives hold and nothing was decided of, up to its
        UID, which ends the last of them."""
        if ways not in self._plain:
            self._plain[ways] = self._block("", ways).decode()[: -len('"]}')]
        return self._plain[ways]

    def block(self, uid: str, way: str) -> str | bytes:
        """The private attributes of a study that several archives hold, or that was judged."""
        ways = tuple([source.node for source in self._frame.sources.get(uid, ())]) or (way,)
        return self._block(uid, ways) if uid in self.priors else f'{self.plain(ways)}{uid}"]}}'

    def _block(self, uid: str, ways: Sequence[str]) -> bytes:
        """The private attributes of a study, from the first tag to the last: one element, as it is sorted."""
        prior = self.priors.get(uid)
        verdict = prior.verdict if prior else None
        told: dict[str, tuple[str, *tuple[str | int, ...]]] = {"01": ("CS", "NOT_JUDGED"), **self._catalogue}
        if verdict:
            told["01"] = "CS", verdict.verdict.upper()
            reasons = verdict.reasons
            told["02"] = "LO", *dict.fromkeys(reason.rule for reason in reasons)
            told["03"] = "UT", "；".join(reason.zh for reason in reasons)
            told["04"] = "UT", "; ".join(reason.en for reason in reasons)
            if verdict.mark:
                told["06"], told["07"] = ("LO", verdict.mark.printed), ("LO", verdict.mark.id)
            if verdict.expires:
                told["08"] = "DT", f"{verdict.expires.astimezone(SHANGHAI):%Y%m%d%H%M%S%z}"
            catalogue = self._frame.viewing.catalogue
            if catalogue and catalogue.illustrative:
                told["0E"] = "UT", f"{catalogue.notice_zh} {catalogue.notice_en}"
        if prior:
            told |= {"09": ("IS", prior.rank), "0A": ("UT", prior.zh), "0B": ("UT", prior.en)}
        told["0C"] = "LO", *ways
        told["0D"] = "UR", f"{self._frame.fhir}/nodes/{ways[0]}/ImagingStudy/{uid}"
        elements: list[bytes | Raw] = [element("LO", CREATOR)]
        for number, (vr, *values) in sorted(told.items()):
            if any(values):
                elements.append(b'"007710%b":%b' % (number.encode(), element(vr, *values)))
        return b",".join(elements)


class _Items(Struct, frozen=True):
    items: tuple[Members, ...] = msgspec.field(default=(), name="Value")


_ITEMS = msgspec.json.Decoder(_Items)


def _odd(told: Told) -> list[str]:
    """The tags of an answer that stand in the way of what is said here, and names that are no tags."""
    tags = set[str]().union(*[listed.members for listed in told.listed])
    return [tag for tag in tags if tag in (ISSUER, OTHER_IDS) or tag[:4] == _GROUP or not _TAG.fullmatch(tag)]


def _clear(row: Members, told: Mapping[str, Raw], odd: Iterable[str]) -> None:
    """Lay what an archive itself told onto what is said here: its other ids stay; its issuer, what it keeps
    in the group of this gateway's private attributes, and what is no tag do not."""
    for tag in odd:
        if tag != OTHER_IDS:
            row.pop(tag, None)
        elif tag in told and PATIENT_ID in told:
            row[tag] = _both(told[tag], row[tag])


def _both(others: Raw, ours: Raw) -> Raw:
    """The ids that an archive knows besides its own, and that. Another gateway has told it with its issuer
    already."""
    try:
        items, [own] = _ITEMS.decode(others).items, _ITEMS.decode(ours).items
    except msgspec.MsgspecError:
        return ours
    if ISSUER in own or text_of(own[PATIENT_ID]) not in [text_of(one.get(PATIENT_ID)) for one in items]:
        items = (*items, own)
    return Raw(b'{"vr":"SQ","Value":[%b]}' % b",".join(map(_ENCODER.encode, items)))
