"""Have all kernels ready before the first request, compiled by a process that ends.

Compiling them takes seconds once, and 100 MB that whoever does it never gives back: 440 MB
instead of 340 for as long as it serves. Called by ``build``.
"""

import subprocess
import sys

from predictor.kernels.compiled import is_to_be_kept
from predictor.kernels.prediction import predict
from scheduler import rehearse

_COMMAND = "from scheduler import rehearse; rehearse()"


def prepare_kernels() -> None:
    """Load every kernel; where none has been kept yet, a child makes them first."""
    if is_to_be_kept(predict):
        # What it cannot do, for want of memory or of a second process, is done here.
        subprocess.run(  # noqa: S603  # ourselves
            [sys.executable, "-c", _COMMAND], stdin=subprocess.DEVNULL, check=False
        )
    rehearse()
