"""At which rate endpoints still meet an objective: their capacity as clients feel it.

An endpoint is imagined with more and more requests like those of late. What a step takes
with so many is the predictor's word, by its smooth physics: what it has learned of the
present load says little of another. Prefill that arrives while they decode takes its share
of the engine and stretches the rest by ``1 / (1 - share)``; what is predicted holds for the
share of the present, so that it is set against that one. So many requests that stay so
long are a rate (Little's law); it is raised until the objective is no longer likely to be
met, or seats, KV cache or the engine's time run out. Asked when somebody wants an outlook;
nothing that decides about a request reads it.
"""

from typing import Final

import numpy as np

from predictor import PredictorError
from predictor.feature_rows import request_rows
from predictor.features import COLUMN, TIERS
from predictor.types import FloatArray, Objective, Predictions
from predictor.values import replace
from scheduler.endpoint_table import EndpointTable, Members
from scheduler.fleet import Fleet
from scheduler.mix import Mix
from scheduler.saturation import FULL_KV

_STEP: Final = 1.25  # between two numbers of requests that are tried
_MOST_REQUESTS: Final = 1024.0  # in a batch, where nobody says
# Seconds of prefill in a second that an engine takes without its queue growing out of hand.
_MOST_PREFILL: Final = 0.7
_C: Final = COLUMN


def attainable(
    fleet: Fleet,
    table: EndpointTable,
    members: Members,
    mix: Mix,
    objective: Objective,
    *,
    confidence: float,
    now: float,
) -> FloatArray | None:
    """Give the requests a second each endpoint takes within an objective, ``(n,)``.

    Args:
        fleet: Theirs.
        table: What is known of them.
        members: ``n`` endpoints.
        mix: What requests are like.
        objective: What they shall have; none counts what can be served at all.
        confidence: With at least this probability.
        now: Clock in seconds.

    Returns:
        ``None`` where the predictor cannot be asked or knows nothing yet; 0 for one that
        does not meet the objective even for a single request.
    """
    idle = usual_rows(table, members, mix, now)
    loads = _numbers_of_requests(idle)
    rows = np.repeat(idle, len(loads), axis=0)
    there = np.tile(loads, len(members))
    present = np.repeat(idle[:, _C["prefill_tokens_per_s"]], len(loads))
    _fill(rows, there, mix)
    names = [name for name in members.names for _ in loads]
    hardware = [label for label in members.hardware for _ in loads]
    try:
        said = fleet.predictor.predict(rows, names, hardware)
    except PredictorError:
        return None
    if said.layer == "cold":
        return None
    prefill_s = mix.uncached_tokens * said.prefill_token_s
    free = 1.0 - np.minimum(present * said.prefill_token_s, _MOST_PREFILL)
    decode_s = mix.output_tokens * said.rank_tpot_s * free
    rate = rates(there, said.rank_ttft_s, decode_s, prefill_s=prefill_s)
    stretched = _stretched(said, (1.0 - rate * prefill_s) / free)
    likely = np.ones(len(rows))
    if objective:
        likely = fleet.predictor.probability(stretched, objective)
    kv_cache = there * mix.context_tokens / rows[:, _C["kv_capacity_tokens"]]
    seats = there / rows[:, _C["max_seqs"]]
    left = np.fmin(1.0 - kv_cache / FULL_KV, 1.0 - seats)  # unknown bounds are none
    left = np.fmin(left, 1.0 - rate * prefill_s / _MOST_PREFILL)
    shape = (len(members), len(loads))
    margin = np.fmin(likely - confidence, left)
    return _largest(rate.reshape(shape), margin.reshape(shape))


def usual_rows(table: EndpointTable, members: Members, mix: Mix, now: float) -> FloatArray:
    """Give the rows of a usual request as endpoints are, ``(n, n_features)``."""
    n = len(members)
    return request_rows(
        table.columns,
        members.rows,
        prompt_tokens=max(mix.uncached_tokens, 1.0),
        matched_tokens=np.zeros((n, len(TIERS))),
        effectiveness=np.ones(n),
        max_tokens=None,
        expected_output_tokens=mix.output_tokens,
        streamed=True,
        now=now,
    )


