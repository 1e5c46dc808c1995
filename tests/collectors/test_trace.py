import asyncio
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from collectors.settings import TraceSettings
from collectors.trace import TraceCounts, TraceRecorder
from collectors.trace_reader import read_traces
from predictor.types import RequestRecord
from predictor.values import replace

MakeRecord = Callable[[int], RequestRecord]


class Clock:
    """Tell the time that was set, and turn sleeping into a step of it."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.slept = 0
        self.has_slept = asyncio.Event()  # three times

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += 1
        if self.slept == 3:
            self.has_slept.set()
        await asyncio.sleep(0)


Open = Callable[..., TraceRecorder]


@pytest.fixture
def recorder() -> Iterator[Open]:
    """Open recorders by folder, clock and settings, and close them after the test."""
    opened = []

    def open_one(directory: Path, clock: Clock, **settings: float) -> TraceRecorder:
        one = TraceRecorder(
            directory,
            TraceSettings.model_validate(settings),
            epoch_offset_s=0.0,
            wall_clock=clock,
            sleep=clock.sleep,
        )
        opened.append(one)
        return one

    yield open_one
    for one in opened:
        asyncio.run(one.close())


def write(recorder: TraceRecorder, *records: RequestRecord) -> None:
    """Record and write at once, as one round of the background task does."""
    for record in records:
        recorder.record(record)
    recorder._write()


def ids(directory: Path) -> list[str]:
    return [row.request.request_id for row in read_traces([directory])]


def finished(directory: Path) -> list[Path]:
    return sorted(directory.glob("trace-*.parquet"))


@contextmanager
def disk_full_after(size_bytes: int) -> Iterator[None]:
    """Let no file grow beyond this size: writing fails as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def incompressible(record: RequestRecord) -> RequestRecord:
    random = np.random.default_rng(1)
    hashes = tuple(int(block) for block in random.integers(0, 1 << 62, size=50_000))
    return replace(record, request=replace(record.request, block_hashes=hashes))


def test_closing_writes_what_was_recorded(
    recorder: Open, tmp_path: Path, make_record: MakeRecord
) -> None:
    trace = recorder(tmp_path, Clock())

    for number in range(200):
        trace.record(make_record(number))
    asyncio.run(trace.close())

    assert ids(tmp_path) == [f"r{number}" for number in range(200)]
    assert trace.counts == TraceCounts(finished_rows=200)


def test_running_writes_in_the_background_and_cancelling_loses_nothing(
    recorder: Open, tmp_path: Path, make_record: MakeRecord
) -> None:
    clock = Clock()
    trace = recorder(tmp_path, clock, file_rows=10)

    async def main() -> None:
        task = asyncio.create_task(trace.run())
        for number in range(25):
            trace.record(make_record(number))
            await asyncio.sleep(0)
        await clock.has_slept.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await trace.close()

    asyncio.run(main())

    assert ids(tmp_path) == [f"r{number}" for number in range(25)]


def test_full_buffer_drops_and_counts(
    recorder: Open, tmp_path: Path, make_record: MakeRecord
) -> None:
    trace = recorder(tmp_path, Clock(), buffer_rows=3)

    for number in range(5):
        trace.record(make_record(number))
    asyncio.run(trace.close())

    assert trace.counts == TraceCounts(finished_rows=3, dropped_rows=2)
    assert ids(tmp_path) == ["r0", "r1", "r2"]


def test_files_end_by_rows(recorder: Open, tmp_path: Path, make_record: MakeRecord) -> None:
    trace = recorder(tmp_path, Clock(), file_rows=2)

    for number in range(5):
        write(trace, make_record(number))

    assert len(finished(tmp_path)) == 2


def test_files_end_by_bytes(recorder: Open, tmp_path: Path, make_record: MakeRecord) -> None:
    trace = recorder(tmp_path, Clock(), file_bytes=100_000)

    write(trace, incompressible(make_record(1)))

    assert len(finished(tmp_path)) == 1


def test_files_end_by_age_even_without_further_rows(
    recorder: Open, tmp_path: Path, make_record: MakeRecord
) -> None:
    clock = Clock()
    trace = recorder(tmp_path, clock, file_age_s=10.0)

    write(trace, make_record(1))
    before = finished(tmp_path)
    clock.now += 10.0
    write(trace)

    assert before == []
    assert ids(tmp_path) == ["r1"]


