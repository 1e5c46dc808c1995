"""Variants of the default policy that experiments compare it with: no arms of their own.

Three kinds: other things to rank by, other things to minimise, and predictions that are
wrong. Called by the benchmarks, by name; one cannot serve with them.
"""

from collections.abc import Callable
from typing import ClassVar, Final

from foretoken.simulation.arms import Arm, Brain, learned
from foretoken.simulation.wrapped import (
    Change,
    Changed,
    endpoint_boosted,
    endpoint_speeds,
    endpoint_speeds_boosted,
    fixed_bias,
    fleet_physics,
    fleet_physics_boosted,
    noise,
)
from predictor import LatencyPredictor
from scheduler import POLICIES, Policy, build_policy
from scheduler.candidates import Candidates, Terms, total
from scheduler.predicted_latency import PredictedLatency
from scheduler.settings import PredictedLatencySettings

RANKINGS: Final[dict[str, str]] = {
    "rank_prior": "prior only",
    "rank_shared": "+ correction all share",
    "rank_shared_boosted": "the same, boosted",
    "rank_speeds": "+ slow speed per endpoint",
    "rank_speeds_boosted": "the same, shared correction boosted",
    "rank_boosted": "+ boosted per endpoint",
}
"""What ranking rests on, each with a little more learned, by variant."""

LATE: Final = "late_first_token"
"""The term that is a share of all the others."""

TERMS: Final = (
    "ttft",
    "wait_for_room",
    "decode",
    "delay_of_others",
    "slower_steps",
    "delay_of_next",
    "duplicate_cache",
    LATE,
)
"""The terms of the default's cost, each of which a variant goes without."""

OBJECTIVES: Final[dict[str, str]] = {
    "own": "own predicted e2e alone",
    "own_ttft": "own predicted TTFT alone",
    **{f"without_{term}": f"default without {term}" for term in TERMS},
}
"""What is minimised, by variant."""

NOISE: Final = 0.10
BIAS: Final = 0.30


class Naive(PredictedLatency):
    """Minimise the request's own end-to-end time, by whatever all experts say of each endpoint."""

    def terms(self, candidates: Candidates) -> Terms:
        """Give the parts of the cost, ``(n,)`` seconds."""
        said = candidates.predictions
        assert said is not None  # noqa: S101  # the scheduler asks its fallback otherwise
        return {
            "ttft": said.ttft_s,
            "decode": candidates.expected_output_tokens * said.tpot_s,
        }


class Without(PredictedLatency):
    """Minimise the default's cost without one of its terms.

    Args:
        term: Which; one it does not have is a ``KeyError`` at the first decision.
    """

    name: ClassVar[str] = "predicted_latency"

    def __init__(self, term: str) -> None:
        self._default = _default()
        self._term = term

    def terms(self, candidates: Candidates) -> Terms:
        """Give the other parts of the cost, ``(n,)`` seconds."""
        terms = dict(self._default.terms(candidates))
        late = terms.pop(LATE)
        share = late / total(terms)
        if self._term == LATE:
            return terms
        del terms[self._term]
        return {**terms, LATE: share * total(terms)}


def _default() -> Policy:
    return build_policy(POLICIES["predicted_latency"])


def _arm(
    name: str,
    policy: Callable[[], Policy] = _default,
    change: Callable[[LatencyPredictor], Change] | None = None,
) -> Arm:
    if change is None:
        return Arm(name=name, build=lambda _: learned(policy()))

    def build(_: object) -> Brain:
        return learned(policy(), lambda predictor: Changed(predictor, change(predictor)))

    return Arm(name=name, build=build)


def _without(term: str) -> Arm:
    return _arm(f"without_{term}", lambda: Without(term))


_ALL: Final = (
    _arm("rank_prior", change=lambda predictor: fleet_physics(predictor, shared=False)),
    _arm("rank_shared", change=lambda predictor: fleet_physics(predictor, shared=True)),
    _arm("rank_shared_boosted", change=fleet_physics_boosted),
    _arm("rank_speeds", change=lambda _: endpoint_speeds),
    _arm("rank_speeds_boosted", change=lambda _: endpoint_speeds_boosted),
    _arm("rank_boosted", change=lambda _: endpoint_boosted),
    _arm("own", lambda: build_policy(PredictedLatencySettings(objective="own"))),
    _arm("own_ttft", lambda: build_policy(PredictedLatencySettings(objective="ttft"))),
    *map(_without, TERMS),
    _arm("naive", Naive),
    *(
        _arm(f"{base}{error}", policy, change)
        for base, policy in (("", _default), ("naive_", Naive))
        for error, change in (
            ("noise_10", lambda _: noise(NOISE)),
            ("bias_30", lambda _: fixed_bias(BIAS)),
        )
    ),
)

VARIANTS: Final[dict[str, Arm]] = {variant.name: variant for variant in _ALL}
"""Every variant by name."""
