"""Send a request now and then where none went for long, within a budget of seconds.

An endpoint that looks slow gets no requests, and so no labels that would show it has
recovered. Each decision saves a little of what it expects to cost; an endpoint passed
over for long is tried once the savings pay for what that costs more. So exploration is
bought only when it is cheap, and what it may cost is known: ``BUDGET_RATIO`` of the whole.
One per fleet; written by the scheduler, read by the decider.
"""

from typing import Final

import numpy as np

from predictor.types import Decision, FloatArray
from scheduler.ranking import Order

BUDGET_RATIO: Final = 0.002
"""Share of the cost of all decisions that may go into exploration."""

MOST_SAVED: Final = 3.0
"""Decisions' worth of cost that savings may grow to: no spree after quiet hours."""

LONG_DECISIONS: Final = 200.0
"""Decisions of the fleet per candidate after which an endpoint was passed over for long."""

_LOOK_EVERY: Final = 8  # decisions between two looks at who was


class Exploration:
    """Decide whether the next request tries an endpoint passed over for long.

    >>> Exploration().order(("a:1", "b:1"), np.array([1.0, 2.0]), np.array([0, 1])) is None
    True
    """

    def __init__(self) -> None:
        self._saved_s = 0.0
        self._decisions = 0
        self._last: dict[str, int] = {}

    def order(self, endpoints: tuple[str, ...], costs: FloatArray, order: Order) -> Order | None:
        """Put the cheapest endpoint passed over for long first, ``None`` where none is tried."""
        if self._decisions % _LOOK_EVERY or self._decisions < LONG_DECISIONS * len(endpoints):
            return None
        before = self._decisions - LONG_DECISIONS * len(endpoints)
        last = self._last
        long = [index for index, name in enumerate(endpoints) if last.get(name, 0) <= before]
        if not long:
            return None
        tried = min(long, key=costs.item)
        if costs[tried] - costs[order[0]] > self._saved_s:
            return None
        return np.concatenate(([tried], order[order != tried]))

    def decided(self, decision: Decision) -> None:
        """Save a little of a decision's cost, and pay what it cost more than the best."""
        self._decisions += 1
        self._last[decision.endpoint] = self._decisions
        best_s = min(decision.costs.tolist())
        saved_s = min(self._saved_s + BUDGET_RATIO * best_s, MOST_SAVED * best_s)
        if decision.reason == "explored":
            saved_s -= decision.costs.item(decision.chosen) - best_s
        self._saved_s = max(saved_s, 0.0)

    def seen(self, endpoint: str) -> None:
        """Note that other workers send there: it is not passed over."""
        self._last[endpoint] = self._decisions

    def forget(self, endpoint: str) -> None:
        """Forget an endpoint that has left."""
        self._last.pop(endpoint, None)
