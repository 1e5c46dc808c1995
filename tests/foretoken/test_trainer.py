"""The trainer: a real process, fed over a pipe, publishing to a real store."""

import asyncio
import io
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import uvloop
from prometheus_client import CollectorRegistry

from foretoken.settings import TrainerSettings
from foretoken.trainer import Trainer
from foretoken.trainer_metrics import TrainerCollector
from foretoken.trainer_process import Inbox, rest_s
from foretoken.trainer_protocol import Forget, Report, frame, words
from foretoken.training import in_use
from foretoken.workers.trainer import SharedTrainer
from models_store import ModelsStore
from predictor import PredictorSettings
from predictor.types import Observation
from predictor.values import replace
from tests.foretoken.observed import observe

FAST = TrainerSettings(interval_s=0.5, restart_s=0.05)


class Reports:
    """Collect reports and wait for the next one."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Report] = asyncio.Queue()

    def add(self, report: Report) -> None:
        self._queue.put_nowait(report)

    async def next(self) -> Report:
        return await asyncio.wait_for(self._queue.get(), timeout=60)


def make_trainer(store: Path, reports: Reports, settings: TrainerSettings = FAST) -> Trainer:
    return Trainer(
        settings=settings,
        predictor=PredictorSettings(),
        store_dir=store,
        keep=3,
        on_report=reports.add,
    )


def read(data: bytes) -> list[Observation]:
    """Decode frames of observations."""
    decoded = list(words(io.BytesIO(data)))
    assert all(isinstance(word, Observation) for word in decoded)
    return [word for word in decoded if isinstance(word, Observation)]


async def until_alive(trainer: Trainer) -> None:
    async with asyncio.timeout(30):
        while not trainer.alive:
            await asyncio.sleep(0)


def test_frames_carry_observations_unchanged() -> None:
    first, second, *rest = observe(4)
    bare = replace(second, upstream_ttft_s=None, tpot_s=None, output_tokens=None, hardware="h100")
    sent = [replace(first, total_s=4.0), bare, *rest]

    received = read(frame(sent[:3]) + frame(sent[3:]))

    assert [each.endpoint for each in received] == [each.endpoint for each in sent]
    assert [each.tpot_s for each in received] == [each.tpot_s for each in sent]
    assert [each.total_s for each in received] == [4.0, None, None, None]
    assert [each.hardware for each in received] == [None, "h100", None, None]
    assert [each.output_tokens for each in received] == [100, None, 100, 100]
    assert received[1].upstream_ttft_s is None
    for one, other in zip(received, sent, strict=True):
        np.testing.assert_array_equal(one.features, other.features)


def test_the_word_to_forget_goes_down_the_same_pipe() -> None:
    seen = observe(1)[0]

    received = list(words(io.BytesIO(frame([seen]) + frame(Forget("m")) + frame([seen]))))

    assert [type(word) for word in received] == [Observation, Forget, Observation]
    assert received[1] == Forget("m")


def test_a_frame_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than any of ours"):
        read(b"\xff\xff\xff\xff")


def test_names_beyond_all_bounds_are_refused_before_they_are_sent() -> None:
    with pytest.raises(ValueError, match="more than a frame holds"):
        frame([replace(observe(1)[0], endpoint="a" * (1 << 24))])


def test_a_pipe_that_ends_in_the_middle_of_a_frame_ends() -> None:
    whole = frame(observe(1))

    for cut in range(len(whole)):
        received = read(whole + whole[:cut])
        assert len(received) == 1


@pytest.mark.parametrize(("sent", "status"), [(b"", 0), (b"\xff\xff\xff\xff", 1)])
def test_the_process_ends_when_there_is_nothing_more_to_read(
    tmp_path: Path, sent: bytes, status: int
) -> None:
    arguments = [str(tmp_path), "3", "60", "0.25", PredictorSettings().model_dump_json()]

    ended = subprocess.run(
        [sys.executable, "-m", "foretoken.trainer_process", *arguments],
        input=sent,
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == status


def test_feeding_a_trainer_that_has_just_died_raises_nothing(tmp_path: Path) -> None:
    async def scenario() -> int:
        trainer = make_trainer(tmp_path, Reports())
        running = asyncio.create_task(trainer.run())
        await until_alive(trainer)
        os.kill(trainer.pid or 0, signal.SIGKILL)
        async with asyncio.timeout(30):
            while trainer.alive:
                trainer.feed(observe(1)[0])
                await asyncio.sleep(0)
        trainer.feed(observe(1)[0])
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return trainer.dropped

    assert uvloop.run(scenario()) > 0


@pytest.mark.parametrize("written_elsewhere", [False, True])
def test_the_process_trains_on_what_it_is_fed_and_publishes(
    written_elsewhere: bool, tmp_path: Path
) -> None:
    async def scenario() -> Report:
        reports = Reports()
        trainer = make_trainer(tmp_path, reports)
        running = asyncio.create_task(trainer.run())
        await until_alive(trainer)
        seen = observe(400)
        if written_elsewhere:
            trainer.pass_on(frame(seen), len(seen))
        else:
            for each in seen:
                trainer.feed(each)
        report = await reports.next()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert not trainer.alive
        return report

    report = asyncio.run(scenario())

    assert report.accepted
    assert ModelsStore(tmp_path).latest("m") == report.version
    assert in_use(ModelsStore(tmp_path), "m") is not None


def test_the_process_forgets_what_it_is_told_to_forget(tmp_path: Path) -> None:
    async def scenario() -> list[Report]:
        reports = Reports()
        trainer = make_trainer(tmp_path, reports)
        running = asyncio.create_task(trainer.run())
        await until_alive(trainer)
        said = []
        for rows in (observe(300), observe(150, seed=1)):
            trainer.forget("m")
            for each in rows:
                trainer.feed(each)
            said.append(await reports.next())
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        trainer.forget("m")  # nobody is there: nothing to forget
        return said

    before, after = asyncio.run(scenario())

    assert (before.rows, before.accepted) == (300, True)
    # It starts anew, beside the version that the store keeps.
    assert (after.rows, after.reason) == (150, "on_trial")
    assert ModelsStore(tmp_path).latest("m") == before.version


def test_a_trainer_that_dies_is_started_again(tmp_path: Path) -> None:
    async def scenario() -> tuple[int, Report]:
        reports = Reports()
        trainer = make_trainer(tmp_path, reports)
        running = asyncio.create_task(trainer.run())
        await until_alive(trainer)
        os.kill(trainer.pid or 0, signal.SIGKILL)
        async with asyncio.timeout(30):
            while trainer.restarts == 0:
                await asyncio.sleep(0)
        await until_alive(trainer)
        for each in observe(200):
            trainer.feed(each)
        report = await reports.next()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return trainer.restarts, report

    restarts, report = asyncio.run(scenario())

    assert restarts == 1
    assert report.accepted


def test_a_trainer_with_nothing_to_do_says_that_it_is_there(tmp_path: Path) -> None:
    async def scenario() -> tuple[float | None, float | None]:
        trainer = make_trainer(tmp_path, Reports())
        registry = CollectorRegistry()
        registry.register(TrainerCollector(trainer))

        def value(name: str) -> float | None:
            return registry.get_sample_value(f"foretoken_trainer_{name}")

        assert (value("up"), value("answer_age_seconds")) == (0.0, None)
        running = asyncio.create_task(trainer.run())
        await until_alive(trainer)
        started_s = trainer.heard_s
        async with asyncio.timeout(30):
            while trainer.heard_s == started_s:
                await asyncio.sleep(0)
        found = value("up"), value("answer_age_seconds")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return found

    up, age_s = asyncio.run(scenario())

    assert up == 1.0
    assert age_s is not None
    assert age_s >= 0.0


def test_feeding_a_dead_trainer_drops_and_counts(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, Reports())

    for each in observe(5):
        trainer.feed(each)
    trainer.pass_on(frame(observe(2)), 2)

    assert trainer.dropped == 7


def test_an_interrupt_from_the_terminal_is_not_the_trainers(tmp_path: Path) -> None:
    async def scenario() -> int:
        trainer = make_trainer(tmp_path, Reports())
        running = asyncio.create_task(trainer.run())
        await until_alive(trainer)
        group = os.getpgid(trainer.pid or 0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return group

    assert asyncio.run(scenario()) != os.getpgid(0)


def test_an_inbox_that_nobody_empties_drops_the_oldest_and_counts() -> None:
    inbox = Inbox(most=3)
    sent = observe(5)

    for each in sent:
        inbox.add(each)

    _, taken = inbox.take()
    assert [each.observed_s for each in taken["m"]] == [2.0, 3.0, 4.0]
    assert inbox.dropped == {sent[0].model: 2}
    assert inbox.take() == (set(), {})


def test_too_few_observations_for_a_round_wait_for_more() -> None:
    inbox = Inbox(most=10, least=3)
    first, second, third = observe(3)

    inbox.add(first)
    inbox.add(second)
    early = inbox.take()
    inbox.add(third)
    _, taken = inbox.take()

    assert early == (set(), {})
    assert [each.observed_s for each in taken["m"]] == [0.0, 1.0, 2.0]


def test_an_inbox_forgets_what_came_before_the_word_and_keeps_what_comes_after() -> None:
    inbox = Inbox(most=10)
    first, second, third = observe(3)

    inbox.add(first)
    inbox.add(replace(second, model="other"))
    inbox.forget("m")
    inbox.add(third)

    forgotten, taken = inbox.take()
    assert forgotten == {"m"}
    assert {fleet: [each.observed_s for each in new] for fleet, new in taken.items()} == {
        "other": [1.0],
        "m": [2.0],
    }
    assert inbox.take() == (set(), {})


@pytest.mark.parametrize("cpu_s", [0.05, 0.4, 2.0, 30.0])
@pytest.mark.parametrize("waiting_s", [0.0, 3.0])
def test_rounds_keep_to_the_interval_and_to_the_share_of_a_core(
    cpu_s: float, waiting_s: float
) -> None:
    share, interval_s, clock_s, used_s = 0.25, 2.0, 0.0, 0.0

    for _ in range(20):
        wall_s = cpu_s + waiting_s  # a training that is kept from the processor
        used_s += cpu_s
        rested_s = rest_s(cpu_s=cpu_s, wall_s=wall_s, interval_s=interval_s, cpu_share=share)
        clock_s += wall_s + rested_s
        assert wall_s + rested_s >= interval_s - 1e-9

    assert used_s / clock_s <= share + 1e-9


def test_what_another_worker_trains_on_goes_there_together() -> None:
    handed: list[list[Observation]] = []

    def hand_on(observations: Sequence[Observation]) -> int:
        handed.append(list(observations))
        return 1  # there was no room for one of them

    async def scenario() -> int:
        trainer = SharedTrainer(
            settings=TrainerSettings(),
            predictor=PredictorSettings(),
            store_dir=Path("never"),
            keep=1,
            on_report=lambda _: None,
            leads=lambda: False,
            hand_on=hand_on,
        )
        for each in observe(3):
            trainer.feed(each)
        async with asyncio.timeout(30):
            while not handed:
                await asyncio.sleep(0)
        return trainer.dropped

    dropped = asyncio.run(scenario())

    assert [len(each) for each in handed] == [3]
    assert dropped == 1
