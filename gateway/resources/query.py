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
from gateway.resources.formats import refuse_format
from gateway.resources.parameters import INCLUDES, REFERENCES, SORTS, TABLE, revincludes
from security.identity import PASSPORT_SYSTEM, SYSTEMS

Pairs = Sequence[tuple[str, str]]
Summary = Literal["", "true", "text", "data", "count", "false"]
Total = Literal["none", "estimate", "accurate"]
T = TypeVar("T", bound=str)

PAGE, MOST = 200, 1000
"""How many matches a page has where nothing is said, and at most."""
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
_LOCAL = ("MR", "MRT", "PI", "PT")
"""The types (HL7 v2 table 0203) of identifiers that are an institution's own."""
_TELLING = frozenset(
    name
    for name in TABLE["Patient"]
    if name.startswith(("address", "birth", "death", "name", "family", "given", "telecom", "phone", "email"))
)
_PERSONS = tuple(system.lower() for system in (*SYSTEMS[:-1], PASSPORT_SYSTEM))
_FIELDS = 128
"""How many parameters a search may have."""
_VALUES, _LINKS = 500, 4
"""How many values they may list, and how many of them may be chained."""


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
    """Whether a parameter may hold the number of a person (:data:`security.identity.SYSTEMS`): an identifier
    of such a system, or one of a patient that does not say of which."""
    words = name.replace(":", ".").split(".")
    if "identifier" not in words or words[-1] == "missing":
        return False
    values = [one.split("|") for one in text.split(",")]
    if any(len(value) > 1 and value[0].lower().startswith(_PERSONS) for value in values):
        return True
    if words[0] not in ("patient", "subject") and (type_ != "Patient" or words[0] != "identifier"):
        return False
    if words[-1] == "of-type":
        return any(len(value) != 3 or value[1] not in _LOCAL for value in values)
    return any(len(value) < 2 or not value[0] for value in values)


def personal(type_: str, name: str, text: str) -> bool:
    """Whether a parameter tells who a patient is: by a number, or by what stands on his card. Such a one
    stands in no address that is made here, and in no log."""
    chain, _, plain = name.rpartition(".")
    told, _, modifier = plain.partition(":")
    card = told in _TELLING and modifier != "missing" and (chain or type_ == "Patient")
    return bool(card) or numbered(type_, name, text)


def query_of(
    type_: str, pairs: Pairs, *, lenient: bool = False, apart: Pairs = (), own: bool = False
) -> Query:
    """Read a search for a type.

    Args:
        own: it is one on a shelf (:mod:`gateway.resources.local`), which follows every reference.
        lenient: pass over parameters that are not known.
        apart: those that are read elsewhere and left out here: they are no conditions, and not told.

    Raises:
        BadBody: 400 for what is not known or not understood; ``field`` is the parameter.
        NotAcceptable: another format is asked for.
    """
    pairs = [pair for pair in pairs if pair not in apart] if apart else pairs
    unknown = [name for name, _ in pairs if name not in CONTROLS and not _searched(type_, name, own=own)]
    if unknown and not lenient:
        offered = ", ".join([*TABLE[type_], *CONTROLS])
        raise BadBody(unknown[0][:64], f"not offered for {type_}", f"use one of {offered}", 400)
    told = [pair for pair in pairs if pair[0] not in unknown]
    controls = _controls(told)
    refuse_format(controls.get("_format", ""))
    summary = _one_of("_summary", controls, get_args(Summary), "")
    elements = tuple(filter(None, controls.get("_elements", "").split(",")))
    if elements and summary not in ("", "false"):
        raise BadBody("_elements", "stands beside _summary", "send one of them", 400)
    along = [name for name, _ in told if name in ("_include", "_revinclude")]
    if along and summary == "text":  # R4 section 3.1.1.5.5
        raise BadBody(along[0], "stands beside _summary=text", "send one of them", 400)
    conditions = tuple(condition(type_, name, text, own=own) for name, text in told if name not in CONTROLS)
    if (
        sum(len(one.values) for one in conditions) > _VALUES
        or sum(bool(one.chained) for one in conditions) > _LINKS
    ):
        todo = f"send up to {_VALUES} values, and {_LINKS} chained parameters"
        raise BadBody("search", "more than is looked for at once", todo, 400)
    return Query(
        type=type_,
        conditions=conditions,
        includes=tuple(
            one for name, text in told if name == "_include" for one in _include(type_, text, own=own)
        ),
        revincludes=tuple(
            one for name, text in told if name == "_revinclude" for one in _revinclude(type_, text, own=own)
        ),
        sort=tuple(_sort(type_, name) for name in controls.get("_sort", "").split(",") if name),
        count=_count(controls),
        summary=summary,
        elements=elements,
        total=_one_of("_total", controls, get_args(Total), "accurate"),
        told=tuple(pair for pair in told if not personal(type_, *pair)),
        ignored=tuple(dict.fromkeys(name[:64] for name in unknown)),
    )


def _searched(type_: str, name: str, *, own: bool) -> bool:
    link, chained, _ = name.partition(".")
    return link.partition(":")[0] in TABLE[type_] and (not chained or own or name in CHAINS)


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


def _include(type_: str, text: str, *, own: bool) -> list[Include]:
    source, name, target = _named("_include", text)
    known = (REFERENCES if own else INCLUDES).get(type_, {})
    named = [*known] if own and name == "*" and not target else [name]
    if source not in ("*", type_) or any(
        one not in known or (target and target not in known[one]) for one in named
    ):
        offered = ", ".join(f"{type_}:{one}" for one in known) or "none"
        raise BadBody("_include", "not what can come along", f"offered are: {offered}", 400)
    return [Include(type_, one, (target,) if target else known[one]) for one in named]


def _revinclude(type_: str, text: str, *, own: bool) -> list[Include]:
    source, name, target = _named("_revinclude", text)
    known = revincludes(type_, REFERENCES if own else INCLUDES)
    every = own and name == "*" and [one for one in known if source in ("*", one.partition(":")[0])]
    named = every or [f"{source}:{name}"]
    if target not in ("", type_) or not {*named} <= {*known}:
        offered = ", ".join(known) or "none"
        raise BadBody("_revinclude", "not what can come along", f"offered are: {offered}", 400)
    return [Include(one.partition(":")[0], one.partition(":")[2], (type_,)) for one in named]


def _named(parameter: str, text: str) -> tuple[str, str, str]:
    source, name, target, *further = (*text.split(":"), "", "") if text != "*" else ("*", "*", "")
    if any(further):
        raise BadBody(parameter, "not <Type>:<parameter>", "write Observation:specimen", 400)
    return source, name, target
