"""Is the trainer alive, what is served and why, and what is lost on the way?

Who decides (the ladder), which version rests under it, how trainings go, and every place
where something to learn from can be lost. Written to JSON by :mod:`dashboards.build`.
"""

from typing import Final

from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

from dashboards.boards import MODELS, Section, board
from dashboards.panels import Query, Steps, heats, levels, lines, number, rows
from dashboards.promql import (
    MODEL,
    by,
    fallback_share,
    grown,
    mean,
    of,
    or_none,
    per_second,
    quantile,
)

_NONE_IS_GOOD: Final[Steps] = ((None, "green"), (1.0, "red"))
_RUNS: Final = "foretoken_training_runs_total"


def model_training() -> Dashboard:
    """Make the dashboard."""
    return board(
        MODELS,
        "Foretoken: model and training",
        "Is the trainer alive, what is served and why, and is anything lost before it is learned?",
        [
            Section("Is the trainer alive?", [_numbers()], height=4),
            Section("Who decides, and why?", [_ladder(), _reasons()]),
            Section("What is served?", [_served()]),
            Section("How do trainings go?", [_training()]),
            Section("What is learned, and what is lost?", [_learned(), _lost()]),
        ],
    )


def _numbers() -> list[Panel]:
    accepted = grown(_RUNS, MODEL, 'result="accepted"', window="$__range")
    return [
        number(
            "Trainer",
            by("", of("foretoken_trainer_up"), over="min"),
            unit="none",
            limits=((None, "red"), (1.0, "green")),
            text="1 while its process runs, 0 while it is dead. Serving goes on without it.",
        ),
        number(
            "Last said something",
            by("", of("foretoken_trainer_answer_age_seconds"), over="max"),
            unit="s",
            limits=((None, "green"), (30.0, "orange"), (120.0, "red")),
            text="Every round (3 s) is reported, trained or not: one that is alive and silent is "
            "stopped or starved.",
        ),
        number(
            "Restarts",
            by("", f"increase({of('foretoken_trainer_restarts_total')}[$__range])"),
            unit="none",
            decimals=0,
            limits=_NONE_IS_GOOD,
            text="Times it died and was started again, in the time shown.",
        ),
        number(
            "Accepted",
            accepted,
            unit="none",
            decimals=0,
            text="Trainings whose version was taken into service, in the time shown.",
        ),
        number(
            "Oldest version",
            by("", of("foretoken_model_version_age_seconds", MODEL), over="max"),
            unit="s",
            text="Since the oldest served version was taken into service here.",
        ),
        number(
            "Versions refused",
            by("", of("foretoken_model_skipped", MODEL)),
            unit="none",
            limits=_NONE_IS_GOOD,
            text="Fleets whose version in use could not be served by this process; what was "
            "served stays. `foretoken models list` and the log's model_skipped say why.",
        ),
        number(
            "By fallback",
            fallback_share(),
            unit="percentunit",
            decimals=0,
            limits=((None, "green"), (0.05, "orange"), (0.5, "red")),
            text="Decisions that predictions could not or must not take.",
        ),
        number(
            "Time to decide, p99",
            quantile(0.99, "foretoken_decision_seconds"),
            unit="s",
            limits=((None, "green"), (0.005, "orange"), (0.02, "red")),
            text="Past 20 ms, again and again, the fallback takes over.",
        ),
    ]


def _ladder() -> list[Panel]:
    level = of("foretoken_fallback_level", MODEL)
    changes = grown("foretoken_fallback_changes_total", MODEL, labels="model_name, level, reason")
    return [
        levels(
            "What decides",
            Query(
                f"max by (model_name, level, reason) ({level})",
                "{{model_name}}: {{level}} ({{reason}})",
            ),
            names={1: ("decides", "green")},
            text="The ladder: predictions with trees, of physics alone, the heuristic, the "
            "fewest requests in flight. One row for each level that decided, and why.",
        ),
        lines(
            "Changes of who decides",
            Query(changes, "{{model_name}}: {{level}} ({{reason}})"),
            unit="short",
            text="More than a few an hour is flapping: see scheduler.ladder.hold_s.",
        ),
    ]


