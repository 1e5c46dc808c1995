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
    PARTS,
    SEQUENCE,
    Terms,
    tpot_day_zero,
    ttft_day_zero,
)
from predictor.types import FloatArray

TARGETS: Final = ("ttft", "tpot")
TTFT: Final = 0
TPOT: Final = 1

BOUNDS_S: Final = ((1e-4, 3600.0), (1e-5, 60.0))
"""What each target can plausibly be: labels beyond are refused, predictions held within."""

_Key = tuple[tuple[str, ...], tuple[str | None, ...], tuple[int, int]]

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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Coefficients:
    """Hold what is read at each decision for ``n`` endpoints, in their order.

    Attributes:
        own_and_smooth: ``(2, n, n_terms)``, terms as in ``Terms.design``.
        token_s: ``(n,)`` marginal seconds per uncached token, which is never free.
        context_s: Likewise per unit of prefill context.
        sequence_s: Likewise per sequence in the batch.
        held_s: Likewise per thousand tokens of context held.
    """

    own_and_smooth: FloatArray
    token_s: FloatArray
    context_s: FloatArray
    sequence_s: FloatArray
    held_s: FloatArray


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
        self._gathered: tuple[_Key, _Coefficients] | None = None

    @property
    def empty(self) -> bool:
        """Say whether nothing but day 0 is known of either target."""
        return all(target.empty for target in self._targets)

    def predict(
        self,
        features: FloatArray,
        endpoints: Sequence[str],
        hardware: Sequence[str | None],
        terms: Terms | None = None,
    ) -> PhysicsPrediction:
        """Predict for ``(n, n_features)`` rows, one per endpoint.

        Args:
            features: The rows.
            endpoints: Where each runs.
            hardware: The endpoints' labels.
            terms: Those of the rows, where the caller has them already.
        """
        terms = terms or Terms.of(features)
        known, here = terms.known, self._at(endpoints, hardware)
        log_prior, log_smooth = _log_seconds(terms.design, here)
        held_ktok = (known[:, _PROMPT] + known[:, _EXPECTED] / 2) / 1e3
        return PhysicsPrediction(
            log_prior=log_prior,
            log_smooth=log_smooth,
            prefill_s=here.token_s * known[:, _UNCACHED] + here.context_s * known[:, _CONTEXT],
            prefill_token_s=here.token_s,
            decode_step_s=here.sequence_s + here.held_s * held_ktok,
        )

    def log_prior(
        self,
        features: FloatArray,
        endpoints: Sequence[str],
        hardware: Sequence[str | None],
        terms: Terms | None = None,
    ) -> FloatArray:
        """Predict only ``(2, n)`` log seconds by each endpoint's own coefficients."""
        terms = terms or Terms.of(features)
        return _log_seconds(terms.design, self._at(endpoints, hardware))[0]

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
        terms: Terms | None = None,
    ) -> None:
        """Take in the measured targets, by index (``TTFT``, ``TPOT``), of one row.

        Args:
            features: ``(n_features,)``, as at dispatch.
            endpoint: Where it ran.
            hardware: The endpoint's label.
            observed_s: When the measurement was complete.
            targets_s: Seconds by target index.
            weights: Of the labels by target index, 0 to 1.
            terms: Those of the row, where the caller has them already.
        """
        self.remember(
            features,
            endpoint,
            hardware,
            observed_s=observed_s,
            targets_s=targets_s,
            weights=weights,
            terms=terms,
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
        terms: Terms | None = None,
    ) -> None:
        """Take in a row of a batch like :meth:`learn`; :meth:`refit` ends the batch."""
        design = (terms or Terms.of(features[None])).design[0]
        for index, target_s in targets_s.items():
            self._targets[index].append(
                endpoint,
                hardware,
                design[PARTS[index]],
                target_s=target_s,
                observed_s=observed_s,
                weight=weights[index],
            )

    def refit(self) -> None:
        """Refit both targets, fleet and endpoints, from the rows remembered."""
        for target in self._targets:
            target.refit()

    def _at(self, endpoints: Sequence[str], hardware: Sequence[str | None]) -> _Coefficients:
        """Give the coefficients there; the endpoints are mostly those of the last decision."""
        versions = (self._targets[TTFT].version, self._targets[TPOT].version)
        key = (tuple(endpoints), tuple(hardware), versions)
        if self._gathered is None or self._gathered[0] != key:
            self._gathered = key, self._gather(*key[:2])
        return self._gathered[1]

    def _gather(self, endpoints: Sequence[str], hardware: Sequence[str | None]) -> _Coefficients:
        parts = [target.coefficients(endpoints, hardware) for target in self._targets]
        own, smooth, unit = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
        marginal = np.maximum(smooth, _FLOOR * unit).T.copy()
        marginal.flags.writeable = False  # predictions show it
        prefill, step = marginal[PARTS[TTFT]], marginal[PARTS[TPOT]]
        return _Coefficients(
            own_and_smooth=np.array([own, smooth]),
            token_s=prefill[OWN_TOKEN],
            context_s=prefill[OWN_CONTEXT],
            sequence_s=step[SEQUENCE],
            held_s=step[HELD_CONTEXT],
        )

    def fit(self) -> PhysicsFit:
        """Give the present coefficients as plain numbers."""
        return PhysicsFit(ttft=self._targets[TTFT].fit(), tpot=self._targets[TPOT].fit())


def _log_seconds(design: FloatArray, here: _Coefficients) -> tuple[FloatArray, FloatArray]:
    """Give ``(2, n)`` log seconds by the endpoints' own coefficients and by smooth ones.

    An endpoint's own fit is held within sight of the fleet's, where it has no rows of
    the kind.
    """
    seconds = np.add.reduceat(here.own_and_smooth * design, _STARTS, axis=2)
    own, smooth = np.log(np.minimum(np.maximum(seconds, _LOWEST_S), _HIGHEST_S))
    near = np.minimum(np.maximum(own, smooth - _FURTHEST), smooth + _FURTHEST)
    return near.T, smooth.T


_STARTS: Final = [part.start for part in PARTS]
_LOWEST_S, _HIGHEST_S = (np.array(bounds) for bounds in zip(*BOUNDS_S, strict=True))
_PROMPT: Final = COLUMN["prompt_tokens"]
_EXPECTED: Final = COLUMN["expected_output_tokens"]
_UNCACHED: Final = COLUMN["uncached_tokens"]
_CONTEXT: Final = COLUMN["prefill_context"]
