"""C-STORE: instances into the archive as they are (PS3.4 B.2). What it says of each is told as it said it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from msgspec import Struct
from pydicom.filereader import read_partial
from pynetdicom.association import Association

from adapters.errors import NodeError
from gateway.bridge.associations import Associations
from gateway.bridge.values import Contexts
from gateway.imaging.parts_in import Span

SUCCESS, NOT_READ, OTHER_STUDY, FAILED, NO_CLASS = 0x0000, 0xC000, 0xA900, 0x0110, 0x0122
"""Failure reasons (PS3.18 §I.2.2), where they are not the archive's own status."""
_WARNINGS = (0xB000, 0xB006, 0xB007)
_MOST_CONTEXTS = 128
_HEAD_BYTES = 4 * 1024 * 1024  # of an instance, in which its UIDs are found
_TAGS = (0x00080018, 0x0020000D, _LAST := 0x0020000E)


class Stored(Struct, frozen=True):
    """What became of one instance: its SOP class, which it is, and the status."""

    sop_class: str
    instance: str
    study: str
    series: str
    status: int

    @property
    def kept(self) -> bool:
        """Whether the archive keeps it, perhaps with a warning."""
        return self.status == SUCCESS or self.status in _WARNINGS


class _Head(Struct, frozen=True):
    sop_class: str
    instance: str
    study: str
    series: str
    syntax: str

    def stored(self, status: int) -> Stored:
        return Stored(self.sop_class, self.instance, self.study, self.series, status)


def store(associations: Associations, spool: IO[bytes], spans: Sequence[Span], study: str) -> list[Stored]:
    """Send the instances that lie in these spans of the spool; those of another study than ``study``, where
    that is said, are not sent. Called from a worker thread.

    Raises:
        NodeError: no association was to be had, so that nothing was stored.
    """
    heads = [_head(spool, span) for span in spans]
    done: dict[int, Stored] = {}
    sent: list[int] = []
    for number, head in enumerate(heads):
        if head is None:
            done[number] = Stored("", "", "", "", NOT_READ)
        elif study and head.study != study:
            done[number] = head.stored(OTHER_STUDY)
        else:
            sent.append(number)
    asked = {number: head for number in sent if (head := heads[number])}
    try:
        for contexts in _contexts(asked.values()):
            now = {n: head for n, head in asked.items() if (head.sop_class, (head.syntax,)) in contexts}
            _send(associations, spool, spans, now, contexts, done)
    except NodeError:
        if not any(one.kept for one in done.values()):
            raise
    return [done[n] if n in done else asked[n].stored(FAILED) for n in range(len(spans))]


def _send(
    associations: Associations,
    spool: IO[bytes],
    spans: Sequence[Span],
    heads: dict[int, _Head],
    contexts: Contexts,
    done: dict[int, Stored],
) -> None:
    """Send these; where the archive breaks an association off over one, that one has failed, and the rest
    goes over the next."""
    waiting = deque(heads)
    fresh = False
    while waiting:
        with associations.lent(contexts, fresh=fresh) as (association, kept):
            fresh = True
            status: int | None = SUCCESS
            while waiting and status is not None:
                status = _one(association, spool, spans[waiting[0]])
                if status is None and kept:  # it may have ended long ago
                    break
                kept = False
                number = waiting.popleft()
                done[number] = heads[number].stored(FAILED if status is None else status)


def _one(association: Association, spool: IO[bytes], span: Span) -> int | None:
    """The status of one C-STORE; None where the archive does not answer."""
    with NamedTemporaryFile(prefix="lianren-bridge-") as file:
        spool.seek(span.start)
        left = span.length
        while left and (piece := spool.read(min(left, 1 << 20))):
            left -= file.write(piece)
        file.flush()
        try:
            status = association.send_c_store(Path(file.name)).get("Status")
        except ValueError:  # no such context was accepted
            return NO_CLASS
        except RuntimeError:  # the association has ended
            return None
    return None if status is None else int(status)


def _head(spool: IO[bytes], span: Span) -> _Head | None:
    """What is to be known of an instance; None where its beginning does not say it."""
    spool.seek(span.start)
    head = BytesIO(spool.read(min(span.length, _HEAD_BYTES)))
    try:
        header = read_partial(head, lambda tag, _vr, _length: tag > _LAST, specific_tags=[*_TAGS])
        instance, study, series = (str(header[tag].value) for tag in _TAGS)
        meta = header.file_meta
        if instance != meta.MediaStorageSOPInstanceUID:
            return None
        return _Head(str(meta.MediaStorageSOPClassUID), instance, study, series, str(meta.TransferSyntaxUID))
    except Exception:  # pydicom raises whatever a broken file makes it stumble over
        return None


def _contexts(heads: Iterable[_Head]) -> Iterator[Contexts]:
    """The contexts to propose, as many at a time as an association has."""
    wanted = list(dict.fromkeys((head.sop_class, (head.syntax,)) for head in heads))
    for start in range(0, len(wanted), _MOST_CONTEXTS):
        yield tuple(wanted[start : start + _MOST_CONTEXTS])
