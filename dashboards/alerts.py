"""When Foretoken calls for a person, and what that person is told.

Each alert names a symptom that somebody can act on; its runbook section says how.
Written to YAML by :mod:`dashboards.build`.
"""

from dataclasses import dataclass
from typing import Final, Literal

from dashboards.recording import missed
from dashboards.rule_file import rule, rule_file

_RUNBOOK: Final = "https://github.com/foretoken/foretoken/blob/main/docs/runbook.md"
_BUDGET: Final = "on (tier) group_left () (1 - foretoken:slo_target:ratio)"
# Below so many judged requests in an hour one miss would be a share of them all.
_ENOUGH: Final = "on (tier) sum by (tier) (increase(foretoken_slo_requests_total[1h])) > 30"


def _waiting(when: str = "") -> str:
    return f"sum by (job, instance, model_name) (foretoken_waiting_requests{when})"


def _burns(times: float, long: str, short: str) -> str:
    """Tell that a tier's error budget burns so many times too fast, and still does."""
    return (
        f"({missed(long)} / {_BUDGET} > {times:g}"
        f" and on (tier) {missed(short)} / {_BUDGET} > {times:g})"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Describe one alert rule.

    Attributes:
        name: CamelCase; its lower case is the runbook's anchor.
        expr: PromQL; every series it gives is one alert.
        lasting: Prometheus duration it must hold.
        severity: ``page`` wakes somebody, ``ticket`` waits for the morning.
        summary: One line, with Prometheus templates.
    """

    name: str
    expr: str
    lasting: str
    severity: Literal["page", "ticket"]
    summary: str

    @property
    def runbook_url(self) -> str:
        """Point to the section of the runbook."""
        return f"{_RUNBOOK}#{self.name.lower()}"


ALERTS: Final = (
    Alert(
        name="ForetokenAbsent",
        expr="absent(foretoken_decision_seconds_count)",
        lasting="2m",
        severity="page",
        summary="No router publishes metrics",
    ),
    Alert(
        name="ForetokenNoEndpointUp",
        expr="max by (job, instance) (foretoken_endpoint_up) == 0",
        lasting="30s",
        severity="page",
        summary="{{ $labels.instance }} sees no endpoint up",
    ),
    Alert(
        name="ForetokenEndpointDown",
        expr="foretoken_endpoint_up == 0",
        lasting="1m",
        severity="ticket",
        summary="Endpoint {{ $labels.endpoint }} is down",
    ),
    Alert(
        name="ForetokenBreakerOpen",
        expr=(
            "sum by (job, instance, endpoint) (avg_over_time(foretoken_endpoint_suspect[3m])) > 0.5"
        ),
        lasting="1m",
        severity="ticket",
        summary="{{ $labels.endpoint }} is left alone for how it answers",
    ),
    Alert(
        name="ForetokenScrapeStale",
        expr="foretoken_endpoint_scrape_age_seconds > 10 and foretoken_endpoint_up == 1",
        lasting="1m",
        severity="ticket",
        summary="What is known of {{ $labels.endpoint }} is {{ $value | humanizeDuration }} old",
    ),
    Alert(
        name="ForetokenEndpointErrors",
        expr="foretoken:failed_requests:ratio_rate5m > 0.02",
        lasting="5m",
        severity="page",
        summary="{{ $value | humanizePercentage }} of {{ $labels.model_name }} requests fail",
    ),
    Alert(
        name="ForetokenShedding",
        expr="foretoken:shed_requests:ratio_rate5m > 0.05",
        lasting="5m",
        severity="page",
        summary="{{ $value | humanizePercentage }} of requests are refused",
    ),
    Alert(
        name="ForetokenRetryBudgetExhausted",
        expr='increase(foretoken_shed_requests_total{reason="retry_budget_exhausted"}[5m]) > 0',
        lasting="1m",
        severity="page",
        summary="{{ $labels.instance }} may not try failed requests again, and refuses them",
    ),
    Alert(
        name="ForetokenQueueNotDraining",
        expr=(
            f"{_waiting()} > 0 and min_over_time(({_waiting()})[5m:30s]) > 0"
            f" and {_waiting()} >= {_waiting(' offset 5m')}"
        ),
        lasting="5m",
        severity="page",
        summary=(
            "{{ $value }} requests for {{ $labels.model_name }} wait at"
            " {{ $labels.instance }}, and do not become fewer"
        ),
    ),
    Alert(
        name="ForetokenFleetSaturated",
        expr="max by (model_name) (foretoken_fleet_saturation_ratio) > 0.9",
        lasting="10m",
        severity="ticket",
        summary="{{ $labels.model_name }} is {{ $value | humanizePercentage }} full",
    ),
    Alert(
        name="ForetokenStandbyStaysOpen",
        expr=(
            "min_over_time((max by (model_name, priority_class)"
            " (foretoken_fleet_standby_open))[30m:1m]) == 1"
        ),
        lasting="1m",
        severity="ticket",
        summary=(
            "{{ $labels.model_name }} has needed standby class {{ $labels.priority_class }}"
            " for half an hour"
        ),
    ),
    Alert(
        name="ForetokenSaturationAhead",
        expr=(
            "max by (model_name)"
            ' (foretoken_fleet_time_to_saturation_seconds{bound="expected"}) < 600'
        ),
        lasting="5m",
        severity="ticket",
        summary="{{ $labels.model_name }} will be too small in {{ $value | humanizeDuration }}",
    ),
    Alert(
        name="ForetokenSloBurnsFast",
        expr=f"({_burns(14.4, '1h', '5m')} or {_burns(6, '6h', '30m')}) and {_ENOUGH}",
        lasting="2m",
        severity="page",
        summary=(
            "Tier {{ $labels.tier }} burns its error budget"
            ' {{ $value | printf "%.1f" }} times too fast'
        ),
    ),
    Alert(
        name="ForetokenSloBurnsSlowly",
        expr=f"{_burns(3, '1d', '2h')} or {_burns(1, '3d', '6h')}",
        lasting="15m",
        severity="ticket",
        summary=(
            "Tier {{ $labels.tier }} will not keep its objective:"
            ' it burns {{ $value | printf "%.1f" }} times its budget'
        ),
    ),
    Alert(
        name="ForetokenPredictionErrorHigh",
        expr="foretoken_prediction_mdape_ratio > 0.3",
        lasting="10m",
        severity="ticket",
        summary=(
            "{{ $labels.target }} of {{ $labels.model_name }} is predicted"
            " {{ $value | humanizePercentage }} off"
        ),
    ),
    Alert(
        name="ForetokenCoverageOff",
        expr="foretoken_prediction_coverage_ratio < 0.8",
        lasting="15m",
        severity="ticket",
        summary=(
            "The 90 % quantile of {{ $labels.target }} of {{ $labels.model_name }} covers"
            " {{ $value | humanizePercentage }}"
        ),
    ),
    Alert(
        name="ForetokenFallbackActive",
        expr="foretoken:fallback_decisions:ratio_rate5m > 0.05",
        lasting="10m",
        severity="ticket",
        summary=(
            "The fallback takes {{ $value | humanizePercentage }} of decisions:"
            " {{ $labels.reason }}"
        ),
    ),
    Alert(
        name="ForetokenModelSkipped",
        expr="foretoken_model_skipped == 1",
        lasting="1m",
        severity="ticket",
        summary="{{ $labels.instance }} cannot use the version of {{ $labels.model_name }} in use",
    ),
    Alert(
        name="ForetokenIndexNotExact",
        expr=(
            "foretoken_endpoint_cache_exact == 0"
            " and on (job, instance, endpoint) foretoken_endpoint_up == 1"
        ),
        lasting="10m",
        severity="ticket",
        summary="What {{ $labels.endpoint }} has cached is estimated, though it sends KV events",
    ),
    Alert(
        name="ForetokenRoutersApart",
        expr=(
            "foretoken_routers_connected == 0 or foretoken_routers_known"
            " < on (job) group_left () (count by (job) (foretoken_routers_connected) - 1)"
        ),
        lasting="5m",
        severity="ticket",
        summary="{{ $labels.instance }} does not know of all other routers",
    ),
    Alert(
        name="ForetokenDiscoveryFailing",
        expr=(
            "sum by (job, instance, source) (increase(foretoken_discovery_failures_total[10m])) > 0"
            " unless on (job, instance, source) foretoken_discovery_age_seconds < 300"
        ),
        lasting="5m",
        severity="ticket",
        summary=(
            "{{ $labels.instance }} no longer hears its source of endpoints {{ $labels.source }}"
        ),
    ),
    Alert(
        name="ForetokenTrainerDown",
        expr="foretoken_trainer_up == 0",
        lasting="2m",
        severity="ticket",
        summary="{{ $labels.instance }} has no trainer process",
    ),
    Alert(
        name="ForetokenTrainerSilent",
        expr="foretoken_trainer_answer_age_seconds > 60",
        lasting="1m",
        severity="ticket",
        summary=(
            "The trainer of {{ $labels.instance }} has said nothing"
            " for {{ $value | humanizeDuration }}"
        ),
    ),
    Alert(
        name="ForetokenTrainerStalled",
        expr=(
            "(sum(increase(foretoken_training_runs_total[10m])) or vector(0)) == 0"
            ' and on () sum(increase(foretoken_requests_total{outcome="completed"}[10m])) > 500'
        ),
        lasting="5m",
        severity="ticket",
        summary="No training has ended in ten minutes of traffic",
    ),
    Alert(
        name="ForetokenTrainingRefused",
        expr=(
            'sum(increase(foretoken_training_runs_total{result!="accepted"}[15m])) > 0'
            " and on ()"
            ' (sum(increase(foretoken_training_runs_total{result="accepted"}[15m])) or vector(0))'
            " == 0 and on () max(foretoken_prediction_mdape_ratio) > 0.2"
        ),
        lasting="15m",
        severity="ticket",
        summary="Predictions are poor and every training of late was refused",
    ),
    Alert(
        name="ForetokenTrainerDropping",
        expr="increase(foretoken_trainer_dropped_total[5m]) > 0",
        lasting="5m",
        severity="ticket",
        summary="{{ $labels.instance }} loses observations before the trainer",
    ),
    Alert(
        name="ForetokenRecorderDropping",
        expr="increase(foretoken_trace_dropped_total[5m]) > 0",
        lasting="5m",
        severity="ticket",
        summary="{{ $labels.instance }} loses trace records",
    ),
    Alert(
        name="ForetokenLogLinesDropped",
        expr="increase(foretoken_log_dropped_lines_total[5m]) > 0",
        lasting="5m",
        severity="ticket",
        summary="{{ $labels.instance }} loses log lines",
    ),
    Alert(
        name="ForetokenBackgroundFailing",
        expr="increase(foretoken_background_failures_total[10m]) > 2",
        lasting="1m",
        severity="ticket",
        summary="{{ $labels.task }} of {{ $labels.instance }} keeps failing and starting again",
    ),
)


def rules_yaml() -> str:
    """Write the alerts as a Prometheus rule file."""
    rules = [
        rule(
            {
                "alert": alert.name,
                "expr": alert.expr,
                "for": alert.lasting,
                "labels": {"severity": alert.severity},
                "annotations": {"summary": alert.summary, "runbook_url": alert.runbook_url},
            }
        )
        for alert in ALERTS
    ]
    return rule_file("dashboards/alerts.py", [("foretoken_alerts", None, rules)])
