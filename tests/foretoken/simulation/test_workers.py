"""Processes that play jobs: how they end, and that none is left."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing import active_children
from pathlib import Path

import pytest

from foretoken.errors import RunLost, SimulationRefused
from foretoken.simulation.jobs import play_each
from foretoken.simulation.workers import Progress


class Picky(Exception):
    """An error whose copy cannot be made."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"{one} and {other}")


def be_killed(job: int, progress: Progress) -> int:
    if job == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return job


def raise_picky(job: int, progress: Progress) -> int:
    raise Picky(job, job)


def process_of(job: int, progress: Progress) -> tuple[int, int]:
    progress(1.0)
    return job, os.getpid()


def refuse(job: int, progress: Progress) -> None:
    raise SimulationRefused(f"job {job}")


def halve(job: int, progress: Progress) -> float:
    for done in range(1000):
        progress(done / 1000)
    return job / 2


def hold_open(fifo: Path, progress: Progress) -> None:
    """Hold a FIFO open for ever; whoever reads it sees its end when this process is gone."""
    descriptor = os.open(fifo, os.O_WRONLY)
    os.write(descriptor, b"x")
    signal.pause()


def play_for_ever(fifos: list[Path]) -> None:
    list(play_each(fifos, hold_open, processes=len(fifos)))


def test_several_processes_give_what_one_gives() -> None:
    alone = dict(play_each(range(3), process_of, processes=1))
    shared = dict(play_each(range(3), process_of, processes=2))

    assert {index: job for index, (job, _) in alone.items()} == {0: 0, 1: 1, 2: 2}
    assert {index: job for index, (job, _) in shared.items()} == {0: 0, 1: 1, 2: 2}
    assert os.getpid() not in {process for _, process in shared.values()}


def test_a_refusal_in_another_process_arrives_as_it_was() -> None:
    with pytest.raises(SimulationRefused, match="job "):
        list(play_each(range(2), refuse, processes=2))


def test_a_process_that_dies_is_one_line_and_leaves_none() -> None:
    with pytest.raises(RunLost, match=r"died \(signal 9\)"):
        list(play_each(range(4), be_killed, processes=2))

    assert not active_children()


def test_an_error_that_cannot_be_copied_arrives_as_text() -> None:
    with pytest.raises(RuntimeError, match=r"Picky: \d and \d"):
        list(play_each(range(2), raise_picky, processes=2))

    assert not active_children()


def test_who_stops_asking_leaves_no_process() -> None:
    played = play_each(range(8), halve, processes=2)

    next(played)
    assert isinstance(played, Iterator)
    del played

    assert not active_children()


def test_progress_is_told_in_steps_and_to_the_end() -> None:
    told: list[tuple[int, float]] = []

    played = dict(
        play_each(
            [4, 6], halve, processes=2, progress=lambda index, share: told.append((index, share))
        )
    )

    shares = [share for index, share in told if index == 0]
    assert played == {0: 2.0, 1: 3.0}
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert 50 < len(shares) <= 101


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_go_with_the_process_that_started_them(
    tmp_path: Path, sent: signal.Signals
) -> None:
    fifos = [tmp_path / "one", tmp_path / "other"]
    for fifo in fifos:
        os.mkfifo(fifo)
    names = [str(fifo) for fifo in fifos]
    script = (
        "import signal, sys; from pathlib import Path\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # shells ignore it for jobs
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "if __name__ == '__main__':\n"
        f"    import test_workers; test_workers.play_for_ever([Path(p) for p in {names}])\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)

    held = [fifo.open("rb") for fifo in fifos]
    begun = [file.read(1) for file in held]
    parent.send_signal(sent)
    ends = [file.read(1) for file in held]  # waits for the end of the one that writes
    for file in held:
        file.close()

    assert begun == [b"x", b"x"]
    assert ends == [b"", b""]
    assert parent.wait() != 0
