"""The tests of the pages can fail: a page that shows something else is told from one that shows what is."""

from __future__ import annotations

import pytest

from tests.docs.pages import Block, same, steps

PRINTED = (
    "成都示例医院  2026-11-22 11:06:02\n  ✓ 可互认 5 幅  至 12-13 23:59\n  节点 nodes: sc-his empty 10ms\n"
)


@pytest.mark.parametrize(
    "shown",
    [
        PRINTED,
        PRINTED.replace("11-22 11:06:02", "03-01 08:00:00").replace("10ms", "7ms"),
        "成都示例医院 …\n…\n  节点 nodes: sc-his empty …",
        "成都示例医院  2026-11-22 11:06:02\n…",
    ],
)
def test_what_is_printed_is_recognised(shown: str) -> None:
    assert same(shown, PRINTED)


@pytest.mark.parametrize(
    "shown",
    [
        PRINTED.replace("✓", "✗"),
        PRINTED.replace("5 幅", "6 幅"),
        PRINTED.replace("empty", "answered"),
        "成都示例医院  2026-11-22 11:06:02",
        "…\n  节点 nodes",
    ],
)
def test_what_is_not_printed_is_not_recognised(shown: str) -> None:
    assert not same(shown, PRINTED)


def test_a_block_is_taken_apart_into_commands_and_their_output() -> None:
    block = Block("console", "$ first \\\n    --option\none\n…\n$ second\n$ third\ntwo\n", 1)
    assert list(steps(block)) == [("first --option", "one\n…"), ("second", ""), ("third", "two")]
