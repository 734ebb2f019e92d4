"""The resources that an institution keeps at its published node, as the shelf of its publisher.

**Whose.** A resource is a person's by the local Patient that it names (``Patient/<id>`` at the same node),
who carries the number of a document, or by such a number of its own. Where the two contradict each other it
is refused, and so is a Patient who would become somebody else. What names a Patient whom nobody knows yet is
kept, shown to its publisher alone, and becomes the person's together with that Patient.

**Order of writing.** As with publications (:mod:`gateway.publications`): first the index, then the evidence,
then the answer. Whoever got no answer repeats the request: the same bytes make no new version. To read back
what one wrote is no disclosure, and leaves no trace in the ledger.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence, Set
from datetime import UTC, datetime, timedelta

from msgspec import Raw, Struct
from msgspec.structs import replace

from adapters import NodeFaulty, VersionTaken
from adapters.fhir_copies import persons
from adapters.fhir_read import Identifier as Stated
from adapters.fhir_read import read
from adapters.fhir_records import check_subject
from adapters.published import patient_of, whose
from adapters.store import Held, Holding, attribute
from gateway.access.clients import Client
from gateway.errors import BadRequest, NotPermitted
from gateway.evidence import Evidence, keep
from gateway.holding import (
    Said,
    held_of,
    is_number,
    kept_of,
    node_of,
    nodes_of,
    pointers_to,
    subject_of,
    written,
)
from gateway.ids import new_id
from gateway.resources.values import Change, Kept, VersionConflict
from gateway.settings import NodeSettings
from gateway.wiring import Gateway
from security.identity import Identifier, identifier, identifier_in
from security.pseudonym import Pseudonyms

FRESH = timedelta(days=30)
"""How long after a Patient was written what comes of him lets him stay longer, too: what nobody refers to any
more goes when results of his time go."""
TURNS = 5
"""How often a write begins anew because somebody else's came between."""
_EVER = datetime(1, 1, 1, tzinfo=UTC)


class _Patient(Struct, frozen=True):
    identifier: tuple[Stated, ...] = ()


class _Write(Struct, frozen=True, kw_only=True):
    """A write as it was planned: what is held, of whom each is, which Patients become ``known`` with it, and
    which versions it presumes."""

    held: list[Held]
    of: dict[str, Identifier]
    known: dict[str, Identifier]
    persons: dict[Identifier, Pseudonyms]
    expected: dict[tuple[str, str], int]


