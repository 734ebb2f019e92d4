"""What archives told, with its texts as they were meant (:mod:`gateway.imaging.texts`).

Only what looks wrong is read at all. A text that is lost, or a name that is gone, is looked up in the header
of an image of its study, for a few studies of one list and within a second: a list with question marks is
better than none.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from adapters import NodeError
from adapters.dicomweb_studies import beginning, with_elements
from adapters.node import Listed
from gateway.errors import NodeUnheard
from gateway.imaging import texts
from gateway.imaging.keywords import REQUIRED
from gateway.imaging.merging import STUDY_UID, Told, decoded, text_of
from gateway.imaging.studies import Studies
from gateway.imaging.values import Source, Viewed

HEADERS, HEADER_BYTES, SECONDS = 16, 256 * 1024, 1.0
"""How many headers are read for one list, how much of a file, and for how long."""

_NAME = "00100010"
_ADDRESS = re.compile(rb'"BulkDataURI"|"vr"\s*:\s*"UR"')
_USUAL = {tag for of in REQUIRED.values() for tag, one in of.items() if one.vr != "SQ"} | {"00081030"}
"""Attributes of every list, which are texts and numbers: no archive puts an address into them, but for
RetrieveURL, which is another one here."""
Lost = tuple[int, int, texts.Dataset]
"""Where an object with a lost text stands, and the object."""


async def as_meant(studies: Studies, viewed: Viewed, told: Sequence[Told]) -> list[Told]:
    """What archives told, with every text right that can be proven or read anew, and without their addresses,
    which the values of a list do not need."""
    lists = [list(one.listed) for one in told]
    lost: list[Lost] = []
    for index, listed in enumerate(lists):
        if unusual := set[str]().union(*[one.members for one in listed]) - _USUAL:
            listed[:] = [_without_addresses(one, unusual) for one in listed]
        if not doubtful(listed):
            continue
        for place, one in enumerate(listed):
            if doubtful([one]):
                before = decoded(one.raw)
                after, lacking = texts.mended(before)
                listed[place] = _with(one, before, after)
                lost += [(index, place, after)] if lacking or _nameless([one]) else []
    tasks = [
        asyncio.create_task(_read_anew(studies, viewed, told[index], dataset))
        for index, _, dataset in lost[:HEADERS]
    ]
    if tasks:
        try:
            read, _ = await asyncio.wait(tasks, timeout=SECONDS)
        finally:
            for task in tasks:
                task.cancel()
        for (index, place, dataset), task in zip(lost, tasks, strict=False):
            if task in read:
                lists[index][place] = _with(lists[index][place], dataset, task.result())
    return [replace(one, listed=listed) for one, listed in zip(told, lists, strict=True)]


async def _read_anew(studies: Studies, viewed: Viewed, told: Told, dataset: texts.Dataset) -> texts.Dataset:
    study = text_of(Raw(msgspec.json.encode(dataset.get(STUDY_UID))))
    try:
        archive = await studies.archive(viewed, Source(told.way, told.number))
        return texts.from_header(dataset, await beginning(archive, study, HEADER_BYTES))
    except (NodeError, NodeUnheard):
        return dataset


def doubtful(listed: Sequence[Listed]) -> bool:
    """Whether there may be a text among these that is not as it was meant, or a patient without a name."""
    return texts.suspicious(msgspec.json.encode([one.members for one in listed])) or _nameless(listed)


def _nameless(listed: Sequence[Listed]) -> bool:
    """Whether a name begins with what parts names, or has no value."""
    names = {bytes(one.members[_NAME]) for one in listed if _NAME in one.members}
    return any(b'"^' in name or b'"Value"' not in name for name in names)


def _without_addresses(listed: Listed, unusual: Iterable[str]) -> Listed:
    told = [tag for tag in unusual if tag in listed.members and _ADDRESS.search(bytes(listed.members[tag]))]
    if not told:
        return listed
    return replace(listed, members={tag: raw for tag, raw in listed.members.items() if tag not in told})


def _with(listed: Listed, before: texts.Dataset, after: texts.Dataset) -> Listed:
    """An object with the elements that were changed; the others stay the archive's own bytes."""
    changed = {tag: value for tag, value in after.items() if value != before.get(tag)}
    return with_elements(listed, {tag: Raw(msgspec.json.encode(value)) for tag, value in changed.items()})
