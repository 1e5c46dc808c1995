"""Online corrections: what the log residuals of the last labels say about the next.

A :class:`Bias` follows each endpoint in each regime within a dozen labels; a
:class:`ResidualRegressor` learns what of the residual the features explain. Both work
in log seconds, are capped, and are experts beside the uncorrected prediction: under
label delay they can hurt, and the mixture then drops them.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from river import linear_model, optim, preprocessing

from predictor.features import COLUMN
from predictor.settings import CorrectionSettings
from predictor.terms import N_REGIMES, known_rows
from predictor.types import FloatArray

_MAX_ENDPOINTS: Final = 2048


class _BiasState:
    __slots__ = ("count", "mean", "shrunk")

    def __init__(self, n_experts: int) -> None:
        self.mean = np.zeros((2, n_experts, N_REGIMES))
        self.count = np.zeros((2, n_experts, N_REGIMES))
        self.shrunk = np.zeros((2, n_experts, N_REGIMES))


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
        self._n_experts = n_experts
        self._rate = 1.0 - 2.0 ** (-1.0 / settings.half_life_rows)
        self._shrink = settings.shrink_rows
        self._cap = settings.cap_log
        self._states: dict[str, _BiasState] = {}
        self._zero = np.zeros((2, n_experts, N_REGIMES))

    def predict(self, endpoints: Sequence[str], regimes: NDArray[np.intp]) -> FloatArray:
        """Give ``(2, n_experts, n)`` log corrections."""
        tables = np.array(
            [
                state.shrunk if (state := self._states.get(name)) else self._zero
                for name in endpoints
            ]
        )
        corrections: FloatArray = tables[np.arange(len(endpoints)), :, :, regimes].transpose(
            1, 2, 0
        )
        return corrections

    def learn(self, endpoint: str, regime: int, target: int, residuals: FloatArray) -> None:
        """Take in one label's log residual per expert, NaN where an expert was silent."""
        state = self._states.pop(endpoint, None) or _BiasState(self._n_experts)
        if len(self._states) >= _MAX_ENDPOINTS:
            del self._states[next(iter(self._states))]
        self._states[endpoint] = state
        known = np.isfinite(residuals)
        count = state.count[target, :, regime]
        mean = state.mean[target, :, regime]
        count += known
        rate = np.maximum(self._rate, 1.0 / np.maximum(count, 1.0))
        step = np.clip(np.where(known, residuals, mean), -2 * self._cap, 2 * self._cap) - mean
        mean += rate * step
        state.shrunk[target, :, regime] = np.clip(
            mean * count / (count + self._shrink), -self._cap, self._cap
        )


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
    """Learn the log residual of one target from load and size, one label at a time.

    River's standard scaler and linear regression (stochastic gradient, Huber loss) do
    the learning; the prediction reads their state as vectors, for a row costs 10 us
    through dictionaries. Missing features count as 0.

    >>> from predictor.features import N_FEATURES
    >>> model, row = ResidualRegressor(), np.zeros((1, N_FEATURES))
    >>> for step in range(400):
    ...     row[0, COLUMN["queued_requests"]] = step % 2 * 9
    ...     model.learn(row[0], 0.4 * (step % 2))
    >>> low, high = (model.predict(row * k)[0] for k in (0, 1))
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

    def __init__(self, settings: CorrectionSettings | None = None) -> None:
        settings = settings or CorrectionSettings()
        self._cap = settings.cap_log / 2
        self._columns = [COLUMN[name] for name in self._INPUTS]
        self._scaler = preprocessing.StandardScaler()
        self._model = linear_model.LinearRegression(
            optimizer=optim.SGD(settings.learning_rate),
            loss=optim.losses.Huber(0.3),
            intercept_lr=settings.learning_rate,
        )
        self._slope = np.zeros(len(self._INPUTS))
        self._intercept = 0.0

    def predict(self, features: FloatArray) -> FloatArray:
        """Give ``(n,)`` log corrections of ``(n, n_features)`` rows."""
        inputs = np.log1p(known_rows(features[:, self._columns]))
        corrections: FloatArray = np.clip(
            inputs @ self._slope + self._intercept, -self._cap, self._cap
        )
        return corrections

    def learn(self, features: FloatArray, residual: float) -> None:
        """Take in one ``(n_features,)`` row and its log residual."""
        values = np.log1p(known_rows(features[self._columns])).tolist()
        row = dict(zip(self._INPUTS, values, strict=True))
        self._scaler.learn_one(row)  # type: ignore[no-untyped-call]  # river is not annotated
        unit = self._scaler.transform_one(row)  # type: ignore[no-untyped-call]  # likewise
        scaled = {name: min(max(value, -4.0), 4.0) for name, value in unit.items()}
        self._model.learn_one(scaled, min(max(residual, -2 * self._cap), 2 * self._cap))
        weights, means, variances = self._model.weights, self._scaler.means, self._scaler.vars
        slope = [
            weights.get(name, 0.0) / variances[name] ** 0.5 if variances[name] > 1e-12 else 0.0
            for name in self._INPUTS
        ]
        self._slope = np.array(slope)
        centre = sum(s * means[name] for s, name in zip(slope, self._INPUTS, strict=True))
        self._intercept = float(self._model.intercept) - centre
