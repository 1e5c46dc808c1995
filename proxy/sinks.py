"""Whoever takes the records of ended requests, and how they are told.

Invariant: what one of them raises is logged and keeps a record from no other. Called by
the relay and, for requests that are answered without it, by the guard.
"""

import logging
from collections.abc import Callable, Iterable

from predictor.types import RequestRecord

logger = logging.getLogger(__name__)

Sink = Callable[[RequestRecord], None]


def tell(sinks: Iterable[Sink], record: RequestRecord) -> None:
    """Give a record to every sink."""
    for sink in sinks:
        _tell(sink, record)


def _tell(sink: Sink, record: RequestRecord) -> None:
    try:
        sink(record)
    except Exception:  # the boundary of one sink: the others, and the request, are not its own
        logger.exception("sink_failed", extra={"request_id": record.request.request_id})
