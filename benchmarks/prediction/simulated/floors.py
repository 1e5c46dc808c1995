"""How much of a latency nobody can know at dispatch: replays of the same request.

At sampled dispatches the chosen endpoint's engine is kept as it stood. Once the request
has ended, it is played again from there, several times, in two ways:

- *noise*: the same later arrivals at the same times, other step noise. What is left to
  somebody who knows the endpoint's state, every answer's length and the future.
- *noise and future*: also other later arrivals, and other lengths of the answers that
  are being given there. The arrivals are those of another moment of the same run at the
  same endpoint, when about as many requests were in flight; each finds as much of its
  prompt cached as it did then. Left to somebody who knows the endpoint's whole state,
  and of the future only what it is like.

Requests go where they went: assignments are fixed in both. A predictor sees an endpoint's
state only through scrapes and its own books, so the second floor is still below what it
can reach.
"""

import bisect
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from random import Random
from typing import Final

import numpy as np

from benchmarks.prediction.simulated.recording import Floors
from foretoken.simulation.witness import Witness
from foretoken.simulation.world import World
from predictor.features import COLUMN
from predictor.types import RequestRecord
from scheduler import Dispatch
from simulator.engine import Engine
from simulator.fork import copy_engine, fork
from simulator.playback import play_one
from simulator.types import SimRequest

REPLAYS: Final = 8
NEAREST: Final = 40
"""Moments alike in requests in flight, among which futures are drawn."""
LONGER: Final = 1.3
"""Replays last longer or shorter than the run did: so much of what came later is kept."""
_MORE_S: Final = 1.0

Labels = tuple[float, float]
"""TTFT and TPOT in seconds; NaN where there is none."""


@dataclass(slots=True, kw_only=True)
class _Arrival:
    """One request's arrival at an endpoint."""

    at_s: float
    request: SimRequest
    inflight: float
    cached_tokens: float


@dataclass(slots=True, kw_only=True)
class _Log:
    """What arrived at one endpoint, in order of time."""

    times_s: list[float] = field(default_factory=list)
    arrivals: list[_Arrival] = field(default_factory=list)

    def add(self, arrival: _Arrival) -> None:
        self.times_s.append(arrival.at_s)
        self.arrivals.append(arrival)

    def within(self, after_s: float, until_s: float) -> list[_Arrival]:
        first = bisect.bisect_right(self.times_s, after_s)
        return self.arrivals[first : bisect.bisect_right(self.times_s, until_s)]

    def until(self, until_s: float) -> list[_Arrival]:
        return self.arrivals[: bisect.bisect_right(self.times_s, until_s)]


@dataclass(slots=True, kw_only=True)
class _Sample:
    """One dispatch to be played again."""

    number: int
    endpoint: str
    arrival: _Arrival
    sent_s: float
    engine: Engine
    ended_s: float | None = None

    @property
    def horizon_s(self) -> float:
        """Give for how long things are played again."""
        return ((self.ended_s or self.sent_s) - self.sent_s) * LONGER + _MORE_S


