"""From a hospital's own words and units to concepts and items."""

from mapping.errors import BadTable, MappingError
from mapping.normalise import Normaliser
from mapping.reading import REASONS, LocalName, Named
from mapping.text import Text, canonical, printed_range
from mapping.units import canonical_unit, same_unit, ucum
from mapping.values import Value, value

__all__ = [
    "REASONS",
    "BadTable",
    "LocalName",
    "MappingError",
    "Named",
    "Normaliser",
    "Text",
    "Value",
    "canonical",
    "canonical_unit",
    "printed_range",
    "same_unit",
    "ucum",
    "value",
]
