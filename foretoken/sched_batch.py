"""Linux's SCHED_BATCH: who wakes up where no core is free waits for its time slice.

By default it may interrupt what runs. Where clients, endpoints and we share cores, an endpoint
that writes to many streams is then interrupted at each of them, and we wake for a token at a
time (``docs/decisions/data-path.md`` has what both cost).
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

log = logging.getLogger(__name__)


def be_batch() -> None:
    """Let this thread wait, and all threads and processes that it starts from now on.

    Whoever was given another policy than the usual one keeps it.
    """
    if not hasattr(os, "SCHED_BATCH") or _policy(0) != os.SCHED_OTHER:
        return
    try:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except OSError as error:  # a sandbox; it only saves CPU
        log.info("sched_batch_refused", extra={"problem": str(error)})


@contextmanager
def kept() -> Iterator[None]:
    """Give this thread its policy back in the end, whatever others have made of it."""
    before = _policy(0)
    try:
        yield
    finally:
        if before is not None and _policy(0) != before:
            _set(0, before)


@contextmanager
def interrupted_by(pid: int) -> Iterator[None]:
    """While the block runs, let a process that would wait for us interrupt us instead.

    ``nice`` does not do that: it makes our share smaller, and our time slices no shorter.

    Args:
        pid: The process; its main thread alone is changed, on which event loops run.
    """
    waits = hasattr(os, "SCHED_BATCH") and _policy(pid) == os.SCHED_BATCH
    if waits:
        _set(pid, os.SCHED_OTHER)
    try:
        yield
    finally:
        if waits:
            _set(pid, os.SCHED_BATCH)


def _policy(pid: int) -> int | None:
    try:
        return os.sched_getscheduler(pid)
    except (AttributeError, OSError):  # no Linux, or it has ended
        return None


def _set(pid: int, policy: int) -> None:
    with suppress(OSError):  # it has ended
        os.sched_setscheduler(pid, policy, os.sched_param(0))
