"""Behind the face of one scheduler, those look whose requests ended, or all by the clock."""

from collections.abc import Iterator
from typing import cast

from benchmarks.workers.face import SeveralSchedulers
from predictor.types import Measurement, RequestFeatures
from scheduler import Scheduler, Shed, Wait
from tests.scheduler.known_physics import request

DONE = Measurement(outcome="completed")


class Looking:
    """Note when it looks; refuse requests that say so."""

    def __init__(self) -> None:
        self.looks: list[float] = []

    def update(self, states: object) -> None: ...

    def route(self, asked: RequestFeatures, now: float) -> Shed | Wait:
        if asked.request_id.startswith("refused"):
            return Shed(record=_record(asked), reason="queue_full")
        return Wait(request_id=asked.request_id, deadline_s=now, reason="endpoints_full")

    def finished(self, request_id: str, measurement: Measurement, now: float) -> None: ...

    def tick(self, now: float) -> Iterator[Shed]:
        self.looks.append(now)
        return iter(())


def _record(asked: RequestFeatures) -> object:
    return type("Record", (), {"request": asked})()


def several() -> tuple[SeveralSchedulers, tuple[Looking, Looking]]:
    both = Looking(), Looking()
    face = SeveralSchedulers(
        cast("tuple[Scheduler, ...]", both),
        deal=lambda asked: int(asked.request_id[-1]),
        deliver=lambda now: None,
    )
    return face, both


def looks(face: SeveralSchedulers, both: tuple[Looking, Looking], now: float) -> list[int]:
    """Let them look; say who did."""
    list(face.tick(now))
    return [number for number, each in enumerate(both) if each.looks[-1:] == [now]]


def test_only_the_one_whose_request_ended_looks() -> None:
    face, both = several()
    face.route(request("r1"), now=0.0)
    face.finished("r1", DONE, now=1.0)

    assert looks(face, both, 1.0) == [1]


def test_only_the_one_that_refused_looks() -> None:
    face, both = several()
    face.route(request("refused0"), now=1.0)

    assert looks(face, both, 1.0) == [0]


def test_all_look_by_the_clock_also_at_the_instant_of_an_end_that_was_looked_at() -> None:
    face, both = several()
    face.route(request("r0"), now=0.0)
    face.finished("r0", DONE, now=1.0)
    list(face.tick(1.0))
    both[0].looks.clear()

    assert looks(face, both, 1.0) == [0, 1]
    assert looks(face, both, 1.02) == [0, 1]


def test_all_look_when_endpoints_have_been_seen() -> None:
    face, both = several()
    face.route(request("r0"), now=0.0)
    face.finished("r0", DONE, now=1.0)
    face.update([])

    assert looks(face, both, 1.0) == [0, 1]


def test_an_end_after_which_nobody_looked_is_past() -> None:
    face, both = several()
    face.route(request("r0"), now=0.0)
    face.finished("r0", DONE, now=1.0)

    assert looks(face, both, 1.02) == [0, 1]
