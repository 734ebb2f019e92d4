"""What institutions published to this gateway, as a node: the results index, answered from the store.

The resources are FHIR R4, kept as the bytes that came and read here by the same code that reads a FHIR
server's (:class:`adapters.fhir_records.Records`, :class:`adapters.fhir_results.Reader`): the same resources
give the same results, whichever way they took. Whose they are was checked when they were published
(:mod:`gateway.holding`), and they lie under that person's pseudonym, sealed to that place. A publication's
Patient is not kept: name, address and telephone serve no question. What was put over FHIR is kept as it is.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import chain

from msgspec import Raw, Struct

from adapters._asking import Heard, answer_of, elapsed_ms, heard, in_reach
from adapters.errors import StoreError
from adapters.fhir_copies import stated_in
from adapters.fhir_matching import Matching
from adapters.fhir_read import Identifier, Patient, Reference, Unreadable, read
from adapters.fhir_records import Records
from adapters.fhir_results import Reader
from adapters.node import Answer, Copy, Question, Report
from adapters.store import Held, Store
from catalog import Kind
from mapping import LocalName, Named
from mapping.sites import Reads
from recognition import Result
from security.identity import Identifier as Person
from security.identity import identifier_in

REPORTED_WITHIN = timedelta(days=31)
"""How much later than it was performed something is reported, at most, to be found by that time."""
LIMIT = 1000
"""How many resources of one person are looked at."""
REMEMBERED, REMEMBERED_S = 16_384, 60.0
"""How many resources it is remembered what they say of, and how long at most."""
RECORDS: dict[str, Kind | None] = {
    "DiagnosticReport": None,
    "Observation": "lab",
    "ImagingStudy": "imaging",
    "Specimen": "lab",
}
"""The types that results are read in, and the kind of question that each is looked at for; None for all."""


class _Said(Struct, frozen=True):
    """What some resources say: the results, the names that were read for them, what could not be read."""

    results: tuple[Result, ...]
    names: tuple[tuple[LocalName, Named], ...]
    records: Records
    unreadable: tuple[str, ...]
    resources: int
    at: float


class _Noting:
    """Reads names as ``reads`` does, and notes them."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads
        self.names: list[tuple[LocalName, Named]] = []

    def read(self, local: LocalName) -> Named:
        named = self._reads.read(local)
        self.names.append((local, named))
        return named

    def panel(self, name: str) -> str | None:
        return self._reads.panel(name)


class _Subject(Struct, frozen=True):
    subject: Reference = Reference()


