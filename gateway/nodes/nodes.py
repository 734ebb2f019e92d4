"""The nodes of a running gateway, as they change: those of the settings, and those set at run time.

Every replica looks every ``catalogue_poll_s`` seconds for steps of :mod:`gateway.nodes.changing` and for
credentials that were written again, and swaps the nodes as a whole. A question that runs finishes with the
nodes it began with; the connections of a node that went are closed when none can be waiting for it any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from adapters import StoreError
from adapters.store import Store
from gateway.errors import SettingsError
from gateway.nodes.building import Built, Parts, build
from gateway.nodes.changing import Changes, Standing, Step
from gateway.nodes.placed import Placed, Unusable
from gateway.settings import NodeSettings, Settings
from gateway.tasks import stop

LONGEST_S = 60.0
"""The longest deadline that a caller can set; a node may go on for its ``late_ms`` afterwards."""


class Nodes:
    """The nodes.

    Args:
        settings: the nodes of the file, and how often to look for changes.
        store: an open store.
        parts: what adapters need.
        log: told what changed, and what cannot be used.
    """

    def __init__(self, settings: Settings, store: Store, parts: Parts, log: Callable[..., None]) -> None:
        self._poll_s = settings.catalogue_poll_s
        self._store = store
        self._parts = parts
        self._log = log
        self._changes = Changes(settings, store)
        self._built: dict[str, Built] = {}
        self._placed: tuple[Placed, ...] = ()
        self._holdings: dict[str, frozenset[str]] = {}
        self._lost: Placed | None = None
        self._renamed: list[Step] = []
        self._task: asyncio.Task[None] | None = None
        self._leaving: dict[asyncio.Task[None], Placed] = {}

    async def open(self) -> None:
        """Build the nodes.

        Raises:
            SettingsError: one of the file cannot be built. One that was set at run time is unusable then.
            StoreUnavailable: the changes cannot be read.
        """
        await self._changes.poll()
        self._swap()
        for built in self._built.values():
            if isinstance(built.placed.node, Unusable) and built.standing.at is None:
                raise SettingsError(f"nodes: {built.placed.settings.id}: {built.placed.node.reason}")

    def placed(self) -> tuple[Placed, ...]:
        """The nodes of now. Take them once for a question; it is another tuple when something changed."""
        return self._placed

    def holdings(self) -> Mapping[str, frozenset[str]]:
        """The institutions that each own node may speak for."""
        return self._holdings

    def standing(self) -> Sequence[Standing]:
        """The same with where each comes from."""
        return tuple(built.standing for built in self._built.values())

    @property
    def broken(self) -> str:
        """The step behind which no change counts because it is missing or does not open; mostly empty."""
        return self._changes.broken

    async def poll(self) -> None:
        """Take up what changed since the last time.

        Raises:
            StoreUnavailable: it cannot be read; the nodes go on as they are.
        """
        steps = await self._changes.poll()
        self._swap()
        for step in steps:
            self._log("node_changed", node=step.node, act=step.act, step=step.id)
        self._renamed += [step for step in steps if step.act == "rename"]
        while self._renamed:
            step = self._renamed[0]
            if step.node not in self._built:
                await self._store.repoint(step.node, step.to)  # what was seen here meanwhile
            del self._renamed[0]

    def start(self) -> None:
        """Begin to look for changes."""
        self._task = asyncio.create_task(self._run())

    async def aclose(self) -> None:
        """Stop looking, and give back all connections."""
        await stop(self._task)
        left = [*self._leaving.values(), *self._placed]
        for task in list(self._leaving):
            await stop(task)
        self._placed, self._built, self._leaving = (), {}, {}
        await asyncio.gather(*(placed.node.aclose() for placed in left))

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            with suppress(StoreError):  # to be tried again
                await self.poll()

    def _swap(self) -> None:
        before = self._built
        built = build(self._changes.standing(), self._parts, before)
        self._built = {one.placed.settings.id: one for one in built}
        own = [one.placed for one in built]
        self._mourn(self._changes.broken)
        placed = (*own, self._lost) if self._lost else tuple(own)
        if placed != self._placed:
            self._placed = placed
        self._holdings = {
            one.settings.id: frozenset({one.settings.institution, *one.settings.further_institutions})
            for one in own
        }
        kept = {id(one.placed) for one in built}
        for old in before.values():
            if id(old.placed) not in kept:
                self._leave(old.placed)
        for new in built:
            if isinstance(new.placed.node, Unusable) and new is not before.get(new.placed.settings.id):
                self._log("node_refused", node=new.placed.settings.id, detail=new.placed.node.reason)

    def _mourn(self, broken: str) -> None:
        """While the chain is broken nodes may be missing: something that cannot be asked stands in their
        place, so that no answer is complete."""
        name = f"change-{broken}" if broken else ""
        if name == (self._lost.node.id if self._lost else ""):
            return
        self._lost = None
        if broken:
            why = f"change {broken} of the nodes is missing or does not open; later ones do not count"
            settings = NodeSettings(id=name, kind="published")
            self._lost = Placed(Unusable(settings, why), settings)
            self._log("node_refused", node=name, detail=why)

    def _leave(self, placed: Placed) -> None:
        async def close() -> None:
            await asyncio.sleep(LONGEST_S + placed.settings.late_ms / 1000)
            await placed.node.aclose()

        task = asyncio.create_task(close())
        self._leaving[task] = placed
        task.add_done_callback(lambda done: self._leaving.pop(done, None))
