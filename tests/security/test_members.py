"""The room's public names."""

from __future__ import annotations

from pathlib import Path

import security


def test_the_public_names_are_the_modules_without_underscore() -> None:
    files = Path(security.__file__).parent.glob("[!_]*.py")
    assert security.__all__ == sorted(file.stem for file in files)
