"""Panels of single endpoints: state, load and a table of all that is known.

Called by :mod:`dashboards.fleet_overview`.
"""

from typing import Final

from grafana_foundation_sdk.models.dashboard import Panel

from dashboards.panels import Query, Unit, levels, lines, rows
from dashboards.promql import ENDPOINT, by, of

# Reasons why an endpoint is left alone, by the number that stands for them in the drawing.
_SUSPECT: Final = {3: "unreachable", 4: "failing", 5: "refusing", 6: "stalled"}


def endpoint_states() -> list[Panel]:
    """Show which endpoint is up, left alone or no longer seen."""
    up = by("endpoint", of("foretoken_endpoint_up", ENDPOINT), over="max")
    draining = by("endpoint", of("foretoken_endpoint_draining", ENDPOINT), over="max")
    suspect = " or ".join(
        of("foretoken_endpoint_suspect", ENDPOINT, f'reason="{reason}"') + f" * {code}"
        for code, reason in _SUSPECT.items()
    )
    left_alone = by("endpoint", suspect, over="max")
    opened = f"rate({of('foretoken_endpoint_suspicions_total', ENDPOINT)}[$__rate_interval])"
    return [
        levels(
            "State",
            Query(f"({up} == 0) or ({left_alone} > 0) or (1 + {draining})", "{{endpoint}}"),
            names={
                0: ("down", "red"),
                1: ("up", "green"),
                2: ("draining", "blue"),
                **{code: (reason, "orange") for code, reason in _SUSPECT.items()},
            },
            text="down: does not answer. draining: gets no further requests. Left alone, its "
            "breaker open: unreachable, a dispatch failed; failing, 5xx or 429; refusing, 401, "
            "403, 404 again and again; stalled, silent while it should answer: the engine hangs.",
        ),
        lines(
            "Breaker opened",
            Query(f"sum by (endpoint) ({opened})", "{{endpoint}}"),
            unit="cps",
            text="Times a second that an endpoint was found to fail, or failed its trial. The "
            "state beside says how.",
        ),
        lines(
            "Age of what is known",
            Query(
                f"max by (endpoint) ({of('foretoken_endpoint_scrape_age_seconds', ENDPOINT)})",
                "{{endpoint}}",
            ),
            unit="s",
            limits=((2.0, "orange"), (10.0, "red")),
            text="Since the last good scrape. Past 2 s an endpoint is left alone while there are "
            "others; past 10 s it alerts.",
        ),
    ]


def endpoint_loads() -> list[Panel]:
    """Show how full each endpoint is."""

    def each(title: str, metric: str, unit: Unit, text: str, top: float | None = None) -> Panel:
        expr = by("endpoint", of(metric, ENDPOINT), over="sum" if unit == "short" else "max")
        return lines(title, Query(expr, "{{endpoint}}"), unit=unit, text=text, top=top)

    return [
        each(
            "In flight",
            "foretoken_inflight_requests",
            "short",
            "Sent by this router and not yet ended. One that stands out is slow, or holds many "
            "prefixes.",
        ),
        each(
            "Without a first token",
            "foretoken_queued_requests",
            "short",
            "Sent there, no token yet: in the endpoint's queue or in prefill.",
        ),
        each(
            "Saturation by endpoint",
            "foretoken_endpoint_saturation_ratio",
            "percentunit",
            "The fullest of batch, KV cache and compute.",
            1.0,
        ),
        each(
            "KV cache in use",
            "foretoken_endpoint_kv_cache_usage_ratio",
            "percentunit",
            "As the endpoint says. Near 100 % vLLM preempts requests.",
            1.0,
        ),
    ]


def endpoint_table() -> Panel:
    """List all endpoints with everything known of them."""

    def each(metric: str, over: str = "max") -> Query:
        return Query(by("endpoint", of(metric, ENDPOINT), over=over))

    return rows(
        "Endpoints",
        each("foretoken_endpoint_up"),
        each("foretoken_endpoint_suspect"),
        each("foretoken_inflight_requests", "sum"),
        each("foretoken_endpoint_running_requests"),
        each("foretoken_endpoint_waiting_requests"),
        each("foretoken_endpoint_kv_cache_usage_ratio"),
        each("foretoken_endpoint_saturation_ratio"),
        each("foretoken_endpoint_spare_requests_per_second"),
        each("foretoken_endpoint_scrape_age_seconds"),
        columns={
            "endpoint": "Endpoint",
            "Value #A": "Up",
            "Value #B": "Left alone",
            "Value #C": "In flight (ours)",
            "Value #D": "Running",
            "Value #E": "Waiting there",
            "Value #F": "KV cache",
            "Value #G": "Saturation",
            "Value #H": "Spare",
            "Value #I": "Scraped",
        },
        units={
            "KV cache": "percentunit",
            "Saturation": "percentunit",
            "Spare": "reqps",
            "Scraped": "s",
        },
        text="All endpoints as they are at this moment.",
    )