class FloorMeter(Witness):
    """Sample dispatches of a run and play them again.

    Args:
        world: The run's truth.
        first: Number of the first dispatch sampled.
        every: Which ones after it.
        seed: Of noise and futures.
    """

    def __init__(self, world: World, *, first: int, every: int, seed: int) -> None:
        self._world = world
        self._first, self._every = first, every
        self._rng = Random(f"{seed} floors")
        self._logs = {name: _Log() for name in world.engines}
        self._open: dict[str, _Arrival] = {}
        self._lengths: list[int] = []  # of answers given, ascending
        self._waiting: deque[_Sample] = deque()
        self._sample_of: dict[str, _Sample] = {}
        self._dispatches = 0
        self._done: list[tuple[int, list[Labels], list[Labels]]] = []

    def dispatched(self, action: Dispatch, now: float) -> None:
        """Note an arrival to be, and keep the engine if it is sampled."""
        self._replay_due(now)
        name, decision = action.endpoint, action.decision
        row = decision.features[decision.chosen]
        arrival = _Arrival(
            at_s=now + self._world.fleet.network_delay_s,
            request=self._world.requests[action.request_id],
            inflight=float(row[COLUMN["inflight_requests"]]),
            cached_tokens=float(row[COLUMN["cached_tokens"]]),
        )
        number, self._dispatches = self._dispatches, self._dispatches + 1
        self._open[action.request_id] = arrival
        if number >= self._first and (number - self._first) % self._every == 0:
            sample = _Sample(
                number=number,
                endpoint=name,
                arrival=arrival,
                sent_s=now,
                engine=copy_engine(self._world.engines[name], now),
            )
            self._sample_of[action.request_id] = sample
        self._logs[name].add(arrival)

    def ended(self, record: RequestRecord, now: float) -> None:
        """Note what became of a request; a sampled one can soon be played again."""
        self._replay_due(now)
        request_id, measured = record.request.request_id, record.measurement
        arrival = self._open.pop(request_id, None)
        sample = self._sample_of.pop(request_id, None)
        if arrival is None or measured.outcome != "completed":
            return
        if measured.cached_tokens is not None:
            arrival.cached_tokens = measured.cached_tokens
        bisect.insort(self._lengths, arrival.request.output_tokens)
        if sample is not None:
            sample.ended_s = now
            self._waiting.append(sample)

    def floors(self) -> Floors:
        """Play again what is left, and give all."""
        while self._waiting:
            self._replay(self._waiting.popleft())
        done = sorted(self._done)
        shape = (len(done), REPLAYS, 2)
        noise = np.array([noise for _, noise, _ in done]).reshape(shape)
        future = np.array([future for _, _, future in done]).reshape(shape)
        return Floors(
            dispatch=np.array([number for number, _, _ in done], dtype=np.int64),
            noise_s=noise.swapaxes(1, 2),
            future_s=future.swapaxes(1, 2),
        )

    def _replay_due(self, now: float) -> None:
        """Play again those for which enough of what came later is known."""
        while self._waiting:
            sample = self._waiting[0]
            if now < sample.sent_s + sample.horizon_s:
                return
            self._replay(self._waiting.popleft())

    def _replay(self, sample: _Sample) -> None:
        moments = self._moments(sample)
        if len(moments) < REPLAYS:
            return
        chosen = self._rng.sample(moments, REPLAYS)
        noise = [self._with_noise(sample) for _ in range(REPLAYS)]
        future = [self._with_future(sample, moment) for moment in chosen]
        self._done.append((sample.number, noise, future))

    def _moments(self, sample: _Sample) -> list[_Arrival]:
        """Find earlier arrivals at the endpoint that met about as many requests."""
        log, inflight = self._logs[sample.endpoint], sample.arrival.inflight
        over = log.until(sample.sent_s - sample.horizon_s)
        return sorted(over, key=lambda one: abs(one.inflight - inflight))[:NEAREST]

    def _with_noise(self, sample: _Sample) -> Labels:
        engine = fork(sample.engine, sample.sent_s, self._rng)
        later = self._logs[sample.endpoint].within(sample.sent_s, sample.sent_s + sample.horizon_s)
        return self._play(engine, sample, ((one.at_s, one.request) for one in later))

    def _with_future(self, sample: _Sample, moment: _Arrival) -> Labels:
        lengths = self._other_lengths(sample)
        engine = fork(sample.engine, sample.sent_s, self._rng, lengths)
        return self._play(engine, sample, self._arrivals_like(moment, sample, engine))

    def _arrivals_like(
        self, moment: _Arrival, sample: _Sample, engine: Engine
    ) -> Iterator[tuple[float, SimRequest]]:
        """Give the sampled request, then what came after another moment, caches included."""
        here = sample.arrival
        yield here.at_s, here.request
        salt = self._rng.getrandbits(62) | 1
        cache = engine.snapshot(here.at_s).kv.cache
        until_s = moment.at_s + sample.horizon_s
        for one in self._logs[sample.endpoint].within(moment.at_s, until_s):
            blocks = int(one.cached_tokens) // engine.block_size
            hashes = one.request.block_hashes
            found = hashes[:blocks]
            cache.warm(found)
            yield (
                here.at_s + (one.at_s - moment.at_s),
                replace(
                    one.request,
                    request_id=f"{one.request.request_id} again",
                    block_hashes=[*found, *((block ^ salt) for block in hashes[blocks:])],
                ),
            )

    def _other_lengths(self, sample: _Sample) -> dict[str, int]:
        """Draw how long the answers given there get, each longer than it is by now."""
        state = sample.engine.snapshot(sample.sent_s)
        alive = [(one, one.generated + state.decoded_steps - one.joined) for one in state.decoding]
        alive += [(one, one.generated) for one, _ in state.prefilling]
        alive += [(one, one.generated) for one in state.queue.requests()]
        drawn = {}
        for one, generated in alive:
            longer = bisect.bisect_right(self._lengths, generated + 1)
            if longer < len(self._lengths):
                at = self._rng.randrange(longer, len(self._lengths))
                drawn[one.request.request_id] = self._lengths[at]
        return drawn

    def _play(
        self, engine: Engine, sample: _Sample, arrivals: Iterator[tuple[float, SimRequest]]
    ) -> Labels:
        done = play_one(engine, arrivals, sample.arrival.request.request_id)
        if done is None:
            return np.nan, np.nan
        way_s = self._world.fleet.network_delay_s
        tpot_s = done.tpot_s
        return done.ttft_s + 2 * way_s, np.nan if tpot_s is None else tpot_s
