"""What requests are counted in; with the other ``*_metrics``, all that is published.

Names are ``foretoken_<noun>_<unit>``; labels come from small closed sets. What a finished
request tells is counted once, from its record, in plain numbers (:mod:`proxy.tallies`).
Called by the relay; constructed by ``build``.
"""

from typing import Final, get_args

from prometheus_client import CollectorRegistry

from predictor.types import Decision, RequestRecord
from proxy.counts import Count
from proxy.fleet_metrics import ScrapeMetrics
from proxy.model_metrics import ModelMetrics
from proxy.objective_metrics import ObjectiveMetrics
from proxy.request_metrics import FleetSeries, RequestFamilies
from proxy.tallies import Counters, Histograms
from scheduler import FALLBACK_REASONS, SchedulerSettings, ShedReason, WaitReason

DECISION_BUCKETS: Final[tuple[float, ...]] = (
    2e-5,
    5e-5,
    1e-4,
    2e-4,
    5e-4,
    1e-3,
    2e-3,
    5e-3,
    1e-2,
    5e-2,
)

_NONE: Final = "none"  # label value where a request never had a fleet, a policy, a reason


class ProxyMetrics:
    """Count requests; :meth:`observe` is a sink of finished records.

    Args:
        registry: Where everything is registered.
        settings: The scheduler's: its tiers are the closed set of the ``tier`` label.

    Attributes:
        registry: The same.
        scrapes: Told of every scrape.
        models: What models and their training are published in.
    """

    def __init__(self, registry: CollectorRegistry, settings: SchedulerSettings) -> None:
        self.registry = registry
        self.scrapes = ScrapeMetrics(registry)
        self.models = ModelMetrics(registry)
        self._fleets: dict[tuple[str, str, str], FleetSeries] = {}
        self._families = RequestFamilies(registry)
        self._objectives = ObjectiveMetrics(self._families, settings)
        registry.register(self._objectives)
        self.configure(settings)
        self._ended: dict[tuple[str, str, str, str], Count] = {}
        self._decisions = Histograms(
            "foretoken_decision_seconds",
            "Time to place a request: features, prediction of all candidates, policy.",
            buckets=DECISION_BUCKETS,
            registry=registry,
        ).labels()
        self._rejected = Counters(
            "foretoken_rejected_requests",
            "Requests answered with an error of their own before they were placed.",
            ["reason"],
            registry=registry,
        )
        self._shed = Counters(
            "foretoken_shed_requests",
            "Requests refused by admission or given up while waiting.",
            ["reason"],
            registry=registry,
        )
        self._background_failures = Counters(
            "foretoken_background_failures",
            "Failures of background tasks, which start again.",
            ["task"],
            registry=registry,
        )
        self._begin()

    def _begin(self) -> None:
        """Let every reason there can be have its series: a count that begins at 1 is no growth."""
        for shed in get_args(ShedReason):
            self._shed.labels(shed)
        for waited in get_args(WaitReason):
            self._families.waited.labels(waited)
        for reason in sorted(FALLBACK_REASONS):
            self._families.fallbacks.labels(reason)

    def configure(self, settings: SchedulerSettings) -> None:
        """Judge by other tiers from the next finished request on."""
        self._tiers = frozenset(settings.tiers)
        self._default_tier = settings.default_tier
        self._objectives.configure(settings)

    def background_task(self, task: str) -> None:
        """Take in that there is a background task of this name."""
        self._background_failures.labels(task)

    def background_failed(self, task: str) -> None:
        """Count a failure of a background task."""
        self._background_failures.labels(task).inc()

    def decided(self, seconds: float) -> None:
        """Take in how long it took to place a request."""
        self._decisions.observe(seconds)

    def rejected(self, reason: str) -> None:
        """Count a request that was wrong in itself; ``reason`` is an error code of ours."""
        self._rejected.labels(reason).inc()

    def shed(self, reason: ShedReason) -> None:
        """Count a request that the scheduler refused."""
        self._shed.labels(reason).inc()

    def observe(self, record: RequestRecord) -> None:
        """Take in a finished request."""
        model, decision = record.fleet or _NONE, record.decision
        policy, reason = _NONE, record.answered or _NONE
        if decision is not None:
            policy, reason = decision.policy, decision.reason
        tier = record.request.tier or self._default_tier
        if tier not in self._tiers:  # whoever is answered before it is placed may name any
            tier = _NONE
        self._count_ended(model, record.measurement.outcome, reason, tier)
        key = (model, policy, tier)
        fleet = self._fleets.get(key)
        if fleet is None:
            fleet = self._fleets[key] = FleetSeries(self._families, model, policy, tier)
        fleet.observe(record)
        if reason in FALLBACK_REASONS:
            self._families.fallbacks.labels(reason).inc()
        if decision is not None and decision.shadow_policy is not None:
            self._compare(model, decision, decision.shadow_policy)
        if record.waited_for is not None:
            self._families.waited.labels(record.waited_for).observe(record.queued_s)
        if record.attempts > 1:
            self._families.retries.inc(record.attempts - 1)
        # Judging asks the same, but is not compiled: most requests have no objective.
        if record.request.objective or tier in self._objectives.wanting:
            self._objectives.judge(record, tier)

    def _count_ended(self, model: str, outcome: str, reason: str, tier: str) -> None:
        key = (model, outcome, reason, tier)
        counter = self._ended.get(key)
        if counter is None:
            counter = self._ended[key] = self._families.requests.labels(*key)
        counter.inc()

    def _compare(self, model: str, decision: Decision, shadow: str) -> None:
        """Count what the policy in shadow would have done."""
        labels, families = (model, decision.policy, shadow), self._families
        same = decision.shadow_chosen == decision.chosen
        families.shadowed.labels(*labels, "true" if same else "false").inc()
        if decision.predicted_s is not None and decision.shadow_predicted_s is not None:
            families.chosen_s.labels(*labels).inc(decision.predicted_s)
            families.shadow_s.labels(*labels).inc(decision.shadow_predicted_s)
