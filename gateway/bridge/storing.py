"""C-STORE: instances into the archive as they are (PS3.4 B.2). What it says of each is told as it said it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from mmap import mmap
from pathlib import Path
from queue import Full
from tempfile import NamedTemporaryFile

from pydicom.filereader import read_file_meta_info
from pynetdicom.association import Association

from adapters.dicomweb_store import PROCESSING, Stored
from adapters.errors import NodeError
from gateway.bridge.associations import MOST_CONTEXTS, Associations
from gateway.bridge.values import Contexts
from gateway.imaging.instances import CLASS, MISMATCH, Instance

_WARNINGS = (0xB000, 0xB006, 0xB007)


def store(associations: Associations, data: mmap, instances: Sequence[Instance]) -> dict[str, Stored]:
    """Send instances, which lie in ``data``: what the archive made of each, by its UID. Called from a worker
    thread.

    Raises:
        NodeError: no association was to be had, so that nothing was stored.
    """
    done: dict[str, Stored] = {}
    try:
        for contexts in _contexts(instances):
            now = [one for one in instances if (one.sop_class, (one.syntax,)) in contexts]
            _send(associations, data, now, contexts, done)
    except NodeError:
        if all(one.failure for one in done.values()):
            raise
    return {one.uid: done.get(one.uid, Stored(failure=PROCESSING)) for one in instances}


def _send(
    associations: Associations,
    data: mmap,
    instances: Iterable[Instance],
    contexts: Contexts,
    done: dict[str, Stored],
) -> None:
    """Send these; where the archive breaks an association off over one, that one has failed, and the rest
    goes over the next."""
    waiting = deque(instances)
    fresh = False
    while waiting:
        with associations.lent(contexts, fresh=fresh) as (association, kept):
            fresh = True
            status: int | None = 0
            while waiting and status is not None:
                status = _one(association, data, waiting[0])
                if status is None and kept:  # it may have ended long ago
                    break
                kept = False
                done[waiting.popleft().uid] = _stored(PROCESSING if status is None else status)


def _one(association: Association, data: mmap, one: Instance) -> int | None:
    """The status of one C-STORE; None where the archive does not answer."""
    with NamedTemporaryFile(prefix="lianren-bridge-") as file:
        with memoryview(data) as view, view[one.span.start : one.span.start + one.span.length] as part:
            file.write(part)
        file.flush()
        if read_file_meta_info(file.name).MediaStorageSOPInstanceUID != one.uid:
            return MISMATCH  # a C-STORE would name it so
        try:
            status = association.send_c_store(Path(file.name)).get("Status")
        except ValueError:  # no such context was accepted
            return CLASS
        except (RuntimeError, Full):  # the association has ended, or the archive takes nothing in
            return None
    return None if status is None else int(status)


def _stored(status: int) -> Stored:
    return Stored(warning=status) if status in (0, *_WARNINGS) else Stored(failure=status)


def _contexts(instances: Iterable[Instance]) -> Iterator[Contexts]:
    """The contexts to propose, as many at a time as an association has."""
    wanted = list(dict.fromkeys((one.sop_class, (one.syntax,)) for one in instances))
    for start in range(0, len(wanted), MOST_CONTEXTS):
        yield tuple(wanted[start : start + MOST_CONTEXTS])
