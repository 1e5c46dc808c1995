"""Turn one request and the endpoints that may serve it into a decision.

Asks the predictor once, lets one policy decide, and says which and why. A failing,
slow or cold predictor never fails a request, nor do scores that are no numbers: a lower
level of the ladder decides, under a reason of its own. Scrapes that are too old count as
unknown, which leaves our own accounting. Called by the scheduler only.
"""

import random

import numpy as np

from predictor import PredictorError
from predictor.feature_rows import request_rows
from predictor.types import Decision, FloatArray, Predictions, RequestFeatures
from predictor.values import Value
from scheduler.affinity import Affinity
from scheduler.candidates import Candidates, Terms, total
from scheduler.endpoint_table import EndpointTable, Members, Rows
from scheduler.errors import UnknownTier
from scheduler.fleet import Fleet
from scheduler.ladder import Mode, Rung, below, rung
from scheduler.live import LiveRequest
from scheduler.objectives import Held, Infeasible, Placed, held, place
from scheduler.policies import Policy
from scheduler.predicted_latency import PredictedLatency
from scheduler.prefix_caches import PrefixCaches
from scheduler.ranking import Order, cheapest_first, with_near_ties
from scheduler.saturation import Placing, backlogged
from scheduler.settings import SchedulerSettings, TierSettings


class _Scored(Value):
    """Hold what a policy makes of the candidates.

    Attributes:
        by: Who scored them, and why.
        terms: The parts of the cost, ``(n,)`` each.
        costs: ``(n,)`` their sums.
        order: All candidates, best first.
    """

    by: Rung
    terms: Terms
    costs: FloatArray
    order: Order


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
        self, live: LiveRequest, members: Members, now: float, placing: Placing = "arrival"
    ) -> Decision | Infeasible | Held:
        """Choose among ``members``, of which there is at least one."""
        if not self._settings.flow_control:
            placing = "at_once"
        fleet = live.fleet
        session = None if fleet.session == "off" else self._affinity.session_endpoint(live)
        if now < fleet.warm_up.until_s:
            inflight = self._table.inflight(members.rows)
            members = fleet.warm_up.admit(members, inflight, now, kept=session)
        candidates = self._candidates(live, members, session, now)
        deciding = rung(fleet, live.request, candidates.predictions, self.mode, now)
        scored = _scored(deciding, fleet, candidates, now)
        placed = _placed(live, candidates, scored, rows=members.rows, placing=placing, now=now)
        if not isinstance(placed, Placed):
            return placed
        if fleet.session == "strict" and session in members.names:
            placed = _kept(placed, members.names.index(session))
        return self._decision(live, members, candidates, scored=scored, placed=placed, now=now)

    def _decision(
        self,
        live: LiveRequest,
        members: Members,
        candidates: Candidates,
        *,
        scored: _Scored,
        placed: Placed,
        now: float,
    ) -> Decision:
        order, likely = placed.order.tolist(), placed.likely
        chosen, shadow = order[0], scored.by.shadow if live.teaches else None
        shadow_chosen = _pick(shadow, candidates)
        return Decision(
            endpoints=members.names,
            features=candidates.features,
            matched_tokens=candidates.matched_tokens,
            predictions=candidates.predictions,
            costs=scored.costs,
            terms=scored.terms,
            chosen=chosen,
            order=tuple(order),
            policy=scored.by.policy.name,
            reason=placed.reason,
            shadow_chosen=shadow_chosen,
            shadow_policy=None if shadow is None else shadow.name,
            predicted_s=_predicted_s(candidates, chosen),
            shadow_predicted_s=_predicted_s(candidates, shadow_chosen),
            announced=self._caches.announced(live.request, members.rows.item(chosen)),
            prompt_tokens=int(candidates.prompt_tokens),
            decided_s=now,
            likely=None if likely is None else likely.item(chosen),
            broken=None if placed.broken is None else placed.broken.item(chosen),
        )

    def _candidates(
        self, live: LiveRequest, members: Members, session: str | None, now: float
    ) -> Candidates:
        request, fleet, table, rows = live.request, live.fleet, self._table, members.rows
        prompt_tokens = fleet.prompt_tokens(request)
        matches = self._caches.match(
            request,
            rows,
            block_tokens=fleet.block_tokens(request),
            most=max(prompt_tokens - 1, 0),  # vLLM always computes at least the last token
        )
        expected = fleet.output_lengths.expected(
            request.tenant, request.max_tokens, session=request.session_id
        )
        features = request_rows(
            table.columns,
            rows,
            prompt_tokens=prompt_tokens,
            matched_tokens=matches.believed,
            effectiveness=matches.trust,
            max_tokens=request.max_tokens,
            expected_output_tokens=expected,
            streamed=request.streamed,
            now=now,
            stale_after_s=self._settings.stale_after_s,
        )
        # Under the kill switch the predictor is not asked: it may be what is wrong.
        asks = self.mode != "heuristic" and fleet.trust.rests(now) is None
        draw = self._rng.random
        return Candidates(
            request=request,
            names=members.names,
            rows=rows,
            all_turns=table.turns,
            features=features,
            matched_tokens=matches.tokens,
            prompt_tokens=prompt_tokens,
            expected_output_tokens=expected,
            predictions=_predict(fleet, features, members, now) if asks else None,
            leanings=fleet.leanings.factors(members.names),
            draw=np.array([draw() for _ in members.names]),
            preference=self._affinity.preference(live, members.names, session=session),
        )


