"""Every alert fires in its bad case and stays silent in its good one, by Prometheus' own tool."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from dashboards import prometheus
from dashboards.alerts import ALERTS

pytestmark = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed"
)

ROUTER = 'job="foretoken",instance="router:8000"'


@dataclass(frozen=True, kw_only=True)
class Case:
    """Say when an alert fires and when it does not.

    Attributes:
        bad: Values by series, in promtool's notation, one a minute.
        good: The same of a service that is well.
        fires: Labels of the alert, severity aside.
        summary: What it then says.
        at: When.
        step: Time between two values, and between two evaluations.
    """

    bad: dict[str, str]
    good: dict[str, str]
    fires: dict[str, str]
    summary: str
    at: str = "30m"
    step: str = "1m"


def own(name: str, labels: str = "") -> str:
    """Give a series as Prometheus would scrape it from one router."""
    return f"{name}{{{ROUTER}{',' if labels else ''}{labels}}}"


INSTANCE = {"job": "foretoken", "instance": "router:8000"}
ENDPOINT = {**INSTANCE, "endpoint": "a:1"}
REQUESTS = own("foretoken_requests_total", 'model_name="m",outcome="completed",tier="standard"')
FAILED = own("foretoken_requests_total", 'model_name="m",outcome="upstream_error",tier="standard"')
MET = own("foretoken_slo_requests_total", 'tier="interactive",met="true"')
MISSED = own("foretoken_slo_requests_total", 'tier="interactive",met="false"')
UP = own("foretoken_endpoint_up", 'endpoint="a:1"')
AGE = own("foretoken_endpoint_scrape_age_seconds", 'endpoint="a:1"')
SUSPECT = own("foretoken_endpoint_suspect", 'endpoint="a:1",reason="failing"')
SHED = own("foretoken_shed_requests_total", 'reason="queue_full"')
NO_RETRY = own("foretoken_shed_requests_total", 'reason="retry_budget_exhausted"')
WAITING = own(
    "foretoken_waiting_requests", 'model_name="m",tier="standard",reason="endpoints_full"'
)
SATURATION = own("foretoken_fleet_saturation_ratio", 'model_name="m"')
STANDBY = own("foretoken_fleet_standby_open", 'model_name="m",priority_class="1"')
AHEAD = own("foretoken_fleet_time_to_saturation_seconds", 'model_name="m",bound="expected"')
MDAPE = own("foretoken_prediction_mdape_ratio", 'model_name="m",target="ttft"')
COVERAGE = own("foretoken_prediction_coverage_ratio", 'model_name="m",target="ttft"')
COLD = own("foretoken_fallback_decisions_total", 'reason="cold"')
DECISIONS = own("foretoken_decision_seconds_count")
SKIPPED = own("foretoken_model_skipped", 'model_name="m"')
EXACT = own("foretoken_endpoint_cache_exact", 'endpoint="a:1"')
CONNECTED, KNOWN = own("foretoken_routers_connected"), own("foretoken_routers_known")
OTHER_CONNECTED = 'foretoken_routers_connected{job="foretoken",instance="other:8000"}'
DISCOVERY_FAILURES = own("foretoken_discovery_failures_total", 'source="dns",reason="timeout"')
DISCOVERY_AGE = own("foretoken_discovery_age_seconds", 'source="dns"')
TRAINER_UP = own("foretoken_trainer_up")
ANSWER_AGE = own("foretoken_trainer_answer_age_seconds")
ACCEPTED = own("foretoken_training_runs_total", 'model_name="m",result="accepted"')
WORSE = own("foretoken_training_runs_total", 'model_name="m",result="worse"')
TASK = own("foretoken_background_failures_total", 'task="scraper"')

EVER = "x5000"
CASES = {
    "ForetokenAbsent": Case(
        bad={'up{job="other"}': f"1{EVER}"},
        good={DECISIONS: f"0+1{EVER}"},
        fires={},
        summary="No router publishes metrics",
    ),
    "ForetokenNoEndpointUp": Case(
        bad={UP: f"0{EVER}"},
        good={UP: f"0{EVER}", UP.replace("a:1", "b:1"): f"1{EVER}"},
        fires=INSTANCE,
        summary="router:8000 sees no endpoint up",
    ),
    "ForetokenEndpointDown": Case(
        bad={UP: f"0{EVER}"},
        good={UP: f"1{EVER}"},
        fires=ENDPOINT,
        summary="Endpoint a:1 is down",
    ),
    "ForetokenBreakerOpen": Case(
        bad={SUSPECT: f"1{EVER}"},
        good={SUSPECT: "0 1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1"},
        fires=ENDPOINT,
        summary="a:1 is left alone for how it answers",
    ),
    "ForetokenScrapeStale": Case(
        bad={AGE: f"30{EVER}", UP: f"1{EVER}"},
        good={AGE: f"30{EVER}", UP: f"0{EVER}"},  # down: another alert says so
        fires=ENDPOINT,
        summary="What is known of a:1 is 30s old",
    ),
    "ForetokenEndpointErrors": Case(
        bad={REQUESTS: f"0+90{EVER}", FAILED: f"0+10{EVER}"},
        good={REQUESTS: f"0+990{EVER}", FAILED: f"0+10{EVER}"},
        fires={"model_name": "m"},
        summary="10% of m requests fail",
    ),
    "ForetokenShedding": Case(
        bad={REQUESTS: f"0+100{EVER}", SHED: f"0+10{EVER}"},
        good={REQUESTS: f"0+100{EVER}", SHED: f"0+1{EVER}"},
        fires={},
        summary="10% of requests are refused",
    ),
    "ForetokenRetryBudgetExhausted": Case(
        bad={NO_RETRY: f"0+5{EVER}"},
        good={NO_RETRY: f"0{EVER}", SHED: f"0+5{EVER}"},
        fires={**INSTANCE, "reason": "retry_budget_exhausted"},
        summary="router:8000 may not try failed requests again, and refuses them",
    ),
    "ForetokenQueueNotDraining": Case(
        bad={WAITING: f"20{EVER}"},
        good={WAITING: "60-1x59 0x5000"},  # a burst that drains
        fires={**INSTANCE, "model_name": "m"},
        summary="20 requests for m wait at router:8000, and do not become fewer",
    ),
    "ForetokenFleetSaturated": Case(
        bad={SATURATION: f"0.95{EVER}"},
        good={SATURATION: f"0.7{EVER}"},
        fires={"model_name": "m"},
        summary="m is 95% full",
    ),
    "ForetokenStandbyStaysOpen": Case(
        bad={STANDBY: f"1{EVER}"},
        good={STANDBY: "1x20 0 1x20 0 1x20 0 1x20 0 1x20 0 1x20 0 1x20 0 1x20 0 1x20 0 1x20"},
        fires={"model_name": "m", "priority_class": "1"},
        summary="m has needed standby class 1 for half an hour",
    ),
    "ForetokenSaturationAhead": Case(
        bad={AHEAD: f"300{EVER}"},
        good={AHEAD: f"7200{EVER}"},
        fires={"model_name": "m"},
        summary="m will be too small in 5m 0s",
    ),
    "ForetokenSloBurnsFast": Case(
        bad={MET: f"0+80{EVER}", MISSED: f"0+20{EVER}"},
        good={MET: f"0+99{EVER}", MISSED: f"0+1{EVER}"},
        fires={"tier": "interactive"},
        summary="Tier interactive burns its error budget 20.0 times too fast",
        at="90m",
    ),
    "ForetokenSloBurnsSlowly": Case(
        bad={MET: f"0+96{EVER}", MISSED: f"0+4{EVER}"},
        good={MET: f"0+995{EVER}", MISSED: f"0+5{EVER}"},
        fires={"tier": "interactive"},
        summary="Tier interactive will not keep its objective: it burns 4.0 times its budget",
        at="30h",
        step="10m",
    ),
    "ForetokenPredictionErrorHigh": Case(
        bad={MDAPE: f"0.45{EVER}"},
        good={MDAPE: f"0.15{EVER}"},
        fires={**INSTANCE, "model_name": "m", "target": "ttft"},
        summary="ttft of m is predicted 45% off",
    ),
    "ForetokenCoverageOff": Case(
        bad={COVERAGE: f"0.7{EVER}"},
        good={COVERAGE: f"0.9{EVER}"},
        fires={**INSTANCE, "model_name": "m", "target": "ttft"},
        summary="The 90 % quantile of ttft of m covers 70%",
    ),
    "ForetokenFallbackActive": Case(
        bad={COLD: f"0+50{EVER}", DECISIONS: f"0+100{EVER}"},
        good={COLD: "0+50x3 200x5000", DECISIONS: f"0+100{EVER}"},  # a cold start
        fires={"reason": "cold"},
        summary="The fallback takes 50% of decisions: cold",
    ),
    "ForetokenModelSkipped": Case(
        bad={SKIPPED: f"1{EVER}"},
        good={SKIPPED: f"0{EVER}"},
        fires={**INSTANCE, "model_name": "m"},
        summary="router:8000 cannot use the version of m in use",
    ),
    "ForetokenIndexNotExact": Case(
        bad={EXACT: f"0{EVER}", UP: f"1{EVER}"},
        good={EXACT: f"1{EVER}", UP: f"1{EVER}"},
        fires=ENDPOINT,
        summary="What a:1 has cached is estimated, though it sends KV events",
    ),
    "ForetokenRoutersApart": Case(
        bad={CONNECTED: f"1{EVER}", KNOWN: f"0{EVER}", OTHER_CONNECTED: f"1{EVER}"},
        good={CONNECTED: "1x10 0x2 1x5000", KNOWN: f"1{EVER}", OTHER_CONNECTED: f"1{EVER}"},
        fires=INSTANCE,
        summary="router:8000 does not know of all other routers",
    ),
    "ForetokenDiscoveryFailing": Case(
        bad={DISCOVERY_FAILURES: f"0+10{EVER}", DISCOVERY_AGE: f"0+60{EVER}"},
        good={DISCOVERY_FAILURES: f"0+1{EVER}", DISCOVERY_AGE: f"5{EVER}"},  # now and then
        fires={**INSTANCE, "source": "dns"},
        summary="router:8000 no longer hears its source of endpoints dns",
    ),
    "ForetokenTrainerDown": Case(
        bad={TRAINER_UP: f"0{EVER}"},
        good={TRAINER_UP: "1x10 0 1x5000"},  # started again at once
        fires=INSTANCE,
        summary="router:8000 has no trainer process",
    ),
    "ForetokenTrainerSilent": Case(
        bad={ANSWER_AGE: f"0+60{EVER}"},
        good={ANSWER_AGE: f"9{EVER}"},
        fires=INSTANCE,
        summary="The trainer of router:8000 has said nothing for 30m 0s",
    ),
    "ForetokenTrainerStalled": Case(
        bad={ACCEPTED: f"7{EVER}", REQUESTS: f"0+100{EVER}"},
        good={ACCEPTED: f"7{EVER}", REQUESTS: f"0+1{EVER}"},  # nothing new to train on
        fires={},
        summary="No training has ended in ten minutes of traffic",
    ),
    "ForetokenTrainingRefused": Case(
        bad={WORSE: f"0+5{EVER}", ACCEPTED: f"3{EVER}", MDAPE: f"0.25{EVER}"},
        good={WORSE: f"0+5{EVER}", ACCEPTED: f"3{EVER}", MDAPE: f"0.1{EVER}"},
        fires={},
        summary="Predictions are poor and every training of late was refused",
        at="40m",
    ),
    "ForetokenTrainerDropping": Case(
        bad={own("foretoken_trainer_dropped_total"): f"0+3{EVER}"},
        good={own("foretoken_trainer_dropped_total"): f"3{EVER}"},
        fires=INSTANCE,
        summary="router:8000 loses observations before the trainer",
    ),
    "ForetokenRecorderDropping": Case(
        bad={own("foretoken_trace_dropped_total"): f"0+3{EVER}"},
        good={own("foretoken_trace_dropped_total"): f"3{EVER}"},
        fires=INSTANCE,
        summary="router:8000 loses trace records",
    ),
    "ForetokenLogLinesDropped": Case(
        bad={own("foretoken_log_dropped_lines_total"): f"0+3{EVER}"},
        good={own("foretoken_log_dropped_lines_total"): f"3{EVER}"},
        fires=INSTANCE,
        summary="router:8000 loses log lines",
    ),
    "ForetokenBackgroundFailing": Case(
        bad={TASK: f"0+1{EVER}"},
        good={TASK: f"1{EVER}"},
        fires={**INSTANCE, "task": "scraper"},
        summary="scraper of router:8000 keeps failing and starting again",
    ),
}


def promtool(folder: Path, *tests: dict[str, object], step: str = "1m") -> str:
    """Run rule tests; give what is wrong, empty where nothing is."""
    rules = [str(prometheus() / name) for name in ("recording.yml", "alerts.yml")]
    file = folder / "tests.yml"  # JSON is YAML
    order = ["foretoken", "foretoken_days", "foretoken_alerts"]  # what is recorded comes first
    asked = {"rule_files": rules, "evaluation_interval": step, "group_eval_order": order}
    file.write_text(json.dumps({**asked, "tests": tests}))
    done = subprocess.run(
        ["promtool", "test", "rules", str(file)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"GOGC": "off"},  # it ends before its garbage is worth collecting
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def rule_test(name: str, case: Case, values: dict[str, str], *, fires: bool) -> dict[str, object]:
    """Write one rule test of an alert."""
    return of_values(case.step, values, [asked_of(name, case, fires=fires)])


def asked_of(name: str, case: Case, *, fires: bool) -> dict[str, object]:
    """Write what is expected of an alert."""
    (alert,) = [alert for alert in ALERTS if alert.name == name]
    fired = {
        "exp_labels": {"severity": alert.severity, **case.fires},
        "exp_annotations": {"summary": case.summary, "runbook_url": alert.runbook_url},
    }
    return {"eval_time": case.at, "alertname": name, "exp_alerts": [fired] if fires else []}


def of_values(
    step: str, values: dict[str, str], asked: list[dict[str, object]]
) -> dict[str, object]:
    """Write a rule test of any number of alerts."""
    return {
        "interval": step,
        "input_series": [{"series": one, "values": what} for one, what in values.items()],
        "alert_rule_test": asked,
    }


def test_every_alert_has_a_bad_and_a_good_case() -> None:
    assert list(CASES) == [alert.name for alert in ALERTS]


@pytest.mark.parametrize("name", CASES)
def test_an_alert_fires_when_it_should_and_only_then(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    bad = rule_test(name, case, case.bad, fires=True)
    good = rule_test(name, case, case.good, fires=False)

    assert promtool(tmp_path, bad, good, step=case.step) == ""


def test_a_service_without_traffic_is_no_reason_for_an_alert(tmp_path: Path) -> None:
    still = dict.fromkeys((DECISIONS, REQUESTS, FAILED, MET, MISSED, SHED, COLD), f"5{EVER}")
    still |= {UP: f"1{EVER}", WAITING: f"0{EVER}", TRAINER_UP: f"1{EVER}"}
    soon = [(name, case) for name, case in CASES.items() if case.step == "1m"]
    asked = [asked_of(name, case, fires=False) for name, case in soon]

    assert len(soon) > 20
    assert promtool(tmp_path, of_values("1m", still, asked)) == ""


def test_the_tool_says_so_when_an_alert_does_not_fire(tmp_path: Path) -> None:
    case = CASES["ForetokenEndpointDown"]

    problems = promtool(tmp_path, rule_test("ForetokenEndpointDown", case, case.good, fires=True))

    assert "ForetokenEndpointDown" in problems
