"""Every error of the house, and what a caller sees of it.

    GatewayError                    raised in this room
    ├── SettingsError               the configuration; the process does not start
    ├── NotAuthenticated            no or unknown token
    ├── NotPermitted                known caller, missing role, scope or institution
    ├── TokenNotGiven               no access token for this assertion, scope or purpose
    ├── BadParameter                a parameter of a FHIR operation or search
    ├── BadRequest                  a field of the request; BadBody of gateway.body is its syntax
    ├── NotFound                    an id this gateway never returned
    ├── Gone                        what was deleted, or a page that was forgotten (410)
    ├── NotOffered                  an interaction that is not offered at this place (405)
    ├── NotAcceptable               the caller takes no form that is given here (406)
    ├── PreconditionFailed          another version stands there than the caller presumes (412)
    ├── MultipleMatches             several nodes have what an address without a node means (409)
    ├── ConsentDenied               the person does not want it shown (403)
    ├── NodeUnheard                 a node that may have what was asked for did not say (502)
    ├── RequestIdReused             the request id came before with another body
    ├── PrefetchMissing             CDS Hooks: what the discovery asked for was not sent (412)
    ├── TooManyRequests             a rate limit (429)
    ├── Overloaded                  more requests at once than one process holds (503)
    ├── Stopping                    this process ends and takes nothing new (503)
    └── EvidenceUnavailable         the ledger cannot keep evidence, so nothing is answered
    catalog.CatalogueError          └── UnknownEntry
    security.TrustError             └── IdentityRefused, KeyStoreError, …
    adapters.AdapterError           └── StoreUnavailable, KeyTaken, Node…

:data:`TABLE` is the only place that turns an exception into a status, a code, a log event and a fault.
A class that is not in it falls back to its nearest base; anything else is a 500 with code ``internal``.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from msgspec import Struct

from adapters.errors import AdapterError, KeyTaken, NodeError, StoreError, StoreUnavailable
from adapters.node import Fault, Report
from catalog import CatalogueError, UnknownEntry
from gateway.body import BadBody
from gateway.resources.issues import Issue, ResourceRefused, outcome
from security.errors import IdentityRefused, TrustError


class GatewayError(Exception):
    """Base of what this room raises. ``field`` names the part of the request, where one is to blame."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class SettingsError(GatewayError):
    """The configuration cannot be used; the message names the key."""


class NotAuthenticated(GatewayError):
    """No token, or one that nobody here knows."""


class NotPermitted(GatewayError):
    """The caller is known and lacks a role, a scope or an institution; ``scope`` names the scope, if any."""

    def __init__(self, message: str, *, field: str = "", scope: str = "") -> None:
        super().__init__(message, field=field)
        self.scope = scope


class TokenNotGiven(GatewayError):
    """A request for an access token is refused; ``field`` is the error code of RFC 6749 section 5.2."""

    def __init__(self, error: str, message: str) -> None:
        super().__init__(message, field=error)


class BadRequest(GatewayError):
    """A field of a well-formed request is wrong; the message says what and what to do."""


class BadParameter(GatewayError):
    """A parameter of a FHIR operation or search is missing, wrong, or not offered; the message names it."""


class NotFound(GatewayError):
    """This gateway never returned such an id."""


class Gone(GatewayError):
    """It was here, and is not any more."""


class NotOffered(GatewayError):
    """An interaction that is not offered at this place."""


class NotAcceptable(GatewayError):
    """The caller takes no form that is given here."""


class PreconditionFailed(GatewayError):
    """Another version stands there than the caller presumes, or criteria do not mean one resource."""


class MultipleMatches(GatewayError):
    """Several resources are what was asked for; the message says how to ask for each."""


class ConsentDenied(GatewayError):
    """The person does not want it shown to this institution for this purpose."""


class NodeUnheard(GatewayError):
    """A node that may have what was asked for could not be heard; the message names it."""

    @classmethod
    def of(cls, report: Report) -> NodeUnheard:
        """By what is reported of the node."""
        return cls(f"node {report.node} was not heard ({report.state}): {report.detail}")


class RequestIdReused(GatewayError):
    """The request id was used before with another body."""


class PrefetchMissing(GatewayError):
    """CDS Hooks 2.0: the service cannot do without the prefetch data that was left out."""


class TooManyRequests(GatewayError):
    """A rate limit is used up; ``retry_after`` seconds from now there is room again."""

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Overloaded(GatewayError):
    """As many requests are worked on, and wait, as this process holds."""


class Stopping(GatewayError):
    """This process was told to stop: it finishes what it has, and takes nothing new."""


class EvidenceUnavailable(GatewayError):
    """The ledger cannot keep the evidence of an answer, so there is no answer."""


class Row(Struct, frozen=True):
    """What a caller sees of an error class: HTTP status, code, whose fault, FHIR issue code, log event."""

    status: int
    code: str
    fault: Fault
    issue: str
    event: str