class Repository:
    """A :class:`gateway.resources.values.Shelf`: what ``client`` keeps at a ``node`` of kind published."""

    def __init__(self, gateway: Gateway, node: NodeSettings, client: Client) -> None:
        self.node = node
        self._gateway = gateway
        self._store = gateway.store
        self._client = client

    async def get(self, type_: str, id_: str, version: int | None = None) -> Kept | None:
        """That version, or the newest one; a deleted one too."""
        name = f"{type_}/{id_}"
        if version is not None:
            held = await self._store.version(self.node.id, name, version)
            return kept_of(held) if held else None
        found = await self._store.place(self.node.id, (name,))
        return kept_of(found[0]) if found else None

    async def history(self, type_: str, id_: str, limit: int) -> list[Kept]:
        """The newest versions, the newest first."""
        found = await self._store.versions(self.node.id, f"{type_}/{id_}", limit)
        return [kept_of(held) for held in found]

    async def listed(self, type_: str, tokens: Sequence[str], limit: int) -> list[Kept]:
        """The newest of a type; with tokens all that have one of them, and others that have its value under
        another system. A token that is the number of a person finds what is his.

        Raises:
            IdentityRefused: such a number is malformed.
            TooManyRequests: more persons are asked about than this gateway looks up.
        """
        named = {token: _person_in(token) for token in tokens}
        plain = [token.split("|", 2)[-1] for token, person in named.items() if person is None]
        found: list[Held] = []
        for person in {person for person in named.values() if person}:
            pseudonyms = await self._gateway.pseudonyms(person)
            held = await self._store.held(pseudonyms.all, _EVER, (self.node.id,), limit)
            found += [one for one in held if one.type == type_]
            plain += pseudonyms.all
        if plain or not tokens:
            found += await self._store.listed(self.node.id, type_, plain, limit)
        newest = sorted({one.id: one for one in found}.values(), key=lambda one: one.saved, reverse=True)
        return [kept_of(held) for held in newest[:limit]]

    async def id_for(self, type_: str, tokens: Sequence[str]) -> str:
        """Keyed, of the pseudonym where a token is the number of a person: the same on all replicas."""
        told = [self.node.id, type_]
        for token in sorted(tokens):
            person = _person_in(token)
            told.append((await self._gateway.pseudonyms(person)).current if person else token)
        return await self._store.blinded("\n".join(told))

    async def put(self, changes: Sequence[Change]) -> list[Kept]:
        """Keep all of them or nothing, and put it on record.

        Raises:
            VersionConflict: another version stands there than a change expects.
            BadRequest: a resource is about somebody else than it can be (422).
            TooManyRequests: more persons are published about than this gateway looks up.
            EvidenceUnavailable, StoreUnavailable: it could not be recorded; repeat it.
        """
        gateway, now = self._gateway, datetime.now(UTC)
        evidence = Evidence.of(gateway, self._client.id, now)
        write, holding = await self._hold(changes, now)
        adopted = await self._adopt(write, now)
        publication = new_id(now)
        moved = {(one.id, one.version) for one in adopted}
        laid = [*(one for one in holding.held if (one.id, one.version) not in moved), *adopted]
        for person in [*write.persons, None]:
            pseudonym = write.persons[person].current if person else ""
            theirs = [one for one in laid if one.person == pseudonym]
            if theirs:
                evidence.publication(
                    {
                        "publication": publication,
                        "person": pseudonym,
                        "node": self.node.id,
                        "resources": [
                            hashlib.sha256(one.body).hexdigest() for one in theirs if not one.deleted
                        ],
                        "removed": sum(one.deleted for one in theirs),
                        "announced": [],
                    }
                )
        await keep(gateway.sequencer, evidence.entries, [])
        for pseudonyms in write.persons.values():
            await gateway.broker.forget(self.node.id, pseudonyms.all)
        gateway.log(
            "published",
            publication=publication,
            client=self._client.id,
            node=self.node.id,
            kept=sum(bool(change.body) for change in changes),
            removed=sum(not change.body for change in changes),
            announced=0,
        )
        gateway.metrics.publications.labels(self.node.id).inc()
        return [kept_of(one) for one in holding.held[: len(changes)]]

    async def _hold(self, changes: Sequence[Change], now: datetime) -> tuple[_Write, Holding]:
        wanted = {
            (self.node.id, f"{one.type}/{one.id}"): one.expected
            for one in changes
            if one.expected is not None
        }
        for turn in range(TURNS):
            write = await self._planned(changes, now)
            expected = write.expected | wanted
            pointers = [
                pointer
                for person in write.persons
                for pointer in pointers_to(
                    [one for one in write.held if write.of.get(one.id) == person],
                    person,
                    self.node,
                    self._gateway.rules.normaliser,
                    now,
                )
            ]
            try:
                return write, await self._store.hold(write.held, pointers, (), expected)
            except VersionTaken as taken:
                if (taken.node, taken.id) in wanted or turn == TURNS - 1:
                    raise VersionConflict(taken.id) from None
        raise AssertionError  # the last turn returns or raises

    async def _planned(self, changes: Sequence[Change], now: datetime) -> _Write:
        """Raises BadRequest, TooManyRequests."""
        bodies = {f"{one.type}/{one.id}": one.body for one in changes}
        said = {name: read(Raw(body), Said) for name, body in bodies.items() if body}
        referred = {name: _local(one) for name, one in said.items()}
        looked = {name for name in bodies if name.startswith("Patient/") or not bodies[name]}
        found = await self._store.place(self.node.id, [*looked | {*referred.values()} - {""}])
        standing = {one.id: one for one in found}
        numbers = {
            name: _numbers(name, bodies.get(name) or standing[name].body, standing.get(name))
            for name in {*standing, *looked}
            if name.startswith("Patient/") and (bodies.get(name) or name in standing)
        }
        for name in [name for name in said if numbers.get(name)]:
            if name not in standing or not whose(standing[name]):
                await self._refuse_others(name, numbers[name], bodies.keys())
        of = {name: one for name, former in standing.items() if (one := whose(former))}
        of |= {name: known[0] for name, known in numbers.items() if known}
        of |= {
            name: person
            for name, one in said.items()
            if not name.startswith("Patient/")
            and (person := _person(name, bodies[name], one, numbers.get(referred[name], ())))
        }
        aging = [
            one
            for name, one in standing.items()
            if name not in bodies and not one.deleted and one.at < now - FRESH
        ]
        written_now = bodies | {one.id: one.body for one in aging}
        persons_ = {
            person: await self._gateway.pseudonyms(person)
            for person in {of[name] for name in written_now if name in of}
        }
        held = []
        for name, body in written_now.items():
            holder = of.get(name)
            pseudonym = persons_[holder].current if holder else ""
            if body:
                theirs = written(holder) if holder else ""
                new = held_of(self.node.id, name, body, now, person=pseudonym, whose=theirs)
                # a Patient is found by each of his numbers, and held by the first
                further = [await self._gateway.pseudonyms(number) for number in numbers.get(name, ())[1:]]
                held.append(replace(new, tokens=(*new.tokens, *(known.current for known in further))))
            else:
                held.append(self._gone(name, standing.get(name), pseudonym, now))
        presumed = [name for name in written_now if name.startswith("Patient/")]
        return _Write(
            held=held,
            of={name: of[name] for name in written_now if name in of},
            known={name: of[name] for name in presumed if name in of and name in said},
            persons=persons_,
            expected={
                (self.node.id, name): standing[name].version if name in standing else 0 for name in presumed
            },
        )

    def _gone(self, name: str, former: Held | None, person: str, now: datetime) -> Held:
        """That something was deleted, which goes with its person, too, should he be known later only."""
        return Held(
            person=person,
            at=former.at if former else now,
            node=self.node.id,
            id=name,
            body=b"",
            saved=now,
            subject=subject_of(name, former.body) if former and not former.deleted else "",
        )

    async def _refuse_others(self, name: str, numbers: Sequence[Identifier], written: Set[str]) -> None:
        """Raise BadRequest where a Patient comes to be known whom somebody else's resources name, other than
        those that are ``written`` with him."""
        known = [await self._gateway.pseudonyms(one) for one in numbers]
        theirs = [pseudonym for one in known for pseudonym in one.all]
        if {*await self._store.others(self.node.id, name, theirs)} - written:
            raise BadRequest(
                f"{name} is named by resources of another person; correct them in the same transaction, or"
                " give this one another id",
                field="Patient.identifier",
            )

    async def _adopt(self, write: _Write, now: datetime) -> list[Held]:
        """What waited for the Patients who are known now, also those whom somebody else wrote meanwhile."""
        known = dict(write.known)
        waiting = {one.subject for one in write.held if one.subject and not one.person}
        for patient in await self._store.place(self.node.id, [*waiting]) if waiting else ():
            if person := whose(patient):
                known[patient.id] = person
        adopted: list[Held] = []
        for name, person in known.items():
            if person not in write.persons:
                write.persons[person] = await self._gateway.pseudonyms(person)
            pseudonym = write.persons[person].current
            theirs = await attribute(self._store, self.node.id, name, pseudonym, written(person))
            if theirs:
                newest = {one.id: one for one in sorted(theirs, key=lambda one: one.version)}
                normaliser = self._gateway.rules.normaliser
                pointers = pointers_to(newest.values(), person, self.node, normaliser, now)
                await self._store.hold((), pointers)
                adopted += theirs
        return adopted


