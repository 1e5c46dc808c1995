"""What a request would harm at each endpoint, and whether it should be kept away for now.

Harm is the number of promises to others that are predicted to be broken by it: what one
more sequence and one more prefill add to each step, set against the TPOT promised to those
who decode there. An endpoint is closed where a request would not start soon anyway (batch
or KV cache full) or, to those without an objective of their own, where harm or pressure
says that more urgent ones need it. Called by the decider only.
"""

from typing import Final, Literal

import numpy as np

from predictor.protocol import Predictor
from predictor.types import FloatArray, Objective, Predictions
from predictor.values import replace
from scheduler.candidates import Candidates
from scheduler.endpoint_table import Rows
from scheduler.kernels import BoolArray, closed
from scheduler.promises import Promises

Placing = Literal["arrival", "release", "at_once"]
"""``arrival``: it has just come. ``release``: it has waited, as others may have.
``at_once``: it has waited long enough and goes wherever is best."""

# Of a promised TTFT, the prefills queued at an endpoint that more urgent ones may meet.
TTFT_SHARE: Final = 0.5
# Of the fleet, what may be beyond that at a time: long prompts have to go somewhere.
BUSY_SHARE: Final = 0.25
# Promises a request without an objective may break, by expectation: far less than one.
MOST_HARM: Final = 0.05
# Share of promises to more urgent ones that may be broken lately before others are held.
MOST_PRESSURE: Final = 0.02
# A TPOT promise this far above the predicted one is in no danger: spares the arithmetic.
SAFE: Final = 2.0
# KV cache in use that counts as full: beyond, vLLM soon preempts.
FULL_KV: Final = 0.97
# Requests that waited leave while the prefills queued at an endpoint are below this, or
# below so many requests where nothing is predicted: all at once would be a herd.
RELEASE_BACKLOG_S: Final = 0.5
RELEASE_REQUESTS: Final = 4
# Output a prefill's delay spreads over at least: one token's gap is no mean.
_FEWEST_TOKENS: Final = 32.0


def full(candidates: Candidates) -> BoolArray | None:
    """Find where a request would only queue, ``(n,)``; ``None`` for nowhere.

    Unknown bounds are none.
    """
    found = np.empty(len(candidates.names), np.bool_)
    return found if closed(candidates.features, FULL_KV, found) else None


def backlogged(candidates: Candidates) -> BoolArray:
    """Find where enough waits for its prefill already, ``(n,)``."""
    predicted = candidates.predictions
    if predicted is None or predicted.layer == "cold":
        return candidates.feature("queued_requests") >= RELEASE_REQUESTS
    return candidates.queued_tokens * candidates.prefill_token_s() > RELEASE_BACKLOG_S


def harm(
    candidates: Candidates,
    predicted: Predictions,
    promises: Promises,
    predictor: Predictor,
    *,
    rows: Rows,
    priority: int,
) -> FloatArray | None:
    """Count the promises the request is predicted to break at each, ``(n,)``; ``None``: none.

    Counts those of its own priority and above.
    """
    total: FloatArray | None = None
    both: Predictions | None = None
    highest_s = SAFE * float(predicted.tpot_s.max())
    for limit_s, held in promises.tpots(rows, priority=priority):
        if limit_s > highest_s or not held.any():
            continue
        both = both or _before_and_after(candidates, predicted)
        kept = predictor.probability(both, Objective(tpot_s=limit_s))
        before, after = kept[: len(held)], kept[len(held) :]
        broken = held * np.maximum(before - after, 0.0)
        total = broken if total is None else total + broken
    return total


def crowded(candidates: Candidates, promises: Promises, *, priority: int) -> BoolArray | None:
    """Find where its prefill would keep more urgent ones from starting, ``(n,)``.

    It may make another endpoint busy only while few are.
    """
    ttft_s, predicted = promises.ttft_s(priority=priority), candidates.predictions
    if predicted is None or not np.isfinite(ttft_s):
        return None
    queued_s = candidates.queued_tokens * candidates.prefill_token_s()
    busy: BoolArray = queued_s > TTFT_SHARE * ttft_s
    if np.count_nonzero(busy) < max(int(BUSY_SHARE * len(candidates)), 1):
        return busy
    would_be: BoolArray = queued_s + candidates.prefill_s(predicted) > TTFT_SHARE * ttft_s
    return would_be


def _before_and_after(candidates: Candidates, predicted: Predictions) -> Predictions:
    """Give what those at each endpoint see without the request, then with it, ``(2n,)``."""
    spread = max(candidates.expected_output_tokens, _FEWEST_TOKENS)
    added_s = candidates.decode_step_s(predicted) + candidates.prefill_s(predicted) / spread
    after_s = np.maximum(predicted.tpot_s, 1e-6)
    before_s = np.maximum(after_s - added_s, after_s / 4)
    quantiles_s = predicted.quantiles_s
    return replace(
        predicted,
        ttft_s=np.concatenate((predicted.ttft_s, predicted.ttft_s)),
        tpot_s=np.concatenate((before_s, after_s)),
        quantiles_s=np.concatenate((quantiles_s * (before_s / after_s), quantiles_s), axis=2),
    )
