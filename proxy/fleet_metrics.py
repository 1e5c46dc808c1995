"""What the fleet and its scrapes are published in.

The present state is read when somebody scrapes us, so that it costs a request nothing
and an endpoint that leaves takes its series with it. Constructed by ``build`` and by
:class:`proxy.metrics.ProxyMetrics`.
"""

from collections.abc import Callable, Iterator
from typing import Final, get_args

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from collectors.errors import ScrapeFailure
from proxy.tallies import Counters, Histograms
from scheduler import Scheduler, Suspicion

_SUSPICIONS: Final[tuple[Suspicion, ...]] = get_args(Suspicion)
# By endpoint there is one series at 0 for a family to be there: all would make pages long.
_MOSTLY: Final[Suspicion] = "unreachable"
_FIRST: Final[ScrapeFailure] = "timeout"


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
        yield from self._standing(now)
        yield from self._scraped()
        yield from self._suspects(now)
        yield from self._inflight(now)
        yield from self._ladder()
        yield from self._lessons(now)

    def _standing(self, now: float) -> Iterator[Metric]:
        up = _by_endpoint("foretoken_endpoint_up", "Whether the endpoint answers.")
        age = _by_endpoint(
            "foretoken_endpoint_scrape_age_seconds", "Age of what is known of the endpoint."
        )
        draining = _by_endpoint(
            "foretoken_endpoint_draining", "1 while it gets no further requests."
        )
        warm = _by_endpoint(
            "foretoken_endpoint_warm_up_ratio",
            "What it may have in flight, of the mean of the others; 1 where it is not new.",
        )
        for name, state in self._scheduler.states.items():
            up.add_metric([name], float(state.up))
            draining.add_metric([name], float(state.draining))
            fleet = self._scheduler.fleets.get(state.model or "")
            warm.add_metric([name], 1.0 if fleet is None else fleet.warm_up.share(name, now))
            if state.scraped_s is not None:
                age.add_metric([name], now - state.scraped_s)
        yield from (up, age, draining, warm)

    def _scraped(self) -> Iterator[Metric]:
        running = _by_endpoint(
            "foretoken_endpoint_running_requests", "Requests in its batch, by its own count."
        )
        waiting = _by_endpoint(
            "foretoken_endpoint_waiting_requests",
            "Requests it has not yet started, by its own count.",
        )
        usage = _by_endpoint(
            "foretoken_endpoint_kv_cache_usage_ratio", "KV blocks in use, by its own count."
        )
        for name, state in self._scheduler.states.items():
            said = (
                (running, state.running_requests),
                (waiting, state.waiting_requests),
                (usage, state.kv_cache_usage),
            )
            for family, value in said:
                if value is not None:
                    family.add_metric([name], value)
        yield from (running, waiting, usage)

    def _suspects(self, now: float) -> Iterator[Metric]:
        suspect = GaugeMetricFamily(
            "foretoken_endpoint_suspect",
            "Its circuit breaker: 1 while it is left alone for how it answered.",
            labels=["endpoint", "reason"],
        )
        times = CounterMetricFamily(
            "foretoken_endpoint_suspicions",
            "Times its circuit breaker opened, or stayed open after a trial.",
            labels=["endpoint", "reason"],
        )
        total = self._scheduler.suspicions_total
        for name in self._scheduler.states:
            why = self._scheduler.suspicion(name, now)
            for reason in _SUSPICIONS:
                suspect.add_metric([name, reason], float(reason == why))
                count = total.get((name, reason), 0)
                if count or reason == _MOSTLY:
                    times.add_metric([name, reason], count)
        yield from (suspect, times)

    def _inflight(self, now: float) -> Iterator[Metric]:
        inflight = GaugeMetricFamily(
            "foretoken_inflight_requests",
            "Sent to it by this router and not yet ended.",
            labels=["endpoint", "tier"],
        )
        queued = _by_endpoint(
            "foretoken_queued_requests", "Sent to it by this router, without a first token yet."
        )
        counts = self._scheduler.inflight()
        tiers = sorted({*self._scheduler.settings.tiers, *(tier for _, tier in counts)})
        for name in self._scheduler.states:
            load = self._scheduler.load(name, now)
            queued.add_metric([name], load.queued_requests)
            for tier in tiers:
                inflight.add_metric([name, tier], counts[name, tier])
        yield from (inflight, queued)

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
        yield from (level, changes)

    def _lessons(self, now: float) -> Iterator[Metric]:
        skipped = CounterMetricFamily(
            "foretoken_unlearned_requests",
            "Requests beyond the pace of learning, which taught nothing.",
            labels=["model_name"],
        )
        retries = GaugeMetricFamily(
            "foretoken_retry_budget_used_ratio",
            "Requests dispatched again of late, of those that may be; 1: no further one is.",
            labels=["model_name"],
        )
        for model, fleet in self._scheduler.fleets.items():
            skipped.add_metric([model], fleet.pace.skipped)
            retries.add_metric([model], fleet.retries.used(now))
        yield from (skipped, retries)


def _by_endpoint(name: str, text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=["endpoint"])


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
        scrapes = self._scrapes.labels(endpoint)
        if not scrapes.total:
            self._failures.labels(endpoint, _FIRST)
        scrapes.inc()
        self._seconds.observe(seconds)

    def failed(self, endpoint: str, reason: ScrapeFailure) -> None:
        """Take in a page that could not be read."""
        self._scrapes.labels(endpoint).inc()
        self._failures.labels(endpoint, reason).inc()

    def forget(self, endpoint: str) -> None:
        """Drop the series of an endpoint that has left."""
        self._scrapes.forget("endpoint", endpoint)
        self._failures.forget("endpoint", endpoint)
