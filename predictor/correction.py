"""Online corrections: what the log residuals of the last labels say about the next.

A :class:`Bias` follows each endpoint in each regime within a dozen labels, a
:class:`FleetBias` all of them together within a few; a :class:`ResidualRegressor` learns
what of the residual the features explain. All work in log seconds, are capped, and are
experts beside the uncorrected prediction: under label delay they can hurt, and the
mixture then drops them.
"""

from collections.abc import Sequence
from math import isfinite
from typing import Final

import numpy as np
from numpy.typing import NDArray
from river import linear_model, optim, preprocessing

from predictor.features import COLUMN
from predictor.settings import CorrectionSettings
from predictor.terms import N_REGIMES, Terms, known_rows
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
        self._rate = 1.0 - 2.0 ** (-1.0 / settings.half_life_rows)
        self._shrink = settings.shrink_rows
        self._cap = settings.cap_log
        self._row: dict[str, int] = {}
        shape = ((1 + _MAX_ENDPOINTS) * N_REGIMES, 2, n_experts)  # the first row is of strangers
        self._mean, self._count, self._shrunk = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        self._asked: tuple[str, ...] | None = None
        self._places = np.empty(0, dtype=np.intp)

    def predict(self, endpoints: Sequence[str], regimes: NDArray[np.intp]) -> FloatArray:
        """Give ``(2, n_experts, n)`` log corrections."""
        asked = tuple(endpoints)
        if asked != self._asked:  # they are mostly those of the last decision
            self._asked = asked
            self._places = N_REGIMES * np.array([self._row.get(name, 0) for name in asked])
        corrections: FloatArray = self._shrunk.take(self._places + regimes, axis=0)
        return corrections.transpose(1, 2, 0)

    def learn(self, endpoint: str, regime: int, target: int, residuals: FloatArray) -> None:
        """Take in one label's log residual per expert, NaN where an expert was silent."""
        place = N_REGIMES * self._row_of(endpoint) + regime
        means, counts = self._mean[place, target], self._count[place, target]
        for expert, residual in enumerate(residuals.tolist()):
            if not isfinite(residual):
                continue
            count, mean = float(counts[expert]) + 1.0, float(means[expert])
            bounded = min(max(residual, -2 * self._cap), 2 * self._cap)
            mean += max(self._rate, 1.0 / count) * (bounded - mean)
            counts[expert], means[expert] = count, mean
            shrunk = mean * count / (count + self._shrink)
            self._shrunk[place, target, expert] = min(max(shrunk, -self._cap), self._cap)

    def _row_of(self, endpoint: str) -> int:
        """Find an endpoint's row; a new one gets a free row or that of the longest silent."""
        row = self._row.pop(endpoint, None)
        if row is None:
            self._asked = None
            row = len(self._row) + 1
            if row > _MAX_ENDPOINTS:
                row = self._row.pop(next(iter(self._row)))
                places = slice(row * N_REGIMES, (row + 1) * N_REGIMES)
                self._mean[places] = self._count[places] = self._shrunk[places] = 0.0
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
        self._rate = 1.0 - 2.0 ** (-1.0 / settings.fleet_half_life_rows)
        self._cap = settings.cap_log
        self._mean, self._count = np.zeros(2), [0, 0]

    def values(self) -> FloatArray:
        """Give the log correction by target, ``(2,)``."""
        return self._mean

    def restart(self) -> None:
        """Let the next label replace what was: another model stands beneath."""
        self._count = [0, 0]

    def learn(self, target: int, residual: float) -> None:
        """Take in one label's log residual; one that is not finite says nothing."""
        if not isfinite(residual):
            return
        self._count[target] += 1
        bounded = min(max(residual, -self._cap), self._cap)
        rate = max(self._rate, 1.0 / self._count[target])
        self._mean[target] += rate * (bounded - self._mean[target])


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
        self._rate = 1.0 - 2.0 ** (-1.0 / settings.shared_half_life_rows)
        self._cap = settings.cap_log
        self._mean = [0.0, 0.0]
        self._gain = [0.0, 0.0]  # error without the correction minus error with it, decayed

    def values(self) -> list[float]:
        """Give the log correction by target."""
        return [
            mean if gain > 0 else 0.0 for mean, gain in zip(self._mean, self._gain, strict=True)
        ]

    def learn(self, target: int, residual: float) -> None:
        """Take in one label's log residual of the smooth prediction."""
        bounded = min(max(residual, -self._cap), self._cap)
        step = bounded - self._mean[target]
        self._gain[target] += self._rate * (abs(bounded) - abs(step) - self._gain[target])
        self._mean[target] += self._rate * step


