"""Instances that a hospital stores in its own archive through this gateway (STOW-RS, PS3.18 §10.5).

A request is taken in whole before anything of it goes on: its parts lie in a file without a name, of which
only what is looked at is in memory. Then each instance is examined (:mod:`gateway.imaging.checking`), and a
study of which two instances name different patients, or another patient than the archive has it under, is
not stored at all: OHIF, archives and this gateway would each show it to somebody else. What is left goes to
the archive, which has the last word on each instance; so everybody may send the same request again.

Order of writing: the archive, then the evidence, then the answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import mmap
import tempfile
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any
from weakref import WeakValueDictionary

from adapters import DicomwebNode, NodeError, elapsed_ms
from adapters.dicomweb import MRN
from adapters.dicomweb_store import Outgoing, Stored, patients_of, store
from gateway.access.clients import Client
from gateway.body import BadBody
from gateway.errors import MultipleMatches, NodeUnheard, NotPermitted, Overloaded
from gateway.evidence import Evidence, keep
from gateway.holding import nodes_of
from gateway.ids import new_id
from gateway.imaging.instances import MISMATCH, PROCESSING, Instance, Refused
from gateway.imaging.outcomes import Answered, told
from gateway.imaging.parts_in import Parts, Span, boundary_of
from gateway.reading import identities_of
from gateway.settings import NodeSettings
from gateway.wiring import Gateway
from security.pseudonym import Pseudonyms

AT_ONCE = 8
"""Requests that one process takes in at a time: each may take ``store_bytes`` of the disk."""
BATCH_BYTES, BATCH = 64 * 1024 * 1024, 200
"""How much an archive is sent in one request, beyond one instance."""
_COMPARED = 8
"""Studies about which an archive is asked at the same time."""
LOOK_UP_S = 5.0
"""Seconds for asking whose the Patient IDs are."""
TURN_S = 600.0
"""Seconds after which a replica that stores into a study, and does not end, is not waited for."""


class Storing:
    """Stores instances for their hospitals."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._running = 0
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def take(
        self,
        client: Client,
        headers: Mapping[str, str],
        receive: Callable[[], Awaitable[Any]],
        *,
        way: str = "",
        study: str = "",
    ) -> Answered:
        """Carry out a request: into the archive ``way``, or the only one of the client's institution that
        stores; of ``study`` alone where one is named.

        Raises:
            NotPermitted: the client stores nothing, or not there.
            MultipleMatches: its institution has several archives that store.
            BadBody: 400, 413 or 415; nothing was stored.
            Overloaded: as many requests are taken in as this process holds.
            NodeUnheard: the archive was not heard; nothing of it is known to be stored.
            EvidenceUnavailable: it could not be recorded; send it again.
        """
        settings, node = self._archive(client, way)
        boundary = boundary_of(headers.get("content-type", ""))
        if headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise BadBody("Content-Encoding", "a compressed body", "send it as it is", 415)
        stated, most = headers.get("content-length", ""), self._gateway.settings.store_bytes
        if stated.isdigit() and int(stated[:20]) > most:
            raise _too_large(most)
        async with self._taken_in(boundary, receive, study) as (data, good, refused):
            began, now = time.monotonic(), datetime.now(UTC)
            evidence = Evidence.of(self._gateway, client.id, now)
            stored = await self._stored(node, data, good, refused)
            await self._recorded(settings, client, evidence, good, stored, refused, began, now)
        return told(f"{self._gateway.settings.base_url}/dicomweb", good, stored, refused)

    def _archive(self, client: Client, way: str) -> tuple[NodeSettings, DicomwebNode]:
        client.require("publisher")
        theirs = nodes_of(self._gateway, client)
        storing = [one for one in theirs.values() if one.stores and way in ("", one.id)]
        if not storing:
            raise NotPermitted(
                f"client {client.id} speaks for no institution with such an archive that stores; its operator"
                " sets `stores` at a node",
                field="node",
            )
        if len(storing) > 1:
            raise MultipleMatches(
                "several archives store for this institution; post to dicomweb/nodes/<node>/studies: "
                + ", ".join(sorted(one.id for one in storing))
            )
        (settings,) = storing
        placed = self._gateway.nodes.placed()
        node = next((one.node for one in placed if one.node.id == settings.id), None)
        if not isinstance(node, DicomwebNode):
            raise NodeUnheard(f"node {settings.id} cannot be used now; nothing was stored")
        return settings, node

    @asynccontextmanager
    async def _taken_in(
        self, boundary: bytes, receive: Callable[[], Awaitable[Any]], study: str
    ) -> AsyncIterator[tuple[mmap.mmap, list[Instance], list[Refused]]]:
        """The parts of a request, in a file without a name that is gone afterwards: the instances that may
        be stored as far as the request itself can tell, and the others."""
        if self._running >= AT_ONCE:
            raise Overloaded("this gateway takes in as many images as it can hold; send them again later")
        self._running += 1
        data: mmap.mmap | None = None
        try:
            try:
                data, spans = await self._spooled(boundary, receive)
                most = self._gateway.settings.store_instance_bytes
                good, refused = await asyncio.to_thread(examined, data, spans, most, study)
            except OSError:
                raise Overloaded("this gateway has no room for so many images; send them later") from None
            yield data, good, refused
        finally:
            self._running -= 1
            with suppress(BufferError):  # of a thread that goes on reading after its task was cancelled
                if data:
                    data.close()

    async def _spooled(
        self, boundary: bytes, receive: Callable[[], Awaitable[Any]]
    ) -> tuple[mmap.mmap, list[Span]]:
        limits, size = self._gateway.settings, 0
        with tempfile.TemporaryFile() as file:
            most, most_bytes = limits.store_instances, limits.store_instance_bytes
            parts = Parts(boundary, file.write, most_parts=most, most_bytes=most_bytes)
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise BadBody("body", "ended before its end", "send it again", 400)
                piece = message.get("body", b"")
                size += len(piece)
                if size > limits.store_bytes:
                    raise _too_large(limits.store_bytes)
                parts.feed(piece)
                if not message.get("more_body", False):
                    break
            parts.end()
            file.flush()
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), parts.spans

    @asynccontextmanager
    async def _turn(self, node: str, study: str) -> AsyncIterator[None]:
        """Whoever stores into a study of an archive does so alone, at all replicas that share a Redis."""
        key, shared = f"store|{hashlib.sha256(f'{node} {study}'.encode()).hexdigest()}", self._gateway.shared
        async with self._locks.setdefault(key, asyncio.Lock()):
            while not await shared.first(key, TURN_S):
                await shared.wait(key, TURN_S)
            try:
                yield
            finally:
                await shared.release(key)

    async def _stored(
        self, node: DicomwebNode, data: mmap.mmap, good: list[Instance], refused: list[Refused]
    ) -> Mapping[str, Stored]:
        """What the archive made of the instances that may be stored; ``good`` loses those whose study is
        another patient's there to ``refused``."""
        async with AsyncExitStack() as turns:
            for study in sorted({one.study for one in good}):  # in one order, so that nobody waits for ever
                await turns.enter_async_context(self._turn(node.id, study))
            try:
                await _compare(node, good, refused)
            except NodeError as wrong:
                raise _unheard(node, wrong) from None
            stored: dict[str, Stored] = {}
            batches = deque(_batches(good))
            while batches:
                batch = batches.popleft()
                sent = [Outgoing(one.uid, one.span.start, one.span.length) for one in batch]
                try:
                    said = await store(node.images, data, sent)
                except NodeError as wrong:
                    if not stored:
                        raise _unheard(node, wrong) from None
                    break
                stored |= said
                if not said and len(batch) > 1:  # some archives refuse all for the sake of one
                    batches.extendleft([one] for one in reversed(batch))
        return {one.uid: stored.get(one.uid, Stored(failure=PROCESSING)) for one in good}

    async def _recorded(
        self,
        settings: NodeSettings,
        client: Client,
        evidence: Evidence,
        good: Sequence[Instance],
        stored: Mapping[str, Stored],
        refused: Sequence[Refused],
        began: float,
        now: datetime,
    ) -> None:
        """Write down what was stored, a ledger entry for each patient, and forget what was said of him."""
        gateway, publication = self._gateway, new_id(now)
        kept: dict[str, list[Instance]] = defaultdict(list)
        persons: list[str] = []
        until = asyncio.get_running_loop().time() + LOOK_UP_S
        for one in good:
            if not stored[one.uid].failure:
                kept[one.patient].append(one)
        for number, instances in kept.items():
            person = await self._person(settings, number, until)
            evidence.publication(
                {
                    "publication": publication,
                    **({"person": person.current} if person else {}),
                    "node": settings.id,
                    "studies": sorted({one.study for one in instances}),
                    "resources": [one.sha256 for one in instances],
                    "removed": 0,
                    "announced": [],
                }
            )
            persons += person.all if person else ()
        failed = len(good) - sum(map(len, kept.values())) + len(refused)
        if kept:
            await keep(gateway.sequencer, evidence.entries, [])
            await gateway.broker.forget(settings.id, persons)
            gateway.metrics.publications.labels(settings.id).inc()
        gateway.metrics.stored.labels(settings.id, "stored").inc(len(good) + len(refused) - failed)
        gateway.metrics.stored.labels(settings.id, "refused").inc(failed)
        gateway.log(
            "images_stored",
            publication=publication,
            client=client.id,
            node=settings.id,
            kept=sum(map(len, kept.values())),
            refused=failed,
            took_ms=elapsed_ms(began),
        )

    async def _person(self, settings: NodeSettings, number: str, until: float) -> Pseudonyms | None:
        """Who a Patient ID is, as far as the institution's own records tell in time."""
        identities = identities_of(self._gateway, settings.id)
        if identities is None or not number:
            return None
        try:
            async with asyncio.timeout_at(until):
                known = await identities.whose(f"{MRN}{settings.institution}", number)
        except (NodeError, TimeoutError):
            return None
        return await self._gateway.pseudonyms(known[0]) if known else None


