"""The Patient of a CDS Hooks call that sent no prefetch, fetched from the FHIR server that the call names.

``fhirServer`` is an address that a caller wrote, so it is a key into what the operator allowed that client
and never an address to go to. The access token goes into one request, over TLS, and is kept nowhere; a
redirect is not followed (:class:`adapters.Line`). What is fetched is the Patient and nothing else.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

from adapters import Limits, Line, NodeError
from gateway.body import BadBody, decode
from gateway.errors import PrefetchMissing
from gateway.settings import Settings

LARGEST = 1024 * 1024
"""Bytes of a Patient; a portrait may be in it."""
_ACCEPT = "application/fhir+json"
_NUMBER = re.compile(r"[0-9]{15}")  # a resident number as logical id: addresses end in logs


class Prefetching:
    """Lines to the FHIR servers that clients may name."""

    def __init__(self, settings: Settings) -> None:
        self._allowed = {
            client.id: frozenset(_same(url) for url in client.fhir_servers) for client in settings.clients
        }
        every = frozenset[str]().union(*self._allowed.values())
        self._lines = {url: Line(url, limits=Limits(body=LARGEST)) for url in every}

    async def patient(
        self, client: str, server: str, token: str, patient_id: str, *, budget: float
    ) -> dict[str, Any]:
        """The JSON of ``Patient/<patient_id>``, for the client of this id, within ``budget`` seconds.

        Raises:
            PrefetchMissing: the server is none that the client may name, or does not give the Patient.
        """
        url = _same(server)
        if url not in self._allowed[client]:
            raise PrefetchMissing(
                "is no FHIR server that the operator allows your system; send the Patient along",
                field="fhirServer",
            )
        if _NUMBER.search(patient_id):
            raise PrefetchMissing(
                "the Patient's id looks like a person's number, which goes into no address; send the Patient",
                field="prefetch.patient",
            )
        try:
            raw = await self._lines[url].get_json(
                f"Patient/{patient_id}",
                accept=_ACCEPT,
                credentials={"Authorization": f"Bearer {token}"},
                budget=budget,
            )
            return decode(raw, dict[str, Any])
        except (NodeError, BadBody) as wrong:
            what = str(wrong) if isinstance(wrong, NodeError) else "answered with no plain JSON object"
            raise PrefetchMissing(
                f"your FHIR server did not give the Patient: {what}; send the Patient along",
                field="fhirServer",
            ) from None

    async def aclose(self) -> None:
        """Close the connections."""
        await asyncio.gather(*(line.aclose() for line in self._lines.values()))


def _same(url: str) -> str:
    return url.rstrip("/")
