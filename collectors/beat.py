"""When to do again what is done again and again: all of it in step.

A process that sleeps pays more for waking than for most of what it then does, as nothing
of that is in the processor's caches. What falls due at the same moment is done in one
waking, the second such thing for a fraction of the first. So whoever repeats something
does it at whole multiples of its interval, counted from a moment that is the process's
own: processes of one machine must not all wake at once. Called by the scraper and by
everything that looks after something now and then.
"""

import asyncio
import os
from typing import Final

GOLDEN_RATIO: Final = 0.618034
"""Its multiples modulo 1 spread evenly, however many there are."""


def until_next(interval_s: float, *, phase_s: float = 0.0) -> float:
    """Give the seconds until the next beat: more than none, at most an interval.

    Args:
        interval_s: Between two beats, in whole milliseconds: timers know no less.
        phase_s: How long after the others' beats these come.
    """
    own_s = os.getpid() * GOLDEN_RATIO % 1.0
    since_ms = round((asyncio.get_running_loop().time() - own_s - phase_s) * 1e3)
    interval_ms = round(interval_s * 1e3)
    return (interval_ms - since_ms % interval_ms) / 1e3


async def beat(interval_s: float, *, phase_s: float = 0.0, least_s: float = 0.0) -> None:
    """Wait for the next beat, or longer where that comes too soon.

    Args:
        interval_s: Between two beats, in whole milliseconds: timers know no less.
        phase_s: How long after the others' beats these come.
        least_s: How long to wait at least.
    """
    await asyncio.sleep(max(until_next(interval_s, phase_s=phase_s), least_s))
