"""llm-d's latency predictor and its routing, as published, behind this project's interfaces.

A baseline: what the reference system does, not what one would do. The version followed
is llm-d-latency-predictor b5d19f1 with llm-d-router ebab687 (2026-08); the release after
it, v0.9.0, never trains and would be no opponent. Settings are the production chart's:
mean objective, retraining every 10 s, fresh start at 10 rows, gated ensemble; streaming
mode on, its better setting. :mod:`llmd_rows <foretoken.simulation.llmd_rows>` has the
features and buckets, :mod:`llmd_models <foretoken.simulation.llmd_models>` the trees,
:mod:`llmd_scores <foretoken.simulation.llmd_scores>` filter, weights and lots.

Where this differs from it:

- Prompt length is the scheduler's estimate, learned from traffic; theirs is bytes / 4.
- The prefix score comes from the scheduler's index and is, in the models' features, times
  that index's measured effectiveness; theirs is an index of their own. Both take an
  endpoint to hold what was sent there.
- TPOT rows carry queue and KV usage as at the request's *end*, their skew; here as of the
  latest decision before it, which is as fresh as events tell. Prediction uses dispatch
  values, there as here.
- TPOT divides by tokens; theirs by chunks, which is the same where each carries one token.
- Labels are whole milliseconds there, of TTFT and of the whole request; here TTFT and the
  rest are cut off separately, which moves TPOT by less than 1 ms / tokens.
- Rows are there for training at once (theirs are flushed every second), training takes no
  time, prediction neither (theirs takes 8 to 50 ms a request), and no request outgrows
  its timeout. A model is served a fixed time after its training; theirs is polled for
  every 30 s in the chart, every 10 s in the code.
- The row hash that decides what is held out is not Python's, which differs by process.
- A running request's TPOT objective does not tighten that of others at its endpoint, and
  the chart's tier filter is left out: without objectives it keeps everyone, with them
  the scorer does the same but for 1 % of exploration. Nobody is refused.
- Pools without a label, encoders and pool roles: those columns are constant.
"""

from collections import deque
from collections.abc import Sequence
from typing import ClassVar, Final

import numpy as np

from foretoken.simulation.llmd_models import Fit, Models, fit, train
from foretoken.simulation.llmd_rows import (
    IS_QUEUED,
    KV_CACHE,
    MATCH_TOKENS,
    PREFIX,
    WAITING,
    Buckets,
    prefix_score,
    tpot_rows,
    ttft_rows,
)
from foretoken.simulation.llmd_scores import composite_weights, headroom_weights, lots, stick
from predictor.types import LEVELS, FloatArray, Objective, Observation, Predictions
from scheduler.candidates import Candidates, Signal, Terms

RETRAIN_S: Final = 10.0
"""Time between trainings in the production chart."""
SYNC_S: Final = 10.0
"""Time until prediction servers have a new model, the code's default; the chart has 30."""
LEAST_ROWS: Final = 10
"""Rows of a target below which it is not trained, on a server that started without a model."""
_LEAST_S: Final = 1e-9  # predictions are held at 0 ms; logarithms need more


