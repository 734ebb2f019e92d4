"""The bytes of a request, in which no value can become a line of its own."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable
from urllib.parse import quote

from adapters.errors import NodeFaulty

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")  # RFC 9110 §5.5
_TARGET = re.compile(r"[!\"$-~]+")  # visible ASCII without the fragment
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_VISIBLE = "".join(set(string.punctuation) - {"#"})
_FRAMING = frozenset(
    ("connection", "content-length", "expect", "host", "te", "trailer", "transfer-encoding", "upgrade")
)


def target(path: str) -> str:
    """A path with its query as it goes over the wire; what is not visible ASCII is percent-encoded.

    Raises:
        NodeFaulty: it holds a control character.
    """
    if _TARGET.fullmatch(path):
        return path
    if _FORBIDDEN.search(path):
        raise NodeFaulty("not asked: a control character in the address")
    return quote(path, safe=_VISIBLE)


def header_lines(headers: Iterable[tuple[str, str]]) -> str:
    """Header lines (RFC 9112 §5). Host and framing are not the caller's.

    Raises:
        NodeFaulty: a name or value that a header cannot have, or a header that frames the request.
    """
    lines = []
    for name, value in headers:
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value) or name.lower() in _FRAMING:
            raise NodeFaulty("not asked: a header that cannot be sent")
        lines.append(f"{name}: {value}\r\n")
    return "".join(lines)


def request(
    method: str, where: str, lines: str, body: bytes | None = None, further: int | None = None
) -> bytes:
    """A whole request, of parts that the two functions above have made; so many ``further`` bytes of its body
    may follow.

    Raises:
        NodeFaulty: a method that cannot be.
    """
    if not _NAME.fullmatch(method):
        raise NodeFaulty("not asked: a method that cannot be sent")
    if body is None and further is None:
        return f"{method} {where} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")
    body = body or b""
    head = f"{method} {where} HTTP/1.1\r\n{lines}Content-Length: {len(body) + (further or 0)}\r\n\r\n"
    return head.encode("latin-1") + body
