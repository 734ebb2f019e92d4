"""The pieces of an imaging name: what its words say, examination by examination, before it is combined.

Signs cut a name into pieces, and a piece that names no body part belongs to its neighbour.
"""

from __future__ import annotations

from collections.abc import Sequence

from mapping.reading import Silent, Token, dangling
from mapping.tables import Word

ALONE = frozenset({"CTA", "CTV", "MRA", "MRV", "MRCP", "MRU", "CTU", "CTE", "perfusion", "fMRI", "function"})
"""Methods that are an examination of their own beside a plain or enhanced one."""

_ANGIOGRAPHY = frozenset({"CTA", "MRA", "MRV"})
_SEPARATE = frozenset("+,;、/_")


class Piece:
    """What the words of one piece of a name say, before they are combined."""

    def __init__(self) -> None:
        self.modalities: list[str] = []
        self.film = self.regional = self.angiography = self.image = self.contrast_word = self.upgraded = False
        self.parts: list[str] = []
        self.implied: list[str] = []
        self.sides: list[str] = []
        self.methods: list[str] = []
        self.plain = False
        self.views: list[str] = []
        self.extras: list[str] = []
        self.vessels_of: list[str] = []

    def take(self, slot: str, value: str) -> None:
        """One word, or one thing that a word implies."""
        if slot == "modality":
            self.modalities.append(value)
        elif slot == "part":
            self.parts.append(value)
        elif slot == "side":
            self.sides.append(value)
        elif slot == "method":
            self.methods.append(value)
        elif slot == "view":
            self.views.append(value)
        elif slot == "extra":
            self.extras.append(value)
        elif slot == "film":
            self.film = True
        elif slot == "angiography":
            self.angiography = True
        elif slot == "image":
            self.image = True
        elif slot == "contrast word":
            self.contrast_word = True
        elif slot == "regional":
            self.regional = True

    def imply(self, slot: str, value: str) -> None:
        """What a word says beside its own slot; a part that is implied gives way to none that is named."""
        if slot == "part":
            self.implied.append(value)
        elif value == "plain?":
            self.plain = True
        else:
            self.take(slot, value)

    def join(self, other: Piece) -> None:
        """Take over what another piece of the same examination says."""
        for name in ("modalities", "parts", "implied", "sides", "methods", "views", "extras"):
            getattr(self, name).extend(getattr(other, name))
        for name in ("film", "regional", "angiography", "image", "contrast_word", "plain", "upgraded"):
            setattr(self, name, getattr(self, name) or getattr(other, name))

    @property
    def names_a_part(self) -> bool:
        return bool(self.parts or self.implied)

    def goes_on_to_vessels(self, other: Piece) -> bool:
        """Whether ``other`` is the angiography of the part that this piece examines (头颅MRI平扫+MRA)."""
        return (
            bool(self.parts and (self.modalities or self.methods))
            and not (ALONE & set(self.methods) or self.image or self.angiography)
            and bool(_ANGIOGRAPHY & set(other.methods))
            and not other.names_a_part
        )


def cut(tokens: Sequence[Token]) -> tuple[list[Piece], list[str]]:
    """The examinations of a name, and the sign before each but the first."""
    piece = Piece()
    pieces, separators = [piece], []
    for token in tokens:
        if token.word is not None and token.word.slot == "outside":
            raise Silent("out_of_scope", residue=token.text)
    dangling(tokens)
    before: Word | None = None
    for number, token in enumerate(tokens):
        word = token.word
        if word is None:
            raise Silent("unknown", residue=" ".join(t.text for t in tokens if t.word is None))
        slot = word.slot
        if slot == "joiner":
            if word.value in _SEPARATE:
                piece = Piece()
                pieces.append(piece)
                separators.append(word.value)
        elif slot == "view set":
            raise Silent("view_unsaid", residue=token.text)
        elif slot == "upgrade":
            # 胸片升级肺部CT: what was upgraded is not what is done.
            if piece.upgraded or not (piece.modalities or piece.film):
                raise Silent("unknown", residue=token.text)
            piece.modalities, piece.film, piece.upgraded = [], False, True
        elif len(token.text) == 1 and not _placed(token, before, tokens[number + 1 :]):
            raise Silent("unknown", residue=token.text)
        elif slot not in ("noise", "position"):
            piece.take(slot, word.value)
            for implied in word.implies:
                piece.imply(*implied)
        before = word
    return _merged(pieces, separators)


def _merged(pieces: Sequence[Piece], separators: Sequence[str]) -> tuple[list[Piece], list[str]]:
    """Join each piece that names no part to the one before it, or to the one after it at the beginning."""
    host = pieces[0]
    merged, signs = [host], []
    for sign, one in zip(separators, pieces[1:], strict=True):
        if sign != "/" and host.goes_on_to_vessels(one):
            one.vessels_of, one.sides = host.parts, list(host.sides)
        elif one.names_a_part and host.names_a_part:
            host = one
        else:
            _apart(host, one, sign)
            host.join(one)
            continue
        merged.append(one)
        signs.append(sign)
    return merged, signs


def _placed(token: Token, before: Word | None, following: Sequence[Token]) -> bool:
    """Whether a single sign stands where it means a view or a side: 手正, R膝, 膝关节(L); not R平扫."""
    word = token.word
    after = following[0].word if following else None
    if word is not None and word.slot == "position":
        return before is not None and before.slot == "part"
    if word is not None and word.slot == "view":
        return before is not None and before.slot in ("part", "view", "film")
    if word is not None and word.slot == "side" and token.text.isascii():
        bracketed = before is not None and before.value == "(" and after is not None and after.value == ")"
        return bracketed or any(beside is not None and beside.slot == "part" for beside in (before, after))
    return True


def _apart(piece: Piece, other: Piece, sign: str) -> None:
    """头颅MRI+MRA is two examinations, though one names no part; 平扫/增强 is either, not both."""
    if sign == "/" and piece.methods and other.methods:
        raise Silent("ambiguous", tuple(sorted({*piece.methods, *other.methods})))
    for one, two in ((piece, other), (other, piece)):
        if ALONE & set(one.methods) and (two.modalities or two.methods):
            raise Silent("ambiguous", tuple(sorted({*one.methods, *two.methods, *two.modalities})))
