"""What is worth computing once, for alerts and dashboards alike.

Names are Prometheus' ``level:metric:operation``, the level being the labels that are left,
``foretoken`` standing for all of ours. Ratios of what did not happen are left out, not 0.
Written to YAML by :mod:`dashboards.build`.

Source of the windows and burn rates: B. Beyer et al., The Site Reliability Workbook (2018),
chapter 5, "Multiwindow, Multi-Burn-Rate Alerts", table 5-8.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from dashboards.rule_file import rule, rule_file

SLO_TARGET: Final = 0.99
"""Share of the judged requests of a tier that should meet their objective. Whoever wants another
changes the one rule ``foretoken:slo_target:ratio``, by tier if need be."""

SHORT_WINDOWS: Final = ("5m", "30m", "1h", "2h", "6h")
LONG_WINDOWS: Final = ("1d", "3d")
LONG_INTERVAL: Final = "5m"
"""Evaluated so often: a window of days does not change in seconds, and costs most."""

_QUANTILES: Final = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
_TIMES: Final = ("ttft", "tpot", "itl", "e2e")
_JUDGED: Final = "foretoken_slo_requests_total"
_ERROR: Final = "foretoken_request_prediction_error_ratio"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Describe one recording rule.

    Attributes:
        name: Of the series it makes.
        labels: That its series have.
        expr: PromQL.
    """

    name: str
    labels: tuple[str, ...]
    expr: str


def missed(window: str) -> str:
    """Name the share of requests of a tier that missed their objective within a window."""
    return f"foretoken:slo_missed:ratio_rate{window}"


def _missed(window: str) -> Recording:
    judged = f"sum by (tier) (rate({_JUDGED}[{window}])) > 0"
    lost = f'sum by (tier) (rate({_JUDGED}{{met="false"}}[{window}]))'
    return Recording(name=missed(window), labels=("tier",), expr=f"{lost} / ({judged})")


def _quantiles() -> Iterator[Recording]:
    for time in _TIMES:
        for stem in (time, f"predicted_{time}"):
            bucket = f"rate(foretoken_request_{stem}_seconds_bucket[5m])"
            for name, level in _QUANTILES.items():
                yield Recording(
                    name=f"foretoken:request_{stem}_seconds:{name}_rate5m",
                    labels=("model_name", "tier"),
                    expr=f"histogram_quantile({level}, sum by (model_name, tier, le) ({bucket}))",
                )


def _requests() -> Iterator[Recording]:
    every = "sum by (model_name) (rate(foretoken_requests_total[5m]))"
    failed = 'rate(foretoken_requests_total{outcome=~"upstream_error|cut"}[5m])'
    yield Recording(
        name="foretoken:requests:rate5m",
        labels=("model_name", "tier", "outcome"),
        expr="sum by (model_name, tier, outcome) (rate(foretoken_requests_total[5m]))",
    )
    yield Recording(
        name="foretoken:failed_requests:ratio_rate5m",
        labels=("model_name",),
        expr=f"(sum by (model_name) ({failed}) or {every} * 0) / ({every} > 0)",
    )
    yield Recording(
        name="foretoken:shed_requests:ratio_rate5m",
        labels=(),
        expr=(
            "sum(rate(foretoken_shed_requests_total[5m]))"
            " / (sum(rate(foretoken_requests_total[5m])) > 0)"
        ),
    )
    yield Recording(
        name="foretoken:fallback_decisions:ratio_rate5m",
        labels=("reason",),
        expr=(
            "sum by (reason) (rate(foretoken_fallback_decisions_total[5m]))"
            " / on () group_left () (sum(rate(foretoken_decision_seconds_count[5m])) > 0)"
        ),
    )


def _predictions() -> Iterator[Recording]:
    compared = f"sum by (model_name, target) (rate({_ERROR}_count[15m])) > 0"
    covered = (
        "sum by (model_name, target, quantile)"
        " (rate(foretoken_prediction_covered_requests_total[15m]))"
    )
    buckets = f"sum by (model_name, target, layer, le) (rate({_ERROR}_bucket[15m]))"
    yield Recording(
        name="foretoken:prediction_coverage:ratio_rate15m",
        labels=("model_name", "target", "quantile"),
        expr=f"{covered} / on (model_name, target) group_left () ({compared})",
    )
    yield Recording(
        name="foretoken:prediction_bias:median_rate15m",
        labels=("model_name", "target", "layer"),
        expr=f"histogram_quantile(0.5, {buckets})",
    )
    cached = "sum by (model_name) (rate(foretoken_prefix_cached_tokens_total[5m]))"
    prompt = "sum by (model_name) (rate(foretoken_prompt_tokens_total[5m])) > 0"
    yield Recording(
        name="foretoken:prefix_cached:ratio_rate5m",
        labels=("model_name",),
        expr=f"{cached} / ({prompt})",
    )


_TARGET: Final = Recording(
    name="foretoken:slo_target:ratio",
    labels=("tier",),
    expr=f"group by (tier) ({_JUDGED}) * {SLO_TARGET}",
)

RECORDINGS: Final = (
    *_requests(),
    *_quantiles(),
    *_predictions(),
    _TARGET,
    *(_missed(window) for window in SHORT_WINDOWS),
)
SLOW_RECORDINGS: Final = tuple(_missed(window) for window in LONG_WINDOWS)


def recording_yaml() -> str:
    """Write the recording rules as a Prometheus rule file."""
    groups = (
        ("foretoken", None, RECORDINGS),
        ("foretoken_days", LONG_INTERVAL, SLOW_RECORDINGS),
    )
    return rule_file(
        "dashboards/recording.py",
        [
            (name, interval, [rule({"record": one.name, "expr": one.expr}) for one in rules])
            for name, interval, rules in groups
        ],
    )
