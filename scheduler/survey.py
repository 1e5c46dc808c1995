"""The outlook of a fleet, from what the scheduler holds.

Gathers who serves it and what waits, and lets :mod:`scheduler.outlook` work it out. The
part of the scheduler that is asked by those who size fleets; it changes nothing but what
is remembered of requests' sizes.
"""

from typing import Final

from predictor.features import COLUMN
from predictor.types import EndpointState
from scheduler.attainable import usual_rows
from scheduler.endpoint_table import Members
from scheduler.fleet import Fleet
from scheduler.mix import Mix
from scheduler.outlook import Outlook, outlook
from scheduler.placement import Placement

# A router that gets next to nothing must not make a whole fleet's demand of it.
_LEAST_RATIO: Final = 0.01


class Survey(Placement):
    """Tell what fleets get, can take and need."""

    def outlook(self, fleet: Fleet, now: float) -> Outlook:
        """Say what a fleet gets, can take and needs, those left aside that stand by."""
        serving = [one for one in self._states.values() if self._serves(one, fleet.model, now)]
        lowest = min((one.priority_class for one in serving), default=0)
        members = self._table.members(one for one in serving if one.priority_class == lowest)
        ask = self._decider.mode != "heuristic" and fleet.trust.rests(now) is None
        waiting = sum(one.model == fleet.model for one in self._queue.standing())
        return outlook(
            fleet,
            self._table,
            members,
            self._settings,
            waiting=waiting,
            now=now,
            ask=ask,
            own_ratio=self._own_ratio(members, now),
        )

    def _own_ratio(self, members: Members, now: float) -> float:
        """Give the share of the requests sent to endpoints that this router sends."""
        if self._accounting.ledger is None or not members:
            return 1.0
        own = sum(self._accounting.load(name, now).dispatches_per_s for name in members.names)
        alike = Mix(1.0, 1.0, 1.0)  # rates do not depend on what is asked for
        rows = usual_rows(self._table, members, alike, now)
        every = float(rows[:, COLUMN["dispatches_per_s"]].sum())
        return min(max(own / every, _LEAST_RATIO), 1.0) if every > 0.0 else 1.0

    def _serves(self, state: EndpointState, model: str, now: float) -> bool:
        if state.model != model or not state.up or state.draining:
            return False
        return self._suspects.reason(state.endpoint, now) is None
