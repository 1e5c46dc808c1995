"""Turn how a request goes into what the models learn, as early as it is known.

A streamed request teaches its TTFT at the first token, its TPOT some seconds later, and
what that could not tell at the end; one that is past its 90 % quantile counts as a miss
before its first token. One that was not streamed has the endpoint's own metrics as labels
where they are on; else its total time is one. Where many come, not all of them teach
(:mod:`scheduler.pace`). Called by the scheduler only.
"""

from collections.abc import Mapping
from heapq import heappop, heappush
from typing import Final

from predictor.types import Decision, Observation, RequestRecord, Use
from scheduler.live import LiveRequest
from scheduler.settings import SchedulerSettings

_LONGER: Final = 2.0  # times its early span: the rest of an answer then has as much to tell
_FEW_EVENTS: Final = 8
_MOST_PER_EVENT: Final = 64.0
_KEEP: Final = 0.8  # of an endpoint's tokens per event at each request: it hardly changes


class Lessons:
    """Teach each fleet's predictor what its requests show, every label once."""

    def __init__(self) -> None:
        self._tokens_per_event = TokensPerEvent()
        # (when the 90 % quantile is reached, request, its dispatch); those whose first
        # token has come since are skipped.
        self._due: list[tuple[float, str, float]] = []

    def dispatched(self, live: LiveRequest, decision: Decision, sent_s: float) -> None:
        """Look out for the first token of a request that has just been dispatched."""
        live.waited_s = live.early_s = None
        if decision.predictions is None:
            return
        if decision.policy == "predicted_latency":
            live.fleet.exploration.decided(decision)
        if sent_s < live.fleet.warm_up.until_s:
            live.fleet.warm_up.decided(decision.endpoint)
        if not live.teaches:
            return
        live.leanings = live.fleet.leanings.factors(decision.endpoints)
        if live.request.streamed:  # the others show no first token
            p90_s = decision.predictions.ttft_p90_s.item(decision.chosen)
            heappush(self._due, (sent_s + p90_s, live.request.request_id, sent_s))

    def tell_overdue(self, requests: Mapping[str, LiveRequest], now: float) -> None:
        """Teach the miss of every request that is past its 90 % quantile, once."""
        while self._due and self._due[0][0] <= now:
            _, request_id, sent_s = heappop(self._due)
            live = requests.get(request_id)
            if live is None or live.endpoint is None or live.dispatched_s != sent_s:
                continue  # it has ended, or went elsewhere
            if live.first_token_s is None:
                live.waited_s = now - sent_s
                seen = live.observation(now, waited_s=live.waited_s)
                if seen is not None:
                    live.fleet.predictor.learn(seen)

    def first_token(self, live: LiveRequest, *, ttft_s: float, now: float) -> None:
        """Teach a TTFT; the miss of one that was overdue has counted already."""
        seen = live.observation(now, upstream_ttft_s=ttft_s, waited_s=live.waited_s)
        if seen is not None:
            live.fleet.trust.judge(live.decision, seen)
            _lean(live, seen)
            live.fleet.predictor.learn(seen)

    def progress(
        self, live: LiveRequest, token_events: int, now: float, *, least_tokens: int
    ) -> bool:
        """Teach the TPOT of the first part of an answer; false where it is too short yet."""
        if live.endpoint is None or live.first_token_s is None or live.early_s is not None:
            return True
        tokens = self._tokens_per_event.tokens(live.endpoint, token_events)
        if tokens < least_tokens or now <= live.first_token_s:
            return False
        live.early_s = now - live.first_token_s
        tpot_s = live.early_s / (tokens - 1.0)
        seen = live.observation(now, tpot_s=tpot_s, output_tokens=round(tokens), use="teaching")
        if seen is not None:
            _lean(live, seen)
            live.fleet.predictor.learn(seen)
        return True

    def finished(self, live: LiveRequest, record: RequestRecord) -> None:
        """Teach what a completed request has shown."""
        fleet, measured, request = live.fleet, record.measurement, record.request
        if measured.prompt_tokens is not None and request.prompt_tokens is None:
            fleet.token_ratio.learn(
                prompt_bytes=request.prompt_bytes, prompt_tokens=measured.prompt_tokens
            )
        if measured.output_tokens is not None:
            fleet.output_lengths.learn(
                request.tenant, measured.output_tokens, session=request.session_id
            )
            if measured.token_events is not None and record.endpoint is not None:
                self._tokens_per_event.learn(
                    record.endpoint, events=measured.token_events, tokens=measured.output_tokens
                )
        seen = record.observation
        if (
            seen is not None and record.ttft_s is not None
        ):  # its TTFT was learned at the first token
            seen = live.observation(
                seen.observed_s,
                tpot_s=seen.tpot_s,
                total_s=seen.total_s,
                output_tokens=seen.output_tokens,
                use=use_of_whole(_decoding_s(record), live.early_s),
            )
        if seen is not None:
            fleet.trust.judge(live.decision, seen)
            _lean(live, seen)
            fleet.predictor.learn(seen)

    def forget(self, endpoint: str) -> None:
        """Forget an endpoint that has left."""
        self._tokens_per_event.forget(endpoint)


