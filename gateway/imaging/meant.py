"""What archives told, with its texts as they were meant (:mod:`gateway.imaging.texts`).

Only what looks wrong is read at all. A text that is lost is looked up in the header of an image of its study,
for a few studies of one list and within a second: a list with question marks is better than none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from adapters import NodeError
from adapters.dicomweb_studies import beginning, with_elements
from adapters.node import Listed
from gateway.errors import NodeUnheard
from gateway.imaging import texts
from gateway.imaging.merging import STUDY_UID, Told, decoded, text_of
from gateway.imaging.studies import Studies
from gateway.imaging.values import Source, Viewed

HEADERS, HEADER_BYTES, SECONDS = 16, 256 * 1024, 1.0
"""How many headers are read for one list, how much of a file, and for how long."""

_BULK, _NAMELESS = b"BulkDataURI", b'"00100010":{"vr":"PN"}'
Lost = tuple[int, int, texts.Dataset]
"""Where an object with a lost text stands, and the object."""


async def as_meant(studies: Studies, viewed: Viewed, told: Sequence[Told]) -> list[Told]:
    """What archives told, with every text right that can be proven or read anew."""
    lists = [list(one.listed) for one in told]
    lost: list[Lost] = []
    for index, listed in enumerate(lists):
        body = msgspec.json.encode([one.members for one in listed])
        if _BULK in body:  # addresses of the archive; a list shows no values that need one
            listed[:] = [_without_bulk(one) for one in listed]
        if _NAMELESS in body or texts.suspicious(body):
            for place, one in enumerate(listed):
                raw = bytes(one.raw)
                nameless = _NAMELESS in raw
                if nameless or texts.suspicious(raw):
                    told_by = decoded(raw)
                    dataset, lacking = texts.mended(told_by)
                    listed[place] = _with(one, told_by, dataset)
                    lost += [(index, place, dataset)] if lacking or nameless else []
    tasks = [
        asyncio.create_task(_read_anew(studies, viewed, told[index], dataset))
        for index, _, dataset in lost[:HEADERS]
    ]
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=SECONDS)
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for (index, place, dataset), task in zip(lost, tasks, strict=False):
            if not task.cancelled():
                lists[index][place] = _with(lists[index][place], dataset, task.result())
    return [replace(one, listed=listed) for one, listed in zip(told, lists, strict=True)]


async def _read_anew(studies: Studies, viewed: Viewed, told: Told, dataset: texts.Dataset) -> texts.Dataset:
    study = text_of(Raw(msgspec.json.encode(dataset.get(STUDY_UID))))
    try:
        archive = await studies.archive(viewed, Source(told.way, told.number))
        return texts.from_header(dataset, await beginning(archive, study, HEADER_BYTES))
    except (NodeError, NodeUnheard):
        return dataset


def _without_bulk(listed: Listed) -> Listed:
    members = {tag: raw for tag, raw in listed.members.items() if _BULK not in bytes(raw)}
    return replace(listed, members=members)


def _with(listed: Listed, before: texts.Dataset, after: texts.Dataset) -> Listed:
    """An object with the elements that were changed; the others stay the archive's own bytes."""
    changed = {tag: value for tag, value in after.items() if value != before.get(tag)}
    return with_elements(listed, {tag: Raw(msgspec.json.encode(value)) for tag, value in changed.items()})
