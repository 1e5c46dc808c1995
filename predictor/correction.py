"""Online corrections: what the log residuals of the last labels say about the next.

A :class:`Bias` follows each endpoint in each regime within a dozen labels, a
:class:`FleetBias` all of them together within a few; a :class:`ResidualRegressor` learns
what of the residual the features explain. All work in log seconds, are capped, and are
experts beside the uncorrected prediction: under label delay they can hurt, and the
mixture then drops them.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from predictor.kernels import corrections as kernels
from predictor.kernels.compiled import record
from predictor.kernels.terms import rows_of
from predictor.settings import CorrectionSettings
from predictor.terms import N_REGIMES
from predictor.types import FloatArray

_MAX_ENDPOINTS: Final = 2048


class Bias:
    """Follow the mean log residual per endpoint, regime, target and expert.

    An exponential mean with a half-life in labels (a plain mean while younger than
    that), shrunk by n / (n + shrink). Unknown endpoints and regimes get 0.

    >>> bias = Bias(n_experts=1)
    >>> for _ in range(6):
    ...     bias.learn("a:1", 0, 0, np.array([0.4]))
    >>> bias.predict(["a:1", "b:1"], np.array([0, 0]))[0, 0].round(2)
    array([0.2, 0. ])
    """

    def __init__(self, n_experts: int, settings: CorrectionSettings | None = None) -> None:
        settings = settings or CorrectionSettings()
        places = (1 + _MAX_ENDPOINTS) * N_REGIMES  # the first row is of strangers
        self.state = record(
            kernels.bias_dtype(places, n_experts),
            rate=_rate(settings.half_life_rows),
            shrink=settings.shrink_rows,
            cap_log=settings.cap_log,
        )
        self._row: dict[str, int] = {}
        self._asked: Sequence[str] | None = None
        self._places = np.empty(0, dtype=np.intp)

    def places(self, endpoints: Sequence[str]) -> NDArray[np.intp]:
        """Give where in the state endpoints, ``(n,)``, have their first regime."""
        if endpoints is not self._asked and tuple(endpoints) != self._asked:
            self._asked = tuple(endpoints)
            rows = [self._row.get(name, 0) for name in self._asked]
            self._places = N_REGIMES * np.array(rows, dtype=np.intp)
        return self._places

    def place(self, endpoint: str, regime: int) -> int:
        """Give where one endpoint learns in a regime."""
        return N_REGIMES * self._row_of(endpoint) + regime

    def predict(self, endpoints: Sequence[str], regimes: NDArray[np.intp]) -> FloatArray:
        """Give ``(2, n_experts, n)`` log corrections."""
        corrections: FloatArray = self.state["shrunk"][0].take(
            self.places(endpoints) + regimes, axis=0
        )
        return corrections.transpose(1, 2, 0)

    def learn(self, endpoint: str, regime: int, target: int, residuals: FloatArray) -> None:
        """Take in one label's log residual per expert, NaN where an expert was silent."""
        place = self.place(endpoint, regime)
        for expert, residual in enumerate(residuals.tolist()):
            kernels.learn_bias(self.state[0], place, target, expert, residual)

    def _row_of(self, endpoint: str) -> int:
        """Find an endpoint's row; a new one gets a free row or that of the longest silent."""
        row = self._row.pop(endpoint, None)
        if row is None:
            self._asked = None
            row = len(self._row) + 1
            if row > _MAX_ENDPOINTS:
                row = self._row.pop(next(iter(self._row)))
                places = slice(row * N_REGIMES, (row + 1) * N_REGIMES)
                for name in ("mean", "labels", "shrunk"):
                    self.state[name][0, places] = 0.0
        self._row[endpoint] = row  # at the end: the first is the longest silent
        return row


class FleetBias:
    """Follow the mean log residual of each target over the whole fleet's last few labels.

    What changes for all endpoints at once, or was wrong for all from the start, shows here
    long before each endpoint has had labels of its own in each regime.

    >>> bias = FleetBias()
    >>> for _ in range(12):
    ...     bias.learn(0, 0.5)
    >>> bias.values().round(2)
    array([0.5, 0. ])
    """

    def __init__(self, settings: CorrectionSettings | None = None) -> None:
        settings = settings or CorrectionSettings()
        self.state = record(
            kernels.FLEET_BIAS,
            rate=_rate(settings.fleet_half_life_rows),
            cap_log=settings.cap_log,
        )

    def values(self) -> FloatArray:
        """Give the log correction by target, ``(2,)``."""
        values: FloatArray = self.state["mean"][0]
        return values

    def restart(self) -> None:
        """Let the next label replace what was: another model stands beneath."""
        self.state["labels"] = 0.0

    def learn(self, target: int, residual: float) -> None:
        """Take in one label's log residual; one that is not finite says nothing."""
        kernels.learn_fleet_bias(self.state[0], target, residual)


class SharedBias:
    """Follow one mean log residual per target that all candidates share.

    It is given only while it has been making errors smaller: the physics it corrects
    refits too, and correcting twice is worse than not at all.

    >>> shared = SharedBias()
    >>> for _ in range(600):
    ...     shared.learn(1, 0.5)
    >>> [round(value, 2) for value in shared.values()]
    [0.0, 0.5]
    """

    def __init__(self, settings: CorrectionSettings | None = None) -> None:
        settings = settings or CorrectionSettings()
        self.state = record(
            kernels.SHARED_BIAS,
            rate=_rate(settings.shared_half_life_rows),
            cap_log=settings.cap_log,
        )

    def values(self) -> list[float]:
        """Give the log correction by target."""
        given: list[float] = self.state["given"][0].tolist()
        return given

    def learn(self, target: int, residual: float) -> None:
        """Take in one label's log residual of the smooth prediction, where finite."""
        kernels.learn_shared_bias(self.state[0], target, residual)


class ResidualRegressor:
    """Learn the log residual of each target from load and size, one label at a time.

    What river's standard scaler and linear regression (stochastic gradient, Huber loss)
    learn, on arrays: a label takes 28 us through their dictionaries. Missing features
    count as 0.

    >>> from predictor.features import COLUMN, N_FEATURES
    >>> model, row = ResidualRegressor(), np.zeros((1, N_FEATURES))
    >>> for step in range(400):
    ...     row[0, COLUMN["queued_requests"]] = step % 2 * 9
    ...     model.learn(row[0], 1, 0.4 * (step % 2))
    >>> low, high = (model.predict(row * k)[1, 0] for k in (0, 1))
    >>> bool(high - low > 0.2)
    True
    """

    def __init__(self, settings: CorrectionSettings | None = None) -> None:
        settings = settings or CorrectionSettings()
        self.state = record(
            kernels.REGRESSION,
            rate=settings.learning_rate,
            cap_log=settings.cap_log / 2,
        )

    def predict(self, features: FloatArray) -> FloatArray:
        """Give ``(2, n)`` log corrections of ``(n, n_features)`` rows."""
        said = np.empty((len(features), 2))
        kernels.regress(rows_of(features), self.state, said)
        return said.T

    def learn(self, features: FloatArray, target: int, residual: float) -> None:
        """Take in one ``(n_features,)`` row and its log residual."""
        kernels.learn_regression(self.state[0], rows_of(features[None]), 0, target, residual)


def _rate(half_life_rows: float) -> float:
    return float(1.0 - 2.0 ** (-1.0 / half_life_rows))
