"""Policies drawn to the endpoint that holds the prompt's prefix, or the conversation.

They differ in how they know (a prefix index, or a hash that lands the same prompt on
the same endpoint) and in when they let go (never, past a load, past a wait). Built by
:mod:`scheduler.policies`.
"""

from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from predictor.types import FloatArray
from scheduler.candidates import Candidates, Signal, Terms, total
from scheduler.load_policies import LeastRequest, QueuedTokens, TokenLoad
from scheduler.rendezvous import places
from scheduler.settings import (
    BoundedLoadHashSettings,
    PrefixAffinitySettings,
    RadixCacheAwareSettings,
    WeightedBlendSettings,
)

_LOADS: Final[dict[str, LeastRequest | QueuedTokens | TokenLoad]] = {
    "queued_tokens": QueuedTokens(),
    "token_load": TokenLoad(),
    "least_request": LeastRequest(),
}


class WeightedBlend:
    """Pick the highest weighted sum of prefix match, short queue and free KV cache.

    The queue and the KV usage are the scraped ones, as there: an unknown queue is our
    own, an unknown KV usage the others' mean. Scores are compared, never seconds.
    Source: llm-d-router (2026-08), scorers ``prefix-cache``, ``queue`` and
    ``kv-cache-utilization`` with the max-score picker: 3:2:2 is its chart's default
    without a predictor, 1:1:1 the baseline of its predicted-latency post. The earlier
    optimized-baseline guide adds ``no-hit-lru`` at weight 2 (3:2:2:2): a prompt no
    endpoint holds goes where none went for longest. There only such prompts count as
    use; here every dispatch does.
    """

    name: ClassVar[str] = "weighted_blend"
    needs: ClassVar[frozenset[Signal]] = frozenset({"own_load", "prefix_matches", "scraped_load"})

    def __init__(self, settings: WeightedBlendSettings) -> None:
        self._settings = settings

    def terms(self, candidates: Candidates) -> Terms:
        """Give the negated, weighted scores, each 0 to 1 before its weight."""
        weights = self._settings
        queue = candidates.waiting()
        spread = float(queue.max() - queue.min())
        short = (queue.max() - queue) / spread if spread > 0 else np.ones(len(candidates))
        terms = {
            "prefix": -weights.prefix_weight * candidates.matched_ratio,
            "queue": -weights.queue_weight * short,
            "kv_cache": -weights.kv_weight * (1.0 - candidates.kv_usage()),
        }
        if weights.cold_weight and not candidates.matched_tokens.any():
            terms["cold_turn"] = -weights.cold_weight * _longest_unused(candidates)
        return terms


class PrefixAffinity:
    """Stick to endpoints that hold the prefix until they are saturated; then load alone.

    Endpoints that hold at least ``affinity_ratio`` of the prompt are sticky. When the
    best of them has more than ``max_penalty_s`` of prefill queued above the best of the
    others, all are considered. Among those considered the load decides: by default the
    queued tokens. Reads the prefix match and our own accounting.
    Source: llm-d-router default since 2026-08 (``prefix-cache-affinity-filter`` with
    ttftSource prefillThroughput, ``token-load-scorer``, max-score picker); its
    "sticky until saturated" post (2026-08-17) also ranks by active requests, for
    decode-bound traffic.
    """

    name: ClassVar[str] = "prefix_affinity"
    needs: ClassVar[frozenset[Signal]] = frozenset({"own_load", "prefix_matches"})

    def __init__(self, settings: PrefixAffinitySettings) -> None:
        self._settings = settings
        self._load = _LOADS[settings.load]

    def terms(self, candidates: Candidates) -> Terms:
        """Give the load, put behind all sticky ones where stickiness holds."""
        terms = self._load.terms(candidates)
        sticky = candidates.matched_ratio >= self._settings.affinity_ratio
        if not sticky.any() or sticky.all() or self._saturated(candidates, sticky):
            return terms
        return {**terms, "not_sticky": _behind(sticky, total(terms))}

    def _saturated(self, candidates: Candidates, sticky: NDArray[np.bool_]) -> bool:
        wait_s = candidates.queued_tokens / self._settings.prefill_tokens_per_s
        penalty_s = float(wait_s[sticky].min() - wait_s[~sticky].min())
        return penalty_s > self._settings.max_penalty_s


