"""The default policy: the lowest predicted latency, counting what it costs the others.

A request's own latency alone is a bad objective: it abandons caches and piles
prefills onto endpoints that decode for others. Adding the delay this request
imposes there repairs that (docs/decisions/scoring.md).

Ranks by smooth physics and corrections all candidates share, never by a model's
per-endpoint noise, which would scatter prefixes.
"""

from typing import ClassVar, Final

import numpy as np

from predictor.types import FloatArray, Predictions
from scheduler import kernels
from scheduler.candidates import Candidates, Signal, TermRows, Terms
from scheduler.settings import PredictedLatencySettings

# Seconds to first token weigh more than seconds of streaming: a reader can read along.
TTFT_WEIGHT: Final = 3.0
# Prefilling again what another endpoint holds also evicts something here; the factor
# is that eviction's share over the life of a cached prefix.
DUPLICATE_WEIGHT: Final = 20.0
# A first token twice as late as elsewhere counts as much as everything a quarter slower:
# seconds alone would let any long answer hide a late first token.
LATE_EXPONENT: Final = 0.3
_NAMES: Final = (
    *("ttft", "wait_for_room", "decode", "delay_of_others", "slower_steps"),
    *("duplicate_cache", "delay_of_next", "late_first_token"),
)
"""The terms, in the order of the rows that the kernel writes."""


class PredictedLatency:
    """Score the expected seconds a request takes and costs others at each endpoint.

    Reads predictions, in-flight counts, prefix matches and, where they are known, seats
    and free KV room. Without predictions it must not be asked: the scheduler then uses
    its fallback. With the objective ``total``, the default:

    cost = 3 TTFT + E[out] TPOT                         own latency
         + 3 x wait for a seat and KV room              the same, before the engine starts
         + (decoding + queued) x own prefill            delay of those already there
         + (decoding + queued) x E[out] x added step    slower steps for them
         + 3 x E[out] TPOT where all seats are taken    delay of those who come next
         + 20 x prefill(best match - match here)        cache made twice
         + all of these x ((TTFT / best TTFT)^0.3 - 1)  a first token later than need be

    With ``own`` it is TTFT + E[out] TPOT, with ``ttft`` TTFT alone, waits included.
    Source: docs/decisions/scoring.md has what was tried and measured.
    """

    name: ClassVar[str] = "predicted_latency"
    needs: ClassVar[frozenset[Signal]] = frozenset({"own_load", "predictions", "prefix_matches"})

    def __init__(self, settings: PredictedLatencySettings | None = None) -> None:
        self._objective = (settings or PredictedLatencySettings()).objective

    def terms(self, candidates: Candidates) -> Terms:
        """Give each named part of the cost, ``(n,)`` seconds."""
        predicted = candidates.predictions
        if predicted is None:
            return {"none": np.zeros(len(candidates))}
        if self._objective == "total":
            return _cost_to_all(candidates, predicted)
        ttft, tpot = candidates.rank_s(predicted)
        decode = candidates.expected_output_tokens * tpot
        own = {"ttft": ttft, "wait_for_room": _rooms(candidates, decode)}
        return own if self._objective == "ttft" else {**own, "decode": decode}


def _cost_to_all(candidates: Candidates, predicted: Predictions) -> Terms:
    leanings = candidates.leanings
    if leanings is None:
        leanings = np.ones((2, len(candidates)))
    values = np.empty((kernels.TOTAL + 1, len(candidates.names)))
    kernels.latency_cost(
        candidates.features,
        predicted.rank_ttft_s,
        predicted.rank_tpot_s,
        predicted.prefill_s,
        predicted.decode_step_s,
        predicted.prefill_token_s,
        leanings,
        candidates.expected_output_tokens,
        TTFT_WEIGHT,
        DUPLICATE_WEIGHT,
        LATE_EXPONENT,
        values,
    )
    return TermRows(_NAMES, values)


def _rooms(candidates: Candidates, answer_s: FloatArray) -> FloatArray:
    waits_s = np.empty(len(candidates))
    kernels.rooms(candidates.features, answer_s, waits_s)
    return waits_s
