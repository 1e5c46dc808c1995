"""The rows that CPU is counted on: recorded labels, repeated until there are enough."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import Final

import numpy as np

from benchmarks.prediction.rowset import FLEET, TARGETS, Label, RowSet
from foretoken.errors import ForetokenError
from foretoken.simulation.llmd_rows import PREFIX, Buckets, tpot_rows
from predictor.physics import TTFT
from predictor.table import Labelled, Table, label
from predictor.types import FloatArray, Observation

SPACING_S: Final = 0.1
"""Time between two labels of a target."""


class NoLabels(ForetokenError):
    """Say that the recorded sets have no labels of a target to be timed on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Hold one label of one target.

    Attributes:
        row: As ours trains on it.
        reference_row: ``(13,)`` as llm-d's router would have sent it.
    """

    row: Labelled
    reference_row: FloatArray

    def seconds(self, target: int) -> float:
        """Give what was measured."""
        return float(np.exp(self.row.log_target[target]))


def labels_of(sets: Sequence[RowSet], target: int, count: int) -> list[Measured]:
    """Give so many labels of one target, those of all sets over and over.

    Raises:
        NoLabels: There are none.
    """
    found = []
    for rows in sets:
        for event in rows.events:
            if isinstance(event, Label) and event.target == TARGETS[target]:
                row, _ = label(rows.observation(event))
                if row is not None:
                    asked = rows.requests[event.request].reference_row
                    found.append(Measured(row=row, reference_row=asked))
    if not found:
        raise NoLabels(f"no usable labels of {TARGETS[target].upper()}: nothing to time")
    return list(islice(cycle(found), count))


def names(endpoints: int) -> list[str]:
    """Name endpoints.

    >>> names(2)
    ['10.0.0.0:8000', '10.0.0.1:8000']
    """
    return [f"10.0.0.{number}:8000" for number in range(endpoints)]


def table_of(labels: Sequence[Measured], endpoints: int) -> Table:
    """Lay labels out to train on, as if these endpoints had taken turns."""
    at = names(endpoints)
    return Table.of(
        [
            replace(
                one.row, endpoint=at[index % endpoints], hardware=None,
                observed_s=index * SPACING_S,
            )
            for index, one in enumerate(labels)
        ]
    )  # fmt: skip


def observation_of(one: Measured, target: int, endpoint: str) -> Observation:
    """Make what serving would learn from a label."""
    seconds = one.seconds(target)
    return Observation(
        endpoint=endpoint,
        model=FLEET,
        hardware=None,
        observed_s=one.row.observed_s,
        features=one.row.features,
        upstream_ttft_s=seconds if target == TTFT else None,
        tpot_s=None if target == TTFT else seconds,
    )


def buckets_of(labels: Sequence[Measured], target: int) -> Buckets:
    """File labels as llm-d does."""
    buckets = Buckets()
    for one in labels:
        row = one.reference_row
        kept, prefix = (row, float(row[PREFIX])) if target == TTFT else (tpot_rows(row[None])[0], 0)
        buckets.add(kept, one.seconds(target) * 1e3, prefix=prefix)
    return buckets
