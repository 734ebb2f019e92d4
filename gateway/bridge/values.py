"""What the bridge works with: which archive, and which of its instances are wanted."""

from __future__ import annotations

import re
import ssl
from pathlib import Path

from msgspec import Struct
from pydicom.dataset import Dataset

from gateway.errors import SettingsError

_TITLE = re.compile(
    r"[\x21-\x5b\x5d-\x7e](?:[\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?"
)  # PS3.5 §6.2, AE
_ADDRESS = re.compile(r"(.+)@(\[[0-9a-fA-F:.]+\]|[^\s@:\[\]]+):(\d{1,5})")

Syntaxes = tuple[str, ...]
Contexts = tuple[tuple[str, Syntaxes], ...]
"""Presentation contexts to propose: an abstract syntax each, and its transfer syntaxes."""


class Archive(Struct, frozen=True, kw_only=True):
    """One archive, and how it is spoken to.

    ``own_title`` is the AE title of this side, which the archive has to know. ``move_port``: where it takes
    the instances of a C-MOVE; 0 has them come by C-GET. ``charset``: Specific Character Set of what the
    archive sends without naming one, and of queries in it; empty: find out, and ask in UTF-8.

    Seconds, one limit for each phase: ``connect_s`` to a connection and to an association, ``answer_s`` to
    the next response of a query or a store, ``progress_s`` to the next instance of a retrieval, ``idle_s``
    that an association is kept for the next request. ``associations`` at one time; ``spool_bytes`` of
    instances of one retrieval that wait for their reader, then the archive waits; ``most`` matches of one
    query.
    """

    title: str
    host: str
    port: int
    own_title: str = "LIANREN"
    move_port: int = 0
    charset: str = ""
    tls: ssl.SSLContext | None = None
    connect_s: float = 5.0
    answer_s: float = 15.0
    progress_s: float = 30.0
    idle_s: float = 5.0
    associations: int = 4
    spool_bytes: int = 256 * 1024 * 1024
    most: int = 10_000


class Wanted(Struct, frozen=True):
    """A study, a series or an instance."""

    study: str
    series: str = ""
    instance: str = ""

    @property
    def level(self) -> str:
        """Query/Retrieve Level (0008,0052)."""
        return "IMAGE" if self.instance else "SERIES" if self.series else "STUDY"

    def identifier(self) -> Dataset:
        """The unique keys of the level and of those above it (PS3.4 C.4.2.2.1)."""
        keys = Dataset()
        keys.QueryRetrieveLevel = self.level
        keys.StudyInstanceUID = self.study
        if self.series:
            keys.SeriesInstanceUID = self.series
        if self.instance:
            keys.SOPInstanceUID = self.instance
        return keys

    def holds(self, study: str, series: str, instance: str) -> bool:
        """Whether an instance is among what is wanted."""
        return study == self.study and self.series in ("", series) and self.instance in ("", instance)


class Arrived(Struct, frozen=True):
    """One instance in the spool: its file (PS3.10) and bytes, which it is, and its transfer syntax."""

    path: Path
    size: int
    which: Wanted
    syntax: str


def title_of(text: str) -> str:
    """An AE title.

    Raises:
        SettingsError: it is none.
    """
    if not _TITLE.fullmatch(text):
        raise SettingsError(f"{text!r} is no AE title: 1 to 16 characters of ASCII without \\", field="title")
    return text


def archive_of(text: str) -> tuple[str, str, int]:
    """AE title, host and port of ``TITLE@host:port``.

    Raises:
        SettingsError: it is not so written.
    """
    found = _ADDRESS.fullmatch(text)
    if not found or not 0 < int(found[3]) < 65536:
        raise SettingsError(
            "an archive is written AETITLE@host:port, such as PACS@10.0.0.5:104", field="archive"
        )
    return title_of(found[1]), found[2].strip("[]"), int(found[3])
