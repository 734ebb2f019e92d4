from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from catalog import BUNDLED


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the bundled catalogue, to be spoilt."""
    return Path(shutil.copytree(BUNDLED, tmp_path / "catalogue"))
