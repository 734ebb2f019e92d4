"""What a JSON answer must be before anybody parses it: JSON by its name, in UTF-8, and not bottomless."""

from __future__ import annotations

from itertools import accumulate

from adapters.errors import NodeFaulty

JSON_TYPES = (
    "application/json",
    "application/fhir+json",
    "application/dicom+json",
    "application/jwk-set+json",
)
DEEPEST = 64
"""Levels of nesting; a FHIR Bundle with contained resources and extensions has about fifteen."""

_GB18030 = ("gb18030", "gbk", "gb2312")  # each a part of the first
_STEPS = bytes.maketrans(b"{}[]", b"\x01\xff\x01\xff")  # one level down, one up (-1 as a signed byte)
_ROUNDS = 2
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'[]{}"'))


def json_text(body: bytes, media_type: str, charset: str = "utf-8", *, parts: bool = False) -> bytes:
    """The body in UTF-8. ``charset`` is the node's where the answer does not say UTF-8.

    ``parts``: the caller uses parts of it alone, and has each of them looked at by :func:`refuse_deep`.

    Raises:
        NodeFaulty: it is no JSON by its media type, is in another character set, or is nested too deeply.
    """
    media, _, parameters = media_type.lower().partition(";")
    if media.strip() not in JSON_TYPES:
        raise NodeFaulty("answered with something that is not JSON")
    told = _charset(parameters)
    if told in ("", "utf-8", "utf8"):
        told = told or charset
    elif told not in _GB18030 or charset != "gb18030":
        raise NodeFaulty("answered in another character set than UTF-8")
    try:
        if told in ("utf-8", "utf8"):
            body.decode()
        else:
            body = body.decode("gb18030").encode()
    except UnicodeDecodeError:
        raise NodeFaulty(f"answered with a body that is not {told.upper()}") from None
    if not parts:
        refuse_deep(body)
    return body


def refuse_deep(body: bytes, above: int = 0) -> None:
    """Raise NodeFaulty where JSON with so many levels ``above`` it is nested too deeply. It has no more
    levels than brackets that open one: of a small one, to count them is enough."""
    most = DEEPEST - above
    if body.count(b"{") + body.count(b"[") > most and _too_deep(body, most):
        raise NodeFaulty(f"answered with JSON of more than {DEEPEST} levels")


def _charset(parameters: str) -> str:
    if "charset" not in parameters:
        return ""
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip() == "charset":
            return value.strip().strip('"')
    return ""


def _too_deep(body: bytes, most: int) -> bool:
    """Whether brackets nest too deeply, in linear time and without recursion.

    Only quotes and brackets are kept. Two quotes side by side are an empty string or the seam of two strings:
    without them, what was outside of strings still is. Then the innermost brackets go, which are most of
    them: each round takes away one level or two, so that what passes never has more than ``most``.
    """
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    marks = body.translate(None, _NOT_STRUCTURE).replace(b'""', b"")
    if b'"' in marks:
        marks = b"".join(marks.split(b'"')[::2])
    for _ in range(_ROUNDS):
        marks = marks.replace(b"{}", b"").replace(b"[]", b"")
    steps = memoryview(marks.translate(_STEPS)).cast("b")
    return max(accumulate(steps), default=0) > most - 2 * _ROUNDS
