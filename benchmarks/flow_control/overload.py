"""Overload: 1.3 times the capacity for a while, after and before an ordinary load.

Capacity is the fleet's for the workload, as ``benchmarks.capacity`` measured it: of first
tokens, without objectives.
"""

from dataclasses import asdict, dataclass
from typing import Final

from benchmarks.flow_control.runs import Figures, Scene, figures, play
from foretoken.simulation.jobs import Progress
from foretoken.simulation.outcome import UNFINISHED

OVERLOAD: Final = 1.3
USUAL: Final = 0.5
LEAST_MET: Final = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Storm:
    """Say what to play.

    Attributes:
        scene: Where; ``warmup_s`` is the ordinary load before, and that after lasts as long.
        capacity: Requests per second that the fleet takes.
        lasts_s: How long the overload lasts.
    """

    scene: Scene
    capacity: float
    lasts_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Survived:
    """Hold what an overload left behind.

    Attributes:
        scene: Where.
        during: What each tier had of it.
        after: What each tier had of the load that followed, its first quarter left out.
        unexplained: Requests refused without a reason, or that ended in no known way.
        unfinished: Requests that came before the end of the overload and never ended.
    """

    scene: Scene
    during: Figures
    after: Figures
    unexplained: int
    unfinished: int


def endure(storm: Storm, _progress: Progress) -> Survived:
    """Play an overload and what follows."""
    scene, lasts_s = storm.scene, storm.lasts_s
    begins_s = scene.warmup_s or 0.0
    ends_s = begins_s + lasts_s
    until_s = ends_s + begins_s
    more = (OVERLOAD - USUAL) * storm.capacity
    run = play(scene, USUAL * storm.capacity, (more, begins_s, ends_s))
    refused = [each for each in run.outcomes if each.outcome == "shed"]
    return Survived(
        scene=scene,
        during=figures(run, begins_s, ends_s),
        after=figures(run, ends_s + begins_s / 4, until_s),
        unexplained=sum(not each.reason for each in refused),
        unfinished=sum(
            each.outcome == UNFINISHED and each.arrived_s < ends_s for each in run.outcomes
        ),
    )


def as_json(one: Survived) -> dict[str, object]:
    """Give it as plain data."""
    scene = one.scene
    return {
        "workload": scene.workload,
        "fleet": scene.fleet,
        "arm": scene.arm,
        "seed": scene.seed,
        "during": {tier: asdict(found) for tier, found in one.during.items()},
        "after": {tier: asdict(found) for tier, found in one.after.items()},
        "unexplained": one.unexplained,
        "unfinished": one.unfinished,
    }
