"""Messages between workers, over real Unix sockets in one process."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretoken.workers.bus import Bus
from foretoken.workers.messages import (
    Asked,
    Gathered,
    Hello,
    Message,
    States,
    frame,
    frames,
    lesson_of,
    observation_of,
)
from predictor.types import EndpointState
from scheduler.words import First, Left, Sent, Served, Shown
from tests.foretoken.observed import observe

SENT = Sent("r", "m", "a:1", "m", None, (1, 2**64 - 1), 0.5, None, 3)


class Ear:
    """Keep what a worker hears."""

    def __init__(self) -> None:
        self.messages: list[tuple[int, Message]] = []
        self.came: list[tuple[int, bool]] = []
        self.went: list[int] = []
        self.changed = asyncio.Event()

    def heard(self, worker: int, message: Message) -> None:
        if isinstance(message, Left):
            raise ValueError(message.request_id)  # noqa: TRY004  # any error would do
        self.messages.append((worker, message))
        self.changed.set()

    def joined(self, worker: int, *, fresh: bool) -> None:
        self.came.append((worker, fresh))
        self.changed.set()

    def lost(self, worker: int) -> None:
        self.went.append(worker)
        self.changed.set()

    async def until(self, true: Callable[[], bool]) -> None:
        while not true():
            self.changed.clear()
            await self.changed.wait()


class Workers:
    """Buses of several workers, running."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        self.count = count
        self.buses = [self.make(worker) for worker in range(count)]
        self.ears = [Ear() for _ in range(count)]
        self.tasks: list[asyncio.Task[None]] = []

    def make(self, worker: int, *, fresh: bool = False) -> Bus:
        return Bus(self.folder, worker=worker, workers=self.count, fresh=fresh)

    async def start(self) -> None:
        for bus, ear in zip(self.buses, self.ears, strict=True):
            self.tasks.append(asyncio.create_task(bus.run(ear)))
        for ear in self.ears:
            await ear.until(partial(self._all_came, ear))

    def _all_came(self, ear: Ear) -> bool:
        return len({worker for worker, _ in ear.came}) == self.count - 1

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


def play(scenario: Callable[[Workers], Awaitable[None]], count: int = 2) -> None:
    async def run(folder: str) -> None:
        workers = Workers(Path(folder), count)
        await workers.start()
        try:
            await scenario(workers)
        finally:
            await workers.stop()

    with TemporaryDirectory(prefix="foretoken-") as folder:  # pytest's are too long for a socket
        asyncio.run(run(folder))


def test_what_one_tells_all_others_hear_in_order() -> None:
    def heard_all(ear: Ear) -> bool:
        return len(ear.messages) == 100

    async def scenario(workers: Workers) -> None:
        for number in range(100):
            workers.buses[0].tell(msgspec.structs.replace(SENT, request_id=str(number)))

        for ear in workers.ears[1:]:
            await ear.until(partial(heard_all, ear))
            said = [message for _, message in ear.messages]
            assert [each.request_id for each in said if isinstance(each, Sent)] == [
                str(number) for number in range(100)
            ]
        assert workers.ears[0].messages == []

    play(scenario, count=3)


@pytest.mark.parametrize(
    "lesson",
    [
        lesson_of(observe(1)[0]),
        Gathered(b"rows", 1),
        Shown("m", "a:1", None, None, 100, 25, 7, 0.0, 16),
    ],
    ids=["lesson", "gathered", "shown"],
)
def test_a_lesson_waits_until_there_is_more_to_tell(lesson: Message) -> None:
    async def scenario(workers: Workers) -> None:
        bus, ear = workers.buses[0], workers.ears[1]
        bus.tell(lesson)
        waits = [bus._patient]
        bus.tell(SENT)  # takes the lessons along
        bus.tell(lesson)
        waits.append(bus._patient)

        await ear.until(lambda: len(ear.messages) == 3)
        assert waits == [True, False]
        assert [message for _, message in ear.messages] == [lesson, SENT, lesson]
        bus.tell(lesson)
        assert bus._patient
        await ear.until(lambda: len(ear.messages) == 4)

    play(scenario)


