"""One process among those that place requests on the same endpoints.

Others may be workers of this router, on one machine, or routers elsewhere; each kind has
its own way of carrying what is told. What is told, and what is done with what is heard, is
the same for both and is here. Made before the service, which it is given to hold once that
is built; whoever is alone needs none of it.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from starlette.types import ASGIApp

from collectors import EndpointSettings
from foretoken.background import Job
from foretoken.clock import unix_clock
from foretoken.routers.frames import Told
from foretoken.routers.outside import LOOK_S, Outside, own_name, store_id
from foretoken.routers.server import check_installed
from foretoken.service import Service
from foretoken.settings import Settings
from foretoken.trainer import Trainer
from foretoken.trainer_protocol import Report
from foretoken.workers.messages import Fed, Lesson, Trained, lesson_of, observation_of
from foretoken.workers.predictor import SharingPredictor
from foretoken.workers.trainer import SharedTrainer
from models_store import Place
from predictor import LatencyPredictor, PredictorSettings
from predictor.types import EndpointState, Observation
from proxy import Encoding
from scheduler import FleetFactory, Scheduler
from scheduler.bookings import Ledger
from scheduler.peers import PeerScheduler
from scheduler.turns import Writer
from scheduler.words import Queued, Suspected, Word

if TYPE_CHECKING:  # one worker loads nothing of what several need
    from foretoken.workers.whole import WholeControl

PACE_S: Final = 1.0
"""How often we look how many routers there are."""


class Carrier(Protocol):
    """Carry what we tell to others of one kind."""

    def tell(self, message: Told) -> None:
        """Tell all of them, soon."""
        ...


async def while_set(event: asyncio.Event, job: Callable[[], Awaitable[None]]) -> None:
    """Run a job whenever an event is set, and end it when that is not."""
    while True:
        await event.wait()
        task = asyncio.ensure_future(job())
        try:
            while event.is_set() and not task.done():
                await asyncio.wait({task}, timeout=LOOK_S)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


class Peer:
    """Connect one process's service with the others.

    Args:
        clock: The service's.
        ledger: Holds everyone's bookings.
        carriers: Take what we tell.
        outside: Connects us with other routers, ``None`` where there are none.
        seed: Of ours, among those of all: they must not break their ties alike.

    Attributes:
        clock: As above.
        outside: As above.
        worker: Our number among the processes of this router, ``None`` where it has one.
        order: Tells the others of this router whose turn it is, ``None`` where there are none.
    """

    worker: int | None = None
    order: Callable[[Queued], None] | None = None

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        ledger: Ledger,
        carriers: Sequence[Carrier],
        outside: Outside | None,
        seed: str,
    ) -> None:
        self.clock = clock
        self.outside = outside
        self._ledger = ledger
        self._carriers = tuple(carriers)
        self._seed = seed
        self._service: Service | None = None
        self._seen: dict[str, EndpointState] = {}
        self._catching_up = False
        self._call_soon: Callable[[Callable[[], None]], object] | None = None
        self._always = asyncio.Event()
        self._always.set()
        if outside is not None:
            outside.on_lease = self._on_lease

    # What the service is built with

    def scheduler(self, settings: Settings, make_fleet: FleetFactory) -> Scheduler:
        """Make a scheduler that counts what the others have in flight."""
        seed = None if settings.seed is None else f"{settings.seed} {self._seed}"
        return PeerScheduler(
            settings=settings.scheduler,
            make_fleet=make_fleet,
            rng=random.Random(seed),
            ledger=self._ledger,
            herald=self,
            order=self.order,
            later=self._later,
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
            leads=self.training.is_set,
            hand_on=self._hand_on,
        )

    def arrange(self, jobs: Sequence[Job]) -> list[Job]:
        """Let the trainer run while we train for all, and share beside it."""
        training = self.training
        arranged = [
            (name, partial(while_set, training, job) if name == "trainer" else job)
            for name, job in jobs
        ]
        if self.outside is not None:
            arranged.append(("routers", partial(self.outside.run, self, self.stands)))
            arranged.append(("pace", self._keep_pace))
        return arranged

    def hold(
        self,
        service: Service,
        *,
        control: ASGIApp,  # noqa: ARG002  # asked by siblings, of which there may be none
        page: Callable[[Encoding], Awaitable[bytes]],  # noqa: ARG002  # likewise
        snapshot: Callable[[float], bytes],  # noqa: ARG002  # likewise
    ) -> None:
        """Take in the service, and who answers for this process alone."""
        self._service = service

    def control(
        self,
        control: ASGIApp,  # noqa: ARG002  # made for all by whoever has siblings
        *,
        settings: Settings,  # noqa: ARG002  # likewise
        closing: asyncio.Event,  # noqa: ARG002  # likewise
    ) -> "WholeControl | None":
        """Make the control plane of all workers, ``None`` where there is one."""
        return None

    # Who we are among the others

    @property
    def elects(self) -> bool:
        """Say whether one router trains for all: others can read what it publishes."""
        return self.outside is not None and self.outside.shares_store

    @property
    def training(self) -> asyncio.Event:
        """Give what is set while our trainer is that of all who read our store."""
        return self.outside.lease.held if self.outside and self.elects else self._always

    def stands(self) -> bool:
        """Say whether we would train for all routers."""
        return self.elects and self._service is not None and self._service.trainer is not None

    # What others ask of us (Herald, Ear)

    def tell(self, word: Word) -> None:
        """Tell the other schedulers something."""
        for carrier in self._carriers:
            carrier.tell(word)

    def heard(self, writer: Writer, message: Told | Queued | Fed) -> None:
        """Take in a message of another."""
        service = self._service
        if service is None:
            return
        if isinstance(message, Word | Queued):
            if isinstance(service.scheduler, PeerScheduler):
                service.scheduler.heard(writer, message, self.clock())
            return
        match message:
            case Lesson():
                self._heard_lesson(service, writer, observation_of(message))
            case Fed(lesson):
                if self.training.is_set() and service.trainer is not None:
                    service.trainer.feed(observation_of(lesson))
            case Trained(report):
                service.models.heard(report, self.clock())

    def lost(self, writer: Writer) -> None:
        """Forget what another that is gone had promised."""
        if self._service is not None and isinstance(self._service.scheduler, PeerScheduler):
            self._service.scheduler.lost(writer)

    def decreed(self, endpoint: str, *, draining: bool) -> None:
        """Do what somebody at another router wants of an endpoint."""
        service = self._service
        if service is None or endpoint not in service.scheduler.states:
            return  # it is done when the endpoint shows up
        service.membership.drain(endpoint, draining=draining)  # one that leaves goes on leaving

    def on_drain(self, endpoint: str, *, draining: bool) -> None:
        """Let all routers know what somebody here wants of an endpoint."""
        if self.outside is not None and not self._catching_up:
            self.outside.exchange.decree(endpoint, draining=draining)

    def on_states(self, states: tuple[EndpointState, ...]) -> None:
        """Take in what our own scraper knows."""
        if self._service is None:
            return
        self._service.on_states(states)
        before, self._seen = self._seen, {state.endpoint: state for state in states}
        for state in states:
            known = before.get(state.endpoint)
            if known is not state:
                self._look_at(state, known)

    def on_found(self, source: str, endpoints: Sequence[EndpointSettings]) -> None:
        """Take in what a source of discovery has found."""
        if self._service is not None:
            self._service.membership.found(source, endpoints)

    # How

    def _look_at(self, state: EndpointState, before: EndpointState | None) -> None:
        """Tell of an endpoint that went down; drain what was to be before it showed up here."""
        if before is not None and before.up and not state.up:
            self.tell(Suspected(state.endpoint, "unreachable"))
        outside = self.outside
        if outside is None or state.draining:
            return
        if outside.exchange.decrees.draining(state.endpoint):
            # Later: whoever told us of these states is not done with them.
            loop = asyncio.get_running_loop()
            loop.call_soon(partial(self.decreed, state.endpoint, draining=True))

    def obey_all(self) -> None:
        """Do with every endpoint what is wanted of it as far as is known."""
        service, outside = self._service, self.outside
        if service is None or outside is None:
            return
        for state in service.scraper.states:
            wanted = outside.exchange.decrees.draining(state.endpoint)
            if wanted is not None and wanted is not state.draining:
                self.decreed(state.endpoint, draining=wanted)

    def _heard_lesson(self, service: Service, writer: Writer, seen: Observation) -> None:
        predictor = service.models.predictors.get(seen.model)
        if isinstance(predictor, SharingPredictor):
            predictor.hear(seen)
        # Other routers may have models of their own.
        if isinstance(writer, int) and isinstance(service.scheduler, PeerScheduler):
            service.scheduler.heard_lesson(seen)

    def _later(self, call: Callable[[], None]) -> None:
        """Call at the end of the event loop's turn, at once before it runs."""
        if self._call_soon is None:  # asking for the loop asks the system who we are
            try:
                self._call_soon = asyncio.get_running_loop().call_soon
            except RuntimeError:
                call()
                return
        self._call_soon(call)

    def _tell_lesson(self, observation: Observation) -> None:
        lesson = lesson_of(observation)
        for carrier in self._carriers:
            carrier.tell(lesson)

    def _hand_on(self, observations: Sequence[Observation]) -> int:
        feed = self.outside.exchange.feed if self.outside else lambda _: False
        return sum(not feed(Fed(lesson_of(each))) for each in observations)

    def _on_report(self, on_report: Callable[[Report], None], report: Report) -> None:
        on_report(report)
        for carrier in self._carriers:
            carrier.tell(Trained(report))

    def _on_lease(self) -> None:
        """Let the trainer's own process know until when it may publish."""
        service, outside = self._service, self.outside
        if service is not None and service.trainer is not None and outside is not None:
            service.trainer.lead_until(outside.lease.until_s)
            outside.exchange.token = outside.lease.token

    async def _keep_pace(self) -> None:
        """Divide among routers what each teaches all of them; forget whom nobody has any more."""
        while True:
            service, outside = self._service, self.outside
            if service is not None and outside is not None:
                settings = service.scheduler.settings
                share = settings.learned_requests_per_s / (1 + len(outside.exchange.routers))
                for fleet in service.scheduler.fleets.values():
                    fleet.pace.most_per_s = share
                outside.exchange.decrees.follow(service.scheduler.states, self.clock())
            await asyncio.sleep(PACE_S)


def lone_peer(settings: Settings) -> Peer | None:
    """Make the peer of a router of one process, ``None`` where it knows of no other router.

    Raises:
        ConfigurationInvalid: They cannot meet where they are to.
    """
    if settings.routers.url is None:
        return None
    clock = unix_clock()
    outside = outside_of(settings, worker=0, clock=clock)
    return Peer(
        clock=clock,
        ledger=outside.rows,
        carriers=(outside.exchange,),
        outside=outside,
        seed=outside.exchange.name.router,
    )


def outside_of(
    settings: Settings, *, worker: int, clock: Callable[[], float], private: bool = False
) -> Outside:
    """Make what connects a process with other routers.

    Args:
        settings: Where they meet.
        worker: Our number within our router.
        clock: The service's.
        private: Whether nobody else reads our models store, wherever it is.

    Raises:
        ConfigurationInvalid: They cannot meet where they are to.
    """
    check_installed(settings.routers)
    return Outside(
        settings.routers,
        router=settings.routers.name or own_name(),
        worker=worker,
        store=None if private else store_id(settings.store_dir),
        clock=clock,
    )
