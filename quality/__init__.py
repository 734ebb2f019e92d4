"""Evidence of quality: first the data-quality dimensions of a single result."""

from quality.record import assess

__all__ = ["assess"]
