"""Several workers in virtual time, behind the face of one scheduler.

The production parts of each (scheduler, predictor, shared table) with what connects them
played: words and lessons come after as long as they do in service, bookings by the real
table. Requests come to the workers by chance, whoever sends them: a conversation meets
another worker with every turn, which is the worst that can happen to what is not shared.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Final, cast

from benchmarks.workers.face import SeveralSchedulers
from foretoken.simulation.arms import Arm, Brain, VirtualTrainer
from foretoken.workers.bus import COLLECT_S, LESSONS_S
from foretoken.workers.predictor import SharingPredictor
from foretoken.workers.spec import divided_scheduler
from foretoken.workers.table import SharedTable
from predictor import LatencyPredictor, ModelSnapshot, PredictorSettings, PreparedModel
from predictor.types import Observation
from scheduler import (
    POLICIES,
    FleetFactory,
    Scheduler,
    SchedulerSettings,
    build_policy,
)
from scheduler.peers import PeerScheduler
from scheduler.words import Queued, Shown, Word

UNDER_WAY_S: Final = 0.001
"""A frame, besides the time it waits for more."""


Item = Word | Queued | Observation
"""What one worker tells the others."""


class Post:
    """Carry words and lessons between workers, after as long as it takes in service."""

    def __init__(self) -> None:
        self.now = 0.0
        self._sent = count()
        self._under_way: list[tuple[float, int, int, Item]] = []

    def send(self, worker: int, item: Item) -> None:
        """Send something to all others; what only teaches waits as long as it ever does."""
        waits_s = LESSONS_S if isinstance(item, Observation | Shown) else COLLECT_S
        due_s = self.now + waits_s + UNDER_WAY_S
        heappush(self._under_way, (due_s, next(self._sent), worker, item))

    def due(self, now: float) -> Iterator[tuple[int, Item]]:
        """Give what has come by now, and from whom."""
        self.now = max(self.now, now)
        while self._under_way and self._under_way[0][0] <= now:
            _, _, worker, item = heappop(self._under_way)
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
        table = SharedTable.create(self.workers)
        own = divided_scheduler(settings, self.workers)
        schedulers = [
            PeerScheduler(
                settings=own,
                make_fleet=lambda model, worker=worker: replace(  # type: ignore[misc]  # mypy knows no defaults here
                    make_fleet(model), predictor=self.predictors[worker]
                ),
                rng=Random(f"{rng.random()} {worker}"),
                ledger=SharedTable(table.descriptor, workers=self.workers, worker=worker),
                herald=Herald(self.post, worker),
                order=partial(self.post.send, worker),
            )
            for worker in range(self.workers)
        ]

        def deliver(now: float) -> None:
            for worker, item in self.post.due(now):
                for other, scheduler in enumerate(schedulers):
                    if other == worker:
                        continue
                    if isinstance(item, Observation):
                        self.predictors[other].hear(item)
                        scheduler.heard_lesson(item)
                    else:
                        scheduler.heard(worker, item, now)

        several = SeveralSchedulers(
            schedulers, deal=lambda _: rng.randrange(self.workers), deliver=deliver
        )
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
