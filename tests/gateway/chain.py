"""Three gateways, each of which asks others: 四川 asks the alliance, which asks 重庆, which would ask both of
them again. Only 重庆 has a node."""

from __future__ import annotations

import io
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from gateway.app import create_app
from gateway.demo.processes import free_port
from gateway.keeper import roots_of
from gateway.keyring import make_keys, open_keys
from gateway.log import Log
from gateway.settings import Settings
from tests.gateway.live import CLIENTS, NODE, OWN, Live, settings_for, source_of
from tests.serving import serve

ASKED = {"sc": ["lab8"], "lab8": ["sc", "cq"], "cq": ["sc", "lab8"]}
"""Whom each gateway asks."""


@contextmanager
def chain(folder: Path, further: Sequence[dict[str, Any]] = ()) -> Iterator[dict[str, Live]]:
    """The gateways by their owners, once they trust each other's keys. Each signs what it asks. 重庆 has
    ``further`` nodes, too."""
    tokens = {name: secrets.token_urlsafe(16) for name in CLIENTS}
    with ExitStack() as stack:
        source, counted = stack.enter_context(source_of(folder))
        (folder / "token").write_text(tokens["peer"])
        ports = {owner: free_port() for owner in ASKED}
        urls = {owner: f"http://127.0.0.1:{port}" for owner, port in ports.items()}
        node = {"id": NODE, "kind": "fhir", "url": source, "institution": OWN, "timeout_ms": 7000}
        gateways = {}
        for owner in ASKED:
            settings = _prepared(folder, owner, [node, *further] if owner == "cq" else [], urls, tokens)
            gateways[owner] = Live(urls[owner], settings, tokens, io.StringIO(), stack=stack)
        for owner, live in gateways.items():
            stack.enter_context(serve(create_app(live.settings, Log(live.log)), ports[owner]))
        for live in gateways.values():
            while live.client("other").get("/health/ready").json()["key_lists_missing"]:
                time.sleep(0.05)
        gateways["cq"].node = counted
        yield gateways


def _prepared(
    folder: Path, owner: str, nodes: list[dict[str, Any]], urls: dict[str, str], tokens: dict[str, str]
) -> Settings:
    peers = [
        {
            "id": f"gw-{other}",
            "kind": "gateway",
            "url": urls[other],
            "owner": other,
            "timeout_ms": 7000,
            "token_file": folder / "token",
        }
        for other in ASKED[owner]
    ]
    pins = [
        {"owner": other, "url": urls[other], "keys_file": folder / f"{other}-roots.json"}
        for other in ASKED
        if other != owner
    ]
    (home := folder / owner).mkdir()
    settings = settings_for(home, tokens, [*nodes, *peers], owner, pins=pins, hops=4, search_deadline_ms=8000)
    make_keys(settings)
    roots = roots_of(open_keys(settings), owner)
    (folder / f"{owner}-roots.json").write_bytes(msgspec.json.encode(roots))
    return settings
