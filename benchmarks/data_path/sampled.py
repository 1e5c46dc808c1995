"""Run ``foretoken`` and note, by CPU time, which part of it is at work.

    python -m benchmarks.data_path.sampled FILE serve ...

Every few milliseconds of CPU the kernel interrupts the process; the CPU that the main
thread has used since goes to the part that its stack shows, the rest to other threads.
SIGUSR1 begins to count anew, SIGUSR2 writes the counts to the file as JSON: seconds by
part. What a C extension does counts for the Python function that called it, or, in the
event loop, for the one that it calls next.
"""

import json
import os
import signal
import sys
import time
from collections import defaultdict
from pathlib import Path
from types import FrameType
from typing import Final

TICK_S: Final = 0.004
"""The kernel's own tick: asking for less gives no more."""

ROOT: Final = str(Path(__file__).resolve().parents[2]) + os.sep
THREADS: Final = "other threads (trace writer)"
RELAY: Final = "parse and relay"

# The innermost frame that one of these names decides; a file alone means all of it.
RULES: Final = {
    ("predictor/latency.py", "learn"): "learning",
    ("foretoken/learner.py", ""): "learning",
    ("scheduler/scheduler.py", "route"): "features and decision",
    ("scheduler/scheduler.py", "first_token"): "bookkeeping",
    ("scheduler/scheduler.py", "finished"): "bookkeeping",
    ("scheduler/scheduler.py", "tick"): "bookkeeping",
    ("scheduler/scheduler.py", "update"): "scraping",
    ("collectors/scraper.py", ""): "scraping",
    ("collectors/page_reader.py", ""): "scraping",
    ("collectors/metrics_page.py", ""): "scraping",
    ("collectors/endpoint.py", ""): "scraping",
    ("collectors/trace.py", ""): "record",
    ("foretoken/trainer.py", ""): "record",
    ("proxy/history.py", ""): "record",
    ("proxy/metrics.py", ""): "metrics",
    ("proxy/cache_metrics.py", ""): "metrics",
    ("proxy/fleet_metrics.py", ""): "metrics",
    ("proxy/objective_metrics.py", ""): "metrics",
    ("proxy/queue_metrics.py", ""): "metrics",
    ("proxy/request_metrics.py", ""): "metrics",
    ("proxy/request_log.py", ""): "log line",
    ("foretoken/logs.py", ""): "log line",
    ("proxy/prompt.py", ""): "features and decision",
}
"""File and function -> part; what no rule names is ``RELAY``."""


def part_of(frame: FrameType | None) -> str:
    """Name the part that a stack is in."""
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(ROOT):
            file = file[len(ROOT) :]
            found = RULES.get((file, frame.f_code.co_name)) or RULES.get((file, ""))
            if found is not None:
                return found
        frame = frame.f_back
    return RELAY


class Sampler:
    """Count CPU seconds by part; the handlers run in the main thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._begin()

    def install(self) -> None:
        """Take the signals."""
        signal.signal(signal.SIGPROF, self._sample)
        signal.signal(signal.SIGUSR1, lambda *_: self._begin())
        signal.signal(signal.SIGUSR2, lambda *_: self._write())
        signal.setitimer(signal.ITIMER_PROF, TICK_S, TICK_S)

    def _begin(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._process_s, self._thread_s = time.process_time(), time.thread_time()

    def _sample(self, _: int, frame: FrameType | None) -> None:
        process_s, thread_s = time.process_time(), time.thread_time()
        mine_s = thread_s - self._thread_s
        self._seconds[part_of(frame)] += mine_s
        self._seconds[THREADS] += max(process_s - self._process_s - mine_s, 0.0)
        self._process_s, self._thread_s = process_s, thread_s

    def _write(self) -> None:
        ready = self._path.with_suffix(".part")
        ready.write_text(json.dumps(self._seconds))
        ready.replace(self._path)


def main() -> None:
    """Install the sampler, then be the command line."""
    sampler = Sampler(Path(sys.argv[1]))
    sys.argv[1:2] = []
    from foretoken.cli import main as command_line  # noqa: PLC0415  # sys.argv comes first

    sampler.install()
    command_line()


if __name__ == "__main__":
    main()
