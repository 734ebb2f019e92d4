"""Searches that ask no nodes for a person: a publisher's of his own node, and a hospital's for one id."""

from __future__ import annotations

from typing import cast

import msgspec
from fastapi import FastAPI
from msgspec.structs import replace

from adapters.published import whose
from gateway.access.clients import Client
from gateway.errors import BadParameter, NotFound, NotPermitted
from gateway.pages import Paged
from gateway.reading import Reading, place_of
from gateway.repository import own
from gateway.resources import local
from gateway.resources.query import CONTROLS, Pairs, Query, query_of
from gateway.resources.searchset import Row, Searchset, passed_over, shaped
from gateway.resources.values import Place
from gateway.wiring import Gateway


def base_of(gateway: Gateway) -> str:
    """The service base."""
    return f"{gateway.settings.base_url}/fhir"


def single(pairs: Pairs) -> str:
    """The id of a search by nothing else; empty for any other."""
    asked = [pair for pair in pairs if pair[0] not in CONTROLS]
    return asked[0][1] if [name for name, _ in asked] == ["_id"] and "," not in asked[0][1] else ""


async def home(gateway: Gateway, names: list[str], client: Client, way: str, *, unknown: bool) -> str:
    """The publisher's own node where these (``<Type>/<id>``, or addresses here) all stand there; ``unknown``:
    as Patients of whom nobody can say who they are, so that no other node knows them either. Else empty."""
    try:
        node = own(gateway, client, way).node.id
    except NotPermitted:
        return ""
    places = {place_of(name, base_of(gateway)) for name in names}
    wanted = {f"{place.type}/{place.id}" for place in places if place and place.node in ("", node)}
    if len(wanted) != len(places):
        return ""
    held = await gateway.store.place(node, sorted(wanted))
    stands = wanted == {one.id for one in held if not (one.deleted or (unknown and whose(one)))}
    return node if stands else ""


async def search_own(
    gateway: Gateway, type_: str, pairs: Pairs, client: Client, way: str, *, ignore: bool
) -> bytes:
    """The first page of what a publisher keeps himself. What comes along, and what a chain leads to, he must
    be allowed to search, too. Raises BadBody, NotPermitted."""
    shelf, base = own(gateway, client, way), base_of(gateway)
    query = query_of(type_, pairs, lenient=ignore, own=True)
    chained = [one.chained[0] for one in query.conditions if one.chained]
    for there in (*chained, *(one.source for one in query.revincludes)):
        client.permit(there, "s")
    includes = []
    for one in query.includes:
        allowed = tuple(target for target in one.targets if client.scopes.permits(target, "s"))
        if not allowed:
            client.permit(one.targets[0], "s")
        includes.append(replace(one, targets=allowed))
    query = replace(query, includes=tuple(includes))
    homes, below = (f"{base}/nodes/{shelf.node.id}", base), f"nodes/{way}/" if way else ""
    found = await local.search(shelf, query, homes, below)
    return found.page(base, 0, await gateway.pages.keep(Paged(client=client.id, type=type_, found=found)))


async def read_one(app: FastAPI, query: Query, place: Place, client: Client) -> bytes:
    """What is found by an id alone: it is read at its node, and that is on record.

    Raises: as :meth:`gateway.reading.Reading.read`, but for NotFound.
    """
    if query.includes or query.revincludes:
        raise BadParameter("needs a person; name him by patient=Patient/<id>", field="_include")
    try:
        kept = [await cast("Reading", app.state.reading).read(place, client)]
    except NotFound:
        kept = []
    shown = () if query.counted else kept
    rows = tuple(Row(replace(place, node=one.node).below, shaped(one.body, query)) for one in shown)
    return Searchset(
        address=f"{f'nodes/{place.node}/' if place.node else ''}{query.address}",
        count=query.count,
        total=len(kept) if query.totalled else None,
        rows=rows,
        outcome=msgspec.json.encode(passed_over(query)) if query.ignored else b"",
    ).page(base_of(app.state.gateway))
