"""Prediction in the simulator: recordings replay as they were, floors mean what they say."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.prediction.simulated import accuracy, cold, coverage, odd
from benchmarks.prediction.simulated.__main__ import main
from benchmarks.prediction.simulated.cells import ARM, Cell, play
from benchmarks.prediction.simulated.player import Asked, replay
from benchmarks.prediction.simulated.record import record_cell
from benchmarks.prediction.simulated.recorder import Recorder
from benchmarks.prediction.simulated.recording import (
    KINDS,
    NO_FLOORS,
    Recording,
    RecordingInvalid,
    read_recording,
    write_recording,
)
from benchmarks.prediction.simulated.rows import Row, falls_short, table
from benchmarks.prediction.simulated.scores import error, pinball, spread
from foretoken.simulation.arms import VirtualTrainer
from foretoken.simulation.world import World
from predictor import LatencyPredictor, PredictorSettings
from predictor.features import SCHEMA_HASH
from predictor.types import FloatArray

WORKLOAD = """
description = "Chat of a test."
source = "Made up."
warmup_s = 0.0
measure_s = 60.0

[traffic]
kind = "conversations"
first_question = { shape = "lognormal", mean = 600, sd = 600, min = 16, max = 4096 }
question = { mean = 100 }
output = { shape = "lognormal", mean = 150, sd = 200, min = 1, max = 800 }
another_turn_ratio = 0.5
max_turns = 4
max_prompt_tokens = 8192
think_mean_s = 3.0
nominal_ttft_s = 0.1
nominal_tpot_s = 0.02
"""
FLEET = """
model = "llama-3.1-8b"
description = "Two endpoints of a test."

[[endpoints]]
name = "a100-1"
profile = "a100_sxm/llama-3.1-8b"
engine = { step_noise_sigma = %(sigma)s, stall_share = 0.0 }

