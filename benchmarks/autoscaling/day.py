"""A day of traffic: an ordinary workload whose rate follows the hours.

Decides which of the workload's chains of requests are sent: each as likely as its hour is
busy. The day may last as short a time as one likes; the shorter, the steeper its slopes
beside the time that an endpoint takes to start.
"""

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Final

from simulator.traffic import Chain
from simulator.workloads import Workload

HOURS: Final = (
    *(0.30, 0.24, 0.20, 0.18, 0.18, 0.22, 0.34, 0.54, 0.78, 0.94, 1.00, 0.98),
    *(0.88, 0.90, 0.98, 1.00, 0.94, 0.84, 0.74, 0.68, 0.62, 0.54, 0.46, 0.38),
)
"""Share of the peak's rate at each full hour: a working day with a lunch and a long evening."""


class Day(Workload):
    """Send a workload at a rate that follows the hours.

    Args:
        base: What is sent; an open loop.
        begins_s: When the day begins; before, the rate is that of its first hour.
        lasts_s: How long the day takes.
        hours: Share of the peak's rate at each of its hours, however many.
    """

    def __init__(
        self,
        base: Workload,
        *,
        begins_s: float,
        lasts_s: float,
        hours: Sequence[float] = HOURS,
    ) -> None:
        super().__init__(f"{base.name} by day", base.name, base.spec, Path())
        self._base = base
        self._begins_s = begins_s
        self._lasts_s = lasts_s
        self._hours = hours

    def chains(self, *, seed: int, rate: float, until_s: float) -> list[Chain]:
        """Write the traffic; ``rate`` is the peak's."""
        rng = Random(f"day {seed}")
        sent: list[Chain] = []
        for chain in self._base.chains(seed=seed, rate=rate, until_s=until_s):
            requests = list(chain)
            at_s = requests[0].at_s or 0.0
            if rng.random() < share(self._hours, (at_s - self._begins_s) / self._lasts_s):
                sent.append(iter(requests))
        return sent


def share(hours: Sequence[float], passed: float) -> float:
    """Give the rate relative to the peak's after a share of the day, straight between hours.

    >>> share((0.0, 1.0), -0.5), share((0.0, 1.0), 0.25), share((0.0, 1.0), 0.5)
    (0.0, 0.5, 1.0)
    """
    if passed <= 0.0:
        return hours[0]
    hour, rest = divmod(passed * len(hours), 1.0)
    before, after = hours[int(hour) % len(hours)], hours[(int(hour) + 1) % len(hours)]
    return before + (after - before) * rest
