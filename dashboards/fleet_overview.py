"""The first dashboard at three in the morning: is something wrong, and is it us or them?

From top to bottom: numbers that say whether to worry, what clients see, whose fault it is,
which endpoint, who waits and why, what was tried again, what work is done and, folded, how
caches are known. Written to JSON by :mod:`dashboards.build`.
"""

from typing import Final

from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

from dashboards.boards import FLEET, MODELS, PREDICTED, TIERS, Section, board
from dashboards.endpoint_panels import endpoint_loads, endpoint_states, endpoint_table
from dashboards.panels import GOOD_HIGH, Query, Steps, lines, number
from dashboards.promql import (
    ENDPOINT,
    MODEL,
    TIER,
    by,
    fallback_share,
    mean,
    of,
    or_none,
    per_second,
    quantile,
)
from dashboards.router_panels import router_sections
from dashboards.scaling_panels import scaling_section

_ENDED: Final = per_second("foretoken_requests_total", MODEL, TIER)
_NONE_IS_GOOD: Final[Steps] = ((None, "green"), (1.0, "red"))
_BUSY: Final[Steps] = ((None, "green"), (0.7, "orange"), (0.95, "red"))
_TTFT: Final = "foretoken_request_ttft_seconds"


def fleet_overview() -> Dashboard:
    """Make the dashboard."""
    return board(
        FLEET,
        "Foretoken: fleet overview",
        "Is something wrong, is it Foretoken or the endpoints, which endpoint, and who waits?",
        [
            Section("Is something wrong?", [_fleet_numbers(), _request_numbers()], height=3),
            Section("What do clients see?", [_seen()]),
            Section("Is it us, or the endpoints?", [_whose()]),
            Section("Which endpoint?", [endpoint_states(), endpoint_loads(), [endpoint_table()]]),
            Section("Who waits, and why?", [_waiting()]),
            scaling_section(),
            Section("What is refused, and what is tried again?", [_again()]),
            Section("How much work is done?", [_work()]),
            *router_sections(),
        ],
    )


def _fleet_numbers() -> list[Panel]:
    up = of("foretoken_endpoint_up", ENDPOINT)
    suspect = of("foretoken_endpoint_suspect", ENDPOINT)
    return [
        number(
            "Alerts",
            'count(ALERTS{alertname=~"Foretoken.*", alertstate="firing"}) or vector(0)',
            unit="none",
            limits=_NONE_IS_GOOD,
            text="Foretoken's alerts that fire now; the runbook has a section for each.",
        ),
        number(
            "Endpoints down",
            f"count({up} == 0) or vector(0)",
            unit="none",
            limits=_NONE_IS_GOOD,
            text="Endpoints that do not answer. The others take their requests.",
        ),
        number(
            "Left alone",
            f"count(max by (endpoint) ({suspect}) == 1) or vector(0)",
            unit="none",
            limits=((None, "green"), (1.0, "orange")),
            text="Endpoints whose breaker is open: they failed, refused or hang.",
        ),
        number(
            "Saturation",
            f"max({of('foretoken_fleet_saturation_ratio', MODEL)})",
            unit="percentunit",
            limits=_BUSY,
            decimals=0,
            text="Demand over capacity of the busiest fleet; what an autoscaler holds at 70 %.",
        ),
        number(
            "Waiting here",
            f"sum({of('foretoken_waiting_requests', MODEL, TIER)})",
            unit="short",
            limits=((None, "green"), (1.0, "orange"), (100.0, "red")),
            text="Held back in our queue until an endpoint can start them.",
        ),
        number("Requests", _ENDED, unit="reqps", text="Ended, whatever their outcome."),
    ]


