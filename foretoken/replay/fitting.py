"""Step times fitted to recorded latencies, by playing the recording again and again.

Decides the seven numbers of :mod:`foretoken.replay.steps` for one class of endpoints:
those with which its endpoints, given the requests they were given, come nearest to the
TTFT and TPOT that were recorded, in robust least squares of log ratios. The engine that
will answer the question is the one that is fitted, so its rules (batches, chunks, queues)
need not be guessed from outside. Called by :mod:`foretoken.replay.fleets`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from foretoken.replay.demand import Demand
from foretoken.replay.placement import Arrivals, Placed, play_endpoint
from foretoken.replay.recorded import Recorded
from foretoken.replay.steps import (
    HIGHEST,
    LOWEST,
    REQUEST,
    profile_of,
)
from predictor.fit import shrunk_scales
from predictor.types import FloatArray
from simulator.fleets import EndpointSpec
from simulator.types import Completion

Flags = NDArray[np.bool_]

MOST_REQUESTS: Final = 2000
"""Of a class that one fit plays: some hundred plays in half a minute."""

_BURN_IN: Final = 0.1
"""Share of the fitted time whose requests ran beside some that were not recorded."""

_STEP: Final = 0.25
"""Of a log parameter between two plays. A small one shows which step a request just missed,
not how its time depends on the parameter: such slopes are noise, and Gauss-Newton creeps."""

_ROUNDS: Final = 5
_FARTHEST: Final = 0.7
"""Most that a log parameter moves in one round."""
_SETTLED: Final = 0.01
_TTFT_SIGMA: Final = 0.03
_TPOT_SIGMA: Final = 0.01
"""Least deviation of a log ratio: the noise of steps, and where in a step a request came."""
_MOST_RATIO: Final = 3.0
_HUBER: Final = 2.0
_PRIOR_SIGMA: Final = np.array([1.5, 1.0, 1.0, 1.0, 1.0, 1.0, 0.7])
_PRIOR_PULL: Final = 3.0
"""A parameter one sigma off its first guess weighs as much as nine latencies one sigma off."""

_TTFT_FLOOR_S: Final = 0.002
"""Added to both sides of a ratio: below it clocks and networks decide."""

_SHORT_OUTPUT_TOKENS: Final = 8.0
_HITS_NEAR_TOKENS: Final = 64
_HITS_NEAR_SHARE: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Hold what was found for one class.

    Attributes:
        values: The parameters, in the order of ``PARAMETERS``.
        speeds: How much faster than the class each endpoint is, 1 for as fast.
        labels: Latencies the fit rests on.
        sigma: Robust standard deviation of their log ratios, as fitted.
        told: By parameter, how far the latencies narrow it down: 0 not at all, 1 wholly.
    """

    values: FloatArray
    speeds: dict[str, float]
    labels: int
    sigma: float
    told: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Hold one endpoint's recorded latencies, to be met.

    Attributes:
        spec: The endpoint; its profile is replaced in a fit.
        arrivals: What it was sent.
        numbers: Requests that are judged.
        ends_s: When each ended, in the time of the recording.
        ttft_s: Of each since dispatch, NaN where unknown.
        tpot_s: Likewise.
        total_s: Dispatch to last token, where neither is known; else NaN.
        weight: Of each TPOT: few tokens make it noisy.
    """

    spec: EndpointSpec
    arrivals: Arrivals
    numbers: list[int]
    ends_s: FloatArray
    ttft_s: FloatArray
    tpot_s: FloatArray
    total_s: FloatArray
    weight: FloatArray


def measured(
    demand: Demand, where: Placed, specs: Sequence[EndpointSpec], until_s: float
) -> list[Measured]:
    """Gather what was measured of requests before a time, and what was sent while they ran."""
    found = []
    for spec in specs:
        sent = where.arrivals.get(spec.name, ())
        rows = [demand.requests[int(request.request_id)] for _, request in sent]
        rows = [one for one in rows if _is_judged(one, until_s)]
        ends_s = np.array([one.arrived_s + (one.e2e_s or 0.0) for one in rows])
        last_s = float(ends_s.max(initial=until_s))
        tokens = np.array([one.output_tokens or 1 for one in rows], dtype=np.float64)
        found.append(
            Measured(
                spec=spec,
                arrivals=[one for one in sent if one[0] < last_s],
                numbers=[one.number for one in rows],
                ends_s=ends_s,
                ttft_s=np.array([one.upstream_ttft_s or np.nan for one in rows]),
                tpot_s=np.array([_tpot_s(one) for one in rows]),
                total_s=np.array([_total_s(one) for one in rows]),
                weight=np.sqrt(tokens / (tokens + _SHORT_OUTPUT_TOKENS)),
            )
        )
    return found


def _tpot_s(one: Recorded) -> float:
    return one.tpot_s if one.tpot_s and (one.output_tokens or 0) > 1 else np.nan


def _total_s(one: Recorded) -> float:
    """Give all that is known of an answer that was not streamed."""
    if one.upstream_ttft_s or one.tpot_s or one.e2e_s is None or one.dispatched_s is None:
        return np.nan
    return one.arrived_s + one.e2e_s - one.dispatched_s


def _is_judged(one: Recorded, until_s: float) -> bool:
    return one.completed and one.e2e_s is not None and _BURN_IN * until_s <= one.arrived_s < until_s


def fit_class(
    endpoints: Sequence[Measured],
    demand: Demand,
    start: FloatArray,
    *,
    rounds: int = _ROUNDS,
    progress: Callable[[], None] = lambda: None,
) -> Fit:
    """Fit the endpoints of a class, from a first guess that is also what they fall back to."""
    chosen = _within(endpoints, MOST_REQUESTS)
    chosen = [_where_hits_agree(each, demand, start) for each in chosen]
    fit = _descend(chosen, {}, start, start, rounds=rounds, progress=progress)
    if len(endpoints) == 1:
        return fit
    speeds = _speeds(endpoints, fit.values)
    return replace(
        _descend(chosen, speeds, fit.values, start, rounds=2, progress=progress), speeds=speeds
    )


def _within(endpoints: Sequence[Measured], most: int) -> list[Measured]:
    """Take the endpoints with most latencies, whole, or the first part of a single one."""
    taken: list[Measured] = []
    left = most
    for each in sorted(endpoints, key=lambda each: len(each.numbers), reverse=True):
        if taken and len(each.arrivals) > left:
            continue
        taken.append(_first(each, left))
        left -= len(taken[-1].arrivals)
    return taken


def _first(each: Measured, most: int) -> Measured:
    """Take an endpoint's first requests; those judged ended before the first that is left out."""
    if len(each.arrivals) <= most:
        return each
    cut_s = each.arrivals[most][0]
    return _only(replace(each, arrivals=each.arrivals[:most]), (each.ends_s < cut_s).tolist())


