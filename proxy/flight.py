"""One answer on its way that several requests share.

The first of them leads: its exchange feeds what it relays. Others follow: each reads at its
own pace what has come so far, from the start on. Nothing here does I/O: a follower is
called when there is news and takes it when its client can. What is kept is bounded; past
the bound nobody may join, and a follower that lags a whole bound behind is let go. Made by
:class:`proxy.response_cache.ResponseCache`.
"""

from collections.abc import Callable
from typing import Literal

from predictor.values import Value

FlightState = Literal["open", "complete", "failed"]


class Head(Value):
    """Hold what comes before the body of an answer with status 200.

    Attributes:
        lines: Header lines with their line ends, those that any client may see.
        length: Bytes of the body where the endpoint said so, ``None`` for a stream.
    """

    lines: bytes
    length: int | None


class Follower:
    """Read a shared answer; made by :meth:`Flight.join`.

    Attributes:
        begun: Whether anything of the answer has been taken.
    """

    __slots__ = ("_flight", "_lost", "begun", "on_news", "position")

    def __init__(self, flight: "Flight", on_news: Callable[[], None]) -> None:
        self._flight = flight
        self._lost = False
        self.on_news = on_news
        self.position = 0  # pieces taken, of all there have been
        self.begun = False

    @property
    def head(self) -> Head | None:
        """Give what comes before the body, ``None`` until it is there."""
        return self._flight.head

    @property
    def state(self) -> FlightState:
        """Say how the answer stands; complete only once all of it has been taken."""
        if self._lost:
            return "failed"
        flight = self._flight
        return "open" if flight.state == "complete" and self._behind else flight.state

    def take(self) -> bytes:
        """Give all that has come since the last time, empty where nothing has."""
        if self._lost or not self._behind:
            return b""
        self.begun = True
        return self._flight.read(self)

    def leave(self) -> None:
        """Follow no longer: the client has gone, or has all there is."""
        self._flight.drop(self)

    def lose(self) -> None:
        """Be let go: it lags too far behind."""
        self._lost = True
        self.leave()
        self.on_news()

    @property
    def _behind(self) -> bool:
        return self.position < self._flight.end


class Flight:
    """Hold an answer while it comes.

    Args:
        key: What it answers.
        max_bytes: More than this is not kept, and not shared with those who come later.

    Attributes:
        key: The same.
        head: What comes before its body, ``None`` until it is there.
        state: Open until the leader says how it ended.
        size_bytes: Of its body so far.
        on_deserted: Called when the last follower has left; set by a leader whose own
            client has gone.
    """

    def __init__(self, key: bytes, max_bytes: int) -> None:
        self.key = key
        self.head: Head | None = None
        self.state: FlightState = "open"
        self.size_bytes = 0
        self.on_deserted: Callable[[], None] | None = None
        self._max_bytes = max_bytes
        self._pieces: list[bytes] = []
        self._first = 0  # position of the first piece that is kept
        self._followers: list[Follower] = []

    @property
    def followers(self) -> int:
        """Count those who follow."""
        return len(self._followers)

    @property
    def storable(self) -> bool:
        """Say whether all of it is kept so far."""
        return self.size_bytes <= self._max_bytes

    @property
    def pieces(self) -> tuple[bytes, ...]:
        """Give what is kept of the body."""
        return tuple(self._pieces)

    @property
    def end(self) -> int:
        """Give the position after the last piece."""
        return self._first + len(self._pieces)

    # Called by followers

    def join(self, on_news: Callable[[], None]) -> Follower | None:
        """Follow it from the start, ``None`` where that is not kept any more.

        Args:
            on_news: Called when there is more, or the end.
        """
        if self.state != "open" or not self.storable:
            return None
        follower = Follower(self, on_news)
        self._followers.append(follower)
        return follower

    def read(self, follower: Follower) -> bytes:
        """Give a follower what it has not taken."""
        data = b"".join(self._pieces[follower.position - self._first :])
        follower.position = self.end
        if not self.storable:
            self._trim()
        return data

    def drop(self, follower: Follower) -> None:
        """Let a follower go; one that has gone changes nothing."""
        if follower not in self._followers:
            return
        self._followers.remove(follower)
        if not self.storable:
            self._trim()
        if not self._followers and self.on_deserted is not None and self.state == "open":
            self.on_deserted()

    # Called by the leader

    def begin(self, head: Head) -> None:
        """Take what comes before the body."""
        self.head = head
        self._tell()

    def feed(self, piece: bytes) -> None:
        """Take a piece of the body as the leader's client gets it."""
        if not piece:
            return
        self._pieces.append(piece)
        self.size_bytes += len(piece)
        if not self.storable:
            self._trim()
            for follower in list(self._followers):
                if self._lag_bytes(follower) > self._max_bytes:
                    follower.lose()
        self._tell()

    def finish(self, state: FlightState) -> None:
        """Take how it ended, once."""
        if self.state == "open":
            self.state = state
            self._tell()

    def _tell(self) -> None:
        for follower in list(self._followers):
            follower.on_news()

    def _trim(self) -> None:
        """Forget what every follower has taken."""
        least = min((follower.position for follower in self._followers), default=self.end)
        del self._pieces[: least - self._first]
        self._first = max(least, self._first)

    def _lag_bytes(self, follower: Follower) -> int:
        return sum(map(len, self._pieces[follower.position - self._first :]))
