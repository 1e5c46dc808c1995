"""Play a cell and give what passed, as a recording."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.prediction.simulated.cells import SEED, Cell, play, rate_of
from benchmarks.prediction.simulated.floors import FloorMeter
from benchmarks.prediction.simulated.recorder import Recorder
from benchmarks.prediction.simulated.recording import Recording
from foretoken.simulation.witness import Witness
from foretoken.simulation.world import World
from predictor.types import RequestRecord
from scheduler import Dispatch


class Witnesses(Witness):
    """Let several look on."""

    def __init__(self, witnesses: Sequence[Witness]) -> None:
        self._witnesses = witnesses

    def dispatched(self, action: Dispatch, now: float) -> None:
        """Tell each."""
        for witness in self._witnesses:
            witness.dispatched(action, now)

    def first_token(self, request_id: str, now: float) -> None:
        """Tell each."""
        for witness in self._witnesses:
            witness.first_token(request_id, now)

    def progressed(self, request_id: str, tokens: int, last_s: float, now: float) -> None:
        """Tell each."""
        for witness in self._witnesses:
            witness.progressed(request_id, tokens, last_s, now)

    def ended(self, record: RequestRecord, now: float) -> None:
        """Tell each."""
        for witness in self._witnesses:
            witness.ended(record, now)


def record_cell(
    cell: Cell, data: Path, *, settled: int, sampled: int, rate: float | None = None
) -> Recording:
    """Play a cell under our own predictor and record it.

    Args:
        cell: What to play.
        data: Folder of recorded traces.
        settled: Dispatches before the first that is sampled for floors.
        sampled: About how many are.
        rate: Requests per second, ``None`` for the cell's share of the capacity.

    Raises:
        SimulationRefused: It cannot be played.
    """
    seen: list[tuple[World, Recorder, FloorMeter]] = []

    def look(world: World) -> Witness:
        every = max((cell.requests - settled) // max(sampled, 1), 1)
        meter = FloorMeter(world, first=settled, every=every, seed=SEED)
        seen.append((world, Recorder(world), meter))
        return Witnesses(seen[0][1:])

    rate = rate_of(cell, data) if rate is None else rate
    play(cell, data, look, rate=rate)
    world, recorder, meter = seen[0]
    about: dict[str, float | str] = {
        "workload": cell.workload,
        "fleet": cell.fleet,
        "model": world.fleet.model,
        "load": cell.load,
        "rate": rate,
        "seed": SEED,
    }
    return recorder.recording(cell.name, about, meter.floors())
