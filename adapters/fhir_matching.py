"""The matches of one search: resources of the person as their own bytes, with the fields they are found by.

Whose a resource is, is checked as for a result (:func:`adapters.fhir_records.check_subject`). What lies
before the time that was searched for is left out, and so is what cannot be read; of Observations only those
of the laboratory are shown, because this gateway exchanges results and not charts.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable

import msgspec
from msgspec import Raw

from adapters._asking import Heard, left_out
from adapters.fhir_read import FHIR_ID, Key, Patient, is_laboratory
from adapters.fhir_records import check_subject
from adapters.fhir_search import another_type
from adapters.fhir_time import reach
from adapters.node import Match, Question

_KEY = msgspec.json.Decoder(Key)


class Matching:
    """Collects the matches of a search for a type at the server ``base``, by its parameter ``bound``."""

    def __init__(self, question: Question, type_: str, bound: str, base: str) -> None:
        self.unreadable: list[str] = []
        self._past: list[str] = []
        self._matches: list[Match] = []
        self._person = question.person
        self._since = question.since.timestamp() // 1
        self._type = type_
        self._bound = bound
        self._base = base

    def take(self, patient: Patient, index: int, raw: Raw) -> None:
        """Take a resource in, or note why not.

        Raises:
            NodeFaulty: it is of another type or about somebody else, or does not say about whom.
        """
        try:
            key = _KEY.decode(raw)
        except (msgspec.MsgspecError, RecursionError):
            self.unreadable.append(f"{self._type}[{index}]")
            return
        if key.resource_type != self._type:
            raise another_type(self._type)
        subject = key.subject
        if subject.identifier.value or subject.reference != f"Patient/{patient.id}":
            check_subject(subject, patient, self._person, self._base, f"{self._type}[{index}]")
        reached = reach(key.time(self._bound))
        if not FHIR_ID.fullmatch(key.id):
            self.unreadable.append(f"{self._type}[{index}]")
        elif reached and reached[1] <= self._since:
            self._past.append(f"{self._type}[{index}]")
        elif self._type != "Observation" or is_laboratory(key):
            self._matches.append(Match(key, raw, reached[0] if reached else -math.inf))

    def heard(self, digests: Iterable[bytes], *, bounded: bool) -> Heard:
        """What the node said in these bytes. ``bounded``: it was told the time, so what lies before it is its
        fault."""
        details = left_out("resources", self.unreadable, self._past if bounded else ())
        return Heard(
            matches=tuple(self._matches),
            digest=hashlib.sha256(b"".join(digests)).digest(),
            fault="node" if details else "",
            detail="; ".join(details),
        )
