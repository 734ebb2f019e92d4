"""Associations with the archive: opened with a limit for each phase, kept for a moment, lent to one thread.

pynetdicom works in threads and blocks; everything here is called from a worker thread. What its loggers
would say of a dataset holds names and numbers of persons, so they are silent.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import Queue
from tempfile import NamedTemporaryFile
from typing import Any, TypeVar

import pynetdicom
from pynetdicom import AE, build_context, build_role, dimse_messages, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_ABORT, P_DATA
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # the module makes these names when asked
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from adapters.errors import NodeError, NodeFaulty, NodeLate, NodeRefused, NodeUnreachable
from gateway.bridge.values import Archive, Contexts

FIND = str(StudyRootQueryRetrieveInformationModelFind)
MOVE = str(StudyRootQueryRetrieveInformationModelMove)
GET = str(StudyRootQueryRetrieveInformationModelGet)
ECHO = str(Verification)
PLAIN = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")
QUERY: Contexts = ((FIND, PLAIN), (MOVE, PLAIN), (ECHO, PLAIN))

MOST_CONTEXTS = 128  # PS3.8 §9.3.2.2: the ids are the odd numbers up to 255
_AHEAD = 64  # PDUs of at most 16 KB
_MARGIN_S = 1.0  # an association that is about to be given up is not lent any more

pynetdicom._config.LOG_REQUEST_IDENTIFIERS = False
pynetdicom._config.LOG_RESPONSE_IDENTIFIERS = False
pynetdicom._config.LOG_HANDLER_LEVEL = "none"
pynetdicom._config.STORE_RECV_CHUNKED_DATASET = True  # an instance of any size goes through a file
pynetdicom._config.STORE_SEND_CHUNKED_DATASET = True
pynetdicom._config.UNRESTRICTED_STORAGE_SERVICE = True
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)

Result = TypeVar("Result")


class Lost(NodeUnreachable):
    """An association that had been kept ended before anything was answered: it may have ended long ago."""


class Associations:
    """The associations with one archive."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self._kept: list[tuple[Contexts, float, Association]] = []
        self._lock = threading.Lock()
        self.ae = AE(ae_title=archive.own_title)
        self.ae.connection_timeout = self.ae.acse_timeout = archive.connect_s
        self.ae.dimse_timeout = archive.answer_s
        self.ae.network_timeout = archive.idle_s + _MARGIN_S
        self.ae.maximum_associations = 4 * archive.associations
        self.ae.require_called_aet = True

    @contextmanager
    def lent(self, contexts: Contexts, *, fresh: bool = False) -> Iterator[tuple[Association, bool]]:
        """An association with these contexts, and whether it had been kept; it is kept again unless
        something goes wrong, or its work is not over.

        Raises:
            NodeError: there is none.
        """
        association = None if fresh else self._take(contexts)
        kept = association is not None
        association = association or self._open(contexts)
        try:
            yield association, kept
        except BaseException as wrong:
            association.abort()
            if isinstance(wrong, RuntimeError):  # of pynetdicom: it has just ended
                raise silent(late=False, kept=kept) from None
            raise
        if association.is_established:
            with self._lock:
                self._kept.append((contexts, time.monotonic(), association))

    def twice(self, work: Callable[[bool], Result]) -> Result:
        """Do what can be repeated over a kept association, and over a fresh one where that had ended."""
        try:
            return work(False)
        except Lost:
            return work(True)

    def close(self) -> None:
        """End all associations, and the server."""
        self.ae.shutdown()

    def tune(self, event: evt.Event) -> None:
        """Have a connection send what is small at once: a message is written as two PDUs, of which the second
        would wait for the acknowledgement of the first (RFC 896). One that stands still in the middle of a
        PDU is given up; pynetdicom would wait for ever, and so would whoever ends the association."""
        if (held := event.assoc.dul.socket) and held.socket:
            held.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            held.socket.settimeout(self.archive.answer_s)
        _guard(event.assoc)

    def _take(self, contexts: Contexts) -> Association | None:
        oldest = time.monotonic() - self.archive.idle_s
        with self._lock:
            self._kept = [one for one in self._kept if one[1] > oldest and one[2].is_established]
            for one in reversed(self._kept):
                if one[0] == contexts:
                    self._kept.remove(one)
                    return one[2]
        return None

    def _open(self, contexts: Contexts) -> Association:
        archive = self.archive
        connected = threading.Event()

        def opened(event: evt.Event) -> None:
            connected.set()
            self.tune(event)

        given_back = [abstract for abstract, _ in contexts] if contexts[0][0] == GET else []
        try:
            association = self.ae.associate(
                archive.host,
                archive.port,
                contexts=[build_context(abstract, list(syntaxes)) for abstract, syntaxes in contexts],
                ae_title=archive.title,
                ext_neg=[build_role(one, scp_role=True) for one in dict.fromkeys(given_back[1:])],
                tls_args=(archive.tls, archive.host) if archive.tls else None,
                evt_handlers=[(evt.EVT_CONN_OPEN, opened), (evt.EVT_CONN_CLOSE, forget)],
            )
        except OSError:
            raise NodeUnreachable("could not be reached") from None
        if association.is_established:
            association.network_timeout_response = "A-RELEASE"
            association.dul.to_provider_queue = _Outgoing(archive.answer_s)
            return association
        if association.is_rejected:
            raise NodeRefused(f"rejected the association: {_reason(association)}")
        if not connected.is_set():
            raise NodeUnreachable("could not be reached")
        with suppress(Exception):  # it may be over already
            association.abort()
        raise NodeLate("connected, and did not open an association in time")


