"""``foretoken predictor``: the predictor's API without a proxy, until SIGTERM.

Ready at once, from the stored version or from physics alone; learns what it is told;
its trainer publishes as that of ``serve`` does.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from functools import partial

from foretoken.background import Job, in_own_thread, supervised
from foretoken.model_updates import ModelUpdates
from foretoken.predictor_host import PredictorHost
from foretoken.stores import stored_fleets
from foretoken.trainer import Trainer
from foretoken.trainer_protocol import Report
from models_store import ModelsStore
from proxy import ProxyMetrics


class PredictorService:
    """Hold the predictor's parts and run what goes on between calls.

    Constructed by :func:`foretoken.build.build_predictor` only.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        host: PredictorHost,
        models: ModelUpdates,
        store: ModelsStore,
        metrics: ProxyMetrics,
        trainer: Trainer | None,
        scratch: AbstractContextManager[object],
    ) -> None:
        self.host = host
        self.models = models
        self.trainer = trainer
        self._clock = clock
        self._store = store
        self._metrics = metrics
        self._scratch = scratch

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start from what is stored; run the background tasks until the context ends."""
        with ExitStack() as stack:
            stack.enter_context(self._scratch)
            self.host.adopt_stored(await in_own_thread(partial(stored_fleets, self._store)))
            async with supervised(self._jobs(), self._metrics.background_failed):
                yield

    def on_report(self, report: Report) -> None:
        """Take in a training report, and the version it may have published."""
        self.models.trained(report, self._clock())

    def _jobs(self) -> list[Job]:
        jobs: list[Job] = [
            ("learner", self.host.learner.run),
            ("models", partial(self.models.run, self._dropped)),
        ]
        if self.trainer is not None:
            jobs.append(("trainer", self.trainer.run))
        return jobs

    def _dropped(self) -> tuple[int, int]:
        return 0, 0 if self.trainer is None else self.trainer.dropped
