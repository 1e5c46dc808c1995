"""Turn one request and the endpoints that may serve it into a decision.

Asks the predictor once, lets one policy decide, and says which and why. A failing
or cold predictor never fails a request: the fallback heuristic decides, under a
reason of its own. Called by the scheduler only.
"""

import random
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from predictor import PredictorError
from predictor.features import feature_matrix
from predictor.types import (
    Decision,
    EndpointState,
    FloatArray,
    Objective,
    Predictions,
    RequestFeatures,
)
from scheduler.accounting import InflightAccounting
from scheduler.candidates import Candidates, total
from scheduler.errors import UnknownTier
from scheduler.fleet import Fleet
from scheduler.policies import Policy
from scheduler.predicted_latency import PredictedLatency
from scheduler.prefix_index import PrefixIndex
from scheduler.settings import SchedulerSettings, TierSettings

Mode = Literal["predicted", "shadow", "heuristic"]

Reason = Literal[
    "predicted",
    "objective_met",
    "objective_unmet",
    "cold",
    "shadow",
    "kill_switch",
    "prediction_failed",
    "policy",
]
"""Why this path decided.

``predicted``: lowest predicted latency. ``objective_met``: the same among the endpoints
that meet the objective; ``objective_unmet``: none does. ``cold``, ``prediction_failed``:
the fallback decided for want of a prediction. ``shadow``, ``kill_switch``: it decided
because the mode says so. ``policy``: the configured heuristic decided.
"""

# Costs this close to the best are told apart by cache and load, not by prediction.
NEAR_TIE_RATIO: Final = 0.01
LEAST_RETRY_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Infeasible:
    """Say that no endpoint meets the objective of a request that may be refused.

    Attributes:
        retry_after_s: Predicted time until one might.
    """

    retry_after_s: float


