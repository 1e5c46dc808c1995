"""The physics prior: TTFT and TPOT linear in a few terms with a meaning, fitted online.

Two predictions a row: by the endpoint's own coefficients, and *smooth*, by the fleet's
times a slow speed per endpoint, which is what ranking uses, because noise that is
independent per endpoint scatters prefixes. :mod:`predictor.terms` has the terms,
:mod:`predictor.coefficients` the fit.

Reads feature rows; returns seconds. Missing data counts as nothing there. Refits happen
inside ``learn`` at growing intervals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from predictor.coefficients import TargetFit, TargetPhysics
from predictor.features import COLUMN
from predictor.settings import PhysicsSettings
from predictor.terms import (
    HELD_CONTEXT,
    OWN_CONTEXT,
    OWN_TOKEN,
    SEQUENCE,
    known_rows,
    tpot_day_zero,
    tpot_terms,
    ttft_day_zero,
    ttft_terms,
)
from predictor.types import FloatArray

TARGETS: Final = ("ttft", "tpot")
TTFT: Final = 0
TPOT: Final = 1

BOUNDS_S: Final = ((1e-4, 3600.0), (1e-5, 60.0))
"""What each target can plausibly be: labels beyond are refused, predictions held within."""

_FURTHEST: Final = 0.7  # log seconds between an endpoint's own fit and the fleet's
_FLOOR: Final = 0.05  # of the day-0 coefficient: a marginal cost is never free


@dataclass(frozen=True, slots=True, kw_only=True)
class PhysicsFit:
    """Hold the whole prior as plain numbers: the part of a snapshot that is physics."""

    ttft: TargetFit = field(default_factory=TargetFit)
    tpot: TargetFit = field(default_factory=TargetFit)


@dataclass(frozen=True, slots=True, kw_only=True)
class PhysicsPrediction:
    """Hold what physics says of ``n`` rows.

    Attributes:
        log_prior: ``(2, n)`` log seconds by each endpoint's own coefficients.
        log_smooth: ``(2, n)`` log seconds by the fleet's, times slow speed factors.
        prefill_s: ``(n,)`` own prefill time.
        prefill_token_s: ``(n,)`` marginal seconds per uncached token.
        decode_step_s: ``(n,)`` what one more such sequence adds to a decode step.
    """

    log_prior: FloatArray
    log_smooth: FloatArray
    prefill_s: FloatArray
    prefill_token_s: FloatArray
    decode_step_s: FloatArray


class PhysicsPrior:
    """Predict both targets from physics and learn its coefficients online.

    Settings: :class:`PhysicsSettings`. Source: the step model of
    :mod:`predictor.hardware`; relative-error least squares as in
    :func:`predictor.fit.fit_nonnegative`.

    >>> from predictor.features import N_FEATURES
    >>> rows = np.zeros((2, N_FEATURES))
    >>> rows[:, COLUMN["uncached_tokens"]] = 100, 2000
    >>> said = PhysicsPrior().predict(rows, ["a:1", "b:1"], [None, None])
    >>> bool(said.log_smooth[TTFT, 0] < said.log_smooth[TTFT, 1])
    True
    """

    def __init__(
        self, settings: PhysicsSettings | None = None, fit: PhysicsFit | None = None
    ) -> None:
        self._settings = settings or PhysicsSettings()
        fit = fit or PhysicsFit()
        self._targets = (
            TargetPhysics(ttft_day_zero, self._settings, fit.ttft),
            TargetPhysics(tpot_day_zero, self._settings, fit.tpot),
        )

    @property
    def empty(self) -> bool:
        """Say whether nothing but day 0 is known of either target."""
        return all(target.empty for target in self._targets)

    def predict(
        self, features: FloatArray, endpoints: Sequence[str], hardware: Sequence[str | None]
    ) -> PhysicsPrediction:
        """Predict for ``(n, n_features)`` rows, one per endpoint."""
        known = known_rows(features)
        log_prior, log_smooth = np.empty((2, 2, len(endpoints)))
        marginal = []
        for index, design in enumerate((ttft_terms(known), tpot_terms(known))):
            own, smooth, unit = self._targets[index].coefficients(endpoints, hardware)
            log_smooth[index] = _log_seconds(design, smooth, index)
            log_prior[index] = _near(_log_seconds(design, own, index), log_smooth[index])
            marginal.append(np.maximum(smooth, _FLOOR * unit))
        prefill, step = marginal
        token_s = prefill[:, OWN_TOKEN]
        held_ktok = (
            known[:, COLUMN["prompt_tokens"]] + known[:, COLUMN["expected_output_tokens"]] / 2
        ) / 1e3
        return PhysicsPrediction(
            log_prior=log_prior,
            log_smooth=log_smooth,
            prefill_s=token_s * known[:, COLUMN["uncached_tokens"]]
            + prefill[:, OWN_CONTEXT] * known[:, COLUMN["prefill_context"]],
            prefill_token_s=token_s,
            decode_step_s=step[:, SEQUENCE] + step[:, HELD_CONTEXT] * held_ktok,
        )

    def log_prior(
        self, features: FloatArray, endpoints: Sequence[str], hardware: Sequence[str | None]
    ) -> FloatArray:
        """Predict only ``(2, n)`` log seconds by each endpoint's own coefficients."""
        known = known_rows(features)
        said = np.empty((len(TARGETS), len(endpoints)))
        for index, design in enumerate((ttft_terms(known), tpot_terms(known))):
            own, smooth, _ = self._targets[index].coefficients(endpoints, hardware)
            said[index] = _near(
                _log_seconds(design, own, index), _log_seconds(design, smooth, index)
            )
        return said

    def learn(
        self,
        features: FloatArray,
        endpoint: str,
        hardware: str | None,
        *,
        observed_s: float,
        targets_s: Mapping[int, float],
        weights: Sequence[float] = (1.0, 1.0),
    ) -> None:
        """Take in the measured targets, by index (``TTFT``, ``TPOT``), of one row.

        Args:
            features: ``(n_features,)``, as at dispatch.
            endpoint: Where it ran.
            hardware: The endpoint's label.
            observed_s: When the measurement was complete.
            targets_s: Seconds by target index.
            weights: Of the labels by target index, 0 to 1.
        """
        self.remember(
            features,
            endpoint,
            hardware,
            observed_s=observed_s,
            targets_s=targets_s,
            weights=weights,
        )
        for index in targets_s:
            self._targets[index].refit_due(endpoint)

    def remember(
        self,
        features: FloatArray,
        endpoint: str,
        hardware: str | None,
        *,
        observed_s: float,
        targets_s: Mapping[int, float],
        weights: Sequence[float] = (1.0, 1.0),
    ) -> None:
        """Take in a row of a batch like :meth:`learn`; :meth:`refit` ends the batch."""
        known = known_rows(features[None])
        for index, target_s in targets_s.items():
            self._targets[index].append(
                endpoint,
                hardware,
                (ttft_terms, tpot_terms)[index](known)[0],
                target_s=target_s,
                observed_s=observed_s,
                weight=weights[index],
            )

    def refit(self) -> None:
        """Refit both targets, fleet and endpoints, from the rows remembered."""
        for target in self._targets:
            target.refit()

    def fit(self) -> PhysicsFit:
        """Give the present coefficients as plain numbers."""
        return PhysicsFit(ttft=self._targets[TTFT].fit(), tpot=self._targets[TPOT].fit())


def _near(log_own: FloatArray, log_smooth: FloatArray) -> FloatArray:
    """Hold an endpoint's own fit within sight of the fleet's, where it has no rows of the kind."""
    near: FloatArray = np.clip(log_own, log_smooth - _FURTHEST, log_smooth + _FURTHEST)
    return near


def _log_seconds(design: FloatArray, coefficients: FloatArray, target: int) -> FloatArray:
    lowest, highest = BOUNDS_S[target]
    seconds = np.einsum("nk,nk->n", design, coefficients)
    log_seconds: FloatArray = np.log(np.minimum(np.maximum(seconds, lowest), highest))
    return log_seconds
