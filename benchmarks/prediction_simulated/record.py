"""Play a cell and give what passed, as a recording."""

from pathlib import Path

import numpy as np

from benchmarks.prediction_simulated.cells import SEED, Cell, play, rate_of
from benchmarks.prediction_simulated.recorder import Recorder
from benchmarks.prediction_simulated.recording import Floors, Recording
from foretoken.simulation.world import World

NO_FLOORS = Floors(
    dispatch=np.zeros(0, dtype=np.int64),
    noise_s=np.zeros((0, 2, 0)),
    future_s=np.zeros((0, 2, 0)),
)


def record_cell(cell: Cell, data: Path) -> Recording:
    """Play a cell under our own predictor and record it.

    Raises:
        SimulationRefused: It cannot be played.
    """
    recorders: list[Recorder] = []
    models: list[str] = []

    def look(world: World) -> Recorder:
        models.append(world.fleet.model)
        recorders.append(Recorder(world))
        return recorders[-1]

    rate = rate_of(cell, data)
    play(cell, data, look, rate=rate)
    about: dict[str, float | str] = {
        "workload": cell.workload,
        "fleet": cell.fleet,
        "model": models[0],
        "load": cell.load,
        "rate": rate,
        "seed": SEED,
    }
    return recorders[0].recording(cell.name, about, NO_FLOORS)
