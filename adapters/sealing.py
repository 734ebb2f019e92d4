"""A store whose content is sealed before it reaches the database: payloads with their salts, and the bodies
of documents, tallies and held results.

Whoever reads the database, a backup or a stolen disk then sees ids, kinds, keys, times, digests of pseudonyms
and the public ledger, and nothing that hospitals sent; what held resources are found by is keyed, since it
could be guessed; whoever can write to it can neither move a sealed body
to another row, because the place is part of the seal (:mod:`security.envelope`), nor lay one there that is
not sealed. A salt is sealed with its payload: with the salt alone a guess of the payload could be confirmed
against the public commitment.

What a version before there was sealing kept is sealed once, by :mod:`adapters.rewrapping`, before it is read.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial

from msgspec.structs import replace

from adapters.errors import KeyTaken, StoreError
from adapters.schema import packed, unpacked
from adapters.store import Committed, Document, Head, Held, Holding, Pointer, Secret, Store, Tally, each
from security.digests import HashName
from security.envelope import SEALED, Envelope
from security.errors import PayloadRefused, TrustError
from security.ledger import SALT_SIZE, Sealed

CLOSED = bytes((SEALED,))
"""What a page has in place of a body that does not open: a seal that opens nowhere."""
UNSEALED = (
    "it is not sealed; right after the update of a version before 0.3 run: lianren keys seal; at any other"
    " time somebody else wrote into the database"
)
BLINDING = "blinding"
"""Kind and id of the document with the key for what can be guessed."""
_Opening = Callable[[bytes, str], bytes]


def place_of(table: str, *names: str) -> str:
    """The place of a row's sealed column: table, column and row."""
    return "|".join((table, "payload" if table == "secret" else "body", *names))


def is_sealed(body: bytes) -> bool:
    """Whether a stored body is a sealed one."""
    return body[:1] == CLOSED


def blind(person: str) -> str:
    """What stands in the database for a pseudonym: nothing for nobody, else a digest. It needs no key, since
    nobody guesses the 256 bits of a pseudonym."""
    return hashlib.sha256(person.encode(errors="surrogatepass")).hexdigest()[:32] if person else ""


