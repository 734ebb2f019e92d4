"""C-MOVE to a C-STORE SCP of this side, or C-GET: the instances of a study, or fewer (PS3.4 C.4.2, C.4.3).

By C-MOVE the archive opens an association of its own for what it sends, and says which C-MOVE that belongs
to (Move Originator Message ID); where it does not say, the instance goes to all who want it. What nobody here
asked for is refused. By C-GET the instances come over the same association, in the presentation contexts that
this side proposes: so it asks first which SOP classes there are.
"""

from __future__ import annotations

import itertools
import threading
from contextlib import suppress

from pydicom import uid
from pynetdicom import evt
from pynetdicom.association import Association

from adapters.errors import NodeError, NodeFaulty, NodeRefused
from gateway.bridge.associations import (
    ECHO,
    GET,
    MOST_CONTEXTS,
    MOVE,
    PLAIN,
    QUERY,
    Associations,
    failed,
    forget,
    offers,
    silent,
)
from gateway.bridge.finding import PENDING, SUCCESS, find
from gateway.bridge.transfer import KEPT, NOT_WANTED, Transfer
from gateway.bridge.values import Contexts, Wanted

CANCEL_S = 3.0
"""Seconds for an archive to heed a C-CANCEL; then the association is aborted."""

_COMPRESSED = (
    uid.JPEGLosslessSV1,
    uid.JPEG2000Lossless,
    uid.JPEGBaseline8Bit,
    uid.JPEGLSLossless,
    uid.RLELossless,
    uid.JPEG2000,
    uid.JPEGLossless,
    uid.JPEGExtended12Bit,
    uid.JPEGLSNearLossless,
    uid.HTJ2KLossless,
    uid.MPEG4HP41,
    uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
)
_USUAL = (
    uid.CTImageStorage,
    uid.MRImageStorage,
    uid.ComputedRadiographyImageStorage,
    uid.DigitalXRayImageStorageForPresentation,
    uid.DigitalMammographyXRayImageStorageForPresentation,
    uid.UltrasoundImageStorage,
    uid.UltrasoundMultiFrameImageStorage,
    uid.XRayAngiographicImageStorage,
    uid.SecondaryCaptureImageStorage,
    uid.EnhancedCTImageStorage,
    uid.EnhancedMRImageStorage,
    uid.NuclearMedicineImageStorage,
    uid.PositronEmissionTomographyImageStorage,
    uid.BreastTomosynthesisImageStorage,
    uid.XRayRadiofluoroscopicImageStorage,
    uid.VLEndoscopicImageStorage,
    uid.VLPhotographicImageStorage,
    uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
    uid.BasicTextSRStorage,
    uid.EnhancedSRStorage,
    uid.ComprehensiveSRStorage,
    uid.KeyObjectSelectionDocumentStorage,
    uid.GrayscaleSoftcopyPresentationStateStorage,
    uid.EncapsulatedPDFStorage,
)
"""What is proposed to an archive that does not tell the SOP classes of its instances."""


