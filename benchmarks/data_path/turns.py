"""Give every router the same traffic in turns, round after round, and compare round by round.

All run the whole time; one at a time has the traffic. A ratio is taken within a round, so
that a slow moment of the machine meets both its sides, and the median over the rounds
counts.
"""

import asyncio
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import httpx

from benchmarks.data_path.load import Traffic, chat, cycle, send
from benchmarks.data_path.process_tree import used
from benchmarks.data_path.routers import Running
from foretoken.errors import DemoFailed

WARM_WITHIN_S: Final = 90.0
TREES: Final = "mixture"
"""What the service calls it when trained trees decide."""

WARM_ROUND: Final = 400
"""Requests between two looks at what predicts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """Hold what one router did in one round.

    Attributes:
        requests: Answered.
        cpu_s: CPU seconds per request, of all processes but the trainer.
        trainer_s: CPU seconds of the trainer per second.
        cores: CPU seconds of the others per second.
        rate: Requests per second.
        events: Events of streams per request.
        p50_s: Median latency.
    """

    requests: int
    cpu_s: float
    trainer_s: float
    cores: float
    rate: float
    events: float
    p50_s: float


Turns = Mapping[str, Sequence[Turn]]
"""By router, in the order of rounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """Hold one router's figure over another's, round by round: median, least and most."""

    median: float
    least: float
    most: float


async def turn(router: Running, traffic: Traffic) -> Turn:
    """Measure one router under traffic."""
    before = used(router.pid)
    load = await send(router.port, traffic)
    after = used(router.pid)
    spent_s = after.cpu_s - before.cpu_s
    return Turn(
        requests=load.answered,
        cpu_s=spent_s / load.answered,
        trainer_s=(after.trainer_s - before.trainer_s) / load.seconds,
        cores=spent_s / load.seconds,
        rate=load.rate,
        events=load.events / load.answered,
        p50_s=load.p50_s,
    )


async def in_turns(routers: Sequence[Running], traffic: Traffic, rounds: int) -> Turns:
    """Measure routers in turns; who comes first rotates."""
    turns: dict[str, list[Turn]] = {router.name: [] for router in routers}
    for number in range(rounds):
        for router in rotated(routers, number):
            turns[router.name].append(await turn(router, traffic))
    return turns


def rotated(routers: Sequence[Running], number: int) -> list[Running]:
    """Let another one come first in each round."""
    first = number % len(routers)
    return [*routers[first:], *routers[:first]]


def ratio(turns: Turns, name: str, other: str) -> Ratio | None:
    """Compare CPU per request; ``None`` where one of them was not measured.

    >>> made = {"requests": 1, "trainer_s": 0, "cores": 1, "rate": 1, "events": 0, "p50_s": 0}
    >>> turns = {"a": [Turn(cpu_s=2, **made)] * 3, "b": [Turn(cpu_s=4, **made)] * 3}
    >>> ratio(turns, "a", "b").median
    0.5
    """
    if not turns.get(name) or not turns.get(other):
        return None
    pairs = zip(turns[name], turns[other], strict=True)
    ratios = [mine.cpu_s / theirs.cpu_s for mine, theirs in pairs]
    return Ratio(median=statistics.median(ratios), least=min(ratios), most=max(ratios))


def median_cpu_s(turns: Sequence[Turn]) -> float:
    """Give the median CPU seconds per request."""
    return statistics.median(each.cpu_s for each in turns)


def lessons() -> list[bytes]:
    """Make streams of several lengths."""
    texts = (f"lesson {number % 16} " * (1 + 40 * (number % 8)) for number in range(64))
    return [chat(text, max_tokens=2 + number % 7, stream=True) for number, text in enumerate(texts)]


async def teach(router: Running, bodies: Sequence[bytes]) -> None:
    """Send our server streams until trained trees decide.

    Raises:
        DemoFailed: They do not within the time.
    """
    make = cycle(bodies)
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + WARM_WITHIN_S
    while loop.time() < deadline_s:
        await send(router.port, Traffic(make=make, connections=16, requests=WARM_ROUND))
        level, reason = await deciding(router)
        if level == TREES:
            return
        await asyncio.sleep(0.5)  # the trainer works beside
    raise DemoFailed(f"after {WARM_WITHIN_S:g} s {level} decides ({reason}), not trained trees")


async def deciding(router: Running) -> tuple[str, str]:
    """Ask our server who decides, and why."""
    async with httpx.AsyncClient(timeout=30.0) as client:
        answer = await client.get(f"http://127.0.0.1:{router.port}/foretoken/deciding")
        answer.raise_for_status()
    said = answer.json()[0]
    return str(said["level"]), str(said["reason"])
