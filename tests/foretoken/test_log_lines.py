"""Log lines on their way: whole, in order, and nobody waits for them."""

import logging
import os
import resource
import select
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from foretoken.log_lines import LogLines
from foretoken.logs import JsonFormatter, LinesHandler


class Pipe:
    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self.lines = LogLines(self.writer)
        self.closed = False

    def hang_up(self) -> None:
        """Close the reader's end, once."""
        if not self.closed:
            self.closed = True
            os.close(self.reader)

    def read(self) -> bytes:
        """Read what is there."""
        ready = select.select([self.reader], [], [], 0)[0]
        return os.read(self.reader, 1 << 20) if ready else b""


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    opened = Pipe()
    yield opened
    opened.hang_up()
    os.close(opened.writer)


def test_lines_wait_until_they_are_flushed(pipe: Pipe) -> None:
    pipe.lines.append(b"one")
    pipe.lines.append(b"two")

    before = pipe.read()
    pipe.lines.flush()

    assert before == b""
    assert pipe.read() == b"one\ntwo\n"


def test_many_lines_do_not_wait(pipe: Pipe) -> None:
    for _ in range(64):
        pipe.lines.append(b"one")

    assert pipe.read() == b"one\n" * 64


def test_an_ordinary_record_comes_behind_the_lines_that_wait(pipe: Pipe) -> None:
    handler = LinesHandler(pipe.lines)
    handler.setFormatter(JsonFormatter())
    pipe.lines.append(b"one")

    handler.emit(logging.LogRecord("proxy", logging.INFO, "file", 1, "two", None, None))

    one, two, end = pipe.read().split(b"\n")
    assert (one, end) == (b"one", b"")
    assert b'"event": "two"' in two


def test_a_pipe_gets_whole_lines_in_each_piece(pipe: Pipe) -> None:
    line = b"x" * 3000
    for _ in range(20):
        pipe.lines.append(line)

    pipe.lines.flush()

    os.set_blocking(pipe.reader, False)
    assert os.read(pipe.reader, select.PIPE_BUF) == line + b"\n" + line[: select.PIPE_BUF - 3001]
    assert pipe.lines.dropped == 0


def test_a_line_longer_than_a_piece_is_written_whole(pipe: Pipe) -> None:
    line = b"x" * 10_000

    pipe.lines.write(line)

    assert pipe.read() == line + b"\n"


def test_nobody_waits_for_a_reader_who_takes_nothing_and_the_loss_is_counted(pipe: Pipe) -> None:
    line = b"x" * 99

    for _ in range(30_000):
        pipe.lines.append(line)
    read = b""
    while kept := pipe.read():
        read += kept
        pipe.lines.flush()

    assert set(read.split(b"\n")) == {line, b""}
    assert read.count(b"\n") + pipe.lines.dropped == 30_000
    assert pipe.lines.dropped > 0


def test_a_broken_pipe_costs_lines_and_nothing_else(pipe: Pipe) -> None:
    pipe.hang_up()

    pipe.lines.write(b"one")
    pipe.lines.append(b"two")
    pipe.lines.flush()

    assert pipe.lines.dropped == 2


def test_a_full_disk_costs_lines_and_writing_resumes(tmp_path: Path) -> None:
    path = tmp_path / "log"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    lines = LogLines(descriptor)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        lines.write(b"one")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    lines.write(b"two")
    os.close(descriptor)

    assert path.read_bytes() == b"two\n"
    assert lines.dropped == 1


def test_logging_in_the_middle_of_a_flush_neither_waits_nor_is_lost(pipe: Pipe) -> None:
    with pipe.lines._lock:
        pipe.lines._flushing = True
        pipe.lines.write(b"one")
        pipe.lines._flushing = False
    pipe.lines.write(b"two")

    assert pipe.read() == b"one\ntwo\n"


def test_a_record_that_cannot_be_formatted_fails_nobody(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    handler = LinesHandler(pipe.lines)
    handler.setFormatter(JsonFormatter())

    handler.emit(logging.LogRecord("proxy", logging.INFO, "file", 1, "%d", ("x",), None))

    assert pipe.read() == b""
