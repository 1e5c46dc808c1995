"""The policy matrix: what is played again, what ratios mean, what the page says."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.policies.cells import CORE, MIXED, TEN, WHOLE, Cell
from benchmarks.policies.ratios import Results, overall, ratios
from benchmarks.policies.results import Planned, Record, is_done, records, write
from benchmarks.policies.tables import page
from foretoken.errors import FileNotWritable
from foretoken.simulation.figures import FIGURES
from foretoken.simulation.jobs import Job

CHAT = Cell(workload="post-c", fleet=TEN, load=0.95)
CODE = Cell(workload="codegen", fleet=TEN, load=0.95)
MIX = Cell(workload="sharegpt", fleet=MIXED, load=0.7)
E2E = "e2e_mean_s"


def planned(**changes: object) -> Planned:
    job = Job(
        workload="post-c",
        fleet=TEN,
        policy="lmetric",
        data=None,
        rate=6.0,
        seed=1,
        warmup_s=10.0,
        measure_s=20.0,
    )
    return Planned(cell=CHAT, job=replace(job, **changes), definitions="abc")  # type: ignore[arg-type]  # whatever a test sets


def run(e2e_s: float = 2.0) -> dict[str, object]:
    figures = dict.fromkeys(FIGURES, e2e_s)
    return {"steady": figures, "transient": figures, "truncated": False}


def record(cell: Cell, policy: str, seed: int, e2e_s: float, **changes: object) -> Record:
    known = Record(
        cell=cell,
        policy=policy,
        seed=seed,
        rate=6.0,
        windows_s=(60.0, 240.0),
        steady=dict.fromkeys(FIGURES, e2e_s),
        transient=dict.fromkeys(FIGURES, e2e_s),
        truncated=False,
    )
    return replace(known, **changes)  # type: ignore[arg-type]  # whatever a test sets


def two_seeds(cell: Cell, policy: str, one: float, other: float) -> list[Record]:
    return [record(cell, policy, 1, one), record(cell, policy, 2, other)]


def test_a_result_is_read_back_and_not_played_again(tmp_path: Path) -> None:
    write(planned(), tmp_path, run(3.0), "v1")

    (found,) = records([planned(), planned(seed=2)], tmp_path)

    assert is_done(planned(), tmp_path)
    assert not is_done(planned(seed=2), tmp_path)
    assert (found.policy, found.seed, found.steady[E2E]) == ("lmetric", 1, 3.0)


@pytest.mark.parametrize("changes", [{"rate": 6.5}, {"measure_s": 30.0}, {"labels": True}])
def test_a_result_of_other_settings_is_played_again(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    write(planned(), tmp_path, run(), "v1")

    assert not is_done(planned(**changes), tmp_path)
    assert records([planned(**changes)], tmp_path) == []


def test_a_result_of_another_definition_is_played_again_and_of_another_folder_is_not(
    tmp_path: Path,
) -> None:
    write(planned(data=Path("here")), tmp_path, run(), "v1")

    assert not is_done(replace(planned(), definitions="def"), tmp_path)
    assert is_done(planned(data=Path("there")), tmp_path)


@pytest.mark.parametrize("content", ["", '{"settings": {}', "[]", '{"settings": null}', "\0"])
def test_a_result_that_is_not_whole_is_played_again(tmp_path: Path, content: str) -> None:
    write(planned(), tmp_path, run(), "v1")
    planned().path(tmp_path).write_text(content)

    assert not is_done(planned(), tmp_path)
    assert records([planned()], tmp_path) == []


def test_a_result_that_cannot_be_kept_is_one_line(tmp_path: Path) -> None:
    (tmp_path / CHAT.name).write_text("in the way")

    with pytest.raises(FileNotWritable, match=CHAT.name):
        write(planned(), tmp_path, run(), "v1")


def test_ratios_pair_the_seeds_so_that_what_a_seed_does_cancels() -> None:
    results = Results(
        [*two_seeds(CHAT, "ours", 5, 50), *two_seeds(CHAT, "lmetric", 10, 100)], references=()
    )

    found = ratios(results, "ours", E2E, {CHAT: "lmetric"})

    assert found == {CHAT: [0.5, 0.5]}


def test_the_best_in_hindsight_is_a_heuristic_and_no_reference_or_predictor() -> None:
    results = Results(
        [
            *two_seeds(CHAT, "oracle_e2e", 1, 1),
            *two_seeds(CHAT, "predicted_latency", 2, 2),
            *two_seeds(CHAT, "llmd_predictor", 2, 2),
            *two_seeds(CHAT, "lmetric", 5, 5),
            *two_seeds(CHAT, "random", 4, 9),
        ],
        references=("oracle_e2e",),
    )

    assert results.best_heuristic(CHAT, E2E) == "lmetric"


def test_a_policy_that_lacks_a_seed_is_not_compared() -> None:
    results = Results(
        [*two_seeds(CHAT, "lmetric", 5, 5), record(CHAT, "random", 1, 1.0)], references=()
    )

    assert results.best_heuristic(CHAT, E2E) == "lmetric"
    assert ratios(results, "random", E2E, {CHAT: "lmetric"}) == {}


def test_overall_gives_the_geometric_mean_its_spread_over_seeds_and_the_worst_cell() -> None:
    found = overall({CHAT: [0.5, 0.25], CODE: [2.0, 4.0]})

    assert found is not None
    assert found.geomean.mean == pytest.approx(1.0)
    assert (found.geomean.low, found.geomean.high) == pytest.approx((1.0, 1.0))
    assert found.worst == pytest.approx(8**0.5)


def test_the_page_marks_references_runs_that_were_cut_and_cells_that_are_missing() -> None:
    results = Results(
        [
            *two_seeds(CHAT, "oracle_e2e", 1, 1),
            *two_seeds(CHAT, "lmetric", 4, 6),
            *(replace(each, truncated=True) for each in two_seeds(CHAT, "random", 10, 10)),
            *two_seeds(MIX, "lmetric", 1, 1),
            *two_seeds(CODE, "lmetric", 1, 1),
        ],
        references=("oracle_e2e",),
    )

    text = page(results, "Policies", "v1")

    assert "| oracle_e2e† | 1 ±0 |" in text
    assert "| random* | 10 ±0 |" in text
    assert "| lmetric | 5 ±1 |" in text
    assert "| lmetric | 1.000 ±0.000, worst 1.00 |" in text
    assert "worst 2.04 (1 of 2 cells) |" in text
    assert f"| {CHAT.name} | lmetric | 1.00 | 2.04 | 0.20 |" in text


def test_every_core_cell_is_in_the_whole_matrix_once() -> None:
    assert set(CORE) <= set(WHOLE)
    assert len(set(WHOLE)) == len(WHOLE)
    assert {cell.group for cell in CORE} == {"homogeneous", "mixed"}
