"""What is known of one endpoint, as its answers come and fail to come.

Decides up and down: one failure leaves the last numbers standing (their age is a
feature), ``fail_after`` in a row mean down, the first success means up. An endpoint
whose ``/health`` answers but whose ``/metrics`` does not is up with unknown numbers.
No I/O and no clock; the scraper is its one writer.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from collectors.metrics_page import MetricsPage
from collectors.settings import EndpointSettings
from predictor.counters import CounterRates
from predictor.types import EndpointState


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Hold what an endpoint says it serves.

    Attributes:
        bases: Names of its base model, its own first.
        others: Names of adapters.
        max_model_len: Tokens that prompt and output may have together.
        root: What the base model was loaded from.
        version: Of the server software.
    """

    bases: Sequence[str] = ()
    others: Sequence[str] = ()
    max_model_len: int | None = None
    root: str | None = None
    version: str | None = None


class EndpointView:
    """Turn answers into the current :class:`EndpointState` of one endpoint.

    Args:
        settings: The endpoint.
        fail_after: Failures in a row until it counts as down.

    Attributes:
        state: The latest snapshot.
        api_key: What it is asked with, ``None`` for nothing.
    """

    def __init__(self, settings: EndpointSettings, *, fail_after: int) -> None:
        self.api_key = settings.api_key
        self._settings = settings
        self._fail_after = fail_after
        self._failures = 0  # in a row, of everything
        self._page_failures = 0  # in a row, of the numbers alone
        self._models_due_s = -math.inf
        self._rates = CounterRates()
        self._counters: tuple[float | None, ...] = ()
        self.state = self._configured(EndpointState(endpoint=settings.name, url=settings.url))

    def take_over(self, state: EndpointState) -> None:
        """Go on from what another view of the same server knew."""
        self.state = self._configured(state)

    def scraped(self, page: MetricsPage, now: float) -> None:
        """Take in a page read at ``now``."""
        self._page_failures = 0
        self._show(page, now)
        self._succeeded()

    def healthy(self) -> None:
        """Take in that it answers but gave no page; old numbers are forgotten in time."""
        self._page_failures += 1
        if self._page_failures >= self._fail_after:
            self._show(MetricsPage(), None)
        self._succeeded()

    def failed(self) -> None:
        """Take in that it did not answer."""
        self._failures += 1
        if self._failures >= self._fail_after and self.state.up:
            self.state = replace(self.state, up=False)

    def told_models(self, served: Served, *, again_s: float) -> None:
        """Take in what it serves; ask again at ``again_s``."""
        self._models_due_s = again_s
        model = self._settings.model or next(iter(served.bases), None)
        aliases = tuple(name for name in served.bases if name != model)
        adapters = (*aliases, *(name for name in served.others if name != model))
        self.state = replace(
            self.state,
            model=model,
            adapters=adapters,
            aliases=aliases,
            max_model_len=served.max_model_len,
            root=served.root,
            version=served.version,
        )

    def kept_models(self, *, again_s: float) -> None:
        """Take in that it did not tell its names; ask again at ``again_s``."""
        self._models_due_s = again_s

    def models_due(self, now: float) -> bool:
        """Say whether to ask for its names: it answers, and they are unknown or old."""
        return self.state.up and not self._failures and now >= self._models_due_s

    def drain(self) -> None:
        """Give it no further requests."""
        self.state = replace(self.state, draining=True)

    def resume(self) -> None:
        """Give it requests again."""
        self.state = replace(self.state, draining=False)

    def _configured(self, state: EndpointState) -> EndpointState:
        """Say what the settings say, whatever another view knew."""
        settings = self._settings
        return replace(
            state,
            model=settings.model or state.model,
            hardware=settings.hardware,
            max_batched_tokens=settings.max_batched_tokens,
            max_seqs=settings.max_seqs,
            cpu_kv_tokens=settings.cpu_kv_tokens,
            shared_kv_tokens=settings.shared_kv_tokens,
            role=settings.role,
            priority_class=settings.priority_class,
        )

    def _succeeded(self) -> None:
        self._failures = 0
        if not self.state.up:
            self._models_due_s = -math.inf  # it may have come back with another model
            self.state = replace(self.state, up=True)

    def _show(self, page: MetricsPage, scraped_s: float | None) -> None:
        moved_s, still_since_s = self._watched(page, scraped_s)
        seen = replace(
            self.state,
            running_requests=page.running_requests,
            waiting_requests=page.waiting_requests,
            kv_cache_usage=page.kv_cache_usage,
            kv_capacity_tokens=page.kv_capacity_tokens,
            block_size=page.block_size,
            preemptions_total=page.preemptions_total,
            prefix_hits_total=page.prefix_hits_total,
            prefix_queries_total=page.prefix_queries_total,
            active_adapters=page.active_adapters,
            max_adapters=page.max_adapters,
            scraped_s=scraped_s,
            moved_s=moved_s,
            still_since_s=still_since_s,
        )
        self.state = self._rates.apply(seen)

    def _watched(self, page: MetricsPage, now: float | None) -> tuple[float | None, float | None]:
        """Say when the engine was last seen to get on, and since when it stands still.

        A hung one answers with the same page for ever.
        """
        before, self._counters = self._counters, _counters(page)
        moved_s, still_since_s = self.state.moved_s, self.state.still_since_s
        if now is None or not before or page.generated_tokens_total is None:
            return moved_s, None
        if before != self._counters:
            return now, None
        busy = (page.running_requests or 0.0) > 0.0
        return moved_s, (now if still_since_s is None else still_since_s) if busy else None


def _counters(page: MetricsPage) -> tuple[float | None, ...]:
    """Give what changes with every step of an engine that decodes or prefills."""
    return (
        page.generated_tokens_total,
        page.prefix_queries_total,
        page.preemptions_total,
        page.kv_cache_usage,
    )
