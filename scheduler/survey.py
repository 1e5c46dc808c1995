"""The outlook of a fleet, from what the scheduler holds.

Gathers who serves it and what waits, and lets :mod:`scheduler.outlook` work it out. The
part of the scheduler that is asked by those who size fleets; it changes nothing but what
is remembered of requests' sizes.
"""

from predictor.types import EndpointState
from scheduler.fleet import Fleet
from scheduler.outlook import Outlook, outlook
from scheduler.placement import Placement


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
            fleet, self._table, members, self._settings, waiting=waiting, now=now, ask=ask
        )

    def _serves(self, state: EndpointState, model: str, now: float) -> bool:
        if state.model != model or not state.up or state.draining:
            return False
        return self._suspects.reason(state.endpoint, now) is None
