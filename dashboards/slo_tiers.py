"""Which tier loses its objective, how fast does its budget burn, and who pays for whom?

The burn rate is the share of missed objectives over the share that may be missed, after
the SRE workbook ("Alerting on SLOs"): 1 uses the budget up exactly in its period, and each
alert looks at a long window and a short one, so that it is both sure and quick to end.
Written to JSON by :mod:`dashboards.build`.
"""

from typing import Final

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models.dashboard import Dashboard, Panel, VariableOption

from dashboards.boards import TIERS, Section, board
from dashboards.panels import Query, Steps, bars, heats, lines, rows
from dashboards.promql import MODEL, TIER, by, grown, of, per_second, quantile
from dashboards.recording import SLO_TARGET

_JUDGED: Final = "foretoken_slo_requests_total"
_BURNING: Final[Steps] = ((None, "green"), (1.0, "orange"), (6.0, "red"))


def slo_tiers() -> Dashboard:
    """Make the dashboard."""
    return board(
        TIERS,
        "Foretoken: SLO tiers",
        "Which tier loses its objective, how fast does its budget burn, and who waits for whom?",
        [
            Section("Which tier loses its objective?", [_attained(), [_table()]]),
            Section("How fast does the budget burn?", [_burning()]),
            Section("By how much is it met or missed?", [_headroom(), _spread()]),
            Section("What does each tier feel?", [_felt()]),
            Section("Who waits, and who is refused?", [_waiting(), _ended()]),
        ],
        further=[_goal()],
    )


def _goal() -> dashboard.CustomVariable:
    """Offer shares of requests that are to meet their objective."""
    shares, usual = ("0.9", "0.95", "0.99", "0.999"), f"{SLO_TARGET:g}"
    return (
        dashboard.CustomVariable("goal")
        .label("Goal")
        .description("Share of requests that are to meet their objective; the rest is the budget.")
        .values(",".join(shares))
        .options([VariableOption(text=s, value=s, selected=s == usual) for s in shares])
        .current(VariableOption(text=usual, value=usual, selected=True))
    )


def missed(window: str) -> str:
    """Give the share of judged requests of each tier that missed within a window."""
    bad = grown(_JUDGED, TIER, 'met="false"', labels="tier", window=window)
    return f"{bad} / {grown(_JUDGED, TIER, labels='tier', window=window)}"


def burn(window: str) -> str:
    """Give how many times too fast each tier uses up what it may miss."""
    return f"({missed(window)}) / (1 - $goal)"


def _attained() -> list[Panel]:
    met = per_second(_JUDGED, TIER, 'met="true"', labels="tier")
    return [
        bars(
            "Met in the time shown",
            Query(f"1 - {missed('$__range')}", "{{tier}}"),
            unit="percentunit",
            top=1.0,
            limits=((None, "red"), (0.95, "orange"), (SLO_TARGET, "green")),
            text="Of the requests that had an objective, their own or their tier's. One that "
            "failed or was refused missed it; one whose client left is not counted.",
        ),
        bars(
            "Budget left in the time shown",
            Query(f"clamp_min(1 - {burn('$__range')}, 0)", "{{tier}}"),
            unit="percentunit",
            top=1.0,
            limits=((None, "red"), (0.1, "orange"), (0.5, "green")),
            text="Of what may be missed at the chosen goal, if the time shown were the period. "
            "Choose 28 days for a month's budget.",
        ),
        lines(
            "Objectives met",
            Query(f"{met} / {per_second(_JUDGED, TIER, labels='tier')}", "{{tier}}"),
            unit="percentunit",
            top=1.0,
            limits=((SLO_TARGET, "orange"),),
            text="Share of judged requests, over time.",
        ),
    ]


def _table() -> Panel:
    def objective(target: str) -> Query:
        return Query(
            by(
                "tier",
                of("foretoken_slo_objective_seconds", TIER, f'target="{target}"'),
                over="max",
            )
        )

    return rows(
        "Tiers",
        objective("ttft"),
        objective("tpot"),
        Query(by("tier", per_second("foretoken_requests_total", TIER, labels="tier"))),
        Query(f"1 - {missed('$__range')}"),
        Query(burn("1h")),
        Query(by("tier", of("foretoken_inflight_requests", TIER))),
        Query(by("tier", of("foretoken_waiting_requests", TIER))),
        columns={
            "tier": "Tier",
            "Value #A": "TTFT objective",
            "Value #B": "TPOT objective",
            "Value #C": "Requests",
            "Value #D": "Met",
            "Value #E": "Burn rate, 1 h",
            "Value #F": "In flight",
            "Value #G": "Waiting here",
        },
        units={
            "TTFT objective": "s",
            "TPOT objective": "s",
            "Requests": "reqps",
            "Met": "percentunit",
        },
        text="Objectives as configured (a request's own headers come first), and how it stands.",
    )


