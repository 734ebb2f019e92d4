"""The log: declared events, each with the fields it may carry; one JSON object a line on standard error.

A field that an event does not declare is a programming error and raises: that is how no name, number or date
of birth can slip into the log. Values are ids, codes, counts and times of this gateway's own making.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import TextIO

import msgspec

EVENTS: dict[str, frozenset[str]] = {
    "started": frozenset({"name", "owner", "catalogue", "nodes", "store", "log_size"}),
    "stopped": frozenset({"name"}),
    "check_answered": frozenset(
        {"check", "client", "face", "verdicts", "nodes", "took_ms", "ledger_index", "replayed"}
    ),
    "results_answered": frozenset({"question", "client", "results", "nodes", "took_ms"}),
    "break_glass": frozenset({"check", "client", "institution", "consent"}),
    "consent_recorded": frozenset({"consent", "client", "directive"}),
    "consent_revoked": frozenset({"consent", "client"}),
    "outcome_recorded": frozenset({"check", "client", "outcome", "reason_code"}),
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
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **fields}
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
