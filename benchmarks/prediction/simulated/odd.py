"""One endpoint is not as it was, or not as the others: how soon its error is theirs.

After a warm-up one endpoint's steps take 1.7 times as long for good, or an endpoint of a
class the fleet does not have joins. Judged are the requests sent there afterwards, by how
many labels of that endpoint, sent after the change, had come before each was sent; beside
them the fleet's other endpoints over the same time. Requests that were already there when
the change came belong to neither.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.prediction.simulated.cells import Cell, play, rate_of
from benchmarks.prediction.simulated.recorder import Recorder
from benchmarks.prediction.simulated.recording import KINDS, NO_FLOORS, IntArray, Recording
from benchmarks.prediction.simulated.rows import Row
from benchmarks.prediction.simulated.scores import MEAN, TARGETS, error
from foretoken.simulation.world import World
from predictor.types import FloatArray
from simulator.fleets import Crash, EndpointSpec, FleetSpec, SlowDown
from simulator.profiles import profile

PART: Final = "odd endpoint"
FACTOR: Final = 1.7
SLOWED: Final = "a100-1"
JOINS: Final = "h200-0"
JOINS_PROFILE: Final = "h200_sxm/llama-3.1-8b"
RECOVERED: Final = 50
"""Labels of the endpoint after which its error must be the others' again."""
JUDGED: Final = 150
"""Requests sent there from then on that are judged."""
WITHIN: Final = 1.3
_LEAST_LABELS: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Say what happens to which endpoint.

    Attributes:
        name: In tables.
        endpoint: Which.
        change: Makes the fleet in which it happens at a time.
    """

    name: str
    endpoint: str
    change: Callable[[FleetSpec, float], FleetSpec]


def slow_down(fleet: FleetSpec, at_s: float) -> FleetSpec:
    """Let one endpoint become slower for good."""
    fault = SlowDown(at_s=at_s, factor=FACTOR)
    return _with(fleet, [_faulty(one, fault, SLOWED) for one in fleet.endpoints])


def join(fleet: FleetSpec, at_s: float) -> FleetSpec:
    """Let an endpoint of another class be there from a time on."""
    fastest = fleet.endpoints[-1]
    late = replace(
        fastest,
        name=JOINS,
        profile=profile(JOINS_PROFILE),
        faults=(Crash(at_s=0.0, back_s=at_s),),
    )
    return _with(fleet, [*fleet.endpoints, late])


SCENARIOS: Final = (
    Scenario(name=f"{SLOWED} becomes {FACTOR:g} x slower", endpoint=SLOWED, change=slow_down),
    Scenario(name=f"{JOINS} joins", endpoint=JOINS, change=join),
)


def record(cell: Cell, data: Path, scenario: Scenario, *, warm: int) -> tuple[Recording, float]:
    """Play a cell in which something happens after about ``warm`` requests; tell when.

    Raises:
        SimulationRefused: It cannot be played.
    """
    rate = rate_of(cell, data)
    at_s = warm / rate
    seen: list[tuple[World, Recorder]] = []

    def look(world: World) -> Recorder:
        seen.append((world, Recorder(world)))
        return seen[0][1]

    play(cell, data, look, rate=rate, change=lambda fleet: scenario.change(fleet, at_s))
    world, recorder = seen[0]
    return recorder.recording(cell.name, {"model": world.fleet.model}, NO_FLOORS), at_s


def rows(recording: Recording, scenario: Scenario, changed_s: float) -> list[Row]:
    """Compare the endpoint's errors with the others', by labels it has given."""
    odd = recording.endpoints.index(scenario.endpoint)
    sent_s, labels_s = recording.dispatched_s(), recording.labels_s()
    after = sent_s > changed_s
    found = []
    for target, name in enumerate(TARGETS):
        seen = _labels_before(recording, target, odd, changed_s)
        for block, there in _blocks(np.flatnonzero(after & (recording.chosen == odd)), seen):
            first_s, last_s = sent_s[there].min(), sent_s[there].max()
            others = (recording.chosen != odd) & (sent_s >= first_s) & (sent_s <= last_s)
            said_s, label_s = recording.said_s[:, target, MEAN], labels_s[:, target]
            own = error(said_s[there], label_s[there])
            theirs = error(said_s[others], label_s[others])
            if min(own.labels, theirs.labels) < _LEAST_LABELS:
                continue
            judged = block.startswith("after")
            found.append(
                Row(
                    part=PART,
                    cell=f"{recording.name}: {scenario.name}",
                    quantity=f"{name} {block}",
                    ours=own.mdape,
                    beside={"others": theirs.mdape},
                    limit=f"{WITHIN:g} x others" if judged else "",
                    passes=own.mdape <= WITHIN * theirs.mdape if judged else None,
                    note=f"{own.mdape / theirs.mdape:.2f} x; {own.labels} requests there",
                )
            )
    return found


def _blocks(sent: IntArray, seen: IntArray) -> list[tuple[str, IntArray]]:
    """Part the dispatches sent there by the labels it had given: before, and after enough."""
    half = RECOVERED // 2
    before = seen[sent]
    blocks = [
        (f"before {half} labels", sent[before < half]),
        (f"{half} to {RECOVERED} labels", sent[(before >= half) & (before < RECOVERED)]),
        (f"after {RECOVERED} labels", sent[before >= RECOVERED][:JUDGED]),
    ]
    return [(name, among) for name, among in blocks if len(among)]


def _labels_before(recording: Recording, target: int, odd: int, changed_s: float) -> IntArray:
    """Count, for each dispatch, the labels the endpoint had given of requests sent since."""
    kinds = [("ttft",), ("tpot", "tpot_early")][target]
    sent_s = recording.dispatched_s()
    of = recording.event_dispatch
    counts = np.isin(recording.event_kind, [KINDS.index(kind) for kind in kinds])
    counts &= (recording.chosen[of] == odd) & (sent_s[of] > changed_s)
    given = np.flatnonzero(counts)
    _, first = np.unique(of[given], return_index=True)  # an early label is the request's first
    times_s: FloatArray = np.sort(recording.event_s[given[first]])
    return np.searchsorted(times_s, sent_s).astype(np.int64)


def _with(fleet: FleetSpec, endpoints: list[EndpointSpec]) -> FleetSpec:
    return replace(fleet, endpoints=tuple(endpoints))


def _faulty(endpoint: EndpointSpec, fault: SlowDown, name: str) -> EndpointSpec:
    return replace(endpoint, faults=(fault,)) if endpoint.name == name else endpoint
