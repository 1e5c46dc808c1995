"""Whether objectives were met, and what was left of them, by tier.

A request is judged by its own objective, completed by its tier's. One that was refused or
failed missed it; one whose client went, or that this router's end broke off, is not judged.
Called by :class:`proxy.metrics.ProxyMetrics`, once a request.
"""

from collections.abc import Iterator

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from predictor.types import Objective, RequestRecord
from proxy.request_metrics import RequestFamilies
from scheduler import SchedulerSettings


class _TierSeries:
    """Hold the series of one tier; both answers are there from the first question on."""

    def __init__(self, families: RequestFamilies, tier: str) -> None:
        self.met = families.slo.labels(tier, "true")
        self.missed = families.slo.labels(tier, "false")
        self.ttft = families.headroom.labels(tier, "ttft")
        self.tpot = families.headroom.labels(tier, "tpot")


class ObjectiveMetrics(Collector):
    """Judge finished requests; publish what is asked of each tier."""

    def __init__(self, families: RequestFamilies, settings: SchedulerSettings) -> None:
        self._families = families
        self._series: dict[str, _TierSeries] = {}
        self.configure(settings)

    def configure(self, settings: SchedulerSettings) -> None:
        """Judge by other tiers from the next finished request on."""
        self._tiers = {name: tier.objective for name, tier in settings.tiers.items()}
        for name, objective in self._tiers.items():
            if objective:
                self._of(name)

    def judge(self, record: RequestRecord, tier: str) -> None:
        """Count whether a request met its objective, or that of its tier."""
        default, wanted = self._tiers.get(tier), record.request.objective
        if default is None or not (default or wanted):
            return
        outcome = record.measurement.outcome
        if outcome in {"client_gone", "shutdown"}:
            return
        series = self._series.get(tier) or self._of(tier)
        if outcome != "completed":
            series.missed.inc()
            return
        ttft_s = default.ttft_s if wanted.ttft_s is None else wanted.ttft_s
        tpot_s = default.tpot_s if wanted.tpot_s is None else wanted.tpot_s
        self._count(series, Objective(ttft_s=ttft_s, tpot_s=tpot_s), record)

    def _count(self, series: _TierSeries, objective: Objective, record: RequestRecord) -> None:
        ttft = _left(objective.ttft_s, record.ttft_s)
        tpot = _left(objective.tpot_s, record.tpot_s)
        if ttft is not None:
            series.ttft.observe(ttft)
        if tpot is not None:
            series.tpot.observe(tpot)
        if (ttft is not None and ttft < 0.0) or (tpot is not None and tpot < 0.0):
            series.missed.inc()
        elif _known(objective.ttft_s, ttft) and _known(objective.tpot_s, tpot):
            series.met.inc()

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
        for tier, objective in self._tiers.items():
            for target, limit_s in (("ttft", objective.ttft_s), ("tpot", objective.tpot_s)):
                if limit_s is not None:
                    asked.add_metric([tier, target], limit_s)
        yield asked


def _left(limit_s: float | None, actual_s: float | None) -> float | None:
    """Give the share of an objective that was left, ``None`` where there is none or no measure.

    >>> _left(2.0, 0.5), _left(0.5, 1.0), _left(None, 1.0)
    (0.75, -1.0, None)
    """
    return None if limit_s is None or actual_s is None else 1.0 - actual_s / limit_s


def _known(limit_s: float | None, left: float | None) -> bool:
    return limit_s is None or left is not None
