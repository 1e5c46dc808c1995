"""Honest quantiles: how far from the prediction the 50th, 90th and 99th of 100 labels lie.

Adaptive conformal inference on the log residuals (actual over predicted) of recent
labels, per regime. Source: I. Gibbs and E. Candes, Adaptive Conformal Inference Under
Distribution Shift (2021), equation 2. :mod:`predictor.kernels.calibration` has the arithmetic.
"""

from math import nan
from typing import Final

import numpy as np
from numpy.typing import NDArray

from predictor.kernels import calibration as kernels
from predictor.kernels.calibration import CALIBRATION
from predictor.kernels.compiled import Record, plain, record
from predictor.settings import CalibrationSettings
from predictor.terms import N_REGIMES
from predictor.types import LEVELS, FloatArray

_DEFAULTS: Final[tuple[float, ...]] = (0.0, 1.0, 2.0)  # multiples of the distance before any data


class Calibration:
    """Turn one target's prediction into its quantiles and into probabilities.

    Before data the 90 % quantile is a factor of two above the prediction, the 99 % one a
    factor of four; the first labels pull them in. Distances are capped, and those above the
    median are not below 0: an interval is no alarm.

    Attributes:
        state: Its numbers, as kernels read and write them.
        windows: The residuals, likewise.

    >>> calibration = Calibration()
    >>> calibration.offsets(np.array([0]))[:, 0].round(2)
    array([0. , 0.7, 1.4])
    >>> for step in range(400):
    ...     calibration.learn(0, (step % 10) / 100)
    >>> bool(0.07 < calibration.offsets(np.array([0]))[1, 0] < 0.12)
    True
    """

    def __init__(self, settings: CalibrationSettings | None = None) -> None:
        settings = settings or CalibrationSettings()
        self.state = _first_state(settings)
        self.windows = np.empty((3, N_REGIMES + 1, settings.most_rows))

    def offsets(self, regimes: NDArray[np.intp]) -> FloatArray:
        """Give ``(len(LEVELS), n)`` log distances from the prediction to its quantiles."""
        offsets: FloatArray = self.state["offsets"][0].take(regimes, axis=1)
        return offsets

    def learn(
        self,
        regime: int,
        residual: float,
        *,
        at_s: float = 0.0,
        covered: bool | None = None,
        counted: bool = False,
    ) -> None:
        """Take in one log residual, known at ``at_s``, of the prediction made at dispatch.

        Levels follow whether today's quantiles would have held it: what was stated at
        dispatch is old by the time its label comes, and feedback that late swings. Where
        what was stated, ``covered``, holds too seldom all the same, as labels are late and
        the load grows, the 90 % quantile is slowly widened. ``counted``: the miss of the 90 %
        quantile was reported to :meth:`miss` before.
        """
        stated = nan if covered is None else float(covered)
        kernels.learn(
            self.state, self.windows, regime, float(residual), float(at_s), stated, counted
        )

    def miss(self, regime: int) -> None:
        """Count a request past its 90 % quantile whose label has yet to come."""
        kernels.miss(self.state, self.windows, regime)

    def probability(self, log_ratio: FloatArray, offsets: FloatArray) -> FloatArray:
        """Give the probability, ``(n,)``, that actual / predicted stays below a ratio.

        Args:
            log_ratio: ``(n,)`` log of (objective / predicted).
            offsets: ``(n,)`` log distance to the 90 % quantile there; the residuals of all
                regimes are stretched to it.
        """
        chances = np.empty(len(log_ratio))
        kernels.chances(self.state, self.windows, plain(log_ratio), plain(offsets), chances)
        return chances


def _first_state(settings: CalibrationSettings) -> Record:
    default = settings.default_log * np.array(_DEFAULTS)
    names = ("window_rows", "window_s", "step", "stated_step", "widest_log", "cap_log")
    return record(
        CALIBRATION,
        levels=np.repeat(np.array(LEVELS)[:, None], N_REGIMES, axis=1),
        overall=default,
        offsets=np.repeat(default[:, None], N_REGIMES, axis=1),
        default=default,
        default_rows=settings.default_rows,
        **{name: getattr(settings, name) for name in names},
    )
