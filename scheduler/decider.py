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
from predictor.features import complete
from predictor.types import (
    Decision,
    FloatArray,
    Objective,
    Predictions,
    RequestFeatures,
)
from scheduler.candidates import Candidates, total
from scheduler.endpoint_table import EndpointTable, Members
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
        table: EndpointTable,
        index: PrefixIndex,
        rng: random.Random,
    ) -> None:
        self._settings = settings
        self._table = table
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
        members: Members,
        now: float,
    ) -> Decision | Infeasible:
        """Choose among ``members``, of which there is at least one."""
        candidates = self._candidates(fleet, request, members, now)
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
            endpoints=members.names,
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
        members: Members,
        now: float,
    ) -> Candidates:
        table, rows = self._table, members.rows
        prompt_tokens = fleet.prompt_tokens(request)
        matched = self._index.matched_blocks(request.block_hashes, rows)
        # vLLM always computes at least the last token.
        most, block_tokens = max(prompt_tokens - 1, 0), fleet.block_tokens(request)
        (_tiers_to_tokens if self._index.tiered else _to_tokens)(matched, block_tokens, most)
        expected = fleet.output_lengths.expected(
            request.tenant, request.max_tokens, session=request.session_id
        )
        features = complete(
            table.gather(rows),
            prompt_tokens=prompt_tokens,
            matched_tokens=matched,
            cached_tokens=matched * table.effectiveness(rows)[:, None],
            max_tokens=request.max_tokens,
            expected_output_tokens=expected,
            streamed=request.streamed,
            now=now,
        )
        draw = self._rng.random
        return Candidates(
            request=request,
            names=members.names,
            turns=table.turns(rows),
            features=features,
            matched_tokens=np.add.reduce(matched, axis=1),
            prompt_tokens=prompt_tokens,
            expected_output_tokens=expected,
            # Under the kill switch the predictor is not asked: it may be what is wrong.
            predictions=None if self.mode == "heuristic" else _predict(fleet, features, members),
            draw=np.array([draw() for _ in members.names]),
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
        best = np.minimum.reduce(costs)
        close = costs <= (best + NEAR_TIE_RATIO * abs(best) if near_ties else best)
        level = np.where(close, best, costs)
        if not near_ties or np.count_nonzero(close) == 1:
            return np.lexsort((candidates.draw, level))
        cache = np.where(close, -candidates.feature("cached_tokens"), 0.0)
        load = np.where(close, candidates.inflight, 0.0)
        return np.lexsort((candidates.draw, load, cache, level))

    def _shadow(self, fleet: Fleet, candidates: Candidates) -> int:
        costs = total(fleet.policy.terms(candidates))
        return int(self._order(candidates, costs, near_ties=True)[0])


def _to_tokens(blocks: FloatArray, block_tokens: float, most: float) -> None:
    """Turn matched blocks, ``(n, len(TIERS))`` and all on the GPU, into tokens, in place."""
    gpu = blocks[:, 0]
    gpu *= block_tokens
    np.minimum(gpu, most, out=gpu)


def _tiers_to_tokens(blocks: FloatArray, block_tokens: float, most: float) -> None:
    """Turn matched blocks of any tier likewise; the nearest tiers have the first tokens."""
    np.cumsum(blocks, axis=1, out=blocks)
    blocks *= block_tokens
    np.minimum(blocks, most, out=blocks)
    blocks[:, 2] -= blocks[:, 1]
    blocks[:, 1] -= blocks[:, 0]


def _predict(fleet: Fleet, features: FloatArray, members: Members) -> Predictions | None:
    try:
        return fleet.predictor.predict(features, members.names, members.hardware)
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
