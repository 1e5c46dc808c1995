"""The policies one can choose: candidates in, named cost terms out; the lowest sum wins.

Heuristics are here because people use them, because the predicted-latency policy
falls back to one, and because a claim needs a baseline. Each is at its best known
setting. A policy never picks: the scheduler does, and breaks ties.
"""

from typing import ClassVar, Final, Protocol, assert_never

import numpy as np
from numpy.typing import NDArray

from scheduler.candidates import Candidates, Terms, total
from scheduler.predicted_latency import PredictedLatency
from scheduler.settings import (
    PlainPolicySettings,
    PolicySettings,
    PredictedLatencySettings,
    PrefixAffinitySettings,
    WeightedBlendSettings,
)


class Policy(Protocol):
    """Score every candidate; lower is better."""

    name: ClassVar[str]

    def terms(self, candidates: Candidates) -> Terms:
        """Give the named parts of the cost, each finite and ``(n,)``."""
        ...


class RoundRobin:
    """Pick the endpoint dispatched to longest ago.

    Equal to a rotating index on a fixed set, and fair when endpoints come and go.
    Reads our own dispatch numbers only.
    """

    name: ClassVar[str] = "round_robin"

    def terms(self, candidates: Candidates) -> Terms:
        """Give the sequence number of each endpoint's last dispatch."""
        return {"turn": np.array([float(load.last_dispatch) for load in candidates.loads])}


class Random:
    """Pick uniformly at random. Reads nothing."""

    name: ClassVar[str] = "random"

    def terms(self, candidates: Candidates) -> Terms:
        """Give each endpoint's random draw."""
        return {"draw": candidates.draw}


class LeastRequest:
    """Pick the endpoint with the fewest requests in flight, by our own count."""

    name: ClassVar[str] = "least_request"

    def terms(self, candidates: Candidates) -> Terms:
        """Give requests in flight."""
        return {"inflight": candidates.inflight}


class PowerOfTwo:
    """Pick the less loaded of two endpoints drawn at random.

    Source: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001.
    """

    name: ClassVar[str] = "power_of_two"

    def terms(self, candidates: Candidates) -> Terms:
        """Give requests in flight for the two drawn, and more than any for the rest."""
        inflight = candidates.inflight
        costs = np.full(len(candidates), float(inflight.max(initial=0.0)) + 1.0)
        drawn = np.argsort(candidates.draw)[:2]
        costs[drawn] = inflight[drawn]
        return {"inflight": costs}


class TokenLoad:
    """Pick the endpoint with the fewest tokens in flight once this request is there.

    Tokens are uncached prompt tokens waiting plus context tokens held.
    Source: llm-d-router, token-load-scorer (2026-08).
    """

    name: ClassVar[str] = "token_load"

    def terms(self, candidates: Candidates) -> Terms:
        """Give tokens in flight including this request's uncached ones."""
        return {
            "queued_tokens": candidates.queued_tokens,
            "own_tokens": candidates.uncached_tokens,
            "held_tokens": candidates.feature("context_ktok") * 1e3,
        }


class QueuedTokens:
    """Pick the endpoint with the fewest uncached tokens ahead of the first token.

    What a prefill-bound fleet wants: queued plus own tokens over one prefill rate.
    """

    name: ClassVar[str] = "queued_tokens"

    def terms(self, candidates: Candidates) -> Terms:
        """Give queued plus own uncached tokens."""
        return {
            "queued_tokens": candidates.queued_tokens,
            "own_tokens": candidates.uncached_tokens,
        }


class Lmetric:
    """Pick the lowest product of tokens to prefill and batch size.

    Source: LMETRIC, arXiv 2603.15202: new prefill tokens x batch size, no tuning.
    """

    name: ClassVar[str] = "lmetric"

    def terms(self, candidates: Candidates) -> Terms:
        """Give (queued + own uncached tokens) x (requests in flight + 1)."""
        tokens = candidates.queued_tokens + candidates.uncached_tokens + 1.0
        return {"tokens_x_batch": tokens * (candidates.inflight + 1.0)}


