"""For all tests: property tests without a deadline (machines are shared), the same examples each time."""

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "lianren", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("lianren")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes and long texts by their place: as ids they cannot be read, and random ones differ."""
    return argname if isinstance(val, bytes) or (isinstance(val, str) and len(val) > 60) else None


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """What asynchronous tests run on, where a file does not ask for more."""
    return "asyncio"
