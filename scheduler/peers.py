"""A scheduler among others that place requests on the same endpoints.

Beside its own bookings it counts those of the others (:mod:`scheduler.bookings`), and it
tells and hears what only the one who placed a request knows: which prompt went where, which
conversation and adapter, what was promised, and what a finished request showed of its
prompt and output. Each has its own models, and holds its own requests that wait; with those
that keep one order of these it shares whose turn it is (:mod:`scheduler.turns`). What is
heard late, or never, costs quality, or a short wait, and nothing else. Constructed by
``foretoken.build``; the words are carried by whoever connects the schedulers.
"""

import random
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from predictor.types import (
    Decision,
    EndpointState,
    Measurement,
    Objective,
    Observation,
    RequestFeatures,
    RequestRecord,
)
from scheduler.accounting import at_once
from scheduler.actions import Action, Dispatch, Shed
from scheduler.bookings import Ledger
from scheduler.capacity import Room
from scheduler.endpoint_table import Members
from scheduler.fleet import Fleet, FleetFactory
from scheduler.forecast import Forecast, Typical
from scheduler.live import LiveRequest
from scheduler.objectives import Held
from scheduler.saturation import Placing
from scheduler.scheduler import Scheduler
from scheduler.settings import SchedulerSettings
from scheduler.suspects import Suspicion
from scheduler.turns import Turns, Writer
from scheduler.words import First, Left, Queued, Sent, Served, Shown, Suspected, Word


class Herald(Protocol):
    """Carry words to the other schedulers."""

    def tell(self, word: Word) -> None:
        """Tell all others, soon."""
        ...


