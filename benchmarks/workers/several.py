"""Several workers in virtual time, behind the face of one scheduler.

The production parts of each (scheduler, predictor, shared table) with what connects them
played: words and lessons come after as long as they do in service, bookings by the real
table. Requests come to the workers by chance, whoever sends them: a conversation meets
another worker with every turn, which is the worst that can happen to what is not shared.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from random import Random
from typing import Final, cast

from foretoken.simulation.arms import Arm, Brain, VirtualTrainer
from foretoken.workers.predictor import SharingPredictor
from foretoken.workers.spec import divided_scheduler
from foretoken.workers.table import SharedTable
from predictor import LatencyPredictor, ModelSnapshot, PredictorSettings, PreparedModel
from predictor.types import EndpointState, Measurement, Observation, RequestFeatures, RequestRecord
from scheduler import (
    POLICIES,
    Action,
    Dispatch,
    FleetFactory,
    Scheduler,
    SchedulerSettings,
    Shed,
    build_policy,
)
from scheduler.peers import PeerScheduler
from scheduler.words import Word

BUS_S: Final = 0.006
"""From telling to hearing: a frame collects for 5 ms and is a millisecond under way."""


class Post:
    """Carry words and lessons between workers, after as long as it takes in service."""

    def __init__(self) -> None:
        self.now = 0.0
        self._under_way: deque[tuple[float, int, Word | Observation]] = deque()

    def send(self, worker: int, item: Word | Observation) -> None:
        """Send something to all others."""
        self._under_way.append((self.now + BUS_S, worker, item))

    def due(self, now: float) -> Iterator[tuple[int, Word | Observation]]:
        """Give what has come by now, and from whom."""
        self.now = max(self.now, now)
        while self._under_way and self._under_way[0][0] <= now:
            _, worker, item = self._under_way.popleft()
            yield worker, item


class Herald:
    """Tell the other schedulers what one of them has to say."""

    def __init__(self, post: Post, worker: int) -> None:
        self._post, self._worker = post, worker

    def tell(self, word: Word) -> None:
        """Tell all others, soon."""
        self._post.send(self._worker, word)


class Trained(SharingPredictor):
    """Stand for all workers' predictors where a trained model is swapped in."""

    others: tuple[LatencyPredictor, ...] = ()

    def swap(self, model: ModelSnapshot | PreparedModel, version: str | None = None) -> None:
        """Let all serve a version."""
        super().swap(model, version)
        for other in self.others:
            other.swap(model, version)


class Crew:
    """Hold what the workers of one run share.

    Args:
        workers: How many.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.post = Post()
        self.predictors: list[SharingPredictor] = []

    def arm(self) -> Arm:
        """Give the arm under test, whose predictors these workers have."""
        return Arm(name="predicted_latency", build=lambda _: self._brain())

    def scheduler(
        self, *, settings: SchedulerSettings, make_fleet: FleetFactory, rng: Random
    ) -> Scheduler:
        """Make all schedulers, behind the face of one."""
        several = SeveralSchedulers(self, settings, make_fleet, rng)
        return cast("Scheduler", several)  # it has all of it that a run calls

    def _brain(self) -> Brain:
        settings = PredictorSettings()
        first = Trained(settings, self._teller(0))
        rest = [SharingPredictor(settings, self._teller(w)) for w in range(1, self.workers)]
        first.others = tuple(rest)
        self.predictors = [first, *rest]
        trainer = VirtualTrainer(first, settings)
        return Brain(
            policy=build_policy(POLICIES["predicted_latency"]),
            predictor=first,
            observe=trainer.observe,
            train=trainer.train,
        )

    def _teller(self, worker: int) -> Callable[[Observation], None]:
        return lambda seen: self.post.send(worker, seen)


class SeveralSchedulers:
    """Do what a scheduler does, by the one of several that a request came to.

    Args:
        crew: What they share.
        settings: Of the whole.
        make_fleet: Builds a fleet, with the first one's predictor.
        rng: Deals requests out, and seeds each one's own.
    """

    def __init__(
        self, crew: Crew, settings: SchedulerSettings, make_fleet: FleetFactory, rng: Random
    ) -> None:
        self._crew, self._rng = crew, rng
        table = SharedTable.create(crew.workers)
        own = divided_scheduler(settings, crew.workers)
        self._schedulers: list[PeerScheduler] = []
        for worker in range(crew.workers):
            self._schedulers.append(
                PeerScheduler(
                    settings=own,
                    make_fleet=lambda model, worker=worker: replace(  # type: ignore[misc]  # mypy knows no defaults here
                        make_fleet(model), predictor=crew.predictors[worker]
                    ),
                    rng=Random(f"{rng.random()} {worker}"),
                    ledger=SharedTable(table.descriptor, workers=crew.workers, worker=worker),
                    herald=Herald(crew.post, worker),
                )
            )
        self._at: dict[str, PeerScheduler] = {}

    @property
    def waiting_requests(self) -> int:
        """Count requests that wait at any of them."""
        return sum(each.waiting_requests for each in self._schedulers)

    @property
    def states(self) -> Mapping[str, EndpointState]:
        """Give what all know of the endpoints."""
        return self._schedulers[0].states

    def update(self, states: Iterable[EndpointState]) -> None:
        """Take in the whole present set of endpoints."""
        states = list(states)
        for each in self._schedulers:
            each.update(states)

    def route(self, request: RequestFeatures, now: float) -> Action:
        """Place a request at whichever worker it comes to."""
        self._deliver(now)
        scheduler = self._rng.choice(self._schedulers)
        self._at[request.request_id] = scheduler
        return scheduler.route(request, now)

    def reroute(self, request_id: str, now: float) -> Action:
        """Place a request again."""
        self._deliver(now)
        return self._at[request_id].reroute(request_id, now)

    def first_token(self, request_id: str, now: float) -> float | None:
        """Note a first token."""
        self._deliver(now)
        return self._at[request_id].first_token(request_id, now)

    def progress(self, request_id: str, token_events: int, now: float) -> bool:
        """Note how far a stream has come."""
        self._deliver(now)
        return self._at[request_id].progress(request_id, token_events, now)

    def finished(self, request_id: str, measurement: Measurement, now: float) -> RequestRecord:
        """End a request."""
        self._deliver(now)
        return self._at.pop(request_id).finished(request_id, measurement, now)

    def tick(self, now: float) -> Iterator[Dispatch | Shed]:
        """Let waiting requests go, at every worker."""
        self._deliver(now)
        for each in self._schedulers:
            yield from each.tick(now)

    def _deliver(self, now: float) -> None:
        crew = self._crew
        for worker, item in crew.post.due(now):
            for other, scheduler in enumerate(self._schedulers):
                if other == worker:
                    continue
                if isinstance(item, Observation):
                    crew.predictors[other].hear(item)
                else:
                    scheduler.heard(worker, item, now)