def own(gateway: Gateway, client: Client, node: str = "") -> Repository:
    """The repository of a publisher: that of ``node``, else the only one of its institution.

    Raises:
        NotPermitted: the client may not publish, or not there; or its institution has none or several.
    """
    client.require("publisher")
    if node:
        one = node_of(gateway, client, node)
        if one.kind == "published":
            return Repository(gateway, one, client)
        raise NotPermitted(f"node {node} is asked itself: nothing is published to it here", field="node")
    kept = [one for one in nodes_of(gateway, client).values() if one.kind == "published"]
    if len(kept) == 1:
        return Repository(gateway, kept[0], client)
    if kept:
        names = ", ".join(one.id for one in kept)
        raise NotPermitted(f"say which node: write below /fhir/nodes/<node>, one of {names}", field="node")
    raise NotPermitted(
        f"client {client.id} speaks for no institution of a published node; its operator knows the nodes",
        field="node",
    )


def _local(said: Said) -> str:
    """The local Patient that is named, as ``Patient/<id>``; else empty."""
    name = said.whom.below("")
    return name if name.startswith("Patient/") else ""


def _numbers(name: str, body: bytes, former: Held | None) -> tuple[Identifier, ...]:
    """The numbers of a Patient, first the one that his results are held by.

    Raises:
        BadRequest: he would become somebody else.
    """
    stated = persons(read(Raw(body), _Patient).identifier) if body else ()
    known = whose(former) if former else None
    if known is None:
        return stated
    if stated and known not in stated:
        raise BadRequest(
            f"{name} had another person's number before; give another person another id",
            field="Patient.identifier",
        )
    return (known, *(one for one in stated if one != known))


def _person(name: str, body: bytes, said: Said, patient: tuple[Identifier, ...]) -> Identifier | None:
    """Whose a resource is that is no Patient, where the Patient that it names has these numbers.

    Raises:
        BadRequest: it says two things about whom.
    """
    whom, named = said.whom, persons([said.whom.identifier])
    if patient and not {*named} <= {*patient}:
        raise BadRequest(
            f"{name} names a Patient, and a number that is not his", field=f"{name.partition('/')[0]}.subject"
        )
    if whom.reference and not _local(said):
        return None
    person = next(iter(patient or named), None)
    if person and said.subject.reference + said.subject.identifier.value:
        try:
            check_subject(said.subject, patient_of(body, person), person, "", name)
        except NodeFaulty:
            raise BadRequest(
                f"{name} has a number of its subject that is not in its canonical form",
                field=f"{name.partition('/')[0]}.subject.identifier",
            ) from None
    return person


def _person_in(token: str) -> Identifier | None:
    """The person whose number a token is; None for any other. Raises IdentityRefused."""
    kind, system, value = (*token.split("|", 2), "", "")[:3]
    if kind != "identifier" or not is_number(system, value):
        return None
    return identifier_in(system, value) or identifier("resident-id", value)
