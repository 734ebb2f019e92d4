"""The StructureDefinitions of the extensions (:mod:`gateway.resources.extensions`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gateway.marks.provenance import MARK_EXTENSION
from gateway.resources import extensions
from openapi._head import Resource, head

Part = tuple[str, str, str, str]
"""Of an extension: name, type (``Reason`` for a reason with parts of its own), cardinality, meaning."""

_EXTENSION = "http://hl7.org/fhir/StructureDefinition/Extension"
_REASON: tuple[Part, ...] = (
    ("rule", "code", "1..1", "The rule, a code of CodeSystem/rules"),
    ("zh", "string", "1..1", "The reason in Chinese"),
    ("en", "string", "1..1", "The reason in English"),
    ("reasonCode", "code", "0..1", "The official reason code"),
)
_PLACE: tuple[Part, ...] = (
    ("node", "string", "1..1", "The node: <node>, or <peer>/<node> behind another gateway"),
    ("fullUrl", "uri", "1..1", "The address of the resource there"),
)


def structures() -> Iterator[Resource]:
    """One a kind of extension."""
    yield _extension(
        extensions.PRINTED_MARK,
        "Printed mark 互认标识",
        "The recognition mark as it is printed on the report, such as 川渝HR",
        ("DiagnosticReport", "Observation"),
        "string",
    )
    yield _extension(
        MARK_EXTENSION,
        "Signed mark 互认标识",
        "The compact signed mark of a result, as the QR code on the report has it",
        ("Observation", "DiagnosticReport"),
        "string",
    )
    yield _extension(
        extensions.LEDGER_INDEX,
        "Place in the ledger",
        "The index of the entry in the append-only ledger, in digits",
        ("AuditEvent",),
        "string",
    )
    yield _extension(
        extensions.NODE_STATE,
        "State of a node",
        "How one node was, of those that an answer is from; every asked node has one in every answer",
        ("OperationOutcome.issue",),
        (
            ("node", "string", "1..1", "The id of the node"),
            ("kind", "code", "1..1", "What it is: fhir, dicomweb, published, gateway …"),
            ("state", "code", "1..1", "Its state, a code of urn:lianren:node-state"),
            ("results", "unsignedInt", "1..1", "How many resources it has"),
            ("tookMs", "unsignedInt", "1..1", "Milliseconds that it took"),
            ("ageMs", "unsignedInt", "0..1", "Milliseconds since it said so, where it was not asked anew"),
            ("fault", "code", "0..1", "Whose fault it was, a code of CodeSystem/faults"),
            ("via", "string", "0..1", "The gateway that asked it"),
            ("detail", "string", "0..1", "What happened, in a few words without data of persons"),
        ),
    )
    for url, title, words in (
        (extensions.SOURCE, "Further source", "A further place at which the same result or person stands"),
        (extensions.CONFLICT, "Conflicting source", "A place at which the same result has other content"),
    ):
        yield _extension(url, title, words, ("Bundle.entry",), _PLACE)
    yield _extension(
        extensions.RECOGNITION,
        "Recognition 互认结论",
        "The verdict on a prior result, with its reasons, its mark and the version of the catalogue",
        ("Parameters.parameter",),
        (
            ("verdict", "code", "1..1", "The verdict, a code of CodeSystem/verdicts"),
            ("catalogue", "string", "1..1", "The version of the catalogue that was decided under"),
            ("item", "Coding", "0..1", "The item that the result is of"),
            ("serves", "Coding", "0..1", "The planned item that it serves for"),
            ("mark", "string", "0..1", "The mark as printed"),
            ("markId", "string", "0..1", "The id of the signed mark"),
            ("markState", "code", "0..1", "valid, invalid, withdrawn, unverifiable or unsigned"),
            ("expires", "dateTime", "0..1", "Until when it is recognised"),
            ("reason", "Reason", "1..*", "Why: the first is the main reason"),
            ("note", "Reason", "0..*", "What changes no verdict and should be read"),
        ),
    )


def _extension(
    url: str, title: str, words: str, contexts: Sequence[str], what: str | Sequence[Part]
) -> Resource:
    """A StructureDefinition: of a simple extension (``what`` is the type of its value), or one with parts."""
    elements: list[Resource] = [
        {"id": "Extension", "path": "Extension", "short": title, "definition": f"{words}."}
    ]
    if isinstance(what, str):
        elements += [
            {"id": "Extension.extension", "path": "Extension.extension", "max": "0"},
            {"id": "Extension.url", "path": "Extension.url", "fixedUri": url},
            {
                "id": "Extension.value[x]",
                "path": "Extension.value[x]",
                "min": 1,
                "type": [{"code": what}],
            },
        ]
    else:
        elements += [*_parts("Extension", "Extension", what)]
        elements += [
            {"id": "Extension.url", "path": "Extension.url", "fixedUri": url},
            {"id": "Extension.value[x]", "path": "Extension.value[x]", "max": "0"},
        ]
    return {
        **head("StructureDefinition", url.rpartition("/")[2], title, f"{words}."),
        "fhirVersion": "4.0.1",
        "kind": "complex-type",
        "abstract": False,
        "context": [{"type": "element", "expression": context} for context in contexts],
        "type": "Extension",
        "baseDefinition": _EXTENSION,
        "derivation": "constraint",
        "differential": {"element": elements},
    }


def _parts(id_: str, path: str, parts: Sequence[Part]) -> Iterator[Resource]:
    """The slices of Extension.extension, one a part."""
    below = f"{path}.extension"
    rules = {"discriminator": [{"type": "value", "path": "url"}], "rules": "open"}
    required = sum(cardinality.startswith("1") for _, _, cardinality, _ in parts)
    yield {"id": f"{id_}.extension", "path": below, "slicing": rules, "min": required}
    for name, type_, cardinality, words in parts:
        slice_ = f"{id_}.extension:{name}"
        least, _, most = cardinality.partition("..")
        yield {
            "id": slice_,
            "path": below,
            "sliceName": name,
            "short": words,
            "min": int(least),
            "max": most,
        }
        if type_ == "Reason":
            yield from _parts(slice_, below, _REASON)
        else:
            yield {"id": f"{slice_}.extension", "path": f"{below}.extension", "max": "0"}
        yield {"id": f"{slice_}.url", "path": f"{below}.url", "fixedUri": name}
        value: Resource = {"id": f"{slice_}.value[x]", "path": f"{below}.value[x]"}
        yield value | ({"max": "0"} if type_ == "Reason" else {"min": 1, "type": [{"code": type_}]})
