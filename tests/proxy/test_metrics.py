"""What finished records are counted as."""

import logging

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from predictor.types import Measurement, Objective, Outcome, RequestRecord
from predictor.values import replace
from proxy import FleetCollector, ProxyMetrics, log_request
from scheduler import POLICIES, Dispatch, Scheduler, SchedulerSettings, TierSettings
from tests.scheduler.known_physics import KnownPhysics, endpoint, make_scheduler, request

SETTINGS = SchedulerSettings(
    tiers={"standard": TierSettings(), "fast": TierSettings(ttft_s=0.05)}, default_tier="standard"
)
DONE = Measurement(
    outcome="completed", prompt_tokens=1000, cached_tokens=200, output_tokens=11, status=200
)


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.proxy = ProxyMetrics(self.registry, SETTINGS)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"foretoken_{name}", labels)


def finished(scheduler: Scheduler | None = None, **changes: object) -> RequestRecord:
    """Finish a request that was routed at 0, had its first token at 0.2 and ended at 1.2."""
    scheduler = scheduler or make_scheduler(KnownPhysics(), [endpoint("a:1")], SETTINGS)
    action = scheduler.route(request(streamed=True, **changes), now=0.0)
    assert isinstance(action, Dispatch)
    scheduler.first_token("r", now=0.2)
    return scheduler.finished("r", DONE, now=1.2)


def test_observed_and_predicted_times_are_counted_side_by_side() -> None:
    metrics = Metrics()

    metrics.proxy.observe(finished())

    labels = {"model_name": "m", "policy": "predicted_latency", "tier": "standard"}
    assert metrics.value("request_ttft_seconds_sum", **labels) == pytest.approx(0.2)
    assert metrics.value("request_tpot_seconds_sum", **labels) == pytest.approx(0.1)
    assert metrics.value("request_e2e_seconds_sum", **labels) == pytest.approx(1.2)
    assert metrics.value("request_predicted_ttft_seconds_sum", **labels) == pytest.approx(0.11)
    assert metrics.value("request_predicted_tpot_seconds_sum", **labels) == pytest.approx(0.01)
    assert metrics.value("request_predicted_e2e_seconds_count", **labels) == 1
    assert metrics.value("request_itl_seconds_count", **labels) == 10  # of 11 tokens
    assert metrics.value("request_itl_seconds_sum", **labels) == pytest.approx(1.0)
    assert metrics.value("request_predicted_itl_seconds_sum", **labels) == pytest.approx(0.1)


def test_what_was_predicted_of_a_request_that_broke_is_not_laid_beside_others() -> None:
    metrics = Metrics()

    metrics.proxy.observe(replace(finished(), measurement=Measurement(outcome="cut")))

    labels = {"model_name": "m", "policy": "predicted_latency", "tier": "standard"}
    for target in ("ttft", "tpot", "itl", "e2e"):
        for name in (f"request_{target}", f"request_predicted_{target}"):
            assert metrics.value(f"{name}_seconds_count", **labels) == 0


def test_every_quantile_is_counted_where_it_held() -> None:
    metrics = Metrics()
    record = finished()
    assert record.decision is not None
    assert record.decision.predictions is not None
    said = replace(record.decision.predictions, quantiles_s=np.full((2, 3, 1), 0.15))
    said.quantiles_s[0, 1:, 0] = 0.2, 0.3

    metrics.proxy.observe(replace(record, decision=replace(record.decision, predictions=said)))

    def covered(target: str) -> list[float | None]:
        labels = {"model_name": "m", "target": target}
        name = "prediction_covered_requests_total"
        return [metrics.value(name, **labels, quantile=level) for level in ("0.5", "0.9", "0.99")]

    assert covered("ttft") == [0, 1, 1]  # it took 0.2 s
    assert covered("tpot") == [1, 1, 1]  # 0.1 s


