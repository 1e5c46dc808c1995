"""Follow the KV events of all endpoints that publish any, one task each.

Endpoints come and go with the configuration. A subscriber that fails starts again after a
moment, its endpoint known approximately until then; the others go on. Called by ``build``,
which runs :meth:`KvEventFeeds.run` for the life of the process.
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import Final

import zmq.asyncio

from collectors.kv_events.subscriber import FeedCounts, KvEventListener, Subscriber
from collectors.settings import EndpointSettings, KvEventSettings

logger = logging.getLogger(__name__)

RESTART_S: Final = 1.0


class KvEventFeeds:
    """Run a subscriber per endpoint that has a source configured.

    Args:
        endpoints: Those known at start.
        settings: How they are followed.
        listener: Takes in what is announced.
        counts: Told of it.
    """

    def __init__(
        self,
        endpoints: Iterable[EndpointSettings],
        settings: KvEventSettings,
        *,
        listener: KvEventListener,
        counts: FeedCounts,
    ) -> None:
        self._settings = settings
        self._listener = listener
        self._counts = counts
        self._wanted: dict[str, EndpointSettings] = {one.name: one for one in endpoints}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._context: zmq.asyncio.Context | None = None

    async def run(self) -> None:
        """Follow all until cancelled."""
        with zmq.asyncio.Context() as context:
            self._context = context
            try:
                for endpoint in self._wanted.values():
                    self._start(endpoint)
                await asyncio.Event().wait()
            finally:
                tasks = tuple(self._tasks.values())
                self._tasks.clear()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                self._context = None

    def add(self, endpoint: EndpointSettings) -> None:
        """Follow another endpoint; one of that name is replaced where its source differs."""
        before = self._wanted.get(endpoint.name)
        self._wanted[endpoint.name] = endpoint
        if before is None or before.kv_events != endpoint.kv_events:
            self._stop(endpoint.name)
            self._start(endpoint)

    def remove(self, name: str) -> None:
        """Follow an endpoint no longer."""
        self._wanted.pop(name, None)
        self._stop(name)

    def _start(self, endpoint: EndpointSettings) -> None:
        if endpoint.kv_events is None or self._context is None:
            return
        subscriber = Subscriber(
            endpoint.name,
            endpoint.kv_events,
            self._settings,
            context=self._context,
            listener=self._listener,
            counts=self._counts,
        )
        self._tasks[endpoint.name] = asyncio.create_task(self._follow(endpoint.name, subscriber))

    def _stop(self, name: str) -> None:
        task = self._tasks.pop(name, None)
        if task is not None:
            task.cancel()
            self._listener.lose(name)

    async def _follow(self, name: str, subscriber: Subscriber) -> None:
        while True:
            try:
                await subscriber.run()
            except Exception:  # one endpoint's task: it starts again in sight
                logger.exception("kv_events_failed", extra={"endpoint": name})
                self._counts.lost(name, "failed")
            self._listener.lose(name)
            await asyncio.sleep(RESTART_S)
