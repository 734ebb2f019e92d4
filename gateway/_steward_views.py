"""What stewards are shown: groups, names and mappings, with who said what of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from adapters.store import Tally
from catalog import Catalogue
from gateway._steward_queue import Group
from gateway.model import Coded
from gateway.review import Row
from gateway.steward_values import CandidateOut, GroupOut, MappingOut, NameOut, Said
from mapping import LocalName, Named
from mapping.ranking import Ranking
from mapping.sites import SiteMapping, SiteTable, Step, beside
from mapping.slots import decided, differing, persons_for

CANDIDATES = 5


class Views:
    """Shows what stands in a table of names, in the words of a catalogue.

    Args:
        catalogue: names items and institutions.
        table: the mappings and confirmations.
        entry_of: the ledger entry of a step.
    """

    def __init__(self, catalogue: Catalogue, table: SiteTable, entry_of: Callable[[str], str]) -> None:
        self._catalogue = catalogue
        self._table = table
        self._entry_of = entry_of

    def group(self, group: Group) -> GroupOut:
        """A group of the queue."""
        return GroupOut(
            site=self._site(group.site),
            reason=group.reason,
            token=group.token,
            count=group.count,
            members=group.members,
            names=tuple(self.name(tally, row) for tally, row in group.top()),
        )

    def name(self, tally: Tally, row: Row) -> NameOut:
        """A name of the queue."""
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
            confirmations=tuple(map(self._said, self._table.waiting.get(tally.id, ()))),
        )

    def mapping(self, mapping: SiteMapping) -> MappingOut:
        """A mapping that is or was in force."""
        ended = self._table.revoked.get(mapping.id)
        return self._mapping(
            mapping.steps,
            state="revoked" if ended else "in_force",
            id_=mapping.id,
            revoked=self._said(ended.step) if ended else None,
        )

    def waiting(self, key: str) -> list[MappingOut]:
        """What was confirmed of a name, and waits for another person: one for each concept."""
        steps = self._table.waiting.get(key, ())
        concepts = dict.fromkeys(step.concept for step in steps)
        return [self._mapping([s for s in steps if s.concept == one], state="waiting") for one in concepts]

    def _mapping(
        self, steps: Sequence[Step], *, state: str, id_: str = "", revoked: Said | None = None
    ) -> MappingOut:
        local, concept = steps[0].local, steps[0].concept
        item = self._catalogue.item_for(concept)
        return MappingOut(
            id=id_,
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
            confirmations=tuple(map(self._said, steps)),
            table=self._table.version,
            revoked=revoked,
        )

    def _said(self, step: Step) -> Said:
        return Said(step.by, step.at, step.concept, step.note, self._entry_of(step.id))

    def _site(self, code: str) -> Coded:
        institution = self._catalogue.institutions.get(code)
        return Coded(code, institution.name if institution else "")


class Candidates:
    """What names may mean, by likeness alone; for threads, since a catalogue's names take long to prepare."""

    def __init__(self) -> None:
        self._ranking: tuple[Catalogue, Ranking] | None = None

    def of(self, local: LocalName, own: Named, catalogue: Catalogue) -> tuple[CandidateOut, ...]:
        """The items nearest to a name; ``own`` is how it is read."""
        held = self._ranking
        if held is None or held[0] is not catalogue:
            held = self._ranking = catalogue, Ranking(catalogue)
        ranked = held[1].nearest(local.name, local.kind, CANDIDATES)
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
