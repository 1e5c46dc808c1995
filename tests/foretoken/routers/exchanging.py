"""Exchanges of several routers on a wire of lists, and a clock that stands until it is moved."""

from dataclasses import dataclass, field

from foretoken.routers.clock import SharedClock
from foretoken.routers.exchange import Exchange
from foretoken.routers.frames import Name, Told
from foretoken.routers.rows import RouterRows
from foretoken.workers.messages import Fed


@dataclass
class Clock:
    """Read what it was set to."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Ear:
    """Keep what is heard."""

    heard_of: list[tuple[str, Told | Fed]] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    wanted: dict[str, bool] = field(default_factory=dict)

    def heard(self, writer: str, message: Told | Fed) -> None:
        self.heard_of.append((writer, message))

    def lost(self, writer: str) -> None:
        self.gone.append(writer)

    def decreed(self, endpoint: str, *, draining: bool) -> None:
        self.wanted[endpoint] = draining

    def take(self) -> list[Told | Fed]:
        """Give the messages heard since the last time."""
        heard, self.heard_of = self.heard_of, []
        return [message for _, message in heard]


class Router:
    """One process of a router, connected."""

    def __init__(
        self, name: str, *, worker: int = 0, life: int = 1, store: str = "s", ahead_s: float = 0.0
    ) -> None:
        self.clock = Clock(1000.0 + ahead_s)
        self.rows = RouterRows()
        self.rows.follow(["a:1", "b:1"])
        self.ear = Ear()
        self.shared = SharedClock()
        now = self.clock()
        self.shared.measured(asked_s=now, told_s=1000.0, heard_s=now)
        self.exchange = Exchange(
            name=Name(router=name, worker=worker, life=life),
            store=store,
            rows=self.rows,
            clock=self.clock,
            shared=self.shared,
        )
        self.exchange.ear = self.ear
        self.exchange.begin()

    def seen(self) -> dict[str, tuple[float, float]]:
        """Give what others have in flight: requests, and since when the oldest waits."""
        return {
            name: (sums.inflight_requests, sums.oldest_queued_s)
            for name, sums in self.rows.changed(self.clock())
        }


def spread(*routers: Router) -> list[bytes]:
    """Let all say what they have to say, until nobody has."""
    frames: list[bytes] = []
    while True:
        said = [frame for router in routers if (frame := router.exchange.take()) is not None]
        if not said:
            return frames
        frames += said
        for router in routers:
            for frame in said:
                router.exchange.came(frame)


def move(seconds: float, *routers: Router) -> None:
    for router in routers:
        router.clock.now += seconds


def one_frame(router: Router) -> bytes:
    router.exchange.tell_whole()
    return router.exchange.take() or b""
