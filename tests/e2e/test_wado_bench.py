"""The benchmark of images on their way runs, and every way that it compares brings the same study."""

from __future__ import annotations

import pytest

from bench.bench_wado import QUICK, main

pytestmark = pytest.mark.slow


def test_the_benchmark_of_images_runs(capsys: pytest.CaptureFixture[str]) -> None:
    main(QUICK)
    told = capsys.readouterr().out
    assert [told.count(words) for words in ("MB/s", "first byte", "viewers")] == [4, 4, 1]
