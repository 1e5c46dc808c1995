"""Requests that wait: how many may, in which order they have their turn, and for how long.

One queue per fleet and priority band, the highest band first; within a band tenants are
served fairly (:mod:`scheduler.fair_queue`), also where others of them wait at other
schedulers (:mod:`scheduler.turns`). Bounded in count, bytes and time, and per tenant. Whether
one whose turn it is goes is the decider's to say. Called by the scheduler only.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Final

from scheduler.actions import Dispatch, Shed, ShedReason, Standing, Wait, WaitReason
from scheduler.fair_queue import FairQueue, Waiting
from scheduler.live import LiveRequest
from scheduler.objectives import Held
from scheduler.queue_bounds import QueueBounds
from scheduler.queue_pace import LEAST_RETRY_S, QueuePace
from scheduler.saturation import Placing
from scheduler.settings import SchedulerSettings
from scheduler.turns import Turn, Turns, Writer
from scheduler.words import First, Queued, Served

# Of a band, so many tenants' most urgent requests are tried at a look; whoever comes after
# them in the order of turns has little more chance.
MOST_TRIES: Final = 4
# A look at a fleet's queue costs a few decisions; each answer that ends would bring one.
LOOK_EVERY_S: Final = 0.01
# Seconds per token to weigh requests by before anything is predicted: an 8B model, an A100.
NOMINAL_PREFILL_TOKEN_S: Final = 1e-4
NOMINAL_TPOT_S: Final = 0.02
COST_STEP_S: Final = 2.0**-20
"""Costs are multiples of it: their sums are exact, in whichever order they are told."""
MOST_COST_S: Final = 1e6
# After so long a request is given up again whose attempt at the end of its wait failed.
AGAIN_S: Final = 1.0
_SLACK: Final = 64

NONE_UP: Final = Held(reason="no_endpoint")
BEHIND: Final = Held(reason="behind_others")

Attempt = Callable[[LiveRequest, float, Placing], Dispatch | Shed | Held]
"""Place a request that waits, if it can be."""

Refuse = Callable[[LiveRequest, ShedReason, float, float], Shed]
"""Refuse a request: why, when, and after how many seconds to try again."""


@dataclass(slots=True, kw_only=True)
class _Band:
    """Hold the waiting requests of one fleet and priority.

    Attributes:
        priority: Its priority.
        queue: They themselves.
        held: How many wait for something else than an endpoint to come up.
    """

    priority: int
    queue: FairQueue
    held: int = 0


@dataclass(slots=True, kw_only=True)
class _Lobby:
    """Hold what waits for one fleet, and what its decider last said of costs and pace.

    Attributes:
        bands: Those that wait, by priority.
        turns_s: When one last had its turn for having waited long enough, by the priority of
            its tier: by their own priorities, clients would make turns at will.
        prefill_token_s: Seconds a prompt token takes.
        tpot_s: Seconds an output token takes.
        pace: How fast they go.
        looked_s: When it was last looked at who can go.
    """

    bands: dict[int, _Band] = field(default_factory=dict)
    turns_s: dict[int, float] = field(default_factory=dict)
    prefill_token_s: float = NOMINAL_PREFILL_TOKEN_S
    tpot_s: float = NOMINAL_TPOT_S
    pace: QueuePace
    looked_s: float = -math.inf


@dataclass(slots=True, kw_only=True)
class _Entry:
    live: LiveRequest
    lobby: _Lobby
    band: _Band
    waiting: Waiting
    reason: WaitReason
    expires_s: float


class FlowControl:
    """Keep waiting requests within bounds, and let them go in order.

    Args:
        settings: Bounds.

    Attributes:
        turns: The order that is kept with other schedulers, ``None`` where there are none.
    """

    def __init__(self, settings: SchedulerSettings) -> None:
        self.turns: Turns | None = None
        self._settings = settings
        self._entries: dict[str, _Entry] = {}
        self._lobbies: dict[str, _Lobby] = {}
        self._expiry: list[tuple[float, str]] = []
        self._bounds = QueueBounds(settings)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._entries

    @property
    def waiting_bytes(self) -> int:
        """Sum up the prompts that wait."""
        return self._bounds.waiting_bytes

    def standing(self) -> Iterator[Standing]:
        """Give every request that waits."""
        for entry in self._entries.values():
            request = entry.live.request
            since_s = entry.waiting.since_s
            yield Standing(
                entry.live.fleet.model, request.tier, entry.reason, since_s, request.tenant
            )

    def configure(self, settings: SchedulerSettings) -> None:
        """Take other bounds into force, for those that come."""
        self._settings = self._bounds.settings = settings

    def is_behind(self, live: LiveRequest, now: float) -> bool:
        """Say whether requests of its fleet and its priority or above are held already."""
        fleet, priority = live.fleet.model, live.priority
        if self.turns is not None and self.turns.is_behind(fleet, priority, now):
            return True
        lobby = self._lobbies.get(fleet)
        if lobby is None:
            return False
        return any(one.held for one in lobby.bands.values() if one.priority >= priority)

    def enter(self, live: LiveRequest, held: Held, now: float) -> Wait | ShedReason:
        """Let a request wait, or say which bound it would break."""
        request = live.request
        refused = self._bounds.full_for(request.tenant, request.prompt_bytes)
        if refused is not None:
            return refused
        lobby = self._lobbies.setdefault(live.fleet.model, _Lobby(pace=QueuePace(now)))
        _note(lobby, held)
        expires_s = now + self._settings.longest_wait_s(live.tier)
        ttft_s = live.objective.ttft_s
        waiting = Waiting(
            request=request,
            since_s=now,
            due_s=expires_s if ttft_s is None else request.arrived_s + ttft_s,
            expires_s=expires_s,
            cost_s=_cost_s(live, lobby),
        )
        band = lobby.bands.get(live.priority)
        if band is None:
            band = lobby.bands[live.priority] = self._band(live.fleet.model, live.priority)
        band.queue.add(waiting)
        band.held += held.reason != "no_endpoint"
        self._entries[request.request_id] = _Entry(
            live=live,
            lobby=lobby,
            band=band,
            waiting=waiting,
            reason=held.reason,
            expires_s=expires_s,
        )
        heappush(self._expiry, (expires_s, request.request_id))
        self._bounds.came(request.tenant, request.prompt_bytes)
        live.waiting_since_s, live.wait_reason = now, held.reason
        return Wait(request_id=request.request_id, deadline_s=expires_s, reason=held.reason)

    def leave(self, request_id: str, now: float) -> None:
        """Take a request out that is not served."""
        entry = self._entries[request_id]
        entry.band.queue.remove(entry.waiting)
        self._gone(entry, now)

    def release(self, now: float, attempt: Attempt, refuse: Refuse) -> Iterator[Dispatch | Shed]:
        """Let go whoever can, and give up those that have waited as long as they may."""
        yield from self._give_up_overdue(now, attempt, refuse)
        for lobby in list(self._lobbies.values()):
            if now - lobby.looked_s >= LOOK_EVERY_S:
                lobby.looked_s = now
                yield from self._look(lobby, now, attempt)
        if self.turns is not None:
            for fleet, lobby in self._lobbies.items():
                if lobby.looked_s == now:
                    self.turns.stand(fleet, self._firsts(fleet, lobby))

    def reinstate(self) -> None:
        """Give all their places back: endpoints have come, gone or changed."""
        for lobby in self._lobbies.values():
            for band in lobby.bands.values():
                band.queue.reinstate()

    def retry_after_s(self, live: LiveRequest, now: float) -> float:
        """Estimate when those before a request that is refused will have gone, or given up."""
        lobby = self._lobbies.get(live.fleet.model)
        if lobby is None:
            return LEAST_RETRY_S
        bands = lobby.bands.values()
        before = sum(len(one.queue) for one in bands if one.priority >= live.priority)
        most_s = self._settings.longest_wait_s(live.tier)
        return lobby.pace.retry_after_s(before, now, most_s=most_s)

    def heard(self, writer: Writer, word: Queued, now: float) -> None:
        """Take in what another scheduler tells of requests that wait there."""
        if self.turns is None:
            return
        self.turns.heard(writer, word)
        if isinstance(word, Served) and word.after_long is not None:
            lobby = self._lobbies.get(word.fleet)
            if lobby is not None:
                lobby.turns_s[word.after_long] = now

    # How

    def _give_up_overdue(
        self, now: float, attempt: Attempt, refuse: Refuse
    ) -> Iterator[Dispatch | Shed]:
        while self._expiry and self._expiry[0][0] <= now:
            expires_s, request_id = heappop(self._expiry)
            entry = self._entries.get(request_id)
            if entry is not None and entry.expires_s == expires_s:
                # Should giving it up fail, it has another chance, and the others theirs first.
                entry.expires_s = now + AGAIN_S
                heappush(self._expiry, (entry.expires_s, request_id))
                yield self._give_up(entry, now, attempt, refuse)

    def _look(self, lobby: _Lobby, now: float, attempt: Attempt) -> Iterator[Dispatch | Shed]:
        """Let go whoever can of a fleet; whose turn it is is asked once for each band."""
        for band in sorted(lobby.bands.values(), key=_rank):
            turns = self.turns
            while (action := self._next_of(band, now, attempt, turns)) is not None:
                turns = None
                yield action

    def _serve(
        self, entry: _Entry, now: float, *, was_first: bool, after_long: int | None = None
    ) -> None:
        """Take a request out that is served, at its tenant's cost."""
        live, waiting, band = entry.live, entry.waiting, entry.band
        entry.lobby.pace.went(now)
        start_s = band.queue.serve(waiting)
        if self.turns is not None:
            self.turns.tell(
                Served(
                    live.fleet.model,
                    band.priority,
                    waiting.request.tenant,
                    start_s,
                    waiting.cost_s,
                    was_first,
                    after_long,
                )
            )
        self._gone(entry, now)

    def _gone(self, entry: _Entry, now: float) -> None:
        live, band, waiting = entry.live, entry.band, entry.waiting
        del self._entries[waiting.request_id]
        band.held -= entry.reason != "no_endpoint"
        if not band.queue:
            del entry.lobby.bands[band.priority]
            if not entry.lobby.bands:
                del self._lobbies[live.fleet.model]
            if self.turns is not None:
                self.turns.emptied(live.fleet.model, band.priority)
        self._bounds.left(waiting.request.tenant, waiting.request.prompt_bytes)
        if len(self._expiry) > 2 * len(self._entries) + _SLACK:  # those who left pile up
            known = self._entries.items()
            self._expiry = [(one.expires_s, name) for name, one in known]
            heapify(self._expiry)
        live.wait_reason, live.waiting_since_s = entry.reason, None
        live.queued_s += now - waiting.since_s

    def _next_of(
        self, band: _Band, now: float, attempt: Attempt, turns: Turns | None
    ) -> Dispatch | Shed | None:
        """Let the first of those go whose turn it is and who can."""
        for index, first in enumerate(band.queue.turns()[:MOST_TRIES]):
            waiting: Waiting | None = first
            while waiting is not None:
                entry = self._entries[waiting.request_id]
                if turns is not None and self._yields(turns, entry, now):
                    return None
                action = self._try(entry, now, attempt, was_first=index == 0)
                if action is not None:
                    return action
                # Whom only its own wishes keep back does not keep back its tenant's others.
                stuck = entry.reason == "no_endpoint" and _is_choosy(entry.live)
                waiting = band.queue.postpone(waiting) if stuck else None
        return None

    def _try(
        self, entry: _Entry, now: float, attempt: Attempt, *, was_first: bool
    ) -> Dispatch | Shed | None:
        """Let one go that can; note why it cannot."""
        has_turn = self._has_turn(entry, now)
        action = attempt(entry.live, now, "at_once" if has_turn else "release")
        if isinstance(action, Held):
            _note(entry.lobby, action)
            entry.band.held += (action.reason != "no_endpoint") - (entry.reason != "no_endpoint")
            entry.reason = action.reason
            return None
        tier = entry.live.tier.priority
        if has_turn:
            entry.lobby.turns_s[tier] = now
        if isinstance(action, Dispatch):
            self._serve(entry, now, was_first=was_first, after_long=tier if has_turn else None)
        else:
            self.leave(entry.waiting.request_id, now)
        return action

    def _band(self, fleet: str, priority: int) -> _Band:
        queue = FairQueue() if self.turns is None else self.turns.queue(fleet, priority)
        return _Band(priority=priority, queue=queue)

    def _yields(self, turns: Turns, entry: _Entry, now: float) -> bool:
        """Say whether one that could go leaves it to one of another scheduler."""
        band, waiting = entry.band, entry.waiting
        turn = Turn(_rank(band), band.queue.start_s(waiting), waiting.due_s)
        placing: Placing = "at_once" if self._has_turn(entry, now) else "release"
        return turns.yields(entry.live, turn, now, placing)

    def _firsts(self, fleet: str, lobby: _Lobby) -> Iterator[First]:
        """Find whose turn it is of those that an endpoint which is up could serve."""
        for band in lobby.bands.values():
            queue = band.queue
            for waiting in queue.turns() if band.held else ():
                if self._entries[waiting.request_id].reason != "no_endpoint":
                    start_s = queue.start_s(waiting)
                    yield First(fleet, band.priority, start_s, waiting.due_s, queue.virtual_s)
                    break

    def _has_turn(self, entry: _Entry, now: float) -> bool:
        """Say whether its band and tier have waited long enough to let it go, risk or not."""
        last_s = entry.lobby.turns_s.get(entry.live.tier.priority, -math.inf)
        least_s = self._settings.turn_after_s
        return now - max(last_s, entry.band.queue.oldest().since_s) >= least_s

    def _give_up(
        self, entry: _Entry, now: float, attempt: Attempt, refuse: Refuse
    ) -> Dispatch | Shed:
        """Refuse one that may be, or cannot go anywhere; let another go wherever is best."""
        live, reason, retry_s = entry.live, entry.reason, self.retry_after_s(entry.live, now)
        if reason == "no_endpoint" or not live.tier.sheddable:
            action = attempt(live, now, "at_once")
            if isinstance(action, Dispatch):
                self._serve(entry, now, was_first=False)
                return action
            if isinstance(action, Shed):
                self.leave(live.request.request_id, now)
                return action
        self.leave(live.request.request_id, now)
        return refuse(live, "queue_timeout", now, retry_s)


