"""The structure of a DICOM data set (PS3.5 §7), element by element, so strictly that every reader agrees.

Nothing is decoded and nothing is called again within itself: nesting costs no stack, a length that leads
beyond its own sequence is a fault wherever it stands, and tags ascend, so that no attribute is there twice.
Bytes are looked at where they lie (a ``mmap`` is as good as ``bytes``).
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from typing import Literal

from msgspec import Struct

Data = bytes | mmap.mmap

DEPTH = 16
"""Sequences within one another; the deepest structured reports have about ten."""
ELEMENTS = 1_000_000
"""Of one instance; an enhanced CT of 2,000 frames has about a hundred thousand."""
UNDEFINED = 0xFFFFFFFF
PIXEL_DATA = 0x7FE00010
ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_LONG = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"))
_SHORT = frozenset(
    ("AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN", "SH", "SL", "SS", "ST")
) | {"TM", "UI", "UL", "US"}
"""VRs whose length has 32 bits, and those where it has 16 (PS3.5 §7.1.2)."""


class Malformed(Exception):
    """The bytes are no data set; the message says what is wrong, in 64 characters at most, and no value."""


class Element(Struct, frozen=True, gc=False):
    """One element with a value of its own, or the beginning of an :data:`ITEM` of a sequence, without one;
    ``depth`` is 0 outside of sequences, and one more in an item."""

    tag: int
    vr: str
    start: int
    length: int
    depth: int


class Syntax(Struct, frozen=True):
    """How a transfer syntax writes elements (PS3.5 §10)."""

    explicit: bool = True
    order: Literal["little", "big"] = "little"


class _Frame(Struct):
    """A data set, a sequence or the fragments of pixel data that is being read."""

    kind: Literal["set", "sequence", "fragments"]
    end: int
    open: bool
    syntax: Syntax
    last: int = -1


def walk(data: Data, start: int, end: int, syntax: Syntax, vr_of: Callable[[int], str]) -> Iterator[Element]:
    """The elements of the data set between two places, and the items of its sequences, in their order.

    Args:
        vr_of: the VR of a tag, for implicit VR; ``UN`` for one that the dictionary does not have.

    Raises:
        Malformed: something does not hold, or there is more of it than :data:`DEPTH` and :data:`ELEMENTS`.
    """
    frames = [_Frame("set", end, False, syntax)]
    at, many = start, 0
    while frames:
        frame = frames[-1]
        if at == frame.end and not frame.open:
            frames.pop()
            continue
        syntax, order = frame.syntax, frame.syntax.order
        if frame.end - at < 8:
            raise Malformed("is cut off between two elements")
        many += 1
        if many > ELEMENTS:
            raise Malformed(f"has more than {ELEMENTS} elements")
        tag = int.from_bytes(data[at : at + 2], order) << 16 | int.from_bytes(data[at + 2 : at + 4], order)
        if tag >> 16 == 0xFFFE or frame.kind != "set":
            length = int.from_bytes(data[at + 4 : at + 8], order)
            at += 8
            if tag == ITEM and frame.kind == "fragments":
                at = _within(at, length, frame.end)
            elif tag == ITEM and frame.kind == "sequence":
                open_ = length == UNDEFINED
                inner = frame.end if open_ else _within(at, length, frame.end)
                frames.append(_Frame("set", inner, open_, syntax))
                yield Element(tag, "", at, 0, len(frames) // 2)
            elif length == 0 and frame.open and tag == (_ITEM_END if frame.kind == "set" else _SEQUENCE_END):
                frames.pop()
            else:
                raise Malformed("has an item or a delimiter where none belongs")
            continue
        if tag <= frame.last:
            raise Malformed("has its elements out of order, or one of them twice")
        frame.last = tag
        vr, length, at = _head(data, at, frame, tag, vr_of)
        open_ = length == UNDEFINED
        if open_ and tag == PIXEL_DATA and vr in ("OB", "OW", "UN"):  # of an icon, too (PS3.5 §A.4)
            frames.append(_Frame("fragments", frame.end, True, syntax))
        elif vr == "SQ" or (open_ and vr == "UN"):
            if len(frames) > 2 * DEPTH:
                raise Malformed(f"has sequences nested deeper than {DEPTH}")
            # PS3.5 §6.2.2 note 2: of undefined length, what is unknown is written in implicit VR
            within = Syntax(explicit=False, order="little") if vr == "UN" else syntax
            inner = frame.end if open_ else _within(at, length, frame.end)
            frames.append(_Frame("sequence", inner, open_, within))
        elif open_:
            raise Malformed("has a value of undefined length that is no sequence")
        else:
            end_ = _within(at, length, frame.end)
            yield Element(tag, vr, at, length, len(frames) // 2)
            at = end_


def _head(data: Data, at: int, frame: _Frame, tag: int, vr_of: Callable[[int], str]) -> tuple[str, int, int]:
    """VR, length, and where the value begins."""
    order = frame.syntax.order
    if not frame.syntax.explicit:
        return vr_of(tag), int.from_bytes(data[at + 4 : at + 8], order), at + 8
    vr = data[at + 4 : at + 6].decode("latin-1")
    if vr in _SHORT:
        return vr, int.from_bytes(data[at + 6 : at + 8], order), at + 8
    if vr not in _LONG:
        raise Malformed("has an element whose VR is none")
    if frame.end - at < 12:
        raise Malformed("is cut off in the middle of an element")
    return vr, int.from_bytes(data[at + 8 : at + 12], order), at + 12


def _within(at: int, length: int, end: int) -> int:
    if length > end - at:
        raise Malformed("is cut off: a value ends behind its end")
    return at + length
