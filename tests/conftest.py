"""Property tests run without a deadline (machines are shared) and give the same examples each time."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "lianren", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("lianren")
