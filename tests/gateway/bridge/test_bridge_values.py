"""How an archive is named, and what lies below a study, a series or an instance."""

from __future__ import annotations

import pytest

from gateway.bridge.values import Wanted, archive_of, title_of
from gateway.errors import SettingsError


@pytest.mark.parametrize(
    ("text", "archive"),
    [
        ("PACS@10.0.0.5:104", ("PACS", "10.0.0.5", 104)),
        ("MY PACS@pacs.example.org:11112", ("MY PACS", "pacs.example.org", 11112)),
        ("PACS@[::1]:104", ("PACS", "::1", 104)),
    ],
)
def test_an_archive_is_a_title_a_host_and_a_port(text: str, archive: tuple[str, str, int]) -> None:
    assert archive_of(text) == archive


@pytest.mark.parametrize(
    "text", ["PACS", "PACS@host", "PACS@host:0", "PACS@host:70000", "@host:104", "PACS@a b:1"]
)
def test_what_is_no_archive_is_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        archive_of(text)


@pytest.mark.parametrize("text", ["", " ", "SEVENTEEN-LETTERS", "A\\B", "示例"])
def test_what_is_no_ae_title_is_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        title_of(text)


@pytest.mark.parametrize(
    ("wanted", "level", "holds"),
    [
        (Wanted("1"), "STUDY", True),
        (Wanted("1", "2"), "SERIES", True),
        (Wanted("1", "2", "4"), "IMAGE", False),
    ],
)
def test_an_instance_is_of_what_is_wanted(wanted: Wanted, level: str, holds: bool) -> None:
    assert (wanted.level, wanted.holds("1", "2", "3")) == (level, holds)
