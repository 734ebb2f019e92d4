"""What a card offers to do about an order whose results are there already: take it off, or shrink a panel.

The actions go to the draft that the client has, so an order without an id, which no action could name, gets
no suggestion. What is left of a panel is one new order for each missing item, with everything the doctor
wrote on the panel's order but its identity and its code.
"""

from __future__ import annotations

from typing import Any

from catalog.fhir import ITEM_SYSTEM
from gateway.faces._cds_call import Draft
from gateway.model import AdviceOut, Coded

NAMED = 3
"""Items that a label names: it stands on a button."""
_OF_THE_DRAFT = frozenset(
    ("id", "meta", "text", "identifier", "code", "instantiatesCanonical", "instantiatesUri")
)


def suggestion_id(card: str) -> str:
    """The id of the one suggestion that a card may have."""
    return f"{card}.0"


def suggested(advice: AdviceOut, draft: Draft, card: str) -> dict[str, Any]:
    """``suggestions`` and ``selectionBehavior`` of a card (CDS Hooks 2.0, Suggestion); empty where nothing
    is served, or the order cannot be named."""
    if not advice.served or not draft.reference:
        return {}
    names = [item.name for item in advice.to_order]
    left = "、".join(names[:NAMED]) + ("等" if len(names) > NAMED else "")
    remove = {
        "type": "delete",
        "description": f"撤下“{advice.planned}”",
        "resourceId": draft.reference,
    }
    suggestion = {
        "label": f"仅开具未能互认的{len(names)}项：{left}" if names else "采用已有结果，不再重复开具",
        "uuid": suggestion_id(card),
        "isRecommended": True,
        "actions": [remove, *(_instead(item, draft) for item in advice.to_order)],
    }
    return {"suggestions": [suggestion], "selectionBehavior": "at-most-one"}


def _instead(item: Coded, draft: Draft) -> dict[str, Any]:
    panel = draft.order.request.items()
    kept = {name: value for name, value in panel if name.lstrip("_") not in _OF_THE_DRAFT}
    if reference := kept["subject"].get("reference"):  # it will do: the answer says no number and no name
        kept["subject"] = {"reference": reference}
    coding = {"system": ITEM_SYSTEM, "code": item.code, "display": item.name}
    return {
        "type": "create",
        "description": f"开具“{item.name}”",
        "resource": {**kept, "code": {"coding": [coding], "text": item.name}},
    }
