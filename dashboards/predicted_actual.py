"""Can the predictions be trusted, and what would another policy have done?

Predicted beside actual, the signed error, the coverage of stated quantiles, who predicts
and how well, the prefix matches that predictions rest on, and the policy in shadow.
Written to JSON by :mod:`dashboards.build`.
"""

from typing import Final

from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

from dashboards.boards import PREDICTED, Section, board
from dashboards.panels import Query, Steps, heats, lines, number
from dashboards.promql import MODEL, TIER, by, grown, of, per_second, quantile

_ERROR: Final = "foretoken_request_prediction_error_ratio"
_TARGETS: Final = ("ttft", "tpot")
_OFF: Final[Steps] = ((None, "green"), (0.2, "orange"), (0.3, "red"))
_COVERED: Final[Steps] = ((None, "red"), (0.8, "orange"), (0.85, "green"), (0.97, "orange"))


def predicted_actual() -> Dashboard:
    """Make the dashboard."""
    return board(
        PREDICTED,
        "Foretoken: predicted against actual",
        "Can the predictions be trusted: how far off, in which direction, how sure, and whose?",
        [
            Section("Can they be trusted at the moment?", [_numbers()], height=4),
            Section("Do predictions follow what happens? (dashed: predicted)", [_both()]),
            Section("How far off, and in which direction?", [_signed(), _spread()]),
            Section("Does a stated 90 % hold?", [_sure()]),
            Section("Who predicts, and who is right?", [_experts(), _layers()]),
            Section("Is the idea of the prefix caches right?", [_prefixes()]),
            Section("Would another policy do better?", [_shadow()]),
        ],
    )


def _target(target: str) -> str:
    return f'target="{target}"'


def _covered(target: str, q: str, *, labels: str = "") -> str:
    """Give the share of requests at or below the quantile that was stated for them."""
    hit = per_second(
        "foretoken_prediction_covered_requests_total",
        MODEL,
        _target(target),
        f'quantile="{q}"',
        labels=labels,
    )
    judged = per_second(f"{_ERROR}_count", MODEL, _target(target), labels=labels)
    return f"clamp_max({hit} / {judged}, 1)"  # their first counts may come a scrape apart


def _numbers() -> list[Panel]:
    shown = []
    for target in _TARGETS:
        name = target.upper()
        error = of("foretoken_prediction_mdape_ratio", MODEL, _target(target))
        shown += [
            number(
                f"{name} error",
                by("", error, over="max"),
                unit="percentunit",
                limits=_OFF,
                decimals=1,
                text="Median absolute relative error, each request scored before it is learned "
                "from. Of the fleet that is predicted worst.",
            ),
            number(
                f"{name} bias",
                quantile(0.5, _ERROR, MODEL, _target(target)),
                unit="percentunit",
                limits=((None, "orange"), (-0.15, "green"), (0.15, "orange")),
                decimals=1,
                text="Median of (predicted - actual) / actual: below zero too hopeful, above too "
                "careful.",
            ),
            number(
                f"{name} p90 holds",
                _covered(target, "0.9"),
                unit="percentunit",
                limits=_COVERED,
                decimals=1,
                text="Share of requests at or below their stated 90 % quantile.",
            ),
        ]
    judged = of("foretoken_prediction_labels_total", MODEL)
    drifts = of("foretoken_drift_events_total", MODEL)
    return [
        *shown,
        number(
            "Labels learned",
            by("", f"rate({judged}[$__rate_interval])"),
            unit="cps",
            text="Measurements a second that predictors have learned from. None under traffic "
            "means that all are refused.",
        ),
        number(
            "Drifts",
            by("", f"increase({drifts}[$__range])"),
            unit="none",
            decimals=0,
            limits=((None, "green"), (1.0, "orange")),
            text="Changes detected in the prediction error, in the time shown.",
        ),
    ]


