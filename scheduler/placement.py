"""Where a request goes, and what is booked with it.

The part of the request state machine behind its events: place, wait, book, release, place
again, refuse. Called by :class:`scheduler.scheduler.Scheduler`, which adds the events.
"""

import random

from predictor.types import (
    Decision,
    EndpointState,
    FailureCause,
    RequestRecord,
)
from scheduler.accounting import InflightAccounting
from scheduler.actions import Action, Dispatch, Shed, ShedReason, Wait
from scheduler.affinity import Affinity
from scheduler.classes import Decided, by_class
from scheduler.decider import Decider
from scheduler.eligibility import Eligibility
from scheduler.endpoint_table import EndpointTable, Members
from scheduler.errors import UnknownRequest
from scheduler.fleet import FleetFactory
from scheduler.fleets import Fleets
from scheduler.flow_control import BEHIND, NONE_UP, FlowControl
from scheduler.learning import Lessons
from scheduler.live import SHED, LiveRequest
from scheduler.objectives import Held, Infeasible, promise
from scheduler.prefix_caches import caches_of
from scheduler.saturation import Placing
from scheduler.settings import SchedulerSettings
from scheduler.suspects import Suspects

NO_ENDPOINT_RETRY_S = 1.0


class Placement:
    """Hold all that placing needs, and place requests one at a time.

    Args:
        settings: Bounds, tiers and policies.
        make_fleet: Builds the fleet of a model when its first endpoint shows up.
        rng: Breaks ties; the only source of randomness.

    Attributes:
        caches: What endpoints hold; whoever hears their KV events tells it.
    """

    def __init__(
        self, *, settings: SchedulerSettings, make_fleet: FleetFactory, rng: random.Random
    ) -> None:
        self._settings = settings
        self._table = table = EndpointTable()
        self._accounting = InflightAccounting(table)
        self.caches = caches_of(settings, table)
        self._affinity = Affinity()
        self._decider = Decider(
            settings=settings, table=table, caches=self.caches, affinity=self._affinity, rng=rng
        )
        self._suspects = Suspects(backoff_s=settings.failure_backoff_s)
        self._eligibility = Eligibility(
            table=table, suspects=self._suspects, stale_after_s=settings.stale_after_s
        )
        self._states: dict[str, EndpointState] = {}
        self._fleets = Fleets(make_fleet, settings)
        self._live: dict[str, LiveRequest] = {}
        self._queue, self._lessons = FlowControl(settings), Lessons()

    def _place(self, live: LiveRequest, now: float) -> Action:
        members = self._eligibility.eligible(live, now)
        if members:
            if self._queue.is_behind(live, now):
                return self._wait(live, BEHIND, members, now)
            action = self._choose(live, members, now)
            return self._wait(live, action, members, now) if isinstance(action, Held) else action
        if not self._eligibility.served(live):
            return self._shed(live, "no_endpoint", now, NO_ENDPOINT_RETRY_S)
        return self._wait(live, NONE_UP, members, now)

    def _wait(self, live: LiveRequest, held: Held, members: Members, now: float) -> Action:
        entered = self._queue.enter(live, held, now)
        if isinstance(entered, Wait):
            live.tried.clear()  # by the time it can go, a failed endpoint may be back
            return entered
        if members and entered == "queue_full" and not live.tier.sheddable:  # an endpoint queues it
            action = self._choose(live, members, now, "at_once")
            if not isinstance(action, Held):
                return action
        return self._shed(live, entered, now, self._queue.retry_after_s(live, now))

    def _attempt(self, live: LiveRequest, now: float, placing: Placing) -> Dispatch | Shed | Held:
        members = self._eligibility.eligible(live, now)
        return self._choose(live, members, now, placing) if members else NONE_UP

    def _again(self, live: LiveRequest, cause: FailureCause, now: float) -> Action:
        if live.endpoint is not None:
            live.failed(cause, now)
            self.caches.left(live.request.request_id, computed=False, now=now)
            self._release(live, tpot_s=None)
        if live.attempts >= self._settings.max_attempts:
            return self._shed(live, "retries_exhausted", now, NO_ENDPOINT_RETRY_S)
        if not live.fleet.retries.take(now):
            return self._shed(live, "retry_budget_exhausted", now, NO_ENDPOINT_RETRY_S)
        return self._place(live, now)

    def _choose(
        self, live: LiveRequest, members: Members, now: float, placing: Placing = "arrival"
    ) -> Dispatch | Shed | Held:
        decision = self._decided(live, members, now, placing)
        if isinstance(decision, Held):
            return decision
        if isinstance(decision, Infeasible):
            return self._shed(live, "objective_infeasible", now, decision.retry_after_s)
        if decision.spilled is not None:
            live.fleet.standby.spilled(decision.priority_class, decision.spilled, now)
        live.dispatched_s = now
        live.attempts += 1
        return self._book(live, decision, now)

    def _decided(
        self, live: LiveRequest, members: Members, now: float, placing: Placing = "arrival"
    ) -> Decided:
        """Decide, class by class where some endpoints stand by; book nothing."""
        decide = self._decider.decide
        if not members.classes:
            return decide(live, members, now, placing)
        return by_class(live, members, lambda part: decide(live, part, now, placing), now)

    def _book(self, live: LiveRequest, decision: Decision, now: float) -> Dispatch:
        """Have the request be where a decision says."""
        state = self._states[decision.endpoint]
        dispatch = live.sent(state, decision)
        endpoint = dispatch.endpoint
        self._accounting.book_decision(dispatch.request_id, endpoint, decision, now)
        self._suspects.sent(endpoint, now)
        promise(live, decision, self._table.row(endpoint))
        self.caches.sent(endpoint, live.request)
        self._affinity.sent(live, endpoint)
        self._lessons.dispatched(live, decision, now)
        return dispatch

    def _release(self, live: LiveRequest, *, tpot_s: float | None) -> None:
        if live.endpoint is not None:
            live.fleet.promises.end(live.request.request_id)
            self._accounting.release(live.request.request_id, live.endpoint, tpot_s=tpot_s)
            if live.endpoint not in self._states:
                for part in (self._accounting, self._lessons, self._fleets):
                    part.forget(live.endpoint)  # it left while this was in flight
            live.endpoint, live.first_token_s = None, None

    def _shed(self, live: LiveRequest, reason: ShedReason, now: float, retry_s: float) -> Shed:
        del self._live[live.request.request_id]
        return Shed(record=live.record(SHED, now, reason), reason=reason, retry_after_s=retry_s)

    def _learn(self, live: LiveRequest, record: RequestRecord) -> None:
        self._lessons.finished(live, record)
        if record.decision is not None and record.decision.endpoint in self._states:
            self.caches.report(record.decision, record.measurement.cached_tokens)

    def _get(self, request_id: str) -> LiveRequest:
        live = self._live.get(request_id)
        if live is None:
            raise UnknownRequest(request_id)
        return live
