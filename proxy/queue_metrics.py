"""What is published of the requests that wait, and of the room that endpoints have.

Read when somebody scrapes us. Constructed by ``build``.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from math import isnan
from typing import Final, get_args

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from scheduler import Fleet, Room, Scheduler, WaitReason

_REASONS: Final[tuple[WaitReason, ...]] = get_args(WaitReason)
_RESOURCES: Final = ("batch", "kv_cache", "compute")
_STATES: Final = ("up", "down", "draining", "suspect")


class QueueCollector(Collector):
    """Publish who waits, why, since when, and how near to its bounds the queue is.

    Args:
        scheduler: Knows it.
        clock: The clock that the scheduler is driven by.
    """

    def __init__(self, scheduler: Scheduler, clock: Callable[[], float]) -> None:
        self._scheduler = scheduler
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """Give the gauges as they are at this moment."""
        yield from self._waiting(self._clock())
        yield from self._bounds()

    def _waiting(self, now: float) -> Iterator[Metric]:
        waiting = GaugeMetricFamily(
            "foretoken_waiting_requests",
            "Requests that wait here for an endpoint, by why.",
            labels=["model_name", "tier", "reason"],
        )
        oldest = GaugeMetricFamily(
            "foretoken_oldest_wait_seconds",
            "How long the one has waited here that waits for longest; 0 where none does.",
            labels=["model_name", "tier"],
        )
        counts, since_s = Counter[tuple[str, str, WaitReason]](), dict[tuple[str, str], float]()
        settings = self._scheduler.settings
        for model in self._scheduler.fleets:
            for tier in settings.tiers:
                since_s[model, tier] = now
        for one in self._scheduler.standing():
            tier = one.tier or settings.default_tier
            counts[one.model, tier, one.reason] += 1
            since_s[one.model, tier] = min(since_s.get((one.model, tier), now), one.since_s)
        for (model, tier), first_s in since_s.items():
            oldest.add_metric([model, tier], now - first_s)
            for reason in _REASONS:
                waiting.add_metric([model, tier, reason], counts[model, tier, reason])
        yield from (waiting, oldest)

    def _bounds(self) -> Iterator[Metric]:
        settings, held_bytes = self._scheduler.settings, self._scheduler.waiting_bytes
        yield GaugeMetricFamily(
            "foretoken_waiting_bytes", "Bytes of the prompts that wait here.", value=held_bytes
        )
        used = GaugeMetricFamily(
            "foretoken_queue_used_ratio",
            "What waits here, of what may wait at most; 1: further requests are refused.",
            labels=["bound"],
        )
        bounds = (
            ("requests", self._scheduler.waiting_requests, settings.max_waiting_requests),
            ("bytes", held_bytes, settings.max_waiting_bytes),
        )
        for bound, there, most in bounds:
            used.add_metric([bound], there / most if most else 1.0)
        yield used


class CapacityCollector(Collector):
    """Publish how full endpoints and fleets are, for people and autoscalers.

    Args:
        scheduler: Knows it.
        clock: The clock that the scheduler is driven by.
    """

    def __init__(self, scheduler: Scheduler, clock: Callable[[], float]) -> None:
        self._scheduler = scheduler
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """Give the gauges as they are at this moment."""
        now = self._clock()
        families = _Families()
        for model, fleet in self._scheduler.fleets.items():
            self._add(families, model, fleet, now)
        yield from families.all

    def _add(self, families: "_Families", model: str, fleet: Fleet, now: float) -> None:
        states = Counter(dict.fromkeys(_STATES, 0))
        worst, spare = list[float](), list[float]()
        for name, room in self._scheduler.rooms(fleet, now).items():
            state = self._state(name, now)
            states[state] += 1
            takes_none = state != "up"
            spare_per_s = 0.0 if takes_none else room.spare_requests_per_s
            families.add_endpoint(name, room, spare_per_s)
            spare.append(spare_per_s)
            if state != "draining":  # it is on its way out
                worst.append(1.0 if takes_none else room.worst)
        families.add_fleet(model, states, worst, spare)

    def _state(self, name: str, now: float) -> str:
        state = self._scheduler.states[name]
        if not state.up:
            return "down"
        if state.draining:
            return "draining"
        return "up" if self._scheduler.suspicion(name, now) is None else "suspect"


class _Families:
    """Declare the families; what is unknown is left out."""

    def __init__(self) -> None:
        self._used = GaugeMetricFamily(
            "foretoken_endpoint_saturation_ratio",
            "How full it is, 0 idle, 1 full, above 1 a queue: requests of the seats in its batch, "
            "KV cache in use, seconds of its engine asked for a second by the predictor.",
            labels=["endpoint", "resource"],
        )
        self._spare = GaugeMetricFamily(
            "foretoken_endpoint_spare_requests_per_second",
            "Requests like those of late that it could take on top; 0 while it takes none.",
            labels=["endpoint"],
        )
        self._fleet_used = GaugeMetricFamily(
            "foretoken_fleet_saturation_ratio",
            "Mean over its endpoints of what is fullest there, 1 for one that takes no requests.",
            labels=["model_name"],
        )
        self._fleet_spare = GaugeMetricFamily(
            "foretoken_fleet_spare_requests_per_second",
            "Requests like those of late that its endpoints could take on top.",
            labels=["model_name"],
        )
        self._endpoints = GaugeMetricFamily(
            "foretoken_fleet_endpoints",
            "Its endpoints by state.",
            labels=["model_name", "state"],
        )

    @property
    def all(self) -> tuple[GaugeMetricFamily, ...]:
        """List them."""
        return self._used, self._spare, self._fleet_used, self._fleet_spare, self._endpoints

    def add_endpoint(self, name: str, room: Room, spare_per_s: float) -> None:
        """Take in one endpoint."""
        for resource, used in zip(_RESOURCES, room[:3], strict=True):
            if not isnan(used):
                self._used.add_metric([name, resource], used)
        if not isnan(spare_per_s):
            self._spare.add_metric([name], spare_per_s)

    def add_fleet(
        self, model: str, states: Counter[str], worst: list[float], spare: list[float]
    ) -> None:
        """Take in a fleet: how full its endpoints are, and what they have to spare."""
        for state, count in states.items():
            self._endpoints.add_metric([model, state], count)
        known = [used for used in worst if not isnan(used)]
        if known:
            self._fleet_used.add_metric([model], sum(known) / len(known))
        if not any(isnan(each) for each in spare):
            self._fleet_spare.add_metric([model], sum(spare))