def _both() -> list[Panel]:
    def pair(title: str, stem: str, text: str) -> Panel:
        actual = f"foretoken_request_{stem}_seconds"
        predicted = f"foretoken_request_predicted_{stem}_seconds"
        queries = []
        for q in (0.5, 0.9):
            name = f"p{q * 100:.0f}"
            queries += [
                Query(quantile(q, actual, MODEL, TIER), name),
                Query(quantile(q, predicted, MODEL, TIER), f"{name} predicted"),
            ]
        return lines(title, *queries, unit="s", text=text, exemplars=True)

    return [
        pair("Time to first token", "ttft", "From receipt to the first token."),
        pair("Time per output token", "tpot", "A request's mean gap between tokens."),
        pair(
            "End to end",
            "e2e",
            "From receipt to the last token. Rests on an expected output length as well.",
        ),
        pair("Gap between tokens", "itl", "Counted once per gap: by token, not by request."),
    ]


def _signed() -> list[Panel]:
    def quantiles(target: str) -> Panel:
        return lines(
            f"{target.upper()} error, signed",
            *(
                Query(quantile(q, _ERROR, MODEL, _target(target)), f"p{q * 100:.0f}")
                for q in (0.1, 0.5, 0.9)
            ),
            unit="percentunit",
            bottom=None,
            text="(predicted - actual) / actual. The middle line should lie on zero; the others "
            "say how far the usual miss goes, either way.",
        )

    error = of("foretoken_prediction_mdape_ratio", MODEL)
    return [
        quantiles("ttft"),
        quantiles("tpot"),
        lines(
            "Median absolute error",
            Query(error, "{{model_name}} {{target}}"),
            unit="percentunit",
            limits=((0.3, "red"),),
            text="Of recent requests, by fleet. Alerts at 30 %.",
        ),
    ]


def _spread() -> list[Panel]:
    return [
        heats(
            f"{target.upper()} error, how it is spread",
            per_second(f"{_ERROR}_bucket", MODEL, _target(target), labels="le"),
            unit="percentunit",
            text="Requests by (predicted - actual) / actual: one narrow band around zero is "
            "good; two bands mean two kinds of requests or endpoints.",
        )
        for target in _TARGETS
    ]


def _sure() -> list[Panel]:
    stated = ("0.5", "0.9", "0.99")

    def coverage(target: str) -> Panel:
        return lines(
            f"{target.upper()} at or below its stated quantile",
            *(Query(_covered(target, q), f"p{float(q) * 100:.0f}") for q in stated),
            unit="percentunit",
            top=1.0,
            limits=((0.9, "orange"),),
            text="Each line should lie at its own height: 50 %, 90 %, 99 %. Lower: objectives "
            "are judged too hopefully; higher: too carefully, and more is refused than need be.",
        )

    recent = of("foretoken_prediction_coverage_ratio", MODEL)
    drift = grown("foretoken_drift_events_total", MODEL, labels="model_name, target")
    return [
        coverage("ttft"),
        coverage("tpot"),
        lines(
            "Coverage of the 90 % quantile, by fleet",
            Query(recent, "{{model_name}} {{target}}"),
            unit="percentunit",
            top=1.0,
            limits=((0.9, "orange"),),
            text="Of recent labels. Alerts below 80 %.",
        ),
        lines(
            "Drift",
            Query(drift, "{{model_name}} {{target}}"),
            unit="short",
            text="Changes detected in the prediction error; intervals are widened for a while.",
        ),
    ]


def _experts() -> list[Panel]:
    def weights(target: str) -> Panel:
        metric = of("foretoken_expert_weight_ratio", MODEL, _target(target))
        return lines(
            f"{target.upper()}: who is listened to",
            Query(by("expert", metric, over="avg"), "{{expert}}"),
            unit="percentunit",
            stacked=True,
            top=1.0,
            text="Share in the mixture, by recent error of each expert.",
        )

    def errors(target: str) -> Panel:
        metric = of("foretoken_expert_error_ratio", MODEL, _target(target))
        return lines(
            f"{target.upper()}: error of each expert",
            Query(by("expert", metric, over="avg"), "{{expert}}"),
            unit="percentunit",
            text="Mean absolute error of late, each scored before it learned.",
        )

    return [weights("ttft"), errors("ttft"), weights("tpot"), errors("tpot")]


