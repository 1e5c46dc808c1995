"""Oracles: policies that know every endpoint's true state and play it forward.

For each endpoint the engine's state, true output lengths included, is projected with
this request in it, at expected step times. An oracle is greedy: it does the best for the
request at hand, or for everyone there now, as if nobody came after. So it is a
reference, not a bound: a policy that keeps caches together for those still to come may do
better, and one that minimises a request's own latency does worse than good heuristics.

Requests on their way to an endpoint are not in its engine yet. Each oracle notes what it
sends where, by the rule the scheduler picks by (lowest cost, equal ones by the draw), and
counts them in until they arrive. Unknown to oracles: noise to come, faults to come, and
that an endpoint has crashed, which is left to the scheduler. What a projection itself
leaves out is listed in :mod:`simulator.projection`.

Source: the greedy oracles of the policy study (docs/decisions/scoring.md).
"""

from collections.abc import Callable, Mapping
from typing import ClassVar, Final

import numpy as np

from foretoken.simulation.world import World
from predictor.types import FloatArray
from scheduler import Policy
from scheduler.candidates import Candidates, Signal, Terms, total
from simulator.engine_state import EngineState
from simulator.projection import Coming, Projection, Projector
from simulator.types import SimRequest


class Futures:
    """Project the endpoints of one run, with those requests that are on their way there."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._projectors = {
            spec.name: Projector(spec.profile, spec.engine) for spec in world.fleet.endpoints
        }
        self._under_way: dict[str, list[Coming]] = {name: [] for name in self._projectors}

    @property
    def now_s(self) -> float:
        """Give the time."""
        return self._world.now_s

    @property
    def way_s(self) -> float:
        """Give the network delay, one way."""
        return self._world.fleet.network_delay_s

    def request(self, candidates: Candidates) -> SimRequest:
        """Give the request to place as it really is."""
        return self._world.requests[candidates.request.request_id]

    def state(self, endpoint: str) -> EngineState:
        """Give an engine's state now."""
        return self._world.engines[endpoint].snapshot(self.now_s)

    def without(self, endpoint: str, state: EngineState) -> Projection:
        """Project an endpoint as it is."""
        return self._projectors[endpoint].project(state, self._under_way_to(endpoint))

    def with_request(
        self, endpoint: str, state: EngineState, request: SimRequest, *, until: str | None = None
    ) -> Projection:
        """Project an endpoint that is sent one more request now.

        Args:
            endpoint: Its name.
            state: Its engine's state.
            request: The request.
            until: Stop once the request of this id has its first token.
        """
        coming = [*self._under_way_to(endpoint), (request, self.now_s + self.way_s)]
        return self._projectors[endpoint].project(state, coming, until=until)

    def note(self, candidates: Candidates, terms: Terms) -> None:
        """Remember where the scheduler sends the request, until it arrives."""
        chosen = int(np.lexsort((candidates.draw, total(terms)))[0])
        self.sent(candidates.names[chosen], self.request(candidates))

    def sent(self, endpoint: str, request: SimRequest) -> None:
        """Remember that a request has just been sent to an endpoint."""
        if self.way_s:
            self._under_way[endpoint].append((request, self.now_s + self.way_s))

    def _under_way_to(self, endpoint: str) -> list[Coming]:
        left = [coming for coming in self._under_way[endpoint] if coming[1] > self.now_s]
        self._under_way[endpoint] = left
        return left


class _Oracle:
    """Score each endpoint by what comes of sending the request there."""

    needs: ClassVar[frozenset[Signal]] = frozenset()  # the truth is no signal

    def __init__(self, world: World) -> None:
        self._futures = Futures(world)

    def terms(self, candidates: Candidates) -> Terms:
        """Give the named parts of what comes of it at each endpoint, ``(n,)`` seconds."""
        request = self._futures.request(candidates)
        terms = self._judge(request, candidates.names)
        self._futures.note(candidates, terms)
        return terms

    def _judge(self, request: SimRequest, endpoints: tuple[str, ...]) -> Terms:
        raise NotImplementedError


class OracleTtft(_Oracle):
    """Score the time until the request's own first token reaches the router.

    Reads the truth only; has no settings. Seconds from now, network delays included.
    """

    name: ClassVar[str] = "oracle_ttft"

    def _judge(self, request: SimRequest, endpoints: tuple[str, ...]) -> Terms:
        futures, own = self._futures, request.request_id
        firsts_s = [
            futures.with_request(name, futures.state(name), request, until=own).first_token_s[own]
            for name in endpoints
        ]
        return {"ttft": _from_now(firsts_s, futures)}


class OracleE2e(_Oracle):
    """Score the time until the request's own last token reaches the router.

    Reads the truth only; has no settings. Seconds from now, network delays included.
    """

    name: ClassVar[str] = "oracle_e2e"

    def _judge(self, request: SimRequest, endpoints: tuple[str, ...]) -> Terms:
        futures = self._futures
        ends_s = [
            futures.with_request(name, futures.state(name), request).end_s[request.request_id]
            for name in endpoints
        ]
        return {"e2e": _from_now(ends_s, futures)}


class OracleTotal(_Oracle):
    """Score the request's own end-to-end time and what it adds to everyone's there.

    Every request alive on an endpoint, or on its way there, counts by how much later its
    last token comes with this request than without it. Reads the truth only; has no
    settings. Seconds from now, network delays included.
    """

    name: ClassVar[str] = "oracle_total"

    def _judge(self, request: SimRequest, endpoints: tuple[str, ...]) -> Terms:
        futures = self._futures
        ends_s, delays_s = [], []
        for name in endpoints:
            state = futures.state(name)
            after = dict(futures.with_request(name, state, request).end_s)
            ends_s.append(after.pop(request.request_id))
            delays_s.append(sum(after.values()) - sum(futures.without(name, state).end_s.values()))
        return {"e2e": _from_now(ends_s, futures), "delay_of_others": np.array(delays_s)}


def _from_now(times_s: list[float], futures: Futures) -> FloatArray:
    elapsed: FloatArray = np.array(times_s) + (futures.way_s - futures.now_s)
    return elapsed


ORACLES: Final[Mapping[str, Callable[[World], Policy]]] = {
    oracle.name: oracle for oracle in (OracleE2e, OracleTtft, OracleTotal)
}
"""Every oracle by name."""
