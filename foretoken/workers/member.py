"""One worker among others: what it tells them, and what it does with what they tell.

The worker that has been there for longest leads: it scrapes the endpoints and runs the
trainer, and the others take over from it within a second or two of its death. Made before
the service, which it is given to hold once that is built.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

from starlette.types import ASGIApp

from collectors import EndpointSettings
from collectors.in_step import in_step
from foretoken.background import Job
from foretoken.ledgers import Ledgers
from foretoken.peer import Peer, while_set
from foretoken.routers.frames import Told
from foretoken.routers.outside import Outside
from foretoken.service import Service
from foretoken.settings import Settings
from foretoken.trainer_protocol import frame
from foretoken.worker_metrics import worker_families
from foretoken.workers.asking import METRICS, SNAPSHOT, Asking
from foretoken.workers.bus import Bus
from foretoken.workers.messages import (
    Answered,
    Asked,
    Discovered,
    Fed,
    Gathered,
    Hello,
    Journal,
    Message,
    States,
)
from foretoken.workers.table import BEAT_S, SharedTable
from foretoken.workers.whole import Changes, WholeControl
from predictor.types import EndpointState, Observation
from proxy import Encoding, page_with
from scheduler.peers import PeerScheduler
from scheduler.turns import Writer

log = logging.getLogger(__name__)

LEADERS_JOBS: Final = frozenset({"discovery", "scraper"})
"""Background tasks of a service that only the worker that leads runs, beside the trainer."""

CATCH_UP_S: Final = 3.0
"""A worker that begins waits so long for others to tell it what was changed at run time."""


class Member(Peer):
    """Connect one worker's service with the others.

    Args:
        worker: Our number.
        table: What all share in memory.
        bus: Carries messages.
        clock: The one that all workers share.
        outside: Connects us with other routers, ``None`` where there are none.

    Attributes:
        worker: The same.
        order: Tells the others whose turn it is.
        informed: Set once an endpoint is known to be up.
    """

    def __init__(
        self,
        *,
        worker: int,
        table: SharedTable,
        bus: Bus,
        clock: Callable[[], float],
        outside: Outside | None = None,
    ) -> None:
        beyond = () if outside is None else (outside,)
        super().__init__(
            clock=clock,
            ledger=Ledgers(table, *(each.rows for each in beyond)) if beyond else table,
            carriers=(bus, *(each.exchange for each in beyond)),
            outside=outside,
            seed=str(worker),
        )
        self.worker = worker
        self.order = bus.tell
        self.informed = asyncio.Event()
        self._table = table
        self._bus = bus
        self._asking = Asking(bus)
        self._changes = Changes()
        self._leader: int | None = None  # nobody yet
        self._leading = asyncio.Event()
        self._told: dict[str, EndpointState] = {}
        self._found: dict[str, Discovered] = {}
        self._beats: list[Callable[[], None]] = []

    def arrange(self, jobs: Sequence[Job]) -> list[Job]:
        """Let the leader's tasks run while we lead, and run our own beside them."""
        arranged = [
            (name, partial(while_set, self._leading, job) if name in LEADERS_JOBS else job)
            for name, job in super().arrange(jobs)
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
        super().hold(service, control=control, page=page, snapshot=snapshot)
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

    @property
    def training(self) -> asyncio.Event:
        """Give what is set while our trainer is that of all."""
        return super().training if self.elects else self._leading

    def stands(self) -> bool:
        """Say whether we would train for all routers."""
        return self._leading.is_set() and super().stands()

    # What others ask of us (Crew, Listener)

    @property
    def others(self) -> Sequence[int]:
        """List the other workers that can be asked."""
        return self._bus.connected

    @property
    def leader(self) -> int | None:
        """Name the worker that leads, ``None`` for ourselves."""
        return None if self._leader == self.worker else self._leader

    def joined(self, worker: int, *, fresh: bool) -> None:
        """Tell a worker that has come what there is."""
        if self._leading.is_set():
            for found in self._found.values():  # first: of whom states are told
                self._bus.tell_one(worker, found)
        if self._leading.is_set() and self._told:
            self._bus.tell_one(worker, States(list(self._told.values())))
        if self._service is not None and isinstance(self._service.scheduler, PeerScheduler):
            self._service.scheduler.joined()
        if fresh and not self._bus.fresh:
            self._bus.tell_one(worker, Journal(self._changes.all()))

    def lost(self, writer: Writer) -> None:
        """Forget what another that is gone had promised."""
        super().lost(writer)
        if isinstance(writer, int):
            self._elect()

    def heard(self, writer: Writer, message: Message | Told | Fed) -> None:
        """Take in a message of another worker, or of another router."""
        service = self._service
        if service is None:
            return
        if isinstance(message, States):
            if not self._leading.is_set():
                service.scraper.adopt(message.states)
        elif isinstance(message, Discovered):
            if not self._leading.is_set():
                self._found[message.source] = message
                found = [EndpointSettings.model_validate_json(one) for one in message.endpoints]
                super().on_found(message.source, found)
        elif isinstance(message, Gathered):
            if self.training.is_set() and service.trainer is not None:
                service.trainer.pass_on(message.rows, message.count)
        elif not isinstance(message, Hello | Asked | Answered | Journal):
            super().heard(writer, message)
        elif isinstance(writer, int) and not isinstance(message, Hello):
            self._heard_question(writer, message)

    def on_states(self, states: tuple[EndpointState, ...]) -> None:
        """Take in what our own scraper knows, and tell the others if we lead."""
        super().on_states(states)
        if self._service is None:
            return
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
        super().on_found(source, endpoints)

    # How

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
            self._catching_up = True  # what was wanted long ago is no news to other routers
            try:
                for change in changes:
                    answer = await self._asking.self(change)
                    level = logging.INFO if answer.status < 300 else logging.ERROR
                    told = {"path": change.path, "status": answer.status}
                    log.log(level, "change_taken_over", extra=told)
            finally:
                self._catching_up = False
                self.obey_all()

        self._playing = asyncio.create_task(play())

    def _hand_on(self, observations: Sequence[Observation]) -> int:
        if self.elects:
            return super()._hand_on(observations)
        if self._leader not in self._bus.connected:
            return len(observations)
        self._bus.tell(Gathered(frame(observations), len(observations)))
        return 0

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
            if self._service is not None:
                self._changes.follow(self._service.scheduler.states, now)
            await in_step(BEAT_S)

    def _elect(self) -> None:
        before, self._leader = self._leader, self._table.eldest(self.clock())
        if self._leader == before:
            return
        log.info("worker_leads", extra={"worker": self.worker, "leader": self._leader})
        if self._leader == self.worker:
            self._leading.set()
        else:
            self._leading.clear()

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
