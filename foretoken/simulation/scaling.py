"""A fleet that grows and shrinks in virtual time, as an autoscaler asks for.

Plays what Kubernetes does with a Deployment of vLLM: an endpoint that is asked for serves
after its start, one that is too many gets no further requests and is gone once it has
answered those it had. Decides how a wish becomes a number of endpoints, by the rules of the
horizontal pod autoscaler; what to wish for is the scaler's. Endpoints are paid for from
being asked for to being gone.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final, Literal, Protocol

from foretoken.simulation.endpoint import VirtualEndpoint
from foretoken.simulation.run import Simulation
from predictor.types import EndpointState
from scheduler import Scheduler

LOOK_S: Final = 15.0
"""Between two looks: the autoscaler's default, KEDA's polling is slower (30 s)."""

TOLERANCE: Final = 0.1
"""A wish within this ratio of what there is changes nothing: the autoscaler's default."""

UP_RATIO: Final = 2.0
UP_ENDPOINTS: Final = 4
"""It adds at most so many at a look, or grows by this factor, whichever is more: likewise."""

Place = Literal["off", "starting", "serving", "leaving"]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Show a scaler what it may look at.

    Attributes:
        scheduler: The router's.
        endpoints: Started or starting, none that leave.
        waiting_requests: Not started by any endpoint, or held by the router.
        running_requests: In batches.
        now: Virtual time.
    """

    scheduler: Scheduler
    endpoints: int
    waiting_requests: float
    running_requests: float
    now: float


class Scaler(Protocol):
    """Wish for a number of endpoints."""

    def wanted(self, view: View) -> float | None:
        """Give how many, a fraction included; ``None`` to leave it as it is."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingRules:
    """Say within which bounds a fleet is scaled.

    Attributes:
        first: Endpoints at the start.
        least: Fewest endpoints.
        most: Most endpoints.
        start_s: Shortest and longest time from asking for an endpoint to its first request.
        down_after_s: The largest wish of so long decides on shrinking: 300 s by default.
    """

    first: int
    least: int
    most: int
    start_s: tuple[float, float] = (60.0, 120.0)
    down_after_s: float = 300.0


@dataclass(slots=True, kw_only=True)
class Spent:
    """Tell what a run's endpoints cost.

    Attributes:
        endpoint_s: Seconds of all endpoints, from being asked for to being gone.
        counts: When the number asked for changed, and to what.
        starts: Endpoints started after the beginning.
    """

    endpoint_s: float = 0.0
    counts: list[tuple[float, int]] = field(default_factory=list)
    starts: int = 0


class Replicas:
    """Turn wishes into a number of endpoints, as the horizontal pod autoscaler does.

    >>> replicas = Replicas(ScalingRules(first=2, least=1, most=9, down_after_s=60.0))
    >>> [replicas.after(2, wish, now) for wish, now in ((2.1, 0.0), (3.0, 15.0), (9.0, 30.0))]
    [2, 3, 6]
    >>> [replicas.after(6, 1.0, now) for now in (45.0, 80.0, 91.0)]
    [6, 6, 1]
    """

    def __init__(self, rules: ScalingRules) -> None:
        self._rules = rules
        self._wishes: deque[tuple[float, int]] = deque()

    def after(self, present: int, wish: float, now: float) -> int:
        """Give how many there are to be."""
        rules = self._rules
        wanted = present
        if abs(wish / present - 1.0) > TOLERANCE:
            wanted = math.ceil(wish - 1e-9)
        wanted = min(max(wanted, rules.least), rules.most)
        wanted = min(wanted, max(round(present * UP_RATIO), present + UP_ENDPOINTS))
        self._wishes.append((now, wanted))
        while self._wishes[0][0] < now - rules.down_after_s:
            self._wishes.popleft()
        if wanted >= present:
            return wanted
        return min(present, max(count for _, count in self._wishes))


