"""Log lines: one JSON object, or one line for people; both with every field."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

import pytest
from rich.color import ColorSystem
from rich.console import Console

from foretoken.console_lines import ConsoleFormatter, colours_of
from foretoken.logs import JsonFormatter, configure, fields
from predictor.types import RequestRecord
from predictor.values import replace
from proxy import log_request
from tests.proxy.control.fakes import record as finished
from tests.proxy.control.fakes import shed_record


def record(**extra: object) -> logging.LogRecord:
    made = logging.LogRecord("proxy", logging.INFO, "file", 1, "request_finished", None, None)
    made.__dict__.update(extra)
    return made


def test_a_json_line_holds_the_event_and_its_fields() -> None:
    line = json.loads(JsonFormatter().format(record(request_id="r", ttft_s=0.25, status=None)))

    assert line["event"] == "request_finished"
    assert line["request_id"] == "r"
    assert line["ttft_s"] == 0.25
    assert "status" not in line


def test_no_field_takes_the_place_of_the_envelope() -> None:
    line = json.loads(JsonFormatter().format(record(level="mixture", event="x", why="y")))

    assert (line["level"], line["event"], line["why"]) == ("info", "request_finished", "y")


def test_a_console_line_is_its_event_and_its_fields() -> None:
    made = record(endpoint="a:1", share=0.123456)
    made.msg = "endpoint_up"

    line = ConsoleFormatter(fields).format(made)

    assert line.endswith(" info    endpoint_up endpoint=a:1 share=0.1235")


def lines_of(caplog: pytest.LogCaptureFixture, *told: RequestRecord) -> list[str]:
    caplog.set_level(logging.INFO, logger="proxy.request_log")
    for each in told:
        log_request(each)
    return [ConsoleFormatter(fields).format(each) for each in caplog.records]


def test_a_finished_request_is_told_as_one_asks(caplog: pytest.LogCaptureFixture) -> None:
    (line,) = lines_of(caplog, finished("r-1"))

    assert line[9:] == (
        "info    completed  10.0.0.1:8000  meta-llama/Llama-3.1-8B-Instruct  "
        "ttft 126.0 ms (100.0 ms predicted)  tpot 20.0 ms (20.0 ms predicted)  e2e 5.00 s  "
        "1020 + 150 tokens, 512 cached  predicted_latency: predicted  id r-1"
    )


def test_what_is_unusual_shows(caplog: pytest.LogCaptureFixture) -> None:
    shed = replace(shed_record(), refused="queue_full", queued_s=0.25, waited_for="endpoints_full")
    (line,) = lines_of(caplog, shed)

    assert "  waited 250.0 ms (endpoints_full)  " in line
    assert "shed queue_full  -  meta-llama" in line


def test_nothing_a_client_names_moves_the_terminal(caplog: pytest.LogCaptureFixture) -> None:
    shed = shed_record("\x1b[2J\nline")
    (line,) = lines_of(caplog, shed)

    assert line.isprintable()
    assert "id \\x1b[2J\\nline" in line


def test_colours_are_for_terminals_that_show_them() -> None:
    made = record(outcome="completed")

    plain = ConsoleFormatter(fields).format(made)
    coloured = ConsoleFormatter(fields, ColorSystem.EIGHT_BIT).format(made)

    assert "\x1b" not in plain
    assert "\x1b[32mcompleted\x1b[0m" in coloured
    assert colours_of(Console(file=io.StringIO())) is None
    assert colours_of(Console(force_terminal=True, color_system="truecolor")) is not None
    assert colours_of(Console(force_terminal=True, color_system="256", no_color=True)) is None


@contextmanager
def root_restored() -> Iterator[None]:
    """Leave the root logger, and those that are configured beside it, as they were."""
    root = logging.getLogger()
    levels = {
        name: logging.getLogger(name).level for name in ("httpx", "httpcore", "urllib3", "uvicorn")
    }
    level, handlers = root.level, root.handlers[:]
    root.handlers.clear()  # configuring closes those that it finds
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        for name, before in levels.items():
            logging.getLogger(name).setLevel(before)


def test_a_standard_error_without_a_descriptor_gets_ordinary_records() -> None:
    written = io.StringIO()

    with root_restored(), redirect_stderr(written):
        lines = configure("json", "info")
        logging.getLogger("proxy").info("serving")

    assert lines is None
    assert json.loads(written.getvalue())["event"] == "serving"
