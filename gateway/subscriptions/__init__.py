"""Subscriptions of FHIR R4 by the R5 backport (hl7.fhir.uv.subscriptions-backport 1.1): topics and rest-hook.

Two topics, both for institutions that ask here: a mark that one of their checks recognised was withdrawn, and
a patient of whom they have an open check gets a new result published. What happened is not told by whoever
did it, but read off afterwards, from the numbered withdrawals and from the ledger: so nothing is missed over
a restart, and the exchange that caused it waits for nobody.

A notification says which check or mark to look at and nothing else; looking is a request of its own, with its
consent and its evidence. It goes to an address below one that the operator allowed that client, and nowhere
else, signed by this gateway (RFC 9421), in the order of the events, each until it arrives or the subscription
is given up.
"""

from gateway.subscriptions.endpoints import Endpoints
from gateway.subscriptions.notifying import Notifying
from gateway.subscriptions.service import Subscriptions
from gateway.subscriptions.values import MARK_WITHDRAWN, NEW_RESULT, TOPICS

__all__ = ["MARK_WITHDRAWN", "NEW_RESULT", "TOPICS", "Endpoints", "Notifying", "Subscriptions"]
