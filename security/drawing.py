"""Random bytes in pieces of one size, for salts and keys that are needed a few at a time.

They are the operating system's, drawn for many pieces at once: each draw releases the interpreter, which
under load costs a thread more than the bytes do. A piece is given out once, whichever thread takes it, and a
forked process draws its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable

_PIECES = 64


def drawer(size: int) -> Callable[[], bytes]:
    """What draws ``size`` bytes at a time; may be shared by threads."""
    drawn: list[bytes] = []

    def draw() -> bytes:
        try:
            return drawn.pop()
        except IndexError:
            block = os.urandom(size * _PIECES)
            drawn.extend(block[at : at + size] for at in range(size, len(block), size))
            return block[:size]

    os.register_at_fork(after_in_child=drawn.clear)
    return draw
