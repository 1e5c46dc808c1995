"""How good predictions are: errors by span, coverage by window, pinball loss, width.

NaN in a label leaves it out. Pure.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from predictor.types import FloatArray

TARGETS: Final = ("TTFT", "TPOT")
SPANS: Final[dict[str, tuple[int, int | None]]] = {
    "first 100": (0, 100),
    "first 500": (0, 500),
    "100 to 2,000": (100, 2000),
    "after 2,000": (2000, None),
}
"""Of requests in the order of their dispatch."""

MEAN, P50, P90, P99 = range(4)
"""Columns of what was said."""


@dataclass(frozen=True, slots=True)
class Error:
    """Absolute percentage errors of ``labels`` labels, as fractions."""

    mdape: float
    mape: float
    labels: int


def error(predicted_s: FloatArray, label_s: FloatArray) -> Error:
    """Compare predictions with labels, both ``(n,)``.

    >>> error(np.array([1.1, 2.0, 9.0]), np.array([1.0, 4.0, np.nan]))
    Error(mdape=0.30000000000000004, mape=0.30000000000000004, labels=2)
    """
    ratios = np.abs(predicted_s / label_s - 1.0)
    known = ratios[np.isfinite(ratios)]
    if not len(known):
        return Error(float("nan"), float("nan"), 0)
    return Error(float(np.median(known)), float(known.mean()), len(known))


def spread(label_s: FloatArray, replayed_s: FloatArray) -> FloatArray:
    """Give how far ``(k,)`` labels lie from the median of their ``(k, r)`` replays.

    >>> spread(np.array([1.1]), np.array([[0.9, 1.0, 1.3]])).round(2).tolist()
    [0.1]
    """
    known = np.isfinite(replayed_s).any(axis=1)
    out = np.full(len(label_s), np.nan)
    out[known] = np.abs(label_s[known] / np.nanmedian(replayed_s[known], axis=1) - 1.0)
    return out


def coverage(quantile_s: FloatArray, label_s: FloatArray, window: int) -> FloatArray:
    """Give the share at or below the quantile in windows that follow one another.

    Args:
        quantile_s: ``(n,)`` as stated.
        label_s: ``(n,)`` as it was.
        window: Labels in each; a rest is left out.

    >>> coverage(np.array([2.0, 2, 2, 2, 2]), np.array([1.0, 3, 1, 2, 9]), 2).tolist()
    [0.5, 1.0]
    """
    known = np.isfinite(label_s) & np.isfinite(quantile_s)
    covered = (label_s[known] <= quantile_s[known]).astype(np.float64)
    edges = range(0, len(covered) + 1, window)
    return np.array([covered[low:high].mean() for low, high in pairwise(edges)])


def pinball(quantile_s: FloatArray, label_s: FloatArray, level: float) -> float:
    """Give the mean pinball loss as a share of the label.

    >>> round(pinball(np.array([2.0, 1.0]), np.array([1.0, 2.0]), 0.9), 3)
    0.275
    """
    known = np.isfinite(label_s) & np.isfinite(quantile_s)
    above = label_s[known] - quantile_s[known]
    loss = np.maximum(level * above, (level - 1.0) * above)
    return float((loss / label_s[known]).mean())


def width(quantile_s: FloatArray, centre_s: FloatArray) -> float:
    """Give by how much the quantile lies above what is expected, as a median share."""
    ratio = quantile_s / centre_s - 1.0
    return float(np.median(ratio[np.isfinite(ratio)]))
