"""One worker among others: what it tells them, and what it does with what they tell.

The worker that has been there for longest leads: it scrapes the endpoints and runs the
trainer, and the others take over from it within a second or two of its death. Made before
the service, which it is given to hold once that is built.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from starlette.types import ASGIApp

from collectors import EndpointSettings
from foretoken.background import Job
from foretoken.service import Service
from foretoken.settings import Settings
from foretoken.trainer import Trainer
from foretoken.trainer_protocol import Report
from foretoken.worker_metrics import worker_families
from foretoken.workers.asking import METRICS, SNAPSHOT, Asking
from foretoken.workers.bus import Bus
from foretoken.workers.messages import (
    Answered,
    Asked,
    Discovered,
    Fed,
    Journal,
    Lesson,
    Message,
    States,
    Trained,
    lesson_of,
    observation_of,
)
from foretoken.workers.predictor import SharingPredictor
from foretoken.workers.table import BEAT_S, SharedTable
from foretoken.workers.trainer import SharedTrainer
from foretoken.workers.whole import Changes, WholeControl
from models_store import Place
from predictor import LatencyPredictor, PredictorSettings
from predictor.types import EndpointState, Observation
from proxy import Encoding, page_with
from scheduler import FleetFactory, Scheduler
from scheduler.peers import PeerScheduler
from scheduler.words import Left, Sent, Shown, Word

log = logging.getLogger(__name__)

LEADERS_JOBS: Final = frozenset({"discovery", "scraper", "trainer"})
"""Background tasks of a service that only the worker that leads runs."""

CATCH_UP_S: Final = 3.0
"""A worker that begins waits so long for others to tell it what was changed at run time."""


class Member:
    """Connect one worker's service with the others.

    Args:
        worker: Our number.
        table: What all share in memory.
        bus: Carries messages.
        clock: The one that all workers share.

    Attributes:
        worker: The same.
        clock: The same.
        informed: Set once an endpoint is known to be up.
    """

    def __init__(
        self, *, worker: int, table: SharedTable, bus: Bus, clock: Callable[[], float]
    ) -> None:
        self.worker = worker
        self.clock = clock
        self.informed = asyncio.Event()
        self._table = table
        self._bus = bus
        self._asking = Asking(bus)
        self._changes = Changes()
        self._leader: int | None = None  # nobody yet
        self._leading = asyncio.Event()
        self._service: Service | None = None
        self._told: dict[str, EndpointState] = {}
        self._found: dict[str, Discovered] = {}
        self._beats: list[Callable[[], None]] = []

    # What the service is built with

    def scheduler(self, settings: Settings, make_fleet: FleetFactory) -> Scheduler:
        """Make a scheduler that counts what the others have in flight."""
        seed = None if settings.seed is None else f"{settings.seed} {self.worker}"
        return PeerScheduler(
            settings=settings.scheduler,
            make_fleet=make_fleet,
            rng=random.Random(seed),  # workers must not break their ties alike
            ledger=self._table,
            herald=self,
        )

    def predictor(self, settings: PredictorSettings) -> LatencyPredictor:
        """Make a predictor that the others learn from."""
        return SharingPredictor(settings, self._tell_lesson)

    def trainer(
        self, settings: Settings, store_dir: Place, on_report: Callable[[Report], None]
    ) -> Trainer:
        """Make our share of the one trainer."""
        return SharedTrainer(
            settings=settings.trainer,
            predictor=settings.predictor,
            store_dir=store_dir,
            keep=settings.store.keep,
            on_report=partial(self._on_report, on_report),
            leads=self._leading.is_set,
            hand_on=self._hand_on,
        )

    def arrange(self, jobs: Sequence[Job]) -> list[Job]:
        """Let the leader's tasks run while we lead, and run our own beside them."""
        arranged = [
            (name, partial(self._while_leading, job) if name in LEADERS_JOBS else job)
            for name, job in jobs
        ]
        return [*arranged, ("bus", partial(self._bus.run, self)), ("beat", self._beat)]

    def control(
        self, control: ASGIApp, *, settings: Settings, closing: asyncio.Event
    ) -> WholeControl:
        """Make the control plane of all workers around that of ours."""
        return WholeControl(
            control,
            asking=self._asking,
            crew=self,
            changes=self._changes,
            extra_page=self._own_page,
            closing=closing,
            interval_s=settings.control.snapshot_interval_s,
            most_body_bytes=settings.control.predictor.max_body_bytes,
            most_pages=settings.control.max_pages,
        )

    def hold(
        self,
        service: Service,
        *,
        control: ASGIApp,
        page: Callable[[Encoding], Awaitable[bytes]],
        snapshot: Callable[[float], bytes],
    ) -> None:
        """Take in the service, and who answers for this worker alone."""
        self._service = service
        self._asking.serve(
            control,
            {
                METRICS: lambda query: page("openmetrics" if query else "plain"),
                SNAPSHOT: lambda query: snapshot(float(query)),
            },
        )

    def at_each_beat(self, call: Callable[[], None]) -> None:
        """Have something called a few times a second."""
        self._beats.append(call)

    # What others ask of us (Crew, Herald, Listener)

    @property
    def others(self) -> Sequence[int]:
        """List the other workers that can be asked."""
        return self._bus.connected

    @property
    def leader(self) -> int | None:
        """Name the worker that leads, ``None`` for ourselves."""
        return None if self._leader == self.worker else self._leader

    def tell(self, word: Word) -> None:
        """Tell the other schedulers something."""
        self._bus.tell(word)

    def joined(self, worker: int, *, fresh: bool) -> None:
        """Tell a worker that has come what there is."""
        if self._leading.is_set():
            for found in self._found.values():  # first: of whom states are told
                self._bus.tell_one(worker, found)
        if self._leading.is_set() and self._told:
            self._bus.tell_one(worker, States(list(self._told.values())))
        if fresh and not self._bus.fresh:
            self._bus.tell_one(worker, Journal(self._changes.all()))

    def lost(self, worker: int) -> None:
        """Forget what a worker that is gone had promised."""
        service = self._service
        if service is not None and isinstance(service.scheduler, PeerScheduler):
            service.scheduler.lost(worker)
        self._elect()

    def heard(self, worker: int, message: Message) -> None:
        """Take in a message of another worker."""
        service = self._service
        if service is None:
            return
        if isinstance(message, Sent | Left | Shown):
            if isinstance(service.scheduler, PeerScheduler):
                service.scheduler.heard(worker, message)
        elif isinstance(message, Asked | Answered | Journal):
            self._heard_question(worker, message)
        else:
            self._heard_news(service, message)

    def on_states(self, states: tuple[EndpointState, ...]) -> None:
        """Take in what our own scraper knows, and tell the others if we lead."""
        service = self._service
        if service is None:
            return
        service.on_states(states)
        if any(state.up and state.model is not None for state in states):
            self.informed.set()
        before, self._told = self._told, {state.endpoint: state for state in states}
        if self._leading.is_set():
            changed = [state for state in states if before.get(state.endpoint) is not state]
            if changed:
                self._bus.tell(States(changed))

    def on_found(self, source: str, endpoints: Sequence[EndpointSettings]) -> None:
        """Take in what a source of ours has found, having told the others, as we lead."""
        written = [endpoint.model_dump_json() for endpoint in endpoints]
        self._found[source] = Discovered(source, written)
        self._bus.tell(self._found[source])
        if self._service is not None:
            self._service.membership.found(source, endpoints)

    # How

    def _heard_news(self, service: Service, news: Message) -> None:
        leads = self._leading.is_set()
        match news:
            case Lesson():
                predictor = service.models.predictors.get(news.model)
                if isinstance(predictor, SharingPredictor):
                    predictor.hear(observation_of(news))
            case Fed(lesson):
                if leads and service.trainer is not None:
                    service.trainer.feed(observation_of(lesson))
            case States(states):
                if not leads:
                    service.scraper.adopt(states)
            case Discovered(source, written):
                if not leads:
                    self._found[source] = news
                    found = [EndpointSettings.model_validate_json(one) for one in written]
                    service.membership.found(source, found)
            case Trained(report):
                service.models.heard(report, self.clock())
            case _:
                pass

    def _heard_question(self, worker: int, message: Asked | Answered | Journal) -> None:
        if isinstance(message, Answered):
            self._asking.answered(worker, message)
        elif isinstance(message, Asked):
            if message.method not in {"GET", "HEAD"} and not _is_private(message.path):
                self._changes.add(message)
            self._asking.asked(worker, message)
        elif self._bus.fresh:
            self._bus.fresh = False
            self._catch_up(message.changes)

    def _catch_up(self, changes: Sequence[Asked]) -> None:
        for change in changes:
            self._changes.add(change)

        async def play() -> None:
            for change in changes:
                answer = await self._asking.self(change)
                level = logging.INFO if answer.status < 300 else logging.ERROR
                told = {"path": change.path, "status": answer.status}
                log.log(level, "change_taken_over", extra=told)

        self._playing = asyncio.create_task(play())

    def _tell_lesson(self, observation: Observation) -> None:
        self._bus.tell(lesson_of(observation))

    def _hand_on(self, observation: Observation) -> bool:
        if self._leader not in self._bus.connected:
            return False
        self._bus.tell(Fed(lesson_of(observation)))
        return True

    def _on_report(self, on_report: Callable[[Report], None], report: Report) -> None:
        on_report(report)
        self._bus.tell(Trained(report))

    async def _beat(self) -> None:
        began_s = self.clock()
        self._table.join(began_s)
        if self._service is not None and not self._told:
            # Drains may be told before the first scrape is: their endpoints must be known.
            self.on_states(self._service.scraper.states)
        while True:
            now = self.clock()
            self._table.beat(now)
            self._elect()
            if now - began_s > CATCH_UP_S:
                self._bus.fresh = False  # nobody knew more
            for call in self._beats:
                call()
            await asyncio.sleep(BEAT_S)

    def _elect(self) -> None:
        before, self._leader = self._leader, self._table.eldest(self.clock())
        if self._leader == before:
            return
        log.info("worker_leads", extra={"worker": self.worker, "leader": self._leader})
        if self._leader == self.worker:
            self._leading.set()
        else:
            self._leading.clear()

    async def _while_leading(self, job: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._leading.wait()
            task = asyncio.ensure_future(job())
            try:
                while self._leading.is_set() and not task.done():
                    await asyncio.wait({task}, timeout=BEAT_S)
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    def _own_page(self, answered: set[int], encoding: Encoding) -> bytes:
        there, restarts = answered | {self.worker}, self._table.restarts()
        workers = range(len(restarts))
        families = worker_families(
            up=[worker in there for worker in workers],
            leads=[worker == self._leader for worker in workers],
            connections=self._table.connections(),
            restarts=restarts,
        )
        return page_with(families, encoding)


def _is_private(path: str) -> bool:
    """Say whether a path is none that changes what all workers do."""
    return path.startswith("/foretoken/predictor/") or path == "/foretoken/reload"
