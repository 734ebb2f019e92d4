"""C-FIND: what the archive has of a level, with keys to match and keys to return (PS3.4 C.4.1)."""

from __future__ import annotations

import threading
import time
from copy import deepcopy

from pydicom.dataset import Dataset

from adapters.errors import NodeFaulty
from gateway.bridge.associations import FIND, QUERY, Associations, failed, offers, silent

PENDING = (0xFF00, 0xFF01)
SUCCESS, CANCELLED = 0x0000, 0xFE00
_MESSAGE = 1


def find(
    associations: Associations, identifier: Dataset, most: int, stop: threading.Event
) -> tuple[list[Dataset], bool]:
    """The matches, and whether these are all: at most ``most``, then the archive is told to stop (C-CANCEL).

    Called from a worker thread; ``stop`` ends it early from another.

    Raises:
        NodeError: the archive did not answer to the end.
    """
    return associations.twice(lambda fresh: _find(associations, identifier, most, stop, fresh=fresh))


def _find(
    associations: Associations, identifier: Dataset, most: int, stop: threading.Event, *, fresh: bool
) -> tuple[list[Dataset], bool]:
    found: list[Dataset] = []
    cancelled = 0.0
    with associations.lent(QUERY, fresh=fresh) as (association, kept):
        offers(association, FIND, "C-FIND (Study Root)")
        patience = associations.archive.answer_s
        last = time.monotonic()
        for status, match in association.send_c_find(deepcopy(identifier), FIND, msg_id=_MESSAGE):
            code, now = status.get("Status"), time.monotonic()
            if code is None:
                raise silent(now - last >= patience, kept=kept and not found)
            if code not in PENDING:
                if code not in (SUCCESS, CANCELLED):
                    raise failed(code, "a query")
                break
            last = now
            if match is None:
                raise NodeFaulty("answered a query with a dataset that cannot be read")
            if cancelled and now - cancelled > patience:  # it does not heed the C-CANCEL
                association.abort()
                break
            if not cancelled and (stop.is_set() or len(found) == most):
                association.send_c_cancel(_MESSAGE, query_model=FIND)
                cancelled = now
            elif not cancelled:
                found.append(match)
    return found, not cancelled
