"""Random bytes in pieces: each once, in every thread and process."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from security.drawing import drawer


def test_no_piece_is_given_out_twice_to_threads() -> None:
    draw = drawer(16)
    with ThreadPoolExecutor(4) as threads:
        drawn = [*threads.map(lambda _: draw(), range(4000))]
    assert {len(one) for one in drawn} == {16}
    assert len(set(drawn)) == len(drawn)


def test_a_forked_process_draws_its_own() -> None:
    draw = drawer(16)
    draw()
    here, there = os.pipe()
    if not (child := os.fork()):
        os.write(there, draw())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(here, 16) not in {draw() for _ in range(200)}
