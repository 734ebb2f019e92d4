"""Request bodies, read strictly: what two parsers could read differently is refused before anybody reads it.

A body passes three gates. :func:`receive` takes it off the wire with a size limit and a media type.
:func:`read_json` refuses what RFC 8259 leaves open or what costs a parser its stack: other encodings than
UTF-8, a byte order mark, repeated member names, deep nesting, numbers beyond a double, lone surrogates (the
I-JSON profile, RFC 7493 section 2). :func:`decode` reads it into a type, and says which field does not fit.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

JSON_TYPES = frozenset({"application/json", "application/fhir+json"})
MAX_BYTES = 1024 * 1024

_NUMBER = re.compile(r"(?:\d\s?){6}")
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_PLACE = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>[^`]*)`)?$", re.DOTALL)
_NAMED_FIELD = re.compile(r"^Object (?:missing required|contains unknown) field `(?P<name>.*)`$", re.DOTALL)


class BadBody(Exception):
    """A body that is not read. ``field`` is its path (``planned[0].items``; ``body`` for the whole).

    ``status``: 400 encoding, syntax, repeated names; 413 too large; 415 media type; 422 content.
    No attribute repeats a value of the body.
    """

    def __init__(self, field: str, what: str, todo: str, status: int) -> None:
        super().__init__(f"{field}: {what}; {todo}")
        self.field = field
        self.what = what
        self.todo = todo
        self.status = status


async def receive(
    scope: Mapping[str, Any],
    receive: Callable[[], Awaitable[Any]],
    *,
    limit: int = MAX_BYTES,
    types: frozenset[str] = JSON_TYPES,
) -> bytes:
    """The whole body of an ASGI request (``request.scope``, ``request.receive``), at most ``limit`` bytes.

    Raises:
        BadBody: 415 for another media type, charset or content encoding; 413 over the limit; 400 when the
            caller hangs up in the middle.
    """
    headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
    media, *parameters = (part.strip().lower() for part in headers.get(b"content-type", "").split(";"))
    if media not in types:
        raise BadBody("Content-Type", "not a media type that is read here", f"send {sorted(types)[0]}", 415)
    charsets = [p.partition("=")[2].strip('" ') for p in parameters if p.startswith("charset")]
    if any(charset != "utf-8" for charset in charsets):
        raise BadBody("Content-Type", "another charset than utf-8", "send UTF-8", 415)
    if headers.get(b"content-encoding", "identity").strip().lower() != "identity":
        raise BadBody("Content-Encoding", "a compressed body", "send it as it is", 415)
    stated = headers.get(b"content-length", "")
    if stated.isdigit() and int(stated[:20]) > limit:
        raise _too_large(limit)
    return await whole(receive, limit)


async def whole(receive: Callable[[], Awaitable[Any]], limit: int) -> bytes:
    """The body's messages put together, at most ``limit`` bytes.

    Raises:
        BadBody: 413 over the limit; 400 when the caller hangs up in the middle.
    """
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BadBody("body", "ended before its end", "send it again", 400)
        body += message.get("body", b"")
        if len(body) > limit:
            raise _too_large(limit)
        if not message.get("more_body", False):
            return bytes(body)


def _too_large(limit: int) -> BadBody:
    return BadBody("body", f"more than {limit} bytes", "send less at once", 413)


def holds_number(words: str) -> bool:
    """Whether six digits follow one another, full-width and spaced ones too: words of people name nobody."""
    return _NUMBER.search(words) is not None


def read_json(raw: bytes, *, limit_depth: int = 64) -> None:
    """Check that the bytes are one JSON text that every parser reads alike.

    Raises:
        BadBody: 400, naming the path where there is one.
    """
    if raw.startswith(b"\xef\xbb\xbf"):
        raise BadBody("body", "a byte order mark", "send UTF-8 without it", 400)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadBody("body", f"not UTF-8 at byte {error.start}", "send UTF-8", 400) from None
    if _depth(raw, limit_depth) > limit_depth:
        raise BadBody("body", f"nested deeper than {limit_depth}", "send a flatter body", 400)
    found = _Findings()
    try:
        tree = json.loads(
            text,
            object_pairs_hook=found.members,
            parse_int=found.number,
            parse_float=found.number,
            parse_constant=found.constant,
        )
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise BadBody("body", f"not JSON at {place}", "mend the syntax", 400) from None
    if found.any or _SURROGATE_ESCAPE.search(raw):
        _report(tree, "")


def decode(raw: bytes, type: type[T], *, limit_depth: int = 64) -> T:  # noqa: A002 - msgspec's own word
    """Check the bytes with :func:`read_json` and read them into ``type``, without any conversion of types.

    Raises:
        BadBody: 400 from the check; 422 with the path of the field that does not fit.
    """
    read_json(raw, limit_depth=limit_depth)
    try:
        return msgspec.json.decode(raw, type=type, strict=True)
    except msgspec.MsgspecError as error:
        raise _misfit(str(error)) from None


def _misfit(message: str) -> BadBody:
    place = _PLACE.match(message)
    what, path = (place["what"], place["path"] or "$") if place else ("not of this form", "$")
    named = _NAMED_FIELD.match(what)
    if named:
        path = f"{path}.{named['name'][:64]}"
        what = "missing" if "missing" in what else "not a field of this body"
    elif what.startswith("Invalid "):  # msgspec repeats the value of an enumeration, a date, a UUID …
        what = "not one of the allowed values" if "enum" in what else "malformed"
    return BadBody(path.removeprefix("$").removeprefix(".") or "body", what, "see the API description", 422)


def _depth(raw: bytes, enough: int) -> int:
    if raw.count(b"[") + raw.count(b"{") <= enough:
        return 0
    depth = deepest = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", raw)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
        if deepest > enough:
            break
    return deepest


class _Fault(str):
    """Stands in the parsed tree where something is wrong, so that its path can be told afterwards."""


class _Findings:
    """The parser's hooks: they leave a :class:`_Fault` in the tree, since they do not know where they are."""

    any = False

    def members(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) != len(pairs):
            self.any = True
            times = Counter(name for name, _ in pairs)
            twice = next(name for name in times if times[name] > 1)
            members[twice] = _Fault("the same name twice in one object")
        return members

    def number(self, text: str) -> float | _Fault:
        value = float(text)
        if math.isfinite(value):
            return value
        self.any = True
        return _Fault("a number too large")

    def constant(self, _: str) -> _Fault:
        self.any = True
        return _Fault("not a JSON number")


def _report(tree: Any, path: str) -> None:
    if isinstance(tree, _Fault):
        raise BadBody(path or "body", str(tree), "mend the body", 400)
    if isinstance(tree, dict):
        for name, value in tree.items():
            _report(name, f"{path}.(name)")
            _report(value, f"{path}.{name[:64]}" if path else name[:64])
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            _report(value, f"{path}[{index}]")
    elif isinstance(tree, str) and any("\ud800" <= c <= "\udfff" for c in tree):
        raise BadBody(path or "body", "half a surrogate pair", "send whole characters", 400)
