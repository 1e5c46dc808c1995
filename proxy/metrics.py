"""What requests are counted in; with :mod:`proxy.fleet_metrics`, all that is published.

Names are ``foretoken_<noun>_<unit>``; labels come from small closed sets. Observed and
predicted quantities share a stem, buckets and meaning: seconds from receipt, as the
client feels them. What a finished request tells is counted once, from its record, in
plain numbers (:mod:`proxy.tallies`). Called by the relay; constructed by ``build``.
"""

from typing import Final

from prometheus_client import CollectorRegistry

from predictor.types import Decision, Objective, RequestRecord
from proxy.counts import Count
from proxy.fleet_metrics import ModelMetrics, ScrapeMetrics
from proxy.tallies import Counters, Histograms
from scheduler import FALLBACK_REASONS, SchedulerSettings, ShedReason

# 1 ms to 10 min, about three per factor of ten: prefills differ by that much.
TTFT_BUCKETS: Final[tuple[float, ...]] = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75),
    *(1.0, 1.5, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 600.0),
)
# 0.5 ms to 2 s: from a small model on a fast accelerator to one on a processor.
TPOT_BUCKETS: Final[tuple[float, ...]] = (
    *(0.0005, 0.001, 0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.03),
    *(0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0),
)
# One look at the queue to the longest a tier may wait.
WAIT_BUCKETS: Final[tuple[float, ...]] = (
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
)
E2E_BUCKETS: Final[tuple[float, ...]] = (
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
    *(20.0, 40.0, 80.0, 160.0, 300.0, 600.0, 1800.0),
)
# (predicted - actual) / actual: -1 is "at once", +1 twice too long.
ERROR_BUCKETS: Final[tuple[float, ...]] = (
    -0.75,
    -0.5,
    -0.35,
    -0.2,
    -0.1,
    -0.05,
    0.0,
    0.05,
    0.1,
    0.2,
    0.35,
    0.5,
    1,
    2,
    5,
)
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
        self.configure(settings)
        self._fleets: dict[tuple[str, str], _FleetSeries] = {}
        self._families = _Families(registry)
        self._ended: dict[tuple[str, str, str], Count] = {}
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

    def configure(self, settings: SchedulerSettings) -> None:
        """Judge by other tiers from the next finished request on."""
        self._tiers = {name: tier.objective for name, tier in settings.tiers.items()}
        self._default_tier = settings.default_tier

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
        outcome = record.measurement.outcome
        self._count_ended(model, outcome, reason)
        key = (model, policy)
        fleet = self._fleets.get(key)
        if fleet is None:
            fleet = self._fleets[key] = _FleetSeries(self._families, model, policy)
        fleet.observe(record)
        if reason in FALLBACK_REASONS:
            self._families.fallbacks.labels(reason).inc()
        if decision is not None and decision.shadow_policy is not None:
            self._compare(model, decision, decision.shadow_policy)
        if record.waited_for is not None:
            self._families.waited.labels(record.waited_for).observe(record.queued_s)
        if record.attempts > 1:
            self._families.retries.inc(record.attempts - 1)
        self._judge(record)

    def _count_ended(self, model: str, outcome: str, reason: str) -> None:
        key = (model, outcome, reason)
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

    def _judge(self, record: RequestRecord) -> None:
        """Count whether a request met its objective, or that of its tier."""
        tier = record.request.tier or self._default_tier
        default, wanted = self._tiers.get(tier), record.request.objective
        if default is None or not (default or wanted):
            return
        if record.measurement.outcome in {"client_gone", "shutdown"}:
            return
        ttft_s = default.ttft_s if wanted.ttft_s is None else wanted.ttft_s
        tpot_s = default.tpot_s if wanted.tpot_s is None else wanted.tpot_s
        met = _is_met(Objective(ttft_s=ttft_s, tpot_s=tpot_s), record)
        if met is not None:
            self._families.slo.labels(tier, "true" if met else "false").inc()


def _is_met(objective: Objective, record: RequestRecord) -> bool | None:
    """Tell whether a request met an objective; ``None`` where that was not measured."""
    if record.measurement.outcome != "completed":
        return False
    met = True
    for limit_s, actual_s in ((objective.ttft_s, record.ttft_s), (objective.tpot_s, record.tpot_s)):
        if limit_s is not None:
            if actual_s is None:
                return None
            met = met and actual_s <= limit_s
    return met


