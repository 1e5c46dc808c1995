"""Have all kernels ready before the first request, compiled by a process that ends.

Compiling them takes seconds once, and 100 MB that whoever does it never gives back: 440 MB
instead of 340 for as long as it serves. Where machine code cannot be kept, each process still
makes its own. Of workers that start together each has such a child. Called by ``build``.
"""

import subprocess
import sys
from contextlib import suppress
from typing import Final

from predictor.kernels.compiled import is_to_be_kept
from predictor.kernels.prediction import predict
from scheduler import rehearse
from scheduler.kernels import latency_cost

_MAKE: Final = "from scheduler import rehearse; rehearse()"


def prepare_kernels() -> None:
    """Load every kernel; where none has been kept yet, a child makes them first."""
    if is_to_be_kept(predict) or is_to_be_kept(latency_cost):
        # What it cannot do, for want of memory or of a second process, is done here.
        with suppress(OSError):
            subprocess.run(  # noqa: S603  # ourselves
                [sys.executable, "-P", "-c", _MAKE],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                check=False,
            )
    rehearse()
