"""The metrics page, in the encoding that whoever asks for it understands.

Prometheus' text format for everyone, OpenMetrics for those who name it: that one carries
exemplars, the trace of a request beside the bucket it was counted in. Called by the
application and by whoever makes one page of several workers'.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator
from typing import Final, Literal

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

Encoding = Literal["plain", "openmetrics"]

CONTENT_TYPES: Final[dict[Encoding, bytes]] = {
    "plain": CONTENT_TYPE_PLAIN_0_0_4.encode(),
    "openmetrics": b"application/openmetrics-text; version=1.0.0; charset=utf-8",
}

TURN_S: Final = 0.001
"""Time that is written for at a go: a page of a hundred endpoints takes ten times as long."""

_END: Final = b"# EOF\n"


class _Some(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = tuple(families)

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)


def encoding_of(accept: bytes) -> Encoding:
    """Choose by an ``Accept`` header, empty where there is none.

    >>> encoding_of(b"application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3")
    'openmetrics'
    >>> encoding_of(b"application/openmetrics-text;q=0, */*"), encoding_of(b"")
    ('plain', 'plain')
    """
    for media in accept.lower().split(b","):
        kind, *parameters = [part.strip() for part in media.split(b";")]
        refused = any(parameter in {b"q=0", b"q=0.0"} for parameter in parameters)
        if kind == b"application/openmetrics-text" and not refused:
            return "openmetrics"
    return "plain"


async def page_of(registry: CollectorRegistry, encoding: Encoding) -> bytes:
    """Write down all that is registered, a few milliseconds at a time: tokens go first."""
    parts, began_s = list[bytes](), time.perf_counter()
    for family in registry.collect():
        parts.append(page_with([family], encoding).removesuffix(_END))
        if time.perf_counter() - began_s > TURN_S:
            await asyncio.sleep(0)
            began_s = time.perf_counter()
    if encoding == "openmetrics":
        parts.append(_END)
    return b"".join(parts)


def page_with(families: Iterable[Metric], encoding: Encoding) -> bytes:
    """Write down some families."""
    some = _Some(families)
    if encoding == "openmetrics":
        # prometheus-client ships no types for it
        page: bytes = openmetrics.generate_latest(some)  # type: ignore[no-untyped-call]
        return page
    return generate_latest(some)