class _Families:
    """Declare what requests are counted in."""

    def __init__(self, registry: CollectorRegistry) -> None:
        by_policy = ["model_name", "policy"]

        def histogram(
            name: str, text: str, labels: list[str], buckets: tuple[float, ...]
        ) -> Histograms:
            return Histograms(name, text, labels, buckets=buckets, registry=registry)

        def counter(name: str, text: str, labels: list[str]) -> Counters:
            return Counters(name, text, labels, registry=registry)

        self.ttft = histogram(
            "foretoken_request_ttft_seconds", "Receipt to first token.", by_policy, TTFT_BUCKETS
        )
        self.predicted_ttft = histogram(
            "foretoken_request_predicted_ttft_seconds",
            "Receipt to first token as predicted at dispatch.",
            by_policy,
            TTFT_BUCKETS,
        )
        self.tpot = histogram(
            "foretoken_request_tpot_seconds", "Mean gap of output tokens.", by_policy, TPOT_BUCKETS
        )
        self.predicted_tpot = histogram(
            "foretoken_request_predicted_tpot_seconds",
            "Mean gap of output tokens as predicted at dispatch.",
            by_policy,
            TPOT_BUCKETS,
        )
        self.e2e = histogram(
            "foretoken_request_e2e_seconds", "Receipt to the end.", by_policy, E2E_BUCKETS
        )
        self.error = histogram(
            "foretoken_request_prediction_error_ratio",
            "(predicted - actual) / actual, of requests for which both are known.",
            ["model_name", "target"],
            ERROR_BUCKETS,
        )
        self.requests = counter(
            "foretoken_requests", "Requests ended.", ["model_name", "outcome", "reason"]
        )
        self.fallbacks = counter(
            "foretoken_fallback_decisions",
            "Decisions the fallback took because the predictor could not or must not.",
            ["reason"],
        )
        shadow = [*by_policy, "shadow_policy"]
        self.shadowed = counter(
            "foretoken_shadow_decisions",
            "Decisions that another policy was scored beside, by whether it picked the same.",
            [*shadow, "same"],
        )
        self.chosen_s = counter(
            "foretoken_decision_predicted_e2e_seconds",
            "Expected dispatch to last token where requests went, of those scored in shadow.",
            shadow,
        )
        self.shadow_s = counter(
            "foretoken_shadow_predicted_e2e_seconds",
            "The same where the policy in shadow would have sent them.",
            shadow,
        )
        self.waited = histogram(
            "foretoken_queue_wait_seconds",
            "Time in our own queue, of requests that waited there, by why they last did.",
            ["reason"],
            WAIT_BUCKETS,
        )
        self.retries = counter(
            "foretoken_retries", "Dispatches beyond a request's first.", []
        ).labels()
        self.matched = counter(
            "foretoken_prefix_matched_tokens",
            "Prompt tokens believed to be cached where the request went.",
            ["model_name"],
        )
        self.cached = counter(
            "foretoken_prefix_cached_tokens", "Prompt tokens reported as cached.", ["model_name"]
        )
        self.prompt = counter("foretoken_prompt_tokens", "Prompt tokens.", ["model_name"])
        self.output = counter("foretoken_output_tokens", "Output tokens.", ["model_name"])
        self.slo = counter(
            "foretoken_slo_requests", "Requests that had an objective.", ["tier", "met"]
        )


class _FleetSeries:
    """Hold the series of one model and policy, so that a request looks up nothing."""

    def __init__(self, families: _Families, model: str, policy: str) -> None:
        self._ttft = families.ttft.labels(model, policy)
        self._predicted_ttft = families.predicted_ttft.labels(model, policy)
        self._tpot = families.tpot.labels(model, policy)
        self._predicted_tpot = families.predicted_tpot.labels(model, policy)
        self._e2e = families.e2e.labels(model, policy)
        self._ttft_error = families.error.labels(model, "ttft")
        self._tpot_error = families.error.labels(model, "tpot")
        self._matched = families.matched.labels(model)
        self._cached = families.cached.labels(model)
        self._prompt = families.prompt.labels(model)
        self._output = families.output.labels(model)

    def observe(self, record: RequestRecord) -> None:
        """Take in one finished request."""
        if record.measurement.outcome == "completed":
            if record.ttft_s is not None:
                self._ttft.observe(record.ttft_s)
            if record.tpot_s is not None:
                self._tpot.observe(record.tpot_s)
            if record.e2e_s is not None:
                self._e2e.observe(record.e2e_s)
        self._observe_predicted(record)
        self._count_tokens(record)

    def _observe_predicted(self, record: RequestRecord) -> None:
        decision = record.decision
        if decision is None or decision.predictions is None:
            return
        ttft_s = decision.predictions.ttft_s.item(decision.chosen)
        tpot_s = decision.predictions.tpot_s.item(decision.chosen)
        self._predicted_ttft.observe(ttft_s + decision.decided_s - record.request.arrived_s)
        self._predicted_tpot.observe(tpot_s)
        if record.upstream_ttft_s:
            self._ttft_error.observe(ttft_s / record.upstream_ttft_s - 1)
        if record.tpot_s:
            self._tpot_error.observe(tpot_s / record.tpot_s - 1)

    def _count_tokens(self, record: RequestRecord) -> None:
        measured, decision = record.measurement, record.decision
        if decision is not None and record.endpoint is not None:
            self._matched.inc(decision.matched_tokens.item(decision.chosen))
        if measured.prompt_tokens:
            self._prompt.inc(measured.prompt_tokens)
        if measured.cached_tokens:
            self._cached.inc(measured.cached_tokens)
        if measured.output_tokens:
            self._output.inc(measured.output_tokens)
