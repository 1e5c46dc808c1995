"""What the fleet, its scrapes and its models are published in.

The present state is read when somebody scrapes us, so that it costs a request nothing
and an endpoint that leaves takes its series with it. Constructed by ``build`` and by
:class:`proxy.metrics.ProxyMetrics`.
"""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from collectors.errors import ScrapeFailure
from proxy.tallies import Counters, Histograms
from scheduler import Scheduler


class FleetCollector(Collector):
    """Publish the present state of every endpoint, of the queue and of who decides.

    Args:
        scheduler: Knows it.
        clock: The clock that the scheduler is driven by.
    """

    def __init__(self, scheduler: Scheduler, clock: Callable[[], float]) -> None:
        self._scheduler = scheduler
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """Give the gauges as they are at this moment."""
        now = self._clock()
        up = GaugeMetricFamily(
            "foretoken_endpoint_up", "Whether the endpoint answers.", labels=["endpoint"]
        )
        age = GaugeMetricFamily(
            "foretoken_endpoint_scrape_age_seconds",
            "Age of what is known of the endpoint.",
            labels=["endpoint"],
        )
        inflight = GaugeMetricFamily(
            "foretoken_inflight_requests", "Sent to it and not yet ended.", labels=["endpoint"]
        )
        suspect = GaugeMetricFamily(
            "foretoken_endpoint_suspect",
            "1 while it is left alone for how it answered.",
            labels=["endpoint", "reason"],
        )
        for name, state in self._scheduler.states.items():
            up.add_metric([name], float(state.up))
            why = self._scheduler.suspicion(name, now)
            if why is not None:
                suspect.add_metric([name, why], 1.0)
            inflight.add_metric([name], self._scheduler.load(name, now).inflight_requests)
            if state.scraped_s is not None:
                age.add_metric([name], now - state.scraped_s)
        yield up
        yield age
        yield inflight
        yield suspect
        yield GaugeMetricFamily(
            "foretoken_waiting_requests",
            "Requests that wait here for an endpoint.",
            value=self._scheduler.waiting_requests,
        )
        yield from self._ladder()
        yield from self._lessons()

    def _ladder(self) -> Iterator[Metric]:
        labels = ["model_name", "level", "reason"]
        level = GaugeMetricFamily(
            "foretoken_fallback_level", "1 for what decides, and why.", labels=labels
        )
        changes = CounterMetricFamily(
            "foretoken_fallback_changes", "Changes to this level for this reason.", labels=labels
        )
        for model, fleet in self._scheduler.fleets.items():
            trust = fleet.trust
            if trust.level is not None and trust.reason is not None:
                level.add_metric([model, trust.level, trust.reason], 1.0)
            for (name, reason), count in trust.changes_total.items():
                changes.add_metric([model, name, reason], count)
        yield level
        yield changes

    def _lessons(self) -> Iterator[Metric]:
        skipped = CounterMetricFamily(
            "foretoken_unlearned_requests",
            "Requests beyond the pace of learning, which taught nothing.",
            labels=["model_name"],
        )
        for model, fleet in self._scheduler.fleets.items():
            skipped.add_metric([model], fleet.pace.skipped)
        yield skipped


class LogCollector(Collector):
    """Publish how many log lines were lost.

    Args:
        dropped: Tells it.
    """

    def __init__(self, dropped: Callable[[], int]) -> None:
        self._dropped = dropped

    def collect(self) -> Iterator[Metric]:
        """Give the counter as it is at this moment."""
        yield CounterMetricFamily(
            "foretoken_log_dropped_lines",
            "Log lines that nobody took, or that could not be written.",
            value=self._dropped(),
        )


class ScrapeMetrics:
    """Count scrapes; what the scraper is told to report to."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histograms(
            "foretoken_scrape_seconds",
            "Time to read an endpoint's metrics page.",
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
            registry=registry,
        ).labels()
        self._scrapes = Counters(
            "foretoken_scrapes", "Pages asked for.", ["endpoint"], registry=registry
        )
        self._failures = Counters(
            "foretoken_scrape_failures",
            "Pages that could not be read.",
            ["endpoint", "reason"],
            registry=registry,
        )

    def scraped(self, endpoint: str, seconds: float) -> None:
        """Take in a page read, and how long that took."""
        self._scrapes.labels(endpoint).inc()
        self._seconds.observe(seconds)

    def failed(self, endpoint: str, reason: ScrapeFailure) -> None:
        """Take in a page that could not be read."""
        self._scrapes.labels(endpoint).inc()
        self._failures.labels(endpoint, reason).inc()

    def forget(self, endpoint: str) -> None:
        """Drop the series of an endpoint that has left."""
        self._scrapes.forget("endpoint", endpoint)
        self._failures.forget("endpoint", endpoint)


class ModelMetrics:
    """Declare what the models and their training are published in; ``foretoken`` sets it.

    Attributes:
        info: 1 for what each fleet's predictions rest on.
        expert_weight: Share of each expert in the mixture.
        mdape: Median absolute error of recent predictions, relative.
        coverage: Share of recent observations below their predicted 90 % quantile.
        training_runs: Trainings ended, by result.
        training_seconds: How long they took.
        training_rows: Rows the last one learned from.
        training_refused: Labels that the trainer's window refused, and why.
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
            "foretoken_model_info", "What predictions rest on.", model, "version", "layer"
        )
        self.expert_weight = gauge(
            "foretoken_expert_weight_ratio", "Share in the mixture.", model, target, "expert"
        )
        self.mdape = gauge(
            "foretoken_prediction_mdape_ratio", "Median relative error.", model, target
        )
        self.coverage = gauge(
            "foretoken_prediction_coverage_ratio", "Share below the 90 % quantile.", model, target
        )
        self.training_runs = counter("foretoken_training_runs", "Trainings ended.", "result")
        self.training_seconds = Histogram(
            "foretoken_training_seconds",
            "Time of a training.",
            buckets=(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
            registry=registry,
        )
        self.training_rows = gauge("foretoken_training_rows", "Rows of the last training.", model)
        self.training_refused = counter(
            "foretoken_training_refused_labels", "Labels not trained on.", "reason"
        )
        self.drift_events = counter("foretoken_drift_events", "Drifts detected.", model, target)
        self.refused_observations = counter(
            "foretoken_refused_observations", "Observations not learned from.", "reason"
        )
        self.trace_dropped = counter("foretoken_trace_dropped", "Records not traced.")
        self.trainer_dropped = counter(
            "foretoken_trainer_dropped", "Observations that did not reach the trainer."
        )
