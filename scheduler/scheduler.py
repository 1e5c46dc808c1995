"""The request state machine: every event of a request's life, and what to do next.

Pure: whoever drives it (proxy, Envoy picker, simulator) passes the clock, carries
out the returned action, and reports what happened. A request is routed once and
ends once: by ``finished``, or by a ``Shed`` that carries its record. Its tokens are
booked on the chosen endpoint before ``route`` returns.
"""

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from predictor.features import COLUMN
from predictor.types import (
    BLOCK_BYTES,
    Decision,
    EndpointLoad,
    EndpointState,
    Measurement,
    Observation,
    RequestFeatures,
    RequestRecord,
)
from scheduler.accounting import InflightAccounting
from scheduler.actions import Action, Dispatch, Shed, ShedReason, Wait
from scheduler.decider import Decider, Infeasible, Mode
from scheduler.errors import DuplicateRequest, ModelNotFound, UnknownRequest
from scheduler.fleet import Fleet, FleetFactory, Fleets, policies_of
from scheduler.learning import Timing, learn_finished, observation
from scheduler.prefix_index import PrefixIndex
from scheduler.settings import SchedulerSettings
from scheduler.suspects import Suspects
from scheduler.waiting import Waiting, WaitingQueue

NO_ENDPOINT_RETRY_S = 1.0


@dataclass(slots=True, kw_only=True)
class _Live:
    """Hold one request between ``route`` and its end."""

    request: RequestFeatures
    fleet: Fleet
    decision: Decision | None = None
    endpoint: str | None = None  # where it is booked; None while it waits
    attempts: int = 0
    dispatched_s: float | None = None
    first_token_s: float | None = None
    tried: set[str] = field(default_factory=set)


