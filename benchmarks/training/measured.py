"""Run ``foretoken train`` as people do, and watch what it takes."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from foretoken.errors import ForetokenError
from models_store import ModelsStore
from predictor.boosted import BoostedModels
from predictor.physics import TARGETS
from predictor.snapshot import ModelSnapshot
from predictor.table import Table

_EVERY_S: Final = 0.5
_GIB: Final = 2**20  # of the kilobytes of /proc


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Hold what a training took.

    Attributes:
        wall_s: From start to end.
        cpu_s: Of the process.
        peak_gib: The most memory that was resident.
        curve: Seconds since the start and GiB resident, twice a second.
        told: What the command wrote as JSON, by fleet.
    """

    wall_s: float
    cpu_s: float
    peak_gib: float
    curve: list[tuple[float, float]]
    told: dict[str, dict[str, float | str]]


def train(traces: Path, store: Path, *options: str) -> Taken:
    """Train by the command line.

    Raises:
        ForetokenError: It failed.
    """
    figures = store.with_suffix(".json")
    command = [sys.executable, "-m", "foretoken", "train", str(traces), "--store", str(store)]
    started_s, curve, peak = time.monotonic(), list[tuple[float, float]](), 0.0
    process = subprocess.Popen([*command, "--json", str(figures), *options])  # noqa: S603  # ours
    while True:
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        if ended:
            break
        now, most = _resident_gib(process.pid)
        peak = max(peak, most)
        curve.append((round(time.monotonic() - started_s, 1), round(now, 3)))
        time.sleep(_EVERY_S)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise ForetokenError(f"foretoken train ended with {process.returncode}")
    return Taken(
        wall_s=time.monotonic() - started_s,
        cpu_s=usage.ru_utime + usage.ru_stime,
        peak_gib=max(peak, usage.ru_maxrss / _GIB),
        curve=curve,
        told=json.loads(figures.read_text()),
    )


def errors(store: Path, held_out: Table) -> dict[str, float]:
    """Give the median percentage error, by target, of the model in use on rows it never saw."""
    opened = ModelsStore(store)
    (fleet,) = opened.fleets()
    return errors_of(ModelSnapshot.load(opened.load(fleet)[0]), held_out)


def errors_of(model: ModelSnapshot, held_out: Table) -> dict[str, float]:
    """Give the same of a model at hand."""
    models = BoostedModels(model.physics, model.trees)
    said = models.experts(held_out.features, held_out.endpoints, held_out.hardware)
    log_error = said[:, 1:].mean(axis=1) - held_out.log_target
    return {
        name: float(np.nanmedian(np.abs(np.expm1(log_error[target]))))
        for target, name in enumerate(TARGETS)
    }


def _resident_gib(pid: int) -> tuple[float, float]:
    """Give what is resident now, and the most there was."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0, 0.0
    told = {line.partition(":")[0]: line.split()[1] for line in lines if line.startswith("Vm")}
    return int(told.get("VmRSS", 0)) / _GIB, int(told.get("VmHWM", 0)) / _GIB
