"""What stops a check of an audit: the first broken record, or nothing to make the check on."""

from __future__ import annotations


class Broken(Exception):
    """The first broken record of a check, and what is wrong with it in both languages."""

    def __init__(self, record: str, zh: str, en: str) -> None:
        super().__init__(record, zh, en)
        self.record, self.zh, self.en = record, zh, en


class NotMade(Exception):
    """There is nothing to make a check on; why, in both languages."""

    def __init__(self, zh: str, en: str) -> None:
        super().__init__(zh, en)
        self.zh, self.en = zh, en
