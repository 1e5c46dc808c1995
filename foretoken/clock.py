"""The clock of a service (docs/decisions/clock.md)."""

import time
from collections.abc import Callable


def unix_clock() -> Callable[[], float]:
    """Make a monotonic clock that reads Unix time as of its making."""
    return clock_with(time.time() - time.monotonic())


def clock_with(epoch_offset_s: float) -> Callable[[], float]:
    """Make a monotonic clock that is ``epoch_offset_s`` ahead of the system's own."""
    return lambda: time.monotonic() + epoch_offset_s
