"""What stewards do with names: look at the queue, confirm what a name means, take a confirmation back.

A steward's client that speaks for an institution sees and decides that institution's names; one that speaks
for none, all of them. Two persons are two clients: nobody is the second person to himself. Every step is in
the ledger before it counts. Doing a thing twice changes nothing and is answered as the first time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime

import msgspec

from adapters import KeyTaken
from adapters.store import Tally
from catalog import Item
from gateway._steward_queue import Group, place_of
from gateway._steward_values import (
    CandidateOut,
    ConfirmIn,
    DecisionOut,
    EntryOut,
    ErasedOut,
    GroupOut,
    MappingOut,
    MappingsOut,
    NameOut,
    ProposalOut,
    ProposalsOut,
    QueueOut,
    RevocationOut,
    RevokeIn,
    Said,
)
from gateway.clients import Client
from gateway.errors import BadRequest, NotFound
from gateway.evidence import keep
from gateway.model import Coded
from gateway.review import KIND, RESTING, Rests, Row, kept_as_written, read_row
from gateway.rules import Rules
from gateway.wiring import Gateway
from mapping import LocalName, Named
from mapping.proposals import proposals, replay_proposal
from mapping.ranking import Ranking
from mapping.sites import (
    UNCONFIRMABLE,
    SiteMapping,
    SiteTable,
    Step,
    beside,
    contradiction,
    decided,
    differing,
    key_of,
    persons_for,
)

__all__ = [
    "CandidateOut",
    "ConfirmIn",
    "DecisionOut",
    "EntryOut",
    "ErasedOut",
    "GroupOut",
    "MappingOut",
    "MappingsOut",
    "NameOut",
    "ProposalOut",
    "ProposalsOut",
    "QueueOut",
    "RevocationOut",
    "RevokeIn",
    "Said",
    "Stewarding",
]

PAGE = 500
CANDIDATES = 5


class Stewarding:
    """The queue, the table of confirmed names, and what stewards do with them."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._ranking: tuple[object, Ranking] | None = None

    async def queue(self, client: Client, site: str, reason: str, limit: int, after: str) -> QueueOut:
        """The names that wait for a steward, in groups.

        Raises:
            NotPermitted: the client is no steward.
            BadRequest: ``after`` is not of an earlier page.
        """
        client.require("steward")
        begin = place_of(after)
        table = self._gateway.sites.table
        groups: dict[tuple[str, str, str], Group] = {}
        async for tally in self._rows():
            row = read_row(tally)
            if tally.id in table.active or not _sees(client, row.local.site):
                continue
            if site in ("", row.local.site) and reason in ("", row.reason):
                group = (row.local.site, row.reason, row.token)
                groups.setdefault(group, Group(*group)).add(tally, row)
        ordered = sorted((group for group in groups.values() if group.place > begin), key=lambda g: g.place)
        page = ordered[:limit]
        return QueueOut(
            tuple(self._group(group, table) for group in page),
            page[-1].cursor if len(ordered) > limit else "",
        )

    async def entry(self, client: Client, id_: str) -> EntryOut:
        """A name as it is read now, and what it may mean.

        Raises:
            NotFound: no such row, or one of another institution.
        """
        client.require("steward")
        tally, row = await self._row(client, id_)
        rules, table = self._gateway.catalogues.rules, self._gateway.sites.table
        own = rules.normaliser.read(row.local)
        mapping = table.active.get(id_)
        return EntryOut(
            name=self._name(tally, row, table),
            reading=own.target,
            reason=row.reason,
            token=own.residue,
            spans=own.spans,
            readings=own.candidates,
            differs=own.differs,
            candidates=self._candidates(row.local, own, rules),
            mapping=mapping.id if mapping else "",
        )

    async def confirm(self, client: Client, id_: str, said: ConfirmIn) -> MappingOut:
        """Confirm what a name means; in force when enough persons have confirmed the same.

        Raises:
            NotPermitted, NotFound: see :meth:`entry`.
            BadRequest, UnknownEntry: it cannot mean this, or means something else already.
            EvidenceUnavailable: the step could not be recorded, so it was not taken.
        """
        client.require("steward")
        _, row = await self._row(client, id_)
        rules = self._gateway.catalogues.rules
        item = _item(said, rules)
        own = rules.normaliser.read(row.local)
        _refuse_unfit(id_, row.local, item, own, rules)
        if not kept_as_written(LocalName(name=said.note or "-")):
            raise BadRequest("holds something like a person's number; leave it out", field="note")
        slots = decided(own, item.concept)

        def make(number: str, table: SiteTable) -> Step | None:
            held = table.active.get(id_)
            if held and held.concept != item.concept:
                raise BadRequest(
                    f"is confirmed as {held.concept}; revoke mapping {held.id} first", field="id"
                )
            mine = [step for step in table.waiting.get(id_, ()) if step.by == client.id]
            if held or any(step.concept == item.concept for step in mine):
                return None
            return Step(
                id=number,
                act="confirm",
                by=client.id,
                at=datetime.now(UTC),
                note=said.note,
                key=id_,
                local=row.local,
                token=own.residue,
                concept=item.concept,
                decides=slots,
                persons=persons_for(slots),
            )

        table = await self._take(make, item.code)
        if mapping := table.active.get(id_):
            return self._mapping(mapping, table)
        mine = [step for step in table.waiting[id_] if step.concept == item.concept]
        return self._waiting(mine, table)

    async def revoke(self, client: Client, id_: str, said: RevokeIn, limit: int) -> RevocationOut:
        """End a confirmed mapping: the next check reads the name as if it had never been confirmed.

        Raises:
            NotPermitted, NotFound: the client is no steward, or there is no such mapping for it.
            BadRequest: no reason is given.
            EvidenceUnavailable: the step could not be recorded, so the mapping is still in force.
        """
        client.require("steward")
        if not said.reason.strip() or not kept_as_written(LocalName(name=said.reason)):
            raise BadRequest("is missing, or holds something like a person's number", field="reason")
        mapping = self._find(client, id_)
        item = self._gateway.catalogues.rules.catalogue.item_for(mapping.concept)

        def make(number: str, table: SiteTable) -> Step | None:
            if id_ in table.revoked:
                return None
            return Step(
                id=number,
                act="revoke",
                by=client.id,
                at=datetime.now(UTC),
                note=said.reason,
                key=mapping.key,
                mapping=id_,
            )

        await self._take(make, item.code if item else "")
        return await self.decisions(client, id_, limit, "")

    async def decisions(self, client: Client, id_: str, limit: int, after: str) -> RevocationOut:
        """The decisions that rested on a mapping, in the order of time.

        Raises:
            NotPermitted, NotFound: see :meth:`revoke`.
        """
        client.require("steward", "auditor")
        mapping = self._find(client, id_)
        begin = f"{id_}."
        page = await self._gateway.store.documents(RESTING, begin + after, limit + 1)
        found = [document for document in page if document.id.startswith(begin)]
        decisions = tuple(
            DecisionOut(rests.check, rests.asked_by, document.at)
            for document in found[:limit]
            for rests in (msgspec.json.decode(document.body, type=Rests),)
        )
        following = found[limit - 1].id.removeprefix(begin) if len(found) > limit else ""
        return RevocationOut(self._mapping(mapping, self._gateway.sites.table), decisions, following)

    def mappings(self, client: Client, site: str, limit: int, after: str) -> MappingsOut:
        """The mappings in force, those that were revoked, and those that wait for another person.

        Raises:
            NotPermitted: the client is neither steward nor auditor.
        """
        client.require("steward", "auditor")
        table = self._gateway.sites.table
        every = [*table.active.values(), *(one.mapping for one in table.revoked.values())]
        seen = sorted(
            (m for m in every if _sees(client, m.local.site) and site in ("", m.local.site) and m.id > after),
            key=lambda mapping: mapping.id,
        )
        found = [self._mapping(mapping, table) for mapping in seen[:limit]]
        if len(seen) > limit:
            return MappingsOut(table.version, tuple(found), seen[limit - 1].id)
        for steps in table.waiting.values():
            if _sees(client, steps[0].local.site) and site in ("", steps[0].local.site):
                concepts = dict.fromkeys(step.concept for step in steps)
                found += [self._waiting([s for s in steps if s.concept == one], table) for one in concepts]
        return MappingsOut(table.version, tuple(found), "")

    async def proposals(self, client: Client) -> ProposalsOut:
        """The words that three or more sites have confirmed alike.

        Raises:
            NotPermitted: the client is no steward.
        """
        client.require("steward")
        catalogue, table = self._gateway.catalogues.rules.catalogue, self._gateway.sites.table

        def work() -> tuple[ProposalOut, ...]:
            found = []
            for proposal in proposals(catalogue, table):
                replay = replay_proposal(catalogue, table, proposal)
                found.append(ProposalOut(proposal, replay, replay.admissible))
            return tuple(found)

        return ProposalsOut(table.version, await asyncio.to_thread(work))

    async def erase(self, client: Client, id_: str) -> ErasedOut:
        """Delete a row of the queue, where something stands in it that should not.

        Raises:
            NotPermitted: the client is no steward.
        """
        client.require("steward")
        try:
            await self._row(client, id_)
        except NotFound:
            return ErasedOut(False)
        return ErasedOut(await self._gateway.store.forget(KIND, id_))

    async def _take(self, make: Callable[[str, SiteTable], Step | None], item: str) -> SiteTable:
        """Add a step to the chain, having seen everything before it; the table with it."""
        gateway, sites = self._gateway, self._gateway.sites
        while True:
            await sites.poll()
            step = make(sites.following, sites.table)
            if step is None:
                return sites.table
            entry, document = sites.kept(
                step, binds=_binds(step, sites.table, sites.entry_of), item=item, hash_name=gateway.hash_name
            )
            try:
                await keep(gateway.sequencer, [entry], [document])
            except KeyTaken:  # another steward was quicker: look at what was done
                continue
            gateway.log("mapping_step", step=step.id, act=step.act, client=step.by)
            await sites.poll()
            return sites.table

    async def _rows(self) -> AsyncIterator[Tally]:
        after = ""
        while page := await self._gateway.store.tallies(KIND, after, PAGE):
            for tally in page:
                yield tally
            after = page[-1].id
            await asyncio.sleep(0)  # others are served meanwhile

    async def _row(self, client: Client, id_: str) -> tuple[Tally, Row]:
        tally = await self._gateway.store.tally(KIND, id_)
        if tally is not None and _sees(client, (row := read_row(tally)).local.site):
            return tally, row
        raise NotFound(f"the queue has no name {id_!r}", field="id")

    def _find(self, client: Client, id_: str) -> SiteMapping:
        table = self._gateway.sites.table
        held = [mapping for mapping in table.active.values() if mapping.id == id_]
        if id_ in table.revoked:
            held.append(table.revoked[id_].mapping)
        if held and _sees(client, held[0].local.site):
            return held[0]
        raise NotFound(f"there is no mapping {id_!r}", field="id")

    def _candidates(self, local: LocalName, own: Named, rules: Rules) -> tuple[CandidateOut, ...]:
        if self._ranking is None or self._ranking[0] is not rules.catalogue:
            self._ranking = rules.catalogue, Ranking(rules.catalogue)
        ranked = self._ranking[1].nearest(local.name, local.kind, CANDIDATES)
        return tuple(
            CandidateOut(
                item=Coded(one.item.code, one.item.name),
                concept=one.item.concept,
                likeness=one.likeness,
                differs=differing(ranked[0].item.concept, one.item.concept),
                decides=(slots := decided(own, one.item.concept)),
                persons=persons_for(slots),
            )
            for one in ranked
        )

    def _group(self, group: Group, table: SiteTable) -> GroupOut:
        return GroupOut(
            site=self._site(group.site),
            reason=group.reason,
            token=group.token,
            count=group.count,
            members=group.members,
            names=tuple(self._name(tally, row, table) for tally, row in group.top()),
        )

    def _name(self, tally: Tally, row: Row, table: SiteTable) -> NameOut:
        return NameOut(
            id=tally.id,
            site=self._site(row.local.site),
            code=row.local.code,
            name=row.local.name,
            fields=beside(row.local),
            reason=row.reason,
            token=row.token,
            count=tally.count,
            first=tally.first,
            last=tally.last,
            confirmations=tuple(self._said(step) for step in table.waiting.get(tally.id, ())),
        )

    def _mapping(self, mapping: SiteMapping, table: SiteTable) -> MappingOut:
        ended = table.revoked.get(mapping.id)
        return self._out(
            mapping.steps,
            table,
            state="revoked" if ended else "in_force",
            id=mapping.id,
            revoked=self._said(ended.step) if ended else None,
        )

    def _waiting(self, steps: Sequence[Step], table: SiteTable) -> MappingOut:
        return self._out(steps, table, state="waiting", id="", revoked=None)

    def _out(
        self,
        steps: Sequence[Step],
        table: SiteTable,
        *,
        state: str,
        id: str,  # noqa: A002 - the field's own name
        revoked: Said | None,
    ) -> MappingOut:
        local, concept = steps[0].local, steps[0].concept
        item = self._gateway.catalogues.rules.catalogue.item_for(concept)
        return MappingOut(
            id=id,
            review=steps[0].key,
            state=state,
            site=self._site(local.site),
            code=local.code,
            name=local.name,
            fields=beside(local),
            concept=concept,
            item=Coded(item.code, item.name) if item else None,
            decides=tuple(dict.fromkeys(slot for step in steps for slot in step.decides)),
            persons=max(step.persons for step in steps),
            confirmations=tuple(self._said(step) for step in steps),
            table=table.version,
            revoked=revoked,
        )

    def _said(self, step: Step) -> Said:
        return Said(step.by, step.at, step.concept, step.note, self._gateway.sites.entry_of(step.id))

    def _site(self, code: str) -> Coded:
        institution = self._gateway.catalogues.rules.catalogue.institutions.get(code)
        return Coded(code, institution.name if institution else "")


