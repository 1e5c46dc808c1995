"""What a finished request is counted in: the families, and its fleet's series of them.

Observed and predicted quantities share a stem, buckets and meaning (seconds from receipt,
as the client feels them), and are counted for the same requests, so that their quantiles
can be laid side by side. Called by :class:`proxy.metrics.ProxyMetrics` only, once a
request: everything here is plain numbers (:mod:`proxy.tallies`).
"""

from typing import Final, get_args

from prometheus_client import CollectorRegistry

from predictor.types import LEVELS, Decision, Layer, Predictions, RequestRecord
from proxy.counts import Count, Spread
from proxy.tallies import Counters, Histograms

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
E2E_BUCKETS: Final = (
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
    *(20.0, 40.0, 80.0, 160.0, 300.0, 600.0, 1800.0),
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
# (predicted - actual) / actual: -1 is "at once", +1 twice too long.
ERROR_BUCKETS: Final[tuple[float, ...]] = (
    *(-0.75, -0.5, -0.35, -0.2, -0.1, -0.05, 0.0),
    *(0.05, 0.1, 0.2, 0.35, 0.5, 1.0, 2.0, 5.0),
)
# (objective - actual) / objective: 1 is "at once", 0 just met, -1 twice too long.
HEADROOM_BUCKETS: Final[tuple[float, ...]] = (
    *(-4.0, -2.0, -1.0, -0.5, -0.25, -0.1, 0.0),
    *(0.1, 0.25, 0.5, 0.75, 0.9, 1.0),
)

_TARGETS: Final = ("ttft", "tpot")


class RequestFamilies:
    """Declare what requests are counted in."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        by_policy = ["model_name", "policy", "tier"]
        self.ttft = self._histogram(
            "foretoken_request_ttft_seconds", "Receipt to first token.", by_policy, TTFT_BUCKETS
        )
        self.predicted_ttft = self._histogram(
            "foretoken_request_predicted_ttft_seconds",
            "Receipt to first token as predicted at dispatch.",
            by_policy,
            TTFT_BUCKETS,
        )
        self.tpot = self._histogram(
            "foretoken_request_tpot_seconds", "Mean gap of output tokens.", by_policy, TPOT_BUCKETS
        )
        self.predicted_tpot = self._histogram(
            "foretoken_request_predicted_tpot_seconds",
            "Mean gap of output tokens as predicted at dispatch.",
            by_policy,
            TPOT_BUCKETS,
        )
        self.itl = self._histogram(
            "foretoken_request_itl_seconds",
            "Gaps between output tokens: each request's mean gap, once for every gap it had.",
            by_policy,
            TPOT_BUCKETS,
        )
        self.predicted_itl = self._histogram(
            "foretoken_request_predicted_itl_seconds",
            "Gaps between output tokens as predicted at dispatch, counted as often.",
            by_policy,
            TPOT_BUCKETS,
        )
        self.e2e = self._histogram(
            "foretoken_request_e2e_seconds", "Receipt to the end.", by_policy, E2E_BUCKETS
        )
        self.predicted_e2e = self._histogram(
            "foretoken_request_predicted_e2e_seconds",
            "Receipt to the end as predicted at dispatch, by the output length expected then.",
            by_policy,
            E2E_BUCKETS,
        )
        self.error = self._histogram(
            "foretoken_request_prediction_error_ratio",
            "(predicted - actual) / actual, of requests for which both are known, "
            "by what the prediction rested on.",
            ["model_name", "target", "layer"],
            ERROR_BUCKETS,
        )
        self.covered = self._counter(
            "foretoken_prediction_covered_requests",
            "Requests at or below the quantile that was stated at dispatch; all that were "
            "compared are the count of foretoken_request_prediction_error_ratio.",
            ["model_name", "target", "quantile"],
        )
        self.requests = self._counter(
            "foretoken_requests", "Requests ended.", ["model_name", "outcome", "reason", "tier"]
        )
        self.fallbacks = self._counter(
            "foretoken_fallback_decisions",
            "Decisions the fallback took because the predictor could not or must not.",
            ["reason"],
        )
        self.waited = self._histogram(
            "foretoken_queue_wait_seconds",
            "Time in our own queue, of requests that waited there, by why they last did.",
            ["reason"],
            WAIT_BUCKETS,
        )
        self.retries = self._counter(
            "foretoken_retries", "Dispatches beyond a request's first.", []
        ).labels()
        self._declare_trials()
        self._declare_tokens()
        self._declare_objectives()

    def _declare_trials(self) -> None:
        shadow = ["model_name", "policy", "shadow_policy"]
        self.shadowed = self._counter(
            "foretoken_shadow_decisions",
            "Decisions that another policy was scored beside, by whether it picked the same.",
            [*shadow, "same"],
        )
        self.chosen_s = self._counter(
            "foretoken_decision_predicted_e2e_seconds",
            "Expected dispatch to last token where requests went, of those scored in shadow.",
            shadow,
        )
        self.shadow_s = self._counter(
            "foretoken_shadow_predicted_e2e_seconds",
            "The same where the policy in shadow would have sent them.",
            shadow,
        )

    def _declare_tokens(self) -> None:
        by_model = ["model_name"]
        self.matched = self._counter(
            "foretoken_prefix_matched_tokens",
            "Prompt tokens believed to be cached where the request went.",
            by_model,
        )
        self.cached = self._counter(
            "foretoken_prefix_cached_tokens", "Prompt tokens reported as cached.", by_model
        )
        self.prompt = self._counter("foretoken_prompt_tokens", "Prompt tokens.", by_model)
        self.output = self._counter("foretoken_output_tokens", "Output tokens.", by_model)

    def _declare_objectives(self) -> None:
        self.slo = self._counter(
            "foretoken_slo_requests",
            "Requests that had an objective, by whether it was met.",
            ["tier", "met"],
        )
        self.headroom = self._histogram(
            "foretoken_slo_headroom_ratio",
            "(objective - actual) / objective of completed requests: 1 all of it was left, "
            "0 just met, below 0 missed.",
            ["tier", "target"],
            HEADROOM_BUCKETS,
        )

    def _histogram(
        self, name: str, text: str, labels: list[str], buckets: tuple[float, ...]
    ) -> Histograms:
        return Histograms(name, text, labels, buckets=buckets, registry=self._registry)

    def _counter(self, name: str, text: str, labels: list[str]) -> Counters:
        return Counters(name, text, labels, registry=self._registry)


class FleetSeries:
    """Hold the series of one model, policy and tier, so that a request looks up nothing."""

    def __init__(self, families: RequestFamilies, model: str, policy: str, tier: str) -> None:
        labels = (model, policy, tier)
        self._families, self._model = families, model
        self._ttft = families.ttft.labels(*labels)
        self._predicted_ttft = families.predicted_ttft.labels(*labels)
        self._tpot = families.tpot.labels(*labels)
        self._predicted_tpot = families.predicted_tpot.labels(*labels)
        self._itl = families.itl.labels(*labels)
        self._predicted_itl = families.predicted_itl.labels(*labels)
        self._e2e = families.e2e.labels(*labels)
        self._predicted_e2e = families.predicted_e2e.labels(*labels)
        layers: tuple[Layer, ...] = get_args(Layer)
        self._errors = {layer: self._errors_of(layer) for layer in layers}
        self._covered = tuple(
            tuple(families.covered.labels(model, target, f"{level:g}") for level in LEVELS)
            for target in _TARGETS
        )
        self._matched = families.matched.labels(model)
        self._cached = families.cached.labels(model)
        self._prompt = families.prompt.labels(model)
        self._output = families.output.labels(model)

    def observe(self, record: RequestRecord) -> None:
        """Take in one finished request."""
        decision = record.decision
        said = None if decision is None else decision.predictions
        if record.measurement.outcome == "completed":
            self._observe_actual(record)
            if decision is not None and said is not None:
                self._observe_predicted(record, decision, said)
        if decision is not None and said is not None:
            self._compare(record, said, decision.chosen)
        self._count_tokens(record)

    def _observe_actual(self, record: RequestRecord) -> None:
        ttft_s, tpot_s, e2e_s = record.ttft_s, record.tpot_s, record.e2e_s
        if ttft_s is not None:
            self._ttft.observe(ttft_s)
        if tpot_s is not None:
            self._tpot.observe(tpot_s)
            self._itl.observe_often(tpot_s, _gaps(record))
        if e2e_s is not None:
            self._e2e.observe(e2e_s)
        if record.request.trace_id is not None:
            self._remember(record, record.request.trace_id)

    def _remember(self, record: RequestRecord, trace_id: str) -> None:
        observed = (
            (self._ttft, record.ttft_s),
            (self._tpot, record.tpot_s),
            (self._e2e, record.e2e_s),
        )
        for spread, seconds in observed:
            if seconds is not None:
                spread.remember(seconds, trace_id, record.finished_s)

    def _observe_predicted(
        self, record: RequestRecord, decision: Decision, said: Predictions
    ) -> None:
        waited_s = decision.decided_s - record.request.arrived_s
        if record.ttft_s is not None:
            self._predicted_ttft.observe(said.ttft_s.item(decision.chosen) + waited_s)
        if record.tpot_s is not None:
            tpot_s = said.tpot_s.item(decision.chosen)
            self._predicted_tpot.observe(tpot_s)
            self._predicted_itl.observe_often(tpot_s, _gaps(record))
        if decision.predicted_s is not None:
            self._predicted_e2e.observe(decision.predicted_s + waited_s)

    def _compare(self, record: RequestRecord, said: Predictions, chosen: int) -> None:
        """Count how far off a prediction was, and which of its quantiles held."""
        errors = self._errors[said.layer]
        if record.upstream_ttft_s:
            errors[0].observe(said.ttft_s.item(chosen) / record.upstream_ttft_s - 1)
            _cover(self._covered[0], said, 0, chosen, record.upstream_ttft_s)
        if record.tpot_s:
            errors[1].observe(said.tpot_s.item(chosen) / record.tpot_s - 1)
            _cover(self._covered[1], said, 1, chosen, record.tpot_s)

    def _errors_of(self, layer: Layer) -> tuple[Spread, Spread]:
        error = self._families.error
        return error.labels(self._model, "ttft", layer), error.labels(self._model, "tpot", layer)

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


def _gaps(record: RequestRecord) -> int:
    """Count the gaps between a request's output tokens, of which there is at least one."""
    return max((record.measurement.output_tokens or 0) - 1, 1)


def _cover(
    covered: tuple[Count, ...], said: Predictions, target: int, chosen: int, actual_s: float
) -> None:
    quantiles_s = said.quantiles_s
    for level in range(len(LEVELS) - 1, -1, -1):  # they do not fall: the first miss ends it
        if actual_s > quantiles_s.item(target, level, chosen):
            return
        covered[level].total += 1.0