def test_a_tier_that_is_not_configured_counts_as_none() -> None:
    metrics = Metrics()
    record = finished()

    hostile = replace(record, request=replace(record.request, tier="no such tier"))
    metrics.proxy.observe(hostile)

    labels = {"model_name": "m", "outcome": "completed", "reason": "predicted"}
    assert metrics.value("requests_total", **labels, tier="none") == 1
    assert b"no such tier" not in generate_latest(metrics.registry)


def test_what_is_left_of_an_objective_is_counted_by_tier() -> None:
    metrics = Metrics()

    metrics.proxy.observe(finished(tier="fast"))  # 0.2 s of 0.05 s
    metrics.proxy.observe(finished(tier="fast", objective=Objective(ttft_s=0.8)))

    name, labels = "slo_headroom_ratio_bucket", {"tier": "fast", "target": "ttft"}
    assert metrics.value(name, le="-2.0", **labels) == 1
    assert metrics.value(name, le="0.5", **labels) == 1
    assert metrics.value(name, le="0.75", **labels) == 2
    assert metrics.value("slo_objective_seconds", tier="fast", target="ttft") == 0.05
    assert metrics.value("slo_objective_seconds", tier="fast", target="tpot") is None


def test_a_miss_is_a_miss_whatever_else_could_not_be_measured() -> None:
    metrics = Metrics()
    record = replace(finished(objective=Objective(ttft_s=0.1, tpot_s=1.0)), tpot_s=None)

    metrics.proxy.observe(record)
    metrics.proxy.observe(replace(record, ttft_s=0.05))  # nobody can tell

    assert metrics.value("slo_requests_total", tier="standard", met="false") == 1
    assert metrics.value("slo_requests_total", tier="standard", met="true") == 0


def test_reasons_are_there_before_the_first_time() -> None:
    metrics = Metrics()

    assert metrics.value("shed_requests_total", reason="queue_full") == 0
    assert metrics.value("fallback_decisions_total", reason="cold") == 0
    assert metrics.value("queue_wait_seconds_count", reason="endpoints_full") == 0
    assert metrics.value("slo_requests_total", tier="fast", met="false") == 0


def test_tiers_that_came_with_a_reload_are_judged() -> None:
    metrics = Metrics()

    metrics.proxy.configure(
        SchedulerSettings(tiers={"new": TierSettings(ttft_s=0.05)}, default_tier="new")
    )
    metrics.proxy.observe(finished())

    assert metrics.value("slo_requests_total", tier="new", met="false") == 1


def test_background_failures_are_counted_by_task() -> None:
    metrics = Metrics()

    metrics.proxy.background_failed("scraper")

    assert metrics.value("background_failures_total", task="scraper") == 1


def test_prediction_errors_are_signed_and_relative() -> None:
    metrics = Metrics()

    metrics.proxy.observe(finished())

    name, labels = "request_prediction_error_ratio_bucket", {"model_name": "m", "target": "ttft"}
    labels["layer"] = "mixture"
    assert metrics.value(name, le="-0.5", **labels) == 0
    assert metrics.value(name, le="-0.35", **labels) == 1  # 0.11 / 0.2 - 1


def test_tokens_are_counted_where_they_are_known() -> None:
    metrics = Metrics()
    record = finished()

    metrics.proxy.observe(record)
    metrics.proxy.observe(replace(record, measurement=Measurement(outcome="client_gone")))

    assert metrics.value("prompt_tokens_total", model_name="m") == 1000
    assert metrics.value("prefix_cached_tokens_total", model_name="m") == 200
    assert metrics.value("output_tokens_total", model_name="m") == 11


def test_times_of_requests_that_did_not_complete_are_not_counted() -> None:
    metrics = Metrics()

    metrics.proxy.observe(replace(finished(), measurement=Measurement(outcome="cut")))

    labels = {"model_name": "m", "tier": "standard"}
    assert metrics.value("request_e2e_seconds_count", **labels, policy="predicted_latency") == 0
    assert metrics.value("requests_total", **labels, outcome="cut", reason="predicted") == 1