class PeerScheduler(Scheduler):
    """Place requests as one of several.

    Args:
        settings: As of any scheduler.
        make_fleet: Likewise.
        rng: Likewise.
        ledger: Holds everyone's bookings.
        herald: Carries what we tell.
        order: Tells those that keep one order of waiting requests with us, ``None`` for nobody.
        later: Calls back at the end of the event loop's turn, where there is one: others are
            told of our bookings then, once for all that the turn has changed.
    """

    def __init__(
        self,
        *,
        settings: SchedulerSettings,
        make_fleet: FleetFactory,
        rng: random.Random,
        ledger: Ledger,
        herald: Herald,
        order: Callable[[Queued], None] | None = None,
        later: Callable[[Callable[[], None]], object] = at_once,
    ) -> None:
        super().__init__(settings=settings, make_fleet=make_fleet, rng=rng)
        self._ledger = self._accounting.ledger = ledger
        self._accounting.later = later
        self._herald = herald
        self._suspects.on_suspect = self._tell_suspected
        if order is not None:
            self._queue.turns = Turns(tell=order, could=self._could)
        self._promised: dict[Writer, dict[str, Fleet]] = {}  # elsewhere, by writer and request

    # What others tell

    def heard(self, writer: Writer, word: Word | Queued, now: float) -> None:
        """Take in what another scheduler tells; what concerns unknown endpoints is dropped."""
        if isinstance(word, Left):
            self._heard_left(writer, word.request_id)
            return
        if isinstance(word, Suspected):
            if word.endpoint in self.states:
                self._suspects.hear(word.endpoint, word.reason, now)
            return
        if isinstance(word, First | Served):
            self._queue.heard(writer, word, now)
            return
        fleet = self.fleets.get(word.fleet)
        if fleet is None or word.endpoint not in self.states:
            return
        if isinstance(word, Sent):
            self._heard_sent(writer, fleet, word)
        else:
            self._heard_shown(fleet, word)

    def heard_lesson(self, seen: Observation) -> None:
        """Take in what another that has our models observed, beside what predictors learn."""
        fleet = self.fleets.get(seen.model)
        if fleet is not None:
            fleet.trust.judge_elsewhere(seen)

    def lost(self, writer: Writer) -> None:
        """Note that another scheduler is gone: its promises are no longer to be kept."""
        for name, fleet in self._promised.pop(writer, {}).items():
            fleet.promises.end(_key(writer, name))
        if self._queue.turns is not None:
            self._queue.turns.lost(writer)

    def joined(self) -> None:
        """Tell another scheduler that has just come what it could not hear."""
        if self._queue.turns is not None:
            self._queue.turns.repeat()

    # What is asked of us, with or without requests of our own

    def preview(self, request: RequestFeatures, now: float) -> Decision | None:
        """Decide as if the request came now, and book nothing."""
        self._hear_bookings(now)
        return super().preview(request, now)

    def forecast(self, model: str, typical: Typical, now: float) -> Forecast | None:
        """Predict a typical request at each endpoint of a fleet that is up; decide nothing."""
        self._hear_bookings(now)
        return super().forecast(model, typical, now)

    def rooms(self, fleet: Fleet, now: float) -> dict[str, Room]:
        """Say how full every endpoint of a fleet is."""
        self._hear_bookings(now)
        return super().rooms(fleet, now)

    # What happens here

    def update(self, states: Iterable[EndpointState]) -> None:
        """Take in the whole present set of endpoints."""
        super().update(states)
        self._ledger.follow(self.states)

    def route(self, request: RequestFeatures, now: float) -> Action:
        """Place a request that has just come in."""
        self._hear_bookings(now)
        return super().route(request, now)

    def tick(self, now: float) -> Iterator[Dispatch | Shed]:
        """Release waiting requests as any scheduler does, where nobody else just has.

        A seat that is free is seen by all of us: without a look at once two would take it.
        """
        if self.waiting_requests:
            self._hear_bookings(now, at_once=True)
        return super().tick(now)

    def finished(self, request_id: str, measurement: Measurement, now: float) -> RequestRecord:
        """End a request, learn from it, and let the others learn."""
        record = super().finished(request_id, measurement, now)
        if measurement.outcome == "completed":
            word = _shown(record)
            if word is not None:
                self._herald.tell(word)
        return record

    def _could(self, live: LiveRequest, now: float, placing: Placing) -> bool:
        """Say whether a request that waits could go; book nothing."""
        members = self._eligibility.eligible(live, now)
        if not members:
            return False
        self._hear_bookings(now)
        return isinstance(self._decided(live, members, now, placing), Decision)

    def _attempt(self, live: LiveRequest, now: float, placing: Placing) -> Dispatch | Shed | Held:
        self._hear_bookings(now)
        return super()._attempt(live, now, placing)

    def _choose(
        self, live: LiveRequest, members: Members, now: float, placing: Placing = "arrival"
    ) -> Dispatch | Shed | Held:
        action = super()._choose(live, members, now, placing)
        if isinstance(action, Dispatch):
            word = _sent(live, action.endpoint)
            if word is not None:
                self._herald.tell(word)
        return action

    def _release(self, live: LiveRequest, *, tpot_s: float | None) -> None:
        if live.endpoint is not None and live.objective:
            self._herald.tell(Left(live.request.request_id))
        super()._release(live, tpot_s=tpot_s)

    # How

    def _tell_suspected(self, endpoint: str, reason: Suspicion) -> None:
        self._herald.tell(Suspected(endpoint, reason))

    def _hear_bookings(self, now: float, *, at_once: bool = False) -> None:
        for endpoint, others in self._ledger.changed(now, at_once=at_once):
            self._accounting.hear(endpoint, others, now)
            fleet = self.fleets.get(self.states[endpoint].model or "")
            if fleet is not None:
                fleet.exploration.seen(endpoint)

    def _heard_sent(self, writer: Writer, fleet: Fleet, word: Sent) -> None:
        if word.block_hashes:
            self.caches.sent_elsewhere(word.endpoint, word.block_hashes)
        self._affinity.sent_elsewhere(word.fleet, word.model, word.session_id, word.endpoint)
        objective = Objective(ttft_s=word.ttft_s, tpot_s=word.tpot_s)
        if objective:
            self._heard_left(writer, word.request_id)  # should its end have been missed
            self._promised.setdefault(writer, {})[word.request_id] = fleet
            fleet.promises.make(
                _key(writer, word.request_id),
                objective,
                priority=word.priority,
                row=self._table.row(word.endpoint),
            )

    def _heard_left(self, writer: Writer, request_id: str) -> None:
        fleet = self._promised.get(writer, {}).pop(request_id, None)
        if fleet is not None:
            fleet.promises.end(_key(writer, request_id))

    def _heard_shown(self, fleet: Fleet, word: Shown) -> None:
        if word.prompt_tokens is not None:
            fleet.token_ratio.learn(
                prompt_bytes=word.prompt_bytes, prompt_tokens=word.prompt_tokens
            )
        if word.output_tokens is not None:
            fleet.output_lengths.learn(word.tenant, word.output_tokens, session=word.session_id)
        if word.cached_tokens is not None:
            self.caches.reported_elsewhere(
                word.endpoint,
                matched_tokens=word.matched_tokens,
                cached_tokens=word.cached_tokens,
            )


def _sent(live: LiveRequest, endpoint: str) -> Sent | None:
    """Say what others should know of a dispatch, ``None`` where there is nothing."""
    request, fleet = live.request, live.fleet.model
    objective = live.objective
    model = request.model or fleet
    if not (request.block_hashes or request.session_id or objective or model != fleet):
        return None
    return Sent(
        request.request_id,
        fleet,
        endpoint,
        model,
        request.session_id,
        request.block_hashes,
        objective.ttft_s,
        objective.tpot_s,
        live.priority,
    )


def _shown(record: RequestRecord) -> Shown | None:
    """Say what a completed request teaches beside its times, ``None`` for nothing."""
    request, measured, decision = record.request, record.measurement, record.decision
    if record.fleet is None or decision is None or record.endpoint is None:
        return None
    if record.observation is None and request.session_id is None:
        return None  # of many requests a share teaches, here as in what predictors learn
    counted = measured.prompt_tokens if request.prompt_tokens is None else None
    cached = None if decision.announced else measured.cached_tokens
    if counted is None and measured.output_tokens is None and cached is None:
        return None
    return Shown(
        record.fleet,
        decision.endpoint,
        request.tenant,
        request.session_id,
        request.prompt_bytes,
        counted,
        measured.output_tokens,
        float(decision.matched_tokens[decision.chosen]),
        cached,
    )


def _key(writer: Writer, request_id: str) -> str:
    """Name a request of another writer as none of ours can be named."""
    return f"{writer}\0{request_id}"
