"""Cold start: how much worse than the best endpoint the first picks are.

From an empty store, the first requests' picks are judged by playing every endpoint forward
from its true state with the request in it (:mod:`simulator.projection`): regret is the
time at the picked one minus that at the best one, to the first token and to the last.
Each policy meets the same requests, and the states its own picks have made.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.policies.ratios import PREDICTING
from benchmarks.prediction.simulated.cells import ARM, Cell, play
from benchmarks.prediction.simulated.rows import Row
from foretoken.simulation.arms import ARMS
from foretoken.simulation.oracles import Futures
from foretoken.simulation.witness import Witness
from foretoken.simulation.world import World
from predictor.types import FloatArray
from scheduler import Dispatch

PART: Final = "cold start"
PICKS: Final = 200
QUANTITIES: Final = ("TTFT", "e2e")
HEURISTICS: Final = tuple(
    name
    for name, arm in ARMS.items()
    if not arm.is_reference and name not in PREDICTING and not name.endswith("_speed")
)
"""Published policies: neither ours, nor told the endpoints' true speeds."""


class RegretMeter(Witness):
    """Judge the first picks of a run.

    Args:
        world: The run's truth.
        picks: How many are judged.
    """

    def __init__(self, world: World, picks: int) -> None:
        self._world = world
        self._futures = Futures(world)
        self._picks = picks
        self._regrets_s: list[tuple[float, float]] = []

    def dispatched(self, action: Dispatch, now: float) -> None:  # noqa: ARG002  # the world's
        """Judge a pick."""
        request = self._world.requests[action.request_id]
        if len(self._regrets_s) < self._picks:
            times_s = np.array(
                [self._times_s(name, request.request_id) for name in action.decision.endpoints]
            )
            regret_s = times_s[action.decision.chosen] - times_s.min(axis=0)
            self._regrets_s.append((float(regret_s[0]), float(regret_s[1])))
        self._futures.sent(action.endpoint, request)

    def mean_s(self) -> FloatArray:
        """Give the mean regret in time to the first and to the last token, ``(2,)``."""
        mean_s: FloatArray = np.array(self._regrets_s).mean(axis=0)
        return mean_s

    def _times_s(self, endpoint: str, request_id: str) -> tuple[float, float]:
        futures = self._futures
        request = self._world.requests[request_id]
        played = futures.with_request(endpoint, futures.state(endpoint), request)
        return played.first_token_s[request_id], played.end_s[request_id]


@dataclass(frozen=True, slots=True, kw_only=True)
class Regrets:
    """Hold mean regrets in seconds, ``(n_seeds, 2)`` by policy."""

    by_policy: dict[str, FloatArray]


def measure(
    cell: Cell, data: Path, *, policies: Sequence[str], seeds: Sequence[int], rate: float
) -> Regrets:
    """Play the first requests of a cell by each policy and seed.

    Raises:
        SimulationRefused: The cell cannot be played.
    """
    found = {}
    for policy in policies:
        means_s = []
        for seed in seeds:
            meters: list[RegretMeter] = []

            def look(world: World, meters: list[RegretMeter] = meters) -> RegretMeter:
                meters.append(RegretMeter(world, PICKS))
                return meters[-1]

            first = replace(cell, requests=int(PICKS * 1.1))
            play(first, data, look, rate=rate, arm=policy, seed=seed)
            means_s.append(meters[0].mean_s())
        found[policy] = np.array(means_s)
    return Regrets(by_policy=found)


def rows(cell: Cell, regrets: Regrets) -> list[Row]:
    """Compare ours with the best heuristic."""
    found = []
    for index, quantity in enumerate(QUANTITIES):
        means_s = {name: float(own[:, index].mean()) for name, own in regrets.by_policy.items()}
        ours = means_s.pop(ARM)
        best = min(means_s, key=means_s.__getitem__)
        others = sorted(means_s.items(), key=lambda item: item[1])[1:4]
        found.append(
            Row(
                part=PART,
                cell=cell.name,
                quantity=f"mean regret in {quantity}, first {PICKS} picks",
                ours=ours,
                beside={best: means_s[best]},
                limit="no worse than the best heuristic",
                passes=ours <= means_s[best],
                unit="s",
                note="then " + ", ".join(f"{name} {mean_s:.3g}" for name, mean_s in others),
            )
        )
    return found
