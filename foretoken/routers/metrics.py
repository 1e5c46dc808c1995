"""What is published of the other routers; the names are there where there are none, too.

Read when somebody scrapes us.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from foretoken.routers.counts import FAILURES, FAULTS, Counts

if TYPE_CHECKING:
    from foretoken.routers.outside import Outside

_GAUGES: Final = {
    "foretoken_routers_connected": "Whether this router is connected with the server by which "
    "routers know of each other. Left out, as all of this, where it is to know of none.",
    "foretoken_routers_known": "Other routers heard of within two seconds.",
    "foretoken_routers_heard_age_seconds": "Since the writing of the last thing heard of the "
    "router that has been silent for longest.",
    "foretoken_routers_clock_error_seconds": "How wrong the shared clock can be, at most.",
    "foretoken_routers_training": "Whether this router trains for all that read its models store.",
    "foretoken_routers_store_shared_ratio": "Share of the other routers that read the same "
    "models store.",
}
_COUNTERS: Final = {
    "foretoken_routers_published_frames": ("Frames told to other routers.", "published"),
    "foretoken_routers_published_bytes": ("Bytes of these.", "published_bytes"),
    "foretoken_routers_received_frames": ("Frames of other routers taken in.", "received"),
    "foretoken_routers_received_bytes": ("Bytes of these.", "received_bytes"),
    "foretoken_routers_dropped": (
        "Things that other routers never heard of: not connected, or too many at once.",
        "dropped",
    ),
    "foretoken_routers_unresolved": (
        "Prompts of other routers whose beginning was not known here.",
        "unresolved",
    ),
}


class RoutersCollector(Collector):
    """Publish how this process stands with other routers.

    Args:
        outside: Connects them, ``None`` where there are none.
    """

    def __init__(self, outside: "Outside | None") -> None:
        self._outside = outside

    def collect(self) -> Iterator[Metric]:
        """Give the numbers as they are at this moment."""
        outside = self._outside
        values = {} if outside is None else outside.figures()
        for name, text in _GAUGES.items():
            gauge = GaugeMetricFamily(name, text)
            value = values.get(name)
            if value is not None:
                gauge.add_metric([], value)
            yield gauge
        counts = None if outside is None else outside.exchange.counts
        for name, (text, attribute) in _COUNTERS.items():
            counter = CounterMetricFamily(name, text)
            if counts is not None:
                counter.add_metric([], getattr(counts, attribute))
            yield counter
        yield from _by_reason(counts)


def _by_reason(counts: Counts | None) -> Iterator[Metric]:
    families: tuple[tuple[str, str, tuple[str, ...], Mapping[str, int] | None], ...] = (
        (
            "foretoken_routers_failures",
            "Times the connection with the server ended or could not be made.",
            FAILURES,
            None if counts is None else {str(why): n for why, n in counts.failures.items()},
        ),
        (
            "foretoken_routers_ignored",
            "Messages that were none of ours and changed nothing.",
            FAULTS,
            None if counts is None else {str(why): n for why, n in counts.ignored.items()},
        ),
    )
    for name, text, reasons, found in families:
        counter = CounterMetricFamily(name, text, labels=["reason"])
        if found is not None:
            for reason in reasons:
                counter.add_metric([reason], found.get(reason, 0))
        yield counter
