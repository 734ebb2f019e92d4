"""The table of confirmed names of a running gateway: how it stands in the store, and how replicas follow it.

Every step that a steward takes (a confirmation, the second one, a revocation) is a signed statement, the
payload of a ledger entry and a document; the entry of type ``catalogue`` has the scheme ``names/<step>``,
because a confirmed name is a published rule like those of an edition, and binds to the step before it about
the same name. Steps form a chain as editions do: ids are 00000001, 00000002, …, so whoever adds one has seen
all the others, and two stewards at two replicas cannot both be the first of the two persons.

The gateway looks for new steps every ``catalogue_poll_s`` seconds and swaps the table as a whole. Whoever
reads takes it once (:meth:`Sites.applied`): a check that runs finishes under what it began with. A step whose
signature does not hold, or whose entry is not in the ledger, is refused with a log event and puts nothing in
force. A revocation counts all the same (its key may be one that was compromised later): where trust is in
doubt a name is rather not read. So nothing at all is in force when a step is missing from the chain, because
it may have been a revocation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from adapters import StoreError
from adapters.sealing import is_sealed
from adapters.store import Document, Store
from gateway.errors import EvidenceUnavailable
from gateway.publishing import PURPOSE
from gateway.readings import Readings
from gateway.rules import Rules
from gateway.settings import Settings
from gateway.tasks import stop
from mapping.sites import SiteNormaliser, SiteTable, Step
from security.digests import HashName
from security.errors import TrustError
from security.keys import from_base64url, to_base64url, verifier
from security.keystore import KeyStore
from security.ledger import Sealed, seal

KIND = "mapping"
_DOMAIN = b"lianren site mapping v1\n"  # a signature made here means nothing anywhere else
_ENCODER = msgspec.json.Encoder(order="sorted")
_PAGE = 500


class _Kept(Struct, frozen=True):
    """The document: the step as it was signed, by which key, and its ledger entry."""

    statement: str
    kid: str
    signature: str
    entry: str


class Sites:
    """The confirmed names of all sites.

    Args:
        settings: whose keys count, and how often to look.
        store: an open store.
        keys: those of purpose ``catalogue`` sign.
        log: told what is refused.
    """

    def __init__(self, settings: Settings, store: Store, keys: KeyStore, log: Callable[..., None]) -> None:
        self._settings = settings
        self._store = store
        self._keys = keys
        self._log = log
        self._last = 0
        self._missing = ""
        self._entries: dict[str, str] = {}
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._applied: tuple[Rules, SiteTable, Rules] | None = None
        self.table = SiteTable()

    def applied(self, rules: Rules) -> Rules:
        """The same rules, reading names by what their sites have confirmed by now."""
        table = self.table
        if not table.active:
            return rules
        if self._applied is None or self._applied[0] is not rules or self._applied[1] is not table:
            normaliser = Readings(SiteNormaliser(rules.normaliser, rules.catalogue, table))
            self._applied = rules, table, replace(rules, normaliser=normaliser, names=table.version)
        return self._applied[2]

    @property
    def following(self) -> str:
        """The id that the next step has to have.

        Raises:
            EvidenceUnavailable: a step is missing, so none can follow.
        """
        if self._missing:
            raise EvidenceUnavailable(
                f"the store lacks step {self._missing} of the confirmed names: restore it, then start again"
            )
        return _id(self._last + 1)

    def entry_of(self, step: str) -> str:
        """The ledger entry of a step, or empty."""
        return self._entries.get(step, "")

    def kept(self, step: Step, *, binds: str, item: str, hash_name: HashName) -> tuple[Sealed, Document]:
        """The ledger entry and the document of a new step.

        Raises:
            KeyStoreError: there is no key that signs it.
        """
        statement = _ENCODER.encode(step)
        sealed = seal(
            "catalogue",
            statement,
            time=step.at,
            from_=step.by,
            to=self._settings.owner,
            scheme=f"names/{step.id}",
            item=item,
            binds=binds,
            hash_name=hash_name,
        )
        signer = self._keys.signer(PURPOSE, "Ed25519", step.at)
        signature = to_base64url(signer.sign(_DOMAIN + statement))
        kept = _Kept(statement.decode(), signer.kid, signature, sealed.entry_id)
        return sealed, Document(kind=KIND, id=step.id, body=msgspec.json.encode(kept), at=step.at)

    async def poll(self) -> None:
        """Take the steps that were taken since the last time.

        Raises:
            StoreUnavailable: they cannot be read.
            KeyStoreError: the own keys cannot be read.
        """
        async with self._lock:
            last, steps = self._last, list[Step]()
            while not self._missing and (page := await self._store.documents(KIND, _id(last), _PAGE)):
                ids = map(_id, range(last + 1, last + len(page) + 1))
                wrong = (
                    id_
                    for id_, document in zip(ids, page, strict=True)
                    if document.id != id_ or is_sealed(document.body)
                )
                if missing := next(wrong, ""):
                    self._log("mapping_refused", step=missing, detail="it is missing, or does not open")
                    self._missing, self.table = missing, SiteTable()
                    return
                for step, entry in await asyncio.to_thread(self._verified, page):
                    if await self._store.index_of(entry) is not None:
                        self._entries[step.id] = entry
                    elif step.act == "confirm":
                        self._log("mapping_refused", step=step.id, detail="its entry is not in the ledger")
                        continue
                    steps.append(step)
                last += len(page)
            if steps:
                self.table = await asyncio.to_thread(self.table.after, steps)
            self._last = last

    def start(self) -> None:
        """Begin to look for new steps."""
        self._task = asyncio.create_task(self._run())

    async def aclose(self) -> None:
        """Stop looking."""
        await stop(self._task)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._settings.catalogue_poll_s)
            with suppress(StoreError, TrustError):  # to be tried again
                await self.poll()

    def _verified(self, page: Sequence[Document]) -> list[tuple[Step, str]]:
        """The steps that count, with their ledger entries; runs in a thread."""
        keys = {key.kid: key for key in self._keys.list() if key.owner == self._settings.owner}
        found = []
        for document in page:
            step = None
            try:
                kept = msgspec.json.decode(document.body, type=_Kept)
                step = msgspec.json.decode(kept.statement, type=Step)
                if step.id != document.id or (key := keys.get(kept.kid)) is None:
                    raise ValueError("it has another id, or no key of this gateway")
                key.check(step.at, PURPOSE)
                verifier(key).verify(_DOMAIN + kept.statement.encode(), from_base64url(kept.signature))
            except (msgspec.MsgspecError, UnicodeError, TrustError, ValueError) as wrong:
                self._log("mapping_refused", step=document.id, detail=type(wrong).__name__)
                if step and step.act == "revoke":
                    found.append((step, kept.entry))
            else:
                found.append((step, kept.entry))
        return found


def _id(number: int) -> str:
    return f"{number:08d}"
