"""Log lines: one JSON object, or one line for people; both with every field."""

import json
import logging

from foretoken.logs import ConsoleFormatter, JsonFormatter


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
