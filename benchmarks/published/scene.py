"""One published run as the simulator plays it, and what is read from it.

A scene changes a workload and a fleet that ship in the places where a published run
differs; two scenes that differ in one place tell what that place is worth. Played in a
process of its own, so it holds plain values only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from benchmarks.published.ladder import Ladder, Stage, stages_of
from benchmarks.published.short_index import arm
from foretoken.simulation.figures import rounded, steady_figures
from foretoken.simulation.jobs import Progress
from foretoken.simulation.outcome import Run
from foretoken.simulation.run import simulate
from simulator.fleets import FleetSpec, load_fleet
from simulator.workloads import Workload, WorkloadSpec, load_workload

TEN: Final = "ten-qwen3-32b-h100"
"""Qwen3-32B on pairs of H100, the fleet of most of what is published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Describe one run.

    Attributes:
        policy: Name of an arm.
        workload: Name of a workload that ships.
        rate: Requests a second, or users; not read where there is a ladder.
        fleet: Name of a fleet that ships.
        seed: Of everything random.
        warmup_s: Before the window that is read; not read where there is a ladder.
        measure_s: Length of that window, likewise.
        ladder: Stages played one after the other and read apart, ``None`` for a steady rate.
        endpoints: How many of the fleet's first endpoint there are, ``None`` for the fleet.
        engine: Settings of every endpoint's engine that differ.
        traffic: Keys of the workload's ``[traffic]`` table that differ.
        match_tokens: Tokens of a prompt that the router's prefix index looks at, ``None``
            for all.
    """

    policy: str
    workload: str
    rate: float = 0.0
    fleet: str = TEN
    seed: int = 1
    warmup_s: float = 120.0
    measure_s: float = 300.0
    ladder: Ladder | None = None
    endpoints: int | None = None
    engine: Mapping[str, float] = field(default_factory=dict)
    traffic: Mapping[str, object] = field(default_factory=dict)
    match_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Hold what was read from one run.

    Attributes:
        figures: Of the steady-state window, by name of ``figures.FIGURES``; for a ladder
            ``name@rate`` of its last pass, by name of ``Stage``.
        stages: The stages of a ladder's last pass.
    """

    figures: Mapping[str, float]
    stages: tuple[Stage, ...] = ()


def play(scene: Scene, progress: Progress) -> Reading:
    """Play a scene; a module's own function, so that another process can.

    Raises:
        SimulatorError: A request fits no endpoint, or a changed key does not exist.
    """
    run = _simulate(scene, progress)
    if scene.ladder is None:
        found = steady_figures(run)
        return Reading(figures={name: value for name, value in found.items() if value is not None})
    stages = stages_of(run, scene.ladder)
    return Reading(
        figures={
            f"{name}@{stage.rate:g}": rounded(value)
            for stage in stages
            for name, value in stage.figures().items()
        },
        stages=tuple(stages),
    )


def mean_reading(readings: Sequence[Reading]) -> dict[str, float]:
    """Average the figures of several seeds; one that a seed lacks is left out.

    >>> mean_reading([Reading(figures={"a": 1.0, "b": 2.0}), Reading(figures={"a": 3.0})])
    {'a': 2.0}
    """
    names = [name for name in readings[0].figures if all(name in each.figures for each in readings)]
    return {
        name: rounded(sum(each.figures[name] for each in readings) / len(readings))
        for name in names
    }


def _simulate(scene: Scene, progress: Progress) -> Run:
    ladder = scene.ladder
    return simulate(
        fleet=_fleet(scene),
        workload=_workload(scene),
        rate=scene.rate if ladder is None else ladder.mean_rate,
        arm=arm(scene.policy, scene.match_tokens),
        seed=scene.seed,
        warmup_s=scene.warmup_s if ladder is None else 0.0,
        measure_s=scene.measure_s if ladder is None else ladder.seconds,
        progress=progress,
    )


def _fleet(scene: Scene) -> FleetSpec:
    fleet = load_fleet(scene.fleet)
    specs = fleet.endpoints
    if scene.endpoints is not None:
        specs = tuple(replace(specs[0], name=f"e-{index}") for index in range(scene.endpoints))
    changed = tuple(
        replace(
            spec,
            engine=type(spec.engine).model_validate({**spec.engine.model_dump(), **scene.engine}),
        )
        for spec in specs
    )
    return replace(fleet, endpoints=changed)


def _workload(scene: Scene) -> Workload:
    """Change the workload's file as if somebody had edited it."""
    shipped = load_workload(scene.workload)
    ladder = {} if scene.ladder is None else {"stages": scene.ladder.as_toml()}
    spec = shipped.spec.model_dump()
    spec["traffic"] = {**spec["traffic"], **scene.traffic, **ladder}
    return Workload(shipped.name, f"{shipped.name}.toml", WorkloadSpec.model_validate(spec), Path())
