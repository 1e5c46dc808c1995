"""Read every endpoint's ``/metrics``, health and model names, over and over.

Decides when to ask what; :mod:`collectors.endpoint` decides what the answers mean.
Invariants: one task per endpoint, started a few together, as the second costs a fraction of
the first, and the others apart, so that answers do not come in bursts;
no failure of one endpoint, nor a bug here, stops the others; whoever listens gets
immutable snapshots of all endpoints whenever one of them changed. Called by
``build``, which runs :meth:`Scraper.run` for the life of the process.
"""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Final, Protocol

import httpx

from collectors.deadline import within
from collectors.endpoint import EndpointView, Served
from collectors.errors import ScrapeFailed, ScrapeFailure, UnknownEndpoint
from collectors.in_step import in_step
from collectors.metrics_page import parse_metrics
from collectors.model_cards import cards_of, version_of
from collectors.settings import EndpointSettings, ScrapeSettings
from predictor.types import EndpointState

logger = logging.getLogger(__name__)

_IDLE_S: Final = 3.0  # uvicorn, which vLLM runs on, closes idle connections after 5 s
_GOLDEN_RATIO: Final = 0.618034  # its multiples modulo 1 spread evenly, however many there are
_TOGETHER: Final = 4  # endpoints read in one waking: it lasts half a millisecond


class ScrapeCounts(Protocol):
    """Count what the scraper does; the proxy turns it into metrics."""

    def scraped(self, endpoint: str, seconds: float) -> None:
        """Take in a page read, and how long that took."""
        ...

    def failed(self, endpoint: str, reason: ScrapeFailure) -> None:
        """Take in a page that could not be read."""
        ...


class InStep(Protocol):
    """Wait until it is time again; :func:`collectors.in_step.in_step` does."""

    def __call__(
        self, interval_s: float, *, phase_s: float = 0.0, least_s: float = 0.0
    ) -> Awaitable[None]:
        """Wait."""
        ...


class Pages(Protocol):
    """Read metrics pages; :class:`collectors.page_reader.PageReader` does."""

    async def read(self, base_url: str, api_key: str | None = None) -> bytes:
        """Read one endpoint's page, with a key where it wants one.

        Raises:
            ScrapeFailed: There is none, and why.
        """
        ...

    def forget(self, base_url: str) -> None:
        """Close what is kept for an endpoint that is read no more."""
        ...

    def close(self) -> None:
        """Close all that is kept."""
        ...


def open_scrape_client(
    settings: ScrapeSettings, tls: ssl.SSLContext | None = None
) -> httpx.AsyncClient:
    """Open a client for what :class:`Scraper` asks now and then: names, version and health.

    Args:
        settings: How long to wait.
        tls: Whom to believe behind ``https://``; those httpx does where ``None``.
    """
    return httpx.AsyncClient(
        verify=True if tls is None else tls,
        timeout=settings.timeout_s,
        limits=httpx.Limits(max_connections=None, keepalive_expiry=_IDLE_S),
        headers={"accept-encoding": "identity"},
        trust_env=False,
    )


