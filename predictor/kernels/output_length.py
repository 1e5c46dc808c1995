"""Histograms of output lengths: in log-spaced buckets, older answers counting less."""

from math import log2
from typing import Final

from predictor.kernels.compiled import compiled
from predictor.types import FloatArray

BUCKETS: Final = 64
COUNT, SUM = range(2)
"""Of a histogram, ``(2, BUCKETS)``: answers, and their tokens."""

_PER_DOUBLING: Final = 3.2  # 64 buckets reach LONGEST_OUTPUT_TOKENS


@compiled
def add(histogram: FloatArray, tokens: float, keep: float) -> None:
    """Count one answer; those before it count ``keep`` of what they did."""
    bucket = min(int(log2(tokens) * _PER_DOUBLING), BUCKETS - 1)
    for each in range(BUCKETS):
        histogram[COUNT, each] *= keep
        histogram[SUM, each] *= keep
    histogram[COUNT, bucket] += 1.0
    histogram[SUM, bucket] += tokens


@compiled
def shrunk(histogram: FloatArray, bound: float, fallback: float, rows: float) -> float:
    """Give the mean of min(length, bound), ``rows`` answers of it the fallback."""
    answers = total = 0.0
    for bucket in range(BUCKETS):
        count = histogram[COUNT, bucket]
        answers += count
        total += min(histogram[SUM, bucket], count * bound)
    return float((total + rows * fallback) / (answers + rows))
