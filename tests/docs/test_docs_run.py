"""What the pages show is what happens: their blocks are run against the demonstration network."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from gateway.demo.network import Network
from gateway.demo.processes import MissingPeer
from gateway.demo.questions import ask_trap
from gateway.demo.show import print_answer
from gateway.demo.traps import TRAPS
from tests.docs.pages import PAGES, ROOT, Block, blocks, name_of, same, steps
from tests.peers import needed

pytestmark = pytest.mark.xdist_group("network")
RUN = ("console", "python")
RUNNABLE = [page for page in PAGES if any(block.language in RUN for block in blocks(page))]


@pytest.mark.slow
@pytest.mark.parametrize("page", RUNNABLE, ids=name_of)
def test_the_blocks_of_a_page_do_what_it_says(
    page: Path, variables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "curl" in page.read_text(encoding="utf-8") and not shutil.which("curl"):
        with needed():
            raise MissingPeer("curl", "apt-get install curl")
    monkeypatch.chdir(tmp_path)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    names: dict[str, Any] = {}
    for block in blocks(page):
        place = f"{name_of(page)}:{block.line}"
        if block.language == "python":
            exec(compile(block.text, place, "exec"), names)  # noqa: S102 - our own pages
        elif block.language == "console":
            _run(block, place)


@pytest.mark.slow
def test_the_answer_in_the_readme_is_the_one_that_is_given(network: Network) -> None:
    shown = next(block for block in blocks(ROOT / "README.md") if block.language == "text")
    out = io.StringIO()
    trap = next(trap for trap in TRAPS if trap.key == "liver-panel")
    print_answer(Console(file=out, highlight=False, soft_wrap=True), ask_trap(network, trap).answer)
    assert same(shown.text, out.getvalue()), out.getvalue()


def _run(block: Block, place: str) -> None:
    for command, expected in steps(block):
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
        said = f"{place}: {command}\n{done.stdout}"
        assert done.returncode == 0, said
        assert not expected or same(expected, done.stdout), said
