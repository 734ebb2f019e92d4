"""The parameters of a FHIR operation or search, read strictly: from an address, or a Parameters resource."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote_plus

from fastapi import Request
from msgspec import Struct
from starlette.types import Scope

from gateway._code_systems import Coding
from gateway.errors import BadParameter
from gateway.faces.common import body_of
from gateway.resources.formats import refuse_format

FORM = "application/x-www-form-urlencoded"
_STRINGS = ("String", "Code", "Uri", "Canonical", "Url", "Id", "Markdown", "Instant")
_ELEMENTS = {
    "text": tuple(f"value{name}" for name in _STRINGS),
    "texts": tuple(f"value{name}" for name in _STRINGS),
    "flag": ("valueBoolean",),
    "number": ("valueInteger", "valueUnsignedInt", "valuePositiveInt"),
    "coding": ("valueCoding",),
    "concept": ("valueCodeableConcept",),
}
"""The elements of a parameter by its kind."""
_EVERYWHERE = {"_format": "text", "_pretty": "text"}
_MOST = 1000


class Asked(Struct, frozen=True):
    """What a caller asked for, by name; repeated ones in their order."""

    values: dict[str, list[Any]]

    def text(self, name: str) -> str:
        """A text, or empty."""
        held = self.values.get(name)
        return str(held[0]) if held else ""

    def flag(self, name: str) -> bool:
        """A truth value; false where it is not given."""
        return bool(self.values.get(name, (False,))[0])

    def number(self, name: str) -> int | None:
        """A whole number, where it is given."""
        return next(iter(self.values.get(name, ())), None)

    def canonical(self) -> str:
        """The canonical url without its version."""
        return self.text("url").partition("|")[0]

    def version(self, *names: str) -> str:
        """The version of the catalogue that is asked for, or empty for the one in force.

        Raises:
            BadParameter: several are.
        """
        named = {self.text(name) for name in names} | {self.text("url").partition("|")[2]}
        labels = named - {""}
        if len(labels) > 1:
            raise BadParameter("asks for several versions at once; send one", field=names[0])
        return labels.pop() if labels else ""

    def codings(self, system: str = "") -> list[Coding]:
        """The codings in whichever form they came: a code with its system, ``coding``, ``codeableConcept``.

        Args:
            system: that of a code which came without one.

        Raises:
            BadParameter: a code without a system, or something else than codings.
        """
        found = [_coding(value, "coding", system) for value in self.values.get("coding", ())]
        for concept in self.values.get("codeableConcept", ()):
            listed = concept.get("coding", [])
            if not isinstance(listed, list):
                raise BadParameter("must be a list", field="codeableConcept.coding")
            found += [_coding(value, "codeableConcept.coding", system) for value in listed]
        if code := self.text("code"):
            own = self.text("system") or system
            if not own:
                raise BadParameter("is missing; a code needs the system that it is of", field="system")
            found.append(Coding(own, code, self.text("display")))
        return found

    def wording(self) -> str:
        """The text of a codeable concept, or empty."""
        for concept in self.values.get("codeableConcept", ()):
            text = concept.get("text", "")
            if not isinstance(text, str):
                raise BadParameter("must be text", field="codeableConcept.text")
            return text
        return ""


def lenient(scope: Scope) -> bool:
    """Whether unknown parameters are to be ignored (R4 http.html, ``Prefer: handling=lenient``)."""
    preferred = b",".join(value for name, value in scope["headers"] if name == b"prefer")
    return b"handling=lenient" in preferred.replace(b" ", b"").replace(b";", b",").split(b",")


def from_query(query: bytes, offered: Mapping[str, str], *, ignore: bool) -> Asked:
    """The parameters of an address.

    Args:
        query: the query string as it came.
        offered: name → kind of each parameter that is offered; coded ones need a body.
        ignore: leave out what is not offered.

    Raises:
        BadParameter: naming what is not offered, twice, or no value of its kind.
    """
    fields = query.decode("latin-1").split("&") if query else []
    if len(fields) > _MOST:
        raise BadParameter("too many parameters", field="query")
    found: dict[str, list[Any]] = {}
    unknown: list[str] = []
    for name, _, text in (field.partition("=") for field in fields if field):
        name, text = unquote_plus(name), unquote_plus(text)
        kind = offered.get(name) or _EVERYWHERE.get(name)
        if kind is None:
            unknown.append(name)
            continue
        if kind in ("coding", "concept"):
            raise BadParameter("is no simple value; send it by POST in Parameters", field=name)
        if kind == "flag":
            if text not in ("true", "false"):
                raise BadParameter("must be true or false", field=name)
            _add(found, name, kind, text == "true")
        elif kind == "number":
            if not (text.isascii() and text.isdigit() and len(text) <= 9):
                raise BadParameter("must be a whole number from 0", field=name)
            _add(found, name, kind, int(text))
        elif text:
            _add(found, name, kind, text)
    return _checked(found, unknown, offered, ignore=ignore)


async def sought(request: Request, offered: Mapping[str, str]) -> Asked:
    """The parameters of a search: of an address, or of the form that ``_search`` takes.

    Raises:
        BadBody: the form cannot be read.
        BadParameter: as :func:`from_query`, and where an address has parameters beside a form.
    """
    query = request.scope["query_string"]
    if request.method == "POST":
        if query:
            raise BadParameter("must stand in the body", field="parameters")
        query = await body_of(request, FORM)
    return from_query(query, offered, ignore=lenient(request.scope))


def form_of(parameters: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The ``requestBody`` of ``_search`` in OpenAPI, of the query parameters that a search by GET has."""
    schema = {
        "type": "object",
        "properties": {one["name"]: one["schema"] for one in parameters},
        "required": [one["name"] for one in parameters if one.get("required")],
    }
    if not schema["required"]:
        del schema["required"]
    return {"requestBody": {"required": True, "content": {FORM: {"schema": schema}}}}


