"""Recorded requests played again where they ran, when they were sent there.

No router takes part: each endpoint is one engine, and what comes out is what the fitted
step times alone make of the recording. Called by the fit, and by the judge of it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from foretoken.replay.demand import Demand
from foretoken.simulation.outcome import Outcome
from simulator.engine import Engine
from simulator.fleets import EndpointSpec
from simulator.playback import play
from simulator.types import Completion, SimRequest

WITHOUT_NOISE: Final = {"step_noise_sigma": 0.0, "stall_share": 0.0}
"""Engine settings under which the same requests take the same time: what a fit needs."""

Arrivals = Sequence[tuple[float, SimRequest]]
"""Dispatches to one endpoint in order of time, seconds of the recording."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Hold the requests that ran somewhere, by where.

    Attributes:
        arrivals: By endpoint.
    """

    arrivals: dict[str, Arrivals]

    def until(self, at_s: float) -> "Placed":
        """Give those that were sent before a time."""
        return Placed(
            arrivals={
                name: [one for one in arrivals if one[0] < at_s]
                for name, arrivals in self.arrivals.items()
            }
        )


def placed(demand: Demand, block_size: int) -> Placed:
    """Find where and when the requests of a recording were sent."""
    found: dict[str, list[tuple[float, SimRequest]]] = {}
    for one in demand.requests:
        if one.endpoint is not None and one.dispatched_s is not None:
            request = demand.sim_request(one.number, block_size)
            found.setdefault(one.endpoint, []).append((one.dispatched_s, request))
    for arrivals in found.values():
        arrivals.sort(key=lambda arrival: arrival[0])
    return Placed(arrivals=dict(found))


def play_endpoint(
    spec: EndpointSpec, arrivals: Arrivals, *, noise: bool, seed: int = 0
) -> dict[int, Completion]:
    """Play one endpoint's requests; completions by number."""
    settings = spec.engine if noise else spec.engine.model_copy(update=WITHOUT_NOISE)
    engine = Engine(spec.profile, settings, Random(f"{seed} {spec.name}"))
    return {int(name): done for name, done in play(engine, arrivals).items()}


def replayed(
    demand: Demand, where: Placed, specs: Iterable[EndpointSpec], *, seed: int
) -> tuple[Outcome, ...]:
    """Give every request that ran as its client would have seen it, at the recorded place."""
    outcomes = {one.number: recorded_outcome(demand, one.number) for one in demand.requests}
    for spec in specs:
        arrivals = where.arrivals.get(spec.name, ())
        sent_s = {int(request.request_id): at_s for at_s, request in arrivals}
        for number, done in play_endpoint(spec, arrivals, noise=True, seed=seed).items():
            waited_s = sent_s[number] - demand.requests[number].arrived_s
            outcomes[number] = replace(
                outcomes[number],
                outcome="completed",
                cached_tokens=done.cached_tokens,
                output_tokens=done.output_tokens,
                ttft_s=waited_s + done.ttft_s,
                upstream_ttft_s=done.ttft_s,
                tpot_s=done.tpot_s,
                e2e_s=waited_s + done.e2e_s,
                preemptions=done.preemptions,
            )
    return tuple(outcomes.values())


def recorded_outcome(demand: Demand, number: int) -> Outcome:
    """Give a request as its client saw it when it was recorded."""
    one = demand.requests[number]
    return Outcome(
        request_id=str(number),
        session_id=one.session or f"request-{number}",
        arrived_s=one.arrived_s,
        endpoint=one.endpoint,
        outcome=one.outcome,
        reason=one.reason,
        tier=one.tier,
        prompt_tokens=demand.prompt_tokens[number],
        cached_tokens=one.cached_tokens or 0,
        output_tokens=one.output_tokens or 0,
        ttft_s=one.ttft_s,
        tpot_s=one.tpot_s,
        e2e_s=one.e2e_s if one.completed else None,
        upstream_ttft_s=one.upstream_ttft_s,
        predicted_ttft_s=None,
        predicted_tpot_s=None,
        preemptions=0,
    )
