"""Several routers in virtual time: the production exchange, with its wire played.

Each router has a scheduler, a predictor, an exchange and rows of its own; frames are the
real bytes, go out as the link sends them (at once, then at most every 20 ms, a whole one
twice a second) and arrive after as long as a server takes. Without sharing they are routers
that know nothing of each other: each learns from its own requests, trains its own models
and sees of the others what endpoints show when scraped.
"""

from collections import deque
from dataclasses import dataclass, replace
from random import Random
from typing import Final, Literal, cast

from benchmarks.workers.face import SeveralSchedulers
from foretoken.routers.clock import SharedClock
from foretoken.routers.exchange import Exchange
from foretoken.routers.frames import Name, Told
from foretoken.routers.link import PUBLISH_S, WHOLE_S
from foretoken.routers.rows import RouterRows
from foretoken.simulation.arms import Arm, Brain, VirtualTrainer
from foretoken.workers.messages import Fed, Lesson, Trained, lesson_of, observation_of
from foretoken.workers.predictor import SharingPredictor
from predictor import LatencyPredictor, ModelSnapshot, PredictorSettings, PreparedModel
from predictor.types import Observation, RequestFeatures
from scheduler import (
    POLICIES,
    Fleet,
    FleetFactory,
    Scheduler,
    SchedulerSettings,
    build_policy,
)
from scheduler.peers import PeerScheduler

Dealing = Literal["request", "conversation"]
"""Which router a request comes to: any by chance, or its conversation's."""

WAY_S: Final = 0.002
"""From publishing to hearing, beside what a frame waits to go out."""
CLOCKS_APART_S: Final = 0.001
"""How wrong each router's idea of the shared clock is, at most."""


@dataclass(slots=True)
class Traffic:
    """Count what routers told each other.

    Attributes:
        frames: Published.
        bytes: Of these.
        seconds: Of the run so far.
    """

    frames: int = 0
    bytes: int = 0
    seconds: float = 0.0


class Wire:
    """Carry frames between exchanges, in virtual time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.traffic = Traffic()
        self._under_way: deque[tuple[float, int, bytes]] = deque()
        self._exchanges: list[Exchange] = []
        self._due_s: list[float | None] = []
        self._sent_s: list[float] = []
        self._whole_s = 0.0

    def add(self, exchange: Exchange) -> None:
        """Connect an exchange."""
        number = len(self._exchanges)
        self._exchanges.append(exchange)
        self._due_s.append(None)
        self._sent_s.append(float("-inf"))
        exchange.on_news = lambda: self._has_news(number)
        exchange.begin()

    def deliver(self, now: float) -> None:
        """Let all hear what has reached them by now."""
        while self._whole_s <= now:
            self._move(self._whole_s)
            for exchange in self._exchanges:
                exchange.expire()
                exchange.tell_whole()
            self._whole_s += WHOLE_S
        self._move(now)

    def _move(self, now: float) -> None:
        """Play every frame that goes out or arrives by a time, in order."""
        while True:
            due = [(at_s, number) for number, at_s in enumerate(self._due_s) if at_s is not None]
            goes_s, number = min(due, default=(float("inf"), -1))
            comes_s = self._under_way[0][0] if self._under_way else float("inf")
            if min(goes_s, comes_s) > now:
                break
            if comes_s <= goes_s:
                self._arrive(*self._under_way.popleft())
            else:
                self._publish(number, goes_s)
        self.now = self.traffic.seconds = max(self.now, now)

    def _publish(self, number: int, at_s: float) -> None:
        self.now = max(self.now, at_s)
        self._due_s[number], self._sent_s[number] = None, at_s
        frame = self._exchanges[number].take()
        if frame is not None:
            self.traffic.frames += 1
            self.traffic.bytes += len(frame)
            self._under_way.append((at_s + WAY_S, number, frame))

    def _arrive(self, at_s: float, number: int, frame: bytes) -> None:
        self.now = max(self.now, at_s)
        for other, exchange in enumerate(self._exchanges):
            if other != number:
                exchange.came(frame)

    def _has_news(self, number: int) -> None:
        if self._due_s[number] is None:
            self._due_s[number] = max(self.now, self._sent_s[number] + PUBLISH_S)


class Router:
    """Hear for one router; tell for it.

    Args:
        number: Which.
        wire: Carries what it tells.
        behind_s: How far its clock is behind.
    """

    def __init__(self, number: int, wire: Wire, *, behind_s: float) -> None:
        self.rows = RouterRows()
        self.exchange = Exchange(
            name=Name(f"r{number}", 0, number),
            store="store",
            rows=self.rows,
            clock=lambda: wire.now,
            shared=SharedClock(),
        )
        self.exchange.shared.measured(asked_s=0.0, told_s=behind_s, heard_s=0.0)
        self._wire = wire
        self.predictor: SharingPredictor | None = None
        self.scheduler: PeerScheduler | None = None
        self.exchange.ear = self
        wire.add(self.exchange)

    def heard(self, writer: str, message: Told | Fed) -> None:
        """Take in what another router tells."""
        if isinstance(message, Lesson):
            if self.predictor is not None:
                self.predictor.hear(observation_of(message))
        elif not isinstance(message, Trained | Fed) and self.scheduler is not None:
            self.scheduler.heard(writer, message, self._wire.now)

    def lost(self, writer: str) -> None:
        """Go on: in a simulation nobody is."""

    def decreed(self, endpoint: str, *, draining: bool) -> None:
        """Go on: nobody says anything."""

    def tell_lesson(self, observation: Observation) -> None:
        """Let the others learn what this one does."""
        self.exchange.tell(lesson_of(observation))


class Everyone(SharingPredictor):
    """Stand for all routers' predictors where a trained model is swapped in."""

    others: tuple[LatencyPredictor, ...] = ()

    def swap(self, model: ModelSnapshot | PreparedModel, version: str | None = None) -> None:
        """Let all serve a version."""
        super().swap(model, version)
        for other in self.others:
            other.swap(model, version)