def _only(each: Measured, wanted: Sequence[bool]) -> Measured:
    keep = np.array(wanted, dtype=bool)
    return replace(
        each,
        numbers=[
            number for number, is_wanted in zip(each.numbers, wanted, strict=True) if is_wanted
        ],
        ends_s=each.ends_s[keep],
        ttft_s=each.ttft_s[keep],
        tpot_s=each.tpot_s[keep],
        total_s=each.total_s[keep],
        weight=each.weight[keep],
    )


def _where_hits_agree(each: Measured, demand: Demand, values: FloatArray) -> Measured:
    """Leave out requests that found more or less in the cache than a replay gives them.

    Their prefill was another; what was in the cache before the recording began is not known.
    """
    done = _play(each, values, 1.0)
    agree = [_hits_agree(demand, number, done.get(number)) for number in each.numbers]
    return _only(each, agree) if sum(agree) > 0.3 * len(agree) else each


def _hits_agree(demand: Demand, number: int, done: Completion | None) -> bool:
    said = demand.requests[number].cached_tokens
    if done is None or said is None:
        return done is not None
    near = max(_HITS_NEAR_TOKENS, _HITS_NEAR_SHARE * demand.prompt_tokens[number])
    return abs(done.cached_tokens - said) <= near


def _descend(
    endpoints: Sequence[Measured],
    speeds: Mapping[str, float],
    start: FloatArray,
    prior: FloatArray,
    *,
    rounds: int,
    progress: Callable[[], None],
) -> Fit:
    """Move by damped Gauss-Newton on log parameters; scales and Huber's weights anew each round.

    Source: D. W. Marquardt, An algorithm for least-squares estimation (1963).
    """
    low, high, home = np.log(LOWEST), np.log(HIGHEST), np.log(prior)
    pull = _PRIOR_PULL / _PRIOR_SIGMA
    is_ttft = np.concatenate([_which(each) for each in endpoints])

    def off(place: FloatArray) -> FloatArray:
        progress()
        return np.concatenate([_residuals(each, np.exp(place), speeds) for each in endpoints])

    def cost(residuals: FloatArray, place: FloatArray, scale: FloatArray) -> float:
        return _huber(residuals / scale) + float(np.sum((pull * (place - home)) ** 2))

    at = np.clip(np.log(start), low, high)
    now, damping = off(at), 1e-4
    moments = np.zeros((len(at), len(at)))
    for _ in range(rounds):
        scale = _scales(now, is_ttft)
        rises = np.column_stack([off(at + _STEP * axis) - now for axis in np.eye(len(at))])
        slope = rises / _STEP / scale[:, None]
        weight = np.minimum(1.0, _HUBER * scale / np.maximum(np.abs(now), 1e-9))
        moments = slope.T @ (weight[:, None] * slope)
        matrix = moments + np.diag(pull**2)
        downhill = -(slope.T @ (weight * now / scale) + pull**2 * (at - home))
        before, moved = cost(now, at, scale), np.zeros(len(at))
        for _ in range(4):
            step = np.linalg.solve(matrix + damping * np.diag(np.diag(matrix)), downhill)
            trial = np.clip(at + np.clip(step, -_FARTHEST, _FARTHEST), low, high)
            then = off(trial)
            if cost(then, trial, scale) < before:
                moved, at, now, damping = trial - at, trial, then, damping / 10
                break
            damping = max(damping, 1e-4) * 20
        if float(np.abs(moved).max()) < _SETTLED:
            break
    left = np.diag(np.linalg.inv(moments + np.diag(pull**2))) * pull**2
    return Fit(
        values=np.exp(at),
        speeds=dict.fromkeys((each.spec.name for each in endpoints), 1.0) | dict(speeds),
        labels=len(now),
        sigma=1.48 * float(np.median(np.abs(now))) if len(now) else math.inf,
        told=1.0 - left,
    )


