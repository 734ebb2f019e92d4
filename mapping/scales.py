"""The code of a laboratory analyte (count, share, derived value) and the scale of its result."""

from __future__ import annotations

from mapping.reading import LocalName, Silent
from mapping.said import CODES, SEEN, UNIT_SCALES, Said
from mapping.tables import Analyte, Setting
from mapping.units import canonical_unit

_PERCENT = frozenset(
    {"HBA1C", "GA", "HCT", "PT%", "SO2", "O2HB", "RDWCV", "PDW", "PLCR", "PLTCRIT", "AT3", "LFR"}
    | {"AFPL3", "F/T-PSA", "A1GLB", "BGLB", "GGLB"}
)
"""Analytes that are a share by themselves, so that a % beside them is their unit."""
_RESULT_SCALES = {
    "QN": "QN",
    "QL": "QL",
    "定量": "QN",
    "定性": "QL",
    "QUANTITATIVE": "QN",
    "QUALITATIVE": "QL",
}


def code_of(said: Said, analyte: Analyte, specimen: str, way: str, local: LocalName) -> str:
    counted, share = "count" in said.slots, said.one("share")
    ratio = "ratio" in said.slots
    if analyte.shares:
        return analyte.code + _share(counted, bool(share) or ratio, analyte, local)
    if ratio or (share and analyte.code not in _PERCENT):
        raise Silent("ambiguous", (analyte.code,), "比值")
    if counted and analyte.code not in ("WBC", "RBC", "PLT", "NRBC", "EPI", "CAST", "~BACT", "~SEPI"):
        raise Silent("ambiguous", (analyte.code,), "计数")
    other = analyte.elsewhere.get(specimen)
    if other is not None and not (counted or way in ("镜检", "沉渣")):
        if other == "!":
            raise Silent("ambiguous", (f"{analyte.code}|{specimen}",))
        return other
    if other == "!" and analyte.code != "RBC":
        raise Silent("ambiguous", (f"{analyte.code}|{specimen}",))
    variation = said.one("variation")
    if variation and analyte.code not in ("RDW?", f"RDW{variation}"):
        raise Silent("unknown", residue=variation)
    if analyte.code == "RDW?" and variation:
        return f"RDW{variation}"
    if analyte.code == "RDW?":
        return {"fL": "RDWSD", "%": "RDWCV"}.get(canonical_unit(local.unit), "RDW?")
    return CODES.get(analyte.code, analyte.code)


def _share(counted: bool, share: bool, analyte: Analyte, local: LocalName) -> str:
    """``#`` for a number of cells, ``%`` for their share: from the name, else from the unit."""
    unit = canonical_unit(local.unit)
    by_unit = "%" if unit == "%" else "#" if unit.endswith(("/L", "/uL")) else ""
    said = "#" if counted else "%" if share else ""
    candidates = tuple(f"{analyte.code}{s}" for s in sorted(analyte.shares))
    if (counted and share) or (said and by_unit and said != by_unit):
        raise Silent("conflict", candidates)
    if not (said or by_unit):
        raise Silent("share_unsaid", candidates)
    return said or by_unit


def scale_of(
    said: Said,
    analyte: Analyte,
    code: str,
    specimen: str,
    way: str,
    setting: Setting | None,
    local: LocalName,
) -> tuple[str, str]:
    """The scale, and the qualifier that is left of the way the test is done."""
    scale = said.one("scale")
    if code == "CKMB":
        scale = {"MASS": "QN"}.get(scale, scale)
        by_unit = UNIT_SCALES.get(canonical_unit(local.unit).upper(), said.scale_by_unit)
        if scale and by_unit and scale != by_unit:
            raise Silent("conflict", (f"CKMB|{scale}", f"CKMB|{by_unit}"))
        return scale or by_unit or "?", way
    if scale in ("ACT", "MASS"):
        if scale == "MASS" or not analyte.enzyme:
            raise Silent("unknown", residue=scale)
        scale = "QN"
    stated = _RESULT_SCALES.get(local.result_type.strip().upper(), "")
    if scale and stated and scale != stated:
        raise Silent("conflict", (scale, stated))
    scale = scale or stated
    if way == "初筛":
        scale = scale or "QL"
    elif way == "試紙":
        if analyte.code == "ALB":
            raise Silent("ambiguous", (f"ALB|{specimen}", f"MALB|{specimen}"))
        scale = scale or "QL"
    elif way in ("镜检", "沉渣") and "count" not in said.slots:
        scale = scale or "?"
    if code in SEEN and specimen != "B":
        scale = scale or ("QN" if "count" in said.slots else "?")
    if scale:
        return scale, way
    if "count" in said.slots:
        return "QN", way
    if specimen in ("U", "U24") and code in ("GLU", "PRO", "LEU", "ALB"):
        strip = setting is not None and setting.code == "UA"
        return "QL" if strip else "?", way
    if analyte.elsewhere.get(specimen) == code:
        return "QL" if specimen == "U" else "?", way
    return analyte.scale, way
