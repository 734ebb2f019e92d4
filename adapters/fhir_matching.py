"""The matches of one search: resources of the person as their own bytes, with the fields they are found by.

Whose a resource is, is checked as for a result (:func:`adapters.fhir_records.check_subject`). What lies
before the time that was searched for is left out, and so is what cannot be read; of Observations only those
of the laboratory are shown, because this gateway exchanges results and not charts. What another gateway
passes on it has checked; of that it is seen that it names no other person.

The fields of all resources are read in one go; only where one of them cannot be read, one after the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
from msgspec import Raw

from adapters._asking import Heard, left_out
from adapters.errors import NodeFaulty
from adapters.fhir_read import FHIR_ID, Head, Patient, is_laboratory
from adapters.fhir_records import check_subject
from adapters.fhir_search import another_type
from adapters.fhir_time import reach
from adapters.node import Match, Question

_ALL, _ONE = msgspec.json.Decoder(tuple[Head, ...]), msgspec.json.Decoder(Head)


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

    def take(self, patient: Patient | None, resources: Sequence[Raw], first: int = 0, node: str = "") -> None:
        """Take resources in, or note why not; ``first`` is the place of the first one. From behind another
        gateway they come from a ``node`` there, without the ``patient`` that the person is at that node.

        Raises:
            NodeFaulty: one is of another type or about somebody else, or does not say about whom.
        """
        reference, type_, bound = f"Patient/{patient.id}" if patient else "", self._type, self._bound
        since, laboratory, valid = self._since, type_ == "Observation", FHIR_ID.fullmatch
        matches = self._matches
        for index, (raw, head) in enumerate(zip(resources, self._heads(resources), strict=True), first):
            if head is None:
                self.unreadable.append(f"{type_}[{index}]")
                continue
            if head.resource_type != type_:
                raise another_type(type_)
            subject = head.subject
            if patient is None:
                self._refuse_other(head, f"{type_}[{index}]")
            elif type_ == "Patient":
                if patient.id:  # what stands there may have become somebody else's since he was looked up
                    if head.id != patient.id:
                        raise NodeFaulty("answered with a Patient that was not asked for")
                    self._refuse_other(head, f"{type_}[{index}]")
            elif subject.identifier.value or subject.reference != reference:
                check_subject(subject, patient, self._person, self._base, f"{type_}[{index}]")
            reached = reach(head.time(bound))
            if not valid(head.id):
                self.unreadable.append(f"{type_}[{index}]")
            elif reached and reached[1] <= since:
                self._past.append(f"{type_}[{index}]")
            elif not laboratory or is_laboratory(head):
                matches.append(Match(head, raw, reached[0] if reached else -math.inf, node))

    def heard(self, *, bounded: bool) -> Heard:
        """What the node said. ``bounded``: it was told the time, so what lies before it is its fault.

        No digest: the answer to a search holds these bytes, and the record of it its digest.
        """
        details = left_out("resources", self.unreadable, self._past if bounded else ())
        return Heard(
            matches=tuple(self._matches),
            fault="node" if details else "",
            detail="; ".join(details),
        )

    def _refuse_other(self, head: Head, place: str) -> None:
        """Raise NodeFaulty where a Patient does not have the person's number, or any other names another."""
        person, number = self._person, head.subject.identifier
        if head.resource_type == "Patient":
            own = any((one.system, one.value) == (person.system, person.value) for one in head.identifier)
        else:
            own = number.system != person.system or number.value == person.value
        if not own:
            raise NodeFaulty(f"answered with another person's resource: {place} is about another subject")

    def _heads(self, resources: Sequence[Raw]) -> Sequence[Head | None]:
        try:
            return _ALL.decode(b"[" + b",".join(resources) + b"]")
        except (msgspec.MsgspecError, RecursionError):
            return [_head(raw) for raw in resources]


def _head(raw: Raw) -> Head | None:
    try:
        return _ONE.decode(raw)
    except (msgspec.MsgspecError, RecursionError):
        return None
