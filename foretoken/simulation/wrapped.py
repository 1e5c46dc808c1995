"""Predictions changed on their way to the policy: for ablations, and to see what error does.

Each change reads what the predictor under test says and gives what the policy is to see;
learning and calibration go on underneath as ever. Made by :mod:`variants
<foretoken.simulation.variants>`; never part of service.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Final, Protocol

import numpy as np

from predictor.latency import EXPERTS
from predictor.protocol import Predictor
from predictor.types import FloatArray, Objective, Observation, Predictions
from predictor.values import replace

_SMOOTH: Final = EXPERTS.index("smooth")
_LONGEST_LOG: Final = float(np.log(7200.0))
"""Of any prediction, in log seconds: what the predictor itself holds them to."""

Change = Callable[[Predictions, Sequence[str], Sequence[str | None]], Predictions]
"""From what was said of endpoints and their hardware to what the policy sees."""


class Changed:
    """Predict as another does, changed.

    Args:
        inner: Predicts and learns.
        change: What is made of each prediction.
    """

    def __init__(self, inner: Predictor, change: Change) -> None:
        self._inner = inner
        self._change = change

    def predict(
        self, features: FloatArray, endpoints: Sequence[str], hardware: Sequence[str | None]
    ) -> Predictions:
        """Predict for ``(n, n_features)`` rows, one per endpoint.

        Raises:
            PredictorError: The other cannot.
        """
        said = self._inner.predict(features, endpoints, hardware)
        return self._change(said, endpoints, hardware)

    def learn(self, observation: Observation) -> None:
        """Let the other learn."""
        self._inner.learn(observation)

    def probability(self, predictions: Predictions, objective: Objective) -> FloatArray:
        """Give the probability, ``(n,)``, by the other."""
        return self._inner.probability(predictions, objective)


# What ranking rests on


class SpeedsKnown(Protocol):
    """Tell the speed factors that ranking tells endpoints apart by."""

    def log_scales(self, endpoints: Sequence[str], hardware: Sequence[str | None]) -> FloatArray:
        """Give ``(2, n)`` log speed factors by target (TTFT, TPOT)."""
        ...


def fleet_physics(speeds: SpeedsKnown, *, shared: bool) -> Change:
    """Rank by physics fitted to the whole fleet, no endpoint's speed in it.

    Args:
        speeds: What is taken out, of the marginal costs too.
        shared: Leave the correction in that all candidates share.
    """

    def change(
        said: Predictions, endpoints: Sequence[str], hardware: Sequence[str | None]
    ) -> Predictions:
        scales = speeds.log_scales(endpoints, hardware)
        kept = _ranked_log(said) if shared else said.experts[:, _SMOOTH]
        return _without_speeds(_ranked(said, kept - scales), scales)

    return change


def fleet_physics_boosted(speeds: SpeedsKnown) -> Change:
    """Rank by the fleet's physics times what the mixture says of the candidates' mean."""

    def change(
        said: Predictions, endpoints: Sequence[str], hardware: Sequence[str | None]
    ) -> Predictions:
        scales = speeds.log_scales(endpoints, hardware)
        plain = said.experts[:, _SMOOTH] - scales
        return _without_speeds(_ranked(said, plain + _mean_gap(said, plain)), scales)

    return change


def endpoint_speeds(said: Predictions, *_: object) -> Predictions:
    """Rank by the fleet's physics, slow speeds per endpoint and the shared correction."""
    return said


def endpoint_speeds_boosted(said: Predictions, *_: object) -> Predictions:
    """Rank by physics with slow speeds times what the mixture says of the candidates' mean."""
    smooth = said.experts[:, _SMOOTH]
    return _ranked(said, smooth + _mean_gap(said, smooth))


def endpoint_boosted(said: Predictions, *_: object) -> Predictions:
    """Rank by what all experts together say of each endpoint."""
    return replace(said, rank_ttft_s=said.ttft_s, rank_tpot_s=said.tpot_s)


def _ranked_log(said: Predictions) -> FloatArray:
    logs: FloatArray = np.log(np.array([said.rank_ttft_s, said.rank_tpot_s]))
    return logs


def _mean_gap(said: Predictions, plain: FloatArray) -> FloatArray:
    """Give ``(2, 1)``: how far the mixture is above other log seconds, over the candidates."""
    mixed = np.log(np.array([said.ttft_s, said.tpot_s]))
    gap: FloatArray = (mixed - plain).mean(axis=1, keepdims=True)
    return gap


def _ranked(said: Predictions, log_seconds: FloatArray) -> Predictions:
    ttft_s, tpot_s = np.exp(np.minimum(log_seconds, _LONGEST_LOG))
    return replace(said, rank_ttft_s=ttft_s, rank_tpot_s=tpot_s)


def _without_speeds(said: Predictions, scales: FloatArray) -> Predictions:
    ttft, tpot = np.exp(-scales)
    return replace(
        said,
        prefill_s=said.prefill_s * ttft,
        prefill_token_s=said.prefill_token_s * ttft,
        decode_step_s=said.decode_step_s * tpot,
    )


# Error


def noise(sigma: float) -> Change:
    """Make everything said of an endpoint wrong by one factor, drawn anew at each decision.

    Args:
        sigma: Standard deviation of the factor's logarithm.
    """
    rng = Random("noise on predictions")

    def change(said: Predictions, endpoints: Sequence[str], *_: object) -> Predictions:
        return times(said, np.exp([rng.gauss(0.0, sigma) for _ in endpoints]))

    return change


def fixed_bias(sigma: float) -> Change:
    """Make everything said of an endpoint wrong by one factor, the endpoint's own for good.

    Args:
        sigma: Standard deviation of the factor's logarithm over the endpoints.
    """
    factors: dict[str, float] = {}

    def of(endpoint: str) -> float:
        if endpoint not in factors:
            factors[endpoint] = float(np.exp(Random(f"bias of {endpoint}").gauss(0.0, sigma)))
        return factors[endpoint]

    def change(said: Predictions, endpoints: Sequence[str], *_: object) -> Predictions:
        return times(said, np.array([of(name) for name in endpoints]))

    return change


def times(said: Predictions, factors: FloatArray) -> Predictions:
    """Multiply everything said, in seconds, by a factor for each endpoint, ``(n,)``."""
    return replace(
        said,
        ttft_s=said.ttft_s * factors,
        tpot_s=said.tpot_s * factors,
        quantiles_s=said.quantiles_s * factors,
        rank_ttft_s=said.rank_ttft_s * factors,
        rank_tpot_s=said.rank_tpot_s * factors,
        prefill_s=said.prefill_s * factors,
        decode_step_s=said.decode_step_s * factors,
        prefill_token_s=said.prefill_token_s * factors,
    )
