"""What people want of endpoints: said at one router, known to all of them.

Every router keeps everything that was said and tells it again and again, so that it outlives
any one of them, and the server. Of two things said of an endpoint the later one holds, by the
shared clock. It goes with its endpoint: whoever comes much later to the same address is
another one.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from foretoken.departures import Departures
from foretoken.routers.frames import Decree

MOST_DECREES: Final = 1000
MOST_AHEAD_S: Final = 60.0
"""What was said so far in the future was not: nobody could ever say otherwise."""


class Decrees:
    """Hold the latest of every endpoint.

    >>> decrees = Decrees()
    >>> decrees.say("a:1", Decree(True, 5.0))
    >>> list(decrees.hear({"a:1": Decree(False, 4.0), "b:1": Decree(True, 4.0)}, now=6.0))
    [('b:1', Decree(draining=True, at_s=4.0))]
    >>> decrees.draining("a:1"), decrees.draining("c:1")
    (True, None)
    """

    def __init__(self) -> None:
        self._decrees: dict[str, Decree] = {}
        self._departures = Departures()
        self._over: dict[str, float] = {}  # what was said of it until then holds no more

    def follow(self, endpoints: Iterable[str], now: float) -> None:
        """Take in the whole present set, and forget what was said of those long gone."""
        for name in self._departures.follow(endpoints, now):
            decree = self._decrees.pop(name, None)
            if decree is not None:
                self._over[name] = decree.at_s
                if len(self._over) > MOST_DECREES:
                    del self._over[next(iter(self._over))]

    def say(self, endpoint: str, decree: Decree) -> None:
        """Take in what somebody said here."""
        self._decrees[endpoint] = decree
        if len(self._decrees) > MOST_DECREES:
            del self._decrees[min(self._decrees, key=lambda name: self._decrees[name].at_s)]

    def hear(self, decrees: Mapping[str, Decree], now: float) -> Iterator[tuple[str, Decree]]:
        """Take in what others know; give what of it holds from now on."""
        for endpoint, decree in decrees.items():
            known = self._decrees.get(endpoint)
            until_s = self._over.get(endpoint, float("-inf")) if known is None else known.at_s
            later = decree.at_s > until_s
            if later and decree.at_s <= now + MOST_AHEAD_S:
                self.say(endpoint, decree)
                yield endpoint, decree

    def draining(self, endpoint: str) -> bool | None:
        """Tell whether an endpoint is to be drained, ``None`` where nobody said."""
        decree = self._decrees.get(endpoint)
        return None if decree is None else decree.draining

    def all(self) -> dict[str, Decree]:
        """Give all, by endpoint."""
        return dict(self._decrees)
