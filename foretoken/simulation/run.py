"""The virtual-time driver: a workload, a fleet and one arm, played against each other.

Drives the production scheduler, predictor, prefix index and accounting with simulated
endpoints in place of real ones. Decides only what the world does: when requests come,
how long the way takes, what a scrape shows and how old it is. Events are taken in order
of ``(time, sequence)`` and every source of chance has its own generator, so a seed
fixes everything.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from heapq import heappop, heappush
from random import Random
from typing import Final

from foretoken.simulation.arms import Arm, production_fleet
from foretoken.simulation.endpoint import VirtualEndpoint, build_endpoints
from foretoken.simulation.outcome import Outcome, Run, ended, under_way
from foretoken.simulation.source import Source
from foretoken.simulation.world import World
from predictor.types import (
    BLOCK_BYTES,
    EndpointState,
    Measurement,
    Objective,
    RequestFeatures,
    RequestRecord,
)
from scheduler import Action, Dispatch, Scheduler, SchedulerSettings, Shed, Wait
from simulator.content import block_hashes
from simulator.fleets import Fault, FleetSpec
from simulator.traffic import Chain, TrafficRequest
from simulator.types import Completion, SimRequest, Token

BYTES_PER_TOKEN: Final = 4
"""Of simulated prompts; the router has to find out, as it does in service."""

TICK_S: Final = 0.02
"""How often the router looks at waiting requests again: the proxy's default."""

PROGRESS_RETRY_S: Final = 0.5
"""When a stream too short for an early label is looked at again."""

LEAST_RETRY_S: Final = 1.0
"""How long a client that was refused leaves off at least, whatever it would do next."""

LONGEST_TAIL: Final = 1.0
"""A run goes on for at most this many measured windows to let measured requests end."""

LEAST_TAIL_S: Final = 180.0


def simulate(
    *,
    fleet: FleetSpec,
    workload: Source,
    rate: float,
    arm: Arm,
    seed: int,
    warmup_s: float | None = None,
    measure_s: float | None = None,
    labels: bool = False,
    settings: SchedulerSettings | None = None,
    scheduler: Callable[..., Scheduler] = Scheduler,
    progress: Callable[[float], None] | None = None,
    simulation: Callable[..., "Simulation"] | None = None,
) -> Run:
    """Play one workload through one arm.

    Load goes on at the same rate until every measured request has ended, or the tail
    has become so long that the fleet is overloaded; the run is then cut.

    Args:
        fleet: Endpoints and the way to them.
        workload: What clients do.
        rate: Requests per second in an open loop, concurrent users in a closed one.
        arm: Policy and what predicts for it.
        seed: Fixes everything.
        warmup_s: Time before the measured window, ``None`` for the workload's own.
        measure_s: Length of that window, likewise.
        labels: Tell the scheduler what hardware endpoints run on. Off by default: the
            predictor's coefficients for known hardware were fitted to the tables the
            simulator's step times come from, so it would know what it cannot know.
        settings: The scheduler's, tiers among them; ``None`` for the defaults. The arm
            decides the policy whatever they say.
        scheduler: Makes the scheduler of what it is made of; several may stand in for it.
        progress: Called now and then with the share that is done, 0 to 1.
        simulation: Makes the run of what it is made of, ``None`` for :class:`Simulation`.

    Raises:
        WorkloadTooLong: A request fits not every endpoint.
        WorkloadInvalid: A trace cannot be read.
    """
    workload.check_fits(fleet.limit_tokens)
    warmup_s = workload.warmup_s if warmup_s is None else warmup_s
    measure_s = workload.measure_s if measure_s is None else measure_s
    until_s = warmup_s + measure_s + max(LEAST_TAIL_S, LONGEST_TAIL * measure_s)
    played = (simulation or Simulation)(
        fleet=fleet,
        chains=workload.chains(seed=seed, rate=rate, until_s=until_s),
        arm=arm,
        seed=seed,
        labels=labels,
        settings=settings or SchedulerSettings(),
        scheduler=scheduler,
        window=(warmup_s, warmup_s + measure_s),
        until_s=until_s,
    )
    truncated = played.run(progress)
    return Run(
        policy=arm.name,
        workload=workload.name,
        fleet=fleet.name,
        rate=rate,
        seed=seed,
        warmup_s=warmup_s,
        measure_s=measure_s,
        endpoints=tuple(played.endpoints),
        outcomes=played.outcomes(),
        engine_steps=sum(end.engine.counters.steps for end in played.endpoints.values()),
        objective_ttft_s=workload.objective.ttft_s,
        objective_tpot_s=workload.objective.tpot_s,
        ended_s=played.world.now_s,
        truncated=truncated,
    )