def _request_numbers() -> list[Panel]:
    completed = per_second("foretoken_requests_total", MODEL, TIER, 'outcome="completed"')
    met = per_second("foretoken_slo_requests_total", TIER, 'met="true"')
    error = of("foretoken_prediction_mdape_ratio", MODEL, 'target="ttft"')
    return [
        number(
            "Completed",
            f"{completed} / {_ENDED}",
            unit="percentunit",
            limits=GOOD_HIGH,
            decimals=1,
            text="Share of the requests that ended well.",
        ),
        number(
            "Objectives met",
            f"{met} / {per_second('foretoken_slo_requests_total', TIER)}",
            unit="percentunit",
            limits=((None, "red"), (0.9, "orange"), (0.95, "green")),
            decimals=1,
            link=TIERS,
            text="Of the requests that had one, their own or their tier's.",
        ),
        number(
            "TTFT p90",
            quantile(0.9, _TTFT, MODEL, TIER),
            unit="s",
            link=PREDICTED,
            text="Receipt to first token; nine in ten are faster.",
        ),
        number(
            "TPOT p90",
            quantile(0.9, "foretoken_request_tpot_seconds", MODEL, TIER),
            unit="s",
            link=PREDICTED,
            text="Mean gap between a request's tokens; nine in ten are shorter.",
        ),
        number(
            "TTFT error",
            by("", error, over="max"),
            unit="percentunit",
            limits=((None, "green"), (0.2, "orange"), (0.3, "red")),
            decimals=0,
            link=PREDICTED,
            text="Median absolute relative error of predictions; alerts at 30 %.",
        ),
        number(
            "By fallback",
            fallback_share(),
            unit="percentunit",
            limits=((None, "green"), (0.05, "orange"), (0.5, "red")),
            decimals=0,
            link=MODELS,
            text="Decisions that predictions could not or must not take; all of them when cold.",
        ),
    ]


def _seen() -> list[Panel]:
    outcomes = per_second("foretoken_requests_total", MODEL, TIER, labels="outcome")
    return [
        lines(
            "Requests by outcome",
            Query(outcomes, "{{outcome}}"),
            unit="reqps",
            stacked=True,
            text="upstream_error and cut are failures of endpoints; shed is refused by us for "
            "want of room; client_gone left before the end.",
        ),
        _felt("Time to first token", "ttft", "From receipt, waiting and retries included."),
        _felt("Time per output token", "tpot", "A request's mean gap between tokens."),
        _felt("End to end", "e2e", "From receipt to the last token; output lengths matter most."),
    ]


def _felt(title: str, stem: str, text: str) -> Panel:
    metric = f"foretoken_request_{stem}_seconds"
    return lines(
        title,
        *(Query(quantile(q, metric, MODEL, TIER), f"p{q * 100:.0f}") for q in (0.5, 0.9, 0.99)),
        unit="s",
        text=text,
        exemplars=True,
    )


def _whose() -> list[Panel]:
    began = per_second(f"{_TTFT}_count", MODEL, TIER)
    queued = f"{per_second('foretoken_queue_wait_seconds_sum')} / {began}"
    decided = mean("foretoken_decision_seconds")
    whole = mean(_TTFT, MODEL, TIER)
    wrong = per_second("foretoken_rejected_requests_total")
    theirs = 'outcome=~"upstream_error|cut"'
    failed = per_second("foretoken_requests_total", MODEL, TIER, theirs)
    return [
        lines(
            "Where the time to first token goes",
            Query(queued, "our queue"),
            Query(decided, "our decision"),
            Query(f"clamp_min({whole} - ({queued}) - ({decided}), 0)", "endpoints"),
            unit="s",
            stacked=True,
            text="Means per request. What is neither our queue nor our decision was spent at "
            "endpoints (or on the way there, retries included).",
        ),
        lines(
            "Whose failures",
            Query(f"{failed} or vector(0)", "endpoints failed"),
            Query(per_second("foretoken_shed_requests_total"), "refused by us"),
            Query(f"{wrong} or vector(0)", "wrong requests"),
            Query(per_second("foretoken_background_failures_total"), "our background tasks"),
            unit="reqps",
            text="Endpoints that fail, what we refuse for want of room, what clients ask "
            "wrongly, and tasks of ours that failed and started again.",
        ),
        lines(
            "Saturation by fleet",
            Query(of("foretoken_fleet_saturation_ratio", MODEL), "{{model_name}}"),
            unit="percentunit",
            top=1.0,
            limits=((0.7, "orange"), (0.95, "red")),
            text="Demand over capacity. Above 100 % waiting grows whoever decides: add endpoints.",
        ),
        lines(
            "Spare capacity",
            Query(of("foretoken_fleet_spare_requests_per_second", MODEL), "{{model_name}}"),
            unit="reqps",
            text="Requests like the recent ones that the fleet could take on top.",
        ),
    ]