def rates(
    there: FloatArray, ttft_s: FloatArray, decode_s: FloatArray, *, prefill_s: FloatArray
) -> FloatArray:
    """Give the requests a second that keep so many in flight, ``(n,)``.

    With ``r`` a second, ``r prefill_s`` of each second is prefill. A request then stays
    ``ttft_s + decode_s / (1 - r prefill_s)``, and ``r`` times that are in flight.

    Args:
        there: Requests in flight.
        ttft_s: To the first token.
        decode_s: From there to the last, were nothing prefilled meanwhile.
        prefill_s: Engine's time for a prompt.

    >>> ones = np.ones(1)
    >>> rates(4 * ones, ones, 3 * ones, prefill_s=0 * ones).tolist()
    [1.0]
    >>> rate = rates(4 * ones, ones, 3 * ones, prefill_s=0.5 * ones)
    >>> np.round(rate * (1 + 3 / (1 - 0.5 * rate)), 9).tolist()
    [4.0]
    """
    alone_s = ttft_s + decode_s
    square = prefill_s * ttft_s
    linear = alone_s + there * prefill_s
    root = np.sqrt(np.maximum(linear**2 - 4.0 * square * there, 0.0))
    found: FloatArray = 2.0 * there / (linear + root)
    return found


def _numbers_of_requests(rows: FloatArray) -> FloatArray:
    """Give the loads to try, from one request to the most seats there are."""
    seats = rows[:, _C["max_seqs"]]
    most = float(np.nanmax(seats)) if np.isfinite(seats).any() else _MOST_REQUESTS
    steps = int(np.ceil(np.log(max(most, 2.0)) / np.log(_STEP))) + 1
    return np.geomspace(1.0, max(most, 2.0), steps)


def _fill(rows: FloatArray, there: FloatArray, mix: Mix) -> None:
    """Write what each endpoint would look like with so many requests that all decode.

    The rate of prefill stays that of the present.
    """
    capacity, context = rows[:, _C["kv_capacity_tokens"]], there * mix.context_tokens
    columns: dict[str, FloatArray | float] = {
        "running_requests": there,
        "kv_cache_usage": np.minimum(context / capacity, 1.0),
        "kv_free_tokens": np.maximum(capacity - context, 0.0),
        "inflight_requests": there,
        "decoding_requests": there,
        "context_ktok": context / 1e3,
        "remaining_output_tokens": mix.output_tokens / 2,
        **dict.fromkeys(("recent_ttft_s", "recent_tpot_s"), np.nan),
        **dict.fromkeys(("waiting_requests", "queued_requests", "queued_prefill_tokens"), 0.0),
        **dict.fromkeys(("preemptions_per_s", "oldest_queued_s", "dispatches_per_s"), 0.0),
    }
    for name, values in columns.items():
        rows[:, _C[name]] = values


def _stretched(said: Predictions, free: FloatArray) -> Predictions:
    """Give what is predicted where another share of the engine's time is free for it.

    Args:
        said: What is predicted.
        free: ``(n,)`` that share over the one it was predicted for.
    """
    free = np.maximum(free, 1e-3)
    ttft_s, tpot_s = said.rank_ttft_s / free, said.rank_tpot_s / free
    factors = np.stack((ttft_s / said.ttft_s, tpot_s / said.tpot_s))
    return replace(
        said,
        ttft_s=ttft_s,
        tpot_s=tpot_s,
        quantiles_s=said.quantiles_s * factors[:, None, :],
    )


def _largest(rate: FloatArray, margin: FloatArray) -> FloatArray:
    """Give the largest rate of each row, ``(n, loads)``, before its margin falls below 0.

    >>> _largest(np.array([[1.0, 2.0, 4.0]]), np.array([[0.2, 0.1, -0.1]])).tolist()
    [3.0]
    >>> _largest(np.array([[1.0, 2.0]]), np.array([[-0.1, 0.1]])).tolist()
    [0.0]
    """
    found = np.zeros(len(rate))
    for index, (rates, margins) in enumerate(zip(rate, margin, strict=True)):
        kept = int(np.argmax(margins < 0.0)) if (margins < 0.0).any() else len(rates)
        if not kept:
            continue
        found[index] = rates[:kept].max()
        if kept < len(rates):  # between the last that holds and the first that does not
            last, first = margins[kept - 1], margins[kept]
            between = rates[kept - 1] + (rates[kept] - rates[kept - 1]) * last / (last - first)
            found[index] = max(found[index], between)
    return found
