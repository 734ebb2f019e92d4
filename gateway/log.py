"""The log: declared events, each with the fields it may carry; one JSON object a line on standard error.

A field that an event does not declare is a programming error and raises: that is how no name, number or date
of birth can slip into the log. Values are ids, codes, counts and times of this gateway's own making.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TextIO

import msgspec

EVENTS: dict[str, frozenset[str]] = {
    "started": frozenset({"name", "owner", "catalogue", "nodes", "store", "log_size"}),
    "stopped": frozenset({"name"}),
    "draining": frozenset({"requests"}),
    "drained": frozenset({"left", "took_ms"}),
    "requests_shed": frozenset({"refused", "in_flight", "request", "method", "route", "status", "code"}),
    "check_answered": frozenset(
        {"check", "client", "face", "verdicts", "nodes", "took_ms", "ledger_index", "replayed"}
    ),
    "results_answered": frozenset({"question", "client", "results", "nodes", "took_ms"}),
    "search_answered": frozenset({"search", "client", "type", "resources", "nodes", "took_ms"}),
    "resource_read": frozenset({"read", "client", "type", "resources", "took_ms"}),
    "resources_answered": frozenset({"question", "client", "type", "resources", "nodes", "took_ms"}),
    "images_listed": frozenset({"viewing", "client", "level", "objects", "nodes", "took_ms"}),
    "viewing_opened": frozenset({"viewing", "client", "check", "priors", "took_ms"}),
    "viewing_revoked": frozenset({"viewing", "client"}),
    "study_viewed": frozenset({"viewing", "client", "node", "took_ms"}),
    "studies_answered": frozenset({"question", "client", "studies", "nodes", "took_ms"}),
    "break_glass": frozenset({"check", "client", "institution", "consent"}),
    "consent_recorded": frozenset({"consent", "client", "directive"}),
    "consent_revoked": frozenset({"consent", "client"}),
    "outcome_recorded": frozenset({"check", "client", "outcome", "reason_code"}),
    "subscription_changed": frozenset({"subscription", "client", "topic", "act"}),
    "notification_failed": frozenset({"subscription", "client", "detail", "failures", "status"}),
    "notifications_failed": frozenset({"detail"}),
    "node_changed": frozenset({"node", "act", "step"}),
    "node_refused": frozenset({"node", "detail"}),
    "published": frozenset({"publication", "client", "node", "kept", "removed", "announced"}),
    "images_stored": frozenset({"publication", "client", "node", "kept", "refused", "took_ms"}),
    "node_left_alone": frozenset({"node", "reason", "seconds"}),
    "node_back": frozenset({"node"}),
    "node_failed": frozenset({"node", "state", "took_ms", "detail"}),
    "request_refused": frozenset({"request", "method", "route", "status", "code", "reason"}),
    "client_keys_missing": frozenset({"client", "detail"}),
    "token_given": frozenset({"client", "scope", "purposes", "key"}),
    "evidence_unavailable": frozenset({"request", "method", "route", "status", "code", "detail"}),
    "internal_error": frozenset({"request", "method", "route", "status", "code", "error", "place", "detail"}),
    "key_list_issued": frozenset({"version"}),
    "key_list_fetched": frozenset({"owner", "version"}),
    "key_list_missing": frozenset({"owner", "detail"}),
    "witness_cosigns": frozenset({"owner", "size"}),
    "witness_missing": frozenset({"owner", "state", "detail"}),
    "witnesses_not_asked": frozenset({"detail"}),
    "heads_conflict": frozenset({"origin", "size"}),
    "heads_not_joined": frozenset({"origin", "size", "former", "witness"}),
    "ledger_refused": frozenset({"detail"}),
    "catalogue_accepted": frozenset({"edition", "effective_from"}),
    "catalogue_refused": frozenset({"edition", "detail"}),
    "catalogue_not_read": frozenset({"detail"}),
    "catalogue_in_force": frozenset({"catalogue"}),
    "mapping_step": frozenset({"step", "act", "client"}),
    "mapping_refused": frozenset({"step", "detail"}),
    "mark_withdrawn": frozenset({"mark", "by", "reason"}),
    "status_fetched": frozenset({"owner", "version", "withdrawn"}),
    "status_missing": frozenset({"owner", "detail"}),
    "retention_run": frozenset({"entries", "documents"}),
    "retention_failed": frozenset({"detail"}),
    "cache_failed": frozenset({"detail"}),
    "library": frozenset({"logger", "level"}),
}

ABOUT: ContextVar[Mapping[str, str]] = ContextVar("about", default=MappingProxyType({}))
"""What every line says that is written while a request is worked on: ``request``, its id, and ``trace``."""


class Log:
    """Writes declared events to a stream."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr

    def __call__(self, event: str, **fields: str | int | float | bool | None) -> None:
        """Write one event.

        Raises:
            KeyError: the event is not declared.
            ValueError: it carries a field that it does not declare.
        """
        undeclared = fields.keys() - EVENTS[event]
        if undeclared:
            raise ValueError(f"the log event {event} does not declare {sorted(undeclared)}")
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = {"time": at, "event": event, **ABOUT.get(), **fields}
        self._stream.write(msgspec.json.encode(line).decode() + "\n")
        self._stream.flush()


class LibraryLog(logging.Handler):
    """What libraries log, as an event of this log: who and how grave, never the words."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """One line."""
        self._log("library", logger=record.name, level=record.levelname)
