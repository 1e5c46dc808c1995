"""Work through many rows without holding the event loop up."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

from predictor.errors import PredictorError
from predictor.protocol import Predictor
from predictor.types import FloatArray, Predictions
from proxy.control.errors import PredictionUnavailable

SLICE_ROWS: Final = 128
"""Rows built and predicted at once: a few milliseconds, which streams beside it can wait."""


async def slices(count: int) -> AsyncIterator[slice]:
    """Cut ``count`` rows into slices, others' work in between."""
    for start in range(0, count, SLICE_ROWS):
        if start:
            await asyncio.sleep(0)
        yield slice(start, start + SLICE_ROWS)


async def predicted(
    predictor: Predictor,
    rows_of: Callable[[slice], FloatArray],
    endpoints: Sequence[str],
    hardware: Sequence[str | None],
) -> AsyncIterator[tuple[FloatArray, Predictions]]:
    """Build feature rows and predict them, a slice at a time.

    Args:
        predictor: Whom to ask.
        rows_of: Builds the rows ``(k, n_features)`` of a slice of the endpoints.
        endpoints: All of them.
        hardware: Their labels.

    Raises:
        PredictionUnavailable: The predictor could not.
    """
    async for rows in slices(len(endpoints)):
        features = rows_of(rows)
        try:
            yield features, predictor.predict(features, endpoints[rows], hardware[rows])
        except PredictorError as error:
            raise PredictionUnavailable(str(error)) from error
