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
from scheduler.candidates import Candidates, Signal, Terms, total
from scheduler.settings import PredictedLatencySettings

# Seconds to first token weigh more than seconds of streaming: a reader can read along.
TTFT_WEIGHT: Final = 3.0
# Prefilling again what another endpoint holds also evicts something here; the factor
# is that eviction's share over the life of a cached prefix.
DUPLICATE_WEIGHT: Final = 20.0
# A first token twice as late as elsewhere counts as much as everything a quarter slower:
# seconds alone would let any long answer hide a late first token.
LATE_EXPONENT: Final = 0.3
# Share of the KV cache that the growth of running answers takes while a prompt is prefilled.
KV_MARGIN_RATIO: Final = 0.02


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
        ttft = predicted.rank_ttft_s
        decode = candidates.expected_output_tokens * predicted.rank_tpot_s
        seats = candidates.seats_left()
        room = _wait_for_room(candidates, seats, decode)
        if self._objective == "ttft":
            return {"ttft": ttft, "wait_for_room": room}
        if self._objective == "own":
            return {"ttft": ttft, "wait_for_room": room, "decode": decode}
        terms = {
            "ttft": TTFT_WEIGHT * ttft,
            "wait_for_room": TTFT_WEIGHT * room,
            "decode": decode,
            **_cost_to_others(candidates, predicted),
            # Who queues here for a seat puts off all who queue later: of those about as many
            # come in the time of an answer as there are seats, and each waits one turn more.
            "delay_of_next": np.where(seats < 1, TTFT_WEIGHT * decode, 0.0),
        }
        first = ttft + room
        late = (first / np.minimum.reduce(first)) ** LATE_EXPONENT - 1.0
        return {**terms, "late_first_token": total(terms) * late}


def _cost_to_others(candidates: Candidates, predicted: Predictions) -> Terms:
    others, expected = candidates.inflight, candidates.expected_output_tokens
    cached = candidates.feature("cached_tokens")
    return {
        "delay_of_others": others * predicted.prefill_s,
        "slower_steps": others * expected * predicted.decode_step_s,
        "duplicate_cache": DUPLICATE_WEIGHT
        * predicted.prefill_token_s
        * (np.maximum.reduce(cached, initial=0.0) - cached),
    }


def _wait_for_room(candidates: Candidates, seats: FloatArray, answer_s: FloatArray) -> FloatArray:
    """Give the seconds until the engine has a seat and KV blocks for the request, ``(n,)``.

    Those who run there leave one by one over the time one answer takes, each with its
    share of the blocks. Unknown seats or room count as enough.
    """
    capacity, free = candidates.feature("kv_capacity_tokens"), candidates.feature("kv_free_tokens")
    needed = candidates.queued_tokens + candidates.uncached_tokens + KV_MARGIN_RATIO * capacity
    lacking = np.fmax(needed - free, 0.0) / np.maximum(capacity - free, 1.0)
    unseated = np.maximum(1.0 - seats, 0.0) / candidates.feature("max_seqs")
    waits: FloatArray = answer_s * np.fmax(np.fmax(unseated, lacking), 0.0)
    return waits
