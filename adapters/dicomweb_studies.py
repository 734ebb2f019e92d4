"""What an archive lists of a person: studies, series and instances as QIDO-RS tells them (PS3.18 §10.6).

An archive is asked by each Patient ID that the person has there, and is believed only where it says that ID
back: a list with another patient's study makes the node faulty, as a whole. Series and instances need not
state it; they count where they are of one of the person's studies. The objects stay the archive's own bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Literal

import msgspec
from msgspec import Raw, Struct, field
from msgspec.structs import replace

from adapters._asking import Heard, all_of, answer_of, left_out
from adapters.dicomweb import MEDIA, DicomwebNode
from adapters.errors import NodeError, NodeFaulty, NodeMissing, NodeRefused
from adapters.http import Line
from adapters.node import Answer, Listed, Node, Question
from quality.record import DICOM_UID

Level = Literal["studies", "series", "instances"]
Pairs = Sequence[tuple[str, str]]

_PATIENT_ID, _STUDY_UID, _SERIES_UID = "00100020", "0020000D", "0020000E"
_MODALITIES = "00080061"
_FILES = 'multipart/related; type="application/dicom"'
_COUNTED = 16
"""Of how many studies of one list images are counted."""
_EACH = 50
"""How many studies are asked for one by one."""
_MANY = "10000"  # archives bound an answer that names no limit


class _Texts(Struct, frozen=True, gc=False):
    values: tuple[str | int | float | None, ...] = field(default=(), name="Value")

    @property
    def text(self) -> str:
        value = self.values[0] if self.values else None
        return "" if value is None else str(value).strip(" \0")


_NONE, _ABSENT = _Texts(), Raw()


class _Named(Struct, frozen=True, gc=False, kw_only=True):
    """By what an object of each level is known, and how many instances it has (PS3.18 §F.2)."""

    number: _Texts = field(default=_NONE, name=_PATIENT_ID)
    study: _Texts = field(default=_NONE, name=_STUDY_UID)
    series: _Texts = field(default=_NONE, name=_SERIES_UID)
    instance: _Texts = field(default=_NONE, name="00080018")
    in_study: _Texts = field(default=_NONE, name="00201208")
    in_series: _Texts = field(default=_NONE, name="00201209")
    date: _Texts = field(default=_NONE, name="00080020")
    time: _Texts = field(default=_NONE, name="00080030")
    issuer: Raw = field(default=_ABSENT, name="00100021")
    others: Raw = field(default=_ABSENT, name="00101002")
    private: Raw = field(default=_ABSENT, name="00770010")

    def uid(self, level: Level) -> str:
        own = self.study if level == "studies" else self.series if level == "series" else self.instance
        return own.text if DICOM_UID.fullmatch(own.text) else ""

    def held(self, level: Level) -> int:
        if level == "instances":
            return -1
        stated = (self.in_study if level == "studies" else self.in_series).text
        return int(stated) if stated.isascii() and stated.isdigit() and len(stated) < 10 else -1

    def order(self, uid: str) -> str:
        at = self.date.text + self.time.text
        return f"{at if at.isdigit() else ''.join(filter(str.isdigit, at))} {uid}"


class _Object(Struct, frozen=True, gc=False):
    """An object of an answer: its bytes, its elements, and by what it is known."""

    raw: Raw
    members: dict[str, Raw]
    named: _Named

    def listed(self, level: Level, uid: str, number: str, node: str) -> Listed:
        named = self.named
        plain = named.issuer is _ABSENT and named.others is _ABSENT and named.private is _ABSENT
        return Listed(uid, self.raw, self.members, number, named.held(level), node, named.order(uid), plain)


_TEXTS = msgspec.json.Decoder(_Texts)
_RAWS = msgspec.json.Decoder(tuple[Raw, ...])
_MEMBERS = msgspec.json.Decoder(tuple[dict[str, Raw], ...])
_NAMED = msgspec.json.Decoder(tuple[_Named, ...])


class Reach(Struct, frozen=True):
    """How an archive is reached: a line, where its DICOMweb service begins below the line's base (empty or
    ending in a slash), and the headers of each call. Nothing of it is for a caller to see."""

    line: Line
    root: str = ""
    headers: Mapping[str, str] = {}


class Archive(Struct, frozen=True):
    """An archive, the person's Patient ID there and, behind another gateway, the way from there to it."""

    reach: Reach
    number: str
    node: str = ""