def _layers() -> list[Panel]:
    served = per_second(f"{_ERROR}_count", MODEL, _target("ttft"), labels="layer")

    def medians(target: str) -> Panel:
        return lines(
            f"{target.upper()} error by layer, signed median",
            Query(quantile(0.5, _ERROR, MODEL, _target(target), labels="layer"), "{{layer}}"),
            unit="percentunit",
            bottom=None,
            text="cold: nothing learned yet. prior: physics. mixture: with trained trees.",
        )

    return [
        lines(
            "Requests by the layer that predicted",
            Query(served, "{{layer}}"),
            unit="reqps",
            stacked=True,
            text="cold: nothing learned yet. prior: physics alone. mixture: with trained trees.",
        ),
        medians("ttft"),
        medians("tpot"),
    ]


def _prefixes() -> list[Panel]:
    prompt = per_second("foretoken_prompt_tokens_total", MODEL)
    cached = per_second("foretoken_prefix_cached_tokens_total", MODEL)
    matched = per_second("foretoken_prefix_matched_tokens_total", MODEL)
    results = per_second("foretoken_prefix_matches_total", labels="index, result")
    off = "foretoken_prefix_match_error_ratio"
    return [
        lines(
            "Prompt tokens in a cache",
            Query(f"{cached} / {prompt}", "reported"),
            Query(f"{matched} / {prompt}", "predicted"),
            unit="percentunit",
            top=1.0,
            text="Endpoints report them with --enable-prompt-tokens-details.",
        ),
        lines(
            "Match off by, of the prompt",
            *(
                Query(quantile(q, off, MODEL, labels="index"), f"p{q * 100:.0f} {{{{index}}}}")
                for q in (0.1, 0.5, 0.9)
            ),
            unit="percentunit",
            bottom=None,
            text="(predicted - reported) / prompt tokens. Above zero we believe too much.",
        ),
        lines(
            "Matches",
            Query(results, "{{index}}: {{result}}"),
            unit="reqps",
            stacked=True,
            text="By the index they came from (exact: KV events) and how they compare with what "
            "the endpoint reported: exactly so, more or fewer tokens than there were.",
        ),
    ]


def _shadow() -> list[Panel]:
    same = per_second(
        "foretoken_shadow_decisions_total", MODEL, 'same="true"', labels="shadow_policy"
    )
    every = per_second("foretoken_shadow_decisions_total", MODEL, labels="shadow_policy")
    ours = per_second(
        "foretoken_decision_predicted_e2e_seconds_total", MODEL, labels="shadow_policy"
    )
    theirs = per_second(
        "foretoken_shadow_predicted_e2e_seconds_total", MODEL, labels="shadow_policy"
    )
    e2e, placed = "foretoken_request_e2e_seconds", 'policy!="none"'  # none: from the cache
    return [
        lines(
            "Would have gone to the same endpoint",
            Query(f"{same} / {every}", "{{shadow_policy}}"),
            unit="percentunit",
            top=1.0,
            text="Share of decisions on which the policy in shadow agrees.",
        ),
        lines(
            "Predicted gain of the policy in shadow",
            Query(f"1 - {theirs} / {ours}", "{{shadow_policy}}"),
            unit="percentunit",
            bottom=None,
            text="Of the time to the last token, by our own predictions. Above zero: the policy "
            "in shadow would be faster for the requests themselves (what they cost others is "
            "not in it).",
        ),
        lines(
            "Decided by",
            Query(per_second(f"{e2e}_count", MODEL, TIER, placed, labels="policy"), "{{policy}}"),
            unit="reqps",
            stacked=True,
            text="Completed requests by the policy that placed them; a canary's share shows here.",
        ),
        lines(
            "Time to the last token by policy",
            Query(quantile(0.5, e2e, MODEL, TIER, placed, labels="policy"), "p50 {{policy}}"),
            Query(quantile(0.9, e2e, MODEL, TIER, placed, labels="policy"), "p90 {{policy}}"),
            unit="s",
            text="What a canary is judged by. Traffic differs where the share is not random.",
        ),
    ]
