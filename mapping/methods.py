"""The method of an imaging examination: plain, with contrast medium, an angiography, and whose vessels."""

from __future__ import annotations

from collections.abc import Mapping

from mapping.pieces import ALONE, Piece
from mapping.reading import Silent
from mapping.tables import Part

VESSELS = ("血管", "动脉", "静脉")
_OF_VESSELS = {"CTA", "CTV", "MRA", "MRV"}
_OF_VEINS = {"CTV", "MRV"}
_WATER = {"胰胆管": "MRCP", "泌尿系": "MRU"}
_IMAGE_OF = {"CT": "CTA", "MR": "MRA"}
_VEIN_IMAGE_OF = {"CT": "CTV", "MR": "MRV"}
_IMPLIED = {
    "CTA": {"contrast"},
    "CTV": {"contrast"},
    "perfusion": {"contrast"},
    "CTU": {"contrast", "plain+contrast"},
    "CTE": {"contrast", "plain+contrast"},
    "MRCP": {"plain"},
}
"""What may be said beside a method because it is always so: 增强 beside CTA adds nothing."""

_YES, _NO = {"YES", "Y", "1", "TRUE", "有", "是", "增强"}, {"NO", "N", "0", "FALSE", "无", "否", "平扫"}


def examined(
    piece: Piece, modality: str, part: Part, parts: Mapping[str, Part], contrast: str
) -> tuple[str, Part]:
    """The method of a piece, and the part it examines: its vessels where the method is an angiography.

    ``contrast`` is the flag beside the name.

    Raises:
        Silent: the method is contradicted, or there may be more than one.
    """
    methods = set(piece.methods)
    vessel = part.name.endswith(VESSELS)
    if modality == "DR":
        if methods or piece.contrast_word or piece.regional or vessel:
            raise Silent("out_of_scope" if piece.contrast_word else "conflict", ("DR", *sorted(methods)))
        return "-", part
    vein = vessel and bool(part.in_vessel)
    if "unenhanced" in methods:
        if len(methods) > 1 and methods != {"unenhanced", "plain"}:
            raise Silent("conflict", tuple(sorted(methods)))
        methods = {"plain"}
    if piece.contrast_word:
        # 造影 is the contrast CT of Hong Kong and Taiwan; on the mainland it is mostly another study,
        # except where the name says that the vessel was seen by CT or MR.
        if not piece.regional and not (vessel and piece.modalities):
            raise Silent("ambiguous", ("contrast",), "造影")
        if not vessel:
            methods.add("contrast")
    alone = methods & ALONE
    pictured = (vessel and (piece.image or piece.contrast_word)) or (
        piece.angiography and (vessel or part.in_vessel)
    )
    if pictured and not alone and modality in _IMAGE_OF:
        alone = {(_VEIN_IMAGE_OF if vein else _IMAGE_OF)[modality]}
    if len(alone) > 1 or (alone and (methods - alone) - _IMPLIED.get(min(alone), set())):
        raise Silent("ambiguous", tuple(sorted(methods)))
    if alone:
        method = next(iter(alone))
    elif methods == {"plain", "contrast"} or "plain+contrast" in methods:
        method = "plain+contrast"
    elif methods:
        method = next(iter(methods))
    elif "水成像" in piece.extras and part.name in _WATER:
        method = _WATER[part.name]
        piece.extras.remove("水成像")
    else:
        method = "plain" if piece.plain and modality == "CT" else "U"
    if method == "function" and part.name != "心脏":
        raise Silent("ambiguous", ("function", "fMRI"), "功能")
    if piece.angiography and method not in _OF_VESSELS:
        raise Silent("ambiguous", (method, _IMAGE_OF[modality]))
    if method in (_OF_VEINS if vein else () if vessel else _OF_VESSELS):
        if not part.in_vessel:
            raise Silent("part_undivided", (f"{modality}|{part.name}|{method}",))
        part = parts[part.in_vessel]
    elif vessel and method not in _OF_VESSELS:
        raise Silent("method_unsaid", (f"{modality}|{part.name}|{method}",))
    elif part.name in ("上肢", "下肢", "头颈部"):
        raise Silent("part_undivided", (part.name,))
    return _agreed(method, contrast), part


def _agreed(method: str, contrast: str) -> str:
    """The contrast flag beside the name: no makes an unsaid method plain; yes says too little."""
    flag = contrast.strip().upper()
    if flag in _NO:
        if method in ("contrast", "plain+contrast", "CTA", "CTU", "CTE"):
            raise Silent("conflict", (method, "plain"))
        return "plain" if method == "U" else method
    if flag in _YES and method == "plain":
        raise Silent("conflict", ("plain", "contrast"))
    return method
