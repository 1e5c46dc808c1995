"""The clock of a service (docs/decisions/clock.md)."""

import time
from collections.abc import Callable


def unix_clock() -> Callable[[], float]:
    """Make a monotonic clock that reads Unix time as of its making."""
    offset_s = time.time() - time.monotonic()
    return lambda: time.monotonic() + offset_s
