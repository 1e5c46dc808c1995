"""The default policy: the lowest predicted latency, counting what it costs the others.

A request's own latency alone is a bad objective: it abandons caches and piles
prefills onto endpoints that decode for others. Adding the delay this request
imposes there repairs that, and turned a loss of a quarter against the best
heuristic into a win (measured in a simulator study; docs/decisions/scoring.md).

Ranks by smooth physics and corrections all candidates share, never by a model's
per-endpoint noise, which would scatter prefixes.
"""

from typing import ClassVar, Final

import numpy as np

from scheduler.candidates import Candidates, Signal, Terms

# Seconds to first token weigh more than seconds of streaming: a reader can read along.
TTFT_WEIGHT: Final = 3.0
# Prefilling again what another endpoint holds also evicts something here; the factor
# is that eviction's share over the life of a cached prefix.
DUPLICATE_WEIGHT: Final = 20.0


class PredictedLatency:
    """Score the expected seconds a request takes and costs others at each endpoint.

    Reads predictions, in-flight counts and prefix matches. Without predictions it
    must not be asked: the scheduler then uses its fallback. Has no settings.

    cost = 3 TTFT + E[out] TPOT                         own latency
         + (decoding + queued) x own prefill            delay of those already there
         + (decoding + queued) x E[out] x added step    slower steps for them
         + 20 x prefill(best match - match here)        cache made twice
    """

    name: ClassVar[str] = "predicted_latency"
    needs: ClassVar[frozenset[Signal]] = frozenset({"own_load", "predictions", "prefix_matches"})

    def terms(self, candidates: Candidates) -> Terms:
        """Give each named part of the cost, ``(n,)`` seconds."""
        predicted = candidates.predictions
        if predicted is None:
            return {"none": np.zeros(len(candidates))}
        others = candidates.inflight
        expected = candidates.expected_output_tokens
        cached = candidates.feature("cached_tokens")
        return {
            "ttft": TTFT_WEIGHT * predicted.rank_ttft_s,
            "decode": expected * predicted.rank_tpot_s,
            "delay_of_others": others * predicted.prefill_s,
            "slower_steps": others * expected * predicted.decode_step_s,
            "duplicate_cache": DUPLICATE_WEIGHT
            * predicted.prefill_token_s
            * (np.maximum.reduce(cached, initial=0.0) - cached),
        }