class PublishedNode:
    """What was published for ``institution``, whose results these are where a record does not say."""

    kind = "published"

    def __init__(
        self,
        id: str,  # noqa: A002 - the protocol's word
        institution: str,
        normaliser: Callable[[], Reads],
        store: Store,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.id = id
        self.institution = institution
        self._store = store
        self._normaliser = normaliser
        self._remembered: OrderedDict[tuple[str, tuple[Kind, ...], bytes], _Said] = OrderedDict()
        self._resources = 0
        self._clock = clock

    async def prior(self, question: Question) -> Answer:
        """Results of the person since ``question.since``; see :class:`adapters.node.Node`.

        They are found by ``question.pseudonyms``; without any, nothing can be said of what is held.
        """
        started = time.monotonic()
        try:
            if question.pseudonyms:
                return await answer_of(self, question, math.inf, self._ask(question))
            return self._failed(started, "asked without the person's pseudonyms")
        except StoreError:
            return self._failed(started, "what was published cannot be read from the store now")

    async def search(self, question: Question, type_: str, bound: str) -> Answer:
        """The person's resources of a type; as :meth:`adapters.fhir.FhirNode.search`."""
        started = time.monotonic()
        try:
            return await answer_of(self, question, math.inf, self._search(question, type_, bound))
        except StoreError:
            return self._failed(started, "what was published cannot be read from the store now")

    async def read(
        self, question: Question, type_: str, id_: str, version: str = "", *, whose: bool = True
    ) -> Answer:
        """One resource as ``copy``, and whose it is; as :meth:`adapters.fhir.FhirNode.read`."""
        started = time.monotonic()
        try:
            return await answer_of(self, question, math.inf, self._copy(f"{type_}/{id_}", version))
        except StoreError:
            return self._failed(started, "what was published cannot be read from the store now")

    async def ping(self) -> Report:
        """Whether the store answers."""
        started = time.monotonic()
        try:
            await self._store.ping()
        except StoreError:
            return self._failed(started, "the store does not answer").report
        return Report(node=self.id, kind=self.kind, state="answered", took_ms=elapsed_ms(started))

    async def aclose(self) -> None:
        """The store is its owner's to close."""

    async def _ask(self, question: Question) -> Heard:
        found = await self._store.held(question.pseudonyms, question.since, (self.id,), LIMIT)
        wanted = [
            held for held in found if held.type in RECORDS and RECORDS[held.type] in (None, *question.kinds)
        ]
        digest = hashlib.sha256(b"".join(hashlib.sha256(held.body).digest() for held in wanted)).digest()
        said = self._said(question, wanted, digest)
        records = said.records
        records.unreadable = [*said.unreadable]
        if "lab" in question.kinds:
            records.note_lost(question.since)
        if len(found) == LIMIT:
            records.unreadable.append(f"what is older than the {LIMIT} newest")
        kept = [one for one in said.results if one.kind in question.kinds and in_reach(one, question)]
        return heard(kept, digest, records.unreadable, "resources")

    async def _search(self, question: Question, type_: str, bound: str) -> Heard:
        since = question.since - REPORTED_WITHIN  # what is kept lies at the time when it was performed
        found = await self._store.held(question.pseudonyms, since, (self.id,), LIMIT)
        matching = Matching(question, type_, bound, "")
        for index, held in enumerate(one for one in found if one.type == type_):
            matching.take(patient_of(held.body, question.person), [Raw(held.body)], index)
        if len(found) == LIMIT:
            matching.unreadable.append(f"what is older than the {LIMIT} newest")
        return matching.heard(bounded=False)

    async def _copy(self, name: str, version: str) -> Heard:
        if not version:
            found = await self._store.place(self.id, (name,))
        elif version.isascii() and version.isdigit():
            one = await self._store.version(self.id, name, int(version[:18]))
            found = [one] if one else []
        else:
            found = []
        for held in found:
            if not held.deleted:
                numbers = await self.numbers(held)
                return Heard(
                    copy=Copy(raw=held.body, version=str(held.version), saved=held.saved, whose=numbers)
                )
        return Heard()

    async def numbers(self, held: Held) -> tuple[Person, ...]:
        """The numbers by which the person of a resource is known here, first the one that it is held by; none
        where nobody knows. Raises StoreError."""
        person = whose(held)
        if person is None:
            return ()
        name = held.id if held.type == "Patient" else f"Patient/{patient_of(held.body, person).id}"
        found = [one for one in await self._store.place(self.id, (name,)) if whose(one) == person]
        stated = [stated_in(one.body, *name.split("/")).named for one in found]
        return tuple(dict.fromkeys((person, *chain(*stated))))

    def _said(self, question: Question, wanted: Sequence[Held], digest: bytes) -> _Said:
        """What these resources say. The same bytes are not read twice, as long as every name in them reads as
        it did; each is read again, because whoever listens to names has to hear it."""
        reads, key = self._normaliser(), (question.pseudonyms[0], question.kinds, digest)
        said = self._remembered.get(key)
        if said and [reads.read(local) for local, _ in said.names] == [named for _, named in said.names]:
            return said
        records, noting = Records("", question.person), _Noting(reads)
        for index, held in enumerate(sorted(wanted, key=_name)):
            type_, raw = held.type, Raw(held.body)
            patient = patient_of(held.body, question.person)
            if type_ == "Specimen":
                records.take_specimen(patient, raw)
            else:
                records.take(patient, type_, index, raw)
        results = tuple(records.results(Reader(self.id, self.institution, noting)))
        unreadable, size = tuple(records.unreadable), max(1, len(wanted))
        said = _Said(results, tuple(noting.names), records, unreadable, size, self._clock())
        self._forget(key)
        self._remembered[key] = said
        self._resources += size
        while self._resources > REMEMBERED or self._oldest().at + REMEMBERED_S < said.at:
            self._forget(next(iter(self._remembered)))
        return said

    def _oldest(self) -> _Said:
        return next(iter(self._remembered.values()))

    def _forget(self, key: tuple[str, tuple[Kind, ...], bytes]) -> None:
        if said := self._remembered.pop(key, None):
            self._resources -= said.resources

    def _failed(self, started: float, detail: str) -> Answer:
        return Answer(
            report=Report(
                node=self.id,
                kind=self.kind,
                state="unreachable",
                took_ms=elapsed_ms(started),
                fault="gateway",
                detail=detail,
            )
        )


def patient_of(record: bytes, person: Person) -> Patient:
    """The Patient that a published record is about: it has the person's number, and the local one that the
    record names. A record that names another person's number is refused by :class:`Records`."""
    try:
        subject = read(record, _Subject).subject
    except Unreadable:
        subject = Reference()
    number = Identifier(person.system, person.value)
    return Patient(id=subject.below("").removeprefix("Patient/"), identifier=(number, subject.identifier))


def whose(held: Held) -> Person | None:
    """Whose something is; None where nobody knows."""
    system, _, value = held.whose.rpartition("|")
    return identifier_in(system, value) if system else None


def _name(held: Held) -> str:
    return held.id
