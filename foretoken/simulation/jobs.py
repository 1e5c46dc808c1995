"""Play many simulated runs on the cores there are, one process each.

A run is named by plain values (``Job``), so that a process of its own can load what it
needs; what it gives back is a function of those values alone, whichever process plays it
and in whatever order. Called by ``foretoken simulate`` and by the benchmarks.
"""

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final, TypeVar

Progress = Callable[[float], None]
"""Told the share of a run that is done, 0 to 1."""

Task = TypeVar("Task")
Played = TypeVar("Played")

# Often enough for a bar to move, seldom enough to cost nothing.
_LOOK_S: Final = 0.25
_PROGRESS_STEP: Final = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Name one run.

    Attributes:
        workload: Name of a workload, or path of its file.
        fleet: Likewise.
        policy: Name of an arm.
        data: Folder that recorded traces are read from, ``None`` for the workload's own.
        rate: Requests a second, or users of a closed loop.
        seed: Of everything random.
        warmup_s: Length of the transient.
        measure_s: Length of the steady-state window.
        labels: Whether the predictor is told each endpoint's hardware.
    """

    workload: str
    fleet: str
    policy: str
    data: Path | None
    rate: float
    seed: int
    warmup_s: float
    measure_s: float
    labels: bool = False


def play_each(
    jobs: Sequence[Task],
    play: Callable[[Task, Progress], Played],
    *,
    processes: int,
    progress: Callable[[int, float], None] = lambda _index, _share: None,
) -> Iterator[tuple[int, Played]]:
    """Play jobs and give each one's index and result as it ends, in any order.

    Args:
        jobs: What to play, mostly ``Job``.
        play: Plays one; with several processes a module's own function, and its result
            and errors have to survive pickling.
        processes: Most to play at once; with one, everything happens in this process.
        progress: Told the index of a job and the share of it that is done.

    Raises:
        Exception: Whatever ``play`` raises; what has not begun by then never does.
    """
    if min(processes, len(jobs)) <= 1:
        for index, job in enumerate(jobs):
            yield index, play(job, _of(index, progress))
        return
    context = get_context("spawn")  # a fork would copy the caller's threads' locks
    with context.Manager() as manager:
        shares: MutableMapping[int, float] = manager.dict()
        pool = ProcessPoolExecutor(min(processes, len(jobs)), mp_context=context)
        try:
            futures = {
                pool.submit(_play_in_child, play, job, index, shares): index
                for index, job in enumerate(jobs)
            }
            yield from _as_they_end(futures, shares, progress)
        finally:
            pool.shutdown(cancel_futures=True)


def _as_they_end(
    futures: dict[Future[Played], int],
    shares: MutableMapping[int, float],
    progress: Callable[[int, float], None],
) -> Iterator[tuple[int, Played]]:
    waiting = set(futures)
    while waiting:
        done, waiting = wait(waiting, timeout=_LOOK_S, return_when=FIRST_COMPLETED)
        for index, share in shares.items():
            progress(index, share)
        for future in done:
            progress(futures[future], 1.0)
            yield futures[future], future.result()


def _play_in_child(
    play: Callable[[Task, Progress], Played],
    job: Task,
    index: int,
    shares: MutableMapping[int, float],
) -> Played:
    told = 0.0

    def tell(share: float) -> None:
        nonlocal told
        if share >= told + _PROGRESS_STEP:
            told = shares[index] = share

    return play(job, tell)


def _of(index: int, progress: Callable[[int, float], None]) -> Progress:
    return lambda share: progress(index, share)
