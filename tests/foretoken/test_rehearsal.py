"""Machine code is made by a process that ends, where it can be kept for the one that serves."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PREPARE = """
import resource
from foretoken.rehearsal import prepare_kernels
from predictor.kernels.compiled import is_to_be_kept
from predictor.kernels.prediction import predict
before = is_to_be_kept(predict)
prepare_kernels()
print(before, is_to_be_kept(predict), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
ASK = """
from predictor.kernels.compiled import is_to_be_kept
from predictor.kernels.prediction import predict
print(is_to_be_kept(predict))
"""


def said(program: str, cache: Path) -> list[str]:
    """Give what a program prints that keeps machine code in a folder."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"NUMBA_CACHE_DIR": str(cache)},
    )
    return done.stdout.split()


def test_where_nothing_is_kept_it_is_to_be(tmp_path: Path) -> None:
    assert said(ASK, tmp_path) == ["True"]


@pytest.mark.real
@pytest.mark.timeout(300)
def test_a_first_start_takes_no_more_memory_than_later_ones(tmp_path: Path) -> None:
    before, after, first_kb = said(PREPARE, tmp_path)
    later_before, _, later_kb = said(PREPARE, tmp_path)

    assert (before, after, later_before) == ("True", "False", "False")
    assert int(first_kb) < 1.1 * int(later_kb)
