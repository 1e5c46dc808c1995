"""Observations laid out as arrays, for training and scoring to read.

Decides what of an observation is kept: its usable labels and what they weigh. Called by
the window for every observation that comes in, and by training for those of a trace.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictor.features import N_FEATURES
from predictor.labels import MeasuredColumns, label_weight, usable_columns, usable_labels
from predictor.physics import TARGETS, TPOT, TTFT
from predictor.types import FloatArray, Observation


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """Hold an observation's usable labels.

    Attributes:
        features: ``(n_features,)`` at dispatch.
        endpoint: Where it ran.
        hardware: The endpoint's label.
        observed_s: When the last label was complete.
        log_target: Log seconds of TTFT and TPOT, NaN without a label.
        weight: Of either, 0 to 1.
    """

    features: FloatArray
    endpoint: str
    hardware: str | None
    observed_s: float
    log_target: tuple[float, float]
    weight: tuple[float, float]


def label(observation: Observation) -> tuple[Labelled | None, list[str]]:
    """Take the usable labels of an observation, ``None`` without any, and name the refused.

    >>> label(Observation(endpoint="a:1", model="m", hardware=None, observed_s=0,
    ...     features=np.zeros(N_FEATURES), upstream_ttft_s=0.0))
    (None, ['ttft_not_positive'])
    """
    labels, refused = usable_labels(observation)
    if not labels:
        return None, refused
    logs = [float(np.log(labels[target])) if target in labels else np.nan for target in (0, 1)]
    row = Labelled(
        features=observation.features,
        endpoint=observation.endpoint,
        hardware=observation.hardware,
        observed_s=observation.observed_s,
        log_target=(logs[TTFT], logs[TPOT]),
        weight=(label_weight(observation, TTFT), label_weight(observation, TPOT)),
    )
    return row, refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Lay ``m`` rows out as arrays, in the order their labels arrived.

    Attributes:
        features: ``(m, n_features)``.
        log_target: ``(2, m)`` log seconds by target, NaN is no label.
        weight: ``(2, m)``.
        observed_s: ``(m,)``.
        endpoints: ``m`` names.
        hardware: ``m`` labels.
    """

    features: FloatArray
    log_target: FloatArray
    weight: FloatArray
    observed_s: FloatArray
    endpoints: list[str]
    hardware: list[str | None]

    @classmethod
    def of(cls, rows: Sequence[Labelled]) -> "Table":
        """Lay rows out.

        >>> len(Table.of([]))
        0
        """
        n = len(rows)
        return cls(
            features=np.array([row.features for row in rows]).reshape(n, N_FEATURES),
            log_target=np.array([row.log_target for row in rows]).reshape(n, len(TARGETS)).T,
            weight=np.array([row.weight for row in rows]).reshape(n, len(TARGETS)).T,
            observed_s=np.array([row.observed_s for row in rows]),
            endpoints=[row.endpoint for row in rows],
            hardware=[row.hardware for row in rows],
        )

    @classmethod
    def of_columns(
        cls,
        measured: MeasuredColumns,
        endpoints: Sequence[str],
        hardware: Sequence[str | None],
    ) -> "Table":
        """Lay out the rows of columns that have a usable label."""
        log_target, weight = usable_columns(measured)
        table = cls(
            features=measured.features,
            log_target=log_target,
            weight=weight,
            observed_s=measured.observed_s,
            endpoints=list(endpoints),
            hardware=list(hardware),
        )
        labelled = np.any(np.isfinite(log_target), axis=0)
        return table.only(labelled)

    @classmethod
    def joined(cls, tables: Sequence["Table"]) -> "Table":
        """Lay tables, one at least, end to end."""
        return cls(
            features=np.concatenate([table.features for table in tables]),
            log_target=np.concatenate([table.log_target for table in tables], axis=1),
            weight=np.concatenate([table.weight for table in tables], axis=1),
            observed_s=np.concatenate([table.observed_s for table in tables]),
            endpoints=[name for table in tables for name in table.endpoints],
            hardware=[name for table in tables for name in table.hardware],
        )

    def __len__(self) -> int:
        return len(self.endpoints)

    @property
    def counts(self) -> list[int]:
        """Count the labels of each target."""
        return [int(count) for count in np.isfinite(self.log_target).sum(axis=1)]

    def only(self, kept: NDArray[np.bool_]) -> "Table":
        """Give the rows that a mask, ``(m,)``, keeps."""
        return self._at(np.flatnonzero(kept))

    def sorted(self) -> "Table":
        """Give the rows in order of when they were observed."""
        return self._at(np.argsort(self.observed_s, kind="stable"))

    def part(self, start: int, stop: int) -> "Table":
        """Give the rows from ``start`` up to ``stop``."""
        return Table(
            features=self.features[start:stop],
            log_target=self.log_target[:, start:stop],
            weight=self.weight[:, start:stop],
            observed_s=self.observed_s[start:stop],
            endpoints=self.endpoints[start:stop],
            hardware=self.hardware[start:stop],
        )

    def _at(self, rows: NDArray[np.intp]) -> "Table":
        places = rows.tolist()
        return Table(
            features=self.features[rows],
            log_target=self.log_target[:, rows],
            weight=self.weight[:, rows],
            observed_s=self.observed_s[rows],
            endpoints=[self.endpoints[place] for place in places],
            hardware=[self.hardware[place] for place in places],
        )
