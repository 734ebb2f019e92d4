"""The contract of a gateway's store: the exchange ledger, its erasable secrets, and the gateway's documents.

One store holds both, because a decision and its evidence are kept together or not at all: ``commit`` is one
transaction over entries and documents. The tables stand in :mod:`adapters.schema`; SQLite serves one process
on one machine, PostgreSQL any number of replicas. The implementations stay short because the contract is
here.

**Trust.** Nothing in a store is believed because it stands there. Who can write to the database can delete
and hide, but not rewrite what was published unseen: the root of every published checkpoint is signed, and
whoever kept one notices. ``secret``, ``document``, ``tally`` and ``held`` hold what hospitals sent, and
``pointer`` says where a person was examined; they deserve the database's protection (disk encryption, least
privilege). The other tables hold no person's data.

**Errors.** Every method but ``close`` raises :class:`StoreUnavailable` when the database cannot be reached or
does not answer in time, and leaks no exception of a driver.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from adapters.errors import KeyTaken, StoreError
from security.digests import HashName
from security.ledger import Sealed
from security.tree import Frontier

T = TypeVar("T")
AT_ONCE = 100
"""How many resources are made ready without a pause: about a millisecond."""


class Document(Struct, frozen=True, kw_only=True):
    """Something that the gateway keeps: ``id`` is unique within ``kind``, and so is ``key`` unless it is
    empty.

    ``body`` is opaque bytes; ``at`` is aware and comes back equal, with its offset. ``person`` is the
    pseudonym of whom it is about, by which a distributed database shards; empty where it is about nobody. A
    database that shards holds ids unique for each person only, so those of growing kinds are random.
    Making one raises StoreError for text that a database cannot hold (NUL, lone surrogates), without an id,
    or with a naive time.
    """

    kind: str
    id: str
    key: str = ""
    body: bytes
    at: datetime
    person: str = ""

    def __post_init__(self) -> None:
        if not (self.kind and self.id and storable(self.kind + self.id + self.key)):
            raise StoreError(
                "a document needs a kind and an id; they and its key hold no NUL or lone surrogate"
            )
        if not storable(self.person):
            raise StoreError("the person of a document holds no NUL or lone surrogate")
        if self.at.tzinfo is None:
            raise StoreError(f"the time of a {self.kind} has no time zone")


TALLY_GROUP, TALLIES = 8, 10_000
"""The characters that ids of one group begin with, and how many tallies are kept of a group."""


class Tally(Struct, frozen=True, kw_only=True):
    """How often something was met, ``id`` being unique within ``kind``: the newest ``body`` that came with
    it, and when it was met first and last (aware).

    Keeping one adds its count to what stands there. Tallies of a kind whose ids begin with the same
    ``TALLY_GROUP`` characters are a group; of more than ``TALLIES`` in it, those met least often are deleted,
    and of these the ones that were not met for longest. Making one raises StoreError as a document does.
    """

    kind: str
    id: str
    body: bytes
    first: datetime
    last: datetime
    count: int = 1

    def __post_init__(self) -> None:
        Document(kind=self.kind, id=self.id, body=self.body, at=self.first)
        Document(kind=self.kind, id=self.id, body=self.body, at=self.last)


class Held(Struct, frozen=True, kw_only=True):
    """A version of a resource that an institution published to this gateway: the results index.

    ``node`` is the node it came through, ``id`` its place there (``<Type>/<id>``): one of them is the newest
    at a place, and the versions before it stay. An empty ``body`` says that it was deleted. ``person`` is the
    pseudonym of whom it is about, and ``whose`` his identifier (``<system>|<number>``); both are empty where
    nobody knows or it is about nobody, and such a resource is found by its place and ``tokens`` alone. ``at``
    (aware) is when it was performed, else reported. ``version`` (from 1) and ``saved`` (aware) are of this
    version; the store counts the versions itself.

    ``subject`` is the local Patient that it names (``Patient/<id>``), who may become known later
    (:func:`attribute`), ``tokens`` what else it is found by, such as identifiers; ``digest`` tells bodies
    apart, and is the body's own where it is left empty. A store does not tell these three back, nor whose a
    deleted one was. Tokens and subjects never hold the number of a person. Making one raises StoreError as a
    document does.
    """

    person: str = ""
    at: datetime
    node: str
    id: str
    body: bytes
    version: int = 1
    saved: datetime = field(default_factory=lambda: datetime.now(UTC))
    whose: str = ""
    subject: str = ""
    tokens: tuple[str, ...] = ()
    digest: bytes = b""

    def __post_init__(self) -> None:
        texts = (self.node, self.id, self.person, self.whose, self.subject, *self.tokens)
        if not (self.node and self.id and storable("".join(texts))):
            raise StoreError("a held resource needs node and id, and no text with NUL or lone surrogate")
        if self.at.tzinfo is None or self.saved.tzinfo is None:
            raise StoreError("the time of a held resource has no time zone")

    @property
    def type(self) -> str:
        """The resource's type."""
        return self.id.partition("/")[0]

    @property
    def deleted(self) -> bool:
        """Whether the resource is gone with this version."""
        return not self.body


