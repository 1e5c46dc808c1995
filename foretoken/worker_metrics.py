"""What is published of the worker processes themselves.

Of several by whoever makes the one page of them all (:mod:`foretoken.workers.member`); of
one alone by :class:`OneWorkerCollector`, so that the same names are always there.
"""

from collections.abc import Iterator, Sequence

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


def worker_families(
    *,
    up: Sequence[bool],
    leads: Sequence[bool],
    restarts: Sequence[int],
    connections: Sequence[int] = (),
) -> Iterator[Metric]:
    """Give the families; every sequence is by worker.

    Args:
        up: Whether its numbers are in the page.
        leads: Whether it scrapes and trains.
        restarts: How often it was started again.
        connections: How many clients it has, empty where nobody counts them.
    """
    gauges = (
        ("foretoken_worker_up", "Whether the worker's numbers are in this page.", up),
        ("foretoken_worker_leads", "Whether it scrapes and trains for all.", leads),
        ("foretoken_worker_connections", "Connections of clients.", connections),
    )
    for name, text, values in gauges:
        gauge = GaugeMetricFamily(name, text, labels=["worker"])
        for worker, value in enumerate(values):
            gauge.add_metric([str(worker)], float(value))
        yield gauge
    counter = CounterMetricFamily(
        "foretoken_worker_restarts", "Times it died and was started again.", labels=["worker"]
    )
    for worker, count in enumerate(restarts):
        counter.add_metric([str(worker)], count)
    yield counter


class OneWorkerCollector(Collector):
    """Publish the one worker there is: it is up, it leads, and nobody would restart it."""

    def collect(self) -> Iterator[Metric]:
        """Give the families."""
        yield from worker_families(up=[True], leads=[True], restarts=[0])
