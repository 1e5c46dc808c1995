"""One play of recorded demand through a policy on a fleet, in this process or another.

Decides nothing: it puts demand and fleet into the virtual-time driver. Called by
:mod:`foretoken.replay.question`.
"""

from dataclasses import dataclass, field

from foretoken.replay.demand import Demand
from foretoken.simulation.arms import ARMS
from foretoken.simulation.comparison import refusals
from foretoken.simulation.jobs import Progress
from foretoken.simulation.outcome import Run
from foretoken.simulation.run import simulate
from scheduler import SchedulerSettings
from simulator.errors import WorkloadTooLong
from simulator.fleets import FleetSpec
from simulator.traffic import Chain
from simulator.workloads import WorkloadObjective


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """Name one play, by values that another process can be sent.

    Attributes:
        policy: Name of an arm.
        seed: Of step noise and the policy's draws; the demand is the recorded one.
        fleet: Where.
        demand: What clients send.
        times: As many requests a second as recorded.
        judged_s: From when to when arrivals count, in the time of the recording.
        settings: The scheduler's, tiers among them.
    """

    policy: str
    seed: int
    fleet: FleetSpec
    demand: Demand
    times: float
    judged_s: tuple[float, float]
    settings: SchedulerSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedTraffic:
    """Send demand as it was recorded, once: a source of the virtual-time driver.

    Attributes:
        demand: What.
        times: As many a second.
        warmup_s: Time before the window.
        measure_s: Its length.
        name: In tables.
        objective: None of its own: requests bring theirs.
    """

    demand: Demand
    times: float
    warmup_s: float
    measure_s: float
    name: str = "recorded"
    objective: WorkloadObjective = field(default_factory=WorkloadObjective)

    def check_fits(self, limit_tokens: int) -> None:
        """Refuse endpoints that cannot hold the longest request.

        Raises:
            WorkloadTooLong: Some cannot.
        """
        if self.demand.longest_tokens > limit_tokens:
            raise WorkloadTooLong("the trace", self.demand.longest_tokens, limit_tokens)

    def chains(self, *, seed: int, rate: float, until_s: float) -> list[Chain]:  # noqa: ARG002
        """Write the requests; they are what they are, whatever the seed and the rate."""
        return self.demand.chains(times=self.times)


def play(job: Play, progress: Progress) -> Run:
    """Play it.

    Raises:
        SimulationRefused: A request fits no endpoint.
    """
    begin_s, end_s = (at_s / job.times for at_s in job.judged_s)
    source = RecordedTraffic(
        demand=job.demand, times=job.times, warmup_s=begin_s, measure_s=end_s - begin_s
    )
    with refusals():
        return simulate(
            fleet=job.fleet,
            workload=source,
            rate=1.0,
            arm=ARMS[job.policy],
            seed=job.seed,
            settings=job.settings,
            progress=progress,
        )
