"""How well the predictor does: on recorded rows, beside the reference."""

from benchmarks.prediction.rowset import DEFAULT_DATA

__all__ = ["DEFAULT_DATA"]
