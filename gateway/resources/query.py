"""A search as it was asked: conditions, what comes along, the order, and how much of it is wanted.

Read strictly: what is not known here is refused, because a search that is wider than what was asked for shows
records that nobody asked for; where a caller would rather have that (``Prefer: handling=lenient``), what was
passed over is named in the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeVar, get_args
from urllib.parse import quote_plus, unquote_plus

from msgspec import Struct

from gateway.body import BadBody
from gateway.resources.conditions import CHAINS, Condition, condition
from gateway.resources.parameters import INCLUDES, SORTS, TABLE, revincludes
from security.identity import PASSPORT_SYSTEM, SYSTEMS

Pairs = Sequence[tuple[str, str]]
Summary = Literal["", "true", "text", "data", "count", "false"]
Total = Literal["none", "estimate", "accurate"]
T = TypeVar("T", bound=str)

PAGE, MOST = 200, 1000
"""How many matches a page has where nothing is said, and at most."""
FORMATS = ("json", "application/json", "application/fhir+json", "text/json")
CONTROLS = {
    "_count": "number",
    "_elements": "string",
    "_format": "token",
    "_include": "string",
    "_pretty": "token",
    "_revinclude": "string",
    "_sort": "string",
    "_summary": "token",
    "_total": "token",
}
"""The parameters that say what an answer is to look like."""
_NUMBERED = frozenset((*CHAINS, "patient:identifier", "subject:identifier"))
_TELLING = frozenset(
    name
    for name in TABLE["Patient"]
    if name.startswith(("address", "birth", "death", "name", "family", "given", "telecom", "phone", "email"))
)
_FIELDS = 128
"""How many parameters a search may have."""


class Include(Struct, frozen=True):
    """What comes along: ``source`` refers to one of ``targets`` by the parameter ``name``."""

    source: str
    name: str
    targets: tuple[str, ...]


class Query(Struct, frozen=True, kw_only=True):
    """A search for one type; ``sort`` are parameters, each with whether it goes down. ``told`` is what was
    understood, as it was sent, and ``ignored`` the names of what was not."""

    type: str
    conditions: tuple[Condition, ...] = ()
    includes: tuple[Include, ...] = ()
    revincludes: tuple[Include, ...] = ()
    sort: tuple[tuple[str, bool], ...] = ()
    count: int = PAGE
    summary: Summary = ""
    elements: tuple[str, ...] = ()
    total: Total = "accurate"
    told: tuple[tuple[str, str], ...] = ()
    ignored: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether resources are shown as they are."""
        return self.summary in ("", "false") and not self.elements

    @property
    def counted(self) -> bool:
        """Whether only their number is wanted."""
        return self.summary == "count" or self.count == 0

    @property
    def totalled(self) -> bool:
        """Whether the number of matches is told."""
        return self.total != "none" or self.summary == "count"

    @property
    def address(self) -> str:
        """Type and query, below the service base."""
        query = "&".join(f"{quote_plus(name)}={quote_plus(text)}" for name, text in self.told)
        return f"{self.type}?{query}" if query else self.type


def pairs_of(query: bytes) -> list[tuple[str, str]]:
    """The parameters of an address or of a form, in their order.

    Raises:
        BadBody: 400 for what is no such list.
    """
    fields = [field for field in query.decode("latin-1").split("&") if field]
    try:
        if len(fields) > _FIELDS:
            raise ValueError
        return [(_plain(name), _plain(text)) for name, _, text in (field.partition("=") for field in fields)]
    except ValueError:
        todo = f"encode them as a form, at most {_FIELDS}"
        raise BadBody("search", "not a list of parameters in UTF-8", todo, 400) from None


def _plain(text: str) -> str:
    """What was encoded; most parts of a search were not."""
    if not text.isascii():
        raise ValueError
    return unquote_plus(text, errors="strict") if "%" in text or "+" in text else text


def numbered(type_: str, name: str, text: str) -> bool:
    """Whether a parameter may hold the number of a person (:data:`security.identity.SYSTEMS`): one that names
    the patient by an identifier, of such a system or of none."""
    if name != "identifier" if type_ == "Patient" else name not in _NUMBERED:
        return False
    systems = [system for system, bar, _ in (one.partition("|") for one in text.split(",")) if bar]
    known = (*SYSTEMS[:-1], PASSPORT_SYSTEM)
    return len(systems) <= text.count(",") or any(system.startswith(known) for system in systems)


def personal(type_: str, name: str, text: str) -> bool:
    """Whether a parameter tells who a patient is: by a number, or by what stands on his card. Such a one
    stands in no address and in no log."""
    return numbered(type_, name, text) or (type_ == "Patient" and name.partition(":")[0] in _TELLING)


