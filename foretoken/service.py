"""The running service: what happens in the background, and in which order it starts.

Serving a request needs none of it to be alive: a scraper that fails makes states old, a
dead trainer keeps the model, a full disk drops traces. Each background task is
supervised: it logs, counts and starts again.
"""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from functools import partial
from pathlib import Path
from typing import Protocol

from collectors import EndpointSettings, TraceRecorder
from collectors.in_step import in_step
from foretoken.background import Job, supervised
from foretoken.errors import ForetokenError
from foretoken.learner import Learner
from foretoken.log_lines import LogLines
from foretoken.model_updates import ModelUpdates
from foretoken.settings import ConfigFile, Settings, changed_paths
from foretoken.trainer import Trainer
from foretoken.trainer_protocol import Report
from foretoken.watched import Watched
from predictor.types import EndpointState, RequestRecord
from proxy import (
    Access,
    CacheMetrics,
    Guard,
    History,
    KeysUnusable,
    ProxyMetrics,
    StallWatch,
    Upstream,
    read_keys,
)
from proxy.control import ReloadRefused
from scheduler import Scheduler

log = logging.getLogger(__name__)

CONFIGURATION_S = 1.0
FIRST_LOOK_S = 3.0
"""Longest that the first requests wait for the first look at all endpoints: one that does not
answer takes scrape.timeout_s, 2 s."""
# Settings that can change without a restart; everything else is refused on reload.
RELOADABLE = ("endpoints", "scheduler.")


class DataPath(Protocol):
    """Serve inference requests: the proxy's relay, or Envoy's picker."""

    def tick(self) -> None:
        """Let waiting requests go that can."""
        ...

    @property
    def live_requests(self) -> int:
        """Count requests that have not ended."""
        ...


class OnDrain(Protocol):
    """Take in that somebody here wants an endpoint drained, or no longer."""

    def __call__(self, endpoint: str, *, draining: bool) -> None:
        """Let other routers know."""
        ...


