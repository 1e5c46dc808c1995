"""Worlds whose truth is known: a fleet of machines in no table, recorded under one policy.

Decides what is recorded and asked. Each endpoint's profile is off the measured one by
factors drawn anew for every parameter, so that no fit can have known it. Called by
``python -m benchmarks.replay``.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Final

import pyarrow.parquet as pq

from foretoken.replay.fleets import Changes
from foretoken.replay.question import Answer, Question, ask
from foretoken.simulation.arms import ARMS
from foretoken.simulation.figures import steady_figures
from foretoken.simulation.jobs import Progress
from foretoken.simulation.outcome import Run
from foretoken.simulation.recording import Recording, recorded
from foretoken.simulation.run import simulate
from simulator.fleets import FleetSpec, load_fleet
from simulator.profiles import Profile
from simulator.workloads import load_workload

FIGURES: Final = ("ttft_mean_s", "ttft_p90_s", "tpot_mean_s", "e2e_mean_s", "e2e_p90_s")
"""Whose change is asked."""

_EPOCH_S: Final = 1.79e9
_SIGMA: Final = 0.3
"""Of the log factors by which true machines differ from those in the tables."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Name a recording and what is asked of it.

    Attributes:
        name: In tables.
        workload: What clients do.
        fleet: Whose profiles are drawn anew.
        rate: Requests a second.
        policy: That was recorded.
        others: That are asked for.
        lasts_s: Length of the recording.
        without: Endpoints that the other fleet lacks, from the end of the first class on;
            0 to ask for the recorded fleet.
        seed: Of traffic and truth.
    """

    name: str
    workload: str
    fleet: str
    rate: float
    policy: str
    others: tuple[str, ...]
    lasts_s: float = 300.0
    without: int = 0
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Hold one change as the replay told it and as it was.

    Attributes:
        policy: Which alternative.
        figure: Of ``FIGURES``.
        true: Ratio to the recorded run, in the world itself.
        said: The replay's.
        within_error: Whether the replay said that it cannot tell it from none.
    """

    policy: str
    figure: str
    true: float
    said: float
    within_error: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """Hold what a scene showed.

    Attributes:
        scene: Which.
        verdict: On the replay of what was recorded.
        requests: Recorded.
        errors: Of the recorded policy played again, relative, by figure.
        told: Every change.
    """

    scene: Scene
    verdict: str
    requests: int
    errors: dict[str, float]
    told: tuple[Told, ...]


def show(scene: Scene, progress: Progress) -> Shown:
    """Record, ask, and hold the answer against the truth."""
    world = other_machines(load_fleet(scene.fleet), scene.seed)
    recording = Recording()
    _run(scene, world, scene.policy, recording)
    progress(0.2)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "trace.parquet"
        pq.write_table(recording.table(epoch_s=_EPOCH_S), path)
        answer = ask(_question(scene, world, path))
    progress(0.6)
    changed = fewer(world, scene.without)
    told = []
    for alternative in answer.alternatives:
        true = _judged(_run(scene, changed, alternative.policy), answer)
        for figure in FIGURES:
            was, then = answer.trust.deviations[figure].recorded, true[figure]
            change = alternative.changes[figure]
            if then is not None and change.by is not None:
                told.append(
                    Told(
                        policy=alternative.policy,
                        figure=figure,
                        true=then / was,
                        said=1.0 + change.by,
                        within_error=change.within_error,
                    )
                )
    return Shown(
        scene=scene,
        verdict=answer.trust.verdict,
        requests=len(answer.demand.requests),
        errors={name: each.policy_error or 0.0 for name, each in answer.trust.deviations.items()},
        told=tuple(told),
    )


def other_machines(fleet: FleetSpec, seed: int) -> FleetSpec:
    """Draw machines: one for all endpoints of a profile."""
    drawn: dict[str, Profile] = {}
    specs = []
    for spec in fleet.endpoints:
        name = spec.profile.name
        if name not in drawn:
            drawn[name] = _another(spec.profile, Random(f"{seed} {name}"))
        specs.append(replace(spec, profile=drawn[name]))
    return replace(fleet, endpoints=tuple(specs))


def fewer(fleet: FleetSpec, without: int) -> FleetSpec:
    """Take endpoints away, the last ones of the class that comes first."""
    if not without:
        return fleet
    first = fleet.endpoints[0].profile.name
    own = [spec for spec in fleet.endpoints if spec.profile.name == first]
    gone = {spec.name for spec in own[len(own) - without :]}
    return replace(
        fleet, endpoints=tuple(spec for spec in fleet.endpoints if spec.name not in gone)
    )


def _another(profile: Profile, rng: Random) -> Profile:
    step, token, attention, decoding, context, prefill = (
        rng.lognormvariate(0.0, _SIGMA) for _ in range(6)
    )
    # All knots move with the step; above the first, what each adds moves with the token.
    first = profile.base_s[0] * step
    base = [first]
    slopes = [slope * token for slope in profile.slopes_s]
    for low, high, slope in zip(profile.knots, profile.knots[1:], slopes, strict=False):
        base.append(base[-1] + slope * (high - low))
    return replace(
        profile,
        base_s=tuple(base),
        slopes_s=tuple(slopes),
        attention_s=profile.attention_s * attention,
        decoding_s=profile.decoding_s * decoding,
        context_s=profile.context_s * context,
        prefill_context_s=profile.prefill_context_s * context,
        prefill_s=profile.prefill_s * prefill,
    )


def _run(scene: Scene, fleet: FleetSpec, policy: str, recording: Recording | None = None) -> Run:
    arm = ARMS[policy]
    return simulate(
        fleet=fleet,
        workload=load_workload(scene.workload),
        rate=scene.rate,
        arm=arm if recording is None else recorded(arm, recording),
        seed=scene.seed,
        warmup_s=0.0,
        measure_s=scene.lasts_s,
    )


def _question(scene: Scene, world: FleetSpec, path: Path) -> Question:
    counts = {}
    if scene.without:
        counts[""] = len(world.endpoints) - scene.without
    return Question(
        paths=(path,),
        policies=scene.others,
        seeds=2,
        changes=Changes(counts=counts, speeds={}),
    )


def _judged(run: Run, answer: Answer) -> dict[str, float | None]:
    """Give the figures of the requests that the replay was asked about."""
    late_s = answer.traffic.began_s - _EPOCH_S
    begin_s, end_s = answer.judged_s
    return steady_figures(replace(run, warmup_s=begin_s + late_s, measure_s=end_s - begin_s))
