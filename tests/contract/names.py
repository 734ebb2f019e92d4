"""What has to have happened before the examples are as they are published."""

from __future__ import annotations

from typing import Any

import httpx

from gateway.demo.people import BY_KEY
from tests.gateway.live import Live, body

ITEMS = {"特约白蛋白测定": "1100104A", "特约总蛋白测定": "1100204A"}


def names_told(live: Live) -> str:
    """One hospital's name waits for the second person; another was confirmed, used and taken back: its id."""
    waiting, ended = (_review(live, name) for name in ITEMS)
    first, second = live.client("steward"), live.client("second")
    _confirm(first, waiting, "特约白蛋白测定")
    _confirm(first, ended, "特约总蛋白测定")
    mapping: str = _confirm(second, ended, "特约总蛋白测定")["id"]
    _ask(live, "特约总蛋白测定")
    _ask(live, "特约白蛋白测定")  # met more often, it comes first
    taken_back = second.post(f"/api/v1/mappings/{mapping}/revocations", json={"reason": "查明有误"})
    assert taken_back.status_code == 200, taken_back.text
    return mapping


def mark_withdrawn(live: Live) -> str:
    """A mark that a check recognised and that a steward withdrew: its id."""
    asked = body("血红蛋白", patient=BY_KEY["jia"].number)
    answer = live.client().post("/api/v1/checks", json=asked).json()
    mark: str = answer["verdicts"][0]["mark"]["id"]
    said = {"reason": "evaluation-failed"}
    withdrawn = live.client("steward").post(f"/api/v1/marks/{mark}/withdrawal", json=said)
    assert withdrawn.status_code == 200, withdrawn.text
    return mark


def _review(live: Live, name: str) -> str:
    review: str = _ask(live, name)["unnamed"][0]["review"]
    return review


def _ask(live: Live, name: str) -> dict[str, Any]:
    answer: dict[str, Any] = live.client("other").post("/api/v1/checks", json=body(name)).json()
    return answer


def _confirm(client: httpx.Client, review: str, name: str) -> dict[str, Any]:
    said = {"item": ITEMS[name], "note": "与检验科核对"}
    answer = client.post(f"/api/v1/review/{review}/confirmations", json=said)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told
