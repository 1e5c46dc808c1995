"""Play many simulated runs on the cores there are, one process each.

A run is named by plain values (``Job``), so that a process of its own can load what it
needs; what it gives back is a function of those values alone, whichever process plays it
and in whatever order. Called by ``foretoken simulate`` and by the benchmarks.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from foretoken.simulation.workers import Ended, Played, Progress, Task, Worker, ready

__all__ = ["Job", "Progress", "play_each"]


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

    However it ends, by an error, by Ctrl-C or because nobody asks for more: no process
    that it started is left.

    Args:
        jobs: What to play, mostly ``Job``.
        play: Plays one; with several processes a module's own function, and its result
            has to survive pickling.
        processes: Most to play at once; with one, everything happens in this process.
        progress: Told the index of a job and the share of it that is done.

    Raises:
        RunLost: A process died while it played, as one does that is out of memory.
        Exception: Whatever ``play`` raises; what is under way then is stopped.
    """
    if min(processes, len(jobs)) <= 1:
        for index, job in enumerate(jobs):
            yield index, play(job, _of(index, progress))
        return
    workers: list[Worker[Task, Played]] = []
    try:
        for _ in range(min(processes, len(jobs))):
            workers.append(Worker(play))  # noqa: PERF401  # those there are stopped if one fails
        yield from _share_out(jobs, workers, progress)
    finally:
        for worker in workers:
            worker.stop()


def _share_out(
    jobs: Sequence[Task],
    workers: Sequence[Worker[Task, Played]],
    progress: Callable[[int, float], None],
) -> Iterator[tuple[int, Played]]:
    waiting = iter(enumerate(jobs))
    playing: dict[Worker[Task, Played], int] = {}

    def begin_next(worker: Worker[Task, Played]) -> None:
        playing.pop(worker, None)
        for index, job in waiting:
            worker.begin(job)
            playing[worker] = index
            return

    for worker in workers:
        begin_next(worker)
    while playing:
        for worker in ready(list(playing)):
            index, told = playing[worker], worker.hear()
            if isinstance(told, Ended):
                begin_next(worker)
                progress(index, 1.0)
                yield index, told.played
            else:
                progress(index, told)


def _of(index: int, progress: Callable[[int, float], None]) -> Progress:
    return lambda share: progress(index, share)