def _reasons() -> list[Panel]:
    return [
        lines(
            "Decisions by reason",
            Query(per_second("foretoken_requests_total", MODEL, labels="reason"), "{{reason}}"),
            unit="reqps",
            stacked=True,
            text="Which path placed the requests that ended.",
        ),
        lines(
            "Fallback decisions by reason",
            Query(per_second("foretoken_fallback_decisions_total", labels="reason"), "{{reason}}"),
            unit="reqps",
            stacked=True,
            text="cold: nothing learned yet. prediction_failed, _slow, _inaccurate: the predictor "
            "broke, took too long, or was off threefold. kill_switch: somebody set the mode.",
        ),
        heats(
            "Time to decide",
            per_second("foretoken_decision_seconds_bucket", labels="le"),
            unit="s",
            text="Features, prediction of every candidate and policy. The budget is 20 ms.",
        ),
    ]


def _served() -> list[Panel]:
    return [
        rows(
            "Models served",
            Query(by("model_name, version, layer", of("foretoken_model_info", MODEL), over="max")),
            columns={"model_name": "Model", "version": "Version", "layer": "Rests on"},
            text="What each fleet's predictions rest on: a stored version, and whether trees or "
            "physics alone answer.",
        ),
        lines(
            "Version's age",
            Query(of("foretoken_model_version_age_seconds", MODEL), "{{model_name}}"),
            unit="s",
            text="Falls to zero whenever a version is taken into service.",
        ),
        lines(
            "TTFT: who is listened to",
            Query(
                by(
                    "expert",
                    of("foretoken_expert_weight_ratio", MODEL, 'target="ttft"'),
                    over="avg",
                ),
                "{{expert}}",
            ),
            unit="percentunit",
            stacked=True,
            top=1.0,
            text="ratio and direct are the trees; the others are physics and corrections.",
        ),
    ]


def _training() -> list[Panel]:
    return [
        lines(
            "Trainings by result",
            Query(grown(_RUNS, MODEL, labels="result"), "{{result}}"),
            unit="short",
            stacked=True,
            text="With good predictions most bring nothing better and are refused; that is no "
            "fault. None at all under traffic means a dead or silent trainer.",
        ),
        lines(
            "Time of a training",
            Query(mean("foretoken_training_seconds", window="5m"), "mean"),
            Query(quantile(0.9, "foretoken_training_seconds", window="5m"), "p90"),
            unit="s",
            text="In a process of its own, at most a quarter of one core: it stalls no token.",
        ),
        lines(
            "Rows of the last training",
            Query(of("foretoken_training_rows", MODEL), "{{model_name}}"),
            unit="short",
            text="Of a sliding window of at most 20,000.",
        ),
        lines(
            "Trainer: age of its last word",
            Query(
                by("instance", of("foretoken_trainer_answer_age_seconds"), over="max"),
                "{{instance}}",
            ),
            unit="s",
            limits=((120.0, "red"),),
            text="A dead trainer is started again within seconds; a stopped one only gets older.",
        ),
    ]


def _learned() -> list[Panel]:
    labels = per_second("foretoken_prediction_labels_total", MODEL, labels="target")
    return [
        lines(
            "Labels learned",
            Query(labels, "{{target}}"),
            unit="cps",
            text="Measurements that predictors learned from at once; trees follow in rounds.",
        ),
        lines(
            "Beyond the pace of learning",
            Query(per_second("foretoken_unlearned_requests_total", MODEL), "not learned from"),
            unit="reqps",
            text="Above scheduler.learned_requests_per_s (250) an even share teaches; the others "
            "count in every other metric.",
        ),
        lines(
            "Drift",
            Query(
                grown("foretoken_drift_events_total", MODEL, labels="model_name, target"),
                "{{model_name}} {{target}}",
            ),
            unit="short",
            text="Changes detected in the prediction error.",
        ),
    ]


def _lost() -> list[Panel]:
    return [
        lines(
            "Observations refused",
            Query(
                or_none(grown("foretoken_refused_observations_total", labels="reason")),
                "{{reason}}",
            ),
            unit="short",
            stacked=True,
            text="Not learned from: not finite, absurd, out of order, or of broken features.",
        ),
        lines(
            "Labels not trained on",
            Query(
                or_none(grown("foretoken_training_refused_labels_total", labels="reason")),
                "{{reason}}",
            ),
            unit="short",
            stacked=True,
            text="Refused by the trainer's window, and why.",
        ),
        lines(
            "Lost on the way",
            Query(grown("foretoken_trainer_dropped_total"), "to the trainer"),
            Query(grown("foretoken_trace_dropped_total"), "to the trace"),
            unit="short",
            text="The trainer or the recorder is too slow, stopped or without a disk. Serving is "
            "not harmed.",
        ),
    ]
