"""The grammar of imaging names: modality, body part, side, method, view, and what may stand around them.

Every character must be explained, or the name is not read. The slots may stand in any order, because
hospitals write CT平扫(头部), 头部CT平扫 and 头部平扫CT. Signs between parts cut a name into pieces; a piece
without a body part belongs to its neighbour (平扫+增强, 正侧位+双斜位, +三维重建), a piece with one is an
examination of its own, and then it must say its own method or view. What a name does not say stays unsaid:
``U`` for a side, a method, a view; it never becomes a default.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mapping.methods import VESSELS, examined
from mapping.pieces import Piece, cut
from mapping.reading import LocalName, Read, Silent, Token, scan
from mapping.tables import Part, Tables
from mapping.text import folded
from mapping.views import PLANES, view_of

_MODALITIES = {
    "DX": "DR",
    "CR": "DR",
    "DR": "DR",
    "RG": "DR",
    "X线": "DR",
    "X光": "DR",
    "CT": "CT",
    "MR": "MR",
    "MRI": "MR",
    "磁共振": "MR",
}
_SIDES = {"L": "L", "R": "R", "B": "B", "LEFT": "L", "RIGHT": "R", "左": "L", "右": "R", "左侧": "L",
          "右侧": "R", "双": "B", "双侧": "B", "BILATERAL": "B", "两侧": "B"}  # fmt: skip
_INHERITS = {",", ";", "_"}


class Imaging:
    """Reads imaging names with one set of tables; ``known`` are the concepts the catalogue in force adds."""

    def __init__(self, tables: Tables, known: Iterable[str] = ()) -> None:
        self._tables = tables
        self._parts = tables.vocabulary["body_part"] | {concept.split("|")[1] for concept in known}
        self._methods = tables.vocabulary["method"]

    def read(self, text: str, local: LocalName) -> Read:
        """The concepts that a comparable text names, or a reason."""
        tokens = scan(text, self._tables.imaging, numbers=True)
        try:
            concepts, reason = self._examinations(tokens, local)
        except Silent as silent:
            spans = tuple((t.start, t.end, t.word.slot) for t in tokens if t.word)
            return Read(
                reason=silent.reason, candidates=silent.candidates, residue=silent.residue, spans=spans
            )
        spans = tuple([(t.start, t.end, t.word.slot) for t in tokens if t.word])
        return Read(concepts=concepts, reason=reason, spans=spans)

    def _examinations(self, tokens: Sequence[Token], local: LocalName) -> tuple[tuple[str, ...], str]:
        pieces, separators = cut(tokens)
        field = self._field(local)
        for piece in pieces:
            if piece.vessels_of:
                piece.parts = [self._vessels(name) for name in piece.vessels_of]
        if len(pieces) > 1:
            first = pieces[0].parts or pieces[0].implied
            if all((p.parts or p.implied) == first and len(first) == 1 for p in pieces[1:]):
                for other in pieces[1:]:
                    pieces[0].join(other)
                pieces = pieces[:1]
        if len(pieces) == 1:
            concept, reason = self._one(pieces[0], field, local)
            return (concept,), reason
        return self._several(pieces, separators, field, local)

    def _vessels(self, name: str) -> str:
        """The vessels of a part, where 头颅MRI+MRA goes on to its vessels."""
        part = self._tables.parts[name]
        if not part.in_vessel or name.endswith(VESSELS):
            raise Silent("part_undivided", (name,))
        return part.in_vessel

    def _field(self, local: LocalName) -> str:
        stated = local.modality.strip().upper()
        if stated:
            return _MODALITIES.get(stated, "other")
        beside = f"{local.department};{local.context}".upper()
        if beside == ";":
            return ""
        found = {s.modality for word, s in self._tables.settings.items() if s.modality and word in beside}
        return _MODALITIES.get(next(iter(found)), "other") + "?" if len(found) == 1 else ""

    def _several(
        self, pieces: Sequence[Piece], signs: Sequence[str], field: str, local: LocalName
    ) -> tuple[tuple[str, ...], str]:
        """Several examinations in one name. One scan of several regions is none of them."""
        said = {m for piece in pieces for m in piece.modalities}
        whole = [bool(p.modalities or p.film) for p in pieces]
        told = [bool(p.methods or p.views or p.plain) for p in pieces]
        alone = len(said) == 1 and not any(p.film for p in pieces)
        own = all(whole) or (alone and all(told)) or (not said and all(told))
        listed = alone and all(sign in _INHERITS for sign in signs) and (all(told) or not any(told))
        if not (own or listed):
            raise Silent("several_regions", tuple(part for p in pieces for part in p.parts))
        if local.side or local.dicom_laterality or local.body_part:
            raise Silent("several_regions", tuple(part for p in pieces for part in p.parts))
        sided = [bool(p.sides) for p in pieces if any(self._tables.parts[n].sides == "pair" for n in p.parts)]
        if any(sided) and not all(sided):
            raise Silent("side_unsaid", tuple(part for p in pieces for part in p.parts))
        concepts, reasons = set(), []
        for piece in pieces:
            if not piece.modalities and alone:
                piece.modalities = list(said)
            concept, reason = self._one(piece, field, local)
            concepts.add(concept)
            reasons.append(reason)
        if len(concepts) < len(pieces):
            raise Silent("ambiguous", tuple(sorted(concepts)))
        return tuple(sorted(concepts)), next(filter(None, reasons), "")

    def _one(self, piece: Piece, field: str, local: LocalName) -> tuple[str, str]:
        modality = self._modality(piece, field)
        part = self._part(piece)
        method, part = examined(piece, modality, part, self._tables.parts, local.contrast)
        if modality == "DR" and part.in_dr == "!":
            # A plain film of the breast is a mammogram, one of the bowel a contrast study.
            raise Silent("out_of_scope", (f"DR|{part.name}",))
        if modality == "DR" and part.in_dr:
            part = self._tables.parts.get(part.in_dr) or Part(part.in_dr, part.sides, "", "", "")
        side = self._side(piece, part, local)
        view, unsaid = view_of(piece, modality, part)
        concept = "|".join((modality, part.name, side, method, view))
        if part.name not in self._parts or method not in self._methods:
            raise Silent("part_undivided" if part.name in _UNDIVIDED else "not_listed", (concept,))
        self._body(part, local, concept)
        if side == "U":
            return concept, "side_unsaid"
        return concept, "method_unsaid" if method == "U" else "view_unsaid" if unsaid else ""

    def _modality(self, piece: Piece, field: str) -> str:
        said = set(piece.modalities)
        if piece.upgraded and not said:
            raise Silent("unknown", residue="升级")
        hint, field = field.endswith("?"), field.removesuffix("?")
        if len(said) > 1:
            raise Silent("conflict", tuple(sorted(said)))
        modality = next(iter(said), "")
        if piece.film and modality not in ("", "DR"):
            raise Silent("conflict", ("DR", modality))
        if not modality and (piece.film or self._of_film(piece)):
            modality = "DR"
        if not modality:
            modality, hint = field, True
        if field == "other" and not (hint and said):
            raise Silent("out_of_scope", residue="modality")
        if not modality:
            raise Silent("no_modality" if piece.names_a_part else "part_unsaid")
        if field and not hint and field != modality:
            raise Silent("conflict", (modality, field))
        return modality

    def _of_film(self, piece: Piece) -> bool:
        """Whether view or part are those of plain radiography; 轴位 is a plane of CT, but not of a limb."""
        if piece.parts == ["口腔全景"] or any(view not in PLANES for view in piece.views):
            return True
        limb = any(self._tables.parts[name].sides == "pair" for name in piece.parts)
        return bool(piece.views) and limb

    def _part(self, piece: Piece) -> Part:
        names = list(dict.fromkeys(piece.parts))
        if len(names) == 2:
            one, other = (self._tables.parts[name] for name in names)
            # 头颅鼻骨: the narrower one is meant where nothing stands between them.
            names = (
                [one.name]
                if one.inside == other.name
                else [other.name]
                if other.inside == one.name
                else names
            )
        implied = set(piece.implied)
        if not names:
            names = list(implied)
        elif implied - set(names):
            raise Silent("conflict", tuple(names) + tuple(implied))
        if not names:
            raise Silent("part_unsaid")
        if len(names) > 1:
            raise Silent("several_regions", tuple(names))
        return self._tables.parts[names[0]]

    def _side(self, piece: Piece, part: Part, local: LocalName) -> str:
        said = set(piece.sides)
        if "?" in said:
            raise Silent("side_unsaid", residue="单侧")
        if len(said) > 1:
            raise Silent("conflict", tuple(sorted(said)))
        side = next(iter(said), "")
        stated = _SIDES.get(local.side.strip().upper(), "") if part.sides == "pair" else ""
        tagged = _SIDES.get(local.dicom_laterality.strip().upper(), "") if part.sides == "pair" else ""
        for beside in (stated, tagged):
            if side and beside and side != beside:
                raise Silent("conflict", (f"{part.name}|{side}", f"{part.name}|{beside}"))
        if part.sides == "pair":
            return side or stated or "U"
        if side == "B" and part.sides == "both":
            return "-"
        if side:
            raise Silent("ambiguous", (f"{part.name}|{side}",), side)
        return "-"

    def _body(self, part: Part, local: LocalName, concept: str) -> None:
        """Body part fields and DICOM tags may contradict a reading; they never make one."""
        tables = self._tables
        if local.body_part:
            word = tables.imaging.words.get(folded(local.body_part))
            if word and word.slot == "part" and not _same(tables.parts[word.value], part):
                raise Silent("conflict", (concept, word.value))
        for said in (local.dicom_body_part, local.dicom_region, local.dicom_protocol):
            if said:
                found = [tables.dicom[word] for word in _latin(said) if word in tables.dicom]
                if len(found) == 1 and part.name not in found[0]:
                    raise Silent("conflict", (concept, said))
        if local.dicom_protocol:
            contrast = "C+" in local.dicom_protocol.upper().replace(" ", "")
            if contrast and concept.split("|")[3] == "plain":
                raise Silent("conflict", (concept, local.dicom_protocol))


_UNDIVIDED = frozenset(
    {"脊柱", "椎体", "椎间盘", "脊髓", "椎管", "四肢", "四肢关节", "关节", "长骨", "骨骼", "软组织"}
    | {"上肢", "下肢", "腹盆腔", "中下腹部"}
)


def _same(one: Part, other: Part) -> bool:
    names = {one.name, one.in_dr, one.in_vessel} - {"", "!"}
    return bool(names & {other.name, other.in_dr, other.in_vessel}) or one.name == other.inside


def _latin(text: str) -> list[str]:
    return "".join(c if c.isalnum() else " " for c in text.upper().replace("-", "")).split()
