"""What is reported of one target's predictions: errors over spans of rows, and quantiles.

Errors are absolute percentage errors as fractions. Spans count labels of that target in the
order their requests were sent. Figures of quantiles are taken after the first 500.
"""

from typing import Final

import numpy as np

from benchmarks.prediction.play import Played
from predictor.types import FloatArray

WARM: Final = 500
"""Labels of a target after which a predictor counts as warm."""
P90: Final = 0.9
REGIMES: Final = ("none_waits", "some_wait", "many_wait")
LEAST_WARM: Final = 100
"""Warm labels without which nothing is said about them."""
DRIFT_SPAN: Final = slice(100, 300)
"""Labels after a change by which it should be made up for."""
_LEAST_S: Final = 1e-3  # below it a median means nothing, and a width relative to it neither

Figures = dict[str, float | None]
"""By name; ``None`` where there are too few labels."""


def figures(seen: Played) -> Figures:
    """Give all figures of one target."""
    error = seen.error
    found: Figures = {"labels": float(len(error))}
    spans = {
        "": error,
        "_first_100": error[:100],
        "_first_500": error[:WARM],
        "_after_500": error[WARM:] if len(error) >= WARM + LEAST_WARM else error[:0],
    }
    for index, regime in enumerate(REGIMES):
        spans[f"_{regime}"] = error[seen.regime == index]
    for span, errors in spans.items():
        found[f"mape{span}"] = float(errors.mean()) if len(errors) else None
        found[f"mdape{span}"] = float(np.median(errors)) if len(errors) else None
    return found | _quantiles(seen)


def _quantiles(seen: Played) -> Figures:
    names = ("p90_coverage", "p90_pinball", "p90_width")
    if len(seen.actual_s) < WARM + LEAST_WARM:
        return dict.fromkeys(names)
    actual, p90 = seen.actual_s[WARM:], seen.p90_s[WARM:]
    median = np.maximum(seen.p50_s[WARM:], _LEAST_S)
    values = (
        float((actual <= p90).mean()),
        float((pinball(actual, p90) / actual).mean()),
        float((p90 / median - 1.0).mean()),
    )
    return dict(zip(names, values, strict=True))


def pinball(actual_s: FloatArray, quantile_s: FloatArray, level: float = P90) -> FloatArray:
    """Give the loss that the true quantile of this level has least of, ``(n,)``.

    >>> pinball(np.array([2.0, 2.0]), np.array([1.0, 3.0])).round(6).tolist()
    [0.9, 0.1]
    """
    short = actual_s - quantile_s
    loss: FloatArray = np.maximum(level * short, (level - 1.0) * short)
    return loss


def expert_errors(seen: Played) -> Figures:
    """Give each expert's median error when warm; ``None`` for one that never spoke."""
    errors = np.abs(seen.experts_s / seen.actual_s[:, None] - 1.0)[WARM:]
    return {
        name: float(np.nanmedian(column)) if np.isfinite(column).any() else None
        for name, column in zip(seen.expert_names, errors.T, strict=True)
    }


def error_after(seen: Played, request: int) -> float | None:
    """Give the mean error over ``DRIFT_SPAN`` of the labels from a request on."""
    errors = seen.error[seen.request >= request][DRIFT_SPAN]
    return float(errors.mean()) if len(errors) else None
