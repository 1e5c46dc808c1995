"""What became of the traces of requests, as ``/metrics`` shows it."""

from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector


@dataclass(slots=True)
class TraceCounts:
    """Count sampled requests by what became of their spans.

    Attributes:
        exported: The collector has them.
        failed: It could not be reached, or refused them. Written by the exporting thread.
        dropped: Too many waited for it. Written by the event loop.
    """

    exported: int = 0
    failed: int = 0
    dropped: int = 0

    @property
    def lost(self) -> int:
        """Count those that the collector does not have."""
        return self.failed + self.dropped


class TraceCollector(Collector):
    """Publish the counts; zeros where tracing is off."""

    def __init__(self, counts: TraceCounts) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """Give them as they are at this moment."""
        counts = self._counts
        family = CounterMetricFamily(
            "foretoken_traced_requests",
            "Sampled requests by whether their spans were exported, or lost because the "
            "collector failed or too many waited for it (dropped).",
            labels=["outcome"],
        )
        family.add_metric(["exported"], counts.exported)
        family.add_metric(["failed"], counts.failed)
        family.add_metric(["dropped"], counts.dropped)
        yield family
