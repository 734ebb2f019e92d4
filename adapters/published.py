"""What institutions published to this gateway, as a node: the results index, answered from the store.

The resources are FHIR R4, kept as the bytes that came and read here by the same code that reads a FHIR
server's (:class:`adapters.fhir_records.Records`, :class:`adapters.fhir_results.Reader`): the same resources
give the same results, whichever way they took. Whose they are was checked when they were published
(:mod:`gateway.publications`), and they lie under that person's pseudonym, sealed to that place. The Patient
itself is not kept: name, address and telephone serve no question.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import timedelta

from msgspec import Raw, Struct

from adapters._asking import Heard, answer_of, elapsed_ms, heard, in_reach
from adapters.errors import StoreError
from adapters.fhir_matching import Matching
from adapters.fhir_read import Identifier, Patient, Reference, Unreadable, read
from adapters.fhir_records import Records
from adapters.fhir_results import Reader
from adapters.node import Answer, Question, Report
from adapters.store import Held, Store
from catalog import Kind
from mapping import LocalName, Named
from mapping.sites import Reads
from recognition import Result
from security.identity import Identifier as Person

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
"""The types that are kept, and the kind of question that each is looked at for; None for every one."""


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

    async def search(self, question: Question, type_: str, bound: str, *, keyed: bool = True) -> Answer:
        """The person's resources of a type; as :meth:`adapters.fhir.FhirNode.search`."""
        started = time.monotonic()
        try:
            return await answer_of(self, question, math.inf, self._search(question, type_, bound, keyed))
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
        wanted = [held for held in found if RECORDS[_type(held)] in (None, *question.kinds)]
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

    async def _search(self, question: Question, type_: str, bound: str, keyed: bool) -> Heard:
        since = question.since - REPORTED_WITHIN  # what is kept lies at the time when it was performed
        found = await self._store.held(question.pseudonyms, since, (self.id,), LIMIT)
        matching = Matching(question, type_, bound, "", keyed=keyed)
        for index, held in enumerate(one for one in found if _type(one) == type_):
            matching.take(patient_of(held.body, question.person), [Raw(held.body)], index)
        if len(found) == LIMIT:
            matching.unreadable.append(f"what is older than the {LIMIT} newest")
        return matching.heard(bounded=False)

    def _said(self, question: Question, wanted: Sequence[Held], digest: bytes) -> _Said:
        """What these resources say. The same bytes are not read twice, as long as every name in them reads as
        it did; each is read again, because whoever listens to names has to hear it."""
        reads, key = self._normaliser(), (question.pseudonyms[0], question.kinds, digest)
        said = self._remembered.get(key)
        if said and [reads.read(local) for local, _ in said.names] == [named for _, named in said.names]:
            return said
        records, noting = Records("", question.person), _Noting(reads)
        for index, held in enumerate(sorted(wanted, key=_name)):
            type_, raw = _type(held), Raw(held.body)
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


def _type(held: Held) -> str:
    return held.id.partition("/")[0]


def _name(held: Held) -> str:
    return held.id
