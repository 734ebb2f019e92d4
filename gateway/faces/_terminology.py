"""The terminology operations of FHIR R4 (4.0.1): their parameters, and how each is answered.

codesystem-operation-lookup and -validate-code, valueset-operation-expand and -validate-code,
conceptmap-operation-translate; by GET, and by POST with Parameters. They answer from a
:class:`~gateway.terminology.Terminology` in memory: that of the rules in force, or of those that a version
names.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
from fastapi import Request
from msgspec import Struct

from catalog import UnknownEntry
from catalog.fhir import ITEM_SYSTEM, Resource
from gateway._code_systems import Coding, judgement
from gateway.body import decode
from gateway.errors import BadParameter, NotFound
from gateway.faces._parameters import Asked, from_body, from_query, lenient
from gateway.faces.common import FHIR_JSON, JSON, body_of, client_of
from gateway.terminology import STAND_INS, Terminology
from gateway.wiring import Gateway

KEPT = 4
"""How many terminologies of other versions are kept."""
TRANSLATED, LONGEST = 4096, 512
"""How many translations are kept, of queries of at most how many characters."""


class Terminologies:
    """The terminology in force, and the latest others that were asked for."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._now: Terminology | None = None
        self._others: OrderedDict[str, Terminology] = OrderedDict()
        self._translated: dict[bytes, bytes] = {}

    @property
    def translated(self) -> dict[bytes, bytes]:
        """Query → answer of ``$translate``, by the rules in force."""
        self.now()
        return self._translated

    def keep(self, query: bytes, answer: bytes) -> None:
        """Keep an answer of ``$translate``, as far as there is room."""
        if len(self.translated) < TRANSLATED and len(query) <= LONGEST:
            self._translated[query] = answer

    def now(self) -> Terminology:
        """That of the rules in force."""
        rules = self._gateway.rules
        if self._now is None or self._now.rules is not rules:
            self._now = Terminology(rules)
            self._translated = {}
        return self._now

    async def under(self, label: str) -> Terminology:
        """That of the rules which a version names; for an empty one those in force.

        Raises:
            NotFound: nothing was ever published under it.
        """
        if not label or label == self.now().version:
            return self.now()
        if label not in self._others:
            try:
                rules = await asyncio.to_thread(self._gateway.catalogues.under, label)
            except UnknownEntry:
                raise NotFound(f"no catalogue of version {label!r} was published here") from None
            self._others[label] = Terminology(rules)
            if len(self._others) > KEPT:
                self._others.popitem(last=False)
        return self._others[label]


def terminologies_of(request: Request) -> Terminologies:
    """The terminologies of the application that a request came to."""
    return cast("Terminologies", request.app.state.terminologies)


class Operation(Struct, frozen=True, kw_only=True):
    """An operation of a resource type.

    Attributes:
        offered: its parameters with their kinds.
        versions: those of them that name a version of the catalogue.
        answer: from a terminology, the parameters, and the id of a resource (empty: of the type) to the
            resource that answers, or its bytes.
        instance: whether a single resource has it too.
    """

    kind: str
    name: str
    offered: dict[str, str]
    versions: tuple[str, ...]
    answer: Callable[[Terminology, Asked, str], Resource | bytes]
    about: str
    instance: bool = True

    async def __call__(self, request: Request, resource_id: str = "") -> bytes:
        """The bytes that answer a request.

        Raises:
            NotAuthenticated, BadBody, BadParameter, NotFound: see docs/errors.md.
        """
        client_of(request)
        ignore = lenient(request.scope)
        if request.method == "POST":
            from_query(request.scope["query_string"], {}, ignore=ignore)
            body = decode(await body_of(request, FHIR_JSON, JSON), dict[str, Any])
            asked = from_body(body, self.offered, ignore=ignore)
        else:
            asked = from_query(request.scope["query_string"], self.offered, ignore=ignore)
        terminology = await terminologies_of(request).under(asked.version(*self.versions))
        told = self.answer(terminology, asked, resource_id)
        return told if isinstance(told, bytes) else msgspec.json.encode(told)


def _texts(names: str, **others: str) -> dict[str, str]:
    """Parameters with their kinds: those named are texts."""
    return dict.fromkeys(names.split(), "text") | others


_CODED = _texts("code system", coding="coding")
_JUDGED = _CODED | _texts("display", codeableConcept="concept")


def _lookup(terminology: Terminology, asked: Asked, _: str) -> Resource:
    coding = _some(asked.codings())[0]
    return terminology.system(coding.system).lookup(coding.code, asked.values.get("property", ()))


