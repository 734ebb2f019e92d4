"""The page that describes the faces to people."""

from __future__ import annotations

import re

from tests.gateway.live import Live


def test_the_page_names_every_operation(gateway: Live) -> None:
    client = gateway.client("")
    page = client.get("/docs").text
    paths = client.get("/openapi.json").json()["paths"]
    named = [f"{method.upper()} {path}" for path, operations in paths.items() for method in operations]
    assert [name for name in named if name not in page] == []


def test_the_page_loads_nothing_from_elsewhere(gateway: Live) -> None:
    page = gateway.client("").get("/docs")
    assert "<script" not in page.text
    assert re.findall(r'(?:src|href)="(?:https?:)?//', page.text) == []
    assert page.headers["content-security-policy"].startswith("default-src 'none'")


def test_every_link_of_the_page_leads_somewhere_on_it(gateway: Live) -> None:
    page = gateway.client("").get("/docs").text
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(re.findall(r'id="([^"]+)"', page))
