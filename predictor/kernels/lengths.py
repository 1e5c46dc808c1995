"""Histograms of output lengths: ``(2, buckets)``, how many answers and their tokens.

Called by :mod:`predictor.output_length`, once or twice a request each.
"""

from predictor.kernels.compiled import compiled
from predictor.types import FloatArray


@compiled
def add_length(cells: FloatArray, bucket: int, tokens: float, keep: float) -> None:
    """Count an answer, and those before it a little less."""
    for i in range(cells.shape[1]):
        cells[0, i] *= keep
        cells[1, i] *= keep
    cells[0, bucket] += 1.0
    cells[1, bucket] += tokens


@compiled
def shrunk_mean(cells: FloatArray, bound: float, fallback: float, rows: float) -> float:
    """Give the mean of min(length, bound), ``rows`` rows of it the fallback."""
    total, count = rows * fallback, rows
    for i in range(cells.shape[1]):
        if cells[0, i] > 0.0:
            length = cells[1, i] / max(cells[0, i], 1e-12)
            total += cells[0, i] * min(length, bound)
            count += cells[0, i]
    return total / count