def _note(lobby: _Lobby, held: Held) -> None:
    prefill_token_s, tpot_s = held.prefill_token_s or math.nan, held.tpot_s or math.nan
    if math.isfinite(prefill_token_s + tpot_s):  # predictions may be no numbers
        lobby.prefill_token_s, lobby.tpot_s = prefill_token_s, tpot_s
    if held.dispatches_per_s:
        lobby.pace.fleet_per_s = held.dispatches_per_s


def _rank(band: _Band) -> int:
    return -band.priority


def _is_choosy(live: LiveRequest) -> bool:
    """Say whether others of its fleet can go where it cannot."""
    request = live.request
    return request.allowed_endpoints is not None or request.model not in {"", live.fleet.model}


def _cost_s(live: LiveRequest, lobby: _Lobby) -> float:
    """Give what a request is worth in seconds: its prefill and the output to be expected."""
    request, fleet = live.request, live.fleet
    output_tokens = fleet.output_lengths.expected(
        request.tenant, request.max_tokens, session=request.session_id
    )
    prefill_s = fleet.prompt_tokens(request) * lobby.prefill_token_s
    cost_s = min(prefill_s + output_tokens * lobby.tpot_s, MOST_COST_S)
    return max(math.ceil(cost_s / COST_STEP_S), 1) * COST_STEP_S
