"""Turn a simulated run into figures: what its clients felt, what the fleet did.

Every figure has one name with its unit, written once in ``FIGURES``; a set of figures
is a mapping from those names to a number, or to ``None`` where nothing was measured.
Steady state and transient are figured apart, by time of arrival. Rounded to six
significant digits, so that the same runs give the same bytes.

A request that was under way when its run was cut counts in TTFT and e2e with the time
it had taken by then: a lower bound, where leaving it out would flatter overload. One
that was shed or failed has no latency; goodput counts it as missed. So read latencies
beside the shed, error and unfinished shares.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from foretoken.simulation.outcome import UNFINISHED, Outcome, Run
from predictor.types import FloatArray

SIGNIFICANT_DIGITS: Final = 6

Figures = Mapping[str, float | None]
"""Values by name of ``FIGURES``."""

_LATENCIES: Final = {
    "ttft": "receipt to first output token",
    "tpot": "a completed request's mean gap between output tokens",
    "ntpot": "e2e over output tokens, waiting and prefill included: what llm-d's posts plot",
    "e2e": "receipt to last token",
}
_PARTS: Final = {"mean": None, "p50": 50, "p90": 90, "p99": 99}

FIGURES: Final[dict[str, str]] = {
    "requests": "arrived in the window",
    **{
        f"{stem}_{part}_s": f"{part} of: {meaning}"
        for stem, meaning in _LATENCIES.items()
        for part in _PARTS
    },
    "ttft_late_mean_s": "mean TTFT of what arrived in the last third of the window",
    "goodput_ratio": "share of the requests that completed within both objectives",
    "goodput_per_s": "such requests per second of the window",
    "hit_ratio": "cached over prompt tokens, of completed requests: others do not tell",
    "completed_per_s": "requests that ended well within the window, whenever they arrived",
    "output_tokens_per_s": "output tokens of these",
    "shed_ratio": "share of the requests that the scheduler refused or gave up",
    "error_ratio": "share that ended otherwise than completed, shed or unfinished",
    "unfinished_ratio": "share still under way when the run was cut",
    "preemptions_per_request": "times thrown out of a batch",
    "imbalance_requests": "requests of the busiest endpoint over the mean: 1 is even",
    "imbalance_tokens": "prompt and output tokens of the busiest endpoint over the mean",
    "ttft_error_mdape": "median of |predicted / actual - 1|, TTFT since dispatch",
    "ttft_error_mape": "mean of the same",
    "ttft_error_bias": "sum predicted / sum actual - 1: negative is too low",
    "tpot_error_mdape": "as for TTFT",
    "tpot_error_mape": "as for TTFT",
    "tpot_error_bias": "as for TTFT",
}
"""Every figure by name, with its meaning; seconds, fractions and counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Hold one figure over several seeds.

    Attributes:
        mean: Mean over the seeds that have a value.
        low: Smallest of them.
        high: Largest of them.
    """

    mean: float
    low: float
    high: float


def steady_figures(run: Run) -> dict[str, float | None]:
    """Give the figures of the requests that arrived in the steady-state window."""
    return _figures(run, run.warmup_s, run.warmup_s + run.measure_s)


def transient_figures(run: Run) -> dict[str, float | None]:
    """Give the figures of the requests that arrived before it, on caches still cold."""
    return _figures(run, 0.0, run.warmup_s)


def spread(figures: Sequence[Figures]) -> dict[str, Spread | None]:
    """Give mean and range of every figure over runs that differ by seed only.

    >>> spread([{"requests": 2.0}, {"requests": 4.0}])["requests"]
    Spread(mean=3.0, low=2.0, high=4.0)
    """
    names = [name for name in FIGURES if any(name in each for each in figures)]
    return {name: _spread_of([each.get(name) for each in figures]) for name in names}


def rounded(value: float) -> float:
    """Round to the digits figures are given with.

    >>> rounded(1234.56789)
    1234.57
    """
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}")


def _figures(run: Run, start_s: float, end_s: float) -> dict[str, float | None]:
    arrived = [each for each in run.outcomes if start_s <= each.arrived_s < end_s]
    late = [each for each in arrived if each.arrived_s >= end_s - (end_s - start_s) / 3]
    found: dict[str, float | None] = {
        "requests": len(arrived),
        **_latencies(run, arrived),
        "ttft_late_mean_s": _mean(_ttfts(run, late)),
        **_goodput(run, arrived, end_s - start_s),
        "hit_ratio": _hit_ratio(arrived),
        **_throughput(run, start_s, end_s),
        **_shares(arrived),
        **_imbalances(run, arrived),
        **_errors("ttft", ((o.predicted_ttft_s, o.upstream_ttft_s) for o in arrived)),
        **_errors("tpot", ((o.predicted_tpot_s, o.tpot_s) for o in arrived)),
    }
    return {name: _finite(found[name]) for name in FIGURES}


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else rounded(value)


def _latencies(run: Run, arrived: Sequence[Outcome]) -> dict[str, float | None]:
    done = [each for each in arrived if each.outcome == "completed"]
    columns = {
        "ttft": _ttfts(run, arrived),
        "tpot": _array(each.tpot_s for each in done),
        "ntpot": _array(_ntpot_s(each) for each in done),
        "e2e": _e2es(run, arrived),
    }
    return {
        f"{stem}_{part}_s": _mean(values) if percent is None else _percentile(values, percent)
        for stem, values in columns.items()
        for part, percent in _PARTS.items()
    }


def _ntpot_s(each: Outcome) -> float | None:
    return None if each.e2e_s is None else _ratio(each.e2e_s, each.output_tokens)


def _ttfts(run: Run, arrived: Iterable[Outcome]) -> FloatArray:
    return _array(
        run.ended_s - each.arrived_s
        if each.ttft_s is None and each.outcome == UNFINISHED
        else each.ttft_s
        for each in arrived
    )


def _e2es(run: Run, arrived: Iterable[Outcome]) -> FloatArray:
    return _array(
        run.ended_s - each.arrived_s if each.outcome == UNFINISHED else each.e2e_s
        for each in arrived
        if each.outcome in {"completed", UNFINISHED}
    )


def _goodput(run: Run, arrived: Sequence[Outcome], window_s: float) -> dict[str, float | None]:
    if run.objective_ttft_s is None and run.objective_tpot_s is None:
        return {"goodput_ratio": None, "goodput_per_s": None}
    good = sum(_meets(run, each) for each in arrived)
    return {
        "goodput_ratio": _ratio(good, len(arrived)),
        "goodput_per_s": _ratio(good, window_s),
    }


def _meets(run: Run, each: Outcome) -> bool:
    """A request of a single token has no TPOT to miss."""
    return each.outcome == "completed" and all(
        target_s is None or seconds is None or seconds <= target_s
        for seconds, target_s in (
            (each.ttft_s, run.objective_ttft_s),
            (each.tpot_s, run.objective_tpot_s),
        )
    )


def _hit_ratio(arrived: Iterable[Outcome]) -> float | None:
    done = [each for each in arrived if each.outcome == "completed"]
    return _ratio(
        sum(each.cached_tokens for each in done), sum(each.prompt_tokens for each in done)
    )


def _throughput(run: Run, start_s: float, end_s: float) -> dict[str, float | None]:
    ended = [
        each.output_tokens
        for each in run.outcomes
        if each.outcome == "completed"
        and each.e2e_s is not None
        and start_s <= each.arrived_s + each.e2e_s < end_s
    ]
    return {
        "completed_per_s": _ratio(len(ended), end_s - start_s),
        "output_tokens_per_s": _ratio(sum(ended), end_s - start_s),
    }


def _shares(arrived: Sequence[Outcome]) -> dict[str, float | None]:
    count = len(arrived)
    shed = sum(each.outcome == "shed" for each in arrived)
    unfinished = sum(each.outcome == UNFINISHED for each in arrived)
    completed = sum(each.outcome == "completed" for each in arrived)
    return {
        "shed_ratio": _ratio(shed, count),
        "error_ratio": _ratio(count - completed - shed - unfinished, count),
        "unfinished_ratio": _ratio(unfinished, count),
        "preemptions_per_request": _ratio(sum(each.preemptions for each in arrived), count),
    }


def _imbalances(run: Run, arrived: Iterable[Outcome]) -> dict[str, float | None]:
    """Compare the busiest endpoint with the mean over all; a mixed fleet is best uneven."""
    requests = dict.fromkeys(run.endpoints, 0)
    tokens = dict.fromkeys(run.endpoints, 0)
    for each in arrived:
        if each.endpoint is not None:
            requests[each.endpoint] = requests.get(each.endpoint, 0) + 1
            worked = each.prompt_tokens + each.output_tokens
            tokens[each.endpoint] = tokens.get(each.endpoint, 0) + worked
    return {
        "imbalance_requests": _busiest(requests.values()),
        "imbalance_tokens": _busiest(tokens.values()),
    }


def _busiest(counts: Iterable[int]) -> float | None:
    known = list(counts)
    return _ratio(max(known, default=0) * len(known), sum(known))


def _errors(
    stem: str, pairs: Iterable[tuple[float | None, float | None]]
) -> dict[str, float | None]:
    known = [(said, was) for said, was in pairs if said is not None and was]
    names = [f"{stem}_error_{kind}" for kind in ("mdape", "mape", "bias")]
    if not known:
        return dict.fromkeys(names)
    said, was = np.array(known).T
    error = np.abs(said / was - 1)
    found = (float(np.median(error)), float(error.mean()), float(said.sum() / was.sum()) - 1)
    return dict(zip(names, found, strict=True))


def _spread_of(values: Iterable[float | None]) -> Spread | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Spread(
        mean=rounded(float(np.mean(known))), low=rounded(min(known)), high=rounded(max(known))
    )


def _array(values: Iterable[float | None]) -> FloatArray:
    return np.array([value for value in values if value is not None], dtype=np.float64)


def _mean(values: FloatArray) -> float | None:
    return float(values.mean()) if len(values) else None


def _percentile(values: FloatArray, percent: float) -> float | None:
    return float(np.percentile(values, percent)) if len(values) else None


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