class Scheduler:
    """Place requests on endpoints and learn from how they went.

    Args:
        settings: Bounds, tiers and policies.
        make_fleet: Builds the fleet of a model when its first endpoint shows up.
        rng: Breaks ties; the only source of randomness.
    """

    def __init__(
        self, *, settings: SchedulerSettings, make_fleet: FleetFactory, rng: random.Random
    ) -> None:
        self._settings = settings
        self._make_fleet = make_fleet
        self._accounting = InflightAccounting()
        self._index = PrefixIndex(default_capacity_blocks=settings.prefix_blocks)
        self._decider = Decider(
            settings=settings, accounting=self._accounting, index=self._index, rng=rng
        )
        self._suspects = Suspects(backoff_s=settings.failure_backoff_s)
        self._states: dict[str, EndpointState] = {}
        self._fleet_of: dict[str, str] = {}
        self._fleets: dict[str, Fleet] = {}
        self._live: dict[str, _Live] = {}
        self._queue = WaitingQueue()

    # What can be asked

    @property
    def mode(self) -> Mode:
        """Tell whether predictions decide, run in shadow, or are switched off."""
        return self._decider.mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._decider.mode = mode

    @property
    def states(self) -> Mapping[str, EndpointState]:
        """Give the latest snapshot of every endpoint by name."""
        return self._states

    @property
    def fleets(self) -> Fleets:
        """Give every fleet by its base model."""
        return self._fleets

    @property
    def waiting_requests(self) -> int:
        """Count requests that wait for an endpoint."""
        return len(self._queue)

    @property
    def inflight_requests(self) -> int:
        """Count requests booked at any endpoint."""
        return self._accounting.inflight_requests()

    def load(self, endpoint: str, now: float) -> EndpointLoad:
        """Give what this router has in flight at an endpoint."""
        return self._accounting.load(endpoint, now)

    def models(self) -> tuple[str, ...]:
        """List every name requests may ask for, sorted."""
        return tuple(sorted(self._fleet_of))

    def preview(self, request: RequestFeatures, now: float) -> Decision | None:
        """Decide as if the request came now, and book nothing.

        Returns:
            The decision, ``None`` when no endpoint could take it or it would be refused.

        Raises:
            ModelNotFound: No fleet serves its model.
            UnknownTier: It names a tier that is not configured.
        """
        self._decider.tier(request)
        fleet = self._fleet(request)
        if fleet is None:
            return None
        live = _Live(request=request, fleet=fleet)
        states = self._eligible(live, now)
        decision = self._decider.decide(fleet, request, states, now) if states else None
        return None if isinstance(decision, Infeasible) else decision

    # What happens

    def configure(self, settings: SchedulerSettings) -> None:
        """Take other settings into force, from the next request on."""
        self._settings = settings
        self._decider.configure(settings)
        self._suspects = Suspects(backoff_s=settings.failure_backoff_s)
        for fleet in self._fleets.values():
            fleet.policy, fleet.fallback = policies_of(settings, fleet.model)

    def update(self, states: Iterable[EndpointState]) -> None:
        """Take in the whole present set of endpoints; those missing have left."""
        before, self._states = self._states, {state.endpoint: state for state in states}
        self._fleet_of = {}
        for state in self._states.values():
            self._take_in(state, before.get(state.endpoint))
        for name in before.keys() - self._states.keys():
            self._index.clear(name)
            self._suspects.forget(name)
            self._accounting.forget(name)

    def route(self, request: RequestFeatures, now: float) -> Action:
        """Place a request that has just come in.

        Raises:
            ModelNotFound: No fleet serves its model.
            UnknownTier: It names a tier that is not configured.
            DuplicateRequest: Its id is already in flight.
        """
        if request.request_id in self._live:
            raise DuplicateRequest(request.request_id)
        self._decider.tier(request)
        fleet = self._fleet(request)
        if fleet is None:
            return _shed_unplaced(request, now)
        live = _Live(request=request, fleet=fleet)
        self._live[request.request_id] = live
        return self._place(live, now)

    def reroute(self, request_id: str, now: float) -> Action:
        """Place a request again whose dispatch failed before the first byte.

        Its endpoint is suspect from now on; the booking moves or ends.

        Raises:
            UnknownRequest: No such request is in flight.
        """
        live = self._get(request_id)
        if live.endpoint is not None:
            self._suspects.failed(live.endpoint, now)
            live.tried.add(live.endpoint)
            self._release(live, tpot_s=None)
        if live.attempts >= self._settings.max_attempts:
            return self._shed(live, "retries_exhausted", now, NO_ENDPOINT_RETRY_S)
        return self._place(live, now)

    def first_token(self, request_id: str, now: float) -> None:
        """Note that a streamed request's first output token has arrived.

        Raises:
            UnknownRequest: No such request is in flight.
        """
        live = self._get(request_id)
        if live.endpoint is None or live.dispatched_s is None or live.first_token_s is not None:
            return
        live.first_token_s = now
        ttft_s = now - live.dispatched_s
        self._accounting.first_token(request_id, live.endpoint, ttft_s=ttft_s)
        self._suspects.succeeded(live.endpoint)
        if live.decision is not None:
            hardware = self._hardware(live.endpoint)
            seen = observation(live.fleet.model, live.decision, hardware, now)
            live.fleet.predictor.learn(replace(seen, upstream_ttft_s=ttft_s))

    def finished(self, request_id: str, measurement: Measurement, now: float) -> RequestRecord:
        """End a request, whatever became of it, and learn from it.

        Raises:
            UnknownRequest: No such request is in flight: it ended already.
        """
        live = self._get(request_id)
        if request_id in self._queue:
            self._queue.remove(request_id)
        record = self._record(live, measurement, now)
        if live.endpoint is not None:
            if measurement.outcome in {"completed", "client_error"}:
                self._suspects.succeeded(live.endpoint)
            self._release(live, tpot_s=record.tpot_s)
            if measurement.outcome == "completed":
                self._learn(live.fleet, record)
        del self._live[request_id]
        return record

    def tick(self, now: float) -> list[Dispatch | Shed]:
        """Release waiting requests that can go, give up those that waited too long."""
        actions: list[Dispatch | Shed] = []
        for waiting in self._queue.ordered():
            live = self._live[waiting.request.request_id]
            states = self._eligible(live, now)
            if states:
                self._queue.remove(waiting.request.request_id)
                actions.append(self._choose(live, states, now))
            elif now >= waiting.deadline_s:
                self._queue.remove(waiting.request.request_id)
                actions.append(self._shed(live, "queue_timeout", now, NO_ENDPOINT_RETRY_S))
        return actions

    # How

    def _take_in(self, state: EndpointState, before: EndpointState | None) -> None:
        name = state.endpoint
        if before is not None and state.up and not before.up:
            self._index.clear(name)  # it was away: assume that it restarted empty
        if state.up and state.scraped_s is not None:
            self._suspects.seen_up(name, state.scraped_s)
        if state.model is None:
            return
        if state.model not in self._fleets:
            self._fleets[state.model] = self._make_fleet(state.model)
        for model in (state.model, *state.adapters):
            self._fleet_of[model] = state.model
        if state.kv_capacity_tokens is not None:
            ratio = self._fleets[state.model].token_ratio
            block_tokens = BLOCK_BYTES / ratio.bytes_per_token
            self._index.set_capacity(name, int(state.kv_capacity_tokens / block_tokens))

    def _fleet(self, request: RequestFeatures) -> Fleet | None:
        """Find the fleet; ``None`` when an endpoint that has not told yet might serve it."""
        model = self._fleet_of.get(request.model)
        if model is None and not request.model and len(self._fleets) == 1:
            model = next(iter(self._fleets))
        if model is not None:
            return self._fleets[model]
        if any(state.model is None for state in self._states.values()):
            return None
        raise ModelNotFound(request.model, self.models())

    def _place(self, live: _Live, now: float) -> Action:
        states = self._eligible(live, now)
        if states:
            return self._choose(live, states, now)
        if len(self._queue) >= self._settings.max_waiting_requests:
            return self._shed(live, "queue_full", now, NO_ENDPOINT_RETRY_S)
        deadline_s = now + self._settings.max_wait_s
        priority = live.request.priority + self._decider.tier(live.request).priority
        self._queue.add(Waiting(request=live.request, deadline_s=deadline_s), priority=priority)
        live.tried.clear()  # by the time it can go, a failed endpoint may be back
        return Wait(request_id=live.request.request_id, deadline_s=deadline_s)

    def _eligible(self, live: _Live, now: float) -> tuple[EndpointState, ...]:
        model, allowed = live.fleet.model, live.request.allowed_endpoints
        return tuple(
            state
            for name, state in self._states.items()
            if state.model == model
            and state.up
            and not state.draining
            and name not in live.tried
            and (allowed is None or name in allowed)
            and not self._suspects.is_suspect(name, now)
        )

    def _choose(
        self, live: _Live, states: tuple[EndpointState, ...], now: float
    ) -> Dispatch | Shed:
        request = live.request
        decision = self._decider.decide(live.fleet, request, states, now)
        if isinstance(decision, Infeasible):
            return self._shed(live, "objective_infeasible", now, decision.retry_after_s)
        state = states[decision.chosen]
        live.decision, live.endpoint, live.dispatched_s = decision, state.endpoint, now
        live.attempts += 1
        row = decision.features[decision.chosen]
        self._accounting.book(
            request.request_id,
            state.endpoint,
            prefill_tokens=float(row[COLUMN["uncached_tokens"]]),
            # Half of the output is there on average while it decodes.
            context_tokens=decision.prompt_tokens
            + float(row[COLUMN["expected_output_tokens"]]) / 2,
            now=now,
        )
        self._index.insert(state.endpoint, request.block_hashes)
        return Dispatch(
            request_id=request.request_id,
            endpoint=state.endpoint,
            url=state.url,
            decision=decision,
            attempt=live.attempts,
        )

    def _release(self, live: _Live, *, tpot_s: float | None) -> None:
        if live.endpoint is not None:
            self._accounting.release(live.request.request_id, live.endpoint, tpot_s=tpot_s)
            live.endpoint, live.first_token_s = None, None

    def _shed(
        self, live: _Live, reason: ShedReason, now: float, retry_after_s: float | None
    ) -> Shed:
        del self._live[live.request.request_id]
        record = self._record(live, Measurement(outcome="shed"), now)
        return Shed(
            request_id=live.request.request_id,
            record=record,
            reason=reason,
            retry_after_s=retry_after_s,
        )

    def _record(self, live: _Live, measurement: Measurement, now: float) -> RequestRecord:
        request, sent, first = live.request, live.dispatched_s, live.first_token_s
        timing = Timing.of(measurement, sent=sent, first=first, ended=now)
        seen: Observation | None = None
        if live.decision is not None and measurement.outcome == "completed":
            seen = observation(
                live.fleet.model, live.decision, self._hardware(live.decision.endpoint), now
            )
            seen = replace(
                seen,
                upstream_ttft_s=timing.upstream_ttft_s,
                tpot_s=timing.tpot_s,
                output_tokens=measurement.output_tokens,
            )
        return RequestRecord(
            request=request,
            fleet=live.fleet.model,
            decision=live.decision,
            endpoint=live.endpoint,
            attempts=live.attempts,
            measurement=measurement,
            finished_s=now,
            dispatched_s=sent,
            ttft_s=None if first is None else first - request.arrived_s,
            upstream_ttft_s=timing.upstream_ttft_s,
            tpot_s=timing.tpot_s,
            e2e_s=now - request.arrived_s,
            observation=seen,
        )

    def _learn(self, fleet: Fleet, record: RequestRecord) -> None:
        learn_finished(fleet, record)
        decision, cached = record.decision, record.measurement.cached_tokens
        if decision is not None and cached is not None:
            matched = float(decision.matched_tokens[decision.chosen])
            self._index.report(decision.endpoint, matched_tokens=matched, cached_tokens=cached)

    def _hardware(self, endpoint: str) -> str | None:
        state = self._states.get(endpoint)
        return None if state is None else state.hardware

    def _get(self, request_id: str) -> _Live:
        live = self._live.get(request_id)
        if live is None:
            raise UnknownRequest(request_id)
        return live


def _shed_unplaced(request: RequestFeatures, now: float) -> Shed:
    """Refuse a request whose model an endpoint that is not up yet may serve."""
    record = RequestRecord(
        request=request,
        fleet=None,
        decision=None,
        endpoint=None,
        attempts=0,
        measurement=Measurement(outcome="shed"),
        finished_s=now,
        e2e_s=now - request.arrived_s,
    )
    return Shed(
        request_id=request.request_id,
        record=record,
        reason="no_endpoint",
        retry_after_s=NO_ENDPOINT_RETRY_S,
    )
