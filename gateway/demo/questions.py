"""Ask the questions of ``traps.py`` over HTTP, and compare the answers with what is right."""

from __future__ import annotations

import uuid

from msgspec import Struct

from gateway.asking import ask
from gateway.demo.network import Network
from gateway.demo.people import BY_KEY
from gateway.demo.traps import TRAPS, Trap
from gateway.model import CheckAnswer, VerdictOut


class Asked(Struct, frozen=True, kw_only=True):
    """A question, its answer, and what was wrong with it (nothing, when it came out as it should)."""

    trap: Trap
    answer: CheckAnswer
    wrong: tuple[str, ...]


def body_of(trap: Trap) -> dict[str, object]:
    """The body of the REST call."""
    return {
        "request_id": uuid.uuid4().hex,
        "patient": {"type": "resident-id", "value": BY_KEY[trap.person].number},
        "planned": [{"name": name, "kind": trap.kind} for name in trap.ordered],
    }


def ask_trap(network: Network, trap: Trap) -> Asked:
    """Ask one question. Raises gateway.asking.Refused."""
    gateway = network.gateways[trap.through]
    answer = ask(gateway.url, gateway.tokens[trap.asked_by], body_of(trap))
    return Asked(trap=trap, answer=answer, wrong=tuple(_differences(trap, answer)))


def ask_all(network: Network) -> list[Asked]:
    """Ask every question, the first questions first."""
    return [ask_trap(network, trap) for trap in TRAPS]


def _differences(trap: Trap, answer: CheckAnswer) -> list[str]:
    wrong = []
    given = [(verdict, (verdict.verdict, verdict.reasons[0].rule)) for verdict in answer.verdicts]
    for key, expected in trap.expected.items():
        found = [got for verdict, got in given if _is(verdict, key)]
        if found != [expected]:
            wrong.append(f"{key}: expected {expected}, found {found}")
    if len(given) != len(trap.expected):
        wrong.append(f"{len(given)} results instead of {len(trap.expected)}")
    wrong += [
        f"{node.node} is {node.state}: {node.detail}" for node in answer.nodes if not _heard(node.state)
    ]
    return wrong


def _is(verdict: VerdictOut, key: str | tuple[str, str]) -> bool:
    result = verdict.result
    if isinstance(key, str):
        return result.id.endswith(f"/{key}")
    return (result.institution.code, result.local_name) == key


def _heard(state: str) -> bool:
    return state in ("answered", "empty")