class SealedStore:
    """A :class:`adapters.store.Store` over another one, sealing with ``envelope``.

    ``reread`` gives an envelope with the keys of now: it is asked when a body does not open, because another
    process may have sealed it under a key that is newer than this one. Methods raise as those of the inner
    store. A body that does not open, or is not sealed, raises StoreError; in a page, and among the resources
    of persons, it comes as :data:`CLOSED`, so that the one row is refused by whoever reads it, and not all
    the others with it. Whom a document or a held resource is about is told back to those alone who asked for
    the person: the database has a digest of it. Which version of a resource a body is is not sealed.
    """

    def __init__(
        self, inner: Store, envelope: Envelope, reread: Callable[[], Envelope] | None = None
    ) -> None:
        self.inner = inner
        self.envelope = envelope
        self._reread = reread
        self._blinding_key = b""

    @property
    def hash_name(self) -> HashName:
        return self.inner.hash_name

    def renew(self) -> None:
        """Seal under the newest key from now on. Raises KeyStoreError, PayloadRefused: there is none."""
        if self._reread:
            self.envelope = self._reread()

    async def open(self) -> None:
        """Raises StoreError too for a store whose newest payload was never sealed."""
        await self.inner.open()
        newest = max((await self.inner.head()).size - 1, 0)
        if any(secret.salt for _, _, secret in await self.inner.secrets(newest, 1)):
            await self.inner.close()
            raise StoreError(f"the store's content: {UNSEALED}")

    async def close(self) -> None:
        await self.inner.close()

    async def ping(self) -> None:
        await self.inner.ping()

    async def commit(
        self, entries: Sequence[Sealed], documents: Sequence[Document], tallies: Sequence[Tally] = ()
    ) -> Committed:
        return await self.inner.commit(
            [self._hidden(entry) for entry in entries],
            [self._covered(document) for document in documents],
            [self._counting(tally) for tally in tallies],
        )

    async def document(self, kind: str, id: str) -> Document | None:  # noqa: A002
        found = await self.inner.document(kind, id)
        return self._shown(found, self._open) if found else None

    async def find(self, kind: str, key: str) -> Document | None:
        found = await self.inner.find(kind, key)
        return self._shown(found, self._open) if found else None

    async def documents(self, kind: str, after: str = "", limit: int = 100) -> list[Document]:
        found = await self.inner.documents(kind, after, limit)
        return [self._shown(document, self._in_page) for document in found]

    async def keyed(self, kind: str, begin: str, after: str = "", limit: int = 100) -> list[Document]:
        found = await self.inner.keyed(kind, begin, after, limit)
        return [self._shown(document, self._in_page) for document in found]

    async def prune(self, kind: str, before: str) -> int:
        return await self.inner.prune(kind, before)

    async def remove(self, kind: str, *ids: str) -> int:
        return await self.inner.remove(kind, *ids)

    async def replace(self, document: Document) -> None:
        await self.inner.replace(self._covered(document))

    async def tally(self, kind: str, id: str) -> Tally | None:  # noqa: A002
        found = await self.inner.tally(kind, id)
        return self._counted(found, self._open) if found else None

    async def tallies(self, kind: str, after: str = "", limit: int = 100) -> list[Tally]:
        found = await self.inner.tallies(kind, after, limit)
        return [self._counted(tally, self._in_page) for tally in found]

    async def forget(self, kind: str, id: str) -> bool:  # noqa: A002
        return await self.inner.forget(kind, id)

    async def hold(
        self,
        held: Sequence[Held],
        pointers: Sequence[Pointer] = (),
        afresh: Sequence[tuple[str, str]] = (),
        expected: Mapping[tuple[str, str], int] | None = None,
    ) -> Holding:
        key = await self._blinding() if held else b""
        holding = await self.inner.hold(
            [self._holding(one, key) for one in held],
            [replace(one, person=blind(one.person)) for one in pointers],
            [(blind(person), node) for person, node in afresh],
            expected,
        )
        stands = zip(held, holding.held, strict=True)
        return Holding(
            holding.gone, tuple(replace(one, version=now.version, saved=now.saved) for one, now in stands)
        )

    async def held(
        self, persons: Sequence[str], since: datetime, nodes: Sequence[str], limit: int = 1000
    ) -> list[Held]:
        names = {blind(person): person for person in persons}
        found = await self.inner.held([*names], since, nodes, limit)
        return await each(
            found, lambda one: replace(self._beheld(one, self._in_page), person=names[one.person])
        )

    async def place(self, node: str, ids: Sequence[str]) -> list[Held]:
        return [self._beheld(one, self._open) for one in await self.inner.place(node, ids)]

    async def version(self, node: str, id: str, version: int) -> Held | None:  # noqa: A002
        found = await self.inner.version(node, id, version)
        return self._beheld(found, self._open) if found else None

    async def versions(self, node: str, id: str, limit: int) -> list[Held]:  # noqa: A002
        return [self._beheld(one, self._open) for one in await self.inner.versions(node, id, limit)]

    async def listed(self, node: str, type: str, tokens: Sequence[str], limit: int) -> list[Held]:  # noqa: A002
        key = await self._blinding() if tokens else b""
        found = await self.inner.listed(node, type, [_keyed(key, token) for token in tokens], limit)
        return await each(found, partial(self._beheld, opening=self._open))

    async def waiting(self, node: str, subject: str, limit: int = 500) -> list[Held]:
        found = await self.inner.waiting(node, _keyed(await self._blinding(), subject), limit)
        return [self._beheld(one, self._open) for one in found]

    async def others(self, node: str, subject: str, persons: Sequence[str]) -> list[str]:
        key = await self._blinding()
        return await self.inner.others(node, _keyed(key, subject), [*map(blind, persons)])

    async def adopt(self, held: Sequence[Held]) -> None:
        await self.inner.adopt([self._holding(one, b"") for one in held])

    async def pointers(self, persons: Sequence[str]) -> list[Pointer]:
        names = {blind(person): person for person in persons}
        return [replace(one, person=names[one.person]) for one in await self.inner.pointers([*names])]

    async def unhold(
        self, *, persons: Sequence[str] = (), node: str = "", before: datetime | None = None
    ) -> int:
        return await self.inner.unhold(persons=[*map(blind, persons)], node=node, before=before)

    async def repoint(self, node: str, to: str) -> int:
        return await self.inner.repoint(node, to)

    async def subtrees(self, level: int, start: int, count: int) -> list[bytes]:
        return await self.inner.subtrees(level, start, count)

    async def head(self) -> Head:
        return await self.inner.head()

    async def entries(self, start: int, count: int) -> list[bytes]:
        return await self.inner.entries(start, count)

    async def leaves(self, start: int, count: int) -> list[bytes]:
        return await self.inner.leaves(start, count)

    async def index_of(self, entry_id: str) -> int | None:
        return await self.inner.index_of(entry_id)

    async def secret(self, entry_id: str) -> Secret | None:
        found = await self.inner.secret(entry_id)
        return self._revealed(entry_id, found, self._open) if found else None

    async def secrets(self, start: int, limit: int = 100) -> list[tuple[int, str, Secret]]:
        found = await self.inner.secrets(start, limit)
        return [(index, id_, self._revealed(id_, secret, self._in_page)) for index, id_, secret in found]

    async def erase(self, *entry_ids: str) -> int:
        return await self.inner.erase(*entry_ids)

    async def put_note(self, size: int, root: bytes, note: str) -> None:
        await self.inner.put_note(size, root, note)

    async def note(self, size: int | None = None) -> str | None:
        return await self.inner.note(size)

    def _hidden(self, entry: Sealed) -> Sealed:
        sealed = self.envelope.seal(entry.salt + entry.payload, place_of("secret", entry.entry_id))
        return Sealed(entry_id=entry.entry_id, body=entry.body, leaf=entry.leaf, salt=b"", payload=sealed)

    def _revealed(self, entry_id: str, secret: Secret, opening: _Opening) -> Secret:
        """A salt beside its payload was never sealed, whatever the payload begins with."""
        opened = opening(b"" if secret.salt else secret.payload, place_of("secret", entry_id))
        return Secret(opened[:SALT_SIZE], opened[SALT_SIZE:])

    def _covered(self, document: Document) -> Document:
        sealed = self.envelope.seal(document.body, _place(document))
        return replace(document, body=sealed, person=blind(document.person))

    def _shown(self, document: Document, opening: _Opening) -> Document:
        return replace(document, body=opening(document.body, _place(document)), person="")

    def _holding(self, held: Held, key: bytes) -> Held:
        person, body = blind(held.person), packed(held.whose, held.body)
        return replace(
            held,
            person=person,
            body=self.envelope.seal(body, place_of("held", person, held.id)) if body else b"",
            whose="",
            subject=_keyed(key, held.subject) if held.subject else "",
            tokens=tuple(_keyed(key, token) for token in held.tokens),
            digest=hmac.digest(key, held.body, "sha256")[:16],
        )

    def _beheld(self, held: Held, opening: _Opening) -> Held:
        """A resource opened; whom it is about, the database has a digest of alone."""
        if held.deleted:
            return replace(held, person="")
        # without the node, whose id may change (:meth:`adapters.store.Store.repoint`)
        whose, body = unpacked(opening(held.body, place_of("held", held.person, held.id)))
        return replace(held, person="", whose=whose, body=body)

    async def _blinding(self) -> bytes:
        """The key that tokens, local patients and digests of bodies are blinded with: drawn once for a store
        and sealed in it, so that it turns with the keys that seal, and stays while they do."""
        while not self._blinding_key:
            if kept := await self.document(BLINDING, BLINDING):
                self._blinding_key = kept.body
                break
            drawn = Document(kind=BLINDING, id=BLINDING, body=secrets.token_bytes(32), at=datetime.now(UTC))
            with suppress(KeyTaken):  # by another replica
                await self.commit([], [drawn])
        return self._blinding_key

    async def blinded(self, text: str) -> str:
        """What stands for a text that could be guessed, the same for all who open this store."""
        return _keyed(await self._blinding(), text)

    def _counting(self, tally: Tally) -> Tally:
        return replace(tally, body=self.envelope.seal(tally.body, _place_of_tally(tally)))

    def _counted(self, tally: Tally, opening: _Opening) -> Tally:
        return replace(tally, body=opening(tally.body, _place_of_tally(tally)))

    def _open(self, sealed: bytes, place: str) -> bytes:
        if not is_sealed(sealed):
            raise StoreError(f"the store's content: {place}: {UNSEALED}")
        try:
            try:
                return self.envelope.open(sealed, place)
            except PayloadRefused:
                if self._reread is None:
                    raise
                self.renew()
                return self.envelope.open(sealed, place)
        except TrustError as refused:
            raise StoreError(f"the store's content: {refused}") from None

    def _in_page(self, sealed: bytes, place: str) -> bytes:
        try:
            return self._open(sealed, place)
        except StoreError:
            return CLOSED


def _place(document: Document) -> str:
    return place_of("document", document.kind, document.id)


def _keyed(key: bytes, text: str) -> str:
    """What stands in the database for what can be guessed."""
    return hmac.digest(key, text.encode(errors="surrogatepass"), "sha256")[:12].hex()


def _place_of_tally(tally: Tally) -> str:
    return place_of("tally", tally.kind, tally.id)