class _Told(Struct, frozen=True):
    """What was found, the places of what could not be read, and the bytes of the answer."""

    found: list[Listed]
    odd: list[str]
    body: bytes


async def listed(
    node: DicomwebNode, question: Question, level: Level = "studies", params: Pairs = ()
) -> Answer:
    """What an archive has of the person at a level, under every Patient ID that he has there.

    ``params`` (conditions, ``includefield``) go along with the query. Never raises for the archive's
    failures; see :class:`adapters.node.Node`.
    """

    async def ask() -> Heard:
        numbers = await node.numbers(question)
        told = await all_of(_of_number(node, one, level, params) for one in numbers)
        if level == "studies":
            told = [replace(one, found=await _counted(node, one.found)) for one in told]
        return _heard(told, level)

    return await answer_of(node, question, question.budget, ask())


async def below(
    node: Node,
    question: Question,
    level: Level,
    params: Pairs,
    archives: Iterable[Archive],
    *,
    study: str,
    series: str = "",
) -> Answer:
    """Series or instances of a ``study`` that is the person's, or of a ``series`` of it, at archives that are
    reached through a node. Never raises for the node's failures."""

    async def ask() -> Heard:
        told = await all_of(_of_study(one, level, params, study, series) for one in archives)
        return _heard(told, level)

    return await answer_of(node, question, question.budget, ask())


async def behind(
    node: Node, question: Question, level: Level, params: Pairs, archives: Iterable[tuple[Archive, Set[str]]]
) -> Answer:
    """The person's series or instances at archives behind another gateway, each with the studies that are his
    there. Never raises for the node's failures."""

    async def ask() -> Heard:
        further = (*params, ("includefield", _STUDY_UID))
        told = await all_of(_search(one, level, level, further, studies) for one, studies in archives)
        return _heard(told, level)

    return await answer_of(node, question, question.budget, ask())


async def beginning(archive: Archive, study: str, most: int) -> bytes:
    """The first bytes of an image of a study (a DICOM file), and no more than ``most``: what its header says.

    Raises:
        NodeError: none came.
    """
    reach = archive.reach
    path, params = f"{reach.root}studies/{study}/instances", (("limit", "1"), ("includefield", _SERIES_UID))
    told = await reach.line.get_json(path, params, accept=MEDIA, credentials=reach.headers)
    one = next(iter(_objects(told)), None)
    if one is None or not (one.named.uid("series") and one.named.uid("instances")):
        raise NodeFaulty("listed no instance of a study that it has")
    series, instance = one.named.uid("series"), one.named.uid("instances")
    path = f"{reach.root}studies/{study}/series/{series}/instances/{instance}"
    body = bytearray()
    async with reach.line.stream(path, accept=_FILES, headers=reach.headers) as incoming:
        if incoming.status != 200:
            raise NodeRefused(f"refused with status {incoming.status}")
        async for piece in incoming:
            body += piece
            if len(body) >= most:
                break
    mark = body.find(b"DICM", 128)  # PS3.10 section 7.1, behind the headers of a part
    if mark < 0:
        raise NodeFaulty("answered with something that is no DICOM file")
    return bytes(body[mark - 128 : most])


def listed_of(
    raws: Iterable[Raw], level: Level, number: str, node: str = ""
) -> tuple[list[Listed], list[str]]:
    """Objects of a patient with this number, and the places of those that cannot be read.

    Raises:
        NodeFaulty: one is another patient's, or says no Patient ID.
    """
    return _listed(_objects(b"[%b]" % b",".join(raws)), level, number, node)


