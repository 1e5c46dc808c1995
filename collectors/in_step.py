"""When to do again what is done again and again: all of it in step.

A process that sleeps pays more for waking than for most of what it then does, as nothing
of that is in the processor's caches. What falls due at the same moment is done in one
waking, the second such thing for a fraction of the first. So what looks after something
now and then does it at whole multiples of its interval, counted from a moment that every
process draws for itself: those of one machine must not all wake at once. Called by the
scraper and by what sweeps, watches, and hands things on.
"""

import asyncio
import random
from typing import Final

_OWN_MS: Final = random.randrange(1000)  # nobody gains by knowing it


def until_next(interval_s: float, *, phase_s: float = 0.0, least_s: float = 0.0) -> float:
    """Give the seconds until it is time again: more than none.

    Args:
        interval_s: From one time to the next, of a millisecond at least; counted in
            milliseconds, as uvloop's timers are.
        phase_s: How long after the others' times these come.
        least_s: How long to wait at least, where the next time comes too soon.
    """
    now_ms = round(asyncio.get_running_loop().time() * 1e3)
    interval_ms = round(interval_s * 1e3)
    since_ms = (now_ms - round(phase_s * 1e3) - _OWN_MS) % interval_ms
    return max((interval_ms - since_ms) / 1e3, least_s)


async def in_step(interval_s: float, *, phase_s: float = 0.0, least_s: float = 0.0) -> None:
    """Wait until it is time again; arguments as of :func:`until_next`."""
    await asyncio.sleep(until_next(interval_s, phase_s=phase_s, least_s=least_s))
