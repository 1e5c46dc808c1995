"""Who waits for a core, in processes of their own, and what the trainer does about it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from foretoken import serve
from foretoken.errors import CannotListen
from foretoken.sched_batch import interrupted_by
from foretoken.settings import Settings
from proxy import ProxySettings
from tests.foretoken.running import may_be_batch

pytestmark = pytest.mark.skipif(not may_be_batch(), reason="no SCHED_BATCH here")

COMMON = """
import json, os, subprocess, sys, threading
from foretoken.sched_batch import be_batch, kept

def become(policy):
    os.sched_setscheduler(0, policy, os.sched_param(0))

become(os.SCHED_OTHER)
"""
STARTED = """
be_batch()
told = [os.sched_getscheduler(0)]
thread = threading.Thread(target=lambda: told.append(os.sched_getscheduler(0)))
thread.start()
thread.join()
script = "import os; print(os.sched_getscheduler(0))"
told.append(int(subprocess.check_output([sys.executable, "-c", script])))
print(json.dumps(told))
"""
GIVEN_ANOTHER = """
become(os.SCHED_IDLE)
be_batch()
print(json.dumps([os.sched_getscheduler(0)]))
"""
CHANGED_BY_ANOTHER = """
be_batch()
with kept():
    become(os.SCHED_OTHER)
print(json.dumps([os.sched_getscheduler(0)]))
"""
WAITING = """
become(getattr(os, sys.argv[1]))
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("script", "policies"),
    [
        (STARTED, ["SCHED_BATCH"] * 3),
        (GIVEN_ANOTHER, ["SCHED_IDLE"]),
        (CHANGED_BY_ANOTHER, ["SCHED_BATCH"]),
    ],
    ids=["threads and children too", "another policy stays", "what a dead trainer left is undone"],
)
def test_who_waits(script: str, policies: list[str]) -> None:
    told = subprocess.check_output([sys.executable, "-c", COMMON + script], timeout=60)

    assert json.loads(told) == [getattr(os, policy) for policy in policies]


@pytest.mark.parametrize("policy", ["SCHED_BATCH", "SCHED_OTHER", "SCHED_IDLE"])
def test_who_waits_for_us_interrupts_us_for_a_while(policy: str) -> None:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", COMMON + WAITING, policy]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with interrupted_by(process.pid):
            within = os.sched_getscheduler(process.pid)
        after = os.sched_getscheduler(process.pid)
        process.communicate()

    given = getattr(os, policy)
    assert within == (os.SCHED_OTHER if policy == "SCHED_BATCH" else given)
    assert after == given


def test_nobody_to_be_interrupted_is_no_failure() -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as process:
        process.wait()
    done = False

    with interrupted_by(process.pid):
        done = True

    assert done


@pytest.mark.parametrize("wanted", [True, False])
def test_a_server_waits_unless_told_not_to(
    wanted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    note: Callable[[], None] = lambda: asked.append(True)  # noqa: E731  # short
    monkeypatch.setattr(serve, "be_batch", note)
    proxy = ProxySettings(host="192.0.2.1", sched_batch=wanted)  # an address of nobody's

    with pytest.raises(CannotListen):
        serve.run_server(Settings(proxy=proxy, data_dir=tmp_path), None)

    assert asked == [True] * wanted
