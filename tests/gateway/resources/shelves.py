"""Interactions on a shelf in a file, driven without a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from gateway.resources.bundles import Bundles
from gateway.resources.file_shelf import FileShelf
from gateway.resources.interactions import Call, Interactions, Reply

T = TypeVar("T")
BASE = "https://example.org/fhir"
SYSTEM = "urn:lianren:report:EX-CQ-01"


def observation(**changes: Any) -> dict[str, Any]:
    """An Observation of a Patient who stands beside it."""
    return {
        "resourceType": "Observation",
        "identifier": [{"system": SYSTEM, "value": "R1/1"}],
        "status": "final",
        "code": {"text": "白蛋白"},
        "subject": {"reference": "Patient/p1"},
    } | changes


class Desk:
    """One shelf and what is done with it; calls run to their end one after another."""

    def __init__(self, shelf: FileShelf) -> None:
        self.shelf = shelf
        self.interactions = Interactions(shelf, BASE, asyncio.Lock())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What a coroutine comes to."""
        return asyncio.run(work)

    def write(self, method: str, path: str, resource: dict[str, Any] | None = None, **more: Any) -> Reply:
        """The reply to a write."""
        body = json.dumps(resource).encode() if resource else b""
        return self.run(self.interactions.write(Call(method=method, path=path, body=body, **more)))

    def look(self, path: str, **more: Any) -> Reply:
        """The reply to a read."""
        return self.run(self.interactions.look(Call(method="GET", path=path, **more)))

    def bundle(self, type_: str, *entries: dict[str, Any], prefer: str = "") -> list[dict[str, Any]]:
        """The entries of the answer to a Bundle."""
        return self.answer(whole(type_, *entries), prefer)

    def answer(
        self, raw: bytes, prefer: str = "", permit: Callable[[str, str], None] = lambda *_: None
    ) -> list[dict[str, Any]]:
        """The entries of the answer to the bytes of a Bundle."""
        bundles = Bundles(BASE, lambda: self.interactions, self.interactions.look, permit)
        told: list[dict[str, Any]] = json.loads(self.run(bundles.answer(raw, prefer))).get("entry", [])
        return told


def whole(type_: str, *entries: dict[str, Any]) -> bytes:
    """A Bundle."""
    head = {"resourceType": "Bundle", "type": type_}
    return json.dumps(head | ({"entry": entries} if entries else {})).encode()


def entry(
    method: str, url: str, resource: dict[str, Any] | None = None, full_url: str = "", **more: Any
) -> dict[str, Any]:
    """An entry of a Bundle."""
    told: dict[str, Any] = {"request": {"method": method, "url": url, **more}}
    told |= {"resource": resource} if resource else {}
    return told | ({"fullUrl": full_url} if full_url else {})