def examined(
    data: mmap.mmap, spans: Sequence[Span], most: int, study: str
) -> tuple[list[Instance], list[Refused]]:
    """The instances that may be stored as far as the request itself can tell, and the others; in a thread."""
    from gateway.imaging.checking import examine  # and pydicom, which no start waits for

    good, refused, seen = list[Instance](), list[Refused](), set[str]()
    for span in spans:
        try:
            one = examine(data, span, most)
            if study and one.study != study:
                raise Refused(MISMATCH, "is of another study than the address", one.sop_class, one.uid)
            if one.uid in seen:
                raise Refused(MISMATCH, "is in this request twice", one.sop_class, one.uid)
            seen.add(one.uid)
            good.append(one)
        except Refused as bad:
            refused.append(bad)
    patients = defaultdict[str, set[tuple[str, str]]](set)
    for one in good:
        patients[one.study].add((one.patient, one.issuer))
    _without(good, refused, lambda one: len(patients[one.study]) > 1, "is of a study with several patients")
    return good, refused


async def _compare(node: DicomwebNode, good: list[Instance], refused: list[Refused]) -> None:
    """Whether the archive has these studies under other Patient IDs. Raises NodeError."""
    studies = sorted({one.study for one in good})
    found: dict[str, frozenset[str]] = {}
    for at in range(0, len(studies), _COMPARED):
        some = studies[at : at + _COMPARED]
        said = await asyncio.gather(*(patients_of(node.line, one) for one in some))
        found |= zip(some, said, strict=True)
    words = "is of a study that is another patient's in the archive"
    _without(good, refused, lambda one: not found[one.study] <= {one.patient}, words)


def _without(
    good: list[Instance], refused: list[Refused], wrong: Callable[[Instance], bool], words: str
) -> None:
    refused += [Refused(MISMATCH, words, one.sop_class, one.uid) for one in good if wrong(one)]
    good[:] = [one for one in good if not wrong(one)]


def _batches(good: Sequence[Instance]) -> Iterator[list[Instance]]:
    batch, size = list[Instance](), 0
    for one in good:
        if batch and (size + one.span.length > BATCH_BYTES or len(batch) >= BATCH):
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += one.span.length
    if batch:
        yield batch


def _too_large(most: int) -> BadBody:
    return BadBody("body", f"more than {most} bytes", "send less at once", 413)


def _unheard(node: DicomwebNode, wrong: NodeError) -> NodeUnheard:
    return NodeUnheard(f"node {node.id} was not heard ({wrong.state}): {wrong.detail}; send it again")