class Scraper:
    """Keep the state of all endpoints current.

    Args:
        endpoints: Those known at start.
        settings: How often and how patiently.
        client: Asks for names and health; whoever opened it closes it.
        pages: Reads the pages; closed when :meth:`run` ends.
        clock: Gives the seconds that ``scraped_s`` is told in.
        on_states: Called in the event loop with all snapshots after each change.
        counts: Told of every scrape.
        in_step: Waits until it is time again; tests pass another.

    Attributes:
        looked: Set once every endpoint known at start was asked, or another scraper told of
            them: before that, none being up says nothing.
    """

    def __init__(
        self,
        endpoints: Iterable[EndpointSettings],
        settings: ScrapeSettings,
        *,
        client: httpx.AsyncClient,
        pages: Pages,
        clock: Callable[[], float],
        on_states: Callable[[tuple[EndpointState, ...]], None],
        counts: ScrapeCounts,
        in_step: InStep = in_step,
    ) -> None:
        self._settings = settings
        self._client = client
        self._pages = pages
        self._clock = clock
        self._on_states = on_states
        self._counts = counts
        self._in_step = in_step
        self._views: dict[str, EndpointView] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._started = 0
        self.looked = asyncio.Event()
        for endpoint in endpoints:
            self._views[endpoint.name] = EndpointView(endpoint, fail_after=settings.fail_after)
        self._unasked = set(self._views)
        self._look()

    @property
    def states(self) -> tuple[EndpointState, ...]:
        """Give the latest snapshot of every endpoint, in the order they were added."""
        return tuple(view.state for view in self._views.values())

    async def run(self) -> None:
        """Scrape until cancelled."""
        self._on_states(self.states)
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                for name in self._views:
                    self._start(name, group)
                await asyncio.Event().wait()
        finally:
            self._group = None
            self._tasks.clear()
            self._pages.close()

    def change(self, *, add: Iterable[EndpointSettings] = (), remove: Iterable[str] = ()) -> None:
        """Forget some endpoints and take in others; one of a name that is known is replaced."""
        remove = tuple(remove)
        for name in remove:
            self._remove(name)
        for endpoint in add:
            self._add(endpoint)
        self._on_states(self.states)
        self._look(*remove)

    def add(self, endpoint: EndpointSettings) -> None:
        """Take in another endpoint; one of that name is replaced."""
        self.change(add=(endpoint,))

    def remove(self, name: str) -> None:
        """Forget an endpoint; an unknown name changes nothing."""
        if name in self._views:
            self.change(remove=(name,))

    def drain(self, name: str) -> None:
        """Give an endpoint no further requests; it is still read.

        Raises:
            UnknownEndpoint: There is none of that name.
        """
        self._view(name).drain()
        self._on_states(self.states)

    def resume(self, name: str) -> None:
        """Give a drained endpoint requests again.

        Raises:
            UnknownEndpoint: There is none of that name.
        """
        self._view(name).resume()
        self._on_states(self.states)

    def adopt(self, states: Iterable[EndpointState]) -> None:
        """Take over what another scraper of the same endpoints knows; drains are our own."""
        for state in states:
            view = self._views.get(state.endpoint)
            if view is not None:
                view.take_over(replace(state, draining=view.state.draining))
        self._on_states(self.states)
        self._look(*self._views)

    async def poll(self, name: str) -> None:
        """Read one endpoint once."""
        view = self._view(name)
        before = view.state
        await self._read_page(view)
        if view.models_due(self._clock()):
            await self._read_models(view)
        if view.state != before and self._views.get(name) is view:
            self._on_states(self.states)
        self._look(name)

    def _look(self, *names: str) -> None:
        """Note that no more is to be learned of endpoints for now."""
        self._unasked.difference_update(names)
        if not self._unasked:
            self.looked.set()

    def _view(self, name: str) -> EndpointView:
        try:
            return self._views[name]
        except KeyError as error:
            raise UnknownEndpoint(name) from error

    def _add(self, endpoint: EndpointSettings) -> None:
        self._stop(endpoint.name)
        view = EndpointView(endpoint, fail_after=self._settings.fail_after)
        before = self._views.get(endpoint.name)
        if before is not None and before.state.url == endpoint.url:
            view.take_over(before.state)  # the same server under other settings
        self._views[endpoint.name] = view
        if self._group is not None:
            self._start(endpoint.name, self._group)

    def _remove(self, name: str) -> None:
        self._stop(name)
        view = self._views.pop(name, None)
        if view is not None:
            self._pages.forget(view.state.url)

    def _start(self, name: str, group: asyncio.TaskGroup) -> None:
        share = self._started // _TOGETHER * _GOLDEN_RATIO % 1.0
        self._started += 1
        phase_s = share * self._settings.interval_s
        self._tasks[name] = group.create_task(self._watch(name, phase_s))

    def _stop(self, name: str) -> None:
        task = self._tasks.pop(name, None)
        if task is not None:
            task.cancel()

    async def _watch(self, name: str, phase_s: float) -> None:
        view = self._views[name]
        await asyncio.sleep(phase_s)  # all are known soon after the start
        while True:
            try:
                await self.poll(name)
            except Exception:
                logger.exception("scrape_crashed", extra={"endpoint": name})
                self._counts.failed(name, "crashed")
            settings = self._settings
            interval_s = settings.interval_s if view.state.up else settings.down_interval_s
            # A slow one is not asked without pause.
            await self._in_step(interval_s, phase_s=phase_s, least_s=interval_s / 2)

    async def _read_page(self, view: EndpointView) -> None:
        name, started = view.state.endpoint, self._clock()
        try:
            body = await self._pages.read(view.state.url, view.api_key)
        except ScrapeFailed as error:
            self._counts.failed(name, error.reason)
            answers = error.reason in {"status", "too_large"}
            if answers and await self._try_get(view, "/health") is not None:
                view.healthy()
            else:
                view.failed()
            return
        now = self._clock()
        view.scraped(parse_metrics(body), now)
        self._counts.scraped(name, now - started)

    async def _read_models(self, view: EndpointView) -> None:
        body = await self._try_get(view, "/v1/models")
        cards = None if body is None else cards_of(body)
        if cards is None:
            view.kept_models(again_s=self._clock() + self._settings.down_interval_s)
            return
        bases = [card for card in cards if card.parent is None]
        version = await self._try_get(view, "/version")
        served = Served(
            bases=[card.id for card in bases],
            others=[card.id for card in cards if card.parent is not None],
            max_model_len=next((card.max_model_len for card in bases), None),
            root=next((card.root for card in bases), None),
            version=None if version is None else version_of(version),
        )
        view.told_models(served, again_s=self._clock() + self._settings.models_interval_s)

    async def _try_get(self, view: EndpointView, path: str) -> bytes | None:
        try:
            return await self._get(view, path)
        except ScrapeFailed:
            return None

    async def _get(self, view: EndpointView, path: str) -> bytes:
        url = view.state.url + path
        try:
            return await within(self._settings.timeout_s, lambda: self._ask(url, view.api_key))
        except (TimeoutError, httpx.TimeoutException) as error:
            raise ScrapeFailed(url, "timeout") from error
        except httpx.HTTPError as error:
            raise ScrapeFailed(url, "refused") from error

    async def _ask(self, url: str, key: str | None) -> bytes:
        headers = None if key is None else {"authorization": f"Bearer {key}"}
        async with self._client.stream("GET", url, headers=headers) as response:
            if response.status_code != httpx.codes.OK:
                raise ScrapeFailed(url, "status")
            return await self._read_body(url, response)

    async def _read_body(self, url: str, response: httpx.Response) -> bytes:
        body = bytearray()
        async for part in response.aiter_bytes():
            body += part
            if len(body) > self._settings.max_page_bytes:
                raise ScrapeFailed(url, "too_large")
        return bytes(body)