def _scored(by: Rung, fleet: Fleet, candidates: Candidates, now: float) -> _Scored:
    """Score the candidates by the first level, from the given one down, whose costs are numbers."""
    scored = _score(by, candidates)
    if scored is None:
        if isinstance(by.policy, PredictedLatency):
            fleet.trust.asked(problem=f"{by.policy.name}: costs are not finite", now=now)
        scored = _scored_below(by, fleet, candidates)
    if by.reason != "canary":  # a trial says nothing of who usually decides
        fleet.trust.stand(scored.by.level, scored.by.reason, now)
    return scored


def _scored_below(by: Rung, fleet: Fleet, candidates: Candidates) -> _Scored:
    lower = below(by, fleet)
    return _score(lower, candidates) or _scored_below(lower, fleet, candidates)


def _score(by: Rung, candidates: Candidates) -> _Scored | None:
    """Score the candidates by one level, ``None`` where its costs are no numbers."""
    terms = by.policy.terms(candidates)
    costs = total(terms)
    order = _order(by.policy, candidates, costs)
    return None if order is None else _Scored(by=by, terms=terms, costs=costs, order=order)


def _order(policy: Policy, candidates: Candidates, costs: FloatArray) -> Order | None:
    if isinstance(policy, PredictedLatency):
        return with_near_ties(candidates, costs)
    return cheapest_first(candidates, costs)


def _pick(policy: Policy | None, candidates: Candidates) -> int | None:
    """Give whom a policy would have picked, ``None`` for no policy or costs that are no numbers."""
    if policy is None:
        return None
    order = _order(policy, candidates, total(policy.terms(candidates)))
    return None if order is None else order.item(0)


def _placed(
    live: LiveRequest,
    candidates: Candidates,
    scored: _Scored,
    *,
    rows: Rows,
    placing: Placing,
    now: float,
) -> Placed | Held | Infeasible:
    """Say in which order the request should go to the candidates, or why to none."""
    order, reason = scored.order, scored.by.reason
    if not isinstance(scored.by.policy, PredictedLatency):
        if placing == "release" and backlogged(candidates).all():
            return held(candidates, "endpoints_full")
        return Placed(order=order, reason=reason)
    explored = None
    if reason == "predicted" and not live.wants:
        explored = _explored(live.fleet, candidates, scored, now)
        order = order if explored is None else explored
    placed = place(live, candidates, order, rows=rows, placing=placing, now=now)
    if not isinstance(placed, Placed):
        return placed
    if reason != "predicted":  # whose turn it was says more
        return Placed(order=placed.order, reason=reason, likely=placed.likely, broken=placed.broken)
    if placed.reason == reason and explored is not None and explored[0] == placed.order[0]:
        return Placed(order=placed.order, reason="explored")
    return placed


def _explored(fleet: Fleet, candidates: Candidates, scored: _Scored, now: float) -> Order | None:
    """Put an endpoint first that is to be tried, ``None`` where none is."""
    if now < fleet.warm_up.until_s:
        due = fleet.warm_up.due(candidates.names, now)
        if due is not None:
            return np.concatenate(([due], scored.order[scored.order != due]))
    return fleet.exploration.order(candidates.names, scored.costs, scored.order)


def _kept(placed: Placed, index: int) -> Placed:
    """Put the endpoint of the request's conversation first."""
    order = np.concatenate(([index], placed.order[placed.order != index]))
    return Placed(order=order, reason="session", likely=placed.likely, broken=placed.broken)


def _predicted_s(candidates: Candidates, index: int | None) -> float | None:
    """Give the seconds a request is expected to take at a candidate."""
    said = candidates.predictions
    if said is None or index is None:
        return None
    return said.ttft_s.item(index) + candidates.expected_output_tokens * said.tpot_s.item(index)


def _predict(
    fleet: Fleet, features: FloatArray, members: Members, now: float
) -> Predictions | None:
    try:
        said = fleet.predictor.predict(features, members.names, members.hardware)
    except PredictorError as error:
        fleet.trust.asked(problem=str(error), now=now)
        return None
    fleet.trust.asked(problem=None, now=now)
    return said