def _burning() -> list[Panel]:
    def lesser(title: str, long: str, short: str, limit: float, text: str) -> Panel:
        both = f"({burn(long)} < {burn(short)}) or {burn(short)}"
        return lines(
            f"{title} ({long} and {short})",
            Query(both, "{{tier}}"),
            unit="short",
            limits=((limit, "red"),),
            text=f"The lesser of the burn rates over {long} and over {short}. {text}",
        )

    return [
        lesser(
            "Fast",
            "1h",
            "5m",
            14.4,
            "Above 14.4, 2 % of a 30 days' budget went within one hour: wakes somebody.",
        ),
        lesser(
            "Steady",
            "6h",
            "30m",
            6.0,
            "Above 6, 5 % of a 30 days' budget went within six hours: wakes somebody.",
        ),
        lesser(
            "Slow",
            "1d",
            "2h",
            3.0,
            "Above 3, 10 % of a 30 days' budget went within a day: for the morning.",
        ),
        lesser(
            "Slowest",
            "3d",
            "6h",
            1.0,
            "Above 1 the budget will not last its period: for the morning.",
        ),
    ]


def _headroom() -> list[Panel]:
    def left(target: str) -> Panel:
        metric = "foretoken_slo_headroom_ratio"
        match = f'target="{target}"'
        return lines(
            f"{target.upper()} objective left",
            *(
                Query(quantile(q, metric, TIER, match, labels="tier"), f"{{{{tier}}}} {name}")
                for q, name in ((0.5, "median"), (0.1, "tenth with least"))
            ),
            unit="percentunit",
            bottom=None,
            top=1.0,
            limits=((0.0, "red"),),
            text="(objective - actual) / objective: 100 % all left, 0 just met, below missed. "
            "Thin: of the tenth of requests with the least left.",
        )

    return [left("ttft"), left("tpot")]


def _spread() -> list[Panel]:
    return [
        heats(
            f"{target.upper()} objective left, how it is spread",
            per_second(
                "foretoken_slo_headroom_ratio_bucket", TIER, f'target="{target}"', labels="le"
            ),
            unit="percentunit",
            text="Of the tiers chosen above. A band just above zero is packed on purpose; one "
            "below zero is a fleet too small, or a fault.",
        )
        for target in ("ttft", "tpot")
    ]


def _felt() -> list[Panel]:
    def p90(title: str, stem: str) -> Panel:
        actual = f"foretoken_request_{stem}_seconds"
        predicted = f"foretoken_request_predicted_{stem}_seconds"
        objective = of("foretoken_slo_objective_seconds", TIER, f'target="{stem}"')
        shown = [
            Query(quantile(0.9, actual, MODEL, TIER, labels="tier"), "{{tier}}"),
            Query(quantile(0.9, predicted, MODEL, TIER, labels="tier"), "{{tier}} predicted"),
        ]
        if stem != "e2e":
            shown.append(Query(by("tier", objective, over="max"), "{{tier}} objective"))
        return lines(
            title,
            *shown,
            unit="s",
            log=True,
            text="Nine in ten are faster. Dashed: predicted; thin: the tier's objective.",
        )

    return [
        p90("Time to first token, p90", "ttft"),
        p90("Time per output token, p90", "tpot"),
        p90("End to end, p90", "e2e"),
    ]


def _waiting() -> list[Panel]:
    return [
        lines(
            "In flight",
            Query(by("tier", of("foretoken_inflight_requests", TIER)), "{{tier}}"),
            unit="short",
            stacked=True,
            text="Sent to an endpoint and not yet ended.",
        ),
        lines(
            "Waiting here",
            Query(by("tier", of("foretoken_waiting_requests", MODEL, TIER)), "{{tier}}"),
            unit="short",
            stacked=True,
            text="Lower tiers wait so that what higher ones were promised is kept.",
        ),
        lines(
            "The one that waits for longest",
            Query(
                by("tier", of("foretoken_oldest_wait_seconds", MODEL, TIER), over="max"),
                "{{tier}}",
            ),
            unit="s",
            text="0 while none waits. Saw teeth are a queue that drains; a slope is one that does "
            "not.",
        ),
        lines(
            "Room in the queue used",
            Query(by("bound", of("foretoken_queue_used_ratio"), over="max"), "{{bound}}"),
            unit="percentunit",
            top=1.0,
            limits=((0.8, "red"),),
            text="Of how many requests and bytes may wait. At 100 % the next is refused.",
        ),
    ]


def _ended() -> list[Panel]:
    shed = per_second("foretoken_requests_total", MODEL, TIER, 'outcome="shed"', labels="tier")
    every = per_second("foretoken_requests_total", MODEL, TIER, labels="tier")
    unmet = 'reason="objective_unmet"'
    return [
        lines(
            "Requests",
            Query(every, "{{tier}}"),
            unit="reqps",
            stacked=True,
            text="Ended, whatever their outcome.",
        ),
        lines(
            "Refused",
            Query(f"{shed} / {every}", "{{tier}}"),
            unit="percentunit",
            text="Share of the tier's requests that we refused. Only sheddable tiers are, while "
            "there is room to wait.",
        ),
        lines(
            "Sent although no endpoint meets the objective",
            Query(
                per_second("foretoken_requests_total", MODEL, TIER, unmet, labels="tier"),
                "{{tier}}",
            ),
            unit="reqps",
            text="objective_unmet: of tiers that are not sheddable; they go where it is best.",
        ),
        lines(
            "Why it waited, p90 of the wait",
            Query(quantile(0.9, "foretoken_queue_wait_seconds", labels="reason"), "p90 {{reason}}"),
            unit="s",
            text="Over all tiers.",
        ),
    ]
