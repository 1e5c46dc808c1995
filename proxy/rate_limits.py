"""How much each key may ask for in a minute: requests, and tokens.

The strategy is the sliding window counter of the ``limits`` library: two counts per key
and limit, of this minute and the one before, the latter weighted by how much of it the
window still covers. Its storage is our own, in memory, on the service's clock and without
locks, for one event loop: the library's starts a thread every 10 ms. Prompt tokens count
when a request comes, by estimate where they are not known; at its end the count is put
right by what the endpoint reports. Called by the relay.
"""

import math
from collections.abc import Callable
from typing import Final

from limits import RateLimitItemPerMinute
from limits.storage import Storage
from limits.storage.base import SlidingWindowCounterSupport
from limits.strategies import SlidingWindowCounterRateLimiter

from proxy.access import Caller
from proxy.errors import RateLimited
from proxy.settings import AccessSettings

WINDOW_S: Final = 60


class WindowCounts(Storage, SlidingWindowCounterSupport):
    """Keep the counts of the present and the last window, by key.

    >>> counts = WindowCounts(lambda: 90.0)  # half of a minute has passed
    >>> [counts.acquire_sliding_window_entry("k", 2, 60) for _ in range(3)]
    [True, True, False]
    >>> counts.wait_s("k", 2, 60, 1)  # at 150 s the first two count half
    60.0
    """

    STORAGE_SCHEME = None

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self._windows: dict[str, tuple[int, int, int]] = {}  # number, its count, the last one's

    @property
    def base_exceptions(self) -> type[Exception]:
        """Name what can go wrong underneath: nothing of its own."""
        return ValueError

    def acquire_sliding_window_entry(
        self, key: str, limit: int, expiry: int, amount: int = 1
    ) -> bool:
        """Count ``amount`` if the window then holds no more than ``limit``."""
        number, count, before, passed = self._window(key, expiry)
        if math.floor(before * (1.0 - passed)) + count + amount > limit:
            return False
        self._windows[key] = number, count + amount, before
        return True

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Give the last count, the seconds it still weighs, the present one and its seconds."""
        _, count, before, passed = self._window(key, expiry)
        left_s = (1.0 - passed) * expiry
        return before, left_s, count, left_s + expiry

    def clear_sliding_window(self, key: str, expiry: int) -> None:  # noqa: ARG002  # theirs
        """Forget a key."""
        self.clear(key)

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count ``amount``, whatever the limit, below 0 to take back; give the count."""
        number, count, before, _ = self._window(key, expiry)
        count = max(count + amount, 0)
        self._windows[key] = number, count, before
        return count

    def wait_s(self, key: str, limit: int, expiry: int, amount: int) -> float | None:
        """Give when ``amount`` would be let in if nothing else came, ``None`` for never."""
        _, count, before, passed = self._window(key, expiry)
        room = limit - amount  # what the window may hold before it
        if room < 0:
            return None
        if count <= room:  # the last window has to weigh less
            weight = (room - count) / before if before else 1.0
            return max(0.0, (1.0 - passed - weight) * expiry)
        return (1.0 - passed + 1.0 - room / count) * expiry

    def get(self, key: str) -> int:
        """Give the count of the window a key was last seen in."""
        return self._windows.get(key, (0, 0, 0))[1]

    def get_expiry(self, key: str) -> float:  # noqa: ARG002  # theirs
        """Give the present: counts fade, and never expire at once."""
        return self._clock()

    def check(self) -> bool:
        """Say that memory is there."""
        return True

    def reset(self) -> int:
        """Forget everything; say how many keys that were."""
        known = len(self._windows)
        self._windows.clear()
        return known

    def clear(self, key: str) -> None:
        """Forget a key."""
        self._windows.pop(key, None)

    def _window(self, key: str, expiry: int) -> tuple[int, int, int, float]:
        """Give the window's number and count, the one's before, and the share that has passed."""
        now = self._clock() / expiry
        number = int(now)
        known, count, before = self._windows.get(key, (number, 0, 0))
        if known != number:
            before, count = (count if known == number - 1 else 0), 0
        return number, count, before, now - number


class RateLimits:
    """Let the holders of keys ask for as much as they may.

    Args:
        settings: What holds for keys without limits of their own.
        clock: Seconds that never go back.
    """

    def __init__(self, settings: AccessSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._counts = WindowCounts(clock)
        self._limiter = SlidingWindowCounterRateLimiter(self._counts)
        self._items: dict[tuple[str, int], RateLimitItemPerMinute] = {}

    def bound(self, caller: Caller) -> bool:
        """Tell whether a caller has any limit."""
        return any(limit is not None for limit in self._limits_of(caller))

    def admit(self, caller: Caller, tokens: int) -> int:
        """Count a request of a caller and the tokens of its prompt.

        Returns:
            The tokens counted, for :meth:`settle`; 0 where they are not limited.

        Raises:
            RateLimited: It has to wait; nothing is counted then.
        """
        requests, most_tokens = self._limits_of(caller)
        if requests is not None:
            self._take("requests", requests, caller.name, 1)
        if most_tokens is None:
            return 0
        counted = min(tokens, most_tokens)  # a longer prompt would never get in
        try:
            self._take("tokens", most_tokens, caller.name, counted)
        except RateLimited:
            if requests is not None:
                self._counts.incr(self._key("requests", requests, caller.name), WINDOW_S, -1)
            raise
        return counted

    def settle(self, caller: Caller, counted: int, used: int | None) -> None:
        """Put the tokens of a request right that has ended; ``None``: it did not tell."""
        _, most_tokens = self._limits_of(caller)
        if most_tokens is not None and used is not None:
            key = self._key("tokens", most_tokens, caller.name)
            self._counts.incr(key, WINDOW_S, used - counted)

    def _limits_of(self, caller: Caller) -> tuple[int | None, int | None]:
        settings = self._settings
        requests, tokens = caller.requests_per_minute, caller.tokens_per_minute
        return (
            settings.requests_per_minute if requests is None else requests,
            settings.tokens_per_minute if tokens is None else tokens,
        )

    def _take(self, what: str, limit: int, name: str, amount: int) -> None:
        if not self._limiter.hit(self._item(what, limit), name, cost=amount):
            key = self._key(what, limit, name)
            raise RateLimited(what, limit, self._counts.wait_s(key, limit, WINDOW_S, amount))

    def _item(self, what: str, limit: int) -> RateLimitItemPerMinute:
        item = self._items.get((what, limit))
        if item is None:
            item = self._items[what, limit] = RateLimitItemPerMinute(limit, namespace=what)
        return item

    def _key(self, what: str, limit: int, name: str) -> str:
        return self._item(what, limit).key_for(name)
