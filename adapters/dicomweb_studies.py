"""What an archive lists of a person: studies, series and instances as QIDO-RS tells them (PS3.18 §10.6).

An archive is asked by each Patient ID that the person has there, and is believed only where it says that ID
back: a list with another patient's study makes the node faulty, as a whole. Series and instances need not
state it; they count where they are of one of the person's studies. The objects stay the archive's own bytes.
"""

from __future__ import annotations

import asyncio
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
Members = dict[str, Raw]
Pairs = Sequence[tuple[str, str]]

_PATIENT_ID, _STUDY_UID, _SERIES_UID = "00100020", "0020000D", "0020000E"
_INSTANCE_UID = "00080018"
_MODALITIES = "00080061"
_OF_STUDIES = frozenset((_MODALITIES, "00080020", "00080030", "00080050", "00080090", "00081030"))
_OF_STUDIES |= {"00100010", "00100030", "00100040", "00200010", "00201206", "00201208"}
"""What of a study and its patient is searched by among series and instances, too (PS3.18 table 10.6.1-5), and
what is counted or shown of them: few archives repeat all of it there."""
_FILES = 'multipart/related; type="application/dicom"'
_COUNTED, _COUNTING_S = 64, 1.0
"""Of how many studies of one list images are counted, and for how long: a list is better than its counts."""
_EACH = 50
"""How many studies are asked for one by one."""
_MANY = "10000"  # archives bound an answer that names no limit


class _Values(Struct, frozen=True, gc=False):
    values: tuple[str | int | float | None, ...] = field(default=(), name="Value")


_RAWS = msgspec.json.Decoder(tuple[Raw, ...])
_OBJECTS = msgspec.json.Decoder(list[Members])
_VALUES = msgspec.json.Decoder(_Values)
_DATE, _TIME = "00080020", "00080030"
_UIDS: Mapping[Level, str] = {"studies": _STUDY_UID, "series": _SERIES_UID, "instances": _INSTANCE_UID}
_COUNTS: Mapping[Level, str] = {"studies": "00201208", "series": "00201209"}


class _Texts(dict[bytes, str]):
    """The first value of each element of an answer as text, empty where there is none; elements that are
    alike, as most dates and counts are, are read once. Raises MsgspecError for what is no element."""

    def __init__(self) -> None:
        self[b""] = ""

    def __missing__(self, element: bytes) -> str:
        text = self[element] = _text(element)
        return text

    def of(self, members: Members, tag: str) -> str:
        """The text of an element of an object."""
        return self[bytes(members.get(tag, b""))]

    def listed(self, members: Members, level: Level, number: str, node: str) -> Listed | None:
        """An object of a patient; None where it has no UID."""
        uid = _text(members.get(_UIDS[level], b"{}"))
        if not DICOM_UID.fullmatch(uid):
            return None
        if level == "instances":
            return Listed(uid, members, number, -1, node)
        get = members.get
        count = self[bytes(get(_COUNTS[level], b""))]
        held = int(count) if count.isascii() and count.isdigit() and len(count) < 10 else -1
        at = self[bytes(get(_DATE, b""))] + self[bytes(get(_TIME, b""))]
        at = at if at.isdigit() else "".join(filter(str.isdigit, at))
        return Listed(uid, members, number, held, node, f"{at} {uid}")


def _text(element: bytes | Raw) -> str:
    values = _VALUES.decode(element).values
    return "" if not values or values[0] is None else str(values[0]).strip(" \0")


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


async def undivided(node: DicomwebNode, question: Question, study: str, number: str) -> bool:
    """Whether all that an archive has under a study's UID is the person's, who has this Patient ID there. An
    archive that has the study of two patients gives out images by its UID without telling them apart.

    Raises:
        NodeError: it could not be asked.
    """
    body = await node.line.get_json(
        "studies", (("StudyInstanceUID", study), ("includefield", _PATIENT_ID)), accept=MEDIA
    )
    texts = _Texts()
    try:
        there = [one for one in _objects(body) if texts.of(one, _STUDY_UID) == study]
        found = {texts.of(one, _PATIENT_ID) for one in there}
    except msgspec.MsgspecError:
        raise NodeFaulty("answered with a study that cannot be read") from None
    return found <= {number} or found <= {*await node.numbers(question)}


