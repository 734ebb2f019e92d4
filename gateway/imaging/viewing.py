"""Viewings 调阅 while they are open: their tokens, whether they still count, and the record of what was seen.

A token is random and says nothing. What it opens is a document of the store, sealed, under the SHA-256 of the
token; so whoever reads the store has neither the person nor a token. It is no matter for a cache: what was
revoked stays so, and a restart ends no viewing. In this process a viewing is remembered with what was learnt
of it (:class:`Viewed`), and looked at anew every :data:`REREAD_S` seconds: by then one that was revoked, or
whose person does not consent any more, is over here, too. Where the store is away nothing is shown: it cannot
be known what was revoked. An answer that has begun goes on to its end.

To open a study is what the ledger knows as 调阅. It is written once for each viewing and study by each
process that remembers the viewing, before the first byte of the study goes out; what else is fetched of it
costs nothing more.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

import msgspec
from msgspec import Struct
from starlette.types import Scope

from adapters import StoreError, elapsed_ms
from adapters.store import Document
from gateway.access.clients import Client
from gateway.errors import ConsentDenied, NotAuthenticated, NotFound
from gateway.evidence import Evidence, keep
from gateway.ids import since
from gateway.imaging.values import Viewed, Viewing
from gateway.settings import ClientSettings
from gateway.tasks import together
from gateway.wiring import Gateway
from security.digests import sm3
from security.pseudonym import Pseudonyms

KIND = "viewing"
TOKEN = "lrv_"  # noqa: S105 - how every token of a viewing begins
REREAD_S = 2.0
"""For how long a viewing is believed to be open without looking."""
KEPT = 1024
"""How many viewings a process remembers: of fifty priors, each takes 180 KB."""
IDLE_S = 600.0
"""For how long it remembers one that nobody uses."""
PRUNE_S = 60.0
"""How often what has ended is deleted, while viewings are opened."""


class _Open(Struct):
    """A viewing as this process knows it, and until when (seconds of the clock) it is believed."""

    viewed: Viewed
    until: float


class Viewings:
    """The open viewings.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, gateway: Gateway, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._gateway = gateway
        self._clock = clock
        self._clients = {client.id: client for client in gateway.settings.clients}
        self._open: dict[str, _Open] = {}
        self._looking: dict[str, asyncio.Task[Viewed]] = {}
        self._recording: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._prunes = 0.0

    async def open(self, viewed: Viewed) -> str:
        """Keep a viewing until it ends: the token that opens it, which is told once and kept nowhere. The
        person consents to it; what was learnt of it stays known here.

        Raises:
            StoreUnavailable: it could not be kept.
        """
        viewing, token = viewed.viewing, TOKEN + secrets.token_urlsafe(32)
        digest, store, now = _digest(token), self._gateway.store, self._clock()
        body = zlib.compress(msgspec.json.encode(viewing), 1)  # verdicts are much alike, and sealed never
        kept = Document(kind=KIND, id=viewing.id, key=digest, body=body, at=viewing.opened)
        await store.commit([], [kept])
        self._remember(digest, viewed, now)
        self._gateway.metrics.viewings.labels("peer" if viewing.gateway else "his").inc()
        if now >= self._prunes:
            self._prunes = now + PRUNE_S
            with suppress(StoreError):  # the next one deletes more
                await store.prune(KIND, since(datetime.now(UTC)))
        return token

    async def of(self, token: str) -> Viewed:
        """The viewing that a token opens.

        Raises:
            NotAuthenticated: it opens none, or not any more.
            ConsentDenied: the person does not want it shown any more.
            StoreUnavailable, TooManyRequests: consent cannot be known now.
        """
        digest = _digest(token)
        known = self._open.get(digest)
        if known and self._clock() < known.until:
            return known.viewed
        return await together(self._looking, digest, lambda: self._look(digest))

    async def find(self, id_: str, client: Client) -> Viewing:
        """An open viewing of the client's institution by its id.

        Raises:
            NotFound: there is none.
            StoreUnavailable: it cannot be known.
        """
        return (await self._found(id_, client))[0]

    async def revoke(self, id_: str, client: Client) -> Viewing:
        """End a viewing of the client's institution: here at once, at other replicas within
        :data:`REREAD_S`. The viewing as it was.

        Raises:
            NotFound: there is none.
            StoreUnavailable: it is not known to have ended.
        """
        viewing, digest = await self._found(id_, client)
        await self._gateway.store.remove(KIND, id_)
        if looking := self._looking.get(digest):  # it may have read what is there no more
            await asyncio.wait([looking])
        self._open.pop(digest, None)
        self._gateway.log("viewing_revoked", viewing=viewing.id, client=client.id)
        return viewing

    async def record(self, viewed: Viewed, study_uid: str, way: str) -> None:
        """Have it on record that a study, which lies at ``way``, is seen in a viewing; once for each. Return
        when that is durable; it goes on where the caller does not wait for it.

        Raises:
            EvidenceUnavailable: it cannot be recorded, so nothing of the study may be shown.
        """
        if study_uid not in viewed.opened:
            one = viewed.viewing.id, study_uid
            await together(self._recording, one, lambda: self._record(viewed, study_uid, way))

    def client(self, viewed: Viewed) -> ClientSettings:
        """The client that an open viewing was opened for."""
        return self._clients[viewed.viewing.client]

    async def _look(self, digest: str) -> Viewed:
        """The viewing as it stands now."""
        gateway, now, began = self._gateway, datetime.now(UTC), self._clock()
        known = self._open.pop(digest, None)
        viewing = _read(await gateway.store.find(KIND, digest), now)
        if viewing is None or not self._may(viewing):
            raise NotAuthenticated("no viewing that is open has this token; have another one opened")
        said = Pseudonyms(viewing.pseudonyms[0], viewing.pseudonyms[1:])
        if not said.current.startswith(f"{gateway.pseudonymiser.epoch}."):  # another one began since
            said = await gateway.pseudonyms(viewing.person)
        consent = await gateway.consents.rule(said, viewing.purpose, viewing.institution, now)
        if not consent.permitted:
            gateway.metrics.consent_denials.inc()
            raise ConsentDenied(consent.en)
        viewed = known.viewed if known else Viewed(viewing=viewing)
        self._remember(digest, viewed, began)
        return viewed

    def _remember(self, digest: str, viewed: Viewed, looked: float) -> None:
        self._open[digest] = _Open(viewed, looked + min(REREAD_S, _left(viewed.viewing)))
        idle = looked - IDLE_S
        while len(self._open) > KEPT or next(iter(self._open.values())).until < idle:  # in order of use
            del self._open[next(iter(self._open))]

    def _may(self, viewing: Viewing) -> bool:
        """Whether the client that it was opened for may still view."""
        client = self._clients.get(viewing.client)
        if client is None or client.owner != viewing.gateway:
            return False
        return "peer" in client.roles or ("his" in client.roles and client.institution == viewing.institution)

    async def _found(self, id_: str, client: Client) -> tuple[Viewing, str]:
        """A viewing, and the digest of its token."""
        document = await self._gateway.store.document(KIND, id_)
        viewing = _read(document, datetime.now(UTC))
        if document and viewing and not viewing.gateway and viewing.institution == client.institution:
            return viewing, document.key
        raise NotFound("no viewing of this id is open for your institution", field="id")

    async def _record(self, viewed: Viewed, study_uid: str, way: str) -> None:
        gateway, viewing, started = self._gateway, viewed.viewing, time.monotonic()
        evidence = Evidence.of(gateway, viewing.client, datetime.now(UTC), binds=viewing.question)
        evidence.record(
            "view",
            {
                "check": viewing.check,
                "viewing": viewing.id,
                "person": viewing.pseudonyms[0],
                "receiver": viewing.institution,
                "purpose": viewing.purpose,
                "study": study_uid,
                "node": way,
            },
        )
        await keep(gateway.sequencer, evidence.entries, [])
        viewed.opened.add(study_uid)
        gateway.log(
            "study_viewed", viewing=viewing.id, client=viewing.client, node=way, took_ms=elapsed_ms(started)
        )


