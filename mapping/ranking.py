"""Candidates for a person who reviews a name: the catalogue's items whose names look most like it.

Likeness never decides anything here or elsewhere. Names that look alike differ in just the slot that matters,
so it only orders what a person then chooses from. Names are compared by their single characters and pairs of
them, each weighed by how few of the catalogue's names have it (TF-IDF, cosine).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict

from msgspec import Struct

from catalog import Catalogue, Item
from mapping.text import canonical, folded


class Candidate(Struct, frozen=True):
    """An item, and how like its nearest name is to the one under review: 0 nothing in common, 1 equal."""

    item: Item
    likeness: float


class Ranking:
    """The names of one catalogue, ready to be compared with."""

    def __init__(self, catalogue: Catalogue) -> None:
        named = [
            (item, Counter(_grams(name)))
            for item in catalogue.items.values()
            for name in dict.fromkeys((item.name, *item.aliases))
        ]
        having = Counter(gram for _, grams in named for gram in grams)
        self._weights = {gram: math.log(1 + len(named) / count) for gram, count in having.items()}
        self._items: list[Item] = []
        self._postings: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for place, (item, grams) in enumerate(named):
            self._items.append(item)
            for gram, weight in self._weighed(grams).items():
                self._postings[gram].append((place, weight))

    def nearest(self, name: str, kind: str = "", count: int = 5) -> list[Candidate]:
        """At most ``count`` items in order of likeness, those of a kind where it is known."""
        scores: dict[int, float] = defaultdict(float)
        for gram, weight in self._weighed(Counter(_grams(name))).items():
            for place, other in self._postings.get(gram, ()):
                scores[place] += weight * other
        best: dict[str, float] = {}
        for place, score in scores.items():
            item = self._items[place]
            if kind in ("", item.kind):
                best[item.code] = max(score, best.get(item.code, 0.0))
        items = {item.code: item for item in self._items}
        ranked = sorted(best.items(), key=lambda one: (-one[1], one[0]))[:count]
        return [Candidate(items[code], round(min(score, 1.0), 3)) for code, score in ranked]

    def _weighed(self, grams: Counter[str]) -> dict[str, float]:
        weights = {gram: count * self._weights.get(gram, 0.0) for gram, count in grams.items()}
        length = math.sqrt(sum(weight * weight for weight in weights.values()))
        return {gram: weight / length for gram, weight in weights.items() if weight} if length else {}


def _grams(name: str) -> list[str]:
    text = folded(canonical(name).canonical)
    return [*text, *(text[place : place + 2] for place in range(len(text) - 1))]
