"""Routers connected by a real server: found, lost, and back; poison; the lease."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis.asyncio

from foretoken.clock import unix_clock
from foretoken.routers.outside import Outside
from foretoken.routers.settings import RoutersSettings
from scheduler.bookings import Bookings
from scheduler.words import Sent
from tests.foretoken.routers.conftest import Store
from tests.foretoken.routers.exchanging import Ear

SENT = Sent("", "m", "a:1", "m", "talk", (1, 2, 3), None, None, 0)


class Process:
    """What one process of a router has, connected for real."""

    def __init__(self, url: str, name: str, *, store: str | None = "s", **more: object) -> None:
        settings = RoutersSettings(url=url, lease_s=2.0, timeout_s=0.3, **more)  # type: ignore[arg-type]  # as given
        self.outside = Outside(settings, router=name, worker=0, store=store, clock=unix_clock())
        self.outside.rows.follow(["a:1"])
        self.ear = Ear()
        self.exchange = self.outside.exchange
        self.stands = True

    @property
    def others_requests(self) -> float:
        return self.outside.rows._sum("a:1").inflight_requests

    async def run(self) -> None:
        await self.outside.run(self.ear, lambda: self.stands)


@asynccontextmanager
async def running(*processes: Process) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(process.run()) for process in processes]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.005)


def both(store: Store, **more: Any) -> tuple[Process, Process]:
    return Process(store.url, "one", **more), Process(store.url, "two", **more)


def acquainted(*processes: Process) -> Callable[[], bool]:
    return lambda: all(len(p.exchange.routers) == len(processes) - 1 for p in processes)


def test_bookings_and_words_reach_the_other(store: Store) -> None:
    async def scenario() -> None:
        one, two = both(store)
        async with running(one, two):
            await until(acquainted(one, two))
            one.outside.rows.booked("a:1", Bookings(3.0))
            one.exchange.tell(SENT)
            await until(lambda: two.others_requests == 3.0)
            await until(lambda: two.ear.heard_of)
            assert two.ear.take() == [SENT]
            assert one.exchange.shared.error_s(one.outside._clock()) is not None

    asyncio.run(scenario())


def test_who_ends_is_forgotten_and_its_row_with_it(store: Store) -> None:
    async def scenario() -> None:
        one, two = both(store)
        client = redis.asyncio.Redis.from_url(store.url)
        async with client, running(two):
            async with running(one):
                one.outside.rows.booked("a:1", Bookings(3.0))
                await until(lambda: two.others_requests == 3.0)
                ttl_ms = await client.pttl("foretoken:row:" + one.exchange.name.key)
                assert 0 < ttl_ms <= 2000
            assert await client.get("foretoken:row:" + one.exchange.name.key) is None
            await until(lambda: two.others_requests == 0.0)
            assert two.ear.gone == [one.exchange.name.key]

    asyncio.run(scenario())


def test_who_begins_reads_what_is_there_before_anybody_speaks(store: Store) -> None:
    async def scenario() -> None:
        one, late = both(store)
        async with running(one):
            one.outside.rows.booked("a:1", Bookings(3.0))
            await until(lambda: one.exchange.counts.published > 1)
            async with running(late):
                await until(lambda: late.others_requests == 3.0)

    asyncio.run(scenario())


def test_without_a_server_nothing_is_shared_until_there_is_one(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.kill()

    async def scenario() -> None:
        one, two = both(store)
        async with running(one, two):
            await until(lambda: one.exchange.counts.failures["refused"] >= 3)
            one.outside.rows.booked("a:1", Bookings(3.0))
            one.exchange.tell(SENT)
            assert one.exchange.counts.dropped == 1
            assert not one.outside.lease.held.is_set()
            await asyncio.to_thread(store.start)
            await until(lambda: two.others_requests == 3.0)

    asyncio.run(scenario())

    told = [record.msg for record in caplog.records if record.msg == "routers_not_connected"]
    assert len(told) == 2  # once each, not with every attempt


@pytest.mark.parametrize("harm", ["kill", "freeze"])
def test_a_server_that_dies_or_hangs_costs_the_others_alone_and_comes_back(
    store: Store, harm: str
) -> None:
    async def scenario() -> None:
        one, two = both(store)
        async with running(one, two):
            await until(acquainted(one, two))
            one.outside.rows.booked("a:1", Bookings(3.0))
            await until(lambda: two.others_requests == 3.0)

            await asyncio.to_thread(getattr(store, harm))
            await until(lambda: not one.exchange.connected and not two.exchange.connected)
            await until(lambda: two.others_requests == 0.0)
            assert not one.outside.lease.held.is_set()
            assert not two.outside.lease.held.is_set()

            one.outside.rows.booked("a:1", Bookings(5.0))  # nobody hears of it yet
            await asyncio.to_thread(store.thaw if harm == "freeze" else store.start)
            await until(lambda: two.others_requests == 5.0)
            await until(lambda: one.outside.lease.held.is_set() or two.outside.lease.held.is_set())

    asyncio.run(scenario())


def test_a_flush_changes_nothing(store: Store) -> None:
    async def scenario() -> None:
        one, two = both(store)
        client = redis.asyncio.Redis.from_url(store.url)
        async with client, running(one, two):
            one.outside.rows.booked("a:1", Bookings(3.0))
            await until(lambda: two.others_requests == 3.0)
            await until(lambda: one.outside.lease.held.is_set() or two.outside.lease.held.is_set())
            token = max(one.outside.lease.token, two.outside.lease.token)

            await client.flushall()

            await until(lambda: max(one.exchange.token, two.exchange.token) > token)
            assert two.others_requests == 3.0
            assert two.ear.gone == []

    asyncio.run(scenario())


def test_poison_is_ignored_and_counted(store: Store) -> None:
    async def scenario() -> None:
        client = redis.asyncio.Redis.from_url(store.url)
        async with client:
            await client.set("foretoken:row:evil", b"\xff\xff")
            await client.zadd("foretoken:writers", {"evil": 9e12})
            one, two = both(store)
            async with running(one, two):
                await until(acquainted(one, two))
                await client.publish("foretoken:frames", b"hello")
                await client.publish("foretoken:frames", b"")
                await until(lambda: one.exchange.counts.ignored["foreign"] >= 3)
                one.outside.rows.booked("a:1", Bookings(3.0))
                await until(lambda: two.others_requests == 3.0)

    asyncio.run(scenario())


def test_keys_of_another_type_are_an_error_that_is_counted(store: Store) -> None:
    async def scenario() -> None:
        client = redis.asyncio.Redis.from_url(store.url)
        async with client:
            await client.set("foretoken:writers", b"not a set")
            one = Process(store.url, "one")
            async with running(one):
                await until(lambda: one.exchange.counts.failures["error"] >= 1)
                await client.delete("foretoken:writers")
                await until(lambda: one.exchange.connected)

    asyncio.run(scenario())


def test_a_password_is_read_from_the_environment(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with redis.Redis.from_url(store.url) as client:
        client.config_set("requirepass", "open-sesame")
    monkeypatch.setenv("RIGHT", "open-sesame")
    monkeypatch.setenv("WRONG", "open-not")

    async def scenario() -> None:
        out = Process(store.url, "out", password_env="WRONG")
        left = Process(store.url, "left", password_env="UNSET")
        let_in = Process(store.url, "in", password_env="RIGHT")
        async with running(out, left, let_in):
            await until(lambda: let_in.exchange.connected)
            await until(lambda: out.exchange.counts.failures["login"])
            await until(lambda: left.exchange.counts.failures["login"])
            assert not out.exchange.connected

    asyncio.run(scenario())


def test_one_of_those_that_read_a_store_trains_and_is_succeeded(store: Store) -> None:
    async def scenario() -> None:
        one, two = both(store)
        other = Process(store.url, "other", store="elsewhere")
        alone = Process(store.url, "alone", store=None)
        alone.stands = False
        async with running(two, other, alone):
            await until(two.outside.lease.held.is_set)
            await until(other.outside.lease.held.is_set)
            async with running(one):
                await until(lambda: one.exchange.connected)
                two.stands = False
                await until(one.outside.lease.held.is_set)
                assert not two.outside.lease.held.is_set()
                two.stands = True
            await until(two.outside.lease.held.is_set)

    asyncio.run(scenario())
