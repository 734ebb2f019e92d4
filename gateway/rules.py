"""The rules of a moment: editions in force together, compiled; and the plan of which follow one another.

Rules are values. A check takes them once and finishes under them, also while others come into force; the
nodes that it asks read names by the same ones (:func:`reading`).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from catalog import Catalogue, CatalogueError, compile_drafts
from catalog.timeline import Selection, Standing, State, Timeline, name_of, shown
from gateway.errors import SettingsError
from gateway.publishing import Released
from gateway.readings import Readings
from gateway.settings import Settings
from mapping import Normaliser
from mapping.sites import Reads
from mapping.tables import tables

CACHED = 16
"""Compiled sets that are kept besides those of the plan."""


class Rules(Struct, frozen=True):
    """The editions in force together, compiled, with what reads names by them; never changed.

    ``until`` is set where they were superseded and may be asked for until then. ``names`` is the version of
    the confirmed names by which the normaliser reads.
    """

    catalogue: Catalogue
    normaliser: Reads
    until: datetime | None = None
    names: str = ""

    @property
    def reads_by(self) -> str:
        """What all who read names by these rules have in common: catalogue, tables and confirmed names."""
        editions = [name_of(edition) for edition in self.catalogue.editions]
        return ";".join((*editions, tables().version, self.names))

    @property
    def notices(self) -> tuple[str, str]:
        """What an answer says of its catalogue, in Chinese and English; empty where nothing is to be said."""
        zh, en = self.catalogue.notices
        if self.until is None:
            return zh, en
        label, end = self.catalogue.version, shown(self.until)
        return (
            f"本次按已被取代的目录版本 {label} 核对，其项目代码可用至 {end}，请改用新版目录。{zh}",
            f"Decided under {label}, which has been superseded; its codes may be used until {end}: change to"
            f" the new version. {en}".strip(),
        )


def compile_rules(catalogue: Catalogue) -> Rules:
    """A catalogue with what reads names by it."""
    return Rules(catalogue, Readings(Normaliser(catalogue)))


class Compiler:
    """Compiles selections of published editions, one at a time, and keeps the latest; for threads beside the
    event loop, to which they leave most of the processor."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[object, ...], Rules] = OrderedDict()
        self._lock = threading.Lock()
        self._room = CACHED

    def make_room(self, planned: int) -> None:
        """Keep the sets of a plan of this size besides the others."""
        self._room = CACHED + planned

    def __call__(self, selection: Selection, released: Mapping[str, Released]) -> Rules:
        """The rules of a selection.

        Raises:
            CatalogueError: the editions do not go together.
        """
        chosen = [released[name_of(edition)] for edition in selection]
        key = tuple((one.edition, one.digest) for one in chosen)
        with self._lock:
            if found := self._kept.get(key):
                self._kept.move_to_end(key)
                return found
            rules = self._kept[key] = compile_rules(compile_drafts([one.draft() for one in chosen]))
            while len(self._kept) > self._room:
                self._kept.popitem(last=False)
            return rules


class EditionState(Struct, frozen=True, kw_only=True):
    """A published edition at a moment.

    ``until``: when the next one of its id takes or took over; for an overlapping one, the end of the overlap.
    ``entry`` is the id of its ledger entry.
    """

    id: str
    version: str
    name: str
    owner: str
    scope: str
    state: State
    effective_from: datetime
    until: datetime | None
    illustrative: bool
    digest: str
    published_at: datetime
    entry: str

    @classmethod
    def of(cls, standing: Standing, released: Released) -> EditionState:
        """A standing, with what the store knows of it."""
        edition = standing.published.edition
        return cls(
            id=edition.id,
            version=edition.version,
            name=edition.name,
            owner=edition.owner,
            scope=edition.scope,
            state=standing.state,
            effective_from=edition.effective_from,
            until=standing.until,
            illustrative=edition.illustrative,
            digest=released.digest,
            published_at=released.published_at,
            entry=released.entry,
        )


class Stage(Struct, frozen=True):
    """From when on these rules are in force, and the overlapping ones beside them, each with its end."""

    since: datetime
    rules: Rules
    former: tuple[Rules, ...]

    def knowing(self, codes: tuple[str, ...], now: datetime) -> Rules:
        """The first rules, of those in force and those that overlap, with all of these item or panel codes;
        where none has them all, those in force."""
        for rules in (self.rules, *self.former):
            held = rules.catalogue
            if (rules.until is None or now < rules.until) and all(
                code in held.items or code in held.panels for code in codes
            ):
                return rules
        return self.rules


Plan = tuple[Stage, ...]
"""What is in force from now on, in the order of time; everything in it is compiled."""


def plan(
    timeline: Timeline,
    released: Mapping[str, Released],
    now: datetime,
    settings: Settings,
    compiler: Compiler,
) -> Plan:
    """The stages from now on. Old ones with a qualification that was changed or ended since are not asked.

    Raises:
        CatalogueError: editions that would be in force together do not go together.
        SettingsError: a stage lacks what the settings name.
    """
    past = [moment for moment in timeline.moments if moment <= now]
    moments = (*past[-1:], *timeline.moments[len(past) :])
    overlapping = [timeline.overlapping(max(moment, now)) for moment in moments]
    compiler.make_room(len(moments) + sum(map(len, overlapping)))
    stages = []
    for since, asked_for in zip(moments, overlapping, strict=True):
        rules = compiler(timeline.at(since), released)
        check_fit(settings, rules.catalogue)
        held, former = set(rules.catalogue.qualifications), []
        for selection, until in asked_for:
            with suppress(CatalogueError):  # an old edition need not go together with another id's new one
                old = compiler(selection, released)
                if held.issuperset(old.catalogue.qualifications):  # a suspension waits for no overlap
                    former.append(replace(old, until=until))
        stages.append(Stage(since, rules, tuple(former)))
    return tuple(stages)


def check_fit(settings: Settings, catalogue: Catalogue) -> None:
    """What the settings name must be in the catalogue.

    Raises:
        SettingsError: naming the setting and what the catalogue lacks.
    """
    if settings.region not in catalogue.regions:
        raise SettingsError(f"region: {settings.region!r} is not in catalogue {catalogue.version}")
    for client in settings.clients:
        if client.institution and client.institution not in catalogue.institutions:
            raise SettingsError(
                f"clients: {client.id}: institution {client.institution!r} is not in catalogue"
                f" {catalogue.version}"
            )


_READING: ContextVar[Rules] = ContextVar("reading")


@contextmanager
def reading(rules: Rules) -> Iterator[None]:
    """While a question is asked, its nodes read names by the rules that it is decided under."""
    token = _READING.set(rules)
    try:
        yield
    finally:
        _READING.reset(token)


def normaliser_of_question() -> Reads:
    """What reads names in the question that is being asked; see :func:`reading`."""
    return _READING.get().normaliser
