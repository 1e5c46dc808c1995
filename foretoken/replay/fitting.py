"""Step times fitted to recorded latencies, by playing the recording again and again.

Decides the seven numbers of :mod:`foretoken.replay.steps` for one class of endpoints:
those with which its endpoints, given the requests they were given, come nearest to the
TTFT and TPOT that were recorded, in robust least squares of log ratios. The engine that
will answer the question is the one that is fitted, so its rules (batches, chunks, queues)
need not be guessed from outside. Called by :mod:`foretoken.replay.fleets`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from foretoken.replay.demand import Demand
from foretoken.replay.placement import Arrivals, Placed, play_endpoint
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
_LEAST_SIGMA: Final = 0.03
_PRIOR_ROWS: Final = 10.0
_PRIOR_SIGMA: Final = np.array([1.5, 1.0, 1.0, 1.0, 1.0, 1.0, 0.7])
_PRIOR_ERROR: Final = 0.1
"""Ten requests that are 10 % off weigh as much as a parameter one sigma off its prior."""

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
        ttft_s: Of each since dispatch, NaN where unknown.
        tpot_s: Likewise.
        weight: Of each TPOT: few tokens make it noisy.
    """

    spec: EndpointSpec
    arrivals: Arrivals
    numbers: list[int]
    ttft_s: FloatArray
    tpot_s: FloatArray
    weight: FloatArray


def measured(
    demand: Demand, where: Placed, specs: Sequence[EndpointSpec], until_s: float
) -> list[Measured]:
    """Gather what endpoints were sent, and what was measured, before a time."""
    found = []
    for spec in specs:
        arrivals = [one for one in where.arrivals.get(spec.name, ()) if one[0] < until_s]
        numbers = [
            number
            for number in (int(request.request_id) for _, request in arrivals)
            if _is_judged(demand, number, until_s)
        ]
        rows = [demand.requests[number] for number in numbers]
        tokens = np.array([one.output_tokens or 1 for one in rows], dtype=np.float64)
        found.append(
            Measured(
                spec=spec,
                arrivals=arrivals,
                numbers=numbers,
                ttft_s=np.array([one.upstream_ttft_s or np.nan for one in rows]),
                tpot_s=np.array([one.tpot_s or np.nan for one in rows]),
                weight=np.sqrt(tokens / (tokens + _SHORT_OUTPUT_TOKENS)),
            )
        )
    return found


def _is_judged(demand: Demand, number: int, until_s: float) -> bool:
    one = demand.requests[number]
    if not one.completed or one.e2e_s is None or one.arrived_s < _BURN_IN * until_s:
        return False
    return one.arrived_s + one.e2e_s <= until_s


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
        arrivals = each.arrivals[:left]
        there = {int(request.request_id) for _, request in arrivals}
        taken.append(_only(replace(each, arrivals=arrivals), [n in there for n in each.numbers]))
        left -= len(arrivals)
    return taken


def _only(each: Measured, wanted: Sequence[bool]) -> Measured:
    keep = np.array(wanted, dtype=bool)
    return replace(
        each,
        numbers=[
            number for number, is_wanted in zip(each.numbers, wanted, strict=True) if is_wanted
        ],
        ttft_s=each.ttft_s[keep],
        tpot_s=each.tpot_s[keep],
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
    """Move by damped Gauss-Newton on log parameters; Huber's weights anew in each round.

    Source: D. W. Marquardt, An algorithm for least-squares estimation (1963).
    """
    low, high, home = np.log(LOWEST), np.log(HIGHEST), np.log(prior)
    pull = _PRIOR_ERROR * np.sqrt(_PRIOR_ROWS) / _PRIOR_SIGMA

    def off(place: FloatArray) -> FloatArray:
        progress()
        return np.concatenate([_residuals(each, np.exp(place), speeds) for each in endpoints])

    at = np.clip(np.log(start), low, high)
    now, damping = off(at), 1e-4
    moments = np.zeros((len(at), len(at)))
    for _ in range(rounds):
        sigma = _sigma(now)
        slope = np.column_stack(
            [(off(at + _STEP * axis) - now) / _STEP for axis in np.eye(len(at))]
        )
        weight = np.minimum(1.0, 2.0 * sigma / np.maximum(np.abs(now), 1e-9))
        moments = slope.T @ (weight[:, None] * slope)
        matrix = moments + np.diag(pull**2)
        downhill = -(slope.T @ (weight * now) + pull**2 * (at - home))
        before = _cost(now, sigma) + float(np.sum((pull * (at - home)) ** 2))
        moved = np.zeros(len(at))
        for _ in range(4):
            step = np.linalg.solve(matrix + damping * np.diag(np.diag(matrix)), downhill)
            trial = np.clip(at + np.clip(step, -_FARTHEST, _FARTHEST), low, high)
            then = off(trial)
            if _cost(then, sigma) + float(np.sum((pull * (trial - home)) ** 2)) < before:
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
        sigma=_sigma(now),
        told=1.0 - left,
    )


def _sigma(off: FloatArray) -> float:
    return max(_LEAST_SIGMA, 1.48 * float(np.median(np.abs(off)))) if len(off) else _LEAST_SIGMA


def _cost(off: FloatArray, sigma: float) -> float:
    """Give Huber's loss, twice: squares up to two sigma, then straight on."""
    edge = 2.0 * sigma
    size = np.abs(off)
    return float(np.sum(np.where(size <= edge, size**2, 2 * edge * size - edge**2)))


def _residuals(each: Measured, values: FloatArray, speeds: Mapping[str, float]) -> FloatArray:
    """Give the log ratios of played to recorded latencies, TTFT then TPOT, known ones only."""
    done = _play(each, values, speeds.get(each.spec.name, 1.0))
    ttft_s = np.array([done[number].ttft_s for number in each.numbers])
    tpot_s = np.array([done[number].tpot_s or np.nan for number in each.numbers])
    first = np.log((ttft_s + _TTFT_FLOOR_S) / (each.ttft_s + _TTFT_FLOOR_S))
    later = each.weight * np.log(tpot_s / each.tpot_s)
    return np.concatenate([first[~np.isnan(each.ttft_s)], later[~np.isnan(each.tpot_s * tpot_s)]])


def _speeds(endpoints: Sequence[Measured], values: FloatArray) -> dict[str, float]:
    """Read each endpoint's speed from its TPOT, pulled together as far as chance explains."""
    names, medians, rows, spread = [], [], [], []
    for each in endpoints:
        short = _within([each], max(200, MOST_REQUESTS // len(endpoints)))[0]
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
