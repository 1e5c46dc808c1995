"""One trains: whatever happens to the server, the network and the holder."""

import asyncio
import random

import pytest

from foretoken.routers.lease import Lease
from tests.foretoken.routers.exchanging import Clock


class Keeper:
    """Keep the lease as the server does, by a clock of its own."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.held: tuple[str, int] | None = None
        self.until_s = 0.0
        self.token = 0
        self.slow_s = 0.0

    def _expire(self) -> None:
        if self.clock() >= self.until_s:
            self.held = None

    async def take(self, owner: str, ttl_s: float) -> int | None:
        self._expire()
        if self.held is not None:
            return None
        self.token += 1
        self.held, self.until_s = (owner, self.token), self.clock() + ttl_s
        self.clock.now += self.slow_s
        return self.token

    async def renew(self, owner: str, token: int, ttl_s: float) -> bool:
        self._expire()
        if self.held != (owner, token):
            return False
        self.until_s = self.clock() + ttl_s
        self.clock.now += self.slow_s
        return True

    async def give_up(self, owner: str, token: int) -> None:
        if self.held == (owner, token):
            self.held = None


def make(name: str, clock: Clock) -> Lease:
    return Lease(name, ttl_s=5.0, clock=clock, on_change=lambda: None)


def stand(lease: Lease, keeper: Keeper, *, candidate: bool = True) -> bool:
    asyncio.run(lease.stand(keeper, candidate=candidate))
    return lease.held.is_set()


def test_one_of_two_holds_it_and_the_other_takes_over_after_its_time() -> None:
    clock = Clock()
    keeper, one, two = Keeper(clock), make("one", clock), make("two", clock)

    assert stand(one, keeper)
    assert not stand(two, keeper)
    clock.now += 4.9
    assert not stand(two, keeper)
    clock.now += 0.2
    assert stand(two, keeper)
    assert two.token > one.token


def test_the_holder_stops_before_another_can_begin() -> None:
    clock = Clock()
    keeper, one = Keeper(clock), make("one", clock)
    stand(one, keeper)

    clock.now += 4.0
    one.check()

    assert not one.held.is_set()
    assert keeper.until_s - clock() == pytest.approx(1.0)


def test_renewed_it_is_held_for_ever() -> None:
    clock = Clock()
    keeper, one = Keeper(clock), make("one", clock)

    for _ in range(20):
        assert stand(one, keeper)
        clock.now += one.interval_s
        one.check()


def test_an_answer_that_took_too_long_gives_nothing() -> None:
    clock = Clock()
    keeper, one = Keeper(clock), make("one", clock)
    keeper.slow_s = 4.5

    assert not stand(one, keeper)


def test_flushed_or_given_up_it_is_free_at_once() -> None:
    clock = Clock()
    keeper, one, two = Keeper(clock), make("one", clock), make("two", clock)
    stand(one, keeper)
    keeper.held = None

    assert stand(two, keeper)
    assert not stand(one, keeper)
    stand(two, keeper, candidate=False)
    assert stand(one, keeper)


@pytest.mark.parametrize("seed", range(20))
def test_never_do_two_count_on_it(seed: int) -> None:
    rng, clock = random.Random(seed), Clock()
    keeper = Keeper(clock)
    leases = [make(str(number), clock) for number in range(3)]

    for _ in range(300):
        keeper.slow_s = rng.choice((0.0, 0.0, 0.1, 3.0))
        lease = rng.choice(leases)
        if rng.random() < 0.7:
            stand(lease, keeper, candidate=rng.random() < 0.95)
        clock.now += rng.choice((0.0, 0.2, 1.0, 2.0))
        # What the trainer's process looks at, frozen or not.
        assert sum(each.token > 0 and clock() < each.until_s for each in leases) <= 1