class Simulation:
    """One run in progress."""

    def __init__(
        self,
        *,
        fleet: FleetSpec,
        chains: list[Chain],
        arm: Arm,
        seed: int,
        labels: bool,
        settings: SchedulerSettings,
        scheduler: Callable[..., Scheduler],
        window: tuple[float, float],
        until_s: float,
    ) -> None:
        self._fleet = fleet
        self._window = window
        self._until_s = until_s
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._sequence = 0
        self._way_s = fleet.network_delay_s
        self._block_size = fleet.endpoints[0].engine.block_size  # one fleet has one
        self.endpoints = build_endpoints(fleet, seed, labels=labels, wake=self._wake)
        engines = {name: endpoint.engine for name, endpoint in self.endpoints.items()}
        self.world = World(fleet=fleet, engines=engines)
        self._brain = arm.build(self.world)
        self._tiers = settings.tiers
        self._scheduler = scheduler(
            settings=settings,
            make_fleet=lambda model: production_fleet(model, self._brain, settings),
            rng=Random(f"{seed} scheduler"),
        )
        self._chain_of: dict[str, Chain] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._sent_to: dict[str, str] = {}  # those under way, by the endpoint
        self._ttft_s: dict[str, float] = {}  # of those that the client has a token of
        self._completions: dict[str, Completion] = {}
        self._ticks = False  # whether the router will look at waiting requests by itself
        self._measured = 0  # arrived in the window and still under way
        for chain in chains:
            self._send_next(chain, None)

    def run(self, progress: Callable[[float], None] | None) -> bool:
        """Play to the end; tell whether it had to be cut."""
        self._scheduler.update(self._states(0.0))  # the router was there before the clients
        self._at(self._fleet.scrape_interval_s, self._scrape)
        if self._brain.train is not None:
            self._at(self._brain.train_every_s, partial(self._train, self._brain.train))
        for endpoint in self.endpoints.values():
            for fault in endpoint.spec.faults:
                self._plan_fault(endpoint, fault)
        end_s, events, world = self._window[1], self._events, self.world
        told_s = 0.0
        while events:
            now, _, happen = heappop(events)
            if now >= end_s and not self._measured:
                return False
            if now >= self._until_s:
                return True
            world.now_s = now
            happen(now)
            if progress is not None and now >= told_s:
                progress(min(now / end_s, 1.0))
                told_s = now + end_s / 100
        return False

    def outcomes(self) -> tuple[Outcome, ...]:
        """Give every request's outcome in order of arrival."""
        for request_id, endpoint in self._sent_to.items():  # under way at the end of the run
            self._outcomes[request_id] = replace(
                self._outcomes[request_id],
                endpoint=endpoint,
                ttft_s=self._ttft_s.get(request_id),
            )
        return tuple(self._outcomes.values())

    # Clients

    def _send_next(self, chain: Chain, ended_s: float | None) -> None:
        request = next(chain, None)
        if request is None:
            return
        self._at(request.due_s(ended_s), partial(self._arrive, chain, request))

    def _arrive(self, chain: Chain, request: TrafficRequest, now: float) -> None:
        self._sequence += 1
        request_id = request.request_id or str(self._sequence)
        segments = (*request.segments, (request.answer_id, request.output_tokens))
        self.world.requests[request_id] = SimRequest(
            request_id=request_id,
            prompt_tokens=request.prompt_tokens,
            output_tokens=request.output_tokens,
            block_hashes=block_hashes(segments, self._block_size),
            priority=request.priority,
        )
        self._chain_of[request_id] = chain
        features = RequestFeatures(
            request_id=request_id,
            arrived_s=now,
            model=self._fleet.model,
            prompt_bytes=request.prompt_tokens * BYTES_PER_TOKEN,
            max_tokens=request.max_tokens,
            streamed=True,
            block_hashes=tuple(block_hashes(request.segments, BLOCK_BYTES // BYTES_PER_TOKEN)),
            session_id=request.session_id,
            tenant=request.tenant,
            # A recorded one that is not configured counts as the default.
            tier=request.tier if request.tier in self._tiers else None,
            priority=-request.priority,  # ours grows with urgency, vLLM's falls
            objective=Objective(ttft_s=request.objective_ttft_s, tpot_s=request.objective_tpot_s),
        )
        self._outcomes[request_id] = under_way(features, request)
        self._measured += self._is_measured(now)
        self._carry_out(self._scheduler.route(features, now), now)

    def _is_measured(self, arrived_s: float) -> bool:
        return self._window[0] <= arrived_s < self._window[1]

    # The router

    def _carry_out(self, action: Action, now: float) -> None:
        match action:
            case Dispatch():
                self._sent_to[action.request_id] = action.endpoint
                if self._brain.witness is not None:
                    self._brain.witness.dispatched(action, now)
                self._after(now, partial(self._deliver, action))
            case Shed():
                retry_s = max(action.retry_after_s or 0.0, LEAST_RETRY_S)
                self._end(action.record, action.reason, now, next_s=now + retry_s)
            case Wait():
                self._tick_later(now)

    def _tick_later(self, now: float) -> None:
        if not self._ticks:
            self._ticks = True
            self._at(now + TICK_S, self._on_timer)

    def _on_timer(self, now: float) -> None:
        self._ticks = False
        self._tick(now)
        if self._scheduler.waiting_requests:
            self._tick_later(now)

    def _tick(self, now: float) -> None:
        """Let waiting requests go that can, as the proxy does whenever something changed."""
        if self._scheduler.waiting_requests:
            for action in list(self._scheduler.tick(now)):
                self._carry_out(action, now)

    def _deliver(self, action: Dispatch, now: float) -> None:
        request = self.world.requests[action.request_id]
        if not self.endpoints[action.endpoint].submit(request, now):
            self._after(now, partial(self._lose, action.request_id))

    def _attend(self, endpoint: VirtualEndpoint, now: float) -> None:
        for token in endpoint.attend(now):
            if token.index == 0 or token.completion is not None:
                self._after(now, partial(self._receive, token))

    def _receive(self, token: Token, now: float) -> None:
        request_id = token.request_id
        if token.index == 0:
            self._ttft_s[request_id] = now - self._outcomes[request_id].arrived_s
            after_s = self._scheduler.first_token(request_id, now)
            if after_s is not None and token.completion is None:
                ask = partial(self._ask_progress, request_id, self._sent_to[request_id])
                self._at(now + after_s, ask)
            if self._brain.witness is not None:
                self._brain.witness.first_token(request_id, now)
        completion = token.completion
        if completion is None:
            return
        self._completions[request_id] = completion
        measurement = Measurement(
            outcome="completed",
            prompt_tokens=completion.prompt_tokens,
            cached_tokens=completion.cached_tokens,
            output_tokens=completion.output_tokens,
            status=200,
        )
        record = self._scheduler.finished(request_id, measurement, now)
        if record.observation is not None and self._brain.observe is not None:
            self._brain.observe(record.observation)
        decision = record.decision
        self._end(record, "" if decision is None else decision.reason, now)

    def _ask_progress(self, request_id: str, endpoint: str, now: float) -> None:
        """Tell the router how far a stream has come, as its observer would."""
        if self._sent_to.get(request_id) != endpoint:
            return  # it has ended, or was lost and goes on elsewhere
        seen = self.endpoints[endpoint].progress(request_id, now - self._way_s)
        last_s = now if seen is None else seen[1] + self._way_s
        if seen is None or not self._scheduler.progress(request_id, seen[0], last_s):
            self._at(now + PROGRESS_RETRY_S, partial(self._ask_progress, request_id, endpoint))
        elif self._brain.witness is not None:
            self._brain.witness.progressed(request_id, seen[0], last_s, now)

    def _end(
        self, record: RequestRecord, reason: str, now: float, *, next_s: float | None = None
    ) -> None:
        """Close a request; its client's next may come from ``next_s`` on, or at once."""
        request_id = record.request.request_id
        if self._brain.witness is not None:
            self._brain.witness.ended(record, now)
        completion = self._completions.pop(request_id, None)
        del self.world.requests[request_id]
        self._sent_to.pop(request_id, None)
        self._ttft_s.pop(request_id, None)
        self._outcomes[request_id] = ended(self._outcomes[request_id], record, reason, completion)
        self._measured -= self._is_measured(record.request.arrived_s)
        self._send_next(self._chain_of.pop(request_id), now if next_s is None else next_s)
        self._tick(now)

    def _scrape(self, now: float) -> None:
        states = self._states(now)

        def show(now: float) -> None:
            self._scheduler.update(states)
            self._tick(now)

        if self._fleet.scrape_delay_s:
            self._at(now + self._fleet.scrape_delay_s, show)
        else:
            show(now)
        self._at(now + self._fleet.scrape_interval_s, self._scrape)

    def _states(self, now: float) -> list[EndpointState]:
        return [endpoint.state(now) for endpoint in self.endpoints.values()]

    def _train(self, train: Callable[[float], None], now: float) -> None:
        train(now)
        self._at(now + self._brain.train_every_s, partial(self._train, train))

    # Faults

    def _plan_fault(self, endpoint: VirtualEndpoint, fault: Fault) -> None:
        self._at(fault.at_s, partial(self._fail, endpoint, fault))
        if fault.ends_s is not None:
            self._at(fault.ends_s, endpoint.recover)

    def _fail(self, endpoint: VirtualEndpoint, fault: Fault, now: float) -> None:
        for request_id in endpoint.fault(fault, now):
            self._after(now, partial(self._lose, request_id))
        self.world.engines[endpoint.spec.name] = endpoint.engine  # it may be another machine

    def _lose(self, request_id: str, now: float) -> None:
        """Route again what had no token yet, as the proxy does; the rest is cut."""
        if request_id in self._ttft_s:
            record = self._scheduler.finished(request_id, Measurement(outcome="cut"), now)
            self._end(record, "cut", now)
        else:
            self._carry_out(self._scheduler.reroute(request_id, now), now)

    # Time

    def _at(self, at_s: float, happen: Callable[[float], None]) -> None:
        self._sequence += 1
        heappush(self._events, (at_s, self._sequence, happen))

    def _wake(self, endpoint: VirtualEndpoint, at_s: float) -> None:
        self._at(at_s, partial(self._attend, endpoint))

    def _after(self, now: float, happen: Callable[[float], None]) -> None:
        """Let something happen at the other end of the network."""
        if self._way_s:
            self._at(now + self._way_s, happen)
        else:
            happen(now)
