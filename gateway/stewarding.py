"""What stewards do with names: look at the queue, confirm what a name means, take a confirmation back.

A steward's client that speaks for an institution sees and decides that institution's names; one that speaks
for none, all of them. Two persons are two clients: nobody is the second person to himself. Every step is in
the ledger before it counts. Doing a thing twice changes nothing and is answered as the first time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from adapters import KeyTaken
from adapters.store import Tally
from catalog import Item
from gateway._steward_queue import place_of, read_groups, sees
from gateway._steward_views import Candidates, Views
from gateway.access.clients import Client
from gateway.errors import BadRequest, NotFound, NotPermitted
from gateway.evidence import keep
from gateway.review import KIND, RESTING, Rests, Row, kept_as_written, read_row
from gateway.rules import Rules
from gateway.steward_values import (
    ConfirmIn,
    DecisionOut,
    EntryOut,
    ErasedOut,
    MappingOut,
    MappingsOut,
    ProposalOut,
    ProposalsOut,
    QueueOut,
    RevocationOut,
    RevokeIn,
)
from gateway.wiring import Gateway
from mapping import LocalName, Named
from mapping.proposals import proposals, replay_proposal
from mapping.sites import UNCONFIRMABLE, SiteMapping, SiteTable, Step, contradiction, key_of
from mapping.slots import decided, persons_for


class Stewarding:
    """The queue, the table of confirmed names, and what stewards do with them."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._candidates = Candidates()

    async def queue(self, client: Client, site: str, reason: str, limit: int, after: str) -> QueueOut:
        """The names that wait for a steward, in groups.

        Raises:
            NotPermitted: the client is no steward.
            BadRequest: ``after`` is not of an earlier page.
        """
        client.require("steward")
        begin = place_of(after)
        views, found = self._views, await read_groups(self._gateway, client, site, reason)
        ordered = [group for group in found if group.place > begin]
        page = ordered[:limit]
        return QueueOut(tuple(map(views.group, page)), page[-1].cursor if len(ordered) > limit else "")

    async def entry(self, client: Client, id_: str) -> EntryOut:
        """A name as it is read now, and what it may mean.

        Raises:
            NotFound: no such row, or one of another institution.
        """
        client.require("steward")
        tally, row = await self._row(client, id_)
        rules, views = self._gateway.catalogues.rules, self._views
        mapping = self._gateway.sites.table.active.get(id_)
        own = rules.normaliser.read(row.local)
        return EntryOut(
            name=views.name(tally, row),
            reading=own.target,
            reason=row.reason,
            token=own.residue,
            spans=own.spans,
            readings=own.candidates,
            differs=own.differs,
            candidates=await asyncio.to_thread(self._candidates.of, row.local, own, rules.catalogue),
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
            return self._views.mapping(mapping)
        return next(one for one in self._views.waiting(id_) if one.concept == item.concept)

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
        await self._gateway.sites.poll()  # it may have been confirmed at another replica just now
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
        return RevocationOut(self._views.mapping(mapping), decisions, following)

    def mappings(self, client: Client, site: str, limit: int, after: str) -> MappingsOut:
        """The mappings in force, those that were revoked, and those that wait for another person.

        Raises:
            NotPermitted: the client is neither steward nor auditor.
        """
        client.require("steward", "auditor")
        table, views = self._gateway.sites.table, self._views

        def wanted(of: str) -> bool:
            return sees(client, of) and site in ("", of)

        every = [*table.active.values(), *(one.mapping for one in table.revoked.values())]
        seen = sorted((m for m in every if m.id > after and wanted(m.local.site)), key=lambda m: m.id)
        found = [views.mapping(mapping) for mapping in seen[:limit]]
        if len(seen) > limit:
            return MappingsOut(table.version, tuple(found), seen[limit - 1].id)
        for key, steps in table.waiting.items():
            if wanted(steps[0].local.site):
                found += views.waiting(key)
        return MappingsOut(table.version, tuple(found), "")

    async def proposals(self, client: Client) -> ProposalsOut:
        """The words that three or more sites have confirmed alike.

        Raises:
            NotPermitted: the client is no steward, or one of a single institution.
        """
        client.require("steward")
        if client.institution:
            raise NotPermitted("proposals show what several institutions write; ask as a steward of none")
        catalogue, table = self._gateway.catalogues.rules.catalogue, self._gateway.sites.table

        def work() -> tuple[ProposalOut, ...]:
            tried = ((one, replay_proposal(catalogue, table, one)) for one in proposals(catalogue, table))
            return tuple(ProposalOut(one, replay, replay.admissible) for one, replay in tried)

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
                step, binds=sites.entry_of(_before(step, sites.table)), item=item, hash_name=gateway.hash_name
            )
            try:
                await keep(gateway.sequencer, [entry], [document])
            except KeyTaken:  # another steward was quicker: look at what was done
                continue
            gateway.log("mapping_step", step=step.id, act=step.act, client=step.by)
            await sites.poll()
            return sites.table

    async def _row(self, client: Client, id_: str) -> tuple[Tally, Row]:
        tally = await self._gateway.store.tally(KIND, id_)
        if tally is not None and sees(client, (row := read_row(tally)).local.site):
            return tally, row
        raise NotFound(f"the queue has no name {id_!r}", field="id")

    def _find(self, client: Client, id_: str) -> SiteMapping:
        mapping = self._gateway.sites.table.known(id_)
        if mapping and sees(client, mapping.local.site):
            return mapping
        raise NotFound(f"there is no mapping {id_!r}", field="id")

    @property
    def _views(self) -> Views:
        sites = self._gateway.sites
        return Views(self._gateway.catalogues.rules.catalogue, sites.table, sites.entry_of)


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
    if other := contradiction(rules.normaliser, rules.catalogue, local, own, item.concept):
        raise BadRequest(f"the name, or what stands beside it, says {other}", field="concept")


def _before(step: Step, table: SiteTable) -> str:
    """The step before this one about the same name, or empty."""
    mapping = table.known(step.mapping)
    steps = mapping.steps if mapping else table.waiting.get(step.key, ())
    return steps[-1].id if steps else ""