def _guard(association: Association) -> None:
    """Mend what pynetdicom does with messages that come. Its own thread looks for them, too, and while it is
    being paused it may take one, which is lost then: of a query, a match. And one that cannot be taken in,
    for want of room, ends its reading thread and not the association, for whose end everybody then waits."""
    taken, receive = association.dimse.get_msg, association.dimse.receive_primitive

    def get_msg(block: bool = False) -> Any:
        return taken(block) if block or association.is_acceptor else (None, None)

    def receive_primitive(primitive: P_DATA) -> None:
        try:
            receive(primitive)
        except Exception:  # whatever a broken message, or a full disk, makes it stumble over
            association.dimse.message = None
            association.dul.event_queue.put("Evt19")  # PS3.8 table 9-10: to be aborted
            association.dimse.msg_queue.put((None, None))  # who waits for an answer gets none

    association.dimse.get_msg = get_msg  # type: ignore[method-assign]
    association.dimse.receive_primitive = receive_primitive  # type: ignore[method-assign]


class _Outgoing(Queue[Any]):
    """PDUs that wait to be sent: so many, and whoever sends more waits. pynetdicom would hold all of an
    instance there. Raises Full where nothing moves for ``patience`` seconds."""

    def __init__(self, patience: float) -> None:
        super().__init__(_AHEAD)
        self._patience = patience

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        if isinstance(item, A_ABORT):  # what waits is not sent any more
            with self.mutex:
                self.queue.clear()
        super().put(item, block, timeout or self._patience)


def forget(event: evt.Event) -> None:
    """Of a connection that has ended, let go the file of an instance that had not come whole."""
    event.assoc.dimse.message = None


def _spooled(**how: Any) -> Any:
    """A file for an instance that comes, which is gone with the message that it belongs to, whatever became
    of that; pynetdicom leaves it behind where the association ends."""
    return NamedTemporaryFile(**{**how, "prefix": "lianren-bridge-", "delete": True})


def _reason(association: Association) -> str:
    """Why the archive rejected an association, in the standard's words (PS3.8 Table 9-21)."""
    said = association.acceptor.primitive
    try:
        return f"{said.reason_str}" if said else "no reason given"
    except (AttributeError, ValueError, KeyError):
        return "for a reason that the standard does not have"


def offers(association: Association, abstract: str, what: str) -> None:
    """Raises NodeRefused where the archive did not accept this service."""
    if not any(context.abstract_syntax == abstract for context in association.accepted_contexts):
        raise NodeRefused(f"does not offer {what}")


def silent(late: bool, *, kept: bool) -> NodeError:
    """The error of an answer that did not come: not in time, or with the end of the association."""
    if late:
        return NodeLate("did not answer in time")
    ended = "closed the association instead of answering"
    return Lost(ended) if kept else NodeUnreachable(ended)


def failed(status: int, what: str) -> NodeError:
    """The error of a final status that is no success (PS3.7 Annex C)."""
    if status == 0x0124 or status >> 8 == 0xA8:  # not authorised; move destination unknown
        return NodeRefused(f"refused {what} with DIMSE status 0x{status:04X}")
    return NodeFaulty(f"ended {what} with DIMSE status 0x{status:04X}")


dimse_messages.NamedTemporaryFile = _spooled  # type: ignore[assignment,attr-defined]
