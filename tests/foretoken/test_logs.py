"""Log lines: one JSON object, or one line for people; both with every field."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

from foretoken.logs import ConsoleFormatter, JsonFormatter, configure


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


def test_a_console_line_is_short() -> None:
    line = ConsoleFormatter().format(record(request_id="r", ttft_s=0.123456))

    assert line.endswith("info    request_finished request_id=r ttft_s=0.1235")


@contextmanager
def root_restored() -> Iterator[None]:
    """Leave the root logger, and those that are configured beside it, as they were."""
    root = logging.getLogger()
    levels = {name: logging.getLogger(name).level for name in ("httpx", "httpcore", "uvicorn")}
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
