"""Followed endpoints, with the simulator's publisher at the other end of real sockets."""

import asyncio
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from collectors import EndpointSettings, KvEventFeeds, KvEventSettings, KvEventSource
from collectors.kv_events import Loss
from predictor.kv_cache import BlocksStored, KvEvent
from simulator.kv_events import CacheJournal, Encoding, KvEventPublisher

A = "10.0.0.1:8000"


class Heard:
    """Note what is announced; waiting for it is waiting for the socket, not for a time."""

    def __init__(self) -> None:
        self.whole: bool | None = None  # None: lost
        self.hashes: list[Any] = []
        self.replayed = 0
        self.losses: list[Loss] = []
        self._changed = asyncio.Event()

    def begin(self, endpoint: str, *, whole: bool) -> None:
        self.whole = whole
        self.hashes.clear()
        self._changed.set()

    def hear(self, endpoint: str, events: Iterable[KvEvent]) -> None:
        assert endpoint == A
        for event in events:
            assert isinstance(event, BlocksStored)
            self.hashes += event.hashes
        self._changed.set()

    def lose(self, endpoint: str) -> None:
        self.whole = None
        self._changed.set()

    def heard(self, endpoint: str, *, replayed: bool) -> None:
        self.replayed += replayed

    def lost(self, endpoint: str, reason: Loss) -> None:
        self.losses.append(reason)
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


class Publisher:
    """A cache that stores one block after the other, and says so."""

    def __init__(self, folder: Path, encoding: Encoding = "maps", *, replay: bool = True) -> None:
        self._journal = CacheJournal(block_size=1, encoding=encoding)
        self.live = f"ipc://{folder}/live"
        self.replay = f"ipc://{folder}/replay" if replay else None
        self._publisher = KvEventPublisher(self._journal, address=self.live, replay=self.replay)
        self._clock = 0.0

    def store(self, *hashes: int, later_s: float = 1.0) -> None:
        for block in hashes:
            self._journal.expect([block], array("I", [block]).tobytes(), salt=None)
            self._journal.stored([block])
            self._clock += later_s
            self._publisher.publish(self._clock)

    @asynccontextmanager
    async def running(self, began_s: float = 0.0) -> AsyncIterator[None]:
        self._clock += began_s
        task = asyncio.create_task(self._publisher.run())
        await asyncio.sleep(0)  # its sockets are open
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def source(self) -> KvEventSource:
        return KvEventSource(address=self.live, replay=self.replay)


@asynccontextmanager
async def following(
    source: KvEventSource, heard: Heard, *, most_bytes: int = 1 << 20
) -> AsyncIterator[KvEventFeeds]:
    endpoint = EndpointSettings(url=f"http://{A}", kv_events=source)
    settings = KvEventSettings(
        check_interval_s=0.05, replay_timeout_s=1.0, max_event_bytes=most_bytes
    )
    feeds = KvEventFeeds([endpoint], settings, listener=heard, counts=heard)
    task = asyncio.create_task(feeds.run())
    try:
        yield feeds
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


Scene = Callable[[Publisher, Heard], Awaitable[None]]


def play(scene: Scene, publisher: Publisher) -> Heard:
    async def run() -> Heard:
        heard = Heard()
        await scene(publisher, heard)
        return heard

    return asyncio.run(run())


@pytest.mark.parametrize("encoding", ["maps", "arrays"])
def test_what_was_published_before_is_asked_for(tmp_path: Path, encoding: Encoding) -> None:
    async def scene(publisher: Publisher, heard: Heard) -> None:
        async with publisher.running():
            publisher.store(1, 2, 3)
            async with following(publisher.source(), heard):
                await heard.until(lambda: heard.hashes == [1, 2, 3])
                publisher.store(4)
                await heard.until(lambda: heard.hashes == [1, 2, 3, 4])

    heard = play(scene, Publisher(tmp_path, encoding))

    assert heard.whole
    assert heard.losses == []


def test_an_endpoint_that_has_published_nothing_is_known_to_hold_nothing(tmp_path: Path) -> None:
    async def scene(publisher: Publisher, heard: Heard) -> None:
        async with publisher.running(), following(publisher.source(), heard):
            await heard.until(lambda: heard.whole is True)

    assert play(scene, Publisher(tmp_path)).hashes == []


def test_what_was_dropped_is_asked_for_though_nothing_more_comes(tmp_path: Path) -> None:
    async def scene(publisher: Publisher, heard: Heard) -> None:
        async with publisher.running(), following(publisher.source(), heard):
            publisher.store(1)
            await heard.until(lambda: heard.hashes == [1])
            live, publisher._publisher._socket = publisher._publisher._socket, None
            publisher.store(2, 3)  # nobody hears these
            publisher._publisher._socket = live
            await heard.until(lambda: heard.hashes == [1, 2, 3])

    heard = play(scene, Publisher(tmp_path))

    assert heard.whole
    assert heard.replayed >= 2


def test_one_that_starts_anew_is_followed_from_its_beginning(tmp_path: Path) -> None:
    async def scene(publisher: Publisher, heard: Heard) -> None:
        async with publisher.running(), following(publisher.source(), heard):
            publisher.store(1, 2)
            await heard.until(lambda: heard.hashes == [1, 2])
            again = Publisher(tmp_path)
            async with again.running(began_s=100.0):
                again.store(5)
                await heard.until(lambda: heard.hashes == [5])

    assert play(scene, Publisher(tmp_path)).whole


