"""What the Grafana dashboard shows: fleet, predictions, models, fallback.

One page on purpose: whoever doubts a routing decision needs all of it side by side.
Metric names are those of :mod:`proxy.metrics` and :mod:`proxy.fleet_metrics`; a test
compares. Written to JSON by :mod:`dashboards.build`.
"""

from collections.abc import Sequence

from dashboards.panels import DATASOURCE, Json, lay_out, series, stat, table

_MODEL = 'model_name=~"$model_name"'
_REASON = "by (reason)"


def dashboard() -> Json:
    """Build the dashboard as Grafana imports it."""
    return {
        "uid": "foretoken",
        "title": "Foretoken",
        "description": "Predicted-latency scheduling of a vLLM fleet.",
        "tags": ["foretoken", "vllm"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "timezone": "browser",
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": _variables()},
        "panels": lay_out(
            [
                ("Fleet", 5, _now()),
                ("Requests and endpoints", 8, _fleet()),
                ("Predicted against actual", 9, _predicted()),
                ("Prediction errors", 8, _errors()),
                ("Model", 8, _model()),
                ("Training", 8, _training()),
                ("Fallback, objectives and refusals", 8, _fallback()),
                ("Tokens and scheduling", 8, _tokens()),
            ]
        ),
    }


def _variables() -> list[Json]:
    return [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
        {
            "name": "model_name",
            "label": "Model",
            "type": "query",
            "datasource": DATASOURCE,
            "query": {
                "query": "label_values(foretoken_requests_total, model_name)",
                "refId": "model_name",
            },
            "includeAll": True,
            "allValue": ".*",
            "multi": True,
            "current": {"text": "All", "value": "$__all"},
            "refresh": 2,
        },
    ]


def _rate(metric: str, by: str, *labels: str) -> str:
    return f"sum {by} (rate({metric}{{{', '.join(labels)}}}[$__rate_interval]))"


def _quantile(q: float, metric: str) -> str:
    return f"histogram_quantile({q}, {_rate(f'{metric}_bucket', 'by (le)', _MODEL)})"


def _now() -> Sequence[Json]:
    ended = _rate("foretoken_requests_total", "", _MODEL)
    completed = _rate("foretoken_requests_total", "", _MODEL, 'outcome="completed"')
    return [
        stat("Endpoints up", "sum(foretoken_endpoint_up)", unit="short", description="Of all."),
        stat(
            "In flight",
            "sum(foretoken_inflight_requests)",
            unit="short",
            description="Sent by this router and not yet ended.",
        ),
        stat(
            "Waiting here",
            "sum(foretoken_waiting_requests)",
            unit="short",
            description="Held back until an endpoint can take them.",
        ),
        stat("Requests", ended, unit="reqps", description="Ended, whatever their outcome."),
        stat(
            "Completed",
            f"{completed} / {ended}",
            unit="percentunit",
            description="Share of the requests that ended well.",
        ),
        stat(
            "TTFT error",
            f'avg(foretoken_prediction_mdape_ratio{{{_MODEL}, target="ttft"}})',
            unit="percentunit",
            description="Median absolute relative error of the model being served.",
        ),
    ]


def _fleet() -> Sequence[Json]:
    return [
        series(
            "Requests by outcome",
            (_rate("foretoken_requests_total", "by (outcome)", _MODEL), "{{outcome}}"),
            unit="reqps",
            description="upstream_error and cut are failures of endpoints, shed is ours.",
            stacked=True,
        ),
        series(
            "In flight by endpoint",
            ("sum by (endpoint) (foretoken_inflight_requests)", "{{endpoint}}"),
            ("sum(foretoken_waiting_requests)", "waiting here"),
            unit="short",
            description="An endpoint that stands out is slow, or holds many prefixes.",
        ),
        series(
            "Scrape age",
            ("max by (endpoint) (foretoken_endpoint_scrape_age_seconds)", "{{endpoint}}"),
            unit="s",
            description="Age of what is known of an endpoint; old numbers mislead decisions.",
        ),
        series(
            "Failures",
            (
                "sum by (endpoint) (rate(foretoken_scrape_failures_total[$__rate_interval]))",
                "scrape {{endpoint}}",
            ),
            ("sum(rate(foretoken_retries_total[$__rate_interval]))", "retries"),
            unit="cps",
            description="Scrapes that failed, and dispatches beyond a request's first.",
        ),
    ]


def _predicted() -> Sequence[Json]:
    def both(title: str, stem: str, description: str) -> Json:
        actual, predicted = f"foretoken_request_{stem}", f"foretoken_request_predicted_{stem}"
        return series(
            title,
            (_quantile(0.5, actual), "p50"),
            (_quantile(0.5, predicted), "p50 predicted"),
            (_quantile(0.9, actual), "p90"),
            (_quantile(0.9, predicted), "p90 predicted"),
            unit="s",
            description=description,
        )

    return [
        both("Time to first token", "ttft_seconds", "Receipt to first token; dashed: predicted."),
        both("Time per output token", "tpot_seconds", "Mean gap of tokens; dashed: predicted."),
        series(
            "End to end",
            (_quantile(0.5, "foretoken_request_e2e_seconds"), "p50"),
            (_quantile(0.9, "foretoken_request_e2e_seconds"), "p90"),
            (_quantile(0.99, "foretoken_request_e2e_seconds"), "p99"),
            unit="s",
            description="Receipt to the last token.",
        ),
    ]


def _errors() -> Sequence[Json]:
    bucket = "foretoken_request_prediction_error_ratio_bucket"

    def signed(target: str) -> Json:
        rate = _rate(bucket, "by (le)", _MODEL, f'target="{target}"')
        return series(
            f"{target.upper()} error, signed",
            *((f"histogram_quantile({q}, {rate})", f"p{q * 100:.0f}") for q in (0.1, 0.5, 0.9)),
            unit="percentunit",
            description="(predicted - actual) / actual. The middle line should lie on zero.",
        )

    return [
        signed("ttft"),
        signed("tpot"),
        series(
            "Median absolute error",
            (f"foretoken_prediction_mdape_ratio{{{_MODEL}}}", "{{model_name}} {{target}}"),
            unit="percentunit",
            description="Prequential: each request scored before it is learned from.",
        ),
        series(
            "Coverage of the 90 % quantile",
            (f"foretoken_prediction_coverage_ratio{{{_MODEL}}}", "{{model_name}} {{target}}"),
            unit="percentunit",
            description="Below 90 %: objectives are judged too hopefully; above: too carefully.",
        ),
    ]


def _model() -> Sequence[Json]:
    def weights(target: str) -> Json:
        metric = "foretoken_expert_weight_ratio"
        expression = f'avg by (expert) ({metric}{{{_MODEL}, target="{target}"}})'
        return series(
            f"{target.upper()} expert weights",
            (expression, "{{expert}}"),
            unit="percentunit",
            description="Who is listened to, by prequential error.",
            stacked=True,
        )

    return [
        table(
            "Models served",
            f"foretoken_model_info{{{_MODEL}}}",
            hidden=("Time", "Value", "__name__", "job"),
            description="What each fleet's predictions rest on.",
        ),
        weights("ttft"),
        weights("tpot"),
        series(
            "Drift",
            (
                f"sum by (model_name, target) (increase(foretoken_drift_events_total{{{_MODEL}}}"
                "[$__rate_interval]))",
                "{{model_name}} {{target}}",
            ),
            unit="short",
            description="Changes detected in the prediction error.",
        ),
    ]


def _training() -> Sequence[Json]:
    def counted(metric: str, label: str) -> str:
        return f"sum by ({label}) (increase({metric}[$__rate_interval]))"

    return [
        series(
            "Training runs",
            (counted("foretoken_training_runs_total", "result"), "{{result}}"),
            unit="short",
            description="Runs by result; no run at all under traffic means a dead trainer.",
            stacked=True,
        ),
        series(
            "Training time",
            (
                "histogram_quantile(0.9, sum by (le) "
                "(rate(foretoken_training_seconds_bucket[$__rate_interval])))",
                "p90",
            ),
            unit="s",
            description="In a process of its own: it does not stall tokens.",
        ),
        series(
            "Rows of the last training",
            (f"foretoken_training_rows{{{_MODEL}}}", "{{model_name}}"),
            unit="short",
            description="Observations in the sliding window.",
        ),
        series(
            "Not learned from, not recorded",
            (counted("foretoken_refused_observations_total", "reason"), "refused: {{reason}}"),
            ("increase(foretoken_trainer_dropped_total[$__rate_interval])", "trainer too slow"),
            ("increase(foretoken_trace_dropped_total[$__rate_interval])", "recorder too slow"),
            unit="short",
            description="Observations and records that were lost, and why.",
        ),
    ]


def _fallback() -> Sequence[Json]:
    judged = _rate("foretoken_slo_requests_total", "by (tier)")
    met = _rate("foretoken_slo_requests_total", "by (tier)", 'met="true"')
    return [
        series(
            "Decisions by reason",
            (_rate("foretoken_requests_total", _REASON, _MODEL), "{{reason}}"),
            unit="reqps",
            description="Which path decided.",
            stacked=True,
        ),
        series(
            "Fallback decisions",
            (_rate("foretoken_fallback_decisions_total", _REASON), "{{reason}}"),
            unit="reqps",
            description="The predictor could not, or must not, decide.",
            stacked=True,
        ),
        series(
            "Objectives met",
            (f"{met} / {judged}", "{{tier}}"),
            unit="percentunit",
            description="Of the requests that had one.",
        ),
        series(
            "Refused",
            (_rate("foretoken_shed_requests_total", _REASON), "shed: {{reason}}"),
            (_rate("foretoken_rejected_requests_total", _REASON), "rejected: {{reason}}"),
            unit="reqps",
            description="Shed for want of capacity, or rejected as wrong in themselves.",
        ),
    ]


def _tokens() -> Sequence[Json]:
    prompt = _rate("foretoken_prompt_tokens_total", "", _MODEL)
    return [
        series(
            "Tokens",
            (prompt, "prompt"),
            (_rate("foretoken_output_tokens_total", "", _MODEL), "output"),
            unit="cps",
            description="Per second, as reported by the endpoints.",
        ),
        series(
            "Prefix cache",
            (f"{_rate('foretoken_prefix_cached_tokens_total', '', _MODEL)} / {prompt}", "reported"),
            (
                f"{_rate('foretoken_prefix_matched_tokens_total', '', _MODEL)} / {prompt}",
                "predicted",
            ),
            unit="percentunit",
            description="Share of prompt tokens found in a cache; dashed: what we believed.",
        ),
        series(
            "Time to decide",
            *(
                (
                    f"histogram_quantile({q}, sum by (le) "
                    "(rate(foretoken_decision_seconds_bucket[$__rate_interval])))",
                    f"p{q * 100:.0f}",
                )
                for q in (0.5, 0.99)
            ),
            unit="s",
            description="Features, prediction of every candidate and policy, per request.",
        ),
    ]