class Decider:
    """Decide for one request at a time; hold no request state.

    Attributes:
        mode: Whether predictions decide, run in shadow, or are not asked for at all.
    """

    def __init__(
        self,
        *,
        settings: SchedulerSettings,
        accounting: InflightAccounting,
        index: PrefixIndex,
        rng: random.Random,
    ) -> None:
        self._settings = settings
        self._accounting = accounting
        self._index = index
        self._rng = rng
        self.mode: Mode = settings.mode

    def configure(self, settings: SchedulerSettings) -> None:
        """Take other settings into force; a mode set at run time stays unless theirs changed."""
        if settings.mode != self._settings.mode:
            self.mode = settings.mode
        self._settings = settings

    def tier(self, request: RequestFeatures) -> TierSettings:
        """Find the request's tier.

        Raises:
            UnknownTier: The request names one that is not configured.
        """
        name = request.tier or self._settings.default_tier
        tier = self._settings.tiers.get(name)
        if tier is None:
            raise UnknownTier(name, tuple(sorted(self._settings.tiers)))
        return tier

    def decide(
        self,
        fleet: Fleet,
        request: RequestFeatures,
        tier: TierSettings,
        states: tuple[EndpointState, ...],
        now: float,
    ) -> Decision | Infeasible:
        """Choose among ``states``, of which there is at least one."""
        candidates = self._candidates(fleet, request, states, now)
        policy, reason = self._path(fleet, candidates.predictions)
        terms = policy.terms(candidates)
        costs = total(terms)
        order = self._order(candidates, costs, near_ties=isinstance(policy, PredictedLatency))
        if reason == "predicted":
            objective = _objective_left(request, tier, now)
            if objective and candidates.predictions is not None:
                likely = fleet.predictor.probability(candidates.predictions, objective)
                feasible = likely >= tier.confidence
                if not feasible.any() and tier.sheddable:
                    return Infeasible(retry_after_s=_retry_after(candidates.predictions, objective))
                reason = "objective_met" if feasible.any() else "objective_unmet"
                order = order[np.argsort(~feasible[order], kind="stable")]
        return Decision(
            endpoints=tuple(state.endpoint for state in states),
            features=candidates.features,
            matched_tokens=candidates.matched_tokens,
            predictions=candidates.predictions,
            costs=costs,
            terms=terms,
            chosen=int(order[0]),
            order=tuple(order.tolist()),
            policy=policy.name,
            reason=reason,
            shadow_chosen=self._shadow(fleet, candidates) if reason == "shadow" else None,
            prompt_tokens=int(candidates.prompt_tokens),
            decided_s=now,
        )

    def _candidates(
        self,
        fleet: Fleet,
        request: RequestFeatures,
        states: tuple[EndpointState, ...],
        now: float,
    ) -> Candidates:
        names = [state.endpoint for state in states]
        loads = tuple(self._accounting.load(name, now) for name in names)
        prompt_tokens = fleet.prompt_tokens(request)
        blocks = self._index.matched_blocks(request.block_hashes, names)
        # vLLM always computes at least the last token.
        matched = np.minimum(blocks * fleet.block_tokens(request), max(prompt_tokens - 1, 0))
        trust = np.array([self._index.effectiveness(name) for name in names])
        expected = fleet.output_lengths.expected(request.tenant, request.max_tokens)
        features = feature_matrix(
            prompt_tokens=prompt_tokens,
            cached_tokens=matched * trust,
            max_tokens=request.max_tokens,
            expected_output_tokens=expected,
            streamed=request.streamed,
            states=states,
            loads=loads,
            now=now,
        )
        return Candidates(
            request=request,
            states=states,
            loads=loads,
            features=features,
            matched_tokens=matched,
            prompt_tokens=prompt_tokens,
            expected_output_tokens=expected,
            # Under the kill switch the predictor is not asked: it may be what is wrong.
            predictions=None if self.mode == "heuristic" else _predict(fleet, features, states),
            draw=np.array([self._rng.random() for _ in names]),
        )

    def _path(self, fleet: Fleet, predictions: Predictions | None) -> tuple[Policy, Reason]:
        if self.mode == "heuristic":
            return fleet.fallback, "kill_switch"
        if not isinstance(fleet.policy, PredictedLatency):
            return fleet.policy, "policy"
        if predictions is None:
            return fleet.fallback, "prediction_failed"
        if predictions.layer == "cold":
            return fleet.fallback, "cold"
        if self.mode == "shadow":
            return fleet.fallback, "shadow"
        return fleet.policy, "predicted"

    def _order(
        self, candidates: Candidates, costs: FloatArray, *, near_ties: bool
    ) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
        """Sort candidates best first; equal costs by the draw, near ones by cache and load."""
        best = costs.min()
        close = costs <= best + NEAR_TIE_RATIO * abs(best) if near_ties else costs <= best
        cache = np.where(close, -candidates.feature("cached_tokens"), 0.0) if near_ties else 0.0
        load = np.where(close, candidates.inflight, 0.0) if near_ties else 0.0
        flat = np.zeros(len(candidates))
        return np.lexsort(
            (candidates.draw, load + flat, cache + flat, np.where(close, best, costs))
        )

    def _shadow(self, fleet: Fleet, candidates: Candidates) -> int:
        costs = total(fleet.policy.terms(candidates))
        return int(self._order(candidates, costs, near_ties=True)[0])


def _predict(
    fleet: Fleet, features: FloatArray, states: tuple[EndpointState, ...]
) -> Predictions | None:
    try:
        return fleet.predictor.predict(
            features,
            [state.endpoint for state in states],
            [state.hardware for state in states],
        )
    except PredictorError:
        return None


def _objective_left(request: RequestFeatures, tier: TierSettings, now: float) -> Objective:
    """Merge the request's objective with its tier's, less the time already waited."""
    wanted, default = request.objective, tier.objective
    ttft_s = wanted.ttft_s if wanted.ttft_s is not None else default.ttft_s
    tpot_s = wanted.tpot_s if wanted.tpot_s is not None else default.tpot_s
    if ttft_s is not None:
        ttft_s = max(ttft_s - (now - request.arrived_s), 0.0)
    return Objective(ttft_s=ttft_s, tpot_s=tpot_s)


def _retry_after(predictions: Predictions, objective: Objective) -> float:
    """Estimate when an endpoint will have drained enough to start in time."""
    if objective.ttft_s is None:
        return LEAST_RETRY_S
    return max(float(predictions.ttft_s.min()) - objective.ttft_s, LEAST_RETRY_S)