def query_of(type_: str, pairs: Pairs, *, lenient: bool = False, apart: Pairs = ()) -> Query:
    """Read a search for a type.

    Args:
        lenient: pass over parameters that are not known.
        apart: those that are read elsewhere and left out here: they are no conditions, and not told.

    Raises:
        BadBody: 400 for what is not known or not understood; ``field`` is the parameter.
    """
    pairs = [pair for pair in pairs if pair not in apart] if apart else pairs
    unknown = [name for name, _ in pairs if name not in CONTROLS and not _searched(type_, name)]
    if unknown and not lenient:
        offered = ", ".join([*TABLE[type_], *CONTROLS])
        raise BadBody(unknown[0][:64], f"not offered for {type_}", f"use one of {offered}", 400)
    told = [pair for pair in pairs if pair[0] not in unknown]
    controls = _controls(told)
    if (form := controls.get("_format", "json")).partition(";")[0].replace(" ", "+") not in FORMATS:
        raise BadBody("_format", f"not spoken here ({form[:32]})", "only json is", 400)
    summary = _one_of("_summary", controls, get_args(Summary), "")
    elements = tuple(filter(None, controls.get("_elements", "").split(",")))
    if elements and summary not in ("", "false"):
        raise BadBody("_elements", "stands beside _summary", "send one of them", 400)
    along = [name for name, _ in told if name in ("_include", "_revinclude")]
    if along and summary == "text":  # R4 section 3.1.1.5.5
        raise BadBody(along[0], "stands beside _summary=text", "send one of them", 400)
    return Query(
        type=type_,
        conditions=tuple(condition(type_, name, text) for name, text in told if name not in CONTROLS),
        includes=tuple(_include(type_, text) for name, text in told if name == "_include"),
        revincludes=tuple(_revinclude(type_, text) for name, text in told if name == "_revinclude"),
        sort=tuple(_sort(type_, name) for name in controls.get("_sort", "").split(",") if name),
        count=_count(controls),
        summary=summary,
        elements=elements,
        total=_one_of("_total", controls, get_args(Total), "accurate"),
        told=tuple(pair for pair in told if not personal(type_, *pair)),
        ignored=tuple(dict.fromkeys(name[:64] for name in unknown)),
    )


def _searched(type_: str, name: str) -> bool:
    plain = name.partition(":")[0]
    return plain in TABLE[type_] or (plain in CHAINS and plain.partition(".")[0] in TABLE[type_])


def _controls(pairs: Pairs) -> dict[str, str]:
    held: dict[str, str] = {}
    for name, text in pairs:
        if name in CONTROLS and name not in ("_include", "_revinclude"):
            if name in held:
                raise BadBody(name, "stands twice", "send it once", 400)
            held[name] = text
    return held


def _one_of(name: str, controls: dict[str, str], known: tuple[T, ...], default: T) -> T:
    if name not in controls:
        return default
    found = next((one for one in known if one and one == controls[name]), None)
    if found is None:
        raise BadBody(name, "not one of its values", f"use one of {', '.join(filter(None, known))}", 400)
    return found


def _count(controls: dict[str, str]) -> int:
    text = controls.get("_count", str(PAGE))
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise BadBody("_count", "not a whole number from 0", "give one", 400)
    return min(int(text), MOST)


def _sort(type_: str, text: str) -> tuple[str, bool]:
    name = text.removeprefix("-")
    if name not in SORTS[type_]:
        raise BadBody("_sort", f"not what {type_} is sorted by", f"use {', '.join(SORTS[type_])}", 400)
    return name, text.startswith("-")


def _include(type_: str, text: str) -> Include:
    source, name, target = _named("_include", text)
    known = INCLUDES.get(type_, {}) if source == type_ else {}
    if name not in known or (target and target not in known[name]):
        offered = ", ".join(f"{type_}:{one}" for one in INCLUDES.get(type_, {})) or "none"
        raise BadBody("_include", "not what can come along", f"offered are: {offered}", 400)
    return Include(source, name, (target,) if target else known[name])


def _revinclude(type_: str, text: str) -> Include:
    source, name, target = _named("_revinclude", text)
    if f"{source}:{name}" not in revincludes(type_) or target not in ("", type_):
        offered = ", ".join(revincludes(type_)) or "none"
        raise BadBody("_revinclude", "not what can come along", f"offered are: {offered}", 400)
    return Include(source, name, (type_,))


def _named(parameter: str, text: str) -> tuple[str, str, str]:
    source, name, target, *further = (*text.split(":"), "", "")
    if any(further):
        raise BadBody(parameter, "not <Type>:<parameter>", "write Observation:specimen", 400)
    return source, name, target