def _waiting() -> list[Panel]:
    waiting = of("foretoken_waiting_requests", MODEL, TIER)
    waited = per_second("foretoken_queue_wait_seconds_count", labels="reason")
    return [
        lines(
            "Waiting here, by why",
            Query(by("reason", waiting), "{{reason}}"),
            unit="short",
            stacked=True,
            text="no_endpoint: all are down or left alone. endpoints_full: it would only queue "
            "there. objectives_at_risk: it would break what others were promised. "
            "behind_others: such a one waits already.",
        ),
        lines(
            "Waiting here, by tier",
            Query(by("tier", waiting), "{{tier}}"),
            unit="short",
            stacked=True,
            text="Higher tiers go first; a lower one has a turn every few seconds.",
        ),
        lines(
            "Had to wait",
            Query(waited, "{{reason}}"),
            unit="reqps",
            stacked=True,
            text="Requests a second that left the queue, by why they last waited.",
        ),
        lines(
            "How long",
            Query(quantile(0.5, "foretoken_queue_wait_seconds"), "p50"),
            Query(quantile(0.9, "foretoken_queue_wait_seconds"), "p90"),
            Query(
                by("", of("foretoken_oldest_wait_seconds", MODEL, TIER), over="max"), "oldest now"
            ),
            unit="s",
            text="Of those that waited. The oldest now tells whether the queue drains.",
        ),
    ]


def _again() -> list[Panel]:
    retried = per_second("foretoken_retries_total")
    wrong = per_second("foretoken_rejected_requests_total", labels="reason")
    return [
        lines(
            "Refused",
            Query(per_second("foretoken_shed_requests_total", labels="reason"), "{{reason}}"),
            unit="reqps",
            stacked=True,
            text="By us, with 429 or 503. objective_infeasible: the fleet cannot meet it under "
            "this load. queue_full, queue_timeout: too little is up or free. "
            "retry_budget_exhausted: an outage is not to be multiplied.",
        ),
        lines(
            "Wrong requests",
            Query(or_none(wrong), "{{reason}}"),
            unit="reqps",
            stacked=True,
            text="Answered with an error of their own: the clients' to mend.",
        ),
        lines(
            "Retries",
            Query(f"{retried} / {_ENDED}", "of requests"),
            unit="percentunit",
            limits=((0.2, "red"),),
            text="Dispatches beyond a request's first. The budget is 20 %, or 10 a second.",
        ),
        lines(
            "Retry budget used",
            Query(of("foretoken_retry_budget_used_ratio", MODEL), "{{model_name}}"),
            unit="percentunit",
            top=1.0,
            limits=((0.8, "red"),),
            text="At 100 % a request whose endpoint fails is refused instead of sent elsewhere.",
        ),
    ]


def _work() -> list[Panel]:
    prompt = per_second("foretoken_prompt_tokens_total", MODEL)
    cached = per_second("foretoken_prefix_cached_tokens_total", MODEL)
    matched = per_second("foretoken_prefix_matched_tokens_total", MODEL)
    reasons = per_second("foretoken_requests_total", MODEL, TIER, labels="reason")
    return [
        lines(
            "Tokens",
            Query(prompt, "prompt"),
            Query(per_second("foretoken_output_tokens_total", MODEL), "output"),
            unit="si:tok/s",
            text="As the endpoints report them.",
        ),
        lines(
            "Prompt tokens found in a cache",
            Query(f"{cached} / {prompt}", "reported"),
            Query(f"{matched} / {prompt}", "predicted"),
            unit="percentunit",
            top=1.0,
            text="Dashed: what we believed when we sent it there.",
        ),
        lines(
            "Decisions by reason",
            Query(reasons, "{{reason}}"),
            unit="reqps",
            stacked=True,
            text="Which path decided; predicted, session, objective_met and explored are the "
            "usual ones, cold and prediction_... are the fallback.",
        ),
        lines(
            "Response cache",
            Query(
                per_second("foretoken_response_cache_requests_total", labels="result"), "{{result}}"
            ),
            unit="reqps",
            stacked=True,
            text="Requests that may be answered by what an equal one got: found, not found, or "
            "joined to one on its way.",
        ),
    ]
