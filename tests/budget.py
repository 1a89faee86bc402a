"""How long tests of random cases go: a fixed few by default, `FUZZ=100` times as many at random."""

import os

from hypothesis import HealthCheck, settings

TIMES = int(os.environ.get("FUZZ", "0"))


def cases(count: int) -> settings:
    """So many cases, the same each time; with FUZZ that many times more, others each time."""
    return settings(
        max_examples=count * max(TIMES, 1), derandomize=not TIMES, deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
