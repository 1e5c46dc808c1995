from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.prediction.panels import require_matplotlib
from benchmarks.prediction.plays import OURS, Plays
from benchmarks.prediction.plot_importance import INPUTS, gains
from benchmarks.prediction.plots import draw
from benchmarks.prediction.rowset import ROW_BY_ROW, Dispatch, Label, Request, RowSet
from predictor.boosted import tree_inputs
from predictor.features import COLUMN, N_FEATURES

MOST_BYTES = 150_000


def make_set(factor: float = 1.0) -> RowSet:
    """Make requests that wait and do not, whose labels may change in the middle."""
    rng = np.random.default_rng(3)
    requests, events = [], []
    for number in range(240):
        tokens = float(rng.integers(100, 5000))
        features = np.zeros(N_FEATURES)
        features[COLUMN["prompt_tokens"]] = features[COLUMN["uncached_tokens"]] = tokens
        features[COLUMN["queued_requests"]] = number % 3
        requests.append(
            Request(endpoint="a:1", hardware=None, features=features, reference_row=np.zeros(13))
        )
        scale = rng.lognormal(0, 0.1) * (factor if number >= 120 else 1.0)
        at_s = number * 0.1
        events += [
            Dispatch(at_s=at_s, request=number),
            Label(at_s=at_s, request=number, target="ttft", seconds=scale * (0.01 + tokens / 1e4)),
            Label(at_s=at_s, request=number, target="tpot", seconds=scale * 0.02),
        ]
    return RowSet(name="made", order=ROW_BY_ROW, requests=requests, events=events)


class MadePlays(Plays):
    """Plays of made-up rows, of which some change."""

    def __init__(self) -> None:
        super().__init__(Path("unread"))
        rows = make_set()
        self.__dict__["sets"] = ((rows, rows, rows), tuple(replace(rows) for _ in range(3)))
        self.__dict__["changed"] = (make_set(1.7),)


def test_plots_are_small_the_same_each_time_and_of_drift_only_where_rows_change(
    tmp_path: Path,
) -> None:
    plays = MadePlays()

    first = draw(plays, tmp_path / "one")
    plays.__dict__["changed"] = ()
    second = draw(plays, tmp_path / "two")

    names = ["predicted", "cold", "coverage", "regimes", "importance", "drift"]
    assert [path.stem for path in first] == names
    assert [path.stem for path in second] == names[:-1]
    for path in first:
        assert path.read_bytes().startswith(b"\x89PNG")
        assert path.stat().st_size <= MOST_BYTES
    for path, again in zip(first, second, strict=False):
        assert path.read_bytes() == again.read_bytes()


def test_gain_is_shared_out_over_every_input_of_the_trees() -> None:
    rows = make_set()

    found = gains(Plays(Path("unread")).of(rows, OURS).model, "ttft")

    features = np.array([request.features for request in rows.requests])
    assert len(INPUTS) == tree_inputs(features, np.zeros((2, len(features)))).shape[1]
    for gain in found.values():
        assert gain.shape == (len(INPUTS),)
        assert gain.sum() == pytest.approx(1.0)
    assert set(found) == {"ratio", "direct"}
    assert gains(None, "ttft") == {}


def test_matplotlib_is_there() -> None:
    require_matplotlib()