@pytest.mark.parametrize(
    ("changes", "tier", "met"),
    [
        pytest.param({"tier": "fast"}, "fast", "false", id="the tier's objective"),
        pytest.param(
            {"tier": "fast", "objective": Objective(ttft_s=1.0)}, "fast", "true", id="its own"
        ),
        pytest.param(
            {"objective": Objective(ttft_s=1.0, tpot_s=0.05)}, "standard", "false", id="both"
        ),
    ],
)
def test_objectives_met_and_missed_are_counted_by_tier(
    changes: dict[str, object], tier: str, met: str
) -> None:
    metrics = Metrics()

    metrics.proxy.observe(finished(**changes))

    assert metrics.value("slo_requests_total", tier=tier, met=met) == 1


@pytest.mark.parametrize("outcome", ["client_gone", "client_error", "shutdown"])
def test_what_is_no_fault_of_the_service_costs_no_budget(outcome: Outcome) -> None:
    metrics = Metrics()

    record = finished(tier="fast")
    metrics.proxy.observe(replace(record, measurement=Measurement(outcome=outcome, status=400)))

    assert metrics.value("slo_requests_total", tier="fast", met="false") == 0


def test_requests_without_an_objective_are_not_judged() -> None:
    metrics = Metrics()

    metrics.proxy.observe(finished())

    assert metrics.value("slo_requests_total", tier="standard", met="false") is None


def test_decisions_of_the_fallback_are_counted_by_reason() -> None:
    metrics = Metrics()
    broken = make_scheduler(KnownPhysics(broken=True), [endpoint("a:1")], SETTINGS)

    metrics.proxy.observe(finished(broken))

    assert metrics.value("fallback_decisions_total", reason="prediction_failed") == 1


def test_the_predicted_gain_over_the_policy_in_shadow_is_a_ratio_of_two_sums() -> None:
    metrics = Metrics()
    record = finished()
    assert record.decision is not None
    made = replace(record.decision, predicted_s=2.0, shadow_predicted_s=3.0, shadow_chosen=None)

    metrics.proxy.observe(replace(record, decision=made))
    metrics.proxy.observe(replace(record, decision=made))
    metrics.proxy.observe(replace(record, decision=replace(made, shadow_policy=None)))

    labels = {"model_name": "m", "policy": "predicted_latency", "shadow_policy": "lmetric"}
    assert metrics.value("decision_predicted_e2e_seconds_total", **labels) == 4.0
    assert metrics.value("shadow_predicted_e2e_seconds_total", **labels) == 6.0
    assert metrics.value("shadow_decisions_total", **labels, same="false") == 2


def test_a_shadow_without_predictions_counts_its_picks_alone() -> None:
    metrics = Metrics()
    settings = SETTINGS.model_copy(update={"policy": POLICIES["lmetric"]})
    settings = settings.model_copy(update={"shadow": POLICIES["least_request"]})
    broken = make_scheduler(KnownPhysics(broken=True), [endpoint("a:1")], settings)

    metrics.proxy.observe(finished(broken))

    labels = {"model_name": "m", "policy": "lmetric", "shadow_policy": "least_request"}
    assert metrics.value("shadow_decisions_total", **labels, same="true") == 1
    assert metrics.value("decision_predicted_e2e_seconds_total", **labels) is None


def test_what_decides_is_read_at_the_scrape_with_its_reason() -> None:
    metrics = Metrics()
    physics = KnownPhysics(layer="cold")
    scheduler = make_scheduler(physics, [endpoint("a:1")], SETTINGS)
    metrics.registry.register(FleetCollector(scheduler, clock=lambda: 5.0))

    scheduler.route(request("one"), now=0.0)
    cold = metrics.value("fallback_level", model_name="m", level="heuristic", reason="cold")
    physics.layer = "prior"
    scheduler.route(request("two"), now=0.0)

    labels = {"model_name": "m", "level": "prior", "reason": "predicted"}
    assert cold == 1.0
    assert metrics.value("fallback_level", model_name="m", level="heuristic", reason="cold") is None
    assert metrics.value("fallback_level", **labels) == 1.0
    assert metrics.value("fallback_changes_total", **labels) == 1.0


