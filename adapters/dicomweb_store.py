"""Instances on their way into an archive: STOW-RS (PS3.18 §10.5) as its client.

What an archive says of each instance is believed, and nothing else: an instance that it does not name in its
answer is not stored as far as anybody knows, whatever the status is. Some archives answer 200 to a body of
which they understood nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from mmap import mmap

import msgspec
from msgspec import Struct, field

from adapters.dicomweb import MEDIA
from adapters.errors import NodeFaulty, NodeRefused
from adapters.http import Line
from adapters.transport import Reply, Timeouts

PROCESSING = 0x0110
"""Failure Reason (0008,1197) where the archive gives none (PS3.7 annex C)."""
_OF_THE_FILES = (400, 406, 409, 413, 415, 422)
"""Statuses that refuse what was sent; others are between the archive and this gateway."""
_PIECE = 256 * 1024
_TIMES = Timeouts(connect=5.0, write=10.0, first_byte=120.0, between_bytes=10.0, total=3600.0)
"""An archive may write for a while what it has taken; that nothing moves, it is not waited for so long."""


class Outgoing(Struct, frozen=True):
    """An instance to be stored: its UID, and where its file lies."""

    uid: str
    start: int
    length: int


class Stored(Struct, frozen=True):
    """What an archive made of an instance: 0 for stored, a ``failure`` by its reason, or stored with a
    ``warning`` (PS3.18 tables I.2-1 and I.2-2)."""

    failure: int = 0
    warning: int = 0


class _Texts(Struct):
    values: tuple[str | None, ...] = field(default=(), name="Value")


class _Numbers(Struct):
    values: tuple[int, ...] = field(default=(), name="Value")


class _Item(Struct):
    uid: _Texts = field(default_factory=_Texts, name="00081155")
    failure: _Numbers = field(default_factory=_Numbers, name="00081197")
    warning: _Numbers = field(default_factory=_Numbers, name="00081196")


class _Items(Struct):
    values: tuple[_Item, ...] = field(default=(), name="Value")


class _Said(Struct):
    referenced: _Items = field(default_factory=_Items, name="00081199")
    failed: _Items = field(default_factory=_Items, name="00081198")


async def store(line: Line, data: bytes | mmap, instances: Sequence[Outgoing]) -> Mapping[str, Stored]:
    """Send instances, which lie in ``data``, in one request: what the archive made of each, by its UID;
    nothing at all where it refused them together, or named none of them.

    Raises:
        NodeError: it gave no answer from which that can be told.
    """
    boundary = secrets.token_hex(16)
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    last = f"--{boundary}--\r\n".encode()
    length = sum(len(head) + one.length + 2 for one in instances) + len(last)

    def pieces() -> Iterator[bytes]:
        for one in instances:
            yield head
            end = one.start + one.length
            for at in range(one.start, end, _PIECE):
                yield data[at : min(at + _PIECE, end)]
            yield b"\r\n"
        yield last

    reply = await line.send(
        "studies",
        pieces(),
        length,
        headers={
            "Accept": MEDIA,
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
        },
        times=_TIMES,
    )
    return _read(reply, [one.uid for one in instances])


def _read(reply: Reply, uids: Sequence[str]) -> Mapping[str, Stored]:
    try:
        said = msgspec.json.decode(reply.body, type=_Said, strict=False)
    except msgspec.MsgspecError:
        said = _Said()
    if not (said.referenced.values or said.failed.values):
        if 200 <= reply.status < 300 or reply.status in _OF_THE_FILES:
            return {}
        if 400 <= reply.status < 500:
            raise NodeRefused(f"stored nothing: refused with status {reply.status}")
        raise NodeFaulty(f"did not say what it stored: answered with status {reply.status}")
    stored = {
        one.uid.values[0]: Stored(warning=next(iter(one.warning.values), 0))
        for one in said.referenced.values
        if one.uid.values
    }
    failed = {
        one.uid.values[0]: Stored(failure=next(iter(one.failure.values), 0) or PROCESSING)
        for one in said.failed.values
        if one.uid.values
    }
    unnamed = Stored(failure=PROCESSING)
    return {uid: failed.get(uid) or stored.get(uid, unnamed) for uid in uids}


class _Study(Struct):
    uid: _Texts = field(default_factory=_Texts, name="0020000D")
    patient: _Texts = field(default_factory=_Texts, name="00100020")


async def patients_of(line: Line, study: str) -> frozenset[str]:
    """The Patient IDs that a study has at an archive, empty for one that has none; nothing where the archive
    has no such study.

    Raises:
        NodeError: it did not say.
    """
    params = (("StudyInstanceUID", study), ("includefield", "00100020"))
    body = await line.get_json("studies", params, accept=MEDIA)
    try:
        found = msgspec.json.decode(body, type=tuple[_Study, ...]) if body else ()
    except msgspec.MsgspecError:
        raise NodeFaulty("answered a query with something that is no DICOM JSON list") from None
    if any(one.uid.values != (study,) for one in found):
        raise NodeFaulty("answered with another study than the one asked for")
    return frozenset((one.patient.values[0] or "").strip() if one.patient.values else "" for one in found)