class Routers:
    """Hold the routers of one run.

    Args:
        count: How many.
        sharing: Whether they know of each other.
        dealing: Which of them a request comes to.
        seed: Of their clocks.
    """

    def __init__(self, count: int, *, sharing: bool, dealing: Dealing, seed: int) -> None:
        self.count = count
        self.sharing = sharing
        self.wire = Wire()
        self._dealing = dealing
        self._rng = Random(f"{seed} clocks")
        self._predictors: list[LatencyPredictor] = []
        self._routers: list[Router] = []
        self._trainers: list[VirtualTrainer] = []
        self._face: SeveralSchedulers | None = None

    def arm(self) -> Arm:
        """Give the arm under test, whose predictors these routers have."""
        return Arm(name="predicted_latency", build=lambda _: self._brain())

    def scheduler(
        self, *, settings: SchedulerSettings, make_fleet: FleetFactory, rng: Random
    ) -> Scheduler:
        """Make all schedulers, behind the face of one."""
        learned = settings.learned_requests_per_s / (self.count if self.sharing else 1)
        own = settings.model_copy(update={"learned_requests_per_s": learned})
        schedulers = [
            self._scheduler(number, own, make_fleet, Random(f"{rng.random()} {number}"))
            for number in range(self.count)
        ]

        def deal(request: RequestFeatures) -> int:
            if self._dealing == "conversation" and request.session_id:
                return Random(request.session_id).randrange(self.count)
            return rng.randrange(self.count)

        deliver = self.wire.deliver if self.sharing else _nothing
        self._face = several = SeveralSchedulers(schedulers, deal=deal, deliver=deliver)
        return cast("Scheduler", several)  # it has all of it that a run calls

    def _scheduler(
        self, number: int, settings: SchedulerSettings, make_fleet: FleetFactory, rng: Random
    ) -> Scheduler:
        def fleet_of(model: str) -> Fleet:
            return replace(make_fleet(model), predictor=self._predictors[number])

        if not self.sharing:
            return Scheduler(settings=settings, make_fleet=fleet_of, rng=rng)
        router = self._routers[number]
        router.scheduler = PeerScheduler(
            settings=settings,
            make_fleet=fleet_of,
            rng=rng,
            ledger=router.rows,
            herald=router.exchange,
        )
        return router.scheduler

    def _brain(self) -> Brain:
        settings = PredictorSettings()
        if self.sharing:
            self._connect(settings)
        else:
            self._predictors = [LatencyPredictor(settings) for _ in range(self.count)]
        trained = self._predictors[:1] if self.sharing else self._predictors
        self._trainers = [VirtualTrainer(predictor, settings) for predictor in trained]
        return Brain(
            policy=build_policy(POLICIES["predicted_latency"]),
            predictor=self._predictors[0],
            observe=self._observe,
            train=self._train,
        )

    def _connect(self, settings: PredictorSettings) -> None:
        for number in range(self.count):
            behind_s = self._rng.uniform(-CLOCKS_APART_S, CLOCKS_APART_S)
            self._routers.append(Router(number, self.wire, behind_s=behind_s))
        predictors = [
            (Everyone if not number else SharingPredictor)(settings, router.tell_lesson)
            for number, router in enumerate(self._routers)
        ]
        for router, predictor in zip(self._routers, predictors, strict=True):
            router.predictor = predictor
        if isinstance(predictors[0], Everyone):
            predictors[0].others = tuple(predictors[1:])
        self._predictors = list(predictors)

    def _observe(self, observation: Observation) -> None:
        """Hand an observation to the trainer of the router it was made at."""
        number = 0 if self.sharing or self._face is None else self._face.ended_at
        self._trainers[number].observe(observation)

    def _train(self, now: float) -> None:
        for trainer in self._trainers:
            trainer.train(now)


def _nothing(now: float) -> None:
    """Deliver nothing: nobody tells anything."""