def from_body(body: Mapping[str, Any], offered: Mapping[str, str], *, ignore: bool) -> Asked:
    """The parameters of a Parameters resource; as :func:`from_query`.

    Raises:
        BadParameter: also where it is no Parameters resource.
    """
    listed = body.get("parameter", [])
    if body.get("resourceType") != "Parameters" or not isinstance(listed, list):
        raise BadParameter("must be a Parameters resource", field="Parameters")
    found: dict[str, list[Any]] = {}
    unknown: list[str] = []
    for number, entry in enumerate(listed):
        place = f"Parameters.parameter[{number}]"
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str):
            raise BadParameter("must have a name", field=place)
        kind = offered.get(name)
        if kind is None:
            unknown.append(name)
            continue
        held = [element for element in entry if element.startswith("value")]
        if len(held) != 1 or held[0] not in _ELEMENTS[kind]:
            raise BadParameter(f"{name} needs one {_ELEMENTS[kind][0]}", field=place)
        _add(found, name, kind, _typed(entry[held[0]], kind, f"{place}.{held[0]}"))
    return _checked(found, unknown, offered, ignore=ignore)


def _typed(value: Any, kind: str, place: str) -> Any:
    expected: type = {"flag": bool, "number": int, "coding": dict, "concept": dict}.get(kind, str)
    if type(value) is not expected or value == "":
        raise BadParameter(f"is no {expected.__name__}, or empty", field=place)
    if kind == "number" and value not in range(1_000_000_000):
        raise BadParameter("must be a whole number from 0", field=place)
    return value


def _add(found: dict[str, list[Any]], name: str, kind: str, value: Any) -> None:
    held = found.setdefault(name, [])
    if held and kind != "texts":
        raise BadParameter("stands twice; send it once", field=name)
    held.append(value)


def _checked(
    found: dict[str, list[Any]], unknown: Iterable[str], offered: Mapping[str, str], *, ignore: bool
) -> Asked:
    wrong = sorted({name[:64] for name in unknown})
    if wrong and not ignore:
        message = f"not offered here: {', '.join(wrong)}; offered are {', '.join(offered)}"
        raise BadParameter(message, field=wrong[0])
    asked = Asked(found)
    refuse_format(asked.text("_format"))
    return asked


def _coding(value: Any, place: str, system: str) -> Coding:
    if not isinstance(value, dict):
        raise BadParameter("must be a Coding", field=place)
    texts = [value.get(name, "") for name in ("system", "code", "display")]
    if not all(isinstance(text, str) for text in texts):
        raise BadParameter("system, code and display must be text", field=place)
    own, code, display = texts
    if not code or not (own or system):
        raise BadParameter("needs a system and a code", field=place)
    return Coding(own or system, code, display)