class Service:
    """Hold the long-lived parts and run what goes on between requests.

    Constructed by :func:`foretoken.build.build` only.

    Attributes:
        settings: In force.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        config: ConfigFile | None,
        clock: Callable[[], float],
        scheduler: Scheduler,
        relay: DataPath,
        entrance: AbstractAsyncContextManager[object],
        upstream: Upstream,
        access: Access,
        guard: Guard | None,
        stalls: StallWatch | None,
        watched: Watched,
        found: Callable[[str, Sequence[EndpointSettings]], None] | None = None,
        metrics: ProxyMetrics,
        cache_metrics: CacheMetrics,
        models: ModelUpdates,
        learner: Learner,
        history: History,
        trainer: Trainer | None,
        recorder: TraceRecorder | None,
        log_lines: LogLines | None,
        exporting: AbstractAsyncContextManager[None],
        scratch: AbstractContextManager[object],
        arrange: Callable[[Sequence[Job]], list[Job]] = list,
        on_drain: OnDrain,
    ) -> None:
        self.settings = settings
        self.access = access
        self.clock = clock
        self.scheduler = scheduler
        self.relay = relay
        self._entrance = entrance
        self.scraper = watched.scraper
        self.models = models
        self.history = history
        self.trainer = trainer
        self.recorder = recorder
        self._log_lines = log_lines
        self._learner = learner
        self._config = config
        self._upstream = upstream
        self.guard = guard
        self._stalls = stalls
        self._scrape_client = watched.client
        self._feeds = watched.feeds
        self.membership = watched.membership
        self._sources = watched.sources
        self._found = found or watched.membership.found
        self._metrics = metrics
        self._cache_metrics = cache_metrics
        self._exporting = exporting
        self._scratch = scratch
        self._arrange = arrange
        self.on_drain = on_drain

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the background tasks; on leaving, end them and flush the recorder."""
        async with AsyncExitStack() as stack:
            stack.enter_context(self._scratch)
            await stack.enter_async_context(self._exporting)  # left last: all requests are over
            await stack.enter_async_context(self._upstream)
            self.membership.begin()
            await stack.enter_async_context(self._scrape_client)
            if self.recorder is not None:
                stack.push_async_callback(self.recorder.close)
            arranged = self._arrange(self._jobs())
            for name, _ in arranged:
                self._metrics.background_task(name)
            jobs = supervised(arranged, self._metrics.background_failed)
            await stack.enter_async_context(jobs)
            await stack.enter_async_context(self._entrance)  # left first: requests still run
            with suppress(TimeoutError):  # until then, that none is up says nothing
                await asyncio.wait_for(self.scraper.looked.wait(), FIRST_LOOK_S)
            with _on_hangup(self.reload_and_log):
                yield

    def on_states(self, states: tuple[EndpointState, ...]) -> None:
        """Take in a new set of endpoint states; requests that wait may now go."""
        before = self.scheduler.states
        self.scheduler.update(states)
        for state in states:
            known = before.get(state.endpoint)
            was_up = known is not None and known.up
            if state.up != was_up:
                self._tell(state)
            if was_up and not state.up:
                self._upstream.give_up_silent(state.url)
        for endpoint in before.keys() - self.scheduler.states.keys():
            log.info("endpoint_removed", extra={"endpoint": endpoint})
            self._metrics.scrapes.forget(endpoint)
            self._cache_metrics.forget(endpoint)
        self._tell_changes()
        self.relay.tick()

    def on_record(self, record: RequestRecord) -> None:
        """Hand a finished request to whoever learns from it."""
        if self.recorder is not None:
            self.recorder.record(record)
        if self.trainer is not None and record.observation is not None:
            self.trainer.feed(record.observation)

    def on_report(self, report: Report) -> None:
        """Take in a training report, and the version it may have published."""
        self.models.trained(report, self.clock())

    def reload(self) -> Sequence[str]:
        """Read the configuration again and apply what changed.

        Returns:
            Paths of the settings that changed.

        Raises:
            ConfigurationInvalid: It is invalid; the old one stays in force.
            ReloadRefused: It changes what needs a restart, or there is no file.
        """
        if self._config is None:
            raise ReloadRefused("started without a configuration file")
        wanted = self._config.load()
        if not (wanted.endpoints or wanted.discovery):
            raise ReloadRefused("names no endpoint")
        changed = changed_paths(self.settings, wanted)
        fixed = [path for path in changed if not path.startswith(RELOADABLE)]
        if fixed:
            raise ReloadRefused(f"needs a restart: {', '.join(fixed)}")
        if self.settings.endpoints != wanted.endpoints:
            self.membership.listed(wanted.endpoints)
        self.apply(wanted)
        return changed

    def apply(self, wanted: Settings) -> None:
        """Take the scheduler's settings into force."""
        if self.settings.scheduler != wanted.scheduler:
            self.scheduler.configure(wanted.scheduler)
            self._metrics.configure(wanted.scheduler)
        self.settings = wanted

    def _tell(self, state: EndpointState) -> None:
        level, event = (
            (logging.INFO, "endpoint_up") if state.up else (logging.WARNING, "endpoint_down")
        )
        log.log(level, event, extra={"endpoint": state.endpoint, "model": state.model})

    def _tell_changes(self) -> None:
        """Log what has come to decide since the last scrape, and why."""
        for model, fleet in self.scheduler.fleets.items():
            for change in fleet.trust.take_changes():
                fields = {"model": model, "ladder_level": change.level, "reason": change.reason}
                if change.reason in {"prediction_failed", "scores_unusable"}:
                    fields["problem"] = str(fleet.trust.problem)
                log.info("level_changed", extra={**fields, "before": change.before})

    def _jobs(self) -> list[Job]:
        jobs: list[Job] = [
            ("scraper", self.scraper.run),
            ("models", partial(self.models.run, self._dropped)),
            ("learner", self._learner.run),
            ("kv_events", self._feeds.run),
            ("membership", self.membership.run),
        ]
        for name, source in self._sources.items():
            jobs.append(("discovery", partial(source.run, partial(self._found, name))))
        if self._stalls is not None:
            jobs.append(("stalls", self._stalls.run))
        if self.trainer is not None:
            jobs.append(("trainer", self.trainer.run))
        if self.recorder is not None:
            jobs.append(("recorder", self.recorder.run))
        if self._log_lines is not None:
            jobs.append(("log", partial(self._log_lines.run, in_step)))
        if self._config is not None:
            watch = partial(_watch, self._config.path, self.reload_and_log)
            jobs.append(("configuration", watch))
        keys_file = self.settings.proxy.access.keys_file
        if keys_file is not None:
            jobs.append(("keys", partial(_watch, keys_file, self._reread_keys)))
        return jobs

    def _dropped(self) -> tuple[int, int]:
        return (
            0 if self.recorder is None else self.recorder.counts.missing_rows,
            0 if self.trainer is None else self.trainer.dropped,
        )

    def _reread_keys(self) -> None:
        access = self.settings.proxy.access
        try:
            self.access.ring = read_keys(access.keys_file, access.environment)
        except KeysUnusable as error:
            log.error("keys_not_reloaded", extra={"problem": str(error)})
        else:
            log.info("keys_reloaded", extra={"keys": len(self.access.ring)})

    def reload_and_log(self) -> None:
        """Read the configuration again; what is wrong with it is logged."""
        try:
            log.info("configuration_reloaded", extra={"changed": ", ".join(self.reload())})
        except (ReloadRefused, ForetokenError) as error:
            log.error("configuration_not_reloaded", extra={"problem": str(error)})


@contextmanager
def _on_hangup(callback: Callable[[], None]) -> Iterator[None]:
    """Call back on SIGHUP, where the platform and the thread allow it."""
    loop = asyncio.get_running_loop()
    with suppress(NotImplementedError, RuntimeError, ValueError):
        loop.add_signal_handler(signal.SIGHUP, callback)
    try:
        yield
    finally:
        with suppress(NotImplementedError, RuntimeError, ValueError):
            loop.remove_signal_handler(signal.SIGHUP)


async def _watch(path: Path, changed: Callable[[], None]) -> None:
    """Call back whenever a file has changed."""
    seen = await asyncio.to_thread(_changed_at, path)
    while True:
        await in_step(CONFIGURATION_S)
        at = await asyncio.to_thread(_changed_at, path)
        if at is not None and at != seen:
            seen = at
            changed()


def _changed_at(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:  # an editor replaces the file: it is back in a moment
        return None
