"""The trainer's own process: collect observations, train now and then, publish.

Run as ``python -m foretoken.trainer_process STORE KEEP INTERVAL_S CPU_SHARE SETTINGS`` by
:mod:`foretoken.trainer`; ends when its input does. Every round is as long as the interval,
or longer where all the CPU this process used since the last one would be more than its
share of one core.
"""

import logging
import math
import os
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence

import msgspec

from foretoken.sched_batch import interrupted_by
from foretoken.trainer_protocol import SIGN_OF_LIFE, Forget, LeadUntil, Report, words
from foretoken.training import FleetTraining
from models_store import ModelsStore, ModelsStoreError
from predictor import PredictorSettings
from predictor.types import Observation

log = logging.getLogger(__name__)

# Serving goes first: ask for the processor only when nobody else wants it.
NICENESS = 10
# Longest that it says nothing while it rests; what it trains takes seconds.
SPEAK_S = 10.0


class Inbox:
    """Keep what has come since it was last emptied; filled by one thread, read by another.

    Args:
        most: Observations per fleet; beyond it the oldest go, and are counted.
        least: Observations of a fleet that make a round: fewer wait for more to come.

    Attributes:
        dropped: Observations that went unread, by fleet.
        until_s: Until when we may publish, by the monotonic clock.
    """

    def __init__(self, most: int, least: int = 1) -> None:
        self._most = most
        self._least = least
        self._lock = threading.Lock()
        self._new: dict[str, deque[Observation]] = {}
        self._forgotten: set[str] = set()
        self.dropped: Counter[str] = Counter()
        self.until_s = math.inf

    def may_publish(self) -> bool:
        """Say whether nobody else may train by now."""
        return time.monotonic() < self.until_s

    def add(self, observation: Observation) -> None:
        """Take in one observation."""
        with self._lock:
            new = self._new.setdefault(observation.model, deque(maxlen=self._most))
            self.dropped[observation.model] += len(new) == self._most
            new.append(observation)

    def forget(self, fleet: str) -> None:
        """Drop what is new of a fleet, and ask for what was taken before to be forgotten."""
        with self._lock:
            self._new.pop(fleet, None)
            self._forgotten.add(fleet)

    def take(self) -> tuple[set[str], dict[str, Sequence[Observation]]]:
        """Give the fleets to forget first, and what is new by fleet, oldest first."""
        with self._lock:
            forgotten, self._forgotten = self._forgotten, set()
            ready = [fleet for fleet, new in self._new.items() if len(new) >= self._least]
            return forgotten, {fleet: self._new.pop(fleet) for fleet in ready}


def read(inbox: Inbox) -> None:
    """Fill the inbox from standard input; end the process with it.

    A process that can no longer read is of no use either: its supervisor starts another.
    """
    try:
        for word in words(sys.stdin.buffer):
            if isinstance(word, Forget):
                inbox.forget(word.fleet)
            elif isinstance(word, LeadUntil):
                inbox.until_s = word.until_s
            else:
                inbox.add(word)
    except Exception:
        log.exception("observations_unreadable")
        os._exit(1)
    os._exit(0)  # the parent is gone: a training under way is of no use to anyone


def rest_s(*, cpu_s: float, wall_s: float, interval_s: float, cpu_share: float) -> float:
    """Give how long to rest after a round that took so much.

    >>> rest_s(cpu_s=0.1, wall_s=0.2, interval_s=10.0, cpu_share=0.25)
    9.8
    >>> rest_s(cpu_s=4.0, wall_s=5.0, interval_s=10.0, cpu_share=0.25)
    11.0
    """
    return max(interval_s - wall_s, cpu_s / cpu_share - wall_s, 0.0)


def main() -> None:
    """Train until standard input ends."""
    store_dir, keep, interval_s, cpu_share, settings_json = sys.argv[1:]
    settings = PredictorSettings.model_validate_json(settings_json)
    os.nice(NICENESS)
    server = os.getppid()
    store = ModelsStore(store_dir)
    inbox = Inbox(settings.training.window_rows, least=settings.training.judged_rows)
    fleets: dict[str, FleetTraining] = {}
    threading.Thread(target=read, args=(inbox,), daemon=True).start()
    cpu_s, rested_s = time.process_time(), float(interval_s)
    while True:
        rest(rested_s)
        began_s = time.monotonic()
        forgotten, taken = inbox.take()
        for fleet in forgotten:
            fleets.pop(fleet, None)
        for fleet, new in taken.items():
            training = fleets.setdefault(
                fleet, FleetTraining(store, fleet, settings, may_publish=inbox.may_publish)
            )
            with interrupted_by(server):
                report = with_unread(train(training, fleet, new), inbox.dropped[fleet])
            say(report)
            if report.accepted:
                prune(store, fleet, int(keep))
        now_s, used_s = time.monotonic(), time.process_time()
        rested_s = rest_s(
            cpu_s=used_s - cpu_s,
            wall_s=now_s - began_s,
            interval_s=float(interval_s),
            cpu_share=float(cpu_share),
        )
        cpu_s = used_s


def train(training: FleetTraining, fleet: str, new: Sequence[Observation]) -> Report:
    """Train on what is new; a failure is reported like a refusal, and the window stays."""
    try:
        for observation in new:
            training.add(observation)
        return training.train()
    except Exception as error:
        log.exception("training_failed", extra={"model": fleet})
        return Report(
            fleet=fleet,
            seconds=0.0,
            rows=0,
            accepted=False,
            reason="failed",
            detail=f"{type(error).__name__}: {error}",
        )


def with_unread(report: Report, dropped: int) -> Report:
    """Count among the refused what came faster than rounds could take it.

    >>> report = Report(fleet="m", seconds=0.1, rows=9, accepted=True)
    >>> with_unread(report, 2).refused, with_unread(report, 0).refused
    ({'unread': 2}, {})
    """
    if not dropped:
        return report
    return msgspec.structs.replace(report, refused={**report.refused, "unread": dropped})


def prune(store: ModelsStore, fleet: str, keep: int) -> None:
    """Delete what is too old; what cannot be deleted stays."""
    try:
        store.prune(fleet, keep)
    except ModelsStoreError:
        log.exception("old_versions_kept", extra={"model": fleet})


def say(report: Report) -> None:
    """Send a report up the pipe."""
    send(msgspec.json.encode(report) + b"\n")


def rest(seconds: float) -> None:
    """Sleep, and say now and then that this is all."""
    until_s = time.monotonic() + seconds
    send(SIGN_OF_LIFE)
    while (left_s := until_s - time.monotonic()) > 0:
        time.sleep(min(left_s, SPEAK_S))
        send(SIGN_OF_LIFE)


def send(line: bytes) -> None:
    """Send a line up the pipe at once; end the process where nobody is there to read it."""
    try:
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        os._exit(0)  # the parent is gone, and the thread that reads may not have heard yet


if __name__ == "__main__":
    main()
