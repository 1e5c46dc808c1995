"""What one process of a router tells the others, and what it takes in: all but the I/O.

Decides what the next frame holds, which frames of others count, who is there, and what is
forgotten when somebody falls silent. Called by :mod:`foretoken.routers.link`, which carries
frames, and by the simulation of several routers, which carries them in virtual time. On the
hot path only :meth:`Exchange.tell` and the rows are called; both take a note and return.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Final

from foretoken.routers.chains import Chains
from foretoken.routers.clock import SharedClock
from foretoken.routers.counts import Counts, Failure
from foretoken.routers.decrees import Decrees
from foretoken.routers.frames import (
    MAGIC,
    VERSION,
    Decree,
    Frame,
    FrameIgnored,
    Missed,
    Name,
    Said,
    Taught,
    Told,
    Went,
    read,
    read_taught,
    written,
)
from foretoken.routers.others import Ear, Writer
from foretoken.routers.rows import RouterRows, packed, unpacked
from foretoken.workers.messages import Fed, Trained
from scheduler.words import Sent

log = logging.getLogger(__name__)

ABSENT_S: Final = 2.0
"""Who has said nothing for so long is gone, and what it had booked with it."""
MOST_UNTOLD: Final = 20_000
"""Things that wait to be told: seconds of traffic; more are dropped, nobody waits."""
MOST_WRITERS: Final = 1024
MISSED_EVERY_S: Final = 1.0
"""How often at most a beginning is said to be unknown, and ours are begun anew for it."""


class Exchange:
    """Hold both sides of what is shared.

    Args:
        name: Ours.
        store: Names the models store we read.
        rows: Bookings.
        clock: Ours.
        shared: Translates it.

    Attributes:
        name: As above.
        store: As above.
        shared: As above.
        counts: What happened so far.
        writers: Those heard of lately, our siblings aside, by key.
        decrees: What people want of endpoints.
        on_news: Called when there is something to tell, now and then more than once.
        connected: Whether what is told can be carried.
        failure: Why not, of the last attempt; ``None`` while it can, and before the first.
        token: Of our lease, 0 without one.
        whole_due: Whether the next frame is a whole one.
    """

    def __init__(
        self,
        *,
        name: Name,
        store: str,
        rows: RouterRows,
        clock: Callable[[], float],
        shared: SharedClock,
    ) -> None:
        self.name = name
        self.store = store
        self.shared = shared
        self.counts = Counts()
        self.writers: dict[str, Writer] = {}
        self.decrees = Decrees()
        self.on_news: Callable[[], None] = _nobody
        self.connected = False
        self.failure: Failure | None = None
        self.token = 0
        self.ear: Ear | None = None
        self._rows = rows
        self._clock = clock
        self._chains = Chains()
        self._untold: list[Told | Missed] = []
        self._unfed: list[Fed] = []
        self.whole_due = True
        self._number = 0
        self._gap = False  # since the last frame something was dropped
        self._told_of_namesake = False
        self._missed_s = self._anew_s = float("-inf")
        rows.on_change = self._wake

    # What we tell

    def tell(self, message: Told) -> None:
        """Tell all other routers, soon; dropped and counted where that cannot be."""
        if not self.connected or len(self._untold) >= MOST_UNTOLD:
            self._drop(1)
            return
        self._untold.append(message)
        self.on_news()

    def feed(self, fed: Fed) -> bool:
        """Hand an observation to whoever trains; false where nobody takes it."""
        if not self.connected or len(self._unfed) >= MOST_UNTOLD:
            return False
        self._unfed.append(fed)
        return True

    def decree(self, endpoint: str, *, draining: bool) -> None:
        """Say what is wanted of an endpoint, as of now; it is told with our next whole frame."""
        self.decrees.say(endpoint, Decree(draining, self._shared_now()))
        self.tell_whole()

    def tell_whole(self) -> None:
        """Tell with the next frame all that we have booked, and that we are there."""
        self.whole_due = True
        self.on_news()

    def take(self) -> bytes | None:
        """Give the next frame, ``None`` where there is nothing to tell."""
        whole, self.whole_due = self.whole_due, False
        rows = self._rows.take_all() if whole else self._rows.take()
        untold, self._untold = self._untold, []
        if not (whole or rows or untold):
            return None
        offset_s = self.shared.offset_s
        self._number += 1 + self._gap
        self._gap = False
        frame = written(
            Frame(
                MAGIC,
                VERSION,
                self.name,
                self._number,
                self._shared_now(),
                self.token,
                self.store,
                whole,
                {name: packed(row, offset_s) for name, row in rows.items()},
                self.decrees.all() if whole else {},
                [self._said(message) for message in untold],
            )
        )
        self.counts.published += 1
        self.counts.published_bytes += len(frame)
        return frame

    def take_fed(self) -> bytes | None:
        """Give what goes to the trainer, ``None`` for nothing."""
        unfed, self._unfed = self._unfed, []
        if not unfed:
            return None
        frame = written(Taught(MAGIC, VERSION, self.name, unfed))
        self.counts.published += 1
        self.counts.published_bytes += len(frame)
        return frame

    # What comes

    def came(self, data: bytes) -> None:
        """Take in a frame; what is none of ours is counted and ignored."""
        try:
            frame = read(data)
        except FrameIgnored as error:
            self._ignore(error)
            return
        if frame.writer.router == self.name.router:
            self._came_from_sibling(frame)
            return
        if self._writer(frame) is None:
            return
        self.counts.received += 1
        self.counts.received_bytes += len(data)
        key = frame.writer.key
        offset_s = self.shared.offset_s
        try:
            rows = {name: unpacked(row, offset_s) for name, row in frame.rows.items()}
        except ValueError:
            self._ignore(FrameIgnored("unreadable"))
            return
        self._rows.hear(key, rows, whole=frame.whole)
        self._take_decrees(frame.decrees)
        for said in frame.said:
            self._hear(key, said)

    def came_fed(self, data: bytes) -> None:
        """Take in observations for our trainer, our siblings' too."""
        try:
            taught = read_taught(data)
        except FrameIgnored as error:
            self._ignore(error)
            return
        if taught.writer == self.name:
            return
        self.counts.received += 1
        self.counts.received_bytes += len(data)
        for fed in taught.fed:
            self._give(taught.writer.key, fed)

    # Who is there

    def expire(self) -> None:
        """Forget who has fallen silent."""
        now = self._clock()
        for key, writer in list(self.writers.items()):
            if now - writer.heard_s > ABSENT_S:
                self._lose(key)

    def begin(self) -> None:
        """Note that we are connected: what was told to nobody is told anew."""
        self.connected, self.failure = True, None
        self._chains.begin_anew()
        self.tell_whole()

    def end(self) -> None:
        """Note that we are cut off: what was not told never will be."""
        self.connected = False
        self.token = 0
        self._drop(len(self._untold))
        self.counts.dropped += len(self._unfed)
        self._untold, self._unfed = [], []

    @property
    def routers(self) -> set[str]:
        """Name the other routers that are there."""
        return {writer.name.router for writer in self.writers.values()}

    def outranked(self) -> bool:
        """Say whether somebody trains by a later lease than ours: then ours has ended."""
        tokens = (w.token for w in self.writers.values() if w.store == self.store)
        return bool(self.token) and max(tokens, default=0) > self.token

    # How

    def _came_from_sibling(self, frame: Frame) -> None:
        """Take decrees alone: bookings are in the shared table, words come by the bus."""
        if frame.writer == self.name:
            return
        if frame.writer.worker == self.name.worker and not self._told_of_namesake:
            self._told_of_namesake = True
            log.error("router_name_taken", extra={"router": self.name.router})
        self._take_decrees(frame.decrees)

    def _drop(self, messages: int) -> None:
        """Count what is never told; the number left out lets the others know."""
        self.counts.dropped += messages
        self._gap = self._gap or messages > 0

    def _wake(self) -> None:
        self.on_news()

    def _said(self, message: Told | Missed) -> Said:
        if not isinstance(message, Sent):
            return message
        short = self._chains.shorten(message.block_hashes)
        objective = message.ttft_s is not None or message.tpot_s is not None
        return Went(
            message.request_id if objective else "",
            message.fleet,
            message.endpoint,
            None if message.model == message.fleet else message.model,
            message.session_id,
            *short,
            message.ttft_s,
            message.tpot_s,
            message.priority,
        )

    def _writer(self, frame: Frame) -> Writer | None:
        """Find or take in who speaks; ``None``: heard before, or there are too many.

        What was left behind for those who begin comes a second time, and what it says may
        have ended since. After a gap nobody knows which promises have.
        """
        key, now = frame.writer.key, self._clock()
        said_s = frame.sent_s - self.shared.offset_s
        known = self.writers.get(key)
        if known is None:
            if len(self.writers) >= MOST_WRITERS:
                self._ignore(FrameIgnored("foreign"))
                return None
            known = Writer(frame.writer, now, said_s, frame.number, frame.store, frame.token)
            self.writers[key] = known
            self._joined(frame.writer)
        elif frame.number <= known.number:
            return None
        elif frame.number > known.number + 1 and self.ear is not None:
            self.ear.lost(key)
        known.heard_s, known.said_s, known.number = now, said_s, frame.number
        known.store, known.token = frame.store, frame.token
        return known

    def _joined(self, name: Name) -> None:
        for key, other in list(self.writers.items()):
            former = (other.name.router, other.name.worker) == (name.router, name.worker)
            if former and other.name.life != name.life:
                self._lose(key)
        self._chains.begin_anew()  # it knows nothing of what was told
        self.tell_whole()
        log.info("router_joined", extra={"router": name.router, "worker": name.worker})

    def _lose(self, key: str) -> None:
        writer = self.writers.pop(key)
        self._rows.lose(key)
        told = {"router": writer.name.router, "worker": writer.name.worker}
        log.warning("router_lost", extra=told)
        if self.ear is not None:
            self.ear.lost(key)

    def _hear(self, key: str, said: Said) -> None:
        if isinstance(said, Missed):
            if self._clock() - self._anew_s >= MISSED_EVERY_S:
                self._anew_s = self._clock()
                self._chains.begin_anew()
            return
        if isinstance(said, Trained) and self.writers[key].store != self.store:
            return  # of versions that we cannot read
        if not isinstance(said, Went):
            self._give(key, said)
            return
        try:
            chain = self._chains.whole(said.known, said.length, said.rest)
        except ValueError:
            self._ignore(FrameIgnored("unreadable"))
            return
        if chain is None:
            self._miss()
        model = said.fleet if said.model is None else said.model
        self._give(
            key,
            Sent(
                said.request_id,
                said.fleet,
                said.endpoint,
                model,
                said.session_id,
                chain or (),
                said.ttft_s,
                said.tpot_s,
                said.priority,
            ),
        )

    def _give(self, key: str, message: Told | Fed) -> None:
        if self.ear is None:
            return
        try:
            self.ear.heard(key, message)
        except Exception:
            log.exception("message_failed", extra={"kind": type(message).__name__})

    def _miss(self) -> None:
        self.counts.unresolved += 1
        now = self._clock()
        if self.connected and now - self._missed_s >= MISSED_EVERY_S:
            self._missed_s = now
            self._untold.append(Missed())
            self.on_news()

    def _take_decrees(self, decrees: Mapping[str, Decree]) -> None:
        for endpoint, decree in self.decrees.hear(decrees, self._shared_now()):
            if self.ear is not None:
                self.ear.decreed(endpoint, draining=decree.draining)

    def _shared_now(self) -> float:
        return self._clock() + self.shared.offset_s

    def _ignore(self, error: FrameIgnored) -> None:
        self.counts.ignored[error.fault] += 1


def _nobody() -> None:
    """Tell nobody."""
