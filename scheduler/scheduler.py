"""The request state machine: every event of a request's life, and what to do next.

Pure: whoever drives it (proxy, Envoy picker, simulator) passes the clock, carries
out the returned action, and reports what happened. A request is routed once and
ends once: by ``finished``, or by a ``Shed`` that carries its record. Its tokens are
booked on the chosen endpoint before ``route`` returns.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from predictor.types import (
    BLOCK_BYTES,
    Decision,
    EndpointLoad,
    EndpointState,
    Measurement,
    RequestFeatures,
    RequestRecord,
)
from predictor.values import replace
from scheduler.actions import Action, Dispatch, Shed, Standing
from scheduler.capacity import Room, rooms
from scheduler.errors import DuplicateRequest, ModelNotFound
from scheduler.fleet import Fleet
from scheduler.forecast import Forecast, Typical, forecast
from scheduler.ladder import Mode
from scheduler.learning import early_label_s
from scheduler.live import LiveRequest, record_unplaced
from scheduler.objectives import note_kept
from scheduler.placement import NO_ENDPOINT_RETRY_S
from scheduler.prefix_index import has_restarted
from scheduler.settings import SchedulerSettings
from scheduler.survey import Survey
from scheduler.suspects import Suspicion


class Scheduler(Survey):
    """Place requests on endpoints and learn from how they went.

    Args:
        settings: Bounds, tiers and policies.
        make_fleet: Builds the fleet of a model when its first endpoint shows up.
        rng: Breaks ties; the only source of randomness.

    Attributes:
        caches: What endpoints hold; whoever hears their KV events tells it.
    """

    # What can be asked

    @property
    def mode(self) -> Mode:
        """Tell whether predictions decide, run in shadow, or are overruled."""
        return self._decider.mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._decider.mode = mode

    @property
    def states(self) -> Mapping[str, EndpointState]:
        """Give the latest snapshot of every endpoint by name."""
        return self._states

    @property
    def fleets(self) -> Mapping[str, Fleet]:
        """Give every fleet by its base model."""
        return self._fleets.by_model

    @property
    def waiting_requests(self) -> int:
        """Count requests that wait for an endpoint."""
        return len(self._queue)

    @property
    def inflight_requests(self) -> int:
        """Count requests booked at any endpoint."""
        return self._accounting.inflight_requests()

    @property
    def settings(self) -> SchedulerSettings:
        """Give the settings in force."""
        return self._settings

    @property
    def waiting_bytes(self) -> int:
        """Sum up the prompts of those that wait."""
        return self._queue.waiting_bytes

    @property
    def suspicions_total(self) -> Mapping[tuple[str, Suspicion], int]:
        """Count how often each endpoint was suspected, by reason."""
        return self._suspects.times

    def standing(self) -> Iterator[Standing]:
        """Tell of every request that waits."""
        return self._queue.standing()

    def inflight(self) -> Counter[tuple[str, str]]:
        """Count requests booked, by endpoint and tier."""
        default, counts = self._settings.default_tier, Counter[tuple[str, str]]()
        for live in self._live.values():
            if live.endpoint is not None:
                counts[live.endpoint, live.request.tier or default] += 1
        return counts

    def rooms(self, fleet: Fleet, now: float) -> dict[str, Room]:
        """Say how full every endpoint of a fleet is."""
        members = self._table.members(
            state for state in self._states.values() if state.model == fleet.model
        )
        if not members:
            return {}
        ask = self.mode != "heuristic" and fleet.trust.rests(now) is None
        stale_s = self._settings.stale_after_s
        found = rooms(fleet, self._table, members, now, stale_after_s=stale_s, ask=ask)
        return dict(zip(members.names, found, strict=True))

    def load(self, endpoint: str, now: float) -> EndpointLoad:
        """Give what this router has in flight at an endpoint."""
        return self._accounting.load(endpoint, now)

    def suspicion(self, endpoint: str, now: float) -> Suspicion | None:
        """Say why an endpoint is left alone for now, ``None`` where it is not."""
        return self._suspects.reason(endpoint, now)

    def models(self) -> tuple[str, ...]:
        """List every name requests may ask for, sorted."""
        return self._fleets.names()

    def preview(self, request: RequestFeatures, now: float) -> Decision | None:
        """Decide as if the request came now, and book nothing.

        Returns:
            The decision, ``None`` when it would have to wait or be refused.

        Raises:
            ModelNotFound: No fleet serves its model.
            UnknownTier: It names a tier that is not configured.
        """
        tier = self._decider.tier(request)
        fleet = self._fleets.find(request)
        if fleet is None:
            return None
        live = LiveRequest(request=request, tier=tier, fleet=fleet)
        members = self._eligibility.eligible(live, now)
        decision = self._decided(live, members, now) if members else None
        return decision if isinstance(decision, Decision) else None

    def forecast(self, model: str, typical: Typical, now: float) -> Forecast | None:
        """Predict a typical request at each endpoint of a fleet that is up; decide nothing.

        Returns:
            ``None`` where there is none, or the predictor cannot or must not be asked.
        """
        fleet = self._fleets.by_model.get(model)
        if fleet is None or self.mode == "heuristic" or fleet.trust.rests(now) is not None:
            return None
        serving = (one for one in self._states.values() if one.up and one.model == model)
        members, stale_s = self._table.members(serving), self._settings.stale_after_s
        if not members:
            return None
        return forecast(fleet, self._table, members, typical, now=now, stale_after_s=stale_s)

    # What happens

    def configure(self, settings: SchedulerSettings) -> None:
        """Take other settings into force, from the next request on."""
        self._settings = settings
        self._decider.configure(settings)
        self._queue.configure(settings)
        self._suspects.backoff_s = settings.failure_backoff_s
        self._eligibility.stale_after_s = settings.stale_after_s
        self.caches.configure(settings)
        self._fleets.configure(settings)

    def update(self, states: Iterable[EndpointState]) -> None:
        """Take in the whole present set of endpoints; those missing have left."""
        before, self._states = self._states, {state.endpoint: state for state in states}
        self._fleets.update(self._states.values())
        if self._eligibility.update(self._states):
            self._queue.reinstate()
        for name, state in self._states.items():
            known = before.get(name)
            if state is not known:  # one scrape changes one of them
                self._take_in(state, known)
        for name in before.keys() - self._states.keys():
            parts = (self.caches, self._affinity, self._suspects, self._accounting)
            for part in (*parts, self._lessons, self._fleets):
                part.forget(name)

    def route(self, request: RequestFeatures, now: float) -> Action:
        """Place a request that has just come in.

        Raises:
            ModelNotFound: No fleet serves its model.
            UnknownTier: It names a tier that is not configured.
            DuplicateRequest: Its id is already in flight.
        """
        if request.request_id in self._live:
            raise DuplicateRequest(request.request_id)
        self._lessons.tell_overdue(self._live, now)
        tier = self._decider.tier(request)
        try:
            fleet = self._fleets.find(request)
        except ModelNotFound:
            self._fleets.missed(request.model, now)
            raise
        if fleet is None:
            # An endpoint that is not up yet may serve it.
            return Shed(
                record=record_unplaced(request, now),
                reason="no_endpoint",
                retry_after_s=NO_ENDPOINT_RETRY_S,
            )
        fleet.retries.requested(now)
        live = LiveRequest(request=request, tier=tier, fleet=fleet, teaches=fleet.pace.chooses(now))
        self._live[request.request_id] = live
        try:
            return self._place(live, now)
        except BaseException:  # whatever went wrong, the id is free again
            self._live.pop(request.request_id, None)
            raise

    def decided(self, request_id: str, seconds: float, now: float) -> None:
        """Take in how long it took to decide about a request, which no clock here can tell."""
        live = self._live.get(request_id)
        if live is not None and live.decision is not None and live.decision.predictions is not None:
            live.fleet.trust.took(seconds, now)

    def reroute(self, request_id: str, now: float) -> Action:
        """Place a request again whose dispatch failed before the first byte.

        Its endpoint is suspect from now on; the booking moves or ends.

        Raises:
            UnknownRequest: No such request is in flight.
        """
        live = self._get(request_id)
        if live.endpoint in self._states:
            self._suspects.failed(live.endpoint, now)
        return self._again(live, "unreachable", now)

    def turned_away(self, request_id: str, now: float) -> Action:
        """Place a request again that its endpoint answered it will not or cannot serve.

        Unlike after :meth:`reroute`, no scrape clears the endpoint: it answers those.

        Raises:
            UnknownRequest: No such request is in flight.
        """
        live = self._get(request_id)
        if live.endpoint in self._states:
            self._suspects.erred(live.endpoint, now)
        return self._again(live, "turned_away", now)

    def stalled(self, endpoint: str, now: float) -> None:
        """Note that an endpoint has requests and says nothing of them."""
        if endpoint in self._states:
            self._suspects.stalled(endpoint, now)

    def move(self, request_id: str, now: float) -> Action | None:
        """Place a request elsewhere whose endpoint is silent; ``None``: it stays where it is."""
        live = self._live.get(request_id)
        if live is None or live.endpoint is None:
            return None
        better = self._eligibility.has_other(live, live.endpoint, now)
        return self._again(live, "stalled", now) if better else None

    def moved(
        self, request_id: str, endpoint: str | None, now: float, *, failed: bool
    ) -> Decision | None:
        """Note that a request runs elsewhere than decided: a data plane sent it on.

        Its times count from the dispatch all the same.

        Args:
            request_id: Which request.
            endpoint: Where it is, ``None`` where nobody can tell.
            now: When that showed.
            failed: Whether it is because the endpoint decided on could not be reached.

        Returns:
            The decision as if for that endpoint, ``None`` where that was no candidate: the
            request is booked nowhere then, teaches nothing, and no prediction is of it.

        Raises:
            UnknownRequest: No such request is in flight.
        """
        live = self._get(request_id)
        if failed and live.endpoint in self._states:
            self._suspects.failed(live.endpoint, now)
        self.caches.left(request_id, computed=False, now=now)
        self._release(live, tpot_s=None)
        decision = live.decision
        if decision is None or endpoint not in decision.endpoints or endpoint not in self._states:
            live.lost()
            return None
        chosen = decision.endpoints.index(endpoint)
        decision = replace(decision, chosen=chosen, predicted_s=None, likely=None, announced=False)
        self._book(live, decision, now)
        return decision

    def first_token(self, request_id: str, now: float) -> float | None:
        """Note that a streamed request's first output token has arrived.

        Returns:
            After how long to report its :meth:`progress`, ``None`` for never.

        Raises:
            UnknownRequest: No such request is in flight.
        """
        live = self._get(request_id)
        if live.endpoint is None or live.dispatched_s is None or live.first_token_s is not None:
            return None
        live.first_token_s = now
        ttft_s = now - live.dispatched_s
        self._accounting.first_token(request_id, live.endpoint, ttft_s=ttft_s)
        self._suspects.succeeded(live.endpoint)
        self._lessons.first_token(live, ttft_s=ttft_s, now=now)
        return early_label_s(live, self._settings)

    def progress(self, request_id: str, token_events: int, now: float) -> bool:
        """Note how far a stream has come, some seconds after its first token.

        Args:
            request_id: Which request.
            token_events: Events with output tokens so far, the first one included.
            now: When the last of these came.

        Returns:
            Whether that was enough; if not, tell again after a few more.

        Raises:
            UnknownRequest: No such request is in flight.
        """
        live = self._get(request_id)
        least = self._settings.early_label_tokens
        return self._lessons.progress(live, token_events, now, least_tokens=least)

    def finished(self, request_id: str, measurement: Measurement, now: float) -> RequestRecord:
        """End a request, whatever became of it, and learn from it.

        Raises:
            UnknownRequest: No such request is in flight: it ended already.
        """
        live = self._get(request_id)
        if request_id in self._queue:
            self._queue.leave(request_id, now)
        record = live.record(measurement, now)
        del self._live[request_id]
        self.caches.left(request_id, computed=measurement.outcome == "completed", now=now)
        if live.endpoint is not None:
            if live.endpoint in self._states:
                self._suspects.judge(live.endpoint, live.fleet.model, measurement, now)
            if measurement.outcome == "completed":
                self._learn(live, record)
            self._release(live, tpot_s=record.tpot_s)
        note_kept(live, record, now)
        return record

    def tick(self, now: float) -> Iterator[Dispatch | Shed]:
        """Release waiting requests that can go, give up those that waited too long.

        Each action is to be carried out as it comes: should a later one fail, none is lost.
        """
        self._lessons.tell_overdue(self._live, now)
        yield from self._queue.release(now, self._attempt, self._shed)

    # How

    def _take_in(self, state: EndpointState, before: EndpointState | None) -> None:
        name = state.endpoint
        self._table.see(state)
        restarted = before is not None and state.up and has_restarted(before, state)
        if restarted:
            self.caches.clear(name)  # its cache is empty again
            self._affinity.forget(name)
        self._affinity.see(state)
        if state.up and state.scraped_s is not None:
            self._suspects.seen_up(name, state.scraped_s)
            self._suspects.seen(state, still_after_s=self._settings.still_after_s)
        if state.model is not None:
            fleet = self._fleets.of_model(state.model)
            first = restarted or not fleet.warm_up.knows(name)
            if first and state.up and state.scraped_s is not None:
                fleet.warm_up.came(name, state.scraped_s)
            ratio = fleet.token_ratio
            self.caches.resize(state, block_tokens=BLOCK_BYTES / ratio.bytes_per_token)