def test_a_clock_that_is_set_back_ends_the_file(
    recorder: Open, tmp_path: Path, make_record: MakeRecord
) -> None:
    clock = Clock()
    trace = recorder(tmp_path, clock, file_age_s=60.0)
    write(trace, make_record(1))

    clock.now -= 3600.0
    write(trace, make_record(2))

    assert ids(tmp_path) == ["r1", "r2"]


def test_unfinished_file_is_invisible_to_readers(
    recorder: Open, tmp_path: Path, make_record: MakeRecord
) -> None:
    trace = recorder(tmp_path, Clock())

    write(trace, make_record(1))

    assert ids(tmp_path) == []
    assert len(list(tmp_path.iterdir())) == 1


def test_nothing_recorded_leaves_no_file(recorder: Open, tmp_path: Path) -> None:
    trace = recorder(tmp_path / "never", Clock())

    asyncio.run(trace.close())

    assert not (tmp_path / "never").exists()


def test_oldest_files_go_when_the_folder_is_full(
    recorder: Open, tmp_path: Path, make_record: MakeRecord
) -> None:
    clock = Clock()
    trace = recorder(tmp_path, clock, file_rows=1, max_bytes=1024)

    for number in range(4):
        write(trace, make_record(number))
        clock.now += 1.0

    assert ids(tmp_path) == ["r3"]


def test_half_file_of_an_old_crash_is_deleted_and_a_young_one_kept(
    recorder: Open, tmp_path: Path, make_record: MakeRecord
) -> None:
    clock = Clock()
    old, young = tmp_path / ".trace-1.parquet.tmp", tmp_path / ".trace-2.parquet.tmp"
    old.write_bytes(b"half")
    young.write_bytes(b"half")
    clock.now = old.stat().st_mtime + 10.0
    trace = recorder(tmp_path, clock, file_rows=1)

    write(trace, make_record(1))
    kept = old.exists()
    clock.now += 3700.0
    write(trace, make_record(2))

    assert kept
    assert not old.exists()


def test_unusable_folder_is_counted_and_recording_resumes(
    recorder: Open, tmp_path: Path, make_record: MakeRecord, caplog: pytest.LogCaptureFixture
) -> None:
    in_the_way = tmp_path / "traces"
    in_the_way.write_text("a file")
    trace = recorder(in_the_way, Clock())

    write(trace, make_record(1))
    in_the_way.unlink()
    write(trace, make_record(2))
    asyncio.run(trace.close())

    assert ids(in_the_way) == ["r2"]
    assert trace.counts == TraceCounts(finished_rows=1, lost_rows=1, failures=1)
    assert "trace_write_failed" in caplog.text


def test_full_disk_loses_the_open_file_and_recording_resumes(
    recorder: Open, tmp_path: Path, make_record: MakeRecord
) -> None:
    trace = recorder(tmp_path, Clock())
    write(trace, make_record(1))

    with disk_full_after(100_000):
        write(trace, incompressible(make_record(2)))
    write(trace, make_record(3))
    asyncio.run(trace.close())

    assert ids(tmp_path) == ["r3"]
    assert trace.counts == TraceCounts(finished_rows=1, lost_rows=2, failures=1)
    assert trace.counts.missing_rows == 2
    assert len(list(tmp_path.iterdir())) == 1


def test_several_writers_in_a_folder_are_told_apart_and_bounded_together(
    tmp_path: Path, make_record: MakeRecord
) -> None:
    clock, settings = Clock(), TraceSettings(file_rows=1, max_bytes=1024)
    recorders = [
        TraceRecorder(tmp_path, settings, epoch_offset_s=0.0, wall_clock=clock, writer=f"w{number}")
        for number in range(2)
    ]

    for number in range(4):
        write(recorders[number % 2], make_record(number))
        clock.now += 1.0
    for one in recorders:
        asyncio.run(one.close())

    (kept,) = finished(tmp_path)
    assert kept.stem.endswith("-w1")
    assert ids(tmp_path) == [make_record(3).request.request_id]


@pytest.mark.parametrize("turns", range(14))  # of the event loop: ten take all columns
def test_cancelling_between_columns_keeps_the_rows(
    recorder: Open, tmp_path: Path, make_record: MakeRecord, turns: int
) -> None:
    trace = recorder(tmp_path, Clock(), buffer_rows=16)

    async def main() -> None:
        for number in range(5):
            trace.record(make_record(number))
        task = asyncio.create_task(trace.run())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await trace.close()

    asyncio.run(main())

    assert ids(tmp_path) == [f"r{number}" for number in range(5)]
    assert trace.counts == TraceCounts(finished_rows=5)
