"""What is changed of an answer on its way through: the addresses of the archive in it and, of metadata, the
patient and texts.

A multipart answer (RFC 2046 section 5.1) keeps its boundary and its length: a header of a part that could
hold an address, such as Orthanc's ``Content-Location``, has its value overwritten with spaces. Metadata are
cut into their instances as they arrive, and each is told as lists tell a study (:class:`Whose`). Neither
holds more of an answer than one piece, or one instance.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from decimal import Decimal
from typing import Literal
from urllib.parse import quote, unquote, urlsplit

import msgspec
from msgspec import Raw, Struct

from adapters.errors import NodeFaulty
from gateway.imaging import merging, texts
from gateway.imaging.merging import Members

Kind = Literal["before", "head", "data", "end"]
Piece = tuple[Kind, bytes]

MOST_HEAD = 16 * 1024
"""Bytes of the headers of one part."""
MOST_INSTANCE = 32 * 1024 * 1024
"""Bytes of the metadata of one instance."""
NO_LIST = "sent metadata that are no DICOM JSON list"

_HEADER = re.compile(rb"^([!-9;-~]+):[ \t]*([^\r\n]*)", re.MULTILINE)
_KEPT = frozenset((b"content-type", b"content-length", b"mime-version", b"content-transfer-encoding"))
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_FLAT = rb'(?:[^{}"]++|' + _STRING + rb")"
_WITHIN = re.compile(rb"(?:" + _FLAT + rb"|\{" + _FLAT + rb"*+\})*+", re.DOTALL)
_BETWEEN = re.compile(rb"[ \t\r\n,]*+")
_BULK = re.compile(rb'("BulkDataURI"\s*:\s*)("[^"\\]*(?:\\.[^"\\]*)*")')
_CHARSET = re.compile(rb'"00080005"\s*:\s*\{[^{}]*\}')
_RETRIEVE = re.compile(rb'("00081190"\s*:\s*\{[^{}\[\]]*"Value"\s*:\s*\[\s*)("[^"\\]*(?:\\.[^"\\]*)*")')
_MEMBERS = msgspec.json.Decoder(Members)
_ELEMENT = msgspec.json.Decoder(float_hook=Decimal)
_ENCODER = msgspec.json.Encoder(decimal_format="number")
_SAFE = "/:@!$&'()*+,;=-._~"


class Related:
    """A ``multipart/related`` body, as its pieces come. ``closed``: its last boundary was there; ``blanked``:
    a header of a part was overwritten."""

    def __init__(self, boundary: str) -> None:
        self.closed = self.blanked = False
        self._mark = b"\r\n--" + boundary.encode("latin-1")
        self._left = b"\r\n"  # the first boundary may be the first line
        self._state: Kind = "before"
        self._begun = False

    @property
    def held(self) -> bool:
        """Whether something is kept back until it is known what it is."""
        return len(self._left) > (0 if self._begun else 2)

    def feed(self, piece: bytes) -> list[Piece]:
        """What of the body is known with this piece: its bytes in their order, told apart.

        Raises:
            NodeFaulty: the headers of a part are too large or none.
        """
        told: list[Piece] = []
        rest = self._left + piece if self._left else piece
        self._left = b""
        while rest:
            if self._state == "end":
                told.append(("end", rest))
                break
            if self._state == "head":
                size = self._head(rest)
                if not size:
                    self._left = rest
                    break
                head = _blanked(rest[:size])
                self.blanked = self.blanked or head != rest[:size]
                told.append(("end" if self.closed else "head", head))
                self._state, rest = "end" if self.closed else "data", rest[size:]
                continue
            found = rest.find(self._mark)
            if found < 0:
                found = self._held(rest)
                self._left = rest[found:]
            if found:
                told.append((self._state, rest[:found]))
            if self._left:
                break
            rest = rest[found:]
            self._state = "head" if rest else self._state
        return self._first(told)

    def through(self, piece: bytes) -> bytes:
        """What of the body can go on with this piece: mostly the piece as it is.

        Raises:
            NodeFaulty: as :meth:`feed`.
        """
        held, blanked, self.blanked = self.held, self.blanked, False
        told = self.feed(piece)
        changed = held or self.held or self.blanked
        self.blanked = self.blanked or blanked
        return b"".join(some for _, some in told) if changed else piece

    def ended(self, *, whole: bool) -> bool:
        """Whether the last part has ended where nothing more comes: with the last boundary, or with one that
        lacks its two hyphens where the ``whole`` of the body is known to be there."""
        return self.closed or (whole and self._state == "head")

    def rest(self) -> bytes:
        """What is kept back, where nothing more comes."""
        left, self._left = self._left, b""
        return _blanked(left)

    def _head(self, rest: bytes) -> int:
        """How long boundary and headers are; 0 while they are not whole."""
        after = rest[len(self._mark) : len(self._mark) + 2]
        if after == b"--":
            self.closed = True
            return len(self._mark) + 2
        end = rest.find(b"\r\n\r\n", len(self._mark))
        if end < 0 and len(rest) > MOST_HEAD:
            raise NodeFaulty("sent a part whose headers do not end")
        return end + 4 if end >= 0 else 0

    def _held(self, rest: bytes) -> int:
        """Where a boundary may begin whose end is not there yet."""
        start = len(rest)
        while (start := rest.rfind(b"\r", max(0, len(rest) - len(self._mark) + 1), start)) >= 0:
            if self._mark.startswith(rest[start:]):
                return start
        return len(rest)

    def _first(self, told: list[Piece]) -> list[Piece]:
        """Without the line break that was put before the body."""
        if told and not self._begun:
            self._begun = True
            kind, piece = told[0]
            told[0] = kind, piece[2:]
        return told


def headers_of(head: bytes) -> dict[str, str]:
    """The headers of a part, their names in lower case."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in _HEADER.findall(head)}


