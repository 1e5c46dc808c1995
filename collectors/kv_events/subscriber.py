"""Follow the KV events of one endpoint: subscribe, notice what is missing, ask for it.

Decides when an endpoint's cache is known: from its first batch on, or from the first one
that can still be asked for, without a gap. Whatever cannot be had is told to the listener
as a loss, and the endpoint is followed on from there. Silence is no sign of life, so a
publisher that says nothing is asked whether anything was missed. One whose messages cannot
be read is asked for everything again ever more seldom. Called by the feeds, one task per
endpoint.

Source: vLLM 0.32 ``distributed/kv_events.py``: PUB frames (topic, number, batch); replay by
a ROUTER: ask with (empty, number), get (empty, topic, number, batch) ..., number -1.
"""

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from typing import Final, Literal, Protocol

import zmq
import zmq.asyncio

from collectors.errors import KvEventsUnreadable
from collectors.kv_events.decoding import decode_batch
from collectors.kv_events.history import History
from collectors.settings import KvEventSettings, KvEventSource
from predictor.kv_cache import KvEvent

logger = logging.getLogger(__name__)

_END: Final = b"\xff" * 8  # number of a replay's last message
_BREATH: Final = 16  # batches taken in before others may run: a millisecond or two
# Between two replays of everything because of messages that cannot be read, doubled each
# time: a publisher keeps thousands of batches, and sends them from its engine's machine.
_PAUSE_S: Final = 1.0
_MOST_PAUSE_S: Final = 60.0

Loss = Literal["gap", "unreadable", "no_replay", "began_late", "failed"]
"""Why announcements are missing: dropped on the way, in no encoding known, nobody answers,
published before anyone listened and gone, the subscriber itself failed."""

Batch = tuple[int, float, list[KvEvent]]
"""Number, the publisher's time, events."""


class KvEventListener(Protocol):
    """Take in what endpoints announce; the scheduler's prefix caches do."""

    def begin(self, endpoint: str, *, whole: bool) -> None:
        """Begin with nothing; ``whole`` says that there was nothing before."""
        ...

    def hear(self, endpoint: str, events: Iterable[KvEvent]) -> None:
        """Take in the events of a batch."""
        ...

    def lose(self, endpoint: str) -> None:
        """Note that events were missed."""
        ...


class FeedCounts(Protocol):
    """Count what subscribers do; the proxy turns it into metrics."""

    def heard(self, endpoint: str, *, replayed: bool) -> None:
        """Count a batch taken in."""
        ...

    def lost(self, endpoint: str, reason: Loss) -> None:
        """Count a loss of announcements."""
        ...


