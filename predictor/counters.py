"""Recent rates from an endpoint's counters, one scrape after the other.

Decides how long a reading counts: differences of two scrapes a fifth of a second apart
are mostly 0, so they are summed with decay. A counter that fell began anew, and what
was read before says nothing of the server that answers now. Called by whoever turns
scrapes into states: the collectors, and the simulator's driver.
"""

import math
from dataclasses import dataclass, replace

from predictor.features import RATE_TAU_S
from predictor.types import EndpointState


@dataclass(slots=True)
class _Ratio:
    """One decayed sum over another, whose units are the ratio's."""

    above: float = 0.0
    below: float = 0.0

    def add(self, above: float, below: float, keep: float) -> None:
        self.above = self.above * keep + above
        self.below = self.below * keep + below

    @property
    def value(self) -> float | None:
        return self.above / self.below if self.below > 0 else None


class CounterRates:
    """Derive rates of one endpoint; ``None`` until two scrapes showed its counters.

    >>> rates, seen = CounterRates(), EndpointState(endpoint="a:1", url="http://a:1")
    >>> for scraped_s, total in ((0.0, 7.0), (2.0, 8.0)):
    ...     state = rates.apply(replace(seen, scraped_s=scraped_s, preemptions_total=total))
    >>> state.preemptions_per_s, state.prefix_hit_ratio
    (0.5, None)
    """

    def __init__(self) -> None:
        self._before: EndpointState | None = None
        self._preemptions = _Ratio()
        self._hits = _Ratio()

    def apply(self, state: EndpointState) -> EndpointState:
        """Take in a scrape and give it with the rates; one that failed forgets nothing."""
        if state.scraped_s is None:
            return replace(state, preemptions_per_s=None, prefix_hit_ratio=None)
        before, self._before = self._before, state
        if before is not None and before.scraped_s is not None:
            self._add(before, state, state.scraped_s - before.scraped_s)
        return replace(
            state,
            preemptions_per_s=self._preemptions.value,
            prefix_hit_ratio=self._hits.value,
        )

    def _add(self, before: EndpointState, now: EndpointState, passed_s: float) -> None:
        preempted = _difference(before.preemptions_total, now.preemptions_total)
        hits = _difference(before.prefix_hits_total, now.prefix_hits_total)
        looked_up = _difference(before.prefix_queries_total, now.prefix_queries_total)
        if passed_s < 0 or any(change < 0 for change in (preempted, hits, looked_up)):
            self._preemptions, self._hits = _Ratio(), _Ratio()
            return
        keep = math.exp(-passed_s / RATE_TAU_S)
        if not math.isnan(preempted):
            self._preemptions.add(preempted, passed_s, keep)
        if not math.isnan(hits + looked_up):
            self._hits.add(min(hits, looked_up), looked_up, keep)


def _difference(before: float | None, now: float | None) -> float:
    return math.nan if before is None or now is None else now - before
