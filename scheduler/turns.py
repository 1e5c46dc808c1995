"""Whose turn it is where several schedulers hold requests that wait for the same endpoints.

Each lets its own go in its own order, and tells the others who is first of each band and
what it has served. A scheduler whose first comes after another's leaves what is free to that
one, for as long as it may take to look. Whoever's turn it is lets go all that can at that
look: one by one, in turns, endpoints would be left idle for the time between two looks.
Called by the flow control of schedulers that have others.
"""

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from scheduler.fair_queue import FairQueue
from scheduler.live import LiveRequest
from scheduler.saturation import Placing
from scheduler.words import First, Queued, Served

Writer = int | str
"""Names another scheduler: the number of a worker, or what another router is called."""

PATIENCE_S: Final = 0.1
"""What is free is left to another for so long; it looks every few hundredths of a second."""
PASSED_S: Final = 0.5
"""Whoever took nothing is passed for so long, and then waited for again: it may be that it
could not, as others always looked first."""


class Turn(NamedTuple):
    """Say when a request is to go; the least is first.

    Attributes:
        rank: Its priority, negative.
        start_s: Where its tenant stands (:mod:`scheduler.fair_queue`).
        due_s: Its deadline, on the clock that all share.
    """

    rank: int
    start_s: float
    due_s: float


class _Offer:
    """Hold since when something is free that is left to another, and when that was last seen."""

    __slots__ = ("last_s", "since_s")

    def __init__(self, now: float) -> None:
        self.since_s = self.last_s = now

    def stands(self, now: float) -> bool:
        """Say whether it counts yet; whoever was passed for long has another chance."""
        return now - self.last_s <= 2 * PATIENCE_S and now - self.since_s <= PATIENCE_S + PASSED_S

    def is_late(self, now: float) -> bool:
        """Say whether it has not been taken for as long as it may."""
        return self.last_s - self.since_s >= PATIENCE_S and self.stands(now)


class _Other:
    """Hold who is first of those of a band at another scheduler.

    Attributes:
        turn: Its turn.
    """

    __slots__ = ("_offers", "turn")

    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        self._offers: dict[int, _Offer] = {}  # by our rank

    def offer(self, rank: int, now: float) -> None:
        """Note that one of ours of a rank could go, and leaves it to this one."""
        offer = self._offers.get(rank)
        if offer is None or not offer.stands(now):
            self._offers[rank] = _Offer(now)
        else:
            offer.last_s = now

    def withdraw(self, rank: int, now: float) -> None:
        """Note that nothing that ours of a rank could take is left to this one."""
        offer = self._offers.get(rank)
        if offer is None:
            return
        if offer.is_late(now):
            offer.last_s = now
        else:
            del self._offers[rank]

    def tarries(self, rank: int, now: float) -> bool:
        """Say whether it has not taken what was left to it, nor anything since."""
        offer = self._offers.get(rank)
        return offer is not None and offer.is_late(now)

    def took(self) -> None:
        """Note that whoever was first there has gone."""
        self._offers.clear()


