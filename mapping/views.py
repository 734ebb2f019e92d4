"""The fifth slot of an imaging examination: the view of a plain film, the extras of a scan."""

from __future__ import annotations

from mapping.pieces import Piece
from mapping.reading import Silent
from mapping.tables import Part

_SIDED_VIEWS = {"左侧位", "右侧位", "左斜位", "右斜位"}
_STANDING = {"立位", "卧位", "立卧位", "负重位", "倒立位", "侧卧位"}
PLANES = {"轴位": "横断"}
_PROJECTIONS = ("正位", "侧位", "正侧位", "正斜位", "双斜位", "斜位", "轴位", "侧轴位", "正侧位+斜位",
                "正侧位+双斜位", "正侧位+轴位")  # fmt: skip
_TOGETHER = {
    frozenset(("正位", "侧位")): "正侧位",
    frozenset(("正位", "斜位")): "正斜位",
    frozenset(("侧位", "轴位")): "侧轴位",
    frozenset(("立位", "卧位")): "立卧位",
    frozenset(("张口位", "闭口位")): "张闭口位",
    frozenset(("过伸位", "过屈位")): "过伸过屈位",
    frozenset(("左斜位", "右斜位")): "双斜位",
    frozenset(("正位", "侧位", "斜位")): "正侧位+斜位",
    frozenset(("正位", "侧位", "双斜位")): "正侧位+双斜位",
    frozenset(("正侧位", "斜位")): "正侧位+斜位",
    frozenset(("正侧位", "双斜位")): "正侧位+双斜位",
    frozenset(("正侧位", "轴位")): "正侧位+轴位",
    frozenset(("瓦氏位", "柯氏位")): "瓦氏位+柯氏位",
}


def view_of(piece: Piece, modality: str, part: Part) -> tuple[str, bool]:
    """The fifth slot, and whether a view is unsaid."""
    views = list(dict.fromkeys(piece.views))
    if modality != "DR":
        extras = list(piece.extras)
        for view in views:
            if view not in PLANES:
                raise Silent("conflict", (modality, view))
            extras.append(PLANES[view])
        return "+".join(sorted(set(extras))) or "-", False
    if set(piece.extras) - {"低剂量"}:
        raise Silent("conflict", ("DR", *piece.extras))
    if part.name == "口腔全景":
        return "-", bool(views) and views != ["正位"]
    if not views:
        return "U", True
    if part.sides == "pair" and _SIDED_VIEWS & set(views):
        raise Silent("ambiguous", (f"{part.name}|{views[0]}",))
    if len(views) == 1:
        return views[0], False
    if together := _TOGETHER.get(frozenset(views)):
        return together, False
    if all(view.endswith("氏位") for view in views):
        return "+".join(sorted(views)), False
    if not (_STANDING | _SIDED_VIEWS) & set(views):
        projections = [view for view in _PROJECTIONS if view in views]
        if len(projections) == 1:
            return "+".join((*projections, *sorted(set(views) - set(projections)))), False
    raise Silent("ambiguous", tuple(views))
