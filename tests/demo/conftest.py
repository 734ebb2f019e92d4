"""The records of the demonstration at one moment, made once for all tests here."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.demo.records import Records, everything

NOW = datetime(2026, 11, 20, 17, 30, tzinfo=UTC)  # in Shanghai it is already the next day


@pytest.fixture(scope="session")
def now() -> datetime:
    return NOW


@pytest.fixture(scope="session")
def records() -> Records:
    return everything(NOW)