def _scales(off: FloatArray, is_ttft: Flags) -> FloatArray:
    """Give each residual the robust deviation of its kind.

    TPOT says most about most steps, but not so much more than TTFT that prefill would be
    fitted to what it does to TPOT.
    """
    first = _deviation(off[is_ttft], _TTFT_SIGMA)
    later = max(_deviation(off[~is_ttft], _TPOT_SIGMA), first / _MOST_RATIO)
    return np.where(is_ttft, first, later)


def _deviation(off: FloatArray, least: float) -> float:
    return max(least, 1.48 * float(np.median(np.abs(off)))) if len(off) else least


def _huber(off: FloatArray) -> float:
    """Give Huber's loss, twice: squares up to ``_HUBER``, then straight on."""
    size = np.abs(off)
    return float(np.sum(np.where(size <= _HUBER, size**2, _HUBER * (2 * size - _HUBER))))


def _which(each: Measured) -> Flags:
    """Tell which of an endpoint's residuals are of TTFT."""
    first = np.sum(~np.isnan(each.ttft_s))
    later = np.sum(~np.isnan(each.tpot_s)) + np.sum(~np.isnan(each.total_s))
    return np.repeat([True, False], [first, later])


def _residuals(each: Measured, values: FloatArray, speeds: Mapping[str, float]) -> FloatArray:
    """Give the log ratios of played to recorded TTFT, TPOT and totals, known ones only."""
    done = _play(each, values, speeds.get(each.spec.name, 1.0))
    ttft_s = np.array([done[number].ttft_s for number in each.numbers])
    tpot_s = np.array([done[number].tpot_s or np.nan for number in each.numbers])
    first = np.log((ttft_s + _TTFT_FLOOR_S) / (each.ttft_s + _TTFT_FLOOR_S))
    later = each.weight * np.log(tpot_s / each.tpot_s)
    total = np.log(np.array([done[number].e2e_s for number in each.numbers]) / each.total_s)
    known = [(first, each.ttft_s), (later, each.tpot_s), (total, each.total_s)]
    return np.concatenate([off[~np.isnan(seen)] for off, seen in known])


def _speeds(endpoints: Sequence[Measured], values: FloatArray) -> dict[str, float]:
    """Read each endpoint's speed from its TPOT, pulled together as far as chance explains."""
    names, medians, rows, spread = [], [], [], []
    for each in endpoints:
        short = _first(each, max(200, MOST_REQUESTS // len(endpoints)))
        done = _play(short, values, 1.0)
        tpot_s = np.array([done[number].tpot_s or np.nan for number in short.numbers])
        slower = np.log(tpot_s / short.tpot_s)
        slower = slower[~np.isnan(slower)]
        if len(slower):
            names.append(each.spec.name)
            medians.append(float(np.median(slower)))
            rows.append(float(len(slower)))
            spread.append(np.abs(slower - medians[-1]))
    if not names:
        return {}
    sigma = 1.48 * float(np.median(np.concatenate(spread)))
    shrunk, _ = shrunk_scales(np.array(medians), np.array(rows), sigma=sigma)
    return {name: float(np.exp(scale)) for name, scale in zip(names, shrunk, strict=True)}


def with_values(spec: EndpointSpec, values: FloatArray, speed: float) -> EndpointSpec:
    """Give an endpoint fitted step times."""
    profile = profile_of(
        values,
        name=spec.profile.name,
        model=spec.profile.model,
        kv_tokens=spec.profile.kv_tokens,
        max_batched_tokens=spec.profile.max_num_batched_tokens,
    )
    engine = spec.engine.model_copy(
        update={"request_overhead_s": float(values[REQUEST]), "speed": speed}
    )
    return replace(spec, profile=profile, engine=engine)


def _play(each: Measured, values: FloatArray, speed: float) -> dict[int, Completion]:
    return play_endpoint(with_values(each.spec, values, speed), each.arrivals, noise=False)
