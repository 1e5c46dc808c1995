"""Machine code is made by a process that ends, where it can be kept for the one that serves."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from foretoken.rehearsal import prepare_kernels

PREPARE = """
import resource
from foretoken.rehearsal import prepare_kernels
from predictor.kernels.compiled import is_to_be_kept
from predictor.kernels.prediction import predict
before = is_to_be_kept(predict)
prepare_kernels()
print(before, is_to_be_kept(predict), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
KEEP_ONE = """
from predictor.kernels.compiled import is_to_be_kept
from predictor.kernels.terms import regime
from predictor.features import N_FEATURES
import numpy as np
before = is_to_be_kept(regime)
regime(np.zeros((1, N_FEATURES)), 0)
print(before, is_to_be_kept(regime))
"""


def said(program: str, cache: Path, **environment: str) -> list[str]:
    """Give what a program prints that keeps machine code in a folder."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"NUMBA_CACHE_DIR": str(cache)} | environment,
    )
    return done.stdout.split()


def test_what_is_kept_is_kept_for_this_processor(tmp_path: Path) -> None:
    another = said(KEEP_ONE, tmp_path, NUMBA_CPU_NAME="nehalem", NUMBA_CPU_FEATURES="")

    assert another == ["True", "False"]
    assert said(KEEP_ONE, tmp_path) == ["True", "False"]
    assert said(KEEP_ONE, tmp_path) == ["False", "False"]


def test_a_child_that_cannot_be_started_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foretoken.rehearsal.is_to_be_kept", lambda kernel: True)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")

    prepare_kernels()


@pytest.mark.real
@pytest.mark.timeout(300)
def test_a_first_start_takes_no_more_memory_than_later_ones(tmp_path: Path) -> None:
    before, after, first_kb = said(PREPARE, tmp_path)
    later_before, _, later_kb = said(PREPARE, tmp_path)

    assert (before, after, later_before) == ("True", "False", "False")
    assert int(first_kb) < 1.1 * int(later_kb)
