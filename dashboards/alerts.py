"""When Foretoken calls for a person, and what that person is told.

Each alert names a symptom that somebody can act on; its runbook section says how.
Written to YAML by :mod:`dashboards.build`.
"""

import json
from dataclasses import dataclass
from typing import Final, Literal

_RUNBOOK: Final = "https://github.com/foretoken/foretoken/blob/main/docs/runbook.md"
_ERRORS: Final = 'outcome=~"upstream_error|cut"'


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
        name="ForetokenScrapeStale",
        expr="foretoken_endpoint_scrape_age_seconds > 10 and foretoken_endpoint_up == 1",
        lasting="1m",
        severity="ticket",
        summary="What is known of {{ $labels.endpoint }} is {{ $value | humanizeDuration }} old",
    ),
    Alert(
        name="ForetokenEndpointErrors",
        expr=(
            f"sum by (model_name) (rate(foretoken_requests_total{{{_ERRORS}}}[5m]))"
            " / sum by (model_name) (rate(foretoken_requests_total[5m])) > 0.02"
        ),
        lasting="5m",
        severity="page",
        summary="{{ $value | humanizePercentage }} of {{ $labels.model_name }} requests fail",
    ),
    Alert(
        name="ForetokenShedding",
        expr=(
            "sum(rate(foretoken_shed_requests_total[5m]))"
            " / sum(rate(foretoken_requests_total[5m])) > 0.05"
        ),
        lasting="5m",
        severity="page",
        summary="{{ $value | humanizePercentage }} of requests are refused",
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
        expr=(
            "sum by (reason) (rate(foretoken_fallback_decisions_total[5m]))"
            " / on () group_left () sum(rate(foretoken_decision_seconds_count[5m])) > 0.05"
        ),
        lasting="10m",
        severity="ticket",
        summary=(
            "The fallback takes {{ $value | humanizePercentage }} of decisions:"
            " {{ $labels.reason }}"
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
        name="ForetokenBackgroundFailing",
        expr="increase(foretoken_background_failures_total[10m]) > 2",
        lasting="1m",
        severity="ticket",
        summary="{{ $labels.task }} of {{ $labels.instance }} keeps failing and starting again",
    ),
)


def rules_yaml() -> str:
    """Write the alerts as a Prometheus rule file."""
    lines = ["# Written by `python -m dashboards.build`; edit dashboards/alerts.py.", "groups:"]
    lines += ["  - name: foretoken", "    rules:"]
    for alert in ALERTS:
        lines += [
            f"      - alert: {alert.name}",
            f"        expr: {_quoted(alert.expr)}",
            f"        for: {alert.lasting}",
            "        labels:",
            f"          severity: {alert.severity}",
            "        annotations:",
            f"          summary: {_quoted(alert.summary)}",
            f"          runbook_url: {_quoted(alert.runbook_url)}",
        ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    r"""Quote a scalar; a JSON string is one in YAML too.

    >>> print(_quoted('say "yes"'))
    "say \"yes\""
    """
    return json.dumps(text, ensure_ascii=False)
