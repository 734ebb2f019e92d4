"""What is wrong with a resource: each fault with its path, its FHIR issue code and words; never a value."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct

from gateway.body import BadBody


class Issue(Struct, frozen=True):
    """One fault: a FHIRPath to the element, a code of http://hl7.org/fhir/issue-type, and words."""

    path: str
    code: str
    words: str

    def below(self, place: str) -> Issue:
        """The same in a larger whole: ``Patient.name[0]`` below ``Bundle.entry[2].resource``."""
        _, dot, rest = self.path.partition(".")
        return Issue(f"{place}{dot}{rest}", self.code, self.words)


class ResourceRefused(BadBody):
    """A resource that is not kept, with all that is wrong with it (422)."""

    def __init__(self, issues: Sequence[Issue]) -> None:
        first = issues[0]
        more = f" (and {len(issues) - 1} more)" if len(issues) > 1 else ""
        super().__init__(first.path, f"{first.words}{more}", "see FHIR R4", 422)
        self.issues = tuple(issues)


def outcome(issues: Iterable[Issue], error: str = "") -> dict[str, Any]:
    """The OperationOutcome (R4): an error for each issue, or one line that there is none.

    Args:
        error: the code of docs/errors.md that they come under.
    """
    told = []
    for issue in issues:
        line: dict[str, Any] = {"severity": "error", "code": issue.code}
        if error:
            line["details"] = {"coding": [{"system": "urn:lianren:error", "code": error}]}
        told.append(
            line | {"diagnostics": issue.words} | ({"expression": [issue.path]} if issue.path else {})
        )
    well = {"severity": "information", "code": "informational", "diagnostics": "nothing is wrong with it"}
    return {"resourceType": "OperationOutcome", "issue": told or [well]}
