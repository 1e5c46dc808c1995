"""Remember where each conversation went last.

Bounded whatever clients send: a session is kept as a 64-bit hash, the longest silent one
goes first, and an endpoint that leaves or restarts takes its sessions with it. Called by
:mod:`scheduler.affinity` only.
"""

from collections import OrderedDict
from typing import Final

from xxhash import xxh3_64_intdigest

MOST_SESSIONS: Final = 100_000
"""Sessions remembered, of all models together: 21 MB of measured memory when full."""


class Sessions:
    """Map sessions to the endpoint they were last sent to.

    >>> sessions = Sessions()
    >>> sessions.sent("m", "essay", "a:1")
    >>> sessions.endpoint("m", "essay"), sessions.endpoint("m", "other")
    ('a:1', None)
    >>> sessions.forget("a:1")
    >>> sessions.endpoint("m", "essay") is None
    True
    """

    def __init__(self, most: int = MOST_SESSIONS) -> None:
        self._most = most
        self._stays: OrderedDict[int, int] = OrderedDict()  # session -> stay of an endpoint
        # Each time an endpoint comes it gets a number of its own, so that forgetting it
        # need not search the sessions: what bears a number nobody has is not there.
        self._stay_of: dict[str, int] = {}
        self._endpoint_of: dict[int, str] = {}
        self._last_stay = 0

    def __len__(self) -> int:
        return len(self._stays)

    def sent(self, fleet: str, session: str, endpoint: str) -> None:
        """Note where a request of a session goes."""
        stay = self._stay_of.get(endpoint)
        if stay is None:
            self._last_stay = stay = self._last_stay + 1
            self._stay_of[endpoint] = stay
            self._endpoint_of[stay] = endpoint
        key = _key(fleet, session)
        self._stays[key] = stay
        self._stays.move_to_end(key)
        if len(self._stays) > self._most:
            self._stays.popitem(last=False)

    def endpoint(self, fleet: str, session: str) -> str | None:
        """Give the endpoint a session was last sent to, ``None`` where that is not known."""
        stay = self._stays.get(_key(fleet, session))
        return None if stay is None else self._endpoint_of.get(stay)

    def forget(self, endpoint: str) -> None:
        """Forget every session of an endpoint that has left or lost its cache."""
        stay = self._stay_of.pop(endpoint, None)
        if stay is not None:
            del self._endpoint_of[stay]


def _key(fleet: str, session: str) -> int:
    return xxh3_64_intdigest(f"{fleet}\0{session}".encode(errors="surrogatepass"))