class ResidualRegressor:
    """Learn the log residual of each target from load and size, one label at a time.

    River's standard scaler and linear regression (stochastic gradient, Huber loss) do
    the learning; the prediction reads their state as vectors, for a row costs 10 us
    through dictionaries. Missing features count as 0.

    >>> from predictor.features import N_FEATURES
    >>> model, row = ResidualRegressor(), np.zeros((1, N_FEATURES))
    >>> for step in range(400):
    ...     row[0, COLUMN["queued_requests"]] = step % 2 * 9
    ...     model.learn(row[0], 1, 0.4 * (step % 2))
    >>> low, high = (model.predict(row * k)[1, 0] for k in (0, 1))
    >>> bool(high - low > 0.2)
    True
    """

    _INPUTS: Final = (
        "prompt_tokens",
        "uncached_tokens",
        "queued_requests",
        "queued_prefill_tokens",
        "decoding_requests",
        "context_ktok",
        "waiting_requests",
        "prefill_tokens_per_s",
    )
    _COLUMNS: Final = tuple(COLUMN[name] for name in _INPUTS)

    def __init__(self, settings: CorrectionSettings | None = None) -> None:
        settings = settings or CorrectionSettings()
        self._cap = settings.cap_log / 2
        self._models = tuple(_scaled_regression(settings) for _ in range(2))
        self._slopes = np.zeros((len(self._INPUTS), 2))
        self._intercepts = np.zeros(2)

    def predict(self, features: FloatArray, terms: Terms | None = None) -> FloatArray:
        """Give ``(2, n)`` log corrections of ``(n, n_features)`` rows.

        Args:
            features: The rows.
            terms: Theirs, where the caller has them already.
        """
        corrections: FloatArray = self._inputs(features, terms).dot(self._slopes)
        corrections += self._intercepts
        return np.minimum(np.maximum(corrections, -self._cap), self._cap).T

    def learn(
        self, features: FloatArray, target: int, residual: float, terms: Terms | None = None
    ) -> None:
        """Take in one ``(n_features,)`` row and its log residual."""
        values = self._inputs(features[None], terms)[0].tolist()
        scaler, model = self._models[target]
        row = dict(zip(self._INPUTS, values, strict=True))
        scaler.learn_one(row)  # type: ignore[no-untyped-call]  # river is not annotated
        unit = scaler.transform_one(row)  # type: ignore[no-untyped-call]  # likewise
        scaled = {name: min(max(value, -4.0), 4.0) for name, value in unit.items()}
        model.learn_one(scaled, min(max(residual, -2 * self._cap), 2 * self._cap))
        weights, means, variances = model.weights, scaler.means, scaler.vars
        slope = [
            weights.get(name, 0.0) / variances[name] ** 0.5 if variances[name] > 1e-12 else 0.0
            for name in self._INPUTS
        ]
        centre = sum(s * means[name] for s, name in zip(slope, self._INPUTS, strict=True))
        self._slopes[:, target] = slope
        self._intercepts[target] = float(model.intercept) - centre

    def _inputs(self, features: FloatArray, terms: Terms | None) -> FloatArray:
        known = known_rows(features) if terms is None else terms.known
        inputs: FloatArray = np.log1p(known.take(self._COLUMNS, axis=1))
        return inputs


def _scaled_regression(
    settings: CorrectionSettings,
) -> tuple[preprocessing.StandardScaler, linear_model.LinearRegression]:
    return preprocessing.StandardScaler(), linear_model.LinearRegression(
        optimizer=optim.SGD(settings.learning_rate),
        loss=optim.losses.Huber(0.3),
        intercept_lr=settings.learning_rate,
    )
