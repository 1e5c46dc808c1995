"""Predict many rows without holding the event loop up."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final

from predictor.errors import PredictorError
from predictor.types import FloatArray, Predictions, Predictor
from proxy.control.errors import PredictionUnavailable

SLICE_ROWS: Final = 256
"""Rows predicted at once: a few milliseconds, which streams beside it can wait."""


async def predicted(
    predictor: Predictor,
    features: FloatArray,
    endpoints: Sequence[str],
    hardware: Sequence[str | None],
) -> AsyncIterator[Predictions]:
    """Predict ``(n, n_features)`` rows, a slice at a time, others' work in between.

    Raises:
        PredictionUnavailable: The predictor could not.
    """
    for start in range(0, len(features), SLICE_ROWS):
        if start:
            await asyncio.sleep(0)
        rows = slice(start, start + SLICE_ROWS)
        try:
            yield predictor.predict(features[rows], endpoints[rows], hardware[rows])
        except PredictorError as error:
            raise PredictionUnavailable(str(error)) from error
