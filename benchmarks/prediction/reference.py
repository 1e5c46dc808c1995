"""llm-d's latency predictor as a contender, from the rows its own router would send.

Features, buckets, gating and cadence are those of ``foretoken.simulation``'s copy; the
models are XGBoost, its default, where that is installed, else its LightGBM variant. It
plays twice at once, as published for production (mean objective) and with its own
quantile objective (alpha 0.9), which stand for its prediction and its p90.

Retrained every 10 s of traffic, served 5 s later (its prediction servers poll every 10 s),
10 ms for everything until then. TPOT rows carry queue and KV usage as last seen before the
request ended. Predictions are held at 0. It learns TPOT when requests
end. Its own servers, played over HTTP (``over_http``), came within 2 points of it on all
rows of bimodal and 6 of 90 on those of sharegpt.
"""

from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Final

import numpy as np

from benchmarks.prediction.play import Said
from benchmarks.prediction.rowset import Label, Request, RowSet
from foretoken.simulation import llmd_models
from foretoken.simulation.llmd_models import Fit, Models, train
from foretoken.simulation.llmd_predictor import LEAST_ROWS, RETRAIN_S, SYNC_S
from foretoken.simulation.llmd_rows import IS_QUEUED, KV_CACHE, PREFIX, WAITING, Buckets, tpot_rows
from predictor.types import FloatArray

try:
    from benchmarks.prediction import xgboost_fit
except ImportError:
    FAMILY, _FIT = "LightGBM", llmd_models.fit
else:
    FAMILY, _FIT = "XGBoost", xgboost_fit.fit
"""Which of its model types plays."""

ALPHA: Final = 0.9
SERVED_AFTER_S: Final = SYNC_S / 2
"""Mean time from a training to the next poll."""
FIT: Final[Fit] = _FIT
"""Fits one of its models of means."""
_QUANTILE: Final[Fit] = partial(_FIT, alpha=ALPHA)
_LEAST_MS: Final = 1e-6  # its predictions may be 0, which has no logarithm


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    mean: Models
    p90: Models


class Reference:
    """Predict with llm-d's models and retrain them on its cadence."""

    expert_names: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        self._ttft, self._tpot = Buckets(), Buckets()
        self._trained = self._served = _Pair(mean=Models(), p90=Models())
        self._syncing: deque[tuple[float, _Pair]] = deque()
        self._next_s = RETRAIN_S

    def predict(self, request: Request, now: float) -> Said:
        """Predict a request that is sent."""
        while self._syncing and self._syncing[0][0] <= now:
            self._served = self._syncing.popleft()[1]
        row = request.reference_row[None]
        mean_s, p90_s = (_seconds(models, row) for models in (self._served.mean, self._served.p90))
        return Said(mean_s=mean_s, p50_s=mean_s, p90_s=p90_s, experts=np.empty((2, 0)))

    def learn(self, rows: RowSet, label: Label, said: Said) -> None:  # noqa: ARG002  # unused there
        """File the row of a label, in whole milliseconds; none of 0 ms."""
        row = rows.requests[label.request].reference_row
        if label.target == "ttft":
            label_ms = float(int(label.seconds * 1e3 + _ROUNDING))
            if label_ms > 0:
                self._ttft.add(row, label_ms, prefix=float(row[PREFIX]))
            return
        if label.seen is not None:
            row = row.copy()
            row[WAITING], row[KV_CACHE] = label.seen
            row[IS_QUEUED] = row[WAITING] > 0
        gaps = 1 if label.output_tokens is None else label.output_tokens - 1
        whole_ms = label.seconds * 1e3 * gaps
        label_ms = whole_ms if label.output_tokens is None else float(int(whole_ms + _ROUNDING))
        if label_ms > 0:
            self._tpot.add(tpot_rows(row[None])[0], label_ms / gaps, prefix=0.0)

    def train(self, now: float) -> None:
        """Train at every multiple of the cadence that has passed, where rows are fresh."""
        while self._next_s <= now:
            if self._is_due():
                self._trained = _Pair(
                    mean=self._fit(self._trained.mean, FIT),
                    p90=self._fit(self._trained.p90, _QUANTILE),
                )
                self._syncing.append((self._next_s + SERVED_AFTER_S, self._trained))
            self._next_s += RETRAIN_S

    def _is_due(self) -> bool:
        fresh = self._ttft.fresh or self._tpot.fresh
        return fresh and max(len(self._ttft), len(self._tpot)) >= LEAST_ROWS

    def _fit(self, before: Models, fit: Fit) -> Models:
        return train(self._ttft, self._tpot, before=before, least_rows=LEAST_ROWS, fit=fit)


_ROUNDING: Final = 1e-6  # 0.455 s x 1e3 is just under 455


def _seconds(models: Models, row: FloatArray) -> FloatArray:
    said_ms = np.array([models.ttft(row)[0], models.tpot(tpot_rows(row))[0]])
    seconds: FloatArray = np.maximum(said_ms, _LEAST_MS) / 1e3
    return seconds
