"""The catalogue of a running gateway: what is in force now, was at any time, and will be.

Everything that was ever published stands in the store (:mod:`gateway.publishing`), the editions of the
settings' folder too, so that any stored decision can be taken again. The gateway looks for new editions every
``catalogue_poll_s`` seconds, verifies and compiles them off the event loop and ahead of their time, and puts
them into its plan (:mod:`gateway.rules`). Asking for the rules is a look into the plan, so replicas with
right clocks change over in the same moment.

What does not verify, compile or fit the settings is refused, with a log event and a count, and changes
nothing: what is in force stays in force.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import get_args

from msgspec import Struct
from msgspec.structs import replace

from adapters import KeyTaken, StoreError
from adapters.sequencer import Receipt, Sequencer
from adapters.store import Document, Store
from catalog import BUNDLED, CatalogueError, Draft, Finding, UnknownEntry, read_folder
from catalog.timeline import State, Timeline, name_of, shown
from gateway.errors import SettingsError
from gateway.metrics import Metrics
from gateway.publishing import PURPOSE, Released, editions_after, read_released, release, together
from gateway.rules import Compiler, EditionState, Plan, Rules, Stage, plan
from gateway.settings import Settings
from gateway.tasks import stop
from security.errors import TrustError
from security.keys import Algorithm
from security.keystore import KeyStore

SIGNING: tuple[Algorithm, ...] = ("Ed25519", "SM2")


class CutOver(Struct, frozen=True):
    """A moment at which prepared editions take force: the rules before (None: there are none) and after."""

    at: datetime
    before: Rules | None
    after: Rules


class Prepared(Struct, frozen=True):
    """Editions that may be published, at their times, with the timeline and the changes that they make."""

    drafts: tuple[Draft, ...]
    timeline: Timeline
    cut_overs: tuple[CutOver, ...]


class Catalogues:
    """Every published edition of one store.

    Args:
        settings: region and clients must be in whatever is in force.
        store: an open store.
        keys: whose public keys of purpose ``catalogue`` count.
        log, metrics: told what is accepted, refused and in force.
    """

    def __init__(
        self, settings: Settings, store: Store, keys: KeyStore, log: Callable[..., None], metrics: Metrics
    ) -> None:
        self._settings = settings
        self._store = store
        self._keys = keys
        self._log = log
        self._metrics = metrics
        self._compile = Compiler()
        self._released: dict[str, Released] = {}
        self._plan: Plan = ()
        self._last = ""
        self._task: asyncio.Task[None] | None = None
        self.timeline = Timeline()
        self.refused: dict[str, str] = {}

    @property
    def rules(self) -> Rules:
        """What is in force now."""
        if len(self._plan) == 1:  # nothing else is to come, whatever the clock says
            return self._plan[0].rules
        return self._stage(datetime.now(UTC)).rules

    def at(self, when: datetime) -> Rules:
        """What is or was in force at a moment; may compile, so call it in a thread.

        Raises:
            UnknownEntry: nothing was in force yet.
            CatalogueError: this version of the program does not read an edition of that time any more.
        """
        selection = self.timeline.at(when)
        if not selection:
            raise UnknownEntry("edition", f"in force on {shown(when)}", "the timeline")
        return self._compile(selection, self._released)

    def under(self, label: str) -> Rules:
        """The rules that evidence names so: a shared version, ``id@version`` (beside what was in force when
        it took force), or several joined by ``+``; may compile, so call it in a thread.

        Raises:
            UnknownEntry: nothing published has this label.
            CatalogueError: as :meth:`at`.
        """
        return self._compile(self.timeline.named(label), self._released)

    def drafts(self, label: str, now: datetime) -> list[Draft]:
        """The editions that a label names, or for an empty one those in force now, with their tables.

        Raises:
            UnknownEntry: nothing published has this label.
        """
        selection = self.timeline.named(label) if label else self.timeline.at(now)
        return [self._released[name_of(edition)].draft() for edition in selection]

    def for_codes(self, now: datetime, codes: Iterable[str]) -> Rules:
        """The rules of a check that plans these item or panel codes: those in force, unless they dropped one
        of them and overlapping ones still have all."""
        return self._stage(now).knowing(tuple(codes), now)

    def states(self, now: datetime) -> tuple[EditionState, ...]:
        """Every accepted edition with its state at a moment, by id and time."""
        return tuple(
            EditionState.of(standing, self._released[name_of(standing.published.edition)])
            for standing in self.timeline.standings(now)
        )

    def _stage(self, now: datetime) -> Stage:
        return next((stage for stage in reversed(self._plan) if stage.since <= now), self._plan[0])

    async def open(self, sequencer: Sequencer) -> None:
        """Read everything published, and publish what is new in the settings' folder: at once, where its time
        is past and another edition of its id is in force. The bundled catalogue goes only into a store that
        has none.

        Raises:
            CatalogueError: the folder cannot be used, or holds other content under a published version.
            SettingsError: nothing is in force, or it does not fit the settings.
            StoreUnavailable: the store cannot be read or written.
        """
        await self.poll()
        while (prepared := await asyncio.to_thread(self.folder, now := datetime.now(UTC))).drafts:
            with suppress(KeyTaken):  # another replica was quicker: look again at what it published
                await self.publish(prepared, sequencer, now)
        if not self._plan or self._plan[0].since > datetime.now(UTC):
            why = next(iter(self.refused.values()), "no edition has taken force yet")
            raise SettingsError(f"catalogue: nothing is in force: {why}")

    def folder(self, now: datetime) -> Prepared:
        """What a start would publish; call it in a thread, after :meth:`poll`.

        Raises:
            CatalogueError, SettingsError: see :meth:`open`.
        """
        if self._last and not self._settings.catalogue:
            return Prepared((), self.timeline, ())
        drafts = read_folder(self._settings.catalogue or BUNDLED)
        return self.prepare(
            [d for d in drafts if name_of(d.edition) not in self.refused], now, now, at_once=True
        )

    def start(self) -> None:
        """Begin to look for new editions."""
        self._task = asyncio.create_task(self._run())

    async def aclose(self) -> None:
        """Stop looking."""
        await stop(self._task)

    async def poll(self) -> None:
        """Take what was published since the last time.

        Raises:
            StoreUnavailable: the store cannot be read.
            KeyStoreError: the own keys cannot be read.
        """
        for group in together(await editions_after(self._store, self._last)):
            try:
                released = await asyncio.to_thread(self._verified, group)
                for one in released:
                    if await self._store.index_of(one.entry) is None:
                        message = "its entry is not in the ledger"
                        raise CatalogueError((Finding(name_of(one.edition), 0, "entry", message),))
                await asyncio.to_thread(self._take, released, datetime.now(UTC))
            except (StoreError, TrustError):  # to be tried again
                raise
            except Exception as wrong:  # whatever it was: what is in force stays in force
                said = isinstance(wrong, CatalogueError | SettingsError)
                why = str(wrong) if said else type(wrong).__name__
                for document in group:
                    self.refused[document.key] = why
                    self._metrics.editions_refused.inc()
                    self._log("catalogue_refused", edition=document.key, detail=why)
            else:
                for document in group if self._task else ():  # what stood there at the start is no news
                    since = self._released[document.key].edition.effective_from
                    self._log("catalogue_accepted", edition=document.key, effective_from=since.isoformat())
            self._last = group[-1].id
        states = [state.state for state in self.states(datetime.now(UTC))]
        for state in get_args(State):
            self._metrics.editions.labels(state).set(states.count(state))

    def _verified(self, group: Sequence[Document]) -> list[Released]:
        """What was published together; runs in a thread."""
        keys = self._keys.list()  # read again: a key may be newer than this process
        return [read_released(document, keys, self._settings.owner) for document in group]

    def _take(self, released: Sequence[Released], now: datetime) -> None:
        """Plan what was published together; runs in a thread, and swaps references at its end."""
        for one in released:
            if one.edition.effective_from < one.published_at and self.timeline.replaced_by(one.edition):
                message = "lies before it was published, and another edition was in force then"
                raise CatalogueError((Finding(name_of(one.edition), 0, "effective_from", message),))
        everything = {**self._released, **{name_of(one.edition): one for one in released}}
        timeline = self.timeline.add([one.head for one in released])
        planned = plan(timeline, everything, now, self._settings, self._compile)
        self._released, self.timeline, self._plan = everything, timeline, planned

    async def _run(self) -> None:
        in_force = self.rules
        while True:
            now = datetime.now(UTC)
            cuts = [stage.since - now for stage in self._plan if stage.since > now]
            wait = min([timedelta(seconds=self._settings.catalogue_poll_s), *cuts])
            await asyncio.sleep(wait.total_seconds())
            try:
                await self.poll()
            except (StoreError, TrustError) as wrong:
                self._log("catalogue_not_read", detail=str(wrong))
            if self.rules is not in_force:
                in_force = self.rules
                self._log("catalogue_in_force", catalogue=in_force.catalogue.version)

    def prepare(
        self, drafts: Sequence[Draft], now: datetime, earliest: datetime, *, at_once: bool = False
    ) -> Prepared:
        """What of these may be published, compiled with everything published; call it in a thread.

        Args:
            drafts: editions; those that are published already with the same content are left out.
            now: the time of publishing (aware).
            earliest: when an edition can take force at the soonest, that replaces another.
            at_once: whether an edition whose own time is sooner takes force then; else it is refused.

        Raises:
            CatalogueError: with everything to mend.
            SettingsError: the settings' region or a client's institution would be in no catalogue.
        """
        in_force = {edition.id for edition in self.timeline.at(now)}
        fresh: list[Draft] = []
        for draft in drafts:
            edition, name = draft.edition, name_of(draft.edition)
            held = self.timeline.get(name)
            if held and held.digest == draft.digest:
                continue
            if not held and edition.effective_from < earliest and edition.id in in_force:
                if not at_once:
                    message = (
                        f"{shown(edition.effective_from)} is past or too soon; set a time after"
                        f" {shown(earliest)}, or publish it at once"
                    )
                    raise CatalogueError((Finding(name, 0, "effective_from", message),))
                edition = replace(edition, effective_from=earliest)
            fresh.append(replace(draft, edition=edition))
        if not fresh:
            return Prepared((), self.timeline, ())
        new = [Released(draft.edition, draft.digest, now, "", draft.files) for draft in fresh]
        timeline = self.timeline.add([one.head for one in new])
        everything = {**self._released, **{name_of(one.edition): one for one in new}}
        plan(timeline, everything, now, self._settings, self._compile)
        cut_overs = []
        for moment in sorted({draft.edition.effective_from for draft in fresh}):
            former = self.timeline.at(moment)
            before = self._compile(former, self._released) if former else None
            cut_overs.append(CutOver(moment, before, self._compile(timeline.at(moment), everything)))
        return Prepared(tuple(fresh), timeline, tuple(cut_overs))

    async def publish(self, prepared: Prepared, sequencer: Sequencer, now: datetime) -> Receipt:
        """Sign the prepared editions, and write them with their ledger entries in one commit.

        Raises:
            KeyTaken: something else was published meanwhile; it has been read, so prepare again.
            StoreUnavailable: nothing, or all of it, was kept.
            KeyStoreError: there is no key for it.
        """
        replaced = [prepared.timeline.replaced_by(draft.edition) for draft in prepared.drafts]
        entries, documents = release(
            [
                (draft, former.version if former else "")
                for draft, former in zip(prepared.drafts, replaced, strict=True)
            ],
            after=self._last,
            now=now,
            gateway=self._settings.owner,
            hash_name=sequencer.hash_name,
            signers=[self._keys.signer(PURPOSE, algorithm, now) for algorithm in SIGNING],
        )
        try:
            return await sequencer.append(entries, documents)
        finally:
            await self.poll()