def test_what_is_told_to_one_comes_after_what_was_told_to_all() -> None:
    async def scenario(workers: Workers) -> None:
        workers.buses[0].tell(SENT)
        assert workers.buses[0].tell_one(1, Asked(1, "GET", "/x"))

        await workers.ears[1].until(lambda: len(workers.ears[1].messages) == 2)
        assert [type(message) for _, message in workers.ears[1].messages] == [Sent, Asked]

    play(scenario)


def test_a_message_that_cannot_be_taken_in_costs_itself_alone() -> None:
    async def scenario(workers: Workers) -> None:
        workers.buses[0].tell(Left("bad"))
        workers.buses[0].tell(SENT)

        await workers.ears[1].until(lambda: bool(workers.ears[1].messages))
        assert workers.ears[1].messages == [(0, SENT)]

    play(scenario)


def test_a_worker_that_goes_is_missed_and_one_that_comes_back_is_told_apart() -> None:
    async def scenario(workers: Workers) -> None:
        workers.tasks[1].cancel()
        await workers.ears[0].until(lambda: workers.ears[0].went == [1])
        workers.buses[0].tell(SENT)
        while workers.buses[0].connected:
            await asyncio.sleep(0)
        told_nobody = workers.buses[0].tell_one(1, SENT)

        again, ear = workers.make(1, fresh=True), Ear()
        workers.tasks.append(asyncio.create_task(again.run(ear)))
        await workers.ears[0].until(lambda: (1, True) in workers.ears[0].came)
        workers.buses[0].tell(SENT)
        await ear.until(lambda: bool(ear.messages))

        assert not told_nobody
        assert ear.messages == [(0, SENT)]

    play(scenario)


@given(st.lists(st.integers(1, 50), max_size=20))
def test_frames_are_whole_wherever_they_are_cut(sizes: list[int]) -> None:
    said: list[list[Message]] = [
        [Hello(1, fresh=True)],
        [SENT, SENT],
        [],
        [Left("r"), First("m", 0), First("m", -10, 2.5, 7.0, 1.5)],
        [Served("m", 0, None, 2.5, 0.5, True, None), Served("m", 5, "t", 0.0, 1.0, False, -10)],
    ]
    data, buffer, heard = b"".join(map(frame, said)), bytearray(), []

    start = 0
    for size in (*sizes, len(data)):
        buffer += data[start : start + size]
        start += size
        heard += list(frames(buffer))

    assert heard == said
    assert not buffer


def test_what_is_no_frame_is_refused() -> None:
    with pytest.raises(msgspec.MsgspecError):
        list(frames(bytearray(b"\xff" * 16)))


def test_an_observation_comes_out_as_it_went_in() -> None:
    (seen,) = observe(1)
    values = {name: getattr(seen, name) for name in _names(seen)}
    more = {"experts": np.arange(16.0).reshape(2, 8), "waited_s": 2.0, "use": "teaching"}
    with_experts = type(seen)(**(values | more))

    for each in (seen, with_experts):
        again = observation_of(lesson_of(each))

        for name in _names(each):
            np.testing.assert_array_equal(getattr(again, name), getattr(each, name))


def test_states_come_out_as_they_went_in() -> None:
    state = EndpointState(
        endpoint="a:1", url="http://a:1", model="m", adapters=("x", "y"), up=True, scraped_s=1.5
    )

    ((again,),) = frames(bytearray(frame([States([state])])))

    assert again == States([state])


def _names(value: object) -> tuple[str, ...]:
    """Name the fields, be it a dataclass or a msgspec one."""
    return tuple(getattr(value, "__struct_fields__", ()) or getattr(value, "__slots__", ()))