class Subscriber:
    """Follow one endpoint; :meth:`run` until cancelled.

    Args:
        endpoint: Its name.
        source: Where it publishes.
        settings: How it is followed.
        context: Makes sockets; whoever opened it closes it.
        listener: Takes in what is announced.
        counts: Told of it.
    """

    def __init__(
        self,
        endpoint: str,
        source: KvEventSource,
        settings: KvEventSettings,
        *,
        context: zmq.asyncio.Context,
        listener: KvEventListener,
        counts: FeedCounts,
    ) -> None:
        self._endpoint = endpoint
        self._source = source
        self._settings = settings
        self._context = context
        self._listener = listener
        self._counts = counts
        self._history = History()
        self._begun = False  # whether anything has been heard of the publisher
        self._silent = False  # whether it has been told that it does not answer
        self._unreadable = False  # whether the last message was
        self._pause_s = 0.0
        self._not_before_s = -_MOST_PAUSE_S  # of the event loop's clock

    async def run(self) -> None:
        """Follow the endpoint."""
        self._begun = False
        self._listener.lose(self._endpoint)
        with self._subscribed() as live:
            batch = None
            for taken in itertools.count(1):
                if batch is not None:
                    await self._take_live(batch)
                elif self._source.replay is not None:
                    await self._catch_up()
                if taken % _BREATH == 0:  # what waits already is received without a pause
                    await asyncio.sleep(0)
                batch = await self._receive(live)

    @contextmanager
    def _subscribed(self) -> Iterator[zmq.asyncio.Socket]:
        live = self._context.socket(zmq.SUB)
        try:
            live.setsockopt(zmq.RCVHWM, self._settings.queue_events)
            live.setsockopt(zmq.MAXMSGSIZE, self._settings.max_event_bytes)
            live.setsockopt(zmq.SUBSCRIBE, self._source.topic.encode())
            if self._source.bind:
                live.bind(self._source.address)
            else:
                live.connect(self._source.address)
            yield live
        finally:
            live.close(linger=0)

    async def _receive(self, live: zmq.asyncio.Socket) -> Batch | None:
        """Wait for the next batch; ``None`` when none came for long, or one was no batch."""
        if not await live.poll(round(self._settings.check_interval_s * 1e3)):
            return None
        frames = await live.recv_multipart()
        try:
            return _batch(frames)
        except KvEventsUnreadable as error:
            self._lose("unreadable", str(error))
            return None

    async def _take_live(self, batch: Batch) -> None:
        number, ts, _ = batch
        verdict = self._history.judge(number, ts)
        if verdict == "restart":
            self._begun = False
        if self._source.replay is not None and (verdict == "gap" or not self._begun):
            await self._catch_up()
            verdict = self._history.judge(number, ts)
        if self._begun and verdict == "seen":
            return
        if not self._begun or verdict != "next":
            self._begin(number)
        self._hear(batch, replayed=False)

    async def _catch_up(self) -> None:
        """Ask for what is missing, and make sure that the publisher is still the same."""
        try:
            if self._begun and not await self._continue():
                self._begun = False
            if not self._begun and (not self._unreadable or self._pause_over()):
                await self._start_over()
        except TimeoutError:
            self._lose("no_replay")
        except KvEventsUnreadable as error:
            self._lose("unreadable", str(error))

    def _pause_over(self) -> bool:
        """Say whether all may be asked for once more, and make the next pause longer."""
        now = asyncio.get_running_loop().time()
        if now < self._not_before_s:
            return False
        lately = now < self._not_before_s + _MOST_PAUSE_S
        self._pause_s = min(2 * self._pause_s, _MOST_PAUSE_S) if lately else _PAUSE_S
        self._not_before_s = now + self._pause_s
        return True

    async def _continue(self) -> bool:
        """Take in what came after the last batch known; false where that one is not found."""
        known = (self._history.expected - 1, self._history.last_ts)
        if known[0] < 0:
            return False
        found = False
        async for batch in self._replayed(known[0]):
            if found:
                self._hear(batch, replayed=True)
            elif batch[:2] == known:
                found = True
            else:
                return False
        return found

    async def _start_over(self) -> None:
        """Take in all that can still be asked for."""
        async for batch in self._replayed(0):
            if not self._begun:
                self._begin(batch[0])
            self._hear(batch, replayed=True)
        if not self._begun:
            self._begin(0)

    async def _replayed(self, number: int) -> AsyncIterator[Batch]:
        """Ask for all batches from a number on.

        Raises:
            TimeoutError: The publisher does not answer.
            KvEventsUnreadable: What it answers is no batch.
        """
        socket = self._context.socket(zmq.DEALER)
        try:
            socket.setsockopt(zmq.MAXMSGSIZE, self._settings.max_event_bytes)
            socket.connect(self._source.replay or "")
            await socket.send_multipart([b"", number.to_bytes(8, "big")])
            for taken in itertools.count(1):
                async with asyncio.timeout(self._settings.replay_timeout_s):
                    frames = await socket.recv_multipart()
                if frames[-2:-1] == [_END]:
                    return
                yield _batch(frames)
                if taken % _BREATH == 0:
                    await asyncio.sleep(0)
        finally:
            socket.close(linger=0)

    def _begin(self, number: int) -> None:
        """Follow from a batch on, with nothing known before it."""
        reason: Loss = "gap" if self._begun else "began_late"
        self._history = History()
        self._history.expected, self._begun = number, True
        self._listener.begin(self._endpoint, whole=number == 0)
        if number:
            self._tell(reason)
        else:
            logger.info("kv_events_followed", extra={"endpoint": self._endpoint})

    def _hear(self, batch: Batch, *, replayed: bool) -> None:
        number, ts, events = batch
        self._history.take(number, ts)
        self._listener.hear(self._endpoint, events)
        self._counts.heard(self._endpoint, replayed=replayed)
        self._silent = self._unreadable = False

    def _lose(self, reason: Loss, cause: str = "") -> None:
        self._begun = False
        self._unreadable = reason == "unreadable"
        self._listener.lose(self._endpoint)
        if not self._silent:  # one that stays away is told of once
            self._tell(reason, cause)
        self._silent = True

    def _tell(self, reason: Loss, cause: str = "") -> None:
        self._counts.lost(self._endpoint, reason)
        facts = {"endpoint": self._endpoint, "reason": reason, "cause": cause}
        logger.warning("kv_events_lost", extra=facts)


def _batch(frames: list[bytes]) -> Batch:
    """Read the last two frames of a message: number and batch."""
    if len(frames) < 2 or len(frames[-2]) != len(_END):
        raise KvEventsUnreadable(f"a message of {len(frames)} frames is no batch")
    ts, events = decode_batch(frames[-1])
    return int.from_bytes(frames[-2], "big"), ts, events