def _judge_in_system(terminology: Terminology, asked: Asked, resource_id: str) -> Resource:
    url = asked.canonical()
    if resource_id:
        url = terminology.get("CodeSystem", resource_id)["url"]
    codings = _some(asked.codings(url))
    system = terminology.system(url or codings[0].system)
    return judgement([system.judge(coding) for coding in codings])


def _judge_in_set(terminology: Terminology, asked: Asked, resource_id: str) -> Resource:
    value_set = _named(terminology, "ValueSet", asked, resource_id)
    return judgement([terminology.judge(value_set, coding) for coding in _some(asked.codings())])


def _expand(terminology: Terminology, asked: Asked, resource_id: str) -> Resource:
    value_set = _named(terminology, "ValueSet", asked, resource_id)
    offset = asked.number("offset") or 0
    total, page = terminology.expand(value_set, asked.text("filter"), offset, asked.number("count"))
    shown = ("code", "display", *(("designation",) if asked.flag("includeDesignations") else ()))
    told = {"filter": "valueString", "offset": "valueInteger", "count": "valueInteger"}
    expansion: Resource = {
        "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
        "total": total,
        "offset": offset,
        "parameter": [
            *({"name": name, told[name]: asked.values[name][0]} for name in told if name in asked.values),
            {"name": "version", "valueUri": f"{ITEM_SYSTEM}|{terminology.version}"},
        ],
    }
    if page:
        expansion["contains"] = [
            {"system": ITEM_SYSTEM, **{name: concept[name] for name in shown if name in concept}}
            for concept in page
        ]
    left_out = () if asked.flag("includeDefinition") else ("compose",)
    kept = {name: value for name, value in value_set.items() if name not in left_out}
    return kept | {"expansion": expansion}


def _translate(terminology: Terminology, asked: Asked, resource_id: str) -> bytes:
    url = (
        _named(terminology, "ConceptMap", asked, resource_id)["url"]
        if resource_id or asked.text("url")
        else ""
    )
    if asked.text("targetsystem") not in ("", ITEM_SYSTEM):
        raise BadParameter(f"only items are translated to: {ITEM_SYSTEM}", field="targetsystem")
    codings = asked.codings()
    if url == STAND_INS:
        return terminology.stand_ins(_some(codings))
    name = asked.wording() or ("" if codings else asked.text("display"))
    if not name:
        _some(codings)
    beside = {word: asked.text(word) for word in ("kind", "modality", "specimen")}
    return terminology.translate(codings, name, beside)


def _named(terminology: Terminology, kind: str, asked: Asked, resource_id: str) -> Resource:
    """The resource of an instance, or of the parameter ``url``."""
    if resource_id:
        return terminology.get(kind, resource_id)
    if not asked.text("url"):
        raise BadParameter(f"is missing; name a {kind}", field="url")
    return terminology.find(kind, asked.canonical())


def _some(codings: list[Coding]) -> list[Coding]:
    if not codings:
        raise BadParameter("is missing; send a code with its system, or a coding", field="code")
    return codings


_PAGED = {"offset": "number", "count": "number"}
_FLAGS = dict.fromkeys(("includeDesignations", "includeDefinition", "activeOnly", "excludeNested"), "flag")
OPERATIONS = (
    Operation(
        kind="CodeSystem",
        name="lookup",
        offered=_CODED | _texts("version", property="texts"),
        versions=("version",),
        answer=_lookup,
        about="What a code says",
        instance=False,
    ),
    Operation(
        kind="CodeSystem",
        name="validate-code",
        offered=_texts("url version") | _JUDGED,
        versions=("version",),
        answer=_judge_in_system,
        about="Is it a code of the system, and its display right",
    ),
    Operation(
        kind="ValueSet",
        name="validate-code",
        offered=_texts("url valueSetVersion systemVersion") | _JUDGED,
        versions=("valueSetVersion", "systemVersion"),
        answer=_judge_in_set,
        about="Is it an item of the list, and its display right",
    ),
    Operation(
        kind="ValueSet",
        name="expand",
        offered=_texts("url valueSetVersion filter") | _PAGED | _FLAGS,
        versions=("valueSetVersion",),
        answer=_expand,
        about="The items of a list, by name and page by page",
    ),
    TRANSLATE := Operation(
        kind="ConceptMap",
        name="translate",
        offered=_texts("url conceptMapVersion version targetsystem kind modality specimen") | _JUDGED,
        versions=("conceptMapVersion", "version"),
        answer=_translate,
        about="A code or a hospital's own name as an item",
    ),
)
