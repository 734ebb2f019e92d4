"""Units as Chinese reports write them, made comparable. The unit of a result stays as written beside it.

Two units are the same only when they are one notation of one unit; nothing is converted here. ``IU/L`` and
``U/L`` differ: an item for which a laboratory may write either lists both.

Case is kept, because it tells m from M and g from G: ``mIU/mL`` is a thousand-millionth of ``MIU/mL``, and
``G/L`` is 10^9/L. Only where no other unit could be meant is a letter's case free: in litre, mol, U, IU, Eq,
Pa, mmHg and S/CO, and in the prefixes k, d, f and u (micro), whose other case is no prefix (UCUM, SI brochure
table 7). Notations that follow no rule (个/HP, 秒, mm/1h) stand in ``data/units.csv``.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from functools import cache
from importlib import resources

from mapping.text import remembered

_POWER = re.compile(r"^(?:[×xX*]?10(?:\^|\*|[eE])?)(\d{1,2})/")
_INVERSE = re.compile(r"\.([A-Za-z]+)\^?[-\u2212]1$")
_ATOM = re.compile(r"([munpfdkMGUFDK]?)(l|mol|iu|u|eq|pa)(feu|ddu)?", re.IGNORECASE)
_NAMES = {"l": "L", "mol": "mol", "iu": "IU", "u": "U", "eq": "Eq", "pa": "Pa"}
_FREE_PREFIX = {"K": "k", "D": "d", "F": "f", "U": "u"}
_WHOLE = {"mmhg": "mmHg", "s/co": "S/CO"}
_UCUM_ATOM = re.compile(r"(?:([munpfdkMGc]?)(L|mol|IU|U|Eq|Pa|g|m|s|osm|kat)|(min|h|d|%)|(10\^)(\d{1,2}))")
_UCUM_NAMES = {"IU": "[IU]", "Eq": "eq"}


@remembered
def canonical_unit(unit: str) -> str:
    """One form for ``×10⁹/L``, ``10^9/L`` and ``10*9/L``; for ``μ``, ``µ`` and ``u``; for ``l`` and ``L``."""
    text = unicodedata.normalize("NFKC", unit)
    text = "".join(text.split()).replace("μ", "u").replace("·", ".").replace("(", "").replace(")", "")
    if whole := _WHOLE.get(text.lower()):
        return whole
    text = _POWER.sub(r"10^\1/", _INVERSE.sub(r"/\1", text))
    text = "".join(_atom(part) for part in re.split(r"([/.])", text))
    return _notations()[0].get(text, text)


def same_unit(one: str, other: str) -> bool:
    """Whether two notations mean one unit; no conversion, an empty unit equals only an empty unit."""
    return canonical_unit(one) == canonical_unit(other)


@remembered
def ucum(unit: str) -> str | None:
    """The UCUM code of a unit as written (``[IU]/mL`` of ``IU/ml``), or None where it has none that is known.

    FEU and DDU (D-dimer) have no UCUM code, and losing them would equate two quantities.
    """
    text = canonical_unit(unit)
    if known := _notations()[1].get(text):
        return known
    parts = text.split("/")
    coded = [_ucum_atom(part) for part in parts]
    if not text or any(code is None for code in coded):
        return None
    return "/".join(code or "" for code in coded)


def _ucum_atom(text: str) -> str | None:
    found = _UCUM_ATOM.fullmatch(text)
    if found is None:
        return None
    prefix, name, whole, ten, power = found.groups(default="")
    return f"10*{power}" if ten else whole or prefix + _UCUM_NAMES.get(name, name)


def _atom(text: str) -> str:
    found = _ATOM.fullmatch(text)
    if found is None:
        return text
    prefix, name, kind = found.groups(default="")
    return _FREE_PREFIX.get(prefix, prefix) + _NAMES[name.lower()] + kind.upper()


@cache
def _notations() -> tuple[dict[str, str], dict[str, str]]:
    """The canonical form of each notation of the table, and the UCUM code of each canonical form."""
    data = (resources.files("mapping") / "data" / "units.csv").read_text(encoding="utf-8")
    written: dict[str, str] = {}
    codes: dict[str, str] = {}
    for row in csv.DictReader(data.splitlines()):
        codes[row["canonical"]] = row["ucum"]
        for notation in row["written"].split(";"):
            text = unicodedata.normalize("NFKC", notation)
            written["".join(_atom(part) for part in re.split(r"([/.])", text))] = row["canonical"]
    return written, codes