TABLE: dict[type[Exception], Row] = {
    NotAuthenticated: Row(401, "not-authenticated", "caller", "login", "request_refused"),
    NotPermitted: Row(403, "not-permitted", "caller", "forbidden", "request_refused"),
    TokenNotGiven: Row(400, "token-not-given", "caller", "security", "request_refused"),
    BadBody: Row(400, "bad-body", "caller", "structure", "request_refused"),
    ResourceRefused: Row(422, "resource-refused", "caller", "invalid", "request_refused"),
    BadParameter: Row(400, "bad-parameter", "caller", "invalid", "request_refused"),
    BadRequest: Row(422, "bad-request", "caller", "value", "request_refused"),
    IdentityRefused: Row(422, "identity-refused", "caller", "value", "request_refused"),
    UnknownEntry: Row(422, "unknown-entry", "caller", "code-invalid", "request_refused"),
    NotFound: Row(404, "not-found", "caller", "not-found", "request_refused"),
    Gone: Row(410, "gone", "caller", "deleted", "request_refused"),
    NotOffered: Row(405, "not-offered", "caller", "not-supported", "request_refused"),
    NotAcceptable: Row(406, "not-acceptable", "caller", "not-supported", "request_refused"),
    PreconditionFailed: Row(412, "precondition-failed", "caller", "conflict", "request_refused"),
    MultipleMatches: Row(409, "multiple-matches", "caller", "multiple-matches", "request_refused"),
    ConsentDenied: Row(403, "consent-denied", "caller", "suppressed", "request_refused"),
    NodeUnheard: Row(502, "node-unheard", "node", "transient", "request_refused"),
    RequestIdReused: Row(409, "request-id-reused", "caller", "conflict", "request_refused"),
    KeyTaken: Row(409, "conflict", "caller", "conflict", "request_refused"),
    PrefetchMissing: Row(412, "prefetch-missing", "caller", "required", "request_refused"),
    TooManyRequests: Row(429, "too-many-requests", "caller", "throttled", "request_refused"),
    Overloaded: Row(503, "overloaded", "gateway", "throttled", "requests_shed"),
    Stopping: Row(503, "stopping", "gateway", "transient", "requests_shed"),
    EvidenceUnavailable: Row(503, "evidence-unavailable", "gateway", "transient", "evidence_unavailable"),
    StoreUnavailable: Row(503, "store-unavailable", "gateway", "transient", "evidence_unavailable"),
    AdapterError: Row(503, "store-error", "gateway", "transient", "evidence_unavailable"),
    NodeError: Row(502, "node-error", "node", "transient", "node_failed"),
    TrustError: Row(500, "trust-error", "gateway", "exception", "internal_error"),
    CatalogueError: Row(500, "catalogue-error", "gateway", "exception", "internal_error"),
    GatewayError: Row(500, "gateway-error", "gateway", "exception", "internal_error"),
}
TERSE: dict[type[Exception], str] = {
    NotAuthenticated: "send the token that this gateway gave your system, as Authorization: Bearer",
    NotPermitted: "this is not for your system; its operator finds the reason under the request's id",
    TokenNotGiven: "no token is given; this gateway's operator finds the reason under the request's id",
}
"""What is said of a refused access where ``refusals`` is terse; the reason then stands in the log alone."""
INTERNAL = Row(500, "internal", "gateway", "exception", "internal_error")
STORE_WORDS = "the store of this gateway does not answer; go on as without it, and try again later"
INTERNAL_WORDS = "something went wrong in this gateway; the log has it under the request's id"


class Failure(Struct, frozen=True):
    """An error as every face renders it: its row, one sentence, the field to blame; ``issues`` where a
    resource has several."""

    row: Row
    message: str
    field: str = ""
    issues: tuple[Issue, ...] = ()


def failure_of(error: Exception) -> Failure:
    """The failure that a caller sees; an error without a row tells nothing of itself."""
    for kind in type(error).__mro__:
        if issubclass(kind, Exception) and (row := TABLE.get(kind)):
            field = getattr(error, "field", "")
            message = STORE_WORDS if isinstance(error, StoreError) else str(error)
            if row.event == "internal_error":  # may name a file, a token or a row: that is for the log
                message = INTERNAL_WORDS
            if isinstance(error, BadBody):
                row = Row(error.status, row.code, row.fault, row.issue, row.event)
            if isinstance(error, TokenNotGiven) and error.field == "invalid_client":
                row = Row(401, row.code, row.fault, row.issue, row.event)
            issues = error.issues if isinstance(error, ResourceRefused) else ()
            return Failure(row, message, field if isinstance(field, str) else "", issues)
    return Failure(INTERNAL, INTERNAL_WORDS)


def title(row: Row) -> str:
    """The status phrase of RFC 9110 for a row."""
    return HTTPStatus(row.status).phrase


def outcome_of(failure: Failure) -> dict[str, Any]:
    """The OperationOutcome of a failure, with every fault where a resource has several."""
    row = failure.row
    whole = Issue(failure.field, row.issue, f"{failure.message} (fault: {row.fault})")
    return outcome(failure.issues or (whole,), row.code)
