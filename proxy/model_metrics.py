"""What models and their training are published in.

Set by ``foretoken`` whenever it looks at the predictors, and read when somebody scrapes us.
Constructed by :class:`proxy.metrics.ProxyMetrics`.
"""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

TRAINING_RESULTS: Final = (
    "accepted",
    "too_few_rows",
    "too_few_new",
    "on_trial",
    "worse",
    "store",
    "failed",
)
"""What a training comes to, as its report says."""


class ModelMetrics:
    """Declare what the models and their training are published in; ``foretoken`` sets it.

    Attributes:
        info: 1 for what each fleet's predictions rest on.
        expert_weight: Share of each expert in the mixture.
        expert_error: Mean absolute error of each expert, recent and prequential, relative.
        labels: Labels learned from.
        mdape: Median absolute error of recent predictions, relative.
        coverage: Share of recent observations below their predicted 90 % quantile.
        training_runs: Trainings ended, by result.
        training_seconds: How long they took.
        training_rows: Rows the last one learned from.
        training_refused: Labels that the trainer's window refused, and why.
        skipped: Whether the version to be used was refused, and the one before stays.
        version_age: Since the version in use was taken into service here.
        drift_events: Changes detected in the prediction error.
        refused_observations: Observations not learned from, and why.
        trace_dropped: Records that are in no trace file and will be in none.
        trainer_dropped: Observations that did not reach the trainer.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(name, text, labels, registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=registry)

        model, target = "model_name", "target"
        self.info = gauge(
            "foretoken_model_info",
            "1 for the version and the layer that predictions rest on.",
            model,
            "version",
            "layer",
        )
        self.expert_weight = gauge(
            "foretoken_expert_weight_ratio",
            "Share of the expert in the mixture.",
            model,
            target,
            "expert",
        )
        self.expert_error = gauge(
            "foretoken_expert_error_ratio",
            "Mean absolute error of recent predictions, each made before its label was learned.",
            model,
            target,
            "expert",
        )
        self.labels = counter("foretoken_prediction_labels", "Labels learned from.", model, target)
        self.mdape = gauge(
            "foretoken_prediction_mdape_ratio",
            "Median absolute error of recent predictions, relative.",
            model,
            target,
        )
        self.coverage = gauge(
            "foretoken_prediction_coverage_ratio",
            "Share of recent labels at or below the 90 % quantile stated at dispatch.",
            model,
            target,
        )
        self.skipped = gauge(
            "foretoken_model_skipped",
            "1 while the version to be used cannot be, and what was served before stays.",
            model,
        )
        self.version_age = gauge(
            "foretoken_model_version_age_seconds",
            "Since the version in use was taken into service.",
            model,
        )
        self.training_runs = counter("foretoken_training_runs", "Trainings ended.", model, "result")
        self.training_seconds = Histogram(
            "foretoken_training_seconds",
            "Processor time of a training.",
            buckets=(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
            registry=registry,
        )
        self.training_rows = gauge("foretoken_training_rows", "Rows of the last training.", model)
        self.training_refused = counter(
            "foretoken_training_refused_labels", "Labels not trained on.", "reason"
        )
        self.drift_events = counter(
            "foretoken_drift_events",
            "Rises of the prediction error that were detected.",
            model,
            target,
        )
        self.refused_observations = counter(
            "foretoken_refused_observations", "Observations not learned from.", "reason"
        )
        self.trace_dropped = counter("foretoken_trace_dropped", "Records not traced.")
        self.trainer_dropped = counter(
            "foretoken_trainer_dropped", "Observations that did not reach the trainer."
        )

    def begin(self, fleet: str) -> None:
        """Let a fleet have its counters: one that begins at 1 is no growth."""
        for result in TRAINING_RESULTS:
            self.training_runs.labels(fleet, result)
        for target in ("ttft", "tpot"):
            self.drift_events.labels(fleet, target)
            self.labels.labels(fleet, target)
        self.skipped.labels(fleet)