class WeightedBlend:
    """Pick the highest weighted sum of prefix match, short queue and free KV cache.

    Source: llm-d-router's older default, scorers ``prefix-cache``, ``queue`` and
    ``kv-cache-utilization``; weights 1:1:1 as shipped, 3:2:2 as tuned by its authors.
    An unknown queue is our own; an unknown KV usage is the others' mean.
    """

    name: ClassVar[str] = "weighted_blend"

    def __init__(self, settings: WeightedBlendSettings) -> None:
        self._settings = settings

    def terms(self, candidates: Candidates) -> Terms:
        """Give the negated, weighted scores, each 0 to 1 before its weight."""
        queue = candidates.waiting()
        spread = float(queue.max() - queue.min())
        short = (queue.max() - queue) / spread if spread > 0 else np.ones(len(candidates))
        match = candidates.matched_tokens / max(candidates.prompt_tokens, 1.0)
        weights = self._settings
        return {
            "prefix": -weights.prefix_weight * match,
            "queue": -weights.queue_weight * short,
            "kv_cache": -weights.kv_weight * (1.0 - candidates.kv_usage()),
        }


class PrefixAffinity:
    """Stick to endpoints that hold the prefix until they are saturated; then token load.

    Endpoints that hold at least ``affinity_ratio`` of the prompt are sticky. When the
    best of them is more than ``max_penalty_s`` slower to first token than the best of
    the others, all are considered. Among those considered the token load decides.
    Source: llm-d-router default since 2026-08 (prefix-cache-affinity-filter with
    ttftSource prefillThroughput, token-load-scorer, max-score-picker).
    """

    name: ClassVar[str] = "prefix_affinity"

    def __init__(self, settings: PrefixAffinitySettings) -> None:
        self._settings = settings
        self._load = TokenLoad()

    def terms(self, candidates: Candidates) -> Terms:
        """Give the token load, put behind all sticky ones where stickiness holds."""
        terms = self._load.terms(candidates)
        share = candidates.matched_tokens / max(candidates.prompt_tokens, 1.0)
        sticky = share >= self._settings.affinity_ratio
        if not sticky.any() or sticky.all() or self._saturated(candidates, sticky):
            return terms
        most = float(total(terms).max()) + 1.0
        return {**terms, "not_sticky": np.where(sticky, 0.0, most)}

    def _saturated(self, candidates: Candidates, sticky: NDArray[np.bool_]) -> bool:
        tokens = candidates.queued_tokens + candidates.uncached_tokens
        ttft_s = tokens / self._settings.prefill_tokens_per_s
        penalty_s = float(ttft_s[sticky].min() - ttft_s[~sticky].min())
        return penalty_s > self._settings.max_penalty_s


_PLAIN: Final[dict[str, type[Policy]]] = {
    policy.name: policy
    for policy in (
        RoundRobin,
        Random,
        LeastRequest,
        PowerOfTwo,
        TokenLoad,
        QueuedTokens,
        Lmetric,
    )
}

POLICIES: Final[dict[str, PolicySettings]] = {
    **{name: PlainPolicySettings.model_validate({"kind": name}) for name in _PLAIN},
    "weighted_blend": WeightedBlendSettings(),
    "prefix_affinity": PrefixAffinitySettings(),
    "predicted_latency": PredictedLatencySettings(),
}
"""Every policy by name, at its default settings."""


def build_policy(settings: PolicySettings) -> Policy:
    """Construct the policy the settings describe.

    >>> build_policy(POLICIES["lmetric"]).name
    'lmetric'
    """
    match settings:
        case PlainPolicySettings():
            return _PLAIN[settings.kind]()
        case WeightedBlendSettings():
            return WeightedBlend(settings)
        case PrefixAffinitySettings():
            return PrefixAffinity(settings)
        case PredictedLatencySettings():
            return PredictedLatency()
    assert_never(settings)
