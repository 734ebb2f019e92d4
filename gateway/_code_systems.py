"""A code system in memory, and the answers of FHIR R4 about single codes of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct

from catalog import canonical_name
from catalog.fhir import Resource
from gateway.errors import NotFound


class Coding(Struct, frozen=True):
    """A code with its system; a local one may carry the hospital's own name as display."""

    system: str
    code: str
    display: str = ""


class Judged(Struct, frozen=True):
    """Whether a code is valid, what is to be said of it, and its display where there is one."""

    valid: bool
    message: str
    display: str


class System:
    """A code system by its codes."""

    def __init__(self, resource: Resource) -> None:
        self.url: str = resource["url"]
        self.resource = resource
        self.concepts: dict[str, Resource] = {concept["code"]: concept for concept in resource["concept"]}

    def lookup(self, code: str, wanted: Iterable[str] = ()) -> Resource:
        """Parameters of CodeSystem/$lookup (R4): display, designations, properties or the wanted ones.

        Raises:
            NotFound: there is no such code.
        """
        concept = self.concepts.get(code)
        if concept is None:
            raise NotFound(f"{self.url} has no code {code!r} in version {self.resource['version']}")
        chosen = set(wanted)
        told = [text_part("name", self.resource["title"]), text_part("version", self.resource["version"])]
        told.append(text_part("display", concept.get("display", code)))
        if not chosen or "designation" in chosen:
            told += [{"name": "designation", "part": _parts(one)} for one in concept.get("designation", ())]
        for entry in concept["property"]:
            if not chosen or entry["code"] in chosen:
                (element,) = entry.keys() - {"code"}
                value = {"name": "value", element: entry[element]}
                told.append({"name": "property", "part": [code_part("code", entry["code"]), value]})
        return parameters(told)

    def judge(self, coding: Coding, within: Mapping[str, Resource] | None = None) -> Judged:
        """Whether a coding is one of this system, or of a part of it, and its display a name of it."""
        if coding.system != self.url:
            return Judged(False, f"the codes here are those of {self.url}, not of {coding.system}", "")
        concept = self.concepts.get(coding.code)
        if concept is None:
            return Judged(False, f"{self.url} has no code {coding.code!r}", "")
        display = concept.get("display", coding.code)
        if within is not None and coding.code not in within:
            return Judged(False, f"{coding.code} {display} is not in this value set", display)
        names = {canonical_name(name) for name in names_of(concept)}
        if coding.display and canonical_name(coding.display) not in names:
            return Judged(False, f"{coding.code} is {display!r}, not {coding.display!r}", display)
        return Judged(True, "", display)


def parameters(told: list[Resource]) -> Resource:
    """A Parameters resource."""
    return {"resourceType": "Parameters", "parameter": told}


def judgement(judged: Sequence[Judged]) -> Resource:
    """Parameters of $validate-code (R4) for codings of one concept: one that is valid will do."""
    best = next((one for one in judged if one.valid), judged[0])
    told: list[Resource] = [{"name": "result", "valueBoolean": best.valid}]
    told += [text_part("message", best.message)] if best.message else []
    return parameters(told + ([text_part("display", best.display)] if best.display else []))


def names_of(concept: Resource) -> Iterator[str]:
    yield str(concept.get("display", concept["code"]))
    for designation in concept.get("designation", ()):
        yield designation["value"]


def _parts(designation: Resource) -> list[Resource]:
    elements = {"language": "valueCode", "use": "valueCoding", "value": "valueString"}
    return [{"name": name, elements[name]: value} for name, value in designation.items()]


def text_part(name: str, text: str) -> Resource:
    return {"name": name, "valueString": text}


def code_part(name: str, code: str) -> Resource:
    return {"name": name, "valueCode": code}