class LlmdPredictor:
    """Predict with llm-d's models and retrain them on its cadence.

    Reads prompt, prefix, queued-token, in-flight and scraped columns of
    ``features.FEATURES``; a metric not scraped counts as 0. Says 10 ms for everything
    until a model is served. Knows no endpoint, hardware or output length. Gives neither
    quantiles nor marginal costs: the former equal the mean, the latter are 0.

    Args:
        sync_s: From a training to its model being served.
        least_rows: Rows a target needs to be trained.
        match_tokens: Tokens of a prompt that the prefix index looks at.
        fit: Fits one model; theirs of means unless another objective is given.

    >>> from predictor.features import N_FEATURES
    >>> said = LlmdPredictor().predict(np.zeros((2, N_FEATURES)), ["a:1", "b:1"], [None] * 2)
    >>> said.layer, said.ttft_s.tolist(), said.tpot_s.tolist()
    ('cold', [0.01, 0.01], [0.01, 0.01])
    """

    def __init__(
        self,
        *,
        sync_s: float = SYNC_S,
        least_rows: int = LEAST_ROWS,
        match_tokens: int = MATCH_TOKENS,
        fit: Fit = fit,
    ) -> None:
        self._match_tokens = match_tokens
        self._fit = fit
        self._sync_s = sync_s
        self._least_rows = least_rows
        self._ttft, self._tpot = Buckets(), Buckets()
        self._trained = self._served = Models()
        self._syncing: deque[tuple[float, Models]] = deque()
        self._last_seen: dict[str, tuple[float, float]] = {}  # queue and KV usage

    def predict(
        self,
        features: FloatArray,
        endpoints: Sequence[str],
        hardware: Sequence[str | None],  # noqa: ARG002  # theirs knows of no hardware
    ) -> Predictions:
        """Predict for ``(n, n_features)`` rows, one per endpoint."""
        rows = ttft_rows(features, self._match_tokens)
        seen = zip(rows[:, WAITING].tolist(), rows[:, KV_CACHE].tolist(), strict=True)
        self._last_seen.update(zip(endpoints, seen, strict=True))
        ttft_s = np.maximum(self._served.ttft(rows), 0.0) / 1e3
        tpot_s = np.maximum(self._served.tpot(tpot_rows(rows)), 0.0) / 1e3
        nothing = np.zeros(len(rows))
        return Predictions(
            ttft_s=ttft_s,
            tpot_s=tpot_s,
            quantiles_s=np.repeat(np.stack((ttft_s, tpot_s))[:, None], len(LEVELS), axis=1),
            rank_ttft_s=ttft_s,
            rank_tpot_s=tpot_s,
            prefill_s=nothing,
            decode_step_s=nothing,
            prefill_token_s=nothing,
            experts=np.log(np.maximum(np.stack((ttft_s, tpot_s)), _LEAST_S))[:, None],
            layer="mixture" if self._served.version else "cold",
            version=str(self._served.version) if self._served.version else None,
        )

    def learn(self, observation: Observation) -> None:
        """Remember the row of each label, in whole milliseconds; none of 0 ms."""
        self._sync(observation.observed_s)
        row = ttft_rows(observation.features[None], self._match_tokens)[0]
        if observation.upstream_ttft_s is not None:
            label_ms = float(int(observation.upstream_ttft_s * 1e3))
            if label_ms > 0:
                self._ttft.add(row, label_ms, prefix=float(row[PREFIX]))
        if observation.tpot_s is not None:
            gaps = max((observation.output_tokens or 2) - 1, 1)
            label_ms = int(observation.tpot_s * gaps * 1e3) / gaps
            if label_ms > 0:
                self._tpot.add(self._at_end(row, observation.endpoint), label_ms, prefix=0.0)

    def train(self, now: float) -> None:
        """Retrain from scratch; to be called every ``RETRAIN_S``.

        With no row since the last time the outcome would be the same, so nothing is done.
        """
        self._sync(now)
        if not (self._ttft.fresh or self._tpot.fresh):
            return
        if max(len(self._ttft), len(self._tpot)) < self._least_rows:
            return
        self._trained = train(
            self._ttft,
            self._tpot,
            before=self._trained,
            least_rows=self._least_rows,
            fit=self._fit,
        )
        self._syncing.append((now + self._sync_s, self._trained))

    def probability(self, predictions: Predictions, objective: Objective) -> FloatArray:
        """Say 1 where every prediction is below its objective and 0 elsewhere, ``(n,)``."""
        meets = np.ones(len(predictions.ttft_s), dtype=bool)
        if objective.ttft_s is not None:
            meets &= predictions.ttft_s < objective.ttft_s
        if objective.tpot_s is not None:
            meets &= predictions.tpot_s < objective.tpot_s
        return meets.astype(np.float64)

    def _sync(self, now: float) -> None:
        while self._syncing and self._syncing[0][0] <= now:
            self._served = self._syncing.popleft()[1]

    def _at_end(self, row: FloatArray, endpoint: str) -> FloatArray:
        """Give the TPOT row: counts as at dispatch, queue and KV usage as last seen."""
        row = row.copy()
        row[WAITING], row[KV_CACHE] = self._last_seen.get(
            endpoint, (float(row[WAITING]), float(row[KV_CACHE]))
        )
        row[IS_QUEUED] = row[WAITING] > 0
        ended: FloatArray = tpot_rows(row[None])[0]
        return ended


class LlmdLatencyPolicy:
    """Draw lots among the endpoints, weighted by predicted latency, as llm-d does.

    First narrows to endpoints that hold most of the prompt, unless the best of them is
    predicted more than ``max_penalty_ms`` slower to first token; then weighs TTFT 0.8 and
    TPOT 0.2, each min-max normalised over what is left, and picks at random in proportion.
    Reads predictions, prefix matches, in-flight counts and the request's objective.
    Without predictions free KV cache, queue and prefix match make the weights.

    Args:
        affinity_ratios: Thresholds of the filters in turn. One loose one is the guide's
            routing-only values file; the chart has a strict one before it, (0.99, 0.80).
        max_penalty_ms: Of both (guides: 5,000, the filter's own default: 18,000).
        match_tokens: Tokens of a prompt that the prefix index looks at.
    """

    name: ClassVar[str] = "llmd_predictor"
    needs: ClassVar[frozenset[Signal]] = frozenset({"own_load", "predictions", "prefix_matches"})

    def __init__(
        self,
        *,
        affinity_ratios: Sequence[float] = (0.80,),
        max_penalty_ms: float = 5000.0,
        match_tokens: int = MATCH_TOKENS,
    ) -> None:
        self._match_tokens = match_tokens
        self._affinity_ratios = tuple(affinity_ratios)
        self._max_penalty_ms = max_penalty_ms

    def terms(self, candidates: Candidates) -> Terms:
        """Give each endpoint's lot; those left out come behind all others."""
        return {"lot": lots(self.weights(candidates), candidates.draw)}

    def weights(self, candidates: Candidates) -> FloatArray:
        """Give what each one's chance is proportional to, ``(n,)``; 0 for those left out."""
        predicted = candidates.predictions
        matched = prefix_score(
            candidates.matched_tokens, candidates.prompt_tokens, self._match_tokens
        )
        ttft_ms = np.zeros(len(candidates)) if predicted is None else predicted.ttft_s * 1e3
        among = np.ones(len(candidates), dtype=bool)
        for ratio in self._affinity_ratios:
            among = stick(
                among,
                matched,
                ttft_ms,
                affinity_ratio=ratio,
                max_penalty_ms=self._max_penalty_ms,
            )
        if predicted is None:
            usage = np.nan_to_num(candidates.feature("kv_cache_usage"))
            waiting = np.nan_to_num(candidates.feature("waiting_requests"))
            return composite_weights(among, usage, waiting, matched)
        wanted = candidates.request.objective
        return headroom_weights(
            among,
            (wanted.ttft_s or 0.0) * 1e3 - ttft_ms,
            (wanted.tpot_s or 0.0) * 1e3 - predicted.tpot_s * 1e3,
            candidates.inflight,
        )
