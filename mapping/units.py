"""Units as Chinese reports write them, made comparable. The unit of a result stays as written beside it.

Two units are the same only when they are one notation of one unit; nothing is converted here. ``IU/L`` and
``U/L`` differ: an item for which a laboratory may write either lists both.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_POWER = re.compile(r"^(?:[×X*]?10(?:\^|\*|E)?)(\d{1,2})/")


@lru_cache(maxsize=4096)
def canonical_unit(unit: str) -> str:
    """One form for ``×10⁹/L``, ``10^9/L`` and ``10*9/L``; for ``μ``, ``µ`` and ``u``; and so on."""
    text = unicodedata.normalize("NFKC", unit)
    text = "".join(text.split()).replace("μ", "u").replace("·", ".").upper()
    text = text.replace("L^-1", "L").replace("(", "").replace(")", "")
    return _POWER.sub(r"10^\1/", text)


def same_unit(one: str, other: str) -> bool:
    """Whether two notations mean one unit; no conversion, an empty unit equals only an empty unit."""
    return canonical_unit(one) == canonical_unit(other)
