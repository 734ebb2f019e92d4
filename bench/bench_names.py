"""Names: the normaliser beside likeness and exact look-up (facts on names, section 1; design, section 7).

Bars: 0 wrong, at least 95 % of the imaging and 93 % of the laboratory names that a careful reader reads, at
least 20,000 names/s on one core, tables in at most 200 ms and 100 MB.

The likeness baselines answer with the concept of the most similar of all words of the catalogue and of the
tables; they never abstain, which is what makes them dangerous. WRatio is taken from rapidfuzz where that is
installed.
"""

from __future__ import annotations

import csv
import math
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from bench.machine import heading
from catalog import load
from mapping import LocalName, Normaliser

LABELS = Path(__file__).resolve().parents[2] / "shared/names/dev.csv"
Answer = Callable[[LocalName], str | None]


def main() -> None:
    """Measure and print."""
    heading("names", "make bench")
    if not LABELS.exists():
        print(f"  labelled names were looked for in {LABELS} and are not there: nothing to measure")
        return
    with LABELS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    locals_ = [
        LocalName(name=r["local_name"], kind=r["kind"], modality=r["modality"], context=r["context"])
        for r in rows
    ]
    normaliser = Normaliser(load())
    words = known_words(normaliser)
    methods: list[tuple[str, Answer, int]] = [
        ("this normaliser", lambda local: normaliser.read(local).target, 20),
        ("exact look-up", lambda local: words.get(local.name), 20),
        ("character TF-IDF", Likeness(words).nearest, 1),
    ]
    if find_spec("rapidfuzz"):
        methods.append(("rapidfuzz WRatio", wratio(words), 1))
    else:
        print("  rapidfuzz is not installed: WRatio is left out")
    print(f"  {len(rows)} labelled names, {len(words):,} words for the baselines")
    print(f"  {'method':<18}{'imaging':>36}{'laboratory':>36}{'names/s':>12}")
    for title, answer, repeat in methods:
        print(f"  {title:<18}{score(rows, locals_, answer)}{speed(locals_, answer, repeat):>12,.0f}")
    print(f"  tables: {tables_cost()}")


def known_words(normaliser: Normaliser) -> dict[str, str]:
    """Every name of the catalogue and every word of the analytes and parts that is a name by itself."""
    from mapping.tables import tables

    held = {name: item.concept for item in load().items.values() for name in (item.name, *item.aliases)}
    for text, word in tables().laboratory.words.items():
        if word.slot in ("analyte", "panel") and text not in held:
            target = normaliser.read(LocalName(name=text, kind="lab")).target
            if target:
                held[text] = target
    return held


class Likeness:
    """Character 1- to 3-gram TF-IDF with cosine similarity, over an inverted index."""

    def __init__(self, words: dict[str, str]) -> None:
        self._targets = list(words.values())
        grams = [Counter(_grams(word)) for word in words]
        found = Counter(gram for counted in grams for gram in counted)
        self._weight = {gram: math.log(len(words) / count) + 1 for gram, count in found.items()}
        self._index: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for number, counted in enumerate(grams):
            for gram, weight in self._vector(counted).items():
                self._index[gram].append((number, weight))

    def nearest(self, local: LocalName) -> str | None:
        """The concept of the most similar word."""
        scores: dict[int, float] = defaultdict(float)
        for gram, weight in self._vector(Counter(_grams(local.name))).items():
            for number, other in self._index.get(gram, ()):
                scores[number] += weight * other
        return self._targets[max(scores, key=scores.__getitem__)] if scores else None

    def _vector(self, counted: Counter[str]) -> dict[str, float]:
        raw = {gram: count * self._weight.get(gram, 0.0) for gram, count in counted.items()}
        norm = math.sqrt(sum(weight * weight for weight in raw.values())) or 1.0
        return {gram: weight / norm for gram, weight in raw.items() if weight}


def _grams(text: str) -> list[str]:
    return [text[at : at + size] for size in (1, 2, 3) for at in range(len(text) - size + 1)]


def wratio(words: dict[str, str]) -> Answer:
    """The concept of the word with the best WRatio."""
    from rapidfuzz import fuzz, process

    texts = list(words)

    def nearest(local: LocalName) -> str | None:
        found = process.extractOne(local.name, texts, scorer=fuzz.WRatio)
        return words[found[0]] if found else None

    return nearest


def score(rows: list[dict[str, str]], locals_: list[LocalName], answer: Answer) -> str:
    """``right/wrong/silent`` of both kinds; right is every slot that the labels compare."""
    from tests.mapping.test_never_merge import scored

    columns = []
    for kind in ("imaging", "lab"):
        right = wrong = silent = 0
        for row, local in zip(rows, locals_, strict=True):
            if row["kind"] != kind:
                continue
            expected = None if row["target"] == "ABSTAIN" else scored(row["target"])
            given = answer(local)
            if given is None:
                silent += 1
            elif expected == scored(given):
                right += 1
            else:
                wrong += 1
        mappable = sum(row["kind"] == kind and row["target"] != "ABSTAIN" for row in rows)
        columns.append(f"{right} right ({right / mappable:.0%}) {wrong} wrong {silent} silent")
    return "".join(f"{column:>36}" for column in columns)


def speed(locals_: list[LocalName], answer: Answer, repeat: int) -> float:
    """Names a CPU second, warm."""
    for local in locals_[:50]:
        answer(local)
    started = time.process_time()
    for _ in range(repeat):
        for local in locals_:
            answer(local)
    return len(locals_) * repeat / (time.process_time() - started)


def tables_cost() -> str:
    """Time and memory to load tables and catalogue words, in a process of its own."""
    script = (
        "import gc, resource, time; from pathlib import Path; from catalog import load;"
        "from mapping import Normaliser; c = load(); statm = Path('/proc/self/statm'); gc.collect();"
        "used = lambda: int(statm.read_text().split()[1]) * resource.getpagesize() if statm.exists() else 0;"
        "before = used(); at = time.process_time(); n = Normaliser(c); took = time.process_time() - at;"
        "print(f'{took * 1000:.0f} ms CPU, {(used() - before) / 2**20:.1f} MB resident;'"
        "' bars 200 ms and 100 MB')"
    )
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.strip()


if __name__ == "__main__":
    main()
