"""What all definitions begin with."""

from __future__ import annotations

from typing import Any

from catalog.fhir import BASE
from gateway.app import VERSION
from gateway.faces import capability

Resource = dict[str, Any]


def head(kind: str, name: str, title: str, description: str) -> Resource:
    words = "".join(word.capitalize() for word in name.replace("_", "-").split("-"))
    titled = {} if kind in ("SearchParameter",) else {"title": title}
    return {
        "resourceType": kind,
        "id": name,
        "url": f"{BASE}/{kind}/{name}",
        "version": VERSION,
        "name": f"Lianren{words}" if words != "Lianren" else words,
        **titled,
        "status": "active",
        "date": capability.PUBLISHED,
        "publisher": "Lianren",
        **({"description": description} if description else {}),
    }