def test_an_endpoint_that_is_left_alone_shows_with_its_reason() -> None:
    metrics = Metrics()
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1")], SETTINGS)
    metrics.registry.register(FleetCollector(scheduler, clock=lambda: 0.1))
    scheduler.route(request(), now=0.0)

    scheduler.turned_away("r", now=0.0)

    assert metrics.value("endpoint_suspect", endpoint="a:1", reason="failing") == 1.0
    assert metrics.value("endpoint_suspect", endpoint="a:1", reason="stalled") == 0.0
    assert metrics.value("endpoint_suspicions_total", endpoint="a:1", reason="failing") == 1


def test_time_in_the_queue_is_counted_by_why() -> None:
    metrics = Metrics()
    waited = replace(finished(), waited_for="objectives_at_risk", queued_s=0.3)

    metrics.proxy.observe(waited)
    metrics.proxy.observe(finished())

    assert metrics.value("queue_wait_seconds_count", reason="objectives_at_risk") == 1
    assert metrics.value("queue_wait_seconds_sum", reason="objectives_at_risk") == 0.3


def test_dispatches_beyond_the_first_are_retries() -> None:
    metrics = Metrics()

    metrics.proxy.observe(replace(finished(), attempts=3))

    assert metrics.value("retries_total") == 2


def test_scrapes_are_counted_until_the_endpoint_leaves() -> None:
    metrics = Metrics()
    metrics.proxy.scrapes.scraped("a:1", 0.01)
    metrics.proxy.scrapes.failed("a:1", "timeout")
    assert metrics.value("scrapes_total", endpoint="a:1") == 2
    assert metrics.value("scrape_failures_total", endpoint="a:1", reason="timeout") == 1

    metrics.proxy.scrapes.forget("a:1")

    assert metrics.value("scrapes_total", endpoint="a:1") is None
    assert metrics.value("scrape_failures_total", endpoint="a:1", reason="timeout") is None


def test_the_state_of_the_fleet_is_read_at_the_scrape() -> None:
    metrics = Metrics()
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1", scraped_s=4.0)], SETTINGS)
    metrics.registry.register(FleetCollector(scheduler, clock=lambda: 5.0))

    scheduler.route(request(), now=5.0)

    assert metrics.value("inflight_requests", endpoint="a:1", tier="standard") == 1
    assert metrics.value("inflight_requests", endpoint="a:1", tier="fast") == 0
    assert metrics.value("queued_requests", endpoint="a:1") == 1
    assert metrics.value("endpoint_scrape_age_seconds", endpoint="a:1") == 1.0
    assert metrics.value("endpoint_up", endpoint="a:1") == 1.0
    assert metrics.value("endpoint_draining", endpoint="a:1") == 0.0


def test_every_name_is_ours_and_counters_alone_end_in_total() -> None:
    metrics = Metrics()

    for family in metrics.registry.collect():
        assert family.name.startswith("foretoken_")
        assert not family.name.endswith("_total")
        assert family.documentation


def test_one_line_tells_predicted_and_observed_without_any_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="proxy.request_log")

    log_request(finished())

    (line,) = caplog.records
    fields = vars(line)
    assert line.getMessage() == "request_finished"
    assert fields["endpoint"] == "a:1"
    assert fields["reason"] == "predicted"
    assert fields["predicted_upstream_ttft_s"] == pytest.approx(0.11)
    assert fields["upstream_ttft_s"] == pytest.approx(0.2)
    assert fields["outcome"] == "completed"
