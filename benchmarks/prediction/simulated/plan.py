"""What is played for each part, in full and quickly.

Called by the command; everything a part's numbers depend on is named here.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from benchmarks.prediction.simulated import accuracy, cold, coverage, odd
from benchmarks.prediction.simulated.cells import ARM, CELLS, Cell, rate_of
from benchmarks.prediction.simulated.record import record_cell
from benchmarks.prediction.simulated.recording import Recording, read_recording, write_recording
from benchmarks.prediction.simulated.rows import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Say how much is played.

    Attributes:
        cells: Of accuracy; those of a mixed fleet are cold start's too.
        settled: Requests before the first that is played again for the floors.
        sampled: How many are, in each cell.
        cold_cells: Of cold start.
        policies: Heuristics of cold start.
        seeds: Of cold start.
        odd_cells: Of the odd endpoint, with the requests before it changes.
        scenarios: What happens to it.
        chats: Requests of coverage in steady state.
        drift_chats: Requests of coverage through drift.
        drift_s: When one class becomes slower, and when it has recovered.
    """

    cells: tuple[Cell, ...]
    settled: int
    sampled: int
    cold_cells: tuple[Cell, ...]
    policies: tuple[str, ...]
    seeds: tuple[int, ...]
    odd_cells: tuple[tuple[Cell, int], ...]
    scenarios: tuple[odd.Scenario, ...]
    chats: int
    drift_chats: int
    drift_s: tuple[float, float]


_MIXED: Final = tuple(cell for cell in CELLS if cell.fleet == "mixed-8b")
_CHAT: Final = Cell(workload="sharegpt", fleet="mixed-8b", load=0.7, requests=9000)

FULL: Final = Plan(
    cells=CELLS,
    settled=2000,
    sampled=160,
    cold_cells=_MIXED,
    policies=cold.HEURISTICS,
    seeds=(1, 2),
    odd_cells=((_CHAT, 4000), (replace(_MIXED[0], requests=4500), 2000)),
    scenarios=odd.SCENARIOS,
    chats=coverage.SETTLED + 100 * coverage.WINDOW,
    drift_chats=28_000,
    drift_s=(40.0, 90.0),
)
QUICK: Final = Plan(
    cells=(replace(_MIXED[0], requests=1200),),
    settled=700,
    sampled=40,
    cold_cells=(_MIXED[0],),
    policies=("lmetric", "prefix_affinity", "token_load", "weighted_blend"),
    seeds=(1,),
    odd_cells=((replace(_CHAT, requests=4500), 2000),),
    scenarios=odd.SCENARIOS[:1],
    chats=coverage.SETTLED + 8 * coverage.WINDOW,
    drift_chats=9000,
    drift_s=(10.0, 25.0),
)

Say = Callable[[str], None]
"""Told what is being done."""


def record(cell: Cell, plan: Plan, data: Path, kept: Path | None) -> Recording:
    """Play a cell, or read what was recorded of it; keep it where a folder is given.

    Raises:
        SimulationRefused: It cannot be played.
        RecordingInvalid: What is there cannot be used.
        FileNotWritable: It cannot be kept.
    """
    path = None if kept is None else kept / f"{cell.name}.npz"
    if path is not None and path.is_file():
        return read_recording(path)
    recording = record_cell(cell, data, settled=plan.settled, sampled=plan.sampled)
    if path is not None:
        write_recording(path, recording)
    return recording


def accuracy_rows(plan: Plan, data: Path, kept: Path | None, say: Say) -> Iterator[Row]:
    """Play the cells, ask the reference, compare."""
    for cell in plan.cells:
        say(f"accuracy: {cell.name}")
        yield from accuracy.rows(record(cell, plan, data, kept))


def cold_rows(plan: Plan, data: Path, kept: Path | None, say: Say) -> Iterator[Row]:  # noqa: ARG001
    """Judge first picks; nothing of it is kept, it takes a second a run."""
    for cell in plan.cold_cells:
        say(f"cold start: {cell.name}")
        policies = (ARM, *plan.policies)
        rate = rate_of(cell, data)
        regrets = cold.measure(cell, data, policies=policies, seeds=plan.seeds, rate=rate)
        yield from cold.rows(cell, regrets)


def odd_rows(plan: Plan, data: Path, kept: Path | None, say: Say) -> Iterator[Row]:  # noqa: ARG001
    """Let something happen to an endpoint."""
    for cell, warm in plan.odd_cells:
        for scenario in plan.scenarios:
            say(f"odd endpoint: {cell.name}, {scenario.name}")
            recording, changed_s = odd.record(cell, data, scenario, warm=warm)
            yield from odd.rows(recording, scenario, changed_s)


def coverage_rows(plan: Plan, data: Path, kept: Path | None, say: Say) -> Iterator[Row]:
    """Count windows, and weigh what they cost in width on the recordings."""
    say("coverage: steady chats")
    yield from coverage.steady_rows(coverage.play_chats(plan.chats))
    say("coverage: drift")
    drifted = coverage.play_chats(plan.drift_chats, drift_s=plan.drift_s)
    yield from coverage.drift_rows(drifted, plan.drift_s)
    for cell in plan.cells:
        say(f"coverage: {cell.name}")
        yield from coverage.recorded_rows(record(cell, plan, data, kept), settled=plan.settled)


Part = Callable[[Plan, Path, Path | None, Say], Iterator[Row]]

PARTS: Final[dict[str, Part]] = {
    "accuracy": accuracy_rows,
    "cold": cold_rows,
    "odd": odd_rows,
    "coverage": coverage_rows,
}
"""Every part by name."""
