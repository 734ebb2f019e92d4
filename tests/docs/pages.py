"""The pages of the documentation, taken apart: fenced blocks, tables, links.

A ``console`` block holds commands and what they print: lines after ``$ `` are run by bash (a line that ends
in a backslash goes on in the next), the lines below are compared. A ``python`` block is run as it stands; the
blocks of one page share one folder and one namespace. Blocks of other languages are only read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

ROOT = Path(__file__).resolve().parents[2]
PAGES = (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")))

_BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_ROW = re.compile(r"^\|(.+)\|$")
_LINK = re.compile(r"\]\((?!https?://|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")
_VOLATILE = re.compile(
    r"\d{4}-\d\d-\d\d|\d\d-\d\d(?= \d\d:\d\d)|\d\d:\d\d(?::\d\d)?|[0-9a-f]{32}|127\.0\.0\.1:\d+|\d+ ?ms|#\d+"
)
"""What differs from run to run: days, times, ids, ports, durations, places in a ledger."""


class Block(Struct, frozen=True):
    """A fenced block and the line of the page that it begins on."""

    language: str
    text: str
    line: int


def name_of(page: Path) -> str:
    """The page as the repository names it."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page that name a language."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(found["language"], found["text"], text.count("\n", 0, found.start()) + 1)
        for found in _BLOCK.finditer(text)
    ]


def steps(block: Block) -> Iterator[tuple[str, str]]:
    """The commands of a console block, each with the output that is written below it."""
    lines = iter(block.text.splitlines())
    command, output = "", list[str]()
    for line in lines:
        if not line.startswith("$ "):
            output.append(line)
            continue
        if command:
            yield command, "\n".join(output)
        command, output = line.removeprefix("$ "), []
        while command.endswith("\\"):
            command = command.removesuffix("\\") + next(lines).strip()
    yield command, "\n".join(output)


def same(expected: str, printed: str) -> bool:
    """Whether a page shows what was printed: ``…`` stands for anything, over line ends too.

    Days, times, ids and durations need not be equal.
    """
    pattern = re.escape(_settled(expected)).replace("…", ".*?")
    return re.fullmatch(pattern, _settled(printed), re.DOTALL) is not None


def _settled(text: str) -> str:
    return "\n".join(_VOLATILE.sub("~", line.rstrip()) for line in text.strip().splitlines())


def table(page: Path, heading: str) -> list[tuple[str, ...]]:
    """The rows, without its heading row, of the first table below a heading; code marks are left off."""
    section = page.read_text(encoding="utf-8").partition(f"\n{heading}\n")[2]
    rows: list[tuple[str, ...]] = []
    for line in section.splitlines():
        if found := _ROW.match(line):
            cells = re.split(r"(?<!\\)\|", found[1])
            rows.append(tuple(cell.strip().replace("`", "").replace(r"\|", "|") for cell in cells))
        elif rows:
            break
    return rows[2:]


def links(page: Path) -> list[tuple[str, str]]:
    """The relative links of a page: path (empty for the page itself) and anchor."""
    return [(found[1], found[2] or "") for found in _LINK.finditer(page.read_text(encoding="utf-8"))]


def anchors(page: Path) -> set[str]:
    """The anchors that the headings of a page give."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
