"""The bounded memory of one endpoint's recent labels, laid out for the fit to read."""

import numpy as np

from predictor.kernels.terms import remember
from predictor.types import FloatArray


class RecentRows:
    """Keep the last rows of one endpoint and target as contiguous arrays.

    >>> from predictor.features import N_FEATURES
    >>> rows = RecentRows(n_terms=6, capacity=2)
    >>> for value in (1.0, 2.0, 3.0):
    ...     rows.append(np.zeros((1, N_FEATURES)), slice(9, 15),
    ...         target=value, observed_s=value, weight=1.0)
    >>> len(rows), rows.last(8)[1]
    (2, array([2., 3.]))
    """

    __slots__ = ("_capacity", "_design", "_end", "_meta")

    def __init__(self, *, n_terms: int, capacity: int) -> None:
        self._capacity = capacity
        self._design = np.empty((2 * capacity, n_terms))
        self._meta = np.empty((3, 2 * capacity))
        self._end = 0

    def __len__(self) -> int:
        return min(self._end, self._capacity)

    @property
    def newest_s(self) -> float:
        """Say when the last row was observed; minus infinity without one."""
        return float(self._meta[1, self._end - 1]) if self._end else float("-inf")

    def append(
        self, features: FloatArray, part: slice, *, target: float, observed_s: float, weight: float
    ) -> None:
        """Take in one row, dropping the oldest where full; moves memory once a window.

        Args:
            features: ``(1, n_features)``.
            part: The columns of its design that are kept.
            target: Seconds measured.
            observed_s: When.
            weight: Of the label.
        """
        if self._end == 2 * self._capacity:
            keep = slice(self._capacity, None)
            self._design[: self._capacity] = self._design[keep]
            self._meta[:, : self._capacity] = self._meta[:, keep]
            self._end = self._capacity
        remember(
            features, 0, part.start, self._end, target, observed_s, weight, self._design, self._meta
        )
        self._end += 1

    def last(self, count: int) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """View the newest rows, oldest first: design, target, observed_s, weight."""
        start = self._end - min(count, len(self))
        target, observed_s, weight = self._meta[:, start : self._end]
        return self._design[start : self._end], target, observed_s, weight