class ScaledSimulation(Simulation):
    """Play a run whose fleet changes; its fleet file tells the endpoints there may be.

    Args:
        scaler: Wishes.
        rules: Bounds.
        spent: Filled in with what endpoints cost.
        seed: Of the times that endpoints take to start, too.
        rest: As of any run.
    """

    def __init__(
        self,
        *,
        scaler: Scaler,
        rules: ScalingRules,
        spent: Spent,
        seed: int,
        **rest: Any,  # noqa: ANN401  # what a run is made of is its own matter
    ) -> None:
        self._place: dict[str, Place] = {}
        super().__init__(seed=seed, **rest)
        self._scaler, self._rules, self._spent = scaler, rules, spent
        self._replicas = Replicas(rules)
        self._starts = Random(f"{seed} starts")
        self._since_s: dict[str, float] = {}
        for number, (name, endpoint) in enumerate(self.endpoints.items()):
            self._place[name] = "serving" if number < rules.first else "off"
            if number < rules.first:
                self._since_s[name] = 0.0
            else:
                endpoint.leave()
        spent.counts.append((0.0, rules.first))
        self._at(LOOK_S, self._look)

    def run(self, progress: Callable[[float], None] | None) -> bool:
        """Play to the end; tell whether it had to be cut."""
        truncated = super().run(progress)
        for name in list(self._since_s):
            self._pay(name, self.world.now_s)
        return truncated

    def _states(self, now: float) -> list[EndpointState]:
        shown = []
        for name, endpoint in self.endpoints.items():
            place = self._place.get(name, "off")
            if place == "leaving" and _is_empty(endpoint) and not self._is_awaited(name):
                self._place[name] = "off"
                endpoint.leave()
                self._pay(name, now)
            elif place in {"serving", "leaving"}:
                state = endpoint.state(now)
                shown.append(replace(state, draining=True) if place == "leaving" else state)
        return shown

    def _look(self, now: float) -> None:
        present = sum(place in {"serving", "starting"} for place in self._place.values())
        wish = self._scaler.wanted(self._view(present, now))
        if wish is not None:
            wanted = self._replicas.after(present, wish, now)
            if wanted != present:
                self._spent.counts.append((now, wanted))
                (self._grow if wanted > present else self._shrink)(abs(wanted - present), now)
        self._at(now + LOOK_S, self._look)

    def _view(self, present: int, now: float) -> View:
        there = [self.endpoints[name] for name, place in self._place.items() if place != "off"]
        return View(
            scheduler=self._scheduler,
            endpoints=present,
            waiting_requests=self._scheduler.waiting_requests
            + sum(one.engine.waiting_requests for one in there),
            running_requests=sum(one.engine.running_requests for one in there),
            now=now,
        )

    def _grow(self, count: int, now: float) -> None:
        off = [name for name, place in self._place.items() if place == "off"]
        for name in off[:count]:
            self._place[name] = "starting"
            self._since_s[name] = now
            self._spent.starts += 1
            self._at(now + self._starts.uniform(*self._rules.start_s), self._ready(name, now))

    def _ready(self, name: str, asked_s: float) -> Callable[[float], None]:
        def ready(now: float) -> None:
            if self._place[name] == "starting" and self._since_s.get(name) == asked_s:
                self._place[name] = "serving"
                self.endpoints[name].restart(now)
                self.world.engines[name] = self.endpoints[name].engine

        return ready

    def _shrink(self, count: int, now: float) -> None:
        """Take those away first that do not serve yet, then the youngest."""
        there = [name for name, place in self._place.items() if place in {"starting", "serving"}]
        there.sort(key=lambda name: (self._place[name] != "starting", -self._since_s[name]))
        for name in there[:count]:
            if self._place[name] == "starting":
                self._place[name] = "off"
                self._pay(name, now)
            else:
                self._place[name] = "leaving"

    def _is_awaited(self, name: str) -> bool:
        """Say whether a request is under way that was sent there."""
        return name in self._sent_to.values()

    def _pay(self, name: str, now: float) -> None:
        self._spent.endpoint_s += now - self._since_s.pop(name)


def _is_empty(endpoint: VirtualEndpoint) -> bool:
    return not endpoint.engine.running_requests and not endpoint.engine.waiting_requests