def _sees(client: Client, site: str) -> bool:
    return client.institution in ("", site)


def _item(said: ConfirmIn, rules: Rules) -> Item:
    if bool(said.item) == bool(said.concept):
        raise BadRequest("needs either an item or a concept", field="item")
    if said.item:
        return rules.catalogue.item(said.item)
    item = rules.catalogue.item_for(said.concept)
    if item is None:
        raise BadRequest(f"no item of catalogue {rules.catalogue.version} has this concept", field="concept")
    return item


def _refuse_unfit(id_: str, local: LocalName, item: Item, own: Named, rules: Rules) -> None:
    """What nobody may confirm. Raises BadRequest."""
    if key_of(local) != id_:
        raise BadRequest("is longer than the queue keeps; it cannot be confirmed", field="id")
    if own.reason in UNCONFIRMABLE:
        raise BadRequest(f"did not arrive as it was written ({own.reason}); mend the interface", field="id")
    if own.items and own.target != item.concept:
        raise BadRequest(f"the name itself says {own.target}", field="concept")
    if other := contradiction(rules.normaliser, rules.catalogue, local, item.concept):
        raise BadRequest(f"what stands beside the name says {other}", field="concept")


def _binds(step: Step, table: SiteTable, entry_of: Callable[[str], str]) -> str:
    """The ledger entry of the step before this one about the same name."""
    if step.act == "revoke":
        mapping = next((m for m in table.active.values() if m.id == step.mapping), None)
        return entry_of(mapping.steps[-1].id) if mapping else ""
    waiting = table.waiting.get(step.key, ())
    return entry_of(waiting[-1].id) if waiting else ""
