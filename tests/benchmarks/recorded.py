"""Records of policies as the benchmark keeps them, made up."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from benchmarks.policies.bench import Bench
from benchmarks.policies.cells import MIXED, TEN, Cell
from benchmarks.policies.ratios import Results
from benchmarks.policies.results import Record
from foretoken.simulation.figures import FIGURES

CHAT = Cell(workload="post-c", fleet=TEN, load=0.95)
LONG = Cell(workload="mooncake", fleet=TEN, load=0.7)
MIX = Cell(workload="sharegpt", fleet=MIXED, load=0.7)
SEEDS = (11, 12, 13)


def record(cell: Cell, policy: str, seed: int, value: float, **figures: float) -> Record:
    known: dict[str, float | None] = {**dict.fromkeys(FIGURES, value), **figures}
    return Record(
        cell=cell,
        policy=policy,
        seed=seed,
        rate=6.0,
        windows_s=(60.0, 240.0),
        steady=known,
        transient=known,
        truncated=False,
    )


def every_seed(cell: Cell, policy: str, value: float, **figures: float) -> list[Record]:
    return [record(cell, policy, seed, value, **figures) for seed in SEEDS]


def results(*records: Sequence[Record]) -> Results:
    return Results([one for each in records for one in each], ("oracle_total",))


def bench(tmp_path: Path, **changes: object) -> Bench:
    quiet = Console(quiet=True)
    found = Bench(data=tmp_path, folder=tmp_path, jobs=1, console=quiet, progress=quiet)
    return replace(found, **changes)  # type: ignore[arg-type]  # whatever a test sets
