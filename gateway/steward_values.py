"""What stewards send and get: the queue, one name of it, mappings, decisions, proposals."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from gateway.model import Coded, ShortText
from mapping.proposals import Proposal, Replay


class ConfirmIn(Struct, frozen=True, forbid_unknown_fields=True):
    """What a name means: the ``item`` of the catalogue in force, or the ``concept`` that it has."""

    item: ShortText = ""
    concept: ShortText = ""
    note: ShortText = ""


class RevokeIn(Struct, frozen=True, forbid_unknown_fields=True):
    """Why a confirmed mapping is taken back."""

    reason: ShortText


class Said(Struct, frozen=True):
    """A person's confirmation; ``entry`` is its ledger entry."""

    by: str
    at: datetime
    concept: str
    note: str
    entry: str


class NameOut(Struct, frozen=True, kw_only=True):
    """A name in the queue: how often it was met since ``first``, and who has confirmed what of it."""

    id: str
    site: Coded
    code: str
    name: str
    fields: dict[str, str]
    reason: str
    token: str
    count: int
    first: datetime
    last: datetime
    confirmations: tuple[Said, ...] = ()


class GroupOut(Struct, frozen=True, kw_only=True):
    """Names of one site with one reason and one unexplained token; ``names`` are those met most often."""

    site: Coded
    reason: str
    token: str
    count: int
    members: int
    names: tuple[NameOut, ...]


class QueueOut(Struct, frozen=True):
    """Groups by the number of messages; ``next`` is ``after`` of the next page, empty on the last one."""

    groups: tuple[GroupOut, ...]
    next: str


class CandidateOut(Struct, frozen=True, kw_only=True):
    """An item that the name may mean, by likeness alone.

    ``differs``: the slots in which it differs from the first candidate. ``decides``: what confirming it would
    decide beyond the name's own reading; ``persons``: how many have to confirm it for that.
    """

    item: Coded
    concept: str
    likeness: float
    differs: tuple[str, ...]
    decides: tuple[str, ...]
    persons: int


class EntryOut(Struct, frozen=True, kw_only=True):
    """A name of the queue as it is read now: ``spans`` are ``(start, end, slot)`` over the name, ``token`` is
    what nobody could explain, ``readings`` are those that the grammars hold possible."""

    name: NameOut
    reading: str | None
    reason: str
    token: str
    spans: tuple[tuple[int, int, str], ...]
    readings: tuple[str, ...]
    differs: str
    candidates: tuple[CandidateOut, ...]
    mapping: str = ""


class MappingOut(Struct, frozen=True, kw_only=True):
    """A confirmed mapping. ``waiting``: another person has to confirm it too; ``persons``: how many have to.

    ``id`` is empty while it waits; ``table`` is the version of the table that this was read from.
    """

    id: str
    review: str
    state: str
    site: Coded
    code: str
    name: str
    fields: dict[str, str]
    concept: str
    item: Coded | None
    decides: tuple[str, ...]
    persons: int
    confirmations: tuple[Said, ...]
    table: str
    revoked: Said | None = None


class MappingsOut(Struct, frozen=True):
    """Mappings in the order of their ids, those that wait at the end of the last page."""

    table: str
    mappings: tuple[MappingOut, ...]
    next: str


class DecisionOut(Struct, frozen=True):
    """A check that rested on a mapping, and who asked; another gateway's check has its answer there."""

    check: str
    asked_by: str
    at: datetime


class RevocationOut(Struct, frozen=True):
    """The mapping, and the decisions that rested on it; ``next`` is ``after`` of their next page."""

    mapping: MappingOut
    decisions: tuple[DecisionOut, ...]
    next: str


class ProposalOut(Struct, frozen=True):
    """A word for the lexicon, and what it would change among the confirmed mappings of all sites."""

    proposal: Proposal
    replay: Replay
    admissible: bool


class ProposalsOut(Struct, frozen=True):
    """The proposals of a table; the dev set and the pairs are replayed where they are kept."""

    table: str
    proposals: tuple[ProposalOut, ...]


class ErasedOut(Struct, frozen=True):
    """Whether there was a row to erase, for this steward."""

    erased: bool
