"""The storm itself: calm, faults in seeded random order under steady load, and calm again.

Three lanes run side by side, so that a router's trouble meets an endpoint's; within a lane
every fault happens once in random order, then again in another order, until the time is up.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from benchmarks.storm import client_faults, endpoint_faults, router_faults
from benchmarks.storm.errors import NotBack, NotThere
from benchmarks.storm.fault import Fault, Injection, Scene
from benchmarks.storm.place import Place
from benchmarks.storm.seen import Held, Samples, held, samples, total, until

FAULTS: Final = (*endpoint_faults.FAULTS, *router_faults.FAULTS, *client_faults.FAULTS)

BEFORE: Final = "before"
STORM: Final = "storm"
"""Begin the ids of requests of the two loads."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Say how long everything takes, seconds.

    Attributes:
        warm_s: Load before anything is measured.
        calm_s: Load without faults, before and after, in which predictions are judged.
        storm_s: Faults.
        recover_s: After the last fault, before predictions are judged.
        hold_s: Least and most that a fault lasts.
        pause_s: Least and most between two of a lane.
        quiet_s: Without load, before resources are compared.
    """

    warm_s: float
    calm_s: float
    storm_s: float
    recover_s: float
    hold_s: tuple[float, float]
    pause_s: tuple[float, float]
    quiet_s: float = 9.0


def plan_of(minutes: float) -> Plan:
    """Divide some minutes of storm, or two of everything.

    >>> plan_of(15).storm_s, plan_of(0).storm_s
    (900.0, 60.0)
    """
    if minutes <= 0:
        return Plan(
            warm_s=15, calm_s=15, storm_s=60.0, recover_s=5, hold_s=(2, 4), pause_s=(0.2, 1)
        )
    return Plan(
        warm_s=180,
        calm_s=60,
        storm_s=minutes * 60.0,
        recover_s=30,
        hold_s=(3, 12),
        pause_s=(0.5, 4),
    )


@dataclass(slots=True, kw_only=True)
class Story:
    """Hold what happened, for the accounts.

    Attributes:
        injections: In the order they began.
        skipped: Why, by kind of fault.
        before: What each router held after the warm-up.
        after: What each holds at the end.
        pages: The metrics of each at the end.
        calm: Epoch seconds from and to which predictions are judged, before and after.
        storm: Epoch seconds from and to which there were faults.
    """

    injections: list[Injection] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    before: list[Held] = field(default_factory=list)
    after: list[Held] = field(default_factory=list)
    pages: list[Samples] = field(default_factory=list)
    calm: list[tuple[float, float]] = field(default_factory=list)
    storm: tuple[float, float] = (0.0, 0.0)


async def live_through(place: Place, plan: Plan, say: Say) -> Story:
    """Lead a place through everything.

    Raises:
        NotThere: A part of it died for good.
    """
    story = Story()
    await place.load_begins(BEFORE)
    await asyncio.sleep(plan.warm_s)
    await _calm(story, plan.calm_s)
    await place.load_ends()
    await _quiet(place, plan.quiet_s)
    story.before = [await held(place, router) for router in place.routers]
    say("calm measured; the storm begins")
    await place.load_begins(STORM)
    began_s = time.time()
    await _rage(place, plan, story, say)
    story.storm = (began_s, time.time())
    say("the storm is over")
    await asyncio.sleep(plan.recover_s)
    await _calm(story, plan.calm_s)
    await place.load_ends()
    await _quiet(place, plan.quiet_s)
    story.after = [await held(place, router) for router in place.routers]
    story.pages = [await samples(place, router) for router in place.routers]
    return story


async def _calm(story: Story, seconds: float) -> None:
    began_s = time.time()
    await asyncio.sleep(seconds)
    story.calm.append((began_s, time.time()))


async def _quiet(place: Place, seconds: float) -> None:
    """Wait until nothing is in flight, and what is idle is closed."""

    async def idle() -> bool:
        pages = [await samples(place, router) for router in place.live_routers]
        return not any(total(page, "foretoken_inflight_requests") for page in pages)

    try:
        await until("nothing is in flight", idle, within_s=20.0)
    except NotBack:
        return  # the accounts say so
    await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lane:
    """Let the faults of one lane happen, one after the other."""

    place: Place
    plan: Plan
    story: Story
    say: Say
    faults: Sequence[Fault]
    rng: Random

    async def run(self, until_s: float) -> None:
        """Let every fault happen, and again while there is time."""
        loop = asyncio.get_running_loop()
        first = True
        while first or loop.time() < until_s:
            for fault in self.rng.sample(self.faults, len(self.faults)):
                if not first and loop.time() >= until_s:
                    return
                await asyncio.sleep(self.rng.uniform(*self.plan.pause_s))
                await self._let(fault)
            first = False

    async def _let(self, fault: Fault) -> None:
        injection = Injection(kind=fault.kind, began_s=time.time())
        self.story.injections.append(injection)
        scene = Scene(
            place=self.place,
            rng=self.rng,
            hold_s=self.rng.uniform(*self.plan.hold_s),
            injection=injection,
        )
        await _happen(fault, scene)
        self.say(_told(injection))


async def _rage(place: Place, plan: Plan, story: Story, say: Say) -> None:
    lanes: dict[str, list[Fault]] = {}
    for fault in FAULTS:
        missing = fault.missing(place)
        if missing is None:
            lanes.setdefault(fault.lane, []).append(fault)
        else:
            story.skipped[fault.kind] = missing
            say(f"skipped: {fault.kind}: {missing}")
    until_s = asyncio.get_running_loop().time() + plan.storm_s
    async with asyncio.TaskGroup() as group:
        for name, faults in lanes.items():
            rng = Random(f"{place.seed} {name}")
            lane = _Lane(place=place, plan=plan, story=story, say=say, faults=faults, rng=rng)
            group.create_task(lane.run(until_s))


async def _happen(fault: Fault, scene: Scene) -> None:
    try:
        await fault.happen(scene)
    except (NotBack, NotThere) as error:
        scene.injection.problem = str(error)
    scene.injection.ended_s = time.time()


def _told(injection: Injection) -> str:
    took_s = (injection.ended_s or time.time()) - injection.began_s
    text = f"{injection.kind}, {injection.whom or 'clients'}, {took_s:.1f} s"
    return text if injection.problem is None else f"{text}: {injection.problem}"