def viewing_of(scope: Scope) -> Viewed:
    """The viewing by which a request came in, as :class:`gateway.faces.access.Access` found it.

    Raises:
        NotAuthenticated: it came in by none.
        ConsentDenied, StoreUnavailable: as :meth:`Viewings.of`.
    """
    found = scope["state"].get("viewing", scope["state"].get("client"))
    if isinstance(found, Exception):
        raise found
    if not isinstance(found, Viewed):
        raise NotAuthenticated("images are shown to the token of a viewing; open one: POST /api/v1/viewings")
    return found


def patient_id(pseudonym: str, institution: str) -> str:
    """What the viewers of an institution call the person: 24 letters and digits that say nothing, the same in
    each of its viewings as long as the pseudonym is, and another one at another institution."""
    made = sm3(b"\0".join((b"lianren patient id", institution.encode(), pseudonym.encode())))
    return base64.b32encode(made[:15]).decode("ascii")


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("latin-1", "replace")).hexdigest()


def _left(viewing: Viewing) -> float:
    """Seconds until it ends."""
    return (viewing.ends - datetime.now(UTC)).total_seconds()


def _read(document: Document | None, now: datetime) -> Viewing | None:
    """The viewing that is kept; None where it has ended, or was kept by a version that knew other ones."""
    with suppress(msgspec.MsgspecError):
        viewing = msgspec.json.decode(zlib.decompress(document.body), type=Viewing) if document else None
        return viewing if viewing and viewing.ends > now else None
    return None
