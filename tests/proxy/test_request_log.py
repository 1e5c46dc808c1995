"""The line of a finished request: the same for machines and people."""

import json
import logging

import pytest

from foretoken.logs import JsonFormatter
from predictor.types import Measurement, RequestFeatures, RequestRecord
from proxy import RequestLog, log_request
from tests.proxy.control.fakes import record, shed_record


@pytest.mark.parametrize("told", [record(), shed_record()], ids=["completed", "shed"])
def test_json_lines_say_what_records_say(
    told: RequestRecord, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="proxy.request_log")
    lines: list[bytes] = []

    RequestLog(lines.append).add(told)
    log_request(told)

    line = json.loads(lines[0])
    expected = json.loads(JsonFormatter().format(caplog.records[0]))
    assert abs(line.pop("time") - expected.pop("time")) < 60
    assert line == expected
    assert line["event"] == "request_finished"


def test_no_line_is_written_where_the_level_is_higher(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="proxy.request_log")
    lines: list[bytes] = []

    RequestLog(lines.append).add(record())
    log_request(record())

    assert lines == []
    assert caplog.records == []


def test_what_a_client_may_write_beyond_all_bounds_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="proxy.request_log")
    lines: list[bytes] = []
    wild = RequestRecord(
        request=RequestFeatures(request_id="a\nb", arrived_s=1.0, model="\ud800", tier="\udfff"),
        fleet=None,
        decision=None,
        endpoint=None,
        attempts=0,
        measurement=Measurement(outcome="shed", prompt_tokens=10**30),
        finished_s=2.0,
    )

    RequestLog(lines.append).add(wild)

    assert b"\n" not in lines[0]
    assert json.loads(lines[0])["prompt_tokens"] == 10**30
    assert json.loads(lines[0])["model"] == "\ud800"
