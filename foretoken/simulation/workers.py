"""Processes that play jobs, one pipe each; none outlives the process that started it.

A worker lives as long as whoever started it wants it to: told to stop it ends at once,
and it sees the other's death, whatever the cause. Ctrl-C at a terminal reaches every
process of a command; a worker leaves it to the one that started it.
"""

import os
import pickle
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from threading import Thread
from typing import Final, Generic, TypeVar

from foretoken.errors import RunLost

Task = TypeVar("Task")
Played = TypeVar("Played")

Progress = Callable[[float], None]
"""Told the share of a run that is done, 0 to 1."""

# Often enough for a bar to move, seldom enough to cost nothing.
_PROGRESS_STEP: Final = 0.01


@dataclass(frozen=True, slots=True)
class Ended(Generic[Played]):
    """A job has been played.

    Attributes:
        played: What it gave.
    """

    played: Played


@dataclass(frozen=True, slots=True)
class _Raised:
    error: Exception


class Worker(Generic[Task, Played]):
    """Play one job at a time in a process of its own.

    Args:
        play: Plays a job: a module's own function, whose result survives pickling.
    """

    def __init__(self, play: Callable[[Task, Progress], Played]) -> None:
        context = get_context("spawn")  # a fork would copy the caller's threads' locks
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(play, theirs), daemon=True)
        with theirs, _interrupts_held():
            self._process.start()

    def begin(self, job: Task) -> None:
        """Hand it a job.

        Raises:
            RunLost: The process is gone.
        """
        try:
            self.pipe.send(job)
        except OSError as error:
            raise self._lost() from error

    def hear(self) -> float | Ended[Played]:
        """Wait for what it says next: the share that is done, or the result.

        Raises:
            Exception: What the job raised.
            RunLost: The process is gone.
        """
        try:
            told: float | Ended[Played] | _Raised = self.pipe.recv()
        except (EOFError, OSError) as error:
            raise self._lost() from error
        if isinstance(told, _Raised):
            raise told.error
        return told

    def stop(self) -> None:
        """End it, whatever it is in the midst of."""
        self._process.kill()
        self._process.join()
        self.pipe.close()

    def _lost(self) -> RunLost:
        self._process.join()
        return RunLost(self._process.exitcode)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back for a moment; a process that is started meanwhile does so for good."""
    resource_tracker.ensure_running()  # started later, it would let Ctrl-C through again
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


def ready(workers: list[Worker[Task, Played]]) -> list[Worker[Task, Played]]:
    """Wait until some have something to say, or are gone; give these."""
    by_pipe = {worker.pipe: worker for worker in workers}
    return [by_pipe[pipe] for pipe in wait(list(by_pipe)) if isinstance(pipe, Connection)]


# What happens in the process of a worker


def _work(play: Callable[[Task, Progress], Played], pipe: Connection) -> None:
    Thread(target=_go_with_parent, daemon=True).start()
    with suppress(EOFError, OSError):  # the other end is gone
        while True:
            job: Task = pipe.recv()
            pipe.send(_play(play, job, pipe))


def _go_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _play(
    play: Callable[[Task, Progress], Played], job: Task, pipe: Connection
) -> Ended[Played] | _Raised:
    told = 0.0

    def tell(share: float) -> None:
        nonlocal told
        if share >= told + _PROGRESS_STEP:
            told = share
            pipe.send(share)

    try:
        return Ended(play(job, tell))
    except Exception as error:  # noqa: BLE001  # it goes to whoever asked for the job
        return _Raised(_portable(error))


def _portable(error: Exception) -> Exception:
    """Give an error that survives the way, with the place it comes from as a note."""
    error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
    except Exception:  # noqa: BLE001  # whatever makes its copy fail
        return RuntimeError("".join(error.__notes__))
    return error