class Retrieving:
    """The retrievals from one archive."""

    def __init__(self, associations: Associations) -> None:
        self._associations = associations
        self._archive = associations.archive
        self._numbers = itertools.cycle(range(1, 65536))
        self._moves: dict[int, Transfer] = {}
        self._running: dict[Transfer, tuple[Association, int, str]] = {}
        self._lock = threading.Lock()

    def listen(self) -> None:
        """Take what the archive sends for a C-MOVE. Raises OSError where the port cannot be had."""
        ae = self._associations.ae
        ae.add_supported_context(ECHO)
        handlers = [
            (evt.EVT_C_STORE, self._sent),
            (evt.EVT_CONN_OPEN, self._associations.tune),
            (evt.EVT_CONN_CLOSE, forget),
        ]
        ae.start_server(("", self._archive.move_port), block=False, evt_handlers=handlers)  # type: ignore[arg-type]

    def run(self, transfer: Transfer) -> None:
        """Retrieve what is wanted; called from a worker thread, and back when the archive is done with it.

        The transfer is finished with a NodeError where something is missing.
        """
        error: NodeError | None = None
        try:
            work = self._move if self._archive.move_port else self._get
            self._associations.twice(lambda fresh: work(transfer, fresh=fresh))
        except NodeError as wrong:
            error = None if self._nothing_there(transfer, wrong) else wrong
        except Exception:  # pynetdicom raises what it likes where an association ends under its hands
            error = NodeFaulty("broke off a retrieval")
        transfer.finish(error)

    def stop(self, transfer: Transfer) -> None:
        """End a retrieval whose reader has gone (C-CANCEL, then abort); called from another thread."""
        transfer.close()
        with self._lock:
            running = self._running.get(transfer)
        if transfer.over.is_set() or running is None:
            return
        association, number, model = running
        with suppress(RuntimeError, ValueError):  # it has just ended
            association.send_c_cancel(number, query_model=model)
        if not transfer.over.wait(CANCEL_S):
            association.abort()
            association.dimse.msg_queue.put((None, None))  # wakes the thread that waits for the next response

    def _nothing_there(self, transfer: Transfer, error: NodeError) -> bool:
        """Whether a retrieval was refused because there is nothing; archives say that as a failure, too."""
        if transfer.count or transfer.gone.is_set() or not isinstance(error, (NodeFaulty, NodeRefused)):
            return False
        with suppress(NodeError):
            return not find(self._associations, transfer.wanted.identifier(), 1, transfer.gone)[0]
        return False

    def close(self) -> None:
        """End all retrievals."""
        with self._lock:
            running = list(self._running)
        for transfer in running:
            self.stop(transfer)

    def _move(self, transfer: Transfer, *, fresh: bool) -> None:
        number = self._number(transfer)
        try:
            with self._associations.lent(QUERY, fresh=fresh) as (association, kept):
                offers(association, MOVE, "C-MOVE (Study Root)")
                title = self._archive.own_title
                self._follow(transfer, association, number, MOVE, kept=kept, to=title)
        finally:
            with self._lock:
                self._moves.pop(number, None)

    def _get(self, transfer: Transfer, *, fresh: bool) -> None:
        contexts = ((GET, PLAIN), *_storage(self._classes(transfer)))
        if len(contexts) == 1:
            return
        with self._associations.lent(contexts, fresh=fresh) as (association, kept):
            offers(association, GET, "C-GET (Study Root)")
            association.bind(evt.EVT_C_STORE, self._got, [transfer])
            try:
                self._follow(transfer, association, 1, GET, kept=kept)
            finally:
                association.unbind(evt.EVT_C_STORE, self._got)

    def _follow(
        self,
        transfer: Transfer,
        association: Association,
        number: int,
        model: str,
        *,
        kept: bool,
        to: str = "",
    ) -> None:
        """Ask, and read the responses up to the last. How long the next instance may take is its reader's
        to say, who may be the one that is waited for."""
        with self._lock:
            if transfer.gone.is_set():
                raise NodeFaulty("is not asked any more")
            self._running[transfer] = association, number, model
        association.dimse_timeout = None
        try:
            identifier = transfer.wanted.identifier()
            if to:
                responses = association.send_c_move(identifier, to, model, msg_id=number)
            else:
                responses = association.send_c_get(identifier, model, msg_id=number)
            for status, _ in responses:
                code = status.get("Status")
                if code is None:
                    raise silent(late=False, kept=kept and not transfer.count)
                if code in PENDING:
                    continue
                if code != SUCCESS:
                    raise failed(code, "a retrieval")
                if failures := status.get("NumberOfFailedSuboperations"):
                    raise NodeFaulty(f"did not send {failures} instances of a retrieval")
        finally:
            association.dimse_timeout = self._archive.answer_s
            with self._lock:
                self._running.pop(transfer, None)

    def _classes(self, transfer: Transfer) -> list[str]:
        """The SOP classes of what is wanted, as the archive tells them of its instances."""
        series, most = [transfer.wanted.series], self._archive.most
        if not transfer.wanted.series:
            below = Wanted(transfer.wanted.study).identifier()
            below.QueryRetrieveLevel, below.SeriesInstanceUID = "SERIES", ""
            found, _ = find(self._associations, below, most, transfer.gone)
            series = [str(one.get("SeriesInstanceUID", "")) for one in found]
        classes: dict[str, None] = {}
        for one in filter(None, series):
            images = Wanted(transfer.wanted.study, one, transfer.wanted.instance).identifier()
            images.QueryRetrieveLevel, images.SOPClassUID = "IMAGE", ""
            if not transfer.wanted.instance:
                images.SOPInstanceUID = ""
            found, _ = find(self._associations, images, most, transfer.gone)
            classes.update(dict.fromkeys(str(one.get("SOPClassUID") or "") for one in found))
        return [*_USUAL, *filter(None, classes)] if "" in classes else [*classes]

    def _number(self, transfer: Transfer) -> int:
        with self._lock:
            number = next(number for number in self._numbers if number not in self._moves)
            self._moves[number] = transfer
        return number

    def _sent(self, event: evt.Event) -> int:
        """An instance on an association that the archive opened: for the C-MOVE that it names, or for all
        who want it, because one of them may leave before the others have it."""
        number: int = event.request.MoveOriginatorMessageID or 0  # type: ignore[union-attr]
        with self._lock:
            named = self._moves.get(number)
            moves = [named] if named else list(self._moves.values())
        said = [transfer.take(event.dataset_path) for transfer in moves]
        return KEPT if KEPT in said else max(said, default=NOT_WANTED)

    def _got(self, event: evt.Event, transfer: Transfer) -> int:
        """An instance of a C-GET."""
        try:
            return transfer.take(event.dataset_path)
        finally:
            event.request._dataset_file.close()  # type: ignore[union-attr]


def _storage(classes: list[str]) -> Contexts:
    """A context for each class and transfer syntax, so that the archive sends what it holds as it holds it;
    where there are too many classes, the rarer syntaxes stay out."""
    plain = [(one, PLAIN) for one in dict.fromkeys(classes)]
    more = [(one, (str(syntax),)) for syntax in _COMPRESSED for one, _ in plain]
    return tuple((plain + more)[: MOST_CONTEXTS - 1])