def test_one_that_no_longer_answers_is_lost_and_found_again(tmp_path: Path) -> None:
    async def scene(publisher: Publisher, heard: Heard) -> None:
        async with following(publisher.source(), heard):
            async with publisher.running():
                publisher.store(1)
                await heard.until(lambda: heard.hashes == [1])
            await heard.until(lambda: heard.losses == ["no_replay"])
            assert heard.whole is None
            async with publisher.running():
                await heard.until(lambda: heard.whole is True)
                assert heard.hashes == [1]

    play(scene, Publisher(tmp_path))


def test_without_replay_a_late_beginning_is_told(tmp_path: Path) -> None:
    async def scene(publisher: Publisher, heard: Heard) -> None:
        async with publisher.running():
            publisher.store(1)
            async with following(publisher.source(), heard):
                while heard.whole is None:  # until the subscription is through
                    publisher.store(2)
                    await asyncio.sleep(0)

    heard = play(scene, Publisher(tmp_path, replay=False))

    assert heard.whole is False
    assert heard.losses == ["began_late"]


def test_a_batch_that_cannot_be_read_makes_the_endpoint_unknown(tmp_path: Path) -> None:
    async def scene(publisher: Publisher, heard: Heard) -> None:
        async with publisher.running(), following(publisher.source(), heard):
            publisher.store(1)
            await heard.until(lambda: heard.hashes == [1])
            socket = publisher._publisher._socket
            assert socket is not None
            while not heard.losses:  # until the subscription is through
                socket.send_multipart([b"", (1).to_bytes(8, "big"), b"\xc1"])
                await asyncio.sleep(0)
            assert heard.losses == ["unreadable"]

    play(scene, Publisher(tmp_path))


def test_batches_that_cannot_be_read_do_not_ask_for_everything_each_time(tmp_path: Path) -> None:
    async def scene(publisher: Publisher, heard: Heard) -> None:
        async with publisher.running(), following(publisher.source(), heard):
            publisher.store(1, 2, 3)
            await heard.until(lambda: heard.hashes == [1, 2, 3])
            socket = publisher._publisher._socket
            assert socket is not None
            unreadable = [b"", (1).to_bytes(8, "big"), b"\xc1"]
            while not heard.losses:  # until the subscription is through
                socket.send_multipart(unreadable)
                await asyncio.sleep(0)
            for _ in range(100):
                socket.send_multipart(unreadable)
            publisher.store(4)
            await heard.until(lambda: heard.hashes[-1:] == [4])

    heard = play(scene, Publisher(tmp_path))

    assert heard.replayed < 30  # three each time


def test_a_message_longer_than_allowed_is_never_taken_in(tmp_path: Path) -> None:
    async def scene(publisher: Publisher, heard: Heard) -> None:
        source = publisher.source()
        async with publisher.running(), following(source, heard, most_bytes=1024):
            publisher.store(1)
            await heard.until(lambda: heard.hashes == [1])
            socket = publisher._publisher._socket
            assert socket is not None
            for _ in range(20):
                socket.send_multipart([b"", (1).to_bytes(8, "big"), b"\xc1" * 100_000])
            publisher.store(2)  # lost with the connection, or not: asked for again
            await heard.until(lambda: heard.hashes[-1:] == [2])

    heard = play(scene, Publisher(tmp_path))

    assert "unreadable" not in heard.losses


class Fragile(Heard):
    """Fails on the first events it hears."""

    def hear(self, endpoint: str, events: Iterable[KvEvent]) -> None:
        if not self.losses:
            raise RuntimeError("cannot take these in")
        super().hear(endpoint, events)


def test_a_feed_that_fails_is_counted_and_starts_again(tmp_path: Path) -> None:
    heard = Fragile()

    async def scene() -> None:
        publisher = Publisher(tmp_path)
        async with publisher.running(), following(publisher.source(), heard):
            publisher.store(1)
            await heard.until(lambda: heard.hashes == [1])

    asyncio.run(scene())

    assert heard.losses == ["failed"]


def test_an_endpoint_that_is_removed_is_followed_no_longer(tmp_path: Path) -> None:
    async def scene(publisher: Publisher, heard: Heard) -> None:
        async with publisher.running(), following(publisher.source(), heard) as feeds:
            await heard.until(lambda: heard.whole is True)
            feeds.remove(A)
            assert heard.whole is None

    play(scene, Publisher(tmp_path))


def test_of_two_that_are_said_to_publish_at_one_address_neither_is_followed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene(publisher: Publisher, heard: Heard) -> None:
        source = publisher.source()
        async with publisher.running(), following(source, heard) as feeds:
            await heard.until(lambda: heard.whole is True)
            for number in (1, 2):
                other = EndpointSettings(url=f"http://10.0.0.9:{number}", kv_events=source)
                feeds.add(other)
                assert heard.whole is None
            for number in (1, 2):
                feeds.remove(f"10.0.0.9:{number}")
            await heard.until(lambda: heard.whole is True)

    play(scene, Publisher(tmp_path))

    told = [record for record in caplog.records if record.message == "kv_events_shared"]
    assert len(told) == 1
    assert f"{tmp_path}/live" in told[0].__dict__["problem"]
