"""Instances that are to be stored: those that may be, and why the others may not."""

from __future__ import annotations

from msgspec import Struct

from gateway.imaging.parts_in import Span

PROCESSING, CLASS, SYNTAX = 0x0110, 0x0122, 0xC122
MISMATCH, UNREADABLE = 0xA900, 0xC000
"""Failure Reason (0008,1197), PS3.18 table I.2-2: processing failure; SOP class not supported; transfer
syntax not supported; data set does not match; cannot understand."""


class Instance(Struct, frozen=True, kw_only=True):
    """A file that may be stored: where it lies, its transfer syntax, and what is said of it in the answer and
    in the ledger."""

    span: Span
    sop_class: str
    syntax: str
    uid: str
    study: str
    series: str
    patient: str
    issuer: str
    sha256: str


class Refused(Exception):
    """A file that is not stored: the reason by its number, in words of at most 64 characters (they go into
    an LO) that repeat no value, and its UIDs as far as they could be read."""

    def __init__(self, reason: int, words: str, sop_class: str = "", uid: str = "") -> None:
        super().__init__(words)
        self.reason = reason
        self.words = words
        self.sop_class = sop_class
        self.uid = uid
