"""Bring published model versions into the running predictors, and tell how they do.

The store is asked every second which version each fleet should use, one across a network
every five seconds, so a training, a promotion and a rollback from the command line all take
effect the same way. A version that cannot be used, and a store that does not answer, are
named in the log, once, and tried again; what is served stays.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from math import expm1, inf
from typing import Final, NamedTuple

from collectors.in_step import until_next
from foretoken.background import in_own_thread
from foretoken.trainer_protocol import Report
from models_store import ModelsStore, ModelsStoreError
from predictor import (
    MODEL_SCHEMA,
    LatencyPredictor,
    ModelSnapshot,
    PredictorError,
    PredictorReport,
    PreparedModel,
)
from proxy import ModelMetrics

log = logging.getLogger(__name__)

REFRESH_S: Final = 1.0
REMOTE_REFRESH_S: Final = 5.0
"""Of a store across a network, where each look takes three requests that are paid for."""

PUBLISH_S: Final = 5.0
"""Between two updates of the metrics where nothing is new: they are seldom scraped more often."""


class _Found(NamedTuple):
    version: str
    model: PreparedModel


class ModelUpdates:
    """Keep every fleet's predictor at the version in use.

    Args:
        store: Where versions are published.
        metrics: What models are published in.

    Attributes:
        reports: The last training report of each fleet.
        reported_s: When each came, by the caller's clock.
        problems: By fleet, why its version in use cannot be served.
    """

    def __init__(self, store: ModelsStore, metrics: ModelMetrics) -> None:
        self._store = store
        self._metrics = metrics
        self._predictors: dict[str, LatencyPredictor] = {}
        self._seen: dict[str, str] = {}
        self._published: dict[tuple[str, ...], float] = {}
        self._since_s: dict[str, float] = {}  # by the monotonic clock
        self._wake = asyncio.Event()
        self.reports: dict[str, Report] = {}
        self.reported_s: dict[str, float] = {}
        self.problems: dict[str, str] = {}

    @property
    def predictors(self) -> Mapping[str, LatencyPredictor]:
        """Give every fleet's predictor."""
        return self._predictors

    def adopt(self, fleet: str, predictor: LatencyPredictor) -> None:
        """Take care of a fleet's predictor; start it from the version in use.

        Where the store is across a network, :meth:`run` finds that version soon after: the
        event loop does not wait for it.
        """
        self._predictors[fleet] = predictor
        self._seen.pop(fleet, None)
        self._metrics.begin(fleet)
        if self._store.local:
            self._serve(fleet, predictor, self._find(fleet))
        else:
            self._wake.set()

    def trained(self, report: Report, now: float) -> None:
        """Take in what a training came to; :meth:`run` then looks for its version at once."""
        self.heard(report, now)
        result = "accepted" if report.accepted else report.reason or "refused"
        self._metrics.training_runs.labels(report.fleet, result).inc()
        self._metrics.training_seconds.observe(report.seconds)
        self._metrics.training_rows.labels(report.fleet).set(report.rows)
        for reason, count in report.refused.items():
            grown = self._grown(count, "window", report.fleet, reason)
            self._metrics.training_refused.labels(reason).inc(grown)
        broken = report.reason in ("store", "failed")  # it will not get better by itself
        log.log(
            logging.WARNING if broken else logging.INFO,
            "training_ended",
            extra={
                "model": report.fleet,
                "result": result,
                "rows": report.rows,
                "cpu_s": report.seconds,
                "version": report.version,
                "way": report.way,
                "labels_refused": report.refused,
                "detail": report.detail,
            },
        )

    def heard(self, report: Report, now: float) -> None:
        """Take in what a training came to that another worker counts and logs."""
        self._wake.set()
        self.reports[report.fleet] = report
        self.reported_s[report.fleet] = now

    async def run(self, dropped: Callable[[], tuple[int, int]]) -> None:
        """Refresh now and then, and at once where there is a reason to, until cancelled.

        Args:
            dropped: Gives the rows dropped so far on the way to the recorder and the trainer.
        """
        published_s = -inf
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._rest_s())
            self._wake.clear()
            changed = await self.refresh()
            if changed or time.monotonic() - published_s > PUBLISH_S - REFRESH_S / 2:
                published_s = time.monotonic()
                self.publish()
                trace_rows, trainer_rows = dropped()
                self.dropped(trace_rows=trace_rows, trainer_rows=trainer_rows)

    def _rest_s(self) -> float:
        """Give how long to wait; a look at a remote store is paid for: each puts off the next."""
        return until_next(REFRESH_S) if self._store.local else REMOTE_REFRESH_S

    async def refresh(self) -> bool:
        """Follow the store; tell whether there was anything new for any fleet.

        Versions are read and parsed in a thread: no token waits for it.
        """
        changed = False
        for fleet in list(self._predictors):
            find = partial(self._find, fleet)
            found = await (asyncio.to_thread if self._store.local else in_own_thread)(find)
            predictor = self._predictors[fleet]  # another may have been adopted in between
            changed |= self._serve(fleet, predictor, found)
        return changed

    def publish(self) -> None:
        """Publish how every fleet's predictor does."""
        for fleet, predictor in self._predictors.items():
            self._publish(fleet, predictor.report())

    def _find(self, fleet: str) -> "_Found | str | None":
        """Load the version to use: ``None`` where it is in use, a text where it is unusable."""
        try:
            version = self._store.latest(fleet)
            if version is None or version == self._seen.get(fleet):
                return None
            data, _ = self._store.load(fleet, version, schema_hash=MODEL_SCHEMA)
        except ModelsStoreError as error:
            return str(error)
        try:
            return _Found(version, PreparedModel.of(ModelSnapshot.load(data)))
        except PredictorError as error:
            return f"version {version}: {error}"

    def _serve(self, fleet: str, predictor: LatencyPredictor, found: "_Found | str | None") -> bool:
        """Serve what was found, or say once why not; tell whether that was anything new."""
        if isinstance(found, str):
            if self.problems.get(fleet) == found:
                return False
            self.problems[fleet] = found
            self._metrics.skipped.labels(fleet).set(1)
            log.error("model_skipped", extra={"model": fleet, "problem": found})
            return True
        if self.problems.pop(fleet, None) is not None:
            self._metrics.skipped.labels(fleet).set(0)
        if found is None or found.version == self._seen.get(fleet):
            return False
        predictor.swap(found.model, found.version)
        self._seen[fleet] = found.version
        self._since_s[fleet] = time.monotonic()
        log.info("model_in_use", extra={"model": fleet, "version": found.version})
        return True

    def _publish(self, fleet: str, report: PredictorReport) -> None:
        metrics = self._metrics
        metrics.info.remove_by_labels({"model_name": fleet})
        metrics.info.labels(fleet, report.version or "none", report.layer).set(1)
        if fleet in self._since_s:
            age_s = time.monotonic() - self._since_s[fleet]
            metrics.version_age.labels(fleet).set(age_s)
        self._publish_experts(fleet, report)
        for target, error in report.mdape.items():
            if error is not None:
                metrics.mdape.labels(fleet, target).set(error)
        for target, coverage in report.p90_coverage.items():
            if coverage is not None:
                metrics.coverage.labels(fleet, target).set(coverage)
        self._publish_counts(fleet, report)

    def _publish_experts(self, fleet: str, report: PredictorReport) -> None:
        metrics = self._metrics
        for target, weights in report.weights.items():
            for expert, weight in weights.items():
                metrics.expert_weight.labels(fleet, target, expert).set(weight)
        for target, errors in report.expert_errors.items():
            for expert, log_error in errors.items():
                if log_error is not None:
                    metrics.expert_error.labels(fleet, target, expert).set(expm1(log_error))

    def _publish_counts(self, fleet: str, report: PredictorReport) -> None:
        metrics = self._metrics
        for target, labels in report.observations.items():
            grown = self._grown(labels, "labels", fleet, target)
            metrics.labels.labels(fleet, target).inc(grown)
        for target, alarms in report.drift_alarms.items():
            grown = self._grown(alarms, "drift", fleet, target)
            metrics.drift_events.labels(fleet, target).inc(grown)
        for reason, count in report.refused.items():
            grown = self._grown(count, "refused", fleet, reason)
            metrics.refused_observations.labels(reason).inc(grown)

    def dropped(self, *, trace_rows: int, trainer_rows: int) -> None:
        """Publish totals of what was dropped on the way to the recorder and the trainer."""
        self._metrics.trace_dropped.inc(self._grown(trace_rows, "trace"))
        self._metrics.trainer_dropped.inc(self._grown(trainer_rows, "trainer"))

    def _grown(self, total: float, *key: str) -> float:
        """Give how much a total has grown since it was last published."""
        before = self._published.get(key, 0.0)
        self._published[key] = total
        return max(total - before, 0.0)