class Objects:
    """A JSON array, as its pieces come: the bytes of each of its objects. ``closed``: its end was there."""

    def __init__(self, limit: int = MOST_INSTANCE) -> None:
        self.closed = False
        self._limit = limit
        self._left = b""
        self._looked = self._depth = 0
        self._wanted = b"["

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The objects that are whole with this piece.

        Raises:
            NodeFaulty: it is no array of objects, or one of them is too large.
        """
        rest = self._left + piece
        begin, here = 0, self._looked
        while True:
            passed = (_WITHIN if self._depth else _BETWEEN).match(rest, here)
            here = passed.end() if passed else here
            sign = rest[here : here + 1]
            if not sign or (sign == b'"' and self._depth):  # a string goes on in the next piece
                break
            begin = begin if self._depth else here
            here += 1
            if sign == b"{" and (self._depth or self._wanted == b"{"):
                self._depth += 1
            elif sign == b"}" and self._depth:
                self._depth -= 1
                if not self._depth:
                    yield rest[begin:here]
            elif sign == self._wanted == b"[":
                self._wanted = b"{"
            elif sign == b"]" and self._wanted == b"{":
                self._wanted, self.closed = b"", True
            else:
                raise NodeFaulty(NO_LIST)
            begin = begin if self._depth else here
        self._left, self._looked = rest[begin:], here - begin
        if len(self._left) > self._limit:
            raise NodeFaulty("sent metadata of an instance that are too large")


class Whose(Struct, frozen=True, kw_only=True):
    """A study of which metadata are told.

    ``here``: its address at its archive, as this gateway has it; ``patient``: the elements of its patient;
    ``numbers``: the Patient IDs that the archive may have in their place, any where it is ``behind`` another
    gateway, which has looked.
    """

    study: str
    here: str
    numbers: Collection[str]
    patient: Members
    behind: bool = False

    def told(self, instance: bytes) -> tuple[bytes, bool]:
        """The metadata of an instance as callers see them, and whether a text in them is lost: with addresses
        here, the patient as in lists, and texts as they were meant. All else stays as the archive wrote it.

        An address of the archive that is not below that of the study is left out: it could be of another
        person's.

        Raises:
            NodeFaulty: they are no DICOM JSON, or of another study or person.
        """

        def address(found: re.Match[bytes]) -> bytes:
            return found[1] + _address(found[2], self.study, self.here)

        utf_8 = b'"00080005":{"vr":"CS","Value":["ISO_IR 192"]}'  # as JSON is (F.2.2)
        try:
            members, lost = _MEMBERS.decode(instance), False
            if texts.suspicious(instance):
                members, lost = _meant(members)
        except msgspec.MsgspecError:
            raise NodeFaulty(NO_LIST) from None
        if merging.text_of(members.get(merging.STUDY_UID)) != self.study:
            raise NodeFaulty("answered with metadata of another study")
        number = merging.text_of(members.get(merging.PATIENT_ID))
        if not self.behind and number not in ("", *self.numbers):
            raise NodeFaulty("answered with another person's resource: metadata of another Patient ID")
        told = _CHARSET.sub(utf_8, merging.metadata(members, self.patient))
        return _RETRIEVE.sub(address, _BULK.sub(address, told)), lost


def _meant(members: Members) -> tuple[Members, bool]:
    """The elements of a data set with their texts as they were meant, and whether one of them is lost."""
    dataset = {tag: _ELEMENT.decode(raw) for tag, raw in members.items()}
    told, lost = texts.mended(dataset)
    changed = {tag: Raw(_ENCODER.encode(told[tag])) for tag in members if told[tag] != dataset[tag]}
    return members | changed, lost


def _address(text: bytes, study_uid: str, here: str) -> bytes:
    try:
        parts = urlsplit(str(msgspec.json.decode(text)))
    except (msgspec.MsgspecError, ValueError):
        return b'""'
    _, found, below = parts.path.partition(f"/{study_uid}/")
    if not found and parts.path.endswith(f"/{study_uid}"):
        return msgspec.json.encode(here)
    if not found or ".." in unquote(below):
        return b'""'
    query = f"?{quote(parts.query, safe=_SAFE + '?%')}" if parts.query else ""
    return msgspec.json.encode(f"{here}/{quote(below, safe=_SAFE + '%')}{query}")


def _blanked(head: bytes) -> bytes:
    def blank(found: re.Match[bytes]) -> bytes:
        if found[1].lower() in _KEPT:
            return found[0]
        return found[0][: -len(found[2])] + b" " * len(found[2]) if found[2] else found[0]

    return _HEADER.sub(blank, head)