async def beginning(archive: Archive, study: str, most: int) -> bytes:
    """The first bytes of an image of a study (a DICOM file), and no more than ``most``: what its header says.

    Raises:
        NodeError: none came.
    """
    reach = archive.reach
    path, params = f"{reach.root}studies/{study}/instances", (("limit", "1"), ("includefield", _SERIES_UID))
    told = await reach.line.get_json(path, params, accept=MEDIA, credentials=reach.headers)
    one, texts = next(iter(_objects(told)), {}), _Texts()
    try:
        series, instance = texts.of(one, _SERIES_UID), texts.of(one, _INSTANCE_UID)
    except msgspec.MsgspecError:
        series = instance = ""
    if not (DICOM_UID.fullmatch(series) and DICOM_UID.fullmatch(instance)):
        raise NodeFaulty("listed no instance of a study that it has")
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
    objects: Iterable[Members], level: Level, number: str, node: str = ""
) -> tuple[list[Listed], list[str]]:
    found, odd, texts = list[Listed](), list[str](), _Texts()
    for index, members in enumerate(objects):
        try:
            if members and texts.of(members, _PATIENT_ID) != number:
                raise NodeFaulty(f"answered with another person's resource: {level} of another Patient ID")
            listed = texts.listed(members, level, number, node)
        except msgspec.MsgspecError:
            listed = None
        if listed:
            found.append(listed)
        else:
            odd.append(f"{level}[{index}]")
    return found, odd


def listed_in(body: bytes, level: Level, number: str) -> tuple[list[Listed], list[str]]:
    """The same of an answer of QIDO-RS, which is empty where nothing is found.

    Raises:
        NodeFaulty: as :func:`listed_of`; or it is no such answer.
    """
    return _listed(_objects(body), level, number)


def _objects(body: bytes) -> list[Members]:
    """The objects of an answer, an empty one for each that cannot be read. Raises NodeFaulty."""
    if not body:
        return []
    try:
        return _OBJECTS.decode(body)
    except msgspec.MsgspecError:
        pass
    try:
        return [_members(raw) for raw in _RAWS.decode(body)]
    except msgspec.MsgspecError:
        raise NodeFaulty("answered a query with something that is no DICOM JSON list") from None


def _members(raw: Raw) -> Members:
    try:
        return msgspec.json.decode(raw, type=Members)
    except msgspec.MsgspecError:
        return {}


async def _of_number(node: DicomwebNode, number: str, level: Level, params: Pairs) -> _Told:
    asked = [("PatientID", number), ("limit", _MANY)]
    if level == "studies":
        body = await node.line.get_json(level, [*asked, *params], accept=MEDIA)
        found, odd = listed_in(body, level, number)
        return _Told(found, odd, body)
    fields = [pair for pair in params if pair[1] in _OF_STUDIES]
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
    """Series or instances with what their studies say and they do not."""
    above = {one.uid: {tag: one.members[tag] for tag in tags & one.members.keys()} for one in studies}
    if not any(above.values()):
        return [*found]
    whole = []
    for one in found:
        held = above.get(msgspec.json.decode(one.members[_STUDY_UID])["Value"][0].strip(" \0"), {})
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
    found, odd, texts = list[Listed](), list[str](), _Texts()
    for index, members in enumerate(_objects(body)):
        try:
            number, of, within = (texts.of(members, tag) for tag in (_PATIENT_ID, _STUDY_UID, _SERIES_UID))
            listed = texts.listed(members, level, one.number, one.node)
        except msgspec.MsgspecError:
            listed = None
        if listed is None:
            odd.append(f"{level}[{index}]")
            continue
        other = number not in ("", one.number) and not one.node
        if other or (of or study) not in studies:
            raise NodeFaulty(f"answered with another person's resource: {level} of a study that is not his")
        if series and within not in ("", series):
            raise NodeFaulty(f"answered with {level} of another series")
        places = ((_STUDY_UID, study, of), (_SERIES_UID, series, within))
        silent = {tag: element("UI", held) for tag, held, said in places if held and not said}
        found.append(with_elements(listed, silent))
    return _Told(found, odd, body)


def _joined(told: Sequence[_Told], found: list[Listed]) -> _Told:
    return _Told(found, [place for one in told for place in one.odd], b"".join(one.body for one in told))


def element(vr: str, *values: str | int) -> Raw:
    """An element of DICOM JSON (PS3.18 section F.2.2)."""
    return Raw(msgspec.json.encode({"vr": vr, **({"Value": values} if values else {})}))


def with_elements(listed: Listed, elements: Mapping[str, Raw]) -> Listed:
    """An object with further elements, or others."""
    return replace(listed, members={**listed.members, **elements}) if elements else listed


async def _counted(node: DicomwebNode, found: Sequence[Listed]) -> list[Listed]:
    """Studies with their modalities and numbers, counted by series where their archive does not know them
    (PS3.18 table 10.6.3-3 has them for every study), of the newest."""
    unknown = [one for one in found if one.instances < 0 or not _says(one, _MODALITIES)]
    if not unknown:
        return [*found]
    newest = sorted(unknown, key=lambda one: one.order, reverse=True)[:_COUNTED]
    tasks = [asyncio.create_task(_count(node, one)) for one in newest]
    try:
        done, _ = await asyncio.wait(tasks, timeout=_COUNTING_S)
    finally:
        for task in tasks:
            task.cancel()
    counted = {one.uid: one for one in (task.result() for task in done)}
    return [counted.get(one.uid, one) for one in found]


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
