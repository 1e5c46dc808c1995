"""Whether objectives were met, and what was left of them, by tier.

A request is judged by its own objective, completed by its tier's (:mod:`proxy.attainment`).
Called by :class:`proxy.metrics.ProxyMetrics`, once a request.
"""

from collections.abc import Iterator

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from predictor.types import RequestRecord
from proxy.attainment import is_met
from proxy.counts import Spread
from proxy.request_metrics import RequestFamilies
from scheduler import SchedulerSettings
from scheduler.wishes import objective_of


class _TierSeries:
    """Hold the series of one tier; both answers are there from the first question on."""

    def __init__(self, families: RequestFamilies, tier: str) -> None:
        self.met = families.slo.labels(tier, "true")
        self.missed = families.slo.labels(tier, "false")
        self.ttft = families.headroom.labels(tier, "ttft")
        self.tpot = families.headroom.labels(tier, "tpot")


class ObjectiveMetrics(Collector):
    """Judge finished requests; publish what is asked of each tier.

    Attributes:
        wanting: Tiers whose requests have an objective without one of their own.
    """

    def __init__(self, families: RequestFamilies, settings: SchedulerSettings) -> None:
        self._families = families
        self._series: dict[str, _TierSeries] = {}
        self.wanting: frozenset[str] = frozenset()
        self.configure(settings)

    def configure(self, settings: SchedulerSettings) -> None:
        """Judge by other tiers from the next finished request on."""
        self._tiers = dict(settings.tiers)
        self.wanting = frozenset(name for name, tier in self._tiers.items() if tier.objective)
        for name in sorted(self.wanting):
            self._of(name)

    def judge(self, record: RequestRecord, tier: str) -> None:
        """Count whether a request met its objective, or that of its tier."""
        settings = self._tiers.get(tier)
        if settings is None:
            return
        wanted = objective_of(record.request, settings)
        if not wanted:
            return
        series = self._series.get(tier) or self._of(tier)
        met = is_met(record, wanted)
        if met is not None:
            (series.met if met else series.missed).inc()
        if record.measurement.outcome == "completed":
            _observe_left(series.ttft, wanted.ttft_s, record.ttft_s)
            _observe_left(series.tpot, wanted.tpot_s, record.tpot_s)

    def _of(self, tier: str) -> _TierSeries:
        series = self._series.get(tier)
        if series is None:
            series = self._series[tier] = _TierSeries(self._families, tier)
        return series

    def collect(self) -> Iterator[Metric]:
        """Give what is asked of each tier at this moment."""
        asked = GaugeMetricFamily(
            "foretoken_slo_objective_seconds",
            "The tier's objective, where requests do not bring their own.",
            labels=["tier", "target"],
        )
        for name, tier in self._tiers.items():
            for target, limit_s in (("ttft", tier.ttft_s), ("tpot", tier.tpot_s)):
                if limit_s is not None:
                    asked.add_metric([name, target], limit_s)
        yield asked


def _observe_left(spread: Spread, limit_s: float | None, actual_s: float | None) -> None:
    """Take in the share of an objective that was left, where there is one and a measure.

    >>> spread = Spread((0.0, 1.0))
    >>> _observe_left(spread, 2.0, 0.5)
    >>> _observe_left(spread, None, 1.0)
    >>> spread.counts, spread.total
    ([0, 1, 0], 0.75)
    """
    if limit_s is not None and actual_s is not None:
        spread.observe(1.0 - actual_s / limit_s)
