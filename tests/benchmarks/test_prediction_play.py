import io
import json
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from rich.console import Console

from benchmarks.prediction import musts, recorded, scores
from benchmarks.prediction.ours import Ours
from benchmarks.prediction.over_http import as_json
from benchmarks.prediction.pages import Pages
from benchmarks.prediction.play import Played, Said, play
from benchmarks.prediction.plays import Plays
from benchmarks.prediction.reference import Reference
from benchmarks.prediction.rowset import DELAYED, ROW_BY_ROW, Dispatch, Label, Request, RowSet
from foretoken.simulation.llmd_rows import TTFT_COLUMNS, ttft_rows
from predictor.features import COLUMN, N_FEATURES


def make_set(count: int, *, name: str = "made", late_s: float = 0.0) -> RowSet:
    """Make requests ten a second whose TTFT is 10 ms and 0.1 ms a prompt token."""
    rng = np.random.default_rng(1)
    requests, events = [], []
    for number in range(count):
        tokens = float(rng.integers(100, 5000))
        features = np.zeros(N_FEATURES)
        features[COLUMN["prompt_tokens"]] = features[COLUMN["uncached_tokens"]] = tokens
        features[COLUMN["expected_output_tokens"]] = 100
        requests.append(
            Request(
                endpoint="a:1",
                hardware=None,
                features=features,
                reference_row=ttft_rows(features[None])[0],
            )
        )
        at_s, ttft_s = number * 0.1, 0.01 + tokens * 1e-4
        events += [
            Dispatch(at_s=at_s, request=number),
            Label(at_s=at_s + late_s, request=number, target="ttft", seconds=ttft_s),
            Label(at_s=at_s + late_s, request=number, target="tpot", seconds=0.02),
        ]
    events.sort(key=lambda event: event.at_s)
    return RowSet(name=name, order=ROW_BY_ROW, requests=requests, events=events)


class Counting:
    """Predict how many labels it has learned, in seconds."""

    expert_names: ClassVar[tuple[str, ...]] = ("one",)

    def __init__(self) -> None:
        self.learned = 0
        self.trained_s: list[float] = []

    def predict(self, request: Request, now: float) -> Said:
        both = np.full(2, self.learned + 1.0)
        return Said(mean_s=both, p50_s=both, p90_s=2 * both, experts=np.zeros((2, 1)))

    def learn(self, rows: RowSet, label: Label, said: Said) -> None:
        self.learned += 1

    def train(self, now: float) -> None:
        self.trained_s.append(now)


def test_a_label_is_compared_with_what_was_said_before_anything_later_was_learned() -> None:
    at_once = play(make_set(3), Counting())
    late = play(make_set(3, late_s=0.15), Counting())

    assert at_once["ttft"].mean_s.tolist() == [1, 3, 5]
    assert late["ttft"].mean_s.tolist() == [1, 1, 3]
    assert late["tpot"].request.tolist() == [0, 1, 2]
    assert late["tpot"].experts_s.tolist() == [[1.0]] * 3


def test_ours_and_the_reference_learn_a_simple_law() -> None:
    rows = make_set(600)

    ours, theirs = play(rows, Ours()), play(rows, Reference())

    assert np.median(ours["ttft"].error[300:]) < 0.03
    assert np.median(theirs["ttft"].error[300:]) < 0.1
    assert theirs["ttft"].mean_s[:150].tolist() == [0.01] * 150  # trained at 10 s, served at 15


def test_the_reference_states_a_p90_of_its_own() -> None:
    rows = make_set(600)
    rng = np.random.default_rng(2)
    noisy = [
        replace(event, seconds=event.seconds * rng.uniform(1, 2))
        if isinstance(event, Label)
        else event
        for event in rows.events
    ]

    seen = play(replace(rows, events=noisy), Reference())

    covered = (seen["ttft"].actual_s <= seen["ttft"].p90_s)[300:]
    assert 0.6 < covered.mean() < 1.0


def played(actual: list[float], mean: list[float], p90: list[float]) -> Played:
    count = len(actual)
    return Played(
        actual_s=np.array(actual),
        mean_s=np.array(mean),
        p50_s=np.array(mean),
        p90_s=np.array(p90),
        request=np.arange(count),
        regime=np.arange(count) % 3,
        experts_s=np.full((count, 1), np.nan),
        expert_names=("silent",),
    )


def test_figures_are_of_their_spans_and_none_where_rows_are_too_few() -> None:
    many = played([1.0] * 700, [2.0] * 500 + [1.1] * 200, [1.2] * 690 + [0.9] * 10)
    few = played([1.0] * 50, [2.0] * 50, [1.2] * 50)

    found = scores.figures(many)

    assert found["mape_first_500"] == 1.0
    assert found["mape_after_500"] == pytest.approx(0.1)
    assert found["p90_coverage"] == pytest.approx(0.95)
    assert found["p90_pinball"] == pytest.approx(0.95 * 0.02 + 0.05 * 0.09)
    assert scores.figures(few)["mape_after_500"] is None
    assert scores.figures(few)["p90_coverage"] is None
    assert scores.expert_errors(many) == {"silent": None}
    assert scores.error_after(many, 400) == pytest.approx(0.1)


def test_musts_judge_known_sets_and_leave_others_alone() -> None:
    well = scores.figures(played([1.0] * 700, [1.05] * 700, [1.2] * 630 + [0.9] * 70))
    keys = [("sharegpt", ROW_BY_ROW, "ttft"), ("elsewhere", DELAYED, "ttft")]

    verdicts = musts.judge(dict.fromkeys(keys, well), {})

    assert {verdict.what.split(",")[0] for verdict in verdicts} == {"sharegpt"}
    by_figure = {verdict.what.split("TTFT ")[1]: verdict for verdict in verdicts}
    assert by_figure["mape"].passes
    assert by_figure["mape"].reference is None
    assert not by_figure["p90 coverage"].passes


def test_every_set_is_printed_and_goes_to_json_by_name() -> None:
    rows, results = make_set(40).first_requests(30), recorded.Results()
    console = Console(width=200, file=io.StringIO(), record=True)

    recorded.play_set((rows, rows, rows), results, Plays(Path("unread")))
    Pages().show(console, recorded.tables(results, []))

    found = json.loads(json.dumps(recorded.document(results, [])))
    assert "made, row by row, TTFT" in console.export_text()
    assert found["contenders"][recorded.OURS]["made/row by row/ttft"]["labels"] == 30


def test_drift_is_judged_against_the_same_rows_without_it() -> None:
    rows, results = make_set(300), recorded.Results()
    changed = replace(
        rows,
        events=[
            replace(event, seconds=event.seconds * (1.7 if event.request >= 150 else 1.0))
            if isinstance(event, Label)
            else event
            for event in rows.events
        ],
    )

    plays = Plays(Path("unread"))
    recorded.play_set((rows, rows, rows), results, plays)
    recorded.play_drift(changed, results, plays)

    ttft = results.drift[0]
    assert ttft.ours is not None
    assert ttft.reference is not None
    assert ttft.ours < 0.2 < ttft.reference


def test_a_reference_row_is_written_as_its_schema_has_it() -> None:
    row = np.zeros(len(TTFT_COLUMNS))
    row[TTFT_COLUMNS.index("input_token_length")] = 1000.0

    body = as_json(row)

    assert body["input_token_length"] == 1000
    assert isinstance(body["input_token_length"], int)
    assert body["pod_type"] == ""
