"""Linux's SCHED_BATCH: who is woken where no core is free waits for its turn there.

By default it interrupts what runs. Where clients, endpoints and we share cores, an endpoint
that writes to many streams is then interrupted at each of them, and we wake for a token at a
time (``docs/decisions/data-path.md`` has what both cost).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def be_batch() -> None:
    """Wait for our turn from now on, and every thread and process that is started from here."""
    with suppress(AttributeError, OSError):  # no Linux, or a sandbox: it only saves CPU
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


@contextmanager
def interrupted_by(pid: int) -> Iterator[None]:
    """Let a process that serves not wait for us: what we do takes seconds.

    To be nice gives us less, but no shorter turns.
    """
    try:
        policy = os.sched_getscheduler(pid)
        os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))
    except (AttributeError, OSError):  # as above, or it has ended
        yield
        return
    try:
        yield
    finally:
        with suppress(OSError):
            os.sched_setscheduler(pid, policy, os.sched_param(0))
