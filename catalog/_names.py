"""How a name and a pattern of items are compared with an item."""

from __future__ import annotations

import unicodedata

from catalog.entries import ANY, Item


def canonical_name(name: str) -> str:
    """The form in which two names count as the same: compatibility forms, case and blanks folded."""
    return "".join(unicodedata.normalize("NFKC", name).casefold().split())


def matches(pattern: str, item: Item) -> bool:
    """Whether ``*``, ``kind:lab``, ``list:…``, ``group:…`` or a blank-separated set of these and of codes
    names the item."""
    for part in pattern.split():
        head, _, rest = part.partition(":")
        if part in (ANY, item.code) or (head, rest) in (("kind", item.kind), ("group", item.group)):
            return True
        if head == "list" and rest in item.lists:
            return True
    return False
