"""From finished requests to a collector: a bounded queue and a thread.

The event loop only hands records over. The thread turns them into spans and sends them,
some at a time; whatever the collector does, it holds up nobody: records that find the queue
full are dropped and counted, and so are those that could not be sent. Made by
:mod:`foretoken.tracing`.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, Protocol

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from predictor.types import RequestRecord
from proxy.trace_metrics import TraceCounts
from proxy.tracing.spans import spans_of

logger = logging.getLogger(__name__)

BATCH: Final = 256
"""Requests sent at a time: about a thousand spans, 0.5 MB."""

INTERVAL_S: Final = 1.0
"""Longest that a finished request waits for others to be sent with."""

LAST_WORDS_S: Final = 2.0
"""How long the end of the service waits for what is left to be sent."""


class Exporter(Protocol):
    """Send spans; of the SDK's exporters, what is used here."""

    def export(self, spans: Sequence[ReadableSpan], /) -> SpanExportResult:
        """Send them, and wait until they are there or lost."""
        ...

    def shutdown(self) -> None:
        """Let go of a batch that is being sent again."""
        ...


class SpanExport:
    """Send the spans of finished requests.

    Args:
        exporter: Reaches the collector.
        resource: Who we are.
        most_waiting: Requests kept while the collector is slow.
        counts: Says what became of them.
    """

    def __init__(
        self, exporter: Exporter, resource: Resource, *, most_waiting: int, counts: TraceCounts
    ) -> None:
        self._exporter = exporter
        self._resource = resource
        self._most_waiting = most_waiting
        self._counts = counts
        self._waiting: deque[RequestRecord] = deque()
        self._wake = threading.Event()
        self._closing = False
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="span-export", daemon=True)

    def add(self, record: RequestRecord) -> None:
        """Take a finished request; a sink."""
        trace = record.request.trace
        if trace is None or not trace.sampled:
            return
        waiting = self._waiting
        if len(waiting) >= self._most_waiting:
            self._counts.dropped += 1
            return
        waiting.append(record)
        if len(waiting) == BATCH:
            self._wake.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send in the background; on leaving, send what is left, if that is soon done."""
        self._thread.start()
        try:
            yield
        finally:
            await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._closing = True
        self._wake.set()
        self._thread.join(LAST_WORDS_S)
        self._exporter.shutdown()  # ends a wait for another try
        self._thread.join(LAST_WORDS_S)

    def _run(self) -> None:
        while not self._closing:
            self._wake.wait(INTERVAL_S)
            self._wake.clear()
            while self._waiting:
                self._send([self._waiting.popleft() for _ in range(self._ready())])

    def _ready(self) -> int:
        return min(BATCH, len(self._waiting))

    def _send(self, records: Sequence[RequestRecord]) -> None:
        try:
            spans = [span for record in records for span in spans_of(record, self._resource)]
            sent = self._exporter.export(spans) is SpanExportResult.SUCCESS
        except Exception:  # the boundary of this thread: it goes on with the next ones
            logger.exception("span_export_failed")
            sent = False
        if sent:
            self._counts.exported += len(records)
        else:
            self._counts.failed += len(records)
        self._tell(failing=not sent)

    def _tell(self, *, failing: bool) -> None:
        """Log when spans begin to be lost, and when they come through again."""
        if failing == self._failing:
            return
        self._failing = failing
        if failing:
            logger.warning("spans_not_exported", extra={"lost_requests": self._counts.lost})
        else:
            logger.info("spans_exported_again", extra={"lost_requests": self._counts.lost})
