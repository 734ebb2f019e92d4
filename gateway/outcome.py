"""What is said beside the matches of a search: how every node was, and what the answer leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from adapters import Report
from gateway.model import ConsentRule
from gateway.resources.extensions import NODE_STATES, node_state
from gateway.resources.query import Query
from gateway.resources.searchset import issue, passed_over

NAMED = 20
"""How many resources are named at most."""


def issues_of(
    reports: Sequence[Report], consent: ConsentRule, query: Query, meant: Sequence[str] = ()
) -> bytes:
    """The issues of an OperationOutcome (JSON): one a node, whether the answer is complete, what was passed
    over of the search, and which matches (``meant``) were found by what their names mean."""
    issues = [_of_node(report) for report in reports]
    if not consent.permitted:
        issues.append(issue("warning", "suppressed", consent.en))
    elif not all(report.complete for report in reports):
        words = "not every node was heard: the person may have more than is shown"
        issues.append(issue("warning", "incomplete", words))
    if meant:
        listed = ", ".join(meant[:NAMED]) + (" …" if len(meant) > NAMED else "")
        words = f"{len(meant)} found by what the local name means, not by a code in them: {listed}"
        issues.append(issue("information", "informational", words))
    issues += passed_over(query)
    return msgspec.json.encode(issues or [issue("information", "informational", "no node is configured")])


def _of_node(report: Report) -> dict[str, Any]:
    """The state of one node, in the words of a check's answer."""
    whole = not report.fault
    words = f"{report.node}: {report.state}, {report.results} resources, {report.took_ms} ms"
    words += f", fault: {report.fault}" if report.fault else ""
    words += f"; {report.detail}" if report.detail else ""
    return {
        "extension": [node_state(report)],
        "severity": "information" if whole else "warning",
        "code": "informational" if whole else "incomplete",
        "details": {"coding": [{"system": NODE_STATES, "code": report.state}], "text": report.node},
        "diagnostics": words,
    }
