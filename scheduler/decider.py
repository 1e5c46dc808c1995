"""Turn one request and the endpoints that may serve it into a decision.

Asks the predictor once, lets one policy decide, and says which and why. A failing
or cold predictor never fails a request: the fallback heuristic decides, under a
reason of its own. Called by the scheduler only.
"""

import random

import numpy as np

from predictor import PredictorError
from predictor.features import complete
from predictor.types import Decision, FloatArray, Predictions, RequestFeatures
from scheduler.candidates import Candidates, total
from scheduler.endpoint_table import EndpointTable, Members
from scheduler.errors import UnknownTier
from scheduler.fleet import Fleet
from scheduler.ladder import Mode, rung
from scheduler.objectives import Held, Infeasible, Placed, held, place
from scheduler.policies import Policy
from scheduler.predicted_latency import PredictedLatency
from scheduler.prefix_index import PrefixIndex
from scheduler.ranking import Order, cheapest_first, with_near_ties
from scheduler.saturation import Placing, backlogged
from scheduler.settings import SchedulerSettings, TierSettings


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
        *,
        placing: Placing = "arrival",
    ) -> Decision | Infeasible | Held:
        """Choose among ``members``, of which there is at least one."""
        candidates = self._candidates(fleet, request, members, now)
        chosen = rung(fleet, candidates.predictions, self.mode)
        terms = chosen.policy.terms(candidates)
        costs = total(terms)
        order, reason = _order(chosen.policy, candidates, costs), chosen.reason
        likely = None
        if reason == "predicted":
            placing = placing if self._settings.flow_control else "at_once"
            judged = place(
                fleet, candidates, tier, order, rows=members.rows, placing=placing, now=now
            )
            if not isinstance(judged, Placed):
                return judged
            order, reason, likely = judged.order, judged.reason, judged.likely
        elif placing == "release" and backlogged(candidates).all():
            return held(candidates, "endpoints_full")
        return Decision(
            endpoints=members.names,
            features=candidates.features,
            matched_tokens=candidates.matched_tokens,
            predictions=candidates.predictions,
            costs=costs,
            terms=terms,
            chosen=int(order[0]),
            order=tuple(order.tolist()),
            policy=chosen.policy.name,
            reason=reason,
            shadow_chosen=_pick(chosen.shadow, candidates),
            prompt_tokens=int(candidates.prompt_tokens),
            decided_s=now,
            likely=likely,
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


def _order(policy: Policy, candidates: Candidates, costs: FloatArray) -> Order:
    near_ties = isinstance(policy, PredictedLatency)
    return (with_near_ties if near_ties else cheapest_first)(candidates, costs)


def _pick(policy: Policy | None, candidates: Candidates) -> int | None:
    """Give whom a policy would have picked, ``None`` for no policy."""
    if policy is None:
        return None
    return int(_order(policy, candidates, total(policy.terms(candidates)))[0])


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
