"""The trainer's own process: collect observations, train now and then, publish.

Run as ``python -m foretoken.trainer_process STORE KEEP INTERVAL_S CPU_SHARE TRAINING`` by
:mod:`foretoken.trainer`; ends when its input does. A model is published only when it
was no worse, predicting the newest traffic before learning it, than the served one.
"""

import logging
import os
import sys
import threading
import time
from collections import deque
from pathlib import Path

import msgspec

from foretoken.trainer_protocol import Report, observations
from foretoken.training import train_and_publish
from models_store import ModelsStore, ModelsStoreError
from predictor import TrainingSettings
from predictor.types import Observation

log = logging.getLogger(__name__)

# Serving goes first: ask for the processor only when nobody else wants it.
NICENESS = 10


class Windows:
    """Keep the newest observations of every fleet; filled by one thread, read by another."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._lock = threading.Lock()
        self._windows: dict[str, deque[Observation]] = {}
        self._fresh: dict[str, int] = {}

    def add(self, observation: Observation) -> None:
        """Take in one observation; the oldest of a full window goes."""
        with self._lock:
            window = self._windows.setdefault(observation.model, deque(maxlen=self._rows))
            window.append(observation)
            self._fresh[observation.model] = self._fresh.get(observation.model, 0) + 1

    def take(self) -> dict[str, list[Observation]]:
        """Give the windows of fleets that have something new, oldest first."""
        with self._lock:
            fresh = [fleet for fleet, count in self._fresh.items() if count]
            self._fresh.clear()
            return {fleet: list(self._windows[fleet]) for fleet in fresh}


def read(windows: Windows) -> None:
    """Fill the windows from standard input; end the process with it.

    A process that can no longer read is of no use either: its supervisor starts another.
    """
    try:
        for observation in observations(sys.stdin.buffer):
            windows.add(observation)
    except Exception:
        log.exception("observations_unreadable")
        os._exit(1)
    os._exit(0)  # the parent is gone: a training under way is of no use to anyone


def main() -> None:
    """Train until standard input ends."""
    store_dir, keep, interval_s, cpu_share, training_json = sys.argv[1:]
    training = TrainingSettings.model_validate_json(training_json)
    os.nice(NICENESS)
    store = ModelsStore(Path(store_dir))
    windows = Windows(training.window_rows)
    threading.Thread(target=read, args=(windows,), daemon=True).start()
    while True:
        time.sleep(float(interval_s))
        for fleet, rows in windows.take().items():
            report = _train(store, fleet, rows, training)
            _say(report)
            if report.accepted:
                _prune(store, fleet, int(keep))
            time.sleep(report.seconds * (1 / float(cpu_share) - 1))


def _train(
    store: ModelsStore, fleet: str, rows: list[Observation], training: TrainingSettings
) -> Report:
    """Train and publish; a failure is reported like a refusal, and the window stays."""
    try:
        return train_and_publish(store, fleet, rows, training)
    except Exception as error:
        log.exception("training_failed", extra={"model": fleet})
        return Report(
            fleet=fleet,
            seconds=0.0,
            rows=len(rows),
            accepted=False,
            reason="failed",
            detail=f"{type(error).__name__}: {error}",
        )


def _prune(store: ModelsStore, fleet: str, keep: int) -> None:
    try:
        store.prune(fleet, keep)
    except ModelsStoreError:
        log.exception("old_versions_kept", extra={"model": fleet})


def _say(report: Report) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
