"""What a program and all it started use.

CPU is user and system time of processes that still run, by their CPU-time clocks: ``/proc``
tells it in ticks of 10 ms, which are 4 % of what a router uses in a turn of streams. What the
trainer uses is told apart, because it works at its own pace, whatever the requests do.
"""

import errno
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
TRAINER: Final = b"foretoken.trainer_process"
"""In the command line of the process that is told apart."""

PROC: Final = Path("/proc")
_SCHEDULED: Final = 2
"""What marks a process's clock of all its time on a CPU (CPUCLOCK_SCHED of Linux)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """Hold what a tree of processes has used.

    Attributes:
        cpu_s: Of all but the trainer.
        trainer_s: Of the trainer and what it started.
        rss_bytes: Resident now, without the trainer.
        processes: How many there are, without the trainer.
    """

    cpu_s: float
    trainer_s: float
    rss_bytes: int
    processes: int


def used(pid: int) -> Used:
    """Look at a process and all that descend from it.

    >>> mine = used(os.getpid())
    >>> mine.cpu_s > 0, mine.rss_bytes > 1_000_000, mine.trainer_s
    (True, True, 0.0)
    """
    others_s = trainer_s = 0.0
    rss_bytes = processes = 0
    for number, apart in _tree(pid, apart=False):
        spent_s = cpu_s(number)
        if apart:
            trainer_s += spent_s
        else:
            others_s += spent_s
            rss_bytes += _rss_bytes(number)
            processes += 1
    return Used(cpu_s=others_s, trainer_s=trainer_s, rss_bytes=rss_bytes, processes=processes)


def _tree(pid: int, *, apart: bool) -> Iterator[tuple[int, bool]]:
    apart = apart or TRAINER in _read(f"{pid}/cmdline")
    yield pid, apart
    for task in _tasks(pid):
        for child in _read(f"{pid}/task/{task}/children").split():
            yield from _tree(int(child), apart=apart)


def _tasks(pid: int) -> list[str]:
    try:
        return os.listdir(PROC / f"{pid}/task")  # noqa: PTH208  # names are all that is wanted
    except OSError:
        return []


def cpu_s(pid: int) -> float:
    """Give the CPU seconds of one process, its children's left aside; 0.0 once it ended.

    >>> cpu_s(os.getpid()) > 0
    True
    """
    try:
        return time.clock_gettime(~pid << 3 | _SCHEDULED)  # as clock_getcpuclockid(3) makes it
    except OSError as error:
        if error.errno in {errno.EINVAL, errno.ESRCH}:
            return 0.0
        raise


def wakings(pid: int) -> int:
    """Count how often the threads of one process have gone to sleep.

    >>> wakings(os.getpid()) >= 0
    True
    """
    status = b"".join(_read(f"{pid}/task/{task}/status") for task in _tasks(pid))
    return sum(map(int, re.findall(rb"^voluntary_ctxt_switches:\s+(\d+)", status, re.MULTILINE)))


def _rss_bytes(pid: int) -> int:
    fields = _read(f"{pid}/statm").split()
    return int(fields[1]) * PAGE_BYTES if fields else 0


def _read(name: str) -> bytes:
    """Give a file of a process; nothing where it has ended meanwhile."""
    try:
        return (PROC / name).read_bytes()
    except OSError:
        return b""
