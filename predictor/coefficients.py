"""One target's linear model, fitted at three levels: day 0, the fleet, each endpoint.

Each level is the fallback of the next: day 0 (by hardware label, or nominal), the fleet
(all endpoints' rows, each divided by its endpoint's speed), the endpoint (its own rows,
pulled toward fleet times speed). Coefficients are multiples of the day-0 ones, so that
one fleet fit serves endpoints of different hardware. The *smooth* coefficients are the
fleet's times a slow, shrunk speed per endpoint.

Called by :mod:`predictor.physics`. Every fit reads a bounded window.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from predictor.fit import fit_nonnegative, shrunk_level, shrunk_scales
from predictor.kernels.fit import gather, spread
from predictor.physics_fit import EndpointFit, TargetFit
from predictor.rows import RecentRows
from predictor.settings import PhysicsSettings
from predictor.terms import DayZero
from predictor.types import FloatArray

_SCALE_ROWS: Final = 64  # labels an endpoint's speed is read from: slow on purpose
_LOADED_ROWS: Final = 8.0  # what a speed from a snapshot weighs, in labels
_MAX_LOG_SCALE: Final = 3.0


class _Endpoint:
    __slots__ = (
        "count", "day_zero", "hardware", "loaded", "log_scale", "own", "rows", "smooth", "version",
    )  # fmt: skip

    def __init__(self, hardware: str | None, day_zero: DayZero, rows: RecentRows) -> None:
        self.hardware = hardware
        self.day_zero = day_zero
        self.rows = rows
        self.count = 0
        self.loaded: float | None = None
        self.log_scale = 0.0
        self.own: FloatArray | None = None
        self.smooth = day_zero.unit * day_zero.factor
        self.version = 0


class TargetPhysics:
    """Fit one target; :class:`PhysicsPrior` puts two of them side by side.

    Raises:
        ValueError: ``fit`` has other terms than this code.
    """

    def __init__(
        self,
        day_zero: Callable[[str | None], DayZero],
        settings: PhysicsSettings,
        fit: TargetFit,
    ) -> None:
        self._day_zero = day_zero
        self._settings = settings
        self._days: dict[str | None, DayZero] = {}
        self._fallbacks: dict[str | None, FloatArray] = {}
        self._n_terms = len(self._day(None).unit)
        _check(fit, self._n_terms)
        self._loaded = np.array(fit.factor) if fit.factor is not None else None
        self._factor = self._loaded
        self._classes = dict(fit.classes)
        self._endpoints: dict[str, _Endpoint] = {}
        self._count = 0
        self.version = 0
        """Grows whenever :meth:`coefficients` may have changed."""
        self._fleet_version = 0
        for name, known in fit.endpoints.items():
            endpoint = self._make(known.hardware)
            endpoint.loaded = endpoint.log_scale = known.log_scale
            endpoint.own = None if known.own is None else np.array(known.own)
            endpoint.smooth = self._smooth(endpoint.day_zero, known.log_scale)
            self._endpoints[name] = endpoint

    @property
    def empty(self) -> bool:
        """Say whether nothing but day 0 is known."""
        return self._factor is None

    def stamp(self, name: str) -> int:
        """Give a number that differs once :meth:`coefficients` of the endpoint may have changed."""
        known = self._endpoints.get(name)
        return -1 - self._fleet_version if known is None else known.version

    def coefficients(
        self, name: str, hardware: str | None
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Give an endpoint's own and smooth coefficients and the day-0 units, ``(n_terms,)``."""
        known = self._endpoints.get(name)
        if known is None:
            fallback = self._unseen(hardware)
            return fallback, fallback, self._day(hardware).unit
        own = known.smooth if known.own is None else known.own
        return own, known.smooth, known.day_zero.unit

    def log_scale(self, name: str, hardware: str | None) -> float:
        """Give the log speed factor that is in an endpoint's smooth coefficients."""
        known = self._endpoints.get(name)
        return self._classes.get(hardware or "", 0.0) if known is None else known.log_scale

    def append(
        self,
        name: str,
        hardware: str | None,
        features: FloatArray,
        part: slice,
        *,
        target_s: float,
        observed_s: float,
        weight: float,
    ) -> None:
        """Remember one label of a row, ``(1, n_features)``, without refitting."""
        endpoint = self._endpoints.pop(name, None)
        if endpoint is None:
            endpoint = self._make(hardware)
            self.version += 1
            endpoint.version = self.version
            if len(self._endpoints) >= self._settings.max_endpoints:
                del self._endpoints[next(iter(self._endpoints))]
        self._endpoints[name] = endpoint  # at the end: the first is the longest silent
        endpoint.rows.append(features, part, target=target_s, observed_s=observed_s, weight=weight)
        endpoint.count += 1
        self._count += 1

    def refit_due(self, name: str) -> None:
        """Refit the fleet or this endpoint where its number of labels says so."""
        settings, endpoint = self._settings, self._endpoints[name]
        if _due(self._count, max(settings.fleet_refit_rows, 4 * len(self._endpoints))):
            self._fit_fleet()
        if _due(endpoint.count, settings.refit_rows):
            self._fit_endpoint(endpoint)

    def refit(self) -> None:
        """Refit everything from what is remembered; the fleet twice, for speeds to settle."""
        self._fit_fleet()
        self._fit_fleet()
        for endpoint in self._endpoints.values():
            self._fit_endpoint(endpoint)

    def fit(self) -> TargetFit:
        """Give the present fit as plain numbers."""
        return TargetFit(
            factor=None if self._factor is None else tuple(self._factor.tolist()),
            classes=dict(self._classes),
            endpoints={
                name: EndpointFit(
                    hardware=known.hardware,
                    log_scale=known.log_scale,
                    own=None if known.own is None else tuple(known.own.tolist()),
                )
                for name, known in self._endpoints.items()
            },
        )

    def _day(self, hardware: str | None) -> DayZero:
        if hardware not in self._days:
            if len(self._days) > 256:  # labels come from configuration; never grow without end
                self._days.clear()
                self._fallbacks.clear()
            self._days[hardware] = self._day_zero(hardware)
        return self._days[hardware]

    def _unseen(self, label: str | None) -> FloatArray:
        if label not in self._fallbacks:
            scale = self._classes.get(label or "", 0.0)
            self._fallbacks[label] = self._smooth(self._day(label), scale)
        return self._fallbacks[label]

    def _make(self, hardware: str | None) -> _Endpoint:
        rows = RecentRows(n_terms=self._n_terms, capacity=self._settings.window_rows)
        endpoint = _Endpoint(hardware, self._day(hardware), rows)
        endpoint.log_scale = self._classes.get(hardware or "", 0.0)
        endpoint.smooth = self._smooth(endpoint.day_zero, endpoint.log_scale)
        return endpoint

    def _smooth(self, day: DayZero, log_scale: float) -> FloatArray:
        factor = day.factor if self._factor is None else self._factor
        coefficients: FloatArray = day.unit * factor * np.exp(log_scale)
        return coefficients

    def _gathered(
        self, endpoints: Sequence[_Endpoint], take: int, now: float, *, at_speed: bool = True
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Give design, targets and weights of endpoints' newest rows, in units."""
        settings, start = self._settings, 0
        m = sum([min(len(known.rows), take) for known in endpoints])
        design, target, weight = np.empty((m, self._n_terms)), np.empty(m), np.empty(m)
        for known in endpoints:
            rows = known.rows.last(take)
            gather(
                rows, known.day_zero.unit, known.log_scale if at_speed else 0.0, now,
                settings.half_life_rows, settings.half_life_s, start, design, target, weight,
            )  # fmt: skip
            start += len(rows[1])
        return design, target, weight

    def _fit_fleet(self) -> None:
        endpoints = [known for known in self._endpoints.values() if len(known.rows)]
        if not endpoints:
            return
        take = max(16, self._settings.fleet_rows // len(endpoints))
        now = max(known.rows.newest_s for known in endpoints)
        design, target, weight = self._gathered(endpoints, take, now)
        start = self._loaded
        if start is None:
            start = np.mean([known.day_zero.factor for known in endpoints], axis=0)
        level = shrunk_level(design @ start, target, weight, rows=self._settings.level_rows)
        self._factor = fit_nonnegative(
            design,
            target,
            weight,
            prior=start * np.exp(level),
            ridge_rows=self._settings.fleet_ridge_rows,
        )
        self._rescale(endpoints, self._factor)
        self.version += 1
        self._fleet_version = self.version
        self._fallbacks.clear()
        for known in self._endpoints.values():
            known.version = self.version
            known.smooth = self._smooth(known.day_zero, known.log_scale)

    def _rescale(self, endpoints: Sequence[_Endpoint], factor: FloatArray) -> None:
        raw = np.empty(len(endpoints))
        rows = np.empty(len(endpoints))
        spreads = []
        for index, known in enumerate(endpoints):
            design, target, _, _ = known.rows.last(_SCALE_ROWS)
            away = np.empty(len(target))
            middle = spread(design, target, known.day_zero.unit * factor, away)
            spreads.append(away)
            loaded = 0.0 if known.loaded is None else _LOADED_ROWS
            rows[index] = len(target) + loaded
            raw[index] = (len(target) * middle + loaded * (known.loaded or 0.0)) / rows[index]
        raw -= rows @ raw / rows.sum()  # the level is the fleet's: left in, it would wander
        sigma = 1.48 * float(np.median(np.concatenate(spreads)))
        labels = [known.hardware or "" for known in endpoints]
        for label in set(labels):
            members = [index for index, own in enumerate(labels) if own == label]
            scales, mean = shrunk_scales(raw[members], rows[members], sigma=sigma)
            self._classes[label] = float(np.clip(mean, -_MAX_LOG_SCALE, _MAX_LOG_SCALE))
            for index, scale in zip(members, scales, strict=True):
                endpoints[index].log_scale = float(np.clip(scale, -_MAX_LOG_SCALE, _MAX_LOG_SCALE))

    def _fit_endpoint(self, endpoint: _Endpoint) -> None:
        if not len(endpoint.rows):
            return
        settings, unit = self._settings, endpoint.day_zero.unit
        design, target, weight = self._gathered(
            [endpoint], settings.window_rows, endpoint.rows.newest_s, at_speed=False
        )
        self.version += 1
        endpoint.version = self.version
        endpoint.own = unit * fit_nonnegative(
            design,
            target,
            weight,
            prior=endpoint.smooth / unit,
            ridge_rows=settings.endpoint_ridge_rows,
        )


def _check(fit: TargetFit, n_terms: int) -> None:
    vectors = [fit.factor, *(endpoint.own for endpoint in fit.endpoints.values())]
    lengths = {len(vector) for vector in vectors if vector is not None}
    if lengths - {n_terms}:
        raise ValueError(f"physics of {sorted(lengths)} terms, this code has {n_terms}")


def _due(count: int, every: int) -> bool:
    if count < every:
        return count >= 4 and count & (count - 1) == 0
    return count % every == 0
