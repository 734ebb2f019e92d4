"""Who is who: the institutions of the catalogue in force, and what publishers keep about themselves.

Each institution of the catalogue is an Organization, and those that this gateway is responsible for have an
Endpoint: this gateway's own FHIR base, never that of a node. Organizations and Practitioners that were
published stand beside them, each under the address of its node. They are about no patient, so nobody's
consent is asked and nothing is recorded; who may see them is a matter of scopes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, time
from typing import Any, cast

import msgspec
from msgspec.structs import replace

from adapters.fhir_read import FHIR_ID, INSTITUTION
from adapters.published import PublishedNode
from adapters.store import Store
from catalog import Catalogue
from catalog.entries import Institution
from gateway.errors import NotOffered
from gateway.holding import is_number, kept_of
from gateway.resources import local
from gateway.resources.identities import CREDIT_CODE
from gateway.resources.query import Query
from gateway.resources.searchset import Row, Searchset, ordered
from gateway.resources.tokens import tokens
from gateway.resources.values import Kept, Shelf
from gateway.wiring import Gateway
from recognition import SHANGHAI
from security.errors import IdentityRefused
from security.identity import organisation_code

TYPES = ("Organization", "Practitioner", "Endpoint")
_TERMS = "http://terminology.hl7.org/CodeSystem"
_ELEMENTS = {"province": "state", "city": "city", "district": "district"}
"""Kind of a region → element of an Address."""
_Resource = dict[str, Any]


class Directory:
    """Finds and reads organizations, practitioners and endpoints."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._listed: tuple[Catalogue, _Listed] | None = None

    async def search(self, query: Query, node: str = "") -> Searchset:
        """What fits, of the catalogue and then of each published node; of one ``node`` where it is named.

        Raises:
            NotOffered: nothing is published to that node.
            StoreUnavailable: what was published cannot be looked at.
        """
        names = [one.node.id for one in self._gateway.nodes.placed() if isinstance(one.node, PublishedNode)]
        if node and node not in names:
            raise NotOffered(
                f"node {node} is not searched for institutions; it may be asked for one by its id"
            )
        shelves = {f"nodes/{name}/": _Published(self._gateway.store, name) for name in names}
        if node:
            shelves = {f"nodes/{node}/": shelves[f"nodes/{node}/"]}
        found = [] if node else [await self._of(self.institutions, query, "")]
        found += [await self._of(shelf, query, below) for below, shelf in shelves.items()]
        rows: list[Row] = [row for one in found for row in one.rows]
        return replace(
            found[0],
            address=f"{f'nodes/{node}/' if node else ''}{query.address}",
            total=sum(one.total or 0 for one in found) if query.totalled else None,
            rows=tuple(ordered(rows, query, lambda row: row.raw)),
        )

    async def _of(self, shelf: _Listed | _Published, query: Query, below: str) -> Searchset:
        base = f"{self._gateway.settings.base_url}/fhir"
        homes = (f"{base}/{below}".rstrip("/"), base)
        return await local.search(cast("Shelf", shelf), query, homes, below)  # it is only looked at

    @property
    def institutions(self) -> _Listed:
        """What the catalogue in force says."""
        catalogue = self._gateway.rules.catalogue
        if self._listed is None or self._listed[0] is not catalogue:
            settings = self._gateway.settings
            self._listed = catalogue, _Listed(catalogue, settings.owner, settings.base_url)
        return self._listed[1]


class _Listed:
    """The part of a :class:`~gateway.resources.values.Shelf` that is looked at, over a catalogue."""

    def __init__(self, catalogue: Catalogue, owner: str, url: str) -> None:
        saved = datetime.combine(catalogue.effective_from, time(), SHANGHAI).astimezone(UTC)
        self._kept: dict[tuple[str, str], tuple[Kept, list[str]]] = {}
        for resource in _resources(catalogue, owner, url):
            type_, id_, body = resource["resourceType"], resource["id"], msgspec.json.encode(resource)
            kept = Kept(type=type_, id=id_, version=1, saved=saved, body=body)
            self._kept[type_, id_] = kept, tokens(body)

    async def get(self, type_: str, id_: str) -> Kept | None:
        """The resource of an institution."""
        return self._kept.get((type_, id_), (None,))[0]

    async def listed(self, type_: str, wanted: Sequence[str], limit: int) -> list[Kept]:
        """In the order of the catalogue."""
        held = [one for place, one in self._kept.items() if place[0] == type_]
        return [kept for kept, has in held if not wanted or not set(wanted).isdisjoint(has)][:limit]


class _Published:
    """The same over what was published to a node about no patient."""

    def __init__(self, store: Store, node: str) -> None:
        self._store = store
        self._node = node

    async def get(self, type_: str, id_: str) -> Kept | None:
        """The newest version."""
        found = await self._store.place(self._node, [f"{type_}/{id_}"]) if type_ in TYPES else []
        return kept_of(found[0]) if found else None

    async def listed(self, type_: str, wanted: Sequence[str], limit: int) -> list[Kept]:
        """The newest first. Nothing is found by the number of a person: those are no tokens."""
        named = [token.split("|", 2) for token in wanted]
        values = [value for _, _, value in named]
        if any(is_number(system, value) for _, system, value in named):
            values = []
        return [kept_of(held) for held in await self._store.listed(self._node, type_, values, limit)]


def _resources(catalogue: Catalogue, owner: str, url: str) -> Iterator[_Resource]:
    for institution in catalogue.institutions.values():
        organization = _organization(institution, catalogue)
        if institution.gateway == owner:
            endpoint = _endpoint(organization, f"{url}/fhir")
            yield organization | {"endpoint": [{"reference": f"Endpoint/{endpoint['id']}"}]}
            yield endpoint
        else:
            yield organization


def _organization(institution: Institution, catalogue: Catalogue) -> _Resource:
    code = institution.code
    identifiers = [{"system": INSTITUTION, "value": code}]
    with suppress(IdentityRefused):  # most codes are the catalogue's own
        identifiers.append({"system": CREDIT_CODE, "value": organisation_code(code)})
    provider = {"system": f"{_TERMS}/organization-type", "code": "prov", "display": "Healthcare Provider"}
    return {
        "resourceType": "Organization",
        "id": code if FHIR_ID.fullmatch(code) else hashlib.sha256(code.encode()).hexdigest()[:32],
        "identifier": identifiers,
        "active": True,
        "type": [{"coding": [provider], "text": institution.level}],
        "name": institution.name,
        "address": [{**_places(institution.region, catalogue), "country": "CN"}],
    }


def _places(code: str, catalogue: Catalogue) -> dict[str, str]:
    """The region and those that hold it, as far as an Address has an element for them."""
    region = catalogue.regions.get(code)
    if region is None:
        return {}
    above = {name: text for parent in region.parents for name, text in _places(parent, catalogue).items()}
    element = _ELEMENTS.get(region.kind)
    return above | ({element: region.name} if element else {})


def _endpoint(organization: _Resource, address: str) -> _Resource:
    payload = {"system": f"{_TERMS}/endpoint-payload-type", "code": "any", "display": "Any"}
    return {
        "resourceType": "Endpoint",
        "id": organization["id"],
        "identifier": organization["identifier"],
        "status": "active",
        "connectionType": {"system": f"{_TERMS}/endpoint-connection-type", "code": "hl7-fhir-rest"},
        "name": organization["name"],
        "managingOrganization": {"reference": f"Organization/{organization['id']}"},
        "payloadType": [{"coding": [payload]}],
        "payloadMimeType": ["application/fhir+json"],
        "address": address,
    }