class Holding(Struct, frozen=True):
    """What was held: how many results and pointers went that came ``afresh`` without them, and the resources
    of the call in their order, as they stand now. One of which the same bytes stood there already has its
    former version and time; one that was to be deleted and never was there has version 0."""

    gone: int
    held: tuple[Held, ...]


class Pointer(Struct, frozen=True, kw_only=True):
    """That a node holds something of a group (``lab``, ``imaging:CT`` …) for a person, performed from
    ``first`` to ``last``; ``noted`` when this was last learned, and whether the node itself ``published`` it
    or it was only seen in an answer. One stands for each person, node and group. Times are aware. Making one
    raises StoreError as a document does.
    """

    person: str
    node: str
    group: str
    first: datetime
    last: datetime
    noted: datetime
    published: bool = False

    def __post_init__(self) -> None:
        names = (self.person, self.node, self.group)
        if not (all(names) and storable("".join(names))):
            raise StoreError("a pointer needs all its names, without NUL or lone surrogate")
        if any(time.tzinfo is None for time in (self.first, self.last, self.noted)):
            raise StoreError("the time of a pointer has no time zone")


class Head(Struct, frozen=True):
    """The state of the ledger: entries, root over them (32 bytes), and what appending needs."""

    size: int
    root: bytes
    frontier: Frontier


class Committed(Struct, frozen=True):
    """A commit that is durable: where its first entry stands, and size and root of the ledger with it."""

    first_index: int
    size: int
    root: bytes


class Secret(Struct, frozen=True):
    """What opens an entry: its salt (32 bytes) and its payload."""

    salt: bytes
    payload: bytes