def _listed(
    objects: Iterable[_Object | None], level: Level, number: str, node: str = ""
) -> tuple[list[Listed], list[str]]:
    found, odd = list[Listed](), list[str]()
    for index, one in enumerate(objects):
        if one and one.named.number.text != number:
            raise NodeFaulty(f"answered with another person's resource: {level} of another Patient ID")
        if one and (uid := one.named.uid(level)):
            found.append(one.listed(level, uid, number, node))
        else:
            odd.append(f"{level}[{index}]")
    return found, odd


def listed_in(body: bytes, level: Level, number: str) -> tuple[list[Listed], list[str]]:
    """The same of an answer of QIDO-RS, which is empty where nothing is found.

    Raises:
        NodeFaulty: as :func:`listed_of`; or it is no such answer.
    """
    return _listed(_objects(body), level, number)


def _objects(body: bytes) -> Sequence[_Object | None]:
    """The objects of an answer, None for each that cannot be read. Raises NodeFaulty."""
    if not body:
        return ()
    try:
        return list(map(_Object, _RAWS.decode(body), _MEMBERS.decode(body), _NAMED.decode(body)))
    except msgspec.MsgspecError:
        pass
    try:
        raws = _RAWS.decode(body)
    except msgspec.MsgspecError:
        raise NodeFaulty("answered a query with something that is no DICOM JSON list") from None
    if len(raws) == 1:
        return (None,)
    return [one for raw in raws for one in _objects(b"[%b]" % raw)]


async def _of_number(node: DicomwebNode, number: str, level: Level, params: Pairs) -> _Told:
    asked = [("PatientID", number), ("limit", _MANY)]
    if level == "studies":
        body = await node.line.get_json(level, [*asked, *params], accept=MEDIA)
        found, odd = listed_in(body, level, number)
        return _Told(found, odd, body)
    fields = [pair for pair in params if pair[0] == "includefield"]
    studies = await _of_number(node, number, "studies", fields)
    if ("includefield", _MODALITIES) in fields:
        studies = replace(studies, found=await _counted(node, studies.found))
    uids = {study.uid for study in studies.found}
    if not uids:
        return studies
    one, further = Archive(Reach(node.line), number), [*params, ("includefield", _PATIENT_ID)]
    told = [await _search(one, level, level, [asked[0], *further, ("includefield", _STUDY_UID)], uids)]
    if not told[0].found and len(uids) <= _EACH:  # some archives know no search over studies
        told = await all_of(_of_study(one, level, further, uid) for uid in uids)
    found = [listed for each in told for listed in each.found]
    return _joined([studies, *told], _with_study(found, studies.found, {tag for _, tag in fields}))


def _with_study(found: Sequence[Listed], studies: Sequence[Listed], tags: Set[str]) -> list[Listed]:
    """Series or instances with what is asked of their studies and few archives repeat (PS3.18 table 10.6.1-5
    has them searched by it)."""
    above = {one.uid: {tag: one.members[tag] for tag in tags & one.members.keys()} for one in studies}
    if not any(above.values()):
        return [*found]
    whole = []
    for one in found:
        held = above.get(_TEXTS.decode(one.members[_STUDY_UID]).text, {})
        whole.append(with_elements(one, {tag: raw for tag, raw in held.items() if tag not in one.members}))
    return whole


async def _of_study(one: Archive, level: Level, params: Pairs, study: str, series: str = "") -> _Told:
    """Series or instances of a study, or of a series of it."""
    path = f"studies/{study}/series/{series}/{level}" if series else f"studies/{study}/{level}"
    told = await _search(one, path, level, params, {study}, study, series)
    if told.found or level == "series" or series:
        return told
    each = await _of_study(one, "series", (), study)  # some archives know instances of a series alone
    calls = (_of_study(one, level, params, study, listed.uid) for listed in each.found[:_EACH])
    all_told = [told, each, *await all_of(calls)]
    return _joined(all_told, [listed for one_told in all_told[2:] for listed in one_told.found])