[[endpoints]]
name = "l40s-0"
profile = "l40s/llama-3.1-8b"
engine = { step_noise_sigma = %(sigma)s, stall_share = 0.0 }
"""
RATE = 8.0


def cell(folder: Path, *, requests: int = 150, sigma: float = 0.04) -> Cell:
    workload, fleet = folder / "chat.toml", folder / "two.toml"
    workload.write_text(WORKLOAD)
    fleet.write_text(FLEET % {"sigma": sigma})
    return Cell(workload=str(workload), fleet=str(fleet), load=0.5, requests=requests)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    folder = tmp_path_factory.mktemp("cell")
    return record_cell(cell(folder), folder, settled=100, sampled=5, rate=RATE)


def test_a_replayed_predictor_says_what_it_said_in_the_run(recording: Recording) -> None:
    settings = PredictorSettings()
    predictor = LatencyPredictor(settings)
    trainer = VirtualTrainer(predictor, settings)

    asked = Asked(predictor=predictor, train=trainer.train, observe=trainer.observe, early=True)
    said_s = replay(recording, asked)

    np.testing.assert_allclose(said_s, recording.said_s, rtol=1e-3)


def test_labels_come_after_their_dispatch_and_in_order_of_time(recording: Recording) -> None:
    sent_s, labels_s = recording.dispatched_s(), recording.labels_s()
    first = recording.event_kind == KINDS.index("ttft")
    of = recording.event_dispatch[first]

    assert (np.diff(recording.event_s) >= 0).all()
    np.testing.assert_allclose(recording.event_s[first], sent_s[of] + labels_s[of, 0])


def test_early_tpot_is_near_the_whole_answers(recording: Recording) -> None:
    early = recording.event_kind == KINDS.index("tpot_early")
    early_s = recording.event_value_s[early]
    whole_s = recording.labels_s()[recording.event_dispatch[early], 1]

    assert early.sum() > 20
    assert abs(np.nanmedian(early_s / whole_s) - 1.0) < 0.1


def test_a_recording_is_read_back_as_it_was_written(recording: Recording, tmp_path: Path) -> None:
    path = tmp_path / "one.npz"

    write_recording(path, recording)
    found = read_recording(path)

    assert found.about == recording.about
    assert (found.endpoints, found.hardware) == (recording.endpoints, recording.hardware)
    np.testing.assert_array_equal(found.features, recording.features)
    np.testing.assert_array_equal(found.floors.future_s, recording.floors.future_s)


def test_what_is_no_recording_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "not.npz").write_bytes(b"no archive")
    np.savez(tmp_path / "other.npz", numbers=np.zeros(3))

    for name in ("not.npz", "other.npz", "missing.npz"):
        with pytest.raises(RecordingInvalid, match=name):
            read_recording(tmp_path / name)


def test_a_recording_of_another_feature_table_is_refused(
    recording: Recording, tmp_path: Path
) -> None:
    path = tmp_path / "one.npz"
    write_recording(path, recording)
    with np.load(path) as file:
        arrays = dict(file)
    arrays["about"] = np.array(str(arrays["about"]).replace(SCHEMA_HASH, "0123456789abcdef"))
    np.savez(path, **arrays)

    with pytest.raises(RecordingInvalid, match="0123456789abcdef"):
        read_recording(path)


def test_without_noise_a_request_replayed_has_its_own_labels(tmp_path: Path) -> None:
    silent = cell(tmp_path, sigma=0.0)

    found = record_cell(silent, tmp_path, settled=80, sampled=6, rate=RATE)

    floors, labels_s = found.floors, found.labels_s()
    assert len(floors.dispatch) >= 4
    own_s = labels_s[floors.dispatch][:, :, None]
    np.testing.assert_allclose(
        floors.noise_s, np.broadcast_to(own_s, floors.noise_s.shape), rtol=1e-9
    )
    assert floors.future_s.shape == floors.noise_s.shape
    tpot_s = floors.future_s[np.isfinite(floors.future_s[:, 1, 0]), 1]
    assert (np.ptp(tpot_s, axis=1) > 0).all()


def test_rows_compare_with_the_reference_in_every_span(recording: Recording) -> None:
    rows = accuracy.rows(recording)

    assert [row.quantity for row in rows[:2]] == ["TTFT first 100", "TTFT first 500"]
    assert all(row.passes is not None and "reference" in row.beside for row in rows[:2])
    assert table("accuracy", rows).row_count == len(rows)


def test_an_oracle_regrets_less_than_random_picks(tmp_path: Path) -> None:
    there = cell(tmp_path, requests=220)

    regrets = cold.measure(
        there, tmp_path, policies=(ARM, "random", "oracle_e2e"), seeds=(1,), rate=RATE
    ).by_policy

    assert regrets["oracle_e2e"][0, 1] < 0.01
    assert regrets["random"][0, 1] > regrets["oracle_e2e"][0, 1]
    rows = cold.rows(there, cold.Regrets(by_policy=regrets))
    assert [row.passes for row in rows] == [
        bool(regrets[ARM][0, index] <= min(regrets[name][0, index] for name in regrets))
        for index in range(2)
    ]


@pytest.mark.parametrize("scenario", odd.SCENARIOS, ids=lambda one: one.endpoint)
def test_what_happens_to_one_endpoint_shows_there(tmp_path: Path, scenario: odd.Scenario) -> None:
    there, at_s = cell(tmp_path, requests=300), 20.0
    recorders: list[Recorder] = []

    def look(world: World) -> Recorder:
        recorders.append(Recorder(world))
        return recorders[0]

    play(there, tmp_path, look, rate=RATE, change=lambda fleet: scenario.change(fleet, at_s))
    found = recorders[0].recording("odd", {"model": "m"}, NO_FLOORS)

    place = found.endpoints.index(scenario.endpoint)
    sent_s, tpot_s = found.dispatched_s(), found.labels_s()[:, 1]
    before = (found.chosen == place) & (sent_s < at_s)
    after = (found.chosen == place) & (sent_s > at_s)
    if scenario.endpoint == odd.JOINS:
        assert not before.any()
        assert after.any()
    else:
        assert np.nanmedian(tpot_s[after]) > 1.3 * np.nanmedian(tpot_s[before])
    assert {row.passes for row in odd.rows(found, scenario, at_s)} <= {True, False, None}


def chats(covered: FloatArray) -> coverage.Played:
    count = len(covered)
    labels = np.where(covered, 0.5, 2.0)
    return coverage.Played(
        stated_s=np.ones((count, 2)),
        labels_s=np.stack((labels, labels), axis=1),
        sent_s=np.arange(count, dtype=np.float64),
    )


def test_windows_within_bounds_are_counted() -> None:
    ninth = np.arange(12_000) % 10 != 0  # nine in ten, in every window
    ninth[11_000:] = True

    rows = coverage.steady_rows(chats(ninth))

    assert [row.ours for row in rows] == [0.9, 0.9]
    assert [row.passes for row in rows] == [False, False]


def test_scores_mean_what_they_say() -> None:
    said, label = np.array([1.0, 1.0, 1.0, 1.0]), np.array([0.5, 2.0, 1.0, np.nan])

    assert error(said, label).mdape == 0.5
    assert error(said, label).mape == 0.5
    assert error(said[:0], label[:0]).labels == 0
    assert np.isnan(spread(np.array([1.0]), np.array([[np.nan]]))).all()
    assert pinball(np.array([1.0]), np.array([1.0]), 0.9) == 0.0


def test_only_a_broken_must_falls_short() -> None:
    shown = Row(part="p", cell="c", quantity="q", ours=0.1)
    broken = Row(part="p", cell="c", quantity="q", ours=0.1, limit="less", passes=False)

    assert not falls_short([shown])
    assert falls_short([shown, broken])


def test_a_folder_that_is_not_there_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--data", str(tmp_path / "nowhere")])

    assert ended.value.code == 2
    assert "nowhere is not there" in capsys.readouterr().err
