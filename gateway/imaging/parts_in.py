"""What a STOW-RS request carries, off the wire: ``multipart/related`` (RFC 2387, RFC 2046 §5.1) as a stream.

Read strictly, because another reader of the same bytes must find the same parts: delimiters are whole lines
between CRLF, a line that only begins like one is refused, and a body without its closing delimiter was cut
off. Of a body no more is held than a piece and the length of a delimiter; the parts go where ``write`` puts
them.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from msgspec import Struct

from gateway.body import BadBody

DICOM = "application/dicom"
MOST_HEADER = 4096
"""Bytes of the header of a part; three short lines are usual."""

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110 §5.6.2
_PARAMETER = re.compile(rf'\s*;\s*(?:({_TOKEN})=(?:([^\s;,"]+)|"((?:[^"\\]|\\.)*)"))?')
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")  # RFC 2046 §5.1.1
_FIELD = re.compile(rf"({_TOKEN}):[ \t]*([\t\x20-\x7e]*)")
_UNENCODED = ("", "binary", "identity")


def media_type(text: str) -> tuple[str, dict[str, str]]:
    """A media type and its parameters, names in small letters (RFC 9110 §8.3.1). Raises ValueError."""
    named = re.match(rf"\s*({_TOKEN}/{_TOKEN})", text)
    if not named:
        raise ValueError("no media type")
    at, parameters = named.end(), dict[str, str]()
    while at < len(text.rstrip()):
        found = _PARAMETER.match(text, at)
        if not found or (found[1] and found[1].lower() in parameters):
            raise ValueError("not parameters, each once")
        if found[1]:
            quoted = re.sub(r"\\(.)", r"\1", found[3]) if found[3] is not None else ""
            parameters[found[1].lower()] = found[2] or quoted
        at = found.end()
    return named[1].lower(), parameters


def boundary_of(content_type: str) -> bytes:
    """The boundary of a request that stores instances.

    Raises:
        BadBody: 415 for another media type; 400 where it is not said what stands between the parts.
    """
    try:
        media, parameters = media_type(content_type)
    except ValueError:
        media, parameters = "", {}
    inner = parameters.get("type", DICOM).lower()
    if media != "multipart/related" or inner != DICOM:
        todo = f'send multipart/related; type="{DICOM}"; boundary=…'
        raise BadBody("Content-Type", "not a media type that is stored here", todo, 415)
    boundary = parameters.get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        raise BadBody("Content-Type", "no boundary of 1 to 70 characters", "send it, quoted", 400)
    return boundary.encode()


class Span(Struct, frozen=True):
    """Where a part lies among what was written."""

    start: int
    length: int


class Parts:
    """Takes a multipart body in pieces; ``spans`` are its parts as they were written.

    Args:
        boundary: as the request says it.
        write: keeps bytes of a part, one after the other.
        most_parts, most_bytes: how many there may be, and how long one may be.
    """

    def __init__(
        self, boundary: bytes, write: Callable[[bytes], object], *, most_parts: int, most_bytes: int
    ) -> None:
        self.spans: list[Span] = []
        self._delimiter = b"\r\n--" + boundary
        self._write = write
        self._most_parts = most_parts
        self._most_bytes = most_bytes
        self._step: Callable[[], bool] = self._preamble
        self._held = bytearray(b"\r\n")  # the first delimiter may be the first line
        self._written = self._start = 0

    def feed(self, piece: bytes) -> None:
        """Some more of the body.

        Raises:
            BadBody: 400 for what is no such body, 413 beyond a limit, 415 for a part of another media type.
        """
        self._held += piece
        while self._step():
            pass

    def end(self) -> None:
        """The body has ended. Raises BadBody (400) where it should not have, or had no part."""
        if self._step != self._epilogue:
            told = "the boundary that Content-Type names never comes"
            what = told if self._step == self._preamble else "ends before its closing boundary"
            raise BadBody("body", what, "send it whole, with CRLF at the end of lines", 400)
        if not self.spans:
            raise BadBody("body", "no part in it", "send at least one instance", 400)

    def _preamble(self) -> bool:
        return self._to_delimiter(keep=False)

    def _content(self) -> bool:
        return self._to_delimiter(keep=True)

    def _to_delimiter(self, *, keep: bool) -> bool:
        """Give on what stands before the next delimiter, and take that away."""
        at = self._held.find(self._delimiter)
        safe = at if at >= 0 else max(0, len(self._held) - len(self._delimiter) + 1)
        if keep and safe:
            self._written += safe
            if self._written - self._start > self._most_bytes:
                what = f"part {len(self.spans) + 1} has more than {self._most_bytes} bytes"
                raise BadBody("body", what, "this gateway stores no such instance", 413)
            self._write(bytes(self._held[:safe]))
        del self._held[:safe]
        if at < 0:
            return False
        del self._held[: len(self._delimiter)]
        if keep:
            if self._written == self._start:
                raise self._empty()
            self.spans.append(Span(self._start, self._written - self._start))
        self._step = self._after
        return True

    def _after(self) -> bool:
        """The rest of the delimiter's line: nothing but the end of all, or white space."""
        line, found, _ = self._held.partition(b"\r\n")
        if self._held[:2] == b"--":
            self._step = self._epilogue
            return True
        if not found and len(line) < MOST_HEADER:
            return False
        if line.strip(b" \t"):
            raise BadBody("body", "a line that begins like its boundary", "take another boundary", 400)
        if len(self.spans) >= self._most_parts:
            raise BadBody("body", f"more than {self._most_parts} parts", "send fewer at once", 413)
        del self._held[: len(line)]  # its CRLF begins the header, which may be empty
        self._step = self._header
        return True

    def _header(self) -> bool:
        head, found, _ = self._held.partition(b"\r\n\r\n")
        if not found and len(head) < MOST_HEADER:
            return False
        if not found or len(head) > MOST_HEADER:
            raise self._part("a header without an end", "end it with an empty line (CRLF)", 400)
        self._fields(head[2:].decode("latin-1"))
        del self._held[: len(head) + 2]  # the header's last CRLF begins the delimiter where the part is empty
        self._step = self._begin
        return True

    def _begin(self) -> bool:
        if len(self._held) < len(self._delimiter):
            return False
        if self._held.startswith(self._delimiter):
            raise self._empty()
        del self._held[:2]
        self._start = self._written
        self._step = self._content
        return True

    def _fields(self, head: str) -> None:
        fields: dict[str, str] = {}
        for line in head.split("\r\n") if head else ():
            field = _FIELD.fullmatch(line)
            if not field or field[1].lower() in fields:
                raise self._part("a header line that is none, or is there twice", "mend the header", 400)
            fields[field[1].lower()] = field[2].strip()
        try:
            media, _ = media_type(fields.get("content-type", "text/plain"))  # RFC 2046 §5.1
        except ValueError:
            media = ""
        if media != DICOM:
            raise self._part("not an instance", f"send each with Content-Type: {DICOM}", 415)
        for name in ("content-transfer-encoding", "content-encoding"):
            if fields.get(name, "").lower() not in _UNENCODED:
                raise self._part("encoded bytes", "send it as it is", 415)

    def _empty(self) -> BadBody:
        return self._part("nothing", "send a whole DICOM file", 400)

    def _part(self, what: str, todo: str, status: int) -> BadBody:
        return BadBody(f"part {len(self.spans) + 1}", what, todo, status)

    def _epilogue(self) -> bool:
        self._held.clear()
        return False
