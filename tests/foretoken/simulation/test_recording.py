"""A simulated run recorded: the rows a service would have written."""

from foretoken.simulation.arms import ARMS
from foretoken.simulation.recording import Recording, recorded
from foretoken.simulation.run import simulate
from simulator.fleets import load_fleet
from simulator.workloads import load_workload


def test_every_request_that_ended_is_a_row_with_its_decision() -> None:
    recording = Recording()

    run = simulate(
        fleet=load_fleet("mixed-8b"),
        workload=load_workload("sharegpt"),
        rate=5.0,
        arm=recorded(ARMS["least_request"], recording),
        seed=1,
        warmup_s=0.0,
        measure_s=10.0,
    )

    rows = recording.table(epoch_s=1e9).to_pylist()
    ended = {each.request_id for each in run.outcomes if each.outcome == "completed"}
    assert {row["request_id"] for row in rows} == ended
    assert {row["policy"] for row in rows} == {"least_request"}
    assert all(len(row["candidates"]) == 8 and row["ttft_s"] > 0 for row in rows)
    assert min(row["arrived_at_s"] for row in rows) > 1e9
