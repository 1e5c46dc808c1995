"""Write PromQL: every selector takes Grafana's variables in, so that all panels obey them.

Rates use ``$__rate_interval``, which Grafana makes at least four scrapes long. Pure text;
called by the dashboards.
"""

from typing import Final

JOB: Final = 'job=~"$job"'
MODEL: Final = 'model_name=~"$model_name"'
ENDPOINT: Final = 'endpoint=~"$endpoint"'
TIER: Final = 'tier=~"$tier"'
# scheduler.FALLBACK_REASONS; and what was answered without any decision.
_FALLBACK: Final = (
    "cold|kill_switch|prediction_failed|prediction_inaccurate|prediction_slow|scores_unusable"
)
_UNPLACED: Final = "none|cache_hit|cache_coalesced"


def of(metric: str, *matchers: str) -> str:
    """Select the series of a metric.

    >>> of("foretoken_endpoint_up", ENDPOINT)
    'foretoken_endpoint_up{job=~"$job", endpoint=~"$endpoint"}'
    """
    return f"{metric}{{{', '.join((JOB, *matchers))}}}"


def by(labels: str, expression: str, *, over: str = "sum") -> str:
    """Aggregate an expression, by labels where some are named.

    >>> by("tier", "x"), by("", "x", over="max")
    ('sum by (tier) (x)', 'max(x)')
    """
    return f"{over} by ({labels}) ({expression})" if labels else f"{over}({expression})"


def per_second(
    metric: str, *matchers: str, labels: str = "", window: str = "$__rate_interval"
) -> str:
    """Give how fast a counter grows.

    >>> per_second("foretoken_retries_total")
    'sum(rate(foretoken_retries_total{job=~"$job"}[$__rate_interval]))'
    """
    return by(labels, f"rate({of(metric, *matchers)}[{window}])")


def grown(metric: str, *matchers: str, labels: str = "", window: str = "$__rate_interval") -> str:
    """Give by how much a counter has grown within a window.

    >>> grown("foretoken_retries_total", window="1h")
    'sum(increase(foretoken_retries_total{job=~"$job"}[1h]))'
    """
    return by(labels, f"increase({of(metric, *matchers)}[{window}])")


def fallback_share() -> str:
    """Give the share of placed requests that predictions could not or must not decide.

    Both sides count requests at their end, so that they are the same requests.
    """
    fallen = per_second("foretoken_requests_total", MODEL, f'reason=~"{_FALLBACK}"')
    placed = per_second("foretoken_requests_total", MODEL, f'reason!~"{_UNPLACED}"')
    return f"{fallen} / {placed}"


def or_none(expression: str) -> str:
    """Give an expression by reason, "none" at 0 while it has no series: 0 is no gap.

    >>> or_none("x")
    'x or on () label_replace(vector(0), "reason", "none", "", "")'
    """
    return f'{expression} or on () label_replace(vector(0), "reason", "none", "", "")'


def quantile(
    q: float, metric: str, *matchers: str, labels: str = "", window: str = "$__rate_interval"
) -> str:
    """Give a quantile of a histogram, named without ``_bucket``.

    >>> print(quantile(0.9, "x", labels="model_name", window="5m"))
    histogram_quantile(0.9, sum by (le, model_name) (rate(x_bucket{job=~"$job"}[5m])))
    """
    grouped = f"le, {labels}" if labels else "le"
    buckets = per_second(f"{metric}_bucket", *matchers, labels=grouped, window=window)
    return f"histogram_quantile({q}, {buckets})"


def mean(metric: str, *matchers: str, labels: str = "", window: str = "$__rate_interval") -> str:
    """Give the mean of what a histogram has taken in.

    >>> mean("h").count("rate(")
    2
    """
    total = per_second(f"{metric}_sum", *matchers, labels=labels, window=window)
    return f"{total} / {per_second(f'{metric}_count', *matchers, labels=labels, window=window)}"