class Store(Protocol):
    """The store. One object serves all tasks of one event loop; every method may be called concurrently."""

    @property
    def hash_name(self) -> HashName:
        """The hash of the ledger's tree, fixed at its birth."""
        ...

    async def open(self) -> None:
        """Connect, apply the migrations that are missing, and check that commits will be durable.

        Several processes may open one new store at once. Raises StoreError when the database was made by a
        newer version or for another hash, or would lose commits in a crash.
        """
        ...

    async def close(self) -> None:
        """Let the running write finish and give back the connections. Safe to call twice."""
        ...

    async def ping(self) -> None:
        """Return when the database answers."""
        ...

    async def commit(
        self, entries: Sequence[Sealed], documents: Sequence[Document], tallies: Sequence[Tally] = ()
    ) -> Committed:
        """Keep all of these, or nothing.

        Atomicity: one transaction. Ordering: entries get dense indexes in their order, from the size that the
        ledger had; concurrent commits, also of other processes, follow one another. Durability: what is
        returned has reached the disk. Retry: after StoreUnavailable the commit may or may not have happened,
        so the caller repeats it with the same entries; an entry id that is stored (or stands here twice)
        raises KeyTaken with the kind ``entry``, and ``index_of`` tells where it stands.

        Raises KeyTaken also for a document whose (kind, id) or (kind, key) exists (naming its key, or its id
        when it has none), LedgerRefused for an entry that was sealed for another hash; then nothing is kept.
        """
        ...

    async def document(self, kind: str, id: str) -> Document | None:  # noqa: A002 - the field's own name
        """The document, or None."""
        ...

    async def find(self, kind: str, key: str) -> Document | None:
        """The document with a key that is not empty, or None."""
        ...

    async def documents(self, kind: str, after: str = "", limit: int = 100) -> list[Document]:
        """At most ``limit`` documents whose id comes after ``after``, in the order of the ids' UTF-8 bytes.

        The next page begins after the last id. Ids that begin with the time page in the order of time.
        """
        ...

    async def keyed(self, kind: str, begin: str, after: str = "", limit: int = 100) -> list[Document]:
        """At most ``limit`` documents whose key begins so (not empty) and comes after ``after``, in the order
        of the keys' UTF-8 bytes."""
        ...

    async def prune(self, kind: str, before: str) -> int:
        """Delete the documents of a kind whose id comes before ``before``, and say how many there were.

        For ids that begin with the time: what is older than a moment goes. Durable as ``commit``.
        """
        ...

    async def remove(self, kind: str, *ids: str) -> int:
        """Delete documents of a kind by their ids, and say how many there were. Durable as ``commit``."""
        ...

    async def replace(self, document: Document) -> None:
        """Keep the newest state of something mutable, such as a cached key list: insert it, or replace that
        of the same kind and id. Durable as ``commit``; the last call wins. Raises KeyTaken when another id
        has the key.
        """
        ...

    async def tally(self, kind: str, id: str) -> Tally | None:  # noqa: A002 - the field's own name
        """The tally, or None."""
        ...

    async def tallies(self, kind: str, after: str = "", limit: int = 100) -> list[Tally]:
        """At most ``limit`` tallies whose id comes after ``after``, in the order of ``documents``."""
        ...

    async def forget(self, kind: str, id: str) -> bool:  # noqa: A002 - the field's own name
        """Delete a tally, and say whether there was one. Durable as ``commit``."""
        ...

    async def hold(
        self,
        held: Sequence[Held],
        pointers: Sequence[Pointer] = (),
        afresh: Sequence[tuple[str, str]] = (),
        expected: Mapping[tuple[str, str], int] | None = None,
    ) -> Holding:
        """Keep a new version of these resources, and pointers; of a place that stands here twice the last.

        Versions of a place count up by one; what stood there stays as a former version. Where the same bytes
        stand there, they get no new version, and are found from now on as this call says. A pointer that is
        there already is widened: the earlier first, the later last, the newer noted, and published once
        either is. Of a person and node in ``afresh`` the pointers go first, and the resources that are not in
        this call are deleted. Durable as ``commit``, in one transaction, and harmless to repeat.

        ``expected`` has, for a node and id, the version that must stand there (0: none, not even one that
        says it was deleted). Raises VersionTaken where another one does; then nothing was kept.
        """
        ...

    async def held(
        self, persons: Sequence[str], since: datetime, nodes: Sequence[str], limit: int = 1000
    ) -> list[Held]:
        """At most ``limit`` resources of these pseudonyms and nodes from ``since`` on, the newest first: of
        each the newest version, and none that is deleted."""
        ...

    async def place(self, node: str, ids: Sequence[str]) -> list[Held]:
        """The newest version at these places of a node, also where it says that the resource is deleted."""
        ...

    async def version(self, node: str, id: str, version: int) -> Held | None:  # noqa: A002
        """That version of the resource at a place, or None."""
        ...

    async def versions(self, node: str, id: str, limit: int) -> list[Held]:  # noqa: A002
        """At most ``limit`` versions of the resource at a place, the newest first."""
        ...

    async def listed(self, node: str, type: str, tokens: Sequence[str], limit: int) -> list[Held]:  # noqa: A002
        """At most ``limit`` resources of a type at a node that are not deleted, the newest saved first; with
        ``tokens`` those that have one of them, or name one of them as their subject."""
        ...

    async def waiting(self, node: str, subject: str, limit: int = 500) -> list[Held]:
        """At most ``limit`` versions, former ones too, that name this local Patient and are nobody's yet."""
        ...

    async def others(self, node: str, subject: str, persons: Sequence[str]) -> list[str]:
        """The ids of what stands at a node, names this local Patient and is somebody's, but of none of these
        pseudonyms."""
        ...

    async def adopt(self, held: Sequence[Held]) -> None:
        """These versions, which were nobody's, become their ``person``'s. Durable as ``commit``."""
        ...

    async def pointers(self, persons: Sequence[str]) -> list[Pointer]:
        """What is known to be held for these pseudonyms, and where; ordered by node and group."""
        ...

    async def unhold(
        self, *, persons: Sequence[str] = (), node: str = "", before: datetime | None = None
    ) -> int:
        """Delete the resources, in all their versions, and pointers that all the given conditions hold for
        (at least one is given; ``before``: whose time, a pointer's ``last``, lies earlier), and say how many
        versions and pointers there were. Nothing tells of them afterwards. Durable as ``commit``. Raises
        StoreError where no condition is given.
        """
        ...

    async def repoint(self, node: str, to: str) -> int:
        """A node has another id from now on: its resources, in all their versions, and pointers go with it.
        Where the other id has something at the same place, that stays alone; a pointer is widened. Durable as
        ``commit``.

        Says how many there were.
        """
        ...

    async def head(self) -> Head:
        """The committed state of the ledger; it never shrinks."""
        ...

    async def entries(self, start: int, count: int) -> list[bytes]:
        """The bodies of the entries [start, start + count), as far as there are any."""
        ...

    async def leaves(self, start: int, count: int) -> list[bytes]:
        """The leaf hashes (32 bytes) of the entries [start, start + count), as far as there are any."""
        ...

    async def subtrees(self, level: int, start: int, count: int) -> list[bytes]:
        """The roots of the complete subtrees [start, start + count) of a level, as far as there are any.

        ``level`` is a multiple of 8; the subtrees of level 0 are the leaves.
        """
        ...

    async def index_of(self, entry_id: str) -> int | None:
        """Where an entry stands, or None."""
        ...

    async def secret(self, entry_id: str) -> Secret | None:
        """What opens an entry, or None when it was erased or never was."""
        ...

    async def secrets(self, start: int, limit: int = 100) -> list[tuple[int, str, Secret]]:
        """At most ``limit`` of the secrets that are left of the entries from ``start`` on, in their order:
        place and id of the entry, and its secret."""
        ...

    async def erase(self, *entry_ids: str) -> int:
        """Delete salts and payloads of these entries, and say how many there were. Durable as ``commit``.

        Entry and leaf stay: every proof stays valid. Copies in backups and in the database's own log go when
        those do; their retention is the operator's.
        """
        ...

    async def put_note(self, size: int, root: bytes, note: str) -> None:
        """Keep the signed checkpoint of a size; the first one stays, so that repeating is harmless."""
        ...

    async def note(self, size: int | None = None) -> str | None:
        """The signed checkpoint of a size, or the newest one; None when there is none."""
        ...


