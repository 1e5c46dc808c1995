"""A trace whose truth is known: two simulated endpoints of two kinds, recorded for a minute."""

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from foretoken.simulation.arms import ARMS
from foretoken.simulation.recording import Recording, recorded
from foretoken.simulation.run import simulate
from simulator.fleets import FleetSpec, load_fleet
from simulator.workloads import load_workload

EPOCH_S = 1.79e9


def two_endpoints() -> FleetSpec:
    mixed = load_fleet("mixed-8b")
    slow, fast = mixed.endpoints[0], mixed.endpoints[-1]
    return replace(mixed, endpoints=(slow, fast))


@pytest.fixture(scope="session")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recording = Recording()
    simulate(
        fleet=two_endpoints(),
        workload=load_workload("sharegpt-chat"),
        rate=5.0,
        arm=recorded(ARMS["lmetric"], recording),
        seed=3,
        warmup_s=0.0,
        measure_s=80.0,
    )
    path = tmp_path_factory.mktemp("replay") / "trace.parquet"
    pq.write_table(recording.table(epoch_s=EPOCH_S), path)
    return path