async def _search(
    one: Archive, path: str, level: Level, params: Pairs, studies: Set[str], study: str = "", series: str = ""
) -> _Told:
    """Series or instances, each of one of these studies: nothing where the archive has nothing there. One
    that does not say where it belongs is of the ``study`` and ``series`` of its address."""
    reach = one.reach
    told = [*params, ("limit", _MANY)]
    try:
        body = await reach.line.get_json(f"{reach.root}{path}", told, accept=MEDIA, credentials=reach.headers)
    except NodeMissing:
        return _Told([], [], b"")
    found, odd = list[Listed](), list[str]()
    for index, found_one in enumerate(_objects(body)):
        if found_one is None or not (uid := found_one.named.uid(level)):
            odd.append(f"{level}[{index}]")
            continue
        named = found_one.named
        other = named.number.text not in ("", one.number) and not one.node
        if other or (named.study.text or study) not in studies:
            raise NodeFaulty(f"answered with another person's resource: {level} of a study that is not his")
        if series and named.series.text not in ("", series):
            raise NodeFaulty(f"answered with {level} of another series")
        listed = found_one.listed(level, uid, one.number, one.node)
        places = ((_STUDY_UID, study, named.study), (_SERIES_UID, series, named.series))
        silent = {tag: element("UI", held) for tag, held, said in places if held and not said.text}
        found.append(with_elements(listed, silent))
    return _Told(found, odd, body)


def _joined(told: Sequence[_Told], found: list[Listed]) -> _Told:
    return _Told(found, [place for one in told for place in one.odd], b"".join(one.body for one in told))


def element(vr: str, *values: str | int) -> Raw:
    """An element of DICOM JSON (PS3.18 section F.2.2)."""
    return Raw(msgspec.json.encode({"vr": vr, **({"Value": values} if values else {})}))


def with_elements(listed: Listed, elements: Mapping[str, Raw]) -> Listed:
    """An object with further elements, or others."""
    if not elements:
        return listed
    members = {**listed.members, **elements}
    return replace(listed, raw=Raw(msgspec.json.encode(members, order="sorted")), members=members)


async def _counted(node: DicomwebNode, found: Sequence[Listed]) -> list[Listed]:
    """Studies with their modalities and numbers, counted by series where their archive does not know them
    (PS3.18 table 10.6.3-3 has them for every study)."""
    unknown = [one for one in found if one.instances < 0 or not _says(one, _MODALITIES)][:_COUNTED]
    counts = await all_of(_count(node, one) for one in unknown)
    counted = {one.uid: count for one, count in zip(unknown, counts, strict=True)}
    return [counted.get(one.uid, one) for one in found] if counted else [*found]


def _says(listed: Listed, tag: str) -> bool:
    return b'"Value"' in bytes(listed.members.get(tag, b""))


async def _count(node: DicomwebNode, one: Listed) -> Listed:
    try:
        modalities, held = await node.by_series(one.uid)
    except NodeError:
        return one
    counted = with_elements(
        one,
        {
            _MODALITIES: element("CS", *dict.fromkeys(filter(None, modalities))),
            "00201206": element("IS", len(modalities)),
            "00201208": element("IS", held),
        },
    )
    return replace(counted, instances=held)


def _heard(told: Sequence[_Told], level: Level) -> Heard:
    details = left_out(level, [place for one in told for place in one.odd], ())
    return Heard(
        listed=tuple(listed for one in told for listed in one.found),
        digest=hashlib.sha256(b"".join(hashlib.sha256(one.body).digest() for one in told)).digest(),
        fault="node" if details else "",
        detail="; ".join(details),
    )
