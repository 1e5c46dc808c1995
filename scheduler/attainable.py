"""At which rate endpoints still meet an objective: their capacity as clients feel it.

An endpoint is imagined with more and more requests like those of late. How long they would
stay is the predictor's word; so many requests that stay so long are a rate (Little's law).
The rate is raised until the objective is no longer likely to be met, or seats, KV cache or
the engine's time run out. Nothing of the present load enters but what requests are like, so
that an idle endpoint has a capacity too. Asked when somebody wants an outlook; nothing that
decides about a request reads it.
"""

from typing import Final

import numpy as np

from predictor import PredictorError
from predictor.feature_rows import request_rows
from predictor.features import COLUMN, TIERS
from predictor.types import FloatArray, Objective, Predictions
from scheduler.endpoint_table import EndpointTable, Members
from scheduler.fleet import Fleet
from scheduler.mix import Mix
from scheduler.saturation import FULL_KV

_STEP: Final = 1.25  # between two numbers of requests that are tried
_MOST_REQUESTS: Final = 1024.0  # in a batch, where nobody says
_ROUNDS: Final = 3  # the rate depends on the stay, which depends on the rate: it settles soon
# Seconds of prefill in a second that an engine takes without its steps growing out of hand.
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
    idle = _idle_rows(table, members, mix, now)
    loads = _numbers_of_requests(idle)
    rows = np.repeat(idle, len(loads), axis=0)
    there = np.tile(loads, len(members))
    names = [name for name in members.names for _ in loads]
    hardware = [label for label in members.hardware for _ in loads]
    rate, said = np.zeros(len(rows)), None
    for _ in range(_ROUNDS):
        _fill(rows, there, rate, mix, said)
        try:
            said = fleet.predictor.predict(rows, names, hardware)
        except PredictorError:
            return None
        if said.layer == "cold":
            return None
        rate = there / (said.ttft_s + mix.output_tokens * said.tpot_s)
    if said is None:
        return None
    likely = fleet.predictor.probability(said, objective) if objective else np.ones(len(rows))
    margin = np.minimum(likely - confidence, _left(rows, there, rate, mix, said))
    shape = (len(members), len(loads))
    return _largest(rate.reshape(shape), margin.reshape(shape))


def _idle_rows(table: EndpointTable, members: Members, mix: Mix, now: float) -> FloatArray:
    """Give the rows of a usual request; columns of the load are filled in later."""
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


def _numbers_of_requests(rows: FloatArray) -> FloatArray:
    """Give the loads to try, from one request to the most seats there are."""
    seats = rows[:, _C["max_seqs"]]
    most = float(np.nanmax(seats)) if np.isfinite(seats).any() else _MOST_REQUESTS
    steps = int(np.ceil(np.log(max(most, 2.0)) / np.log(_STEP))) + 1
    return np.geomspace(1.0, max(most, 2.0), steps)


def _fill(
    rows: FloatArray, there: FloatArray, rate: FloatArray, mix: Mix, said: Predictions | None
) -> None:
    """Write what each endpoint would look like with so many requests at such a rate."""
    ttft_s = np.zeros(len(rows)) if said is None else said.ttft_s
    queued = np.minimum(rate * ttft_s, there)
    context = there * mix.context_tokens
    usage = context / rows[:, _C["kv_capacity_tokens"]]
    columns: dict[str, FloatArray | float] = {
        "running_requests": there,
        "waiting_requests": 0.0,
        "kv_cache_usage": np.minimum(usage, 1.0),
        "kv_free_tokens": np.maximum(rows[:, _C["kv_capacity_tokens"]] - context, 0.0),
        "preemptions_per_s": 0.0,
        "oldest_queued_s": ttft_s / 2,
        "prefill_tokens_per_s": rate * mix.uncached_tokens,
        "dispatches_per_s": rate,
        "inflight_requests": there,
        "queued_requests": queued,
        # Of those without a token yet, half is computed on average.
        "queued_prefill_tokens": queued * mix.uncached_tokens / 2,
        "decoding_requests": there - queued,
        "context_ktok": (there - queued) * mix.context_tokens / 1e3,
        "remaining_output_tokens": mix.output_tokens / 2,
        "recent_ttft_s": np.nan if said is None else said.ttft_s,
        "recent_tpot_s": np.nan if said is None else said.tpot_s,
    }
    for name, values in columns.items():
        rows[:, _C[name]] = values


def _left(
    rows: FloatArray, there: FloatArray, rate: FloatArray, mix: Mix, said: Predictions
) -> FloatArray:
    """Give the share left of what runs out first, below 0 where it has; unknown is none."""
    kv_cache = there * mix.context_tokens / rows[:, _C["kv_capacity_tokens"]]
    prefill = rate * mix.uncached_tokens * said.prefill_token_s
    seats = there / rows[:, _C["max_seqs"]]
    left = np.fmin(1.0 - kv_cache / FULL_KV, 1.0 - prefill / _MOST_PREFILL)
    return np.fmin(left, 1.0 - seats)


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
