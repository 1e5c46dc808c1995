"""A whole replay of a trace whose truth is known: what is fitted, judged and answered."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from foretoken.errors import SimulationRefused, TraceNotReplayable
from foretoken.replay.fleets import Changes, changed_fleet
from foretoken.replay.question import Answer, Question, ask
from foretoken.replay.recorded import Window
from foretoken.replay.report import as_json, as_tables
from predictor.types import Objective
from tests.foretoken.replay.conftest import two_endpoints


@pytest.fixture(scope="module")
def answer(trace: Path) -> Answer:
    return ask(
        Question(
            paths=(trace,),
            policies=("lmetric", "round_robin"),
            seeds=1,
            objective=Objective(ttft_s=0.2),
        )
    )


def test_the_recorded_policy_is_reproduced(answer: Answer) -> None:
    assert answer.policy == "lmetric"
    assert answer.trust.verdict in {"good", "fair"}
    assert abs(answer.trust.deviations["tpot_p50_s"].placed_error) < 0.1
    assert abs(answer.trust.deviations["ttft_p50_s"].placed_error) < 0.15


def test_endpoints_of_two_kinds_are_two_classes_with_their_step_times(answer: Answer) -> None:
    fitted = {each.specs[0].name: each.specs[0].profile for each in answer.classes}
    true = {spec.name: spec.profile for spec in two_endpoints().endpoints}

    assert set(fitted) == set(true)
    for name, profile in fitted.items():
        usual = true[name].step_s([], 10, 15_000)  # ten chats decode
        assert profile.step_s([], 10, 15_000) == pytest.approx(usual, rel=0.15)


def test_other_policies_are_compared_with_the_recorded_one_played_again(answer: Answer) -> None:
    [other] = answer.alternatives  # lmetric itself is the baseline

    assert other.policy == "round_robin"
    assert (other.changes["e2e_mean_s"].by or 0.0) > 0.1
    assert not other.changes["e2e_mean_s"].within_error
    assert answer.baseline.changes["e2e_mean_s"].by == 0.0
    kept = other.changes["attained_ratio"].value
    assert kept is not None
    assert 0.0 < kept < 1.0


def test_the_document_has_the_errors_first(answer: Answer) -> None:
    document = as_json(answer)

    assert list(document)[:3] == ["format", "version", "trust"]


def test_a_fleet_can_be_made_larger_smaller_and_faster(answer: Answer) -> None:
    name = answer.classes[0].name
    changes = Changes(counts={name: 3}, speeds={"": 2.0})

    fleet = changed_fleet(answer.classes, "m", changes)

    assert len(fleet.endpoints) == 4
    assert len({spec.name for spec in fleet.endpoints}) == 4
    assert all(spec.engine.speed > 1.5 for spec in fleet.endpoints)


@pytest.mark.parametrize(
    ("counts", "why"),
    [
        ({"": 3}, "several classes"),
        ({"class-z": 3}, "no class 'class-z'"),
        ({"class-a": 0, "class-b": 0}, "no endpoint"),
    ],
)
def test_a_fleet_that_cannot_be_is_refused(
    answer: Answer, counts: dict[str, int], why: str
) -> None:
    with pytest.raises(SimulationRefused, match=why):
        changed_fleet(answer.classes, "m", Changes(counts=counts, speeds={}))


def test_an_unknown_policy_or_fleet_is_refused_before_anything_is_read() -> None:
    with pytest.raises(SimulationRefused, match="did you mean lmetric"):
        ask(Question(paths=(Path("none"),), policies=("lmetrik",)))
    with pytest.raises(SimulationRefused, match="nowhere"):
        ask(Question(paths=(Path("none"),), fleet="nowhere"))


def test_a_trace_too_short_to_be_judged_is_refused(trace: Path) -> None:
    with pytest.raises(TraceNotReplayable, match="are needed"):
        ask(Question(paths=(trace,), window=Window(limit=30)))


def test_answers_that_were_not_streamed_are_fitted_by_their_whole_time(
    trace: Path, tmp_path: Path
) -> None:
    table = pq.read_table(trace)
    for name in ("ttft_s", "upstream_ttft_s", "tpot_s"):
        unknown = pa.nulls(len(table), table.schema.field(name).type)
        table = table.set_column(table.column_names.index(name), name, unknown)
    pq.write_table(table, tmp_path / "t.parquet")

    answer = ask(Question(paths=(tmp_path,), policies=("round_robin",), seeds=1))

    assert {name[:3] for name in answer.trust.deviations} == {"e2e"}
    assert abs(answer.trust.deviations["e2e_mean_s"].placed_error) < 0.15
    check_that_nothing_is_claimed_of_what_nobody_recorded(answer)


def check_that_nothing_is_claimed_of_what_nobody_recorded(answer: Answer) -> None:
    shown = io.StringIO()
    Console(file=shown, width=200).print(as_tables(answer))
    changes = answer.alternatives[0].changes

    assert "TTFT and TPOT cannot be judged, as no answer was streamed" in shown.getvalue()
    assert "? nobody recorded it" in shown.getvalue()
    assert (changes["ttft_mean_s"].judged, changes["ttft_mean_s"].within_error) == (False, True)
    assert changes["e2e_mean_s"].judged
