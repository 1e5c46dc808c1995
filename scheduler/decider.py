"""Turn one request and the endpoints that may serve it into a decision.

Asks the predictor once, lets one policy decide, and says which and why. A failing,
slow or cold predictor never fails a request, nor do scores that are no numbers: a lower
level of the ladder decides, under a reason of its own. Scrapes that are too old count as
unknown, which leaves our own accounting. Called by the scheduler only.
"""

import math
import random

import numpy as np

from predictor import PredictorError
from predictor.feature_rows import complete, forget_stale
from predictor.types import Decision, FloatArray, Predictions, RequestFeatures
from scheduler.affinity import Affinity
from scheduler.candidates import Candidates, Terms, total
from scheduler.endpoint_table import EndpointTable, Members
from scheduler.errors import UnknownTier
from scheduler.fleet import Fleet
from scheduler.ladder import Mode, Rung, below, rung
from scheduler.objectives import Held, Infeasible, Placed, held, objective_of, place
from scheduler.policies import Policy
from scheduler.predicted_latency import PredictedLatency
from scheduler.prefix_caches import PrefixCaches
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
        caches: PrefixCaches,
        affinity: Affinity,
        rng: random.Random,
    ) -> None:
        self._settings = settings
        self._table = table
        self._caches = caches
        self._affinity = affinity
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
        placing = placing if self._settings.flow_control else "at_once"
        session = self._session(fleet, request)
        candidates = self._candidates(fleet, request, members, session, now)
        chosen = rung(fleet, request, candidates.predictions, self.mode, now)
        chosen, terms, costs = _scored(chosen, fleet, candidates, now)
        order, reason = _order(chosen.policy, candidates, costs), chosen.reason
        explored = likely = None
        if reason == "predicted" and not objective_of(request, tier):
            explored = fleet.exploration.order(members.names, costs, order)
            order = order if explored is None else explored
        if isinstance(chosen.policy, PredictedLatency):
            judged = place(
                fleet,
                candidates,
                tier,
                order,
                rows=members.rows,
                placing=placing,
                now=now,
            )
            if not isinstance(judged, Placed):
                return judged
            order, likely = judged.order, judged.likely
            if reason == "predicted":
                reason = judged.reason
            if reason == "predicted" and explored is not None and explored[0] == order[0]:
                reason = "explored"
        elif placing == "release" and backlogged(candidates).all():
            return held(candidates, "endpoints_full")
        if fleet.session == "strict" and session in members.names:
            order, reason = _first(order, members.names.index(session)), "session"
        shadow = _pick(chosen.shadow, candidates)
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
            shadow_chosen=shadow,
            shadow_policy=None if chosen.shadow is None else chosen.shadow.name,
            predicted_s=_predicted_s(candidates, int(order[0])),
            shadow_predicted_s=_predicted_s(candidates, shadow),
            announced=self._caches.announced(request, int(members.rows[order[0]])),
            prompt_tokens=int(candidates.prompt_tokens),
            decided_s=now,
            likely=None if likely is None else float(likely[order[0]]),
        )

    def _session(self, fleet: Fleet, request: RequestFeatures) -> str | None:
        """Give the endpoint of the request's conversation, where that counts."""
        if fleet.session == "off":
            return None
        return self._affinity.session_endpoint(fleet.model, request)

    def _candidates(
        self,
        fleet: Fleet,
        request: RequestFeatures,
        members: Members,
        session: str | None,
        now: float,
    ) -> Candidates:
        table, rows = self._table, members.rows
        prompt_tokens = fleet.prompt_tokens(request)
        matched, trust = self._caches.match(
            request,
            rows,
            block_tokens=fleet.block_tokens(request),
            most=max(prompt_tokens - 1, 0),  # vLLM always computes at least the last token
        )
        expected = fleet.output_lengths.expected(
            request.tenant, request.max_tokens, session=request.session_id
        )
        features = complete(
            table.gather(rows),
            prompt_tokens=prompt_tokens,
            matched_tokens=matched,
            cached_tokens=matched * trust[:, None],
            max_tokens=request.max_tokens,
            expected_output_tokens=expected,
            streamed=request.streamed,
            now=now,
        )
        forget_stale(features, self._settings.stale_after_s)
        # Under the kill switch the predictor is not asked: it may be what is wrong.
        asks = self.mode != "heuristic" and fleet.trust.rests(now) is None
        draw = self._rng.random
        return Candidates(
            request=request,
            names=members.names,
            turns=table.turns(rows),
            features=features,
            matched_tokens=np.add.reduce(matched, axis=1),
            prompt_tokens=prompt_tokens,
            expected_output_tokens=expected,
            predictions=_predict(fleet, features, members, now) if asks else None,
            draw=np.array([draw() for _ in members.names]),
            preference=self._affinity.preference(
                fleet.model, request, members.names, session=session
            ),
        )


def _order(policy: Policy, candidates: Candidates, costs: FloatArray) -> Order:
    near_ties = isinstance(policy, PredictedLatency)
    return (with_near_ties if near_ties else cheapest_first)(candidates, costs)


def _scored(
    chosen: Rung, fleet: Fleet, candidates: Candidates, now: float
) -> tuple[Rung, Terms, FloatArray]:
    """Score the candidates by the first level, from ``chosen`` down, whose costs are numbers."""
    deciding = chosen
    while True:
        terms = deciding.policy.terms(candidates)
        costs = total(terms)
        lower = None if math.isfinite(np.add.reduce(costs)) else below(deciding, fleet)
        if lower is None:
            break
        deciding = lower
    if deciding is not chosen and isinstance(chosen.policy, PredictedLatency):
        fleet.trust.asked(problem=f"{chosen.policy.name}: costs are not finite", now=now)
    if chosen.reason != "canary":  # a trial says nothing of who usually decides
        fleet.trust.stand(deciding.level, deciding.reason, now)
    return deciding, terms, costs


def _first(order: Order, index: int) -> Order:
    """Put one candidate first."""
    return np.concatenate(([index], order[order != index]))


def _predicted_s(candidates: Candidates, index: int | None) -> float | None:
    """Give the seconds a request is expected to take at a candidate."""
    said = candidates.predictions
    if said is None or index is None:
        return None
    streaming_s = candidates.expected_output_tokens * said.tpot_s[index]
    return float(said.ttft_s[index] + streaming_s)


def _pick(policy: Policy | None, candidates: Candidates) -> int | None:
    """Give whom a policy would have picked, ``None`` for no policy."""
    if policy is None:
        return None
    return int(_order(policy, candidates, total(policy.terms(candidates)))[0])


def _predict(
    fleet: Fleet, features: FloatArray, members: Members, now: float
) -> Predictions | None:
    try:
        said = fleet.predictor.predict(features, members.names, members.hardware)
    except PredictorError as error:
        fleet.trust.asked(problem=str(error), now=now)
        return None
    fleet.trust.asked(problem=None, now=now)
    return fleet.leanings.corrected(said, members.names)