class RadixCacheAware:
    """Follow the longest prefix match while requests are balanced; else the fewest requests.

    Out of balance is a gap in requests in flight above ``imbalance_requests`` that is
    also more than ``imbalance_ratio`` fold. In balance, a best match above
    ``affinity_ratio`` of the prompt wins, the least loaded among equals; a lesser match
    is none and goes to the fewest requests. Reads the prefix index, which stands in for
    the routers' radix tree, and our own counts.
    Source: ``cache_aware``, the default of SMG 1.13 and vllm-project/router (2026-08),
    both from SGLang's router, at the thresholds their command lines start with (their
    libraries' own are 0.5, 32 and 1.1). Earlier versions sent a miss to the smallest
    tree, which ignores load and fed one endpoint (sglang#14305).
    """

    name: ClassVar[str] = "radix_cache_aware"
    needs: ClassVar[frozenset[Signal]] = frozenset({"own_load", "prefix_matches"})

    def __init__(self, settings: RadixCacheAwareSettings) -> None:
        self._settings = settings

    def terms(self, candidates: Candidates) -> Terms:
        """Give requests in flight, put behind the best match where one is followed."""
        inflight = candidates.inflight
        best = float(candidates.matched_ratio.max())
        if best <= self._settings.affinity_ratio or self._unbalanced(inflight):
            return {"inflight": inflight}
        return {
            "inflight": inflight,
            "lesser_match": _behind(candidates.matched_ratio == best, inflight),
        }

    def _unbalanced(self, inflight: FloatArray) -> bool:
        most, least = float(inflight.max()), float(inflight.min())
        gap = most - least > self._settings.imbalance_requests
        return gap and most > least * self._settings.imbalance_ratio


class BoundedLoadHash:
    """Hash the prompt's beginning to an endpoint, and pass over those above the mean load.

    The chained hash of the first ``prefix_blocks`` blocks (of as many as there are)
    gives each prompt its own order of endpoints; the first with at most ``load_factor``
    times the mean requests in flight takes it. A prompt shorter than a block goes to
    the fewest requests. Reads names, block hashes and our own counts: no index.
    Source: KubeAI ``PrefixHash`` (2025-07), after Mirrokni, Thorup and Zadimoghaddam,
    "Consistent Hashing with Bounded Loads", 2016; load factor 1.25 as there. KubeAI
    hashes 100 characters of the first user message, SMG's ``prefix_hash`` the first 256
    tokens; theirs is a ring, here it is rendezvous hashing, which moves as little when
    endpoints change.
    """

    name: ClassVar[str] = "bounded_load_hash"
    needs: ClassVar[frozenset[Signal]] = frozenset({"own_load", "prefix_hashes"})

    def __init__(self, settings: BoundedLoadHashSettings) -> None:
        self._settings = settings

    def terms(self, candidates: Candidates) -> Terms:
        """Give the place in the prompt's order, put behind all where it is overloaded."""
        inflight = candidates.inflight
        key = candidates.request.block_hashes[: self._settings.prefix_blocks]
        if not key:
            return {"inflight": inflight}
        n = len(candidates)
        # The mean counts this request, the endpoint's own load does not: as KubeAI's.
        bound = self._settings.load_factor * (float(inflight.sum()) + 1.0) / n
        return {
            "place": places(str(key[-1]), candidates.names),
            "above_bound": np.where(inflight <= bound, 0.0, float(n)),
        }


class SessionAffinity:
    """Keep each conversation on one endpoint, whatever the load.

    Rendezvous hashing of ``session_id``: when endpoints change, only the conversations
    of those that left move. Without a session the fewest requests in flight decide.
    Source: the ``session`` and consistent-hash policies of vLLM's production-stack, SMG
    and vllm-project/router (2026-08); Thaler and Ravishankar, "A Name-Based Mapping
    Scheme for Rendezvous", 1996.
    """

    name: ClassVar[str] = "session_affinity"
    needs: ClassVar[frozenset[Signal]] = frozenset({"own_load", "sessions"})

    def terms(self, candidates: Candidates) -> Terms:
        """Give the place in the conversation's order, or requests in flight without one."""
        session_id = candidates.request.session_id
        if session_id is None:
            return {"inflight": candidates.inflight}
        return {"place": places(session_id, candidates.names)}


def _behind(ahead: NDArray[np.bool_], costs: FloatArray) -> FloatArray:
    """Give the penalty that puts all others behind those ahead, for costs of 0 or more."""
    return np.where(ahead, 0.0, float(costs.max()) + 1.0)


def _longest_unused(candidates: Candidates) -> FloatArray:
    """Score 1 for the endpoint dispatched to longest ago, down to 0 for the latest."""
    turns = candidates.turns
    later = np.searchsorted(np.sort(turns), turns)
    scores: FloatArray = 1.0 - later / max(len(candidates) - 1, 1)
    return scores
