"""Readings of names, remembered: a hospital writes the same few hundred names all day.

A reading depends on the name, on what stands beside it, and on the rules; so it is remembered with the rules
(:class:`gateway.rules.Rules`) and goes with them. Reading a name again gives the same object, by which others
tell cheaply that nothing of it has changed.
"""

from __future__ import annotations

from functools import lru_cache

from msgspec.structs import astuple

from mapping import LocalName, Named
from mapping.sites import Reads

KEPT = 16_384
"""How many readings are remembered under one set of rules."""
LONG = 1000
"""Characters of a name, with what stands beside it, that is not worth remembering."""


class Readings:
    """Reads names as ``reads`` does."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads
        self._read = lru_cache(maxsize=KEPT)(reads.read)

    def read(self, local: LocalName) -> Named:
        """The reading of a name; never raises."""
        return self._read(local) if sum(map(len, astuple(local))) <= LONG else self._reads.read(local)

    def panel(self, name: str) -> str | None:
        """The code of the panel with this name or code, or None."""
        return self._reads.panel(name)
