"""The physics prior: TTFT and TPOT linear in a few terms with a meaning, fitted online.

Two predictions a row: by the endpoint's own coefficients, and *smooth*, by the fleet's
times a slow speed per endpoint, which is what ranking uses, because noise that is
independent per endpoint scatters prefixes. :mod:`predictor.terms` has the terms,
:mod:`predictor.coefficients` the fit.

Reads feature rows; returns seconds. Missing data counts as nothing there. Refits happen
inside ``learn`` at growing intervals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from predictor.coefficients import TargetPhysics
from predictor.kernels import physics as kernels
from predictor.kernels.physics import BOUNDS_S, OWN, SMOOTH
from predictor.kernels.terms import rows_of
from predictor.physics_fit import PhysicsFit
from predictor.places import CoefficientPlaces, Places
from predictor.settings import PhysicsSettings
from predictor.terms import PARTS, tpot_day_zero, ttft_day_zero
from predictor.types import FloatArray

__all__ = ["BOUNDS_S", "TARGETS", "TPOT", "TTFT", "PhysicsFit", "PhysicsPrediction", "PhysicsPrior"]

TARGETS: Final = ("ttft", "tpot")
TTFT: Final = 0
TPOT: Final = 1


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

    >>> from predictor.features import COLUMN, N_FEATURES
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
        self._places = CoefficientPlaces(self._targets)

    @property
    def empty(self) -> bool:
        """Say whether nothing but day 0 is known of either target."""
        return all(target.empty for target in self._targets)

    def at(
        self, endpoints: Sequence[str], hardware: Sequence[str | None]
    ) -> tuple[FloatArray, Places]:
        """Give all coefficients, and the places, ``(n,)``, of these endpoints' in them."""
        places = self._places.of(endpoints, hardware)
        return self._places.coefficients, places

    def predict(
        self, features: FloatArray, endpoints: Sequence[str], hardware: Sequence[str | None]
    ) -> PhysicsPrediction:
        """Predict for ``(n, n_features)`` rows, one per endpoint.

        Args:
            features: The rows.
            endpoints: Where each runs.
            hardware: The endpoints' labels.
        """
        coefficients, places = self.at(endpoints, hardware)
        logs, marginal_s = np.empty((2, len(TARGETS), len(features))), np.empty((3, len(features)))
        kernels.predict(rows_of(features), coefficients, places, logs, marginal_s)
        return PhysicsPrediction(
            log_prior=logs[OWN],
            log_smooth=logs[SMOOTH],
            prefill_s=marginal_s[0],
            prefill_token_s=marginal_s[1],
            decode_step_s=marginal_s[2],
        )

    def log_scales(self, endpoints: Sequence[str], hardware: Sequence[str | None]) -> FloatArray:
        """Give ``(2, n)`` log speed factors: what makes smooth seconds differ by endpoint."""
        pairs = list(zip(endpoints, hardware, strict=True))
        return np.array([[target.log_scale(*pair) for pair in pairs] for target in self._targets])

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
        row = rows_of(features[None])
        for index, target_s in targets_s.items():
            self._targets[index].append(
                endpoint,
                hardware,
                row,
                PARTS[index],
                target_s=target_s,
                observed_s=float(observed_s),
                weight=weights[index],
            )

    def refit(self) -> None:
        """Refit both targets, fleet and endpoints, from the rows remembered."""
        for target in self._targets:
            target.refit()

    def fit(self) -> PhysicsFit:
        """Give the present coefficients as plain numbers."""
        return PhysicsFit(ttft=self._targets[TTFT].fit(), tpot=self._targets[TPOT].fit())