async def attribute(store: Store, node: str, subject: str, person: str, whose: str) -> list[Held]:
    """What named a local Patient before he was known becomes his: the versions that did."""
    done: list[Held] = []
    while found := await store.waiting(node, subject):
        theirs = [replace(one, person=person, whose=whose) for one in found]
        await store.adopt(theirs)
        done += theirs
    return done


async def each(found: Sequence[T], told: Callable[[T], Held]) -> list[Held]:
    """What each of these comes to; however many they are, others have their turn meanwhile."""
    done: list[Held] = []
    for start in range(0, len(found), AT_ONCE):
        if start:
            await asyncio.sleep(0)
        done += map(told, found[start : start + AT_ONCE])
    return done


def storable(text: str) -> bool:
    """Whether both databases can hold the text: PostgreSQL knows no NUL, UTF-8 no lone surrogates."""
    if text.isascii():
        return "\0" not in text
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


def added_up(tallies: Sequence[Tally]) -> list[Tally]:
    """The tallies of one commit with each (kind, id) once, in the order of their ids."""
    found: dict[tuple[str, str], Tally] = {}
    for tally in tallies:
        held = found.get((tally.kind, tally.id))
        found[tally.kind, tally.id] = (
            replace(tally, first=held.first, count=held.count + tally.count) if held else tally
        )
    return [found[name] for name in sorted(found)]


def widened(pointers: Sequence[Pointer]) -> list[Pointer]:
    """The pointers of one call with each (person, node, group) once, in the order of these."""
    found: dict[tuple[str, str, str], Pointer] = {}
    for new in pointers:
        name = (new.person, new.node, new.group)
        if (old := found.get(name)) is not None:
            new = replace(
                new,
                first=min(old.first, new.first),
                last=max(old.last, new.last),
                noted=max(old.noted, new.noted),
                published=old.published or new.published,
            )
        found[name] = new
    return [found[name] for name in sorted(found)]


def refuse_everything(persons: Sequence[str], node: str, before: datetime | None) -> None:
    """Raise StoreError for a deletion without any condition."""
    if not persons and not node and before is None:
        raise StoreError("say of which persons, of which node or before when results are to be deleted")


def refuse_repeats(entries: Sequence[Sealed], documents: Sequence[Document]) -> None:
    """Raise KeyTaken when one commit holds an entry id, a (kind, id) or a (kind, key) twice."""
    seen: set[tuple[str, ...]] = set()
    for names in (
        *(("entry", entry.entry_id) for entry in entries),
        *(("id", document.kind, document.id) for document in documents),
        *(("key", document.kind, document.key) for document in documents if document.key),
    ):
        if names in seen:
            raise KeyTaken(*names[-2:])
        seen.add(names)