class TokensPerEvent:
    """Learn how many tokens each endpoint puts into one event of a stream.

    One by default; more where it speculates or streams every few tokens.

    >>> ratio = TokensPerEvent()
    >>> ratio.learn("a:1", events=50, tokens=100)
    >>> ratio.tokens("a:1", 10), ratio.tokens("b:1", 10)
    (20.0, 10.0)
    """

    def __init__(self) -> None:
        self._ratio: dict[str, float] = {}

    def tokens(self, endpoint: str, events: int) -> float:
        """Estimate the tokens of so many events."""
        return events * self._ratio.get(endpoint, 1.0)

    def learn(self, endpoint: str, *, events: int, tokens: int) -> None:
        """Take in a finished stream; an endpoint's first one settles it."""
        if events < _FEW_EVENTS:
            return
        ratio = min(max(tokens / events, 1.0), _MOST_PER_EVENT)
        before = self._ratio.get(endpoint, ratio)
        self._ratio[endpoint] = _KEEP * before + (1.0 - _KEEP) * ratio

    def forget(self, endpoint: str) -> None:
        """Forget an endpoint that has left."""
        self._ratio.pop(endpoint, None)


def use_of_whole(decoding_s: float | None, early_s: float | None) -> Use:
    """Say what the TPOT of a whole answer is for.

    Args:
        decoding_s: From its first token to its end, ``None`` where unknown.
        early_s: How much of that its early label covered, ``None`` without one.

    >>> use_of_whole(5.0, 3.0), use_of_whole(10.0, 3.0), use_of_whole(2.0, None)
    ('scoring', 'fully', 'fully')
    """
    if decoding_s is None or early_s is None or decoding_s > _LONGER * early_s:
        return "fully"
    return "scoring"


def early_label_s(live: LiveRequest, settings: SchedulerSettings) -> float | None:
    """Give how long after its first token a stream's TPOT is looked at, ``None`` for never."""
    if not live.teaches:
        return None
    said = None if live.decision is None else live.decision.predictions
    cold = said is not None and said.layer == "cold"
    return settings.cold_label_s if cold else settings.early_label_s


def _lean(live: LiveRequest, seen: Observation) -> None:
    """Note what the request was ranked by beside what teaches."""
    decision = live.decision
    if decision is None or decision.predictions is None or seen.use == "scoring":
        return
    ranked = decision.predictions.rank_ttft_s, decision.predictions.rank_tpot_s
    for target, actual_s in enumerate((seen.upstream_ttft_s, seen.tpot_s)):
        if actual_s is not None:
            ranked_s = ranked[target].item(decision.chosen)
            if live.leanings is not None:
                ranked_s *= live.leanings.item(target, decision.chosen)
            live.fleet.leanings.learn(
                target, decision.endpoint, actual_s=actual_s, ranked_s=ranked_s
            )


def _decoding_s(record: RequestRecord) -> float | None:
    if record.dispatched_s is None or record.upstream_ttft_s is None:
        return None
    return record.finished_s - record.dispatched_s - record.upstream_ttft_s
