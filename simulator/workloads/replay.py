"""Recorded traces, sent again.

Decides when: an open trace at its times, stretched to the rate asked for and begun
again, with fresh content, where it ends; a closed one as so many sessions at a time,
each request after the one before it and the thinking recorded.
"""

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random
from struct import Struct
from typing import Final, Literal

import xxhash
from pydantic import BaseModel, ConfigDict, Field

from simulator.errors import WorkloadInvalid
from simulator.traffic import Chain, TrafficRequest
from simulator.workloads.arrivals import check_arrivals
from simulator.workloads.foreign import TraceKind
from simulator.workloads.lengths import MOST_TOKENS
from simulator.workloads.trace import Trace
from simulator.workloads.trace_lines import MOST_SECONDS

LEAST_SPAN_S: Final = 1e-6
"""Time that an open trace has to cover."""

_PLACE: Final = Struct("<qq").pack
_INT64: Final = 1 << 63


class ReplaySpec(BaseModel):
    """Configure a replay."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["replay"]
    trace: str = Field(min_length=1)
    """File, relative to the data folder."""
    format: TraceKind
    max_prompt_tokens: int = Field(default=MOST_TOKENS, ge=1, le=MOST_TOKENS)
    """Open: a longer prompt is left out. Closed: its session ends before it."""
    max_think_s: float = Field(default=MOST_SECONDS, ge=0.0)
    """Longer thinking is cut: a user who goes to lunch leaves the fleet idle, no more."""
    ramp_s: float = Field(default=30.0, ge=0.0, le=86_400.0)
    """Closed: users begin evenly spread over this time."""
    random_start: bool = False
    """Open: begin at a seeded place, so that seeds see other parts of a long trace."""


class Replay:
    """Replay one trace.

    Args:
        spec: How.
        trace: The recording, whole.

    Raises:
        WorkloadInvalid: No request is within ``max_prompt_tokens``, or an open trace has
            no span of time to take a rate from.
    """

    def __init__(self, spec: ReplaySpec, trace: Trace) -> None:
        self._spec = spec
        self.path = trace.path
        self.loop: Literal["open", "closed"] = trace.loop
        kept = _within(trace, spec.max_prompt_tokens)
        if not kept:
            problem = f"no request has a prompt within {spec.max_prompt_tokens} tokens"
            raise WorkloadInvalid(trace.path, problem)
        self._lines = [trace.lines[index] for index in kept]
        self._requests = [trace.requests[index] for index in kept]
        self._resolution_s = trace.resolution_s
        self._span_s = _span_s(trace.path, self._requests) if trace.loop == "open" else 0.0

    @property
    def recorded_rate(self) -> float | None:
        """Give the requests per second of an open trace."""
        return None if self.loop == "closed" else len(self._requests) / self._span_s

    @property
    def longest(self) -> tuple[int, int]:
        """Give the tokens of the largest request, prompt and output, and its line."""
        sizes = (request.prompt_tokens + request.output_tokens for request in self._requests)
        return max(zip(sizes, self._lines, strict=True))

    def chains(self, *, seed: int, rate: float, until_s: float) -> list[Chain]:
        """Write the traffic; ``rate`` is requests per second (open) or sessions at a time."""
        rng = Random(f"replay {seed}")
        if self.loop == "open":
            return [iter((request,)) for request in self._timed(rng, rate, until_s)]
        sessions = _sessions(self._requests)
        rng.shuffle(sessions)
        users = max(1, round(rate))
        ramp_s = self._spec.ramp_s
        return [self._user(sessions, user, users, ramp_s * user / users) for user in range(users)]

    def _timed(self, rng: Random, rate: float, until_s: float) -> Iterator[TrafficRequest]:
        """Stretch the times; each request is spread over the resolution of its time."""
        if rate <= 0.0:
            return
        check_arrivals(rate * until_s)
        begin_s = self._requests[0].at_s or 0.0
        times = [
            ((request.at_s or 0.0) - begin_s + rng.random() * self._resolution_s, index)
            for index, request in enumerate(self._requests)
        ]
        times.sort()
        start_s = rng.random() * self._span_s if self._spec.random_start else 0.0
        place = bisect.bisect_left(times, (start_s, 0))
        scale = len(times) / (rate * self._span_s)
        epoch = 0
        while True:
            for recorded_s, index in times[place:]:
                at_s = (recorded_s + epoch * self._span_s - start_s) * scale
                if at_s >= until_s:
                    return
                yield _again(self._requests[index], epoch, at_s=at_s, think_s=0.0)
            place = 0
            epoch += 1

    def _user(
        self,
        sessions: Sequence[Sequence[TrafficRequest]],
        user: int,
        users: int,
        begin_s: float,
    ) -> Chain:
        """Take every ``users``-th session, without end."""
        at_s: float | None = begin_s
        turn = user
        while True:
            epoch, place = divmod(turn, len(sessions))
            for request in sessions[place]:
                thought_s = min(request.think_s, self._spec.max_think_s)
                think_s = thought_s if at_s is None else 0.0
                yield _again(request, epoch, at_s=at_s, think_s=think_s)
                at_s = None
            turn += users


def _within(trace: Trace, max_prompt_tokens: int) -> list[int]:
    ended: set[str] = set()
    kept = []
    for index, request in enumerate(trace.requests):
        if request.prompt_tokens > max_prompt_tokens and trace.loop == "closed":
            ended.add(request.session_id)
        if request.prompt_tokens <= max_prompt_tokens and request.session_id not in ended:
            kept.append(index)
    return kept


def _span_s(path: str, requests: Sequence[TrafficRequest]) -> float:
    """Give the time the requests cover, the gap behind the last one included."""
    between_s = (requests[-1].at_s or 0.0) - (requests[0].at_s or 0.0)
    if between_s < LEAST_SPAN_S:
        problem = f"all requests come within {between_s:g} s, which gives no rate"
        raise WorkloadInvalid(path, f"{problem}; the limit is {LEAST_SPAN_S:g} s")
    return between_s * len(requests) / (len(requests) - 1)


def _sessions(requests: Sequence[TrafficRequest]) -> list[list[TrafficRequest]]:
    sessions: dict[str, list[TrafficRequest]] = {}
    for request in requests:
        sessions.setdefault(request.session_id, []).append(request)
    return list(sessions.values())


def _again(
    request: TrafficRequest, epoch: int, *, at_s: float | None, think_s: float
) -> TrafficRequest:
    """Send a request again; in each epoch but the first all its content is fresh."""
    if not epoch:
        return replace(request, at_s=at_s, think_s=think_s)
    return replace(
        request,
        session_id=f"{request.session_id}+{epoch}",
        segments=tuple((_fresh(content, epoch), tokens) for content, tokens in request.segments),
        answer_id=_fresh(request.answer_id, epoch),
        at_s=at_s,
        think_s=think_s,
    )


def _fresh(content_id: int, epoch: int) -> int:
    return xxhash.xxh3_64_intdigest(_PLACE(content_id, epoch)) - _INT64
