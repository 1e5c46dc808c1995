"""CPU per chat beside the peers: tiny ones, long prompts, streams.

Ours runs with its default policy, taught until trained trees decide, with traces, metrics
and a log line per request. The peers run with their default policy, which is judged
against, and with their cheapest, which is shown.
"""

import random
import statistics
from dataclasses import asdict, dataclass
from typing import Final

from rich.table import Table

from benchmarks.data_path.judge import Kind, Verdict
from benchmarks.data_path.load import Make, Traffic, chat, cycle
from benchmarks.data_path.part import Options, Outcome, Part
from benchmarks.data_path.routers import OURS, Choice, choices
from benchmarks.data_path.starting import started, stubs
from benchmarks.data_path.turns import (
    TREES,
    Turns,
    deciding,
    in_turns,
    lessons,
    median_cpu_s,
    ratio,
    teach,
)

CHUNKS: Final = 100
ITL_MS: Final = 10
PROMPT_BYTES: Final = 32_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """Say how much of a router's CPU ours may take.

    Attributes:
        kind: Whether it must be so.
        peer: The router, with its policy where that is not its default.
        most: Ours over its.
    """

    kind: Kind
    peer: str
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Describe one row of the table.

    Attributes:
        name: Its part, and the place of its table on a page.
        title: What is sent.
        make: Bodies.
        lessons: Streams that teach our predictor before.
        bounds: What is judged.
        endpoints: How many.
        connections: Requests under way.
        seconds: Of a turn.
        stub: Options of the endpoints.
        events: Of a stream; ``None`` where answers are not streamed.
    """

    name: str
    title: str
    make: Make
    lessons: tuple[bytes, ...]
    bounds: tuple[Bound, ...]
    endpoints: int = 2
    connections: int = 32
    seconds: float = 4.0
    stub: tuple[str, ...] = ()
    events: int | None = None


def long_prompts(prompts: int = 64, groups: int = 8) -> list[str]:
    """Make prompts of about 32 KB; those of a group share the first half.

    >>> texts = long_prompts(2, 1)
    >>> 31_000 < len(texts[0]) < 33_000, texts[0][:15_000] == texts[1][:15_000]
    (True, True)
    """
    rng = random.Random(0)
    shared = [_words(rng, PROMPT_BYTES // 2) for _ in range(groups)]
    texts = (shared[number % groups] + _words(rng, PROMPT_BYTES // 2) for number in range(prompts))
    return list(texts)


def _words(rng: random.Random, count_bytes: int) -> str:
    return "".join(f"word{rng.randrange(1000):03d} " for _ in range(count_bytes // 8))


def rows() -> dict[str, Row]:
    """Describe all rows, by name."""
    long, short = long_prompts(), tuple(lessons())
    described = (
        Row(
            name="tiny",
            title="CPU per tiny chat, 2 endpoints, 32 connections",
            make=cycle([chat("hi")]),
            lessons=short,
            bounds=(
                Bound(kind="must", peer="sglang-router", most=1.2),
                Bound(kind="goal", peer="sglang-router", most=0.8),
            ),
        ),
        Row(
            name="prompt",
            title="CPU per chat of 32 KB, 8 endpoints, 32 connections",
            make=cycle([chat(text) for text in long]),
            lessons=tuple(chat(text, max_tokens=3, stream=True) for text in long),
            bounds=(
                Bound(kind="must", peer="vllm-router", most=1.0),
                Bound(kind="goal", peer="vllm-router round_robin", most=1.0),
            ),
            endpoints=8,
        ),
        Row(
            name="streams",
            title=f"CPU per stream of {CHUNKS} chunks {ITL_MS} ms apart, 32 at a time",
            make=cycle([chat("hi", max_tokens=CHUNKS, stream=True)]),
            lessons=short,
            bounds=(
                Bound(kind="must", peer="sglang-router", most=1.0),
                Bound(kind="goal", peer="sglang-router", most=0.7),
            ),
            seconds=8.0,
            stub=("--itl-ms", str(ITL_MS)),
            events=CHUNKS,
        ),
    )
    return {row.name: row for row in described}


def part(row: Row) -> Part:
    """Make the part that measures a row."""

    async def measured(options: Options) -> Outcome:
        return await measure(row, options)

    return measured


async def measure(row: Row, options: Options) -> Outcome:
    """Measure one row with all that is installed."""
    compiled = options.site.compiled is not None
    everyone = choices(options.site.peers, cheapest=True, compiled=compiled)
    chosen = [choice for choice in everyone if _wanted(choice, options)]
    traffic = Traffic(
        make=row.make,
        connections=row.connections,
        events=row.events,
        seconds=options.seconds(row.seconds),
    )
    async with (
        stubs(options.site, row.endpoints, *row.stub) as urls,
        started(options.site, chosen, urls) as routers,
    ):
        ours = [router for router in routers if router.ours]
        for router in ours:
            await teach(router, row.lessons)
        await in_turns(routers, traffic, 1)
        for router in ours:
            await teach(router, row.lessons)
        turns = await in_turns(routers, traffic, options.rounds)
        level, reason = await deciding(ours[0])
    decides = f"{level} ({reason})"
    return outcome(row, turns, decides, judged=not options.quick, compiled=compiled)


def _wanted(choice: Choice, options: Options) -> bool:
    """Leave out, in a quick run, what is not judged against."""
    judged = {bound.peer for row in rows().values() for bound in row.bounds}
    return not options.quick or choice.program == OURS or choice.name in judged


def outcome(
    row: Row, turns: Turns, decides: str, *, judged: bool, compiled: bool = False
) -> Outcome:
    """Judge a row and show it."""
    verdicts = tuple(_verdict(row, turns, bound, judged=judged) for bound in row.bounds)
    trees = decides.startswith(TREES)
    others = Verdict(
        what=f"{row.name}: something else than trained trees decides in the end",
        kind="must",
        measured=float(not trees) if judged else None,
        most=0.0,
        unit="times",
    )
    return Outcome(
        tables={f"data-path-{row.name}": table(row, turns)},
        verdicts=(*verdicts, others),
        figures={
            "decides": decides,
            "turns": {name: [asdict(each) for each in theirs] for name, theirs in turns.items()},
        },
        notes=(
            f"{row.name}: {decides} decides in ours at the end",
            f"{row.name}: foretoken is {'compiled' if compiled else 'interpreted'}",
        ),
    )


def _verdict(row: Row, turns: Turns, bound: Bound, *, judged: bool) -> Verdict:
    against = ratio(turns, OURS, bound.peer) if judged else None
    return Verdict(
        what=f"{row.name}: CPU per request against {bound.peer}",
        kind=bound.kind,
        measured=None if against is None else against.median,
        most=bound.most,
        unit="x",
        spread=None if against is None else (against.least, against.most),
    )


def table(row: Row, turns: Turns) -> Table:
    """Show what every router took."""
    shown = Table(
        "router", "CPU, ms", "over the rounds", "ours to it", "requests/s", "cores", "p50, ms",
        title=row.title,
    )  # fmt: skip
    for name, each in turns.items():
        cpus = [turn.cpu_s * 1e3 for turn in each]
        against = ratio(turns, OURS, name)
        shown.add_row(
            name,
            f"{median_cpu_s(each) * 1e3:.3f}",
            f"{min(cpus):.3f} to {max(cpus):.3f}",
            "" if against is None or name == OURS else f"{against.median:.2f}x",
            f"{statistics.median(turn.rate for turn in each):.0f}",
            f"{statistics.median(turn.cores for turn in each):.2f}",
            f"{statistics.median(turn.p50_s for turn in each) * 1e3:.2f}",
        )
    trainer_s = statistics.median(turn.trainer_s for turn in turns[OURS])
    shown.caption = f"our trainer, a process of its own, takes {trainer_s:.2f} of a core besides"
    return shown
