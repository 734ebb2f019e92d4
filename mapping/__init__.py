"""From a hospital's own words and units to concepts and items."""

from mapping.normalise import BARE, REASONS, LocalName, Named, Normaliser
from mapping.text import Text, canonical, printed_range
from mapping.units import canonical_unit, same_unit

__all__ = [
    "BARE",
    "REASONS",
    "LocalName",
    "Named",
    "Normaliser",
    "Text",
    "canonical",
    "canonical_unit",
    "printed_range",
    "same_unit",
]
