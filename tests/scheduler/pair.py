"""Two schedulers on the same endpoints, which hear of each other when words are delivered."""

from collections.abc import Iterable

from predictor.types import EndpointState, Measurement
from scheduler import Dispatch, SchedulerSettings, Wait
from scheduler.bookings import Bookings, Sums
from scheduler.words import First, Queued, Served, Word
from tests.scheduler.known_physics import endpoint, make_peer, request
from tests.scheduler.tiered import DONE

FULL = endpoint("a:1", max_seqs=1)
LEFT = Measurement(outcome="client_cancelled")


class Link:
    """Carry rows and words to the one other scheduler; words when they are delivered."""

    def __init__(self) -> None:
        self.other: Link
        self.news: dict[str, Bookings] = {}
        self.words: list[Word | Queued] = []
        self.looks: list[bool] = []

    def follow(self, endpoints: Iterable[str]) -> None: ...

    def booked(self, endpoint: str, sums: Sums) -> None:
        self.other.news[endpoint] = Bookings(*sums)

    def changed(self, now: float, *, at_once: bool = False) -> list[tuple[str, Bookings]]:
        self.looks.append(at_once)
        news, self.news = self.news, {}
        return list(news.items())

    def tell(self, word: Word | Queued) -> None:
        self.words.append(word)


class Pair:
    def __init__(self, *states: EndpointState, settings: SchedulerSettings | None = None) -> None:
        self.links = Link(), Link()
        self.links[0].other, self.links[1].other = self.links[1], self.links[0]
        self.both = tuple(make_peer(link, states, settings, order=link.tell) for link in self.links)
        self.one, self.two = self.both

    def deliver(self, number: int = 0, now: float = 0.0) -> list[Word | Queued]:
        """Let the other hear what one of them has told."""
        link = self.links[number]
        words, link.words = link.words, []
        for word in words:
            self.both[1 - number].heard(number, word, now)
        return words

    def exchange(self, now: float = 0.0) -> list[Queued]:
        """Let both hear what the other has told; give what was told of the order."""
        words = self.deliver(0, now) + self.deliver(1, now)
        return [word for word in words if isinstance(word, First | Served)]

    def occupied(self, name: str = "busy") -> None:
        """Let a seat be taken by a request of the first."""
        assert isinstance(self.one.route(request(name), now=0.0), Dispatch)

    def freed(
        self, now: float, name: str = "busy", number: int = 0, done: Measurement = DONE
    ) -> None:
        self.both[number].finished(name, done, now=now)

    def waits(self, number: int, name: str, now: float = 0.0, **changes: object) -> None:
        action = self.both[number].route(request(name, arrived_s=now, **changes), now=now)
        assert isinstance(action, Wait)

    def look(self, number: int, now: float) -> list[str]:
        """Let one of them look, and the other hear of it; give whom it has sent."""
        gone = [action for action in self.both[number].tick(now) if isinstance(action, Dispatch)]
        self.exchange(now)
        return [action.request_id for action in gone]
