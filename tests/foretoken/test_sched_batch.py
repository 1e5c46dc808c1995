"""Who waits for a core, in processes of their own, and what the trainer does about it."""

import os
import subprocess
import sys

import pytest

from foretoken.sched_batch import interrupted_by

pytestmark = pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="Linux alone has it")

STARTED = """
import os, subprocess, sys, threading
from foretoken.sched_batch import be_batch

be_batch()
told = [os.sched_getscheduler(0)]
thread = threading.Thread(target=lambda: told.append(os.sched_getscheduler(0)))
thread.start()
thread.join()
child = subprocess.run(
    [sys.executable, "-c", "import os; print(os.sched_getscheduler(0))"],
    check=True, capture_output=True, text=True,
)
told.append(int(child.stdout))
print(told == [os.SCHED_BATCH] * 3)
"""

WAITING = """
import sys
from foretoken.sched_batch import be_batch

if sys.argv[1] == "batch":
    be_batch()
print("ready", flush=True)
sys.stdin.read()
"""


def test_threads_and_children_wait_as_well() -> None:
    told = subprocess.run(
        [sys.executable, "-c", STARTED], check=True, capture_output=True, text=True, timeout=60
    )

    assert told.stdout == "True\n"


@pytest.mark.parametrize("kind", ["batch", "normal"])
def test_who_is_interrupted_by_us_is_afterwards_as_before(kind: str) -> None:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", WAITING, kind]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        process.stdout.readline()
        before = os.sched_getscheduler(process.pid)
        with interrupted_by(process.pid):
            within = os.sched_getscheduler(process.pid)
        after = os.sched_getscheduler(process.pid)
        process.communicate()

    assert before == (os.SCHED_BATCH if kind == "batch" else os.sched_getscheduler(0))
    assert within == os.SCHED_OTHER
    assert after == before


def test_nobody_to_be_interrupted_is_no_failure() -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as process:
        process.wait()
    done = False

    with interrupted_by(process.pid):
        done = True

    assert done
