"""What a client does with its subscriptions: make, read, change, end them. They are its own alone."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import msgspec
from msgspec import Raw

from adapters.store import Document
from gateway.access.clients import Client
from gateway.errors import NotFound, NotPermitted
from gateway.ids import new_id
from gateway.resources.intake import BOM
from gateway.resources.issues import Issue, ResourceRefused
from gateway.subscriptions.endpoints import Endpoints
from gateway.subscriptions.resource import Wanted, wanted
from gateway.subscriptions.values import EVENT, KIND, STATE, Kept, State
from gateway.wiring import Gateway

MOST = 20
"""How many subscriptions a client has at most."""


class Subscriptions:
    """The subscriptions of one gateway; who notifies of them is :class:`gateway.subscriptions.Notifying`."""

    def __init__(self, gateway: Gateway, endpoints: Endpoints) -> None:
        self._gateway = gateway
        self._store = gateway.store
        self._endpoints = endpoints
        self._one_by_one = asyncio.Lock()  # so that many at once are not more than MOST

    async def create(self, raw: bytes, client: Client) -> Kept:
        """Take a subscription in. It is ``requested`` until its endpoint answered the handshake.

        Raises:
            NotPermitted: the client is no his, or speaks for no institution.
            BadBody, ResourceRefused: with everything that is wrong, or not offered.
        """
        asked = self._asked(raw, client)
        async with self._one_by_one:
            if len(await self.of_client(client)) >= MOST:
                words = f"a system has at most {MOST} subscriptions; end others"
                raise ResourceRefused([Issue("Subscription", "too-costly", words)])
            kept = await self._kept(new_id(datetime.now(UTC)), raw, asked, client, version=1)
            await self._store.commit([], [_document(kept)])
        self._told(kept, "created")
        return kept

    async def update(self, id_: str, raw: bytes, client: Client) -> Kept:
        """Change a subscription; its endpoint is met again, and no event is lost.

        Raises:
            NotFound: this client has none of this id.
            NotPermitted, BadBody, ResourceRefused: as :meth:`create`.
        """
        before, _ = await self.read(id_, client)
        asked = self._asked(raw, client, id_)
        kept = await self._kept(id_, raw, asked, client, version=before.version + 1)
        await self._store.replace(_document(kept))
        self._told(kept, "changed")
        return kept

    async def read(self, id_: str, client: Client) -> tuple[Kept, State]:
        """A subscription and how far it came.

        Raises:
            NotFound: this client has none of this id.
        """
        document = await self._store.document(KIND, id_)
        if document is not None:
            kept = msgspec.json.decode(document.body, type=Kept)
            if kept.client == client.id:
                return kept, await state_of(self._gateway, kept)
        raise NotFound("your system has no subscription of this id", field="id")

    async def of_client(self, client: Client) -> list[tuple[Kept, State]]:
        """Those of a client, the oldest first."""
        return [
            (kept, await state_of(self._gateway, kept))
            for kept in await every(self._gateway)
            if kept.client == client.id
        ]

    async def delete(self, id_: str, client: Client) -> None:
        """End a subscription; what was not delivered yet is dropped.

        Raises:
            NotFound: this client has none of this id.
        """
        kept, _ = await self.read(id_, client)
        await self._store.remove(KIND, id_)
        await forget(self._gateway, id_)
        self._told(kept, "deleted")

    def _asked(self, raw: bytes, client: Client, id_: str = "") -> Wanted:
        client.require("his")
        if not client.institution:
            raise NotPermitted(f"client {client.id} speaks for no institution")
        asked = wanted(raw.removeprefix(BOM), id_)
        if self._endpoints.line(client.id, asked.endpoint) is None:
            words = "lies below no address that the operator allows your system to be notified at"
            raise ResourceRefused([Issue("Subscription.channel.endpoint", "forbidden", words)])
        return asked

    async def _kept(self, id_: str, raw: bytes, asked: Wanted, client: Client, *, version: int) -> Kept:
        await self._gateway.withdrawals.refresh()
        return Kept(
            id=id_,
            client=client.id,
            institution=client.institution,
            topic=asked.topic,
            endpoint=asked.endpoint,
            content=asked.content,
            end=asked.end,
            heartbeat=asked.heartbeat,
            most=asked.most,
            off=asked.off,
            version=version,
            saved=datetime.now(UTC),
            ledger=(await self._store.head()).size,
            withdrawals=self._gateway.withdrawals.newest,
            resource=Raw(raw.removeprefix(BOM)),
        )

    def _told(self, kept: Kept, act: str) -> None:
        topic = kept.topic.rpartition("/")[2]
        self._gateway.log(
            "subscription_changed", subscription=kept.id, client=kept.client, topic=topic, act=act
        )


async def every(gateway: Gateway) -> list[Kept]:
    """All subscriptions, the oldest first. Raises StoreUnavailable."""
    found: list[Kept] = []
    after = ""
    while page := await gateway.store.documents(KIND, after):
        found += [msgspec.json.decode(document.body, type=Kept) for document in page]
        after = page[-1].id
    return found


async def state_of(gateway: Gateway, kept: Kept) -> State:
    """How far a subscription came: a new beginning where nobody has looked at this version yet."""
    document = await gateway.store.document(STATE, kept.id)
    state = msgspec.json.decode(document.body, type=State) if document else None
    return state if state and state.of == kept.version else State.new(kept, state)


async def forget(gateway: Gateway, id_: str) -> None:
    """Drop the state of a subscription, and its events."""
    await gateway.store.remove(STATE, id_)
    while page := [d for d in await gateway.store.documents(EVENT, f"{id_}.") if d.id.startswith(f"{id_}.")]:
        await gateway.store.remove(EVENT, *(document.id for document in page))


def _document(kept: Kept) -> Document:
    return Document(kind=KIND, id=kept.id, body=msgspec.json.encode(kept), at=kept.saved)