class Turns:
    """Keep the order among schedulers.

    Args:
        tell: Tells all others, soon.
        could: Says whether a request could go.

    Attributes:
        tell: As above.
    """

    def __init__(
        self,
        *,
        tell: Callable[[Queued], None],
        could: Callable[[LiveRequest, float, Placing], bool],
    ) -> None:
        self.tell = tell
        self._could = could
        self._others: dict[str, dict[tuple[Writer, int], _Other]] = {}  # by fleet
        self._queues: dict[tuple[str, int], FairQueue] = {}  # in which anybody waits anywhere
        self._told: dict[tuple[str, int], First] = {}

    def queue(self, fleet: str, priority: int) -> FairQueue:
        """Give the queue of a band; what others served of it has been paid there."""
        return self._queues.setdefault((fleet, priority), FairQueue())

    def emptied(self, fleet: str, priority: int) -> None:
        """Note that none of ours of a band waits any more."""
        self._step_back(fleet, priority)
        self._tidy(fleet, priority)

    def is_behind(self, fleet: str, priority: int, now: float) -> bool:
        """Say whether another holds requests of a fleet of this priority or above."""
        others = self._others.get(fleet)
        if not others:
            return False
        rank = -priority
        return any(one.turn.rank <= rank and not one.tarries(rank, now) for one in others.values())

    def yields(self, live: LiveRequest, turn: Turn, now: float, placing: Placing) -> bool:
        """Leave what is free to those elsewhere that are before one of ours, for a while.

        Args:
            live: Ours.
            turn: Its turn.
            now: Clock in seconds.
            placing: How it would go.

        Returns:
            Whether ours could go, and is not to.
        """
        others = self._others.get(live.fleet.model)
        if not others:
            return False
        before = [one for one in others.values() if one.turn < turn]
        if placing == "at_once":  # after a long wait, in spite of whoever is more urgent
            before = [one for one in before if one.turn.rank == turn.rank]
        could = bool(before) and self._could(live, now, placing)
        for other in others.values():
            if could and other in before:
                other.offer(turn.rank, now)
            else:  # what is free is ours, or nothing is
                other.withdraw(turn.rank, now)
        return could and not all(other.tarries(turn.rank, now) for other in before)

    def stand(self, fleet: str, firsts: Iterable[First]) -> None:
        """Tell who is first of ours in each band of a fleet, where that has changed."""
        present = {first.priority: first for first in firsts}
        for name, band in list(self._told):
            if name == fleet and band not in present:
                self._step_back(fleet, band)
        for priority, first in present.items():
            known = self._told.get((fleet, priority))
            if known is None or (known.start_s, known.due_s) != (first.start_s, first.due_s):
                self._told[fleet, priority] = first
                self.tell(first)

    def repeat(self) -> None:
        """Tell again, for somebody who has just come."""
        for first in self._told.values():
            self.tell(first)

    def heard(self, writer: Writer, word: Queued) -> None:
        """Take in what another tells."""
        key = writer, word.priority
        others = self._others.get(word.fleet, {})
        other = others.get(key)
        if isinstance(word, Served):
            queue = self._queues.get((word.fleet, word.priority))
            if queue is not None:
                queue.served_elsewhere(word.tenant, word.start_s, word.cost_s)
            if other is not None and word.was_first:
                other.took()
            return
        if word.start_s is None:
            self._left(word.fleet, key)
            return
        turn = Turn(-word.priority, word.start_s, word.due_s)
        if other is None:
            self._others.setdefault(word.fleet, {})[key] = _Other(turn)
        else:
            if other.turn.due_s != word.due_s:  # another one is first
                other.took()
            other.turn = turn
        queue = self.queue(word.fleet, word.priority)
        queue.virtual_s = max(queue.virtual_s, word.virtual_s)

    def lost(self, writer: Writer) -> None:
        """Forget another that is gone."""
        for fleet, others in list(self._others.items()):
            for key in [one for one in others if one[0] == writer]:
                self._left(fleet, key)

    def _step_back(self, fleet: str, priority: int) -> None:
        """Tell that none of ours of a band is first, where one was said to be."""
        if self._told.pop((fleet, priority), None) is not None:
            self.tell(First(fleet, priority))

    def _left(self, fleet: str, key: tuple[Writer, int]) -> None:
        others = self._others.get(fleet, {})
        others.pop(key, None)
        if not others:
            self._others.pop(fleet, None)
        self._tidy(fleet, key[1])

    def _tidy(self, fleet: str, priority: int) -> None:
        """Forget a queue in which nobody waits."""
        waits = any(band == priority for _, band in self._others.get(fleet, {}))
        if not waits and not self._queues.get((fleet, priority)):
            self._queues.pop((fleet, priority), None)
