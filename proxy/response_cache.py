"""Answers kept for requests that come again, byte for byte.

Holds complete answers within a bound of bytes and age, the last used ones, and answers on
their way, which equal requests share from the start (:mod:`proxy.flight`). It does no I/O
and reads no clock; which requests may be answered so, and by which key, is
:mod:`proxy.cache_rules`'s. Called by the relay.
"""

from collections import OrderedDict
from dataclasses import dataclass

from predictor.values import Value
from proxy.flight import Flight, Head
from proxy.settings import ResponseCacheSettings

ENTRY_BYTES = 1024
"""Counted for an entry besides its body: key, headers, objects."""


class Stored(Value):
    """Hold a complete answer.

    Attributes:
        head: What comes before its body.
        pieces: Its body; of a stream, as it was relayed.
        stored_s: When it was complete.
    """

    head: Head
    pieces: tuple[bytes, ...]
    stored_s: float

    @property
    def body_bytes(self) -> int:
        """Give the length of its body."""
        return sum(map(len, self.pieces))


@dataclass(slots=True)
class CacheCounts:
    """Count what the cache was good for.

    Attributes:
        hits: Requests answered from it.
        misses: Requests that had to be sent, and might have been answered.
        coalesced: Requests that shared an answer on its way.
        evicted: Answers that went to make room.
        expired: Answers found too old.
        served_bytes: Of bodies given from it.
    """

    hits: int = 0
    misses: int = 0
    coalesced: int = 0
    evicted: int = 0
    expired: int = 0
    served_bytes: int = 0


class ResponseCache:
    """Keep answers.

    Attributes:
        counts: What it was good for.
        stored_bytes: What is kept, within ``max_bytes``.

    >>> cache = ResponseCache(ResponseCacheSettings())
    >>> flight = cache.lead(b"key")
    >>> flight.begin(Head(lines=b"", length=2))
    >>> flight.feed(b"{}")
    >>> cache.complete(flight, now=1.0)
    >>> cache.find(b"key", now=2.0).pieces
    (b'{}',)
    """

    def __init__(self, settings: ResponseCacheSettings) -> None:
        self._settings = settings
        self._stored: OrderedDict[bytes, Stored] = OrderedDict()
        self._flights: dict[bytes, Flight] = {}
        self.counts = CacheCounts()
        self.stored_bytes = 0

    def __len__(self) -> int:
        return len(self._stored)

    @property
    def flights(self) -> int:
        """Count answers on their way."""
        return len(self._flights)

    def find(self, key: bytes, now: float) -> Stored | None:
        """Give the answer of a key, ``None`` where none is kept or it is too old."""
        stored = self._stored.get(key)
        if stored is None:
            return None
        if now - stored.stored_s > self._settings.max_age_s:
            self._remove(key)
            self.counts.expired += 1
            return None
        self._stored.move_to_end(key)
        self.counts.hits += 1
        self.counts.served_bytes += stored.body_bytes
        return stored

    def flight(self, key: bytes) -> Flight | None:
        """Give the answer of a key that is on its way, to be joined."""
        return self._flights.get(key)

    def joined(self) -> None:
        """Count a request that shares an answer on its way."""
        self.counts.coalesced += 1

    def lead(self, key: bytes) -> Flight:
        """Begin an answer that others may share; end it by :meth:`complete` or :meth:`fail`.

        Where one is on its way already, and could not be joined, this one is its leader's alone.
        """
        self.counts.misses += 1
        flight = Flight(key, self._settings.max_entry_bytes)
        self._flights.setdefault(key, flight)
        return flight

    def complete(self, flight: Flight, now: float) -> None:
        """Keep an answer that has come whole, with status 200."""
        flight.finish("complete")
        if not self._land(flight) or flight.head is None or not flight.storable:
            return
        stored = Stored(head=flight.head, pieces=_joined(flight.pieces), stored_s=now)
        if _entry_bytes(stored) > self._settings.max_bytes:
            return
        self._remove(flight.key)
        self._stored[flight.key] = stored
        self.stored_bytes += _entry_bytes(stored)
        while self.stored_bytes > self._settings.max_bytes:
            self._remove(next(iter(self._stored)))
            self.counts.evicted += 1

    def fail(self, flight: Flight) -> None:
        """Give up an answer: those who follow it go on their own where they still can."""
        flight.finish("failed")
        self._land(flight)

    def clear(self) -> int:
        """Forget every answer; those on their way are not kept for whoever comes later either.

        Returns:
            How many there were.
        """
        known = len(self._stored)
        self._stored.clear()
        self._flights.clear()
        self.stored_bytes = 0
        return known

    def _land(self, flight: Flight) -> bool:
        """End a flight; say whether it was the one others would have joined."""
        if self._flights.get(flight.key) is not flight:
            return False
        del self._flights[flight.key]
        return True

    def _remove(self, key: bytes) -> None:
        stored = self._stored.pop(key, None)
        if stored is not None:
            self.stored_bytes -= _entry_bytes(stored)


def _joined(pieces: tuple[bytes, ...], most_bytes: int = 16_384) -> tuple[bytes, ...]:
    """Join neighbouring pieces up to a size: a token's event is a hundred bytes.

    >>> _joined((b"ab", b"c", b"defg", b"h"), most_bytes=4)
    (b'abc', b'defg', b'h')
    """
    joined: list[bytes] = []
    run: list[bytes] = []
    size = 0
    for piece in pieces:
        if run and size + len(piece) > most_bytes:
            joined.append(b"".join(run))
            run, size = [], 0
        run.append(piece)
        size += len(piece)
    if run:
        joined.append(b"".join(run))
    return tuple(joined)


def _entry_bytes(stored: Stored) -> int:
    return ENTRY_BYTES + len(stored.head.lines) + stored.body_bytes
