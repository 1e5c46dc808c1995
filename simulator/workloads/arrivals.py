"""When requests of an open loop arrive: a Poisson process, its rate constant or in stages.

Called by generators; a seeded generator of chance is an argument.
"""

from collections.abc import Iterator, Sequence
from itertools import cycle
from random import Random
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from simulator.errors import TooMuchTraffic

MOST_ARRIVALS: Final = 2_000_000
"""Of one run, overload's tail included: an hour of computing, and 3 GB."""


class Stage(BaseModel):
    """Hold the rate for a while; stages follow each other and begin again."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    seconds: float = Field(ge=0.1, le=86_400.0)
    weight: float = Field(ge=0.0)
    """Rate relative to the other stages; the mean over all is the rate asked for."""


def poisson_times(
    rng: Random, rate: float, until_s: float, stages: Sequence[Stage] = ()
) -> list[float]:
    """Draw arrival times.

    Args:
        rng: Source of chance.
        rate: Mean arrivals per second, at least 0.
        until_s: Arrivals lie in ``[0, until_s)``.
        stages: How the rate changes; none is a constant one. One weight is above 0.

    Raises:
        TooMuchTraffic: These are more than ``MOST_ARRIVALS``.

    >>> ladder = [Stage(seconds=10, weight=1), Stage(seconds=10, weight=5)]
    >>> times = poisson_times(Random(1), 30.0, 20.0, ladder)
    >>> sum(time < 10 for time in times), len(times)
    (98, 599)
    """
    if rate <= 0.0:
        return []
    check_arrivals(rate * until_s)
    times: list[float] = []
    for begin_s, end_s, factor in _spans(stages, until_s):
        if factor == 0.0:
            continue
        at_s = begin_s + rng.expovariate(rate * factor)
        while at_s < end_s:  # the process has no memory: each stage may begin it again
            times.append(at_s)
            at_s += rng.expovariate(rate * factor)
    return times


def check_arrivals(arrivals: float) -> None:
    """Refuse more requests than one run can hold.

    Raises:
        TooMuchTraffic: These are more than ``MOST_ARRIVALS``.
    """
    if arrivals > MOST_ARRIVALS:
        raise TooMuchTraffic(arrivals, MOST_ARRIVALS, what="requests")


def _spans(stages: Sequence[Stage], until_s: float) -> Iterator[tuple[float, float, float]]:
    if not stages:
        yield 0.0, until_s, 1.0
        return
    mean = sum(s.seconds * s.weight for s in stages) / sum(s.seconds for s in stages)
    begin_s = 0.0
    for stage in cycle(stages):
        if begin_s >= until_s:
            return
        yield begin_s, min(begin_s + stage.seconds, until_s), stage.weight / mean
        begin_s += stage.seconds
