"""The search for a fleet's capacity, on fleets whose capacity is given."""

import json
from pathlib import Path

import pytest

from benchmarks.capacity import PRECISION, largest, record, search
from foretoken.errors import SimulationRefused
from foretoken.simulation.outcome import Run
from tests.foretoken.played import answered, played


class Fleet:
    """Answer as a fleet does whose policies have given capacities."""

    def __init__(self, capacities: dict[str, float], idle_s: float = 0.1) -> None:
        self.capacities = capacities
        self.idle_s = idle_s
        self.played: list[tuple[str, float]] = []

    def play(self, policy: str, rate: float) -> Run:
        self.played.append((policy, rate))
        ttft_s = self.idle_s if rate <= self.capacities[policy] else 2 * self.idle_s + 1.01
        one = answered(25.0, ttft_s=ttft_s, e2e_s=ttft_s, output_tokens=1, tpot_s=None)
        return played(one, policy=policy, rate=rate, measure_s=30.0)


@pytest.mark.parametrize("guess", [0.5, 17.0, 18.2, 400.0])
def test_the_capacity_is_that_of_the_best_policy_wherever_the_search_begins(guess: float) -> None:
    fleet = Fleet({"lmetric": 10.0, "weighted_blend": 18.2, "prefix_affinity": 15.0})

    found = search(fleet.play, guess=guess, whole=False)

    assert 18.2 / PRECISION <= found.rate <= 18.2
    assert found.idle_ttft_s == 0.1


def test_a_good_guess_costs_few_runs() -> None:
    fleet = Fleet({"lmetric": 18.2, "weighted_blend": 1.0, "prefix_affinity": 1.0})

    search(fleet.play, guess=18.0, whole=False)

    assert len(fleet.played) <= 14  # idle, and three policies at each rate that falls


def test_a_closed_loop_has_whole_users() -> None:
    fleet = Fleet({"lmetric": 7.4, "weighted_blend": 1.0, "prefix_affinity": 1.0})

    found = search(fleet.play, guess=3.0, whole=True)

    assert found.rate == 7
    assert all(rate == int(rate) for _, rate in fleet.played)


def test_a_fleet_that_holds_nothing_is_refused() -> None:
    with pytest.raises(SimulationRefused, match="not even"):
        largest(lambda _: False, 2.0)
    with pytest.raises(SimulationRefused, match="not even"):
        largest(lambda _: False, 2.0, whole=True)


def test_a_capacity_is_written_beside_the_others_and_sorted(tmp_path: Path) -> None:
    path = tmp_path / "capacity.json"
    path.write_text('{"sharegpt": {"mixed-8b": 1.0}}')

    record(path, "sharegpt", "eight", 2.0)
    record(path, "azure", "mixed-8b", 3.0)

    assert json.loads(path.read_text()) == {
        "azure": {"mixed-8b": 3.0},
        "sharegpt": {"eight": 2.0, "mixed-8b": 1.0},
    }
    assert path.read_text().index("azure") < path.read_text().index("eight")
