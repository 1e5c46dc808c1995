"""One line per finished request, at its end: what was predicted and what happened.

Fields only, under a constant event; never prompts, outputs or keys. For people it is a
record like all others, formatted elsewhere; for machines it is encoded here, in the same
form, in a tenth of the time. Both are sinks of finished records.
"""

import json
import logging
import time
from collections.abc import Callable
from typing import Final

import msgspec

from predictor.types import RequestRecord
from proxy.request_line import RequestLine

logger = logging.getLogger(__name__)

EVENT: Final = "request_finished"


_ENVELOPE: Final = ("time", "level", "logger", "event")
_encoder: Final = msgspec.json.Encoder()


class RequestLog:
    """Write finished requests as JSON.

    Args:
        write: Gets each line, without its end.
    """

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write

    def add(self, record: RequestRecord) -> None:
        """Log a finished request."""
        if logger.isEnabledFor(logging.INFO):
            self._write(encode(line_of(record, time.time())))


def log_request(record: RequestRecord) -> None:
    """Log a finished request as a record, for whichever handler there is."""
    if logger.isEnabledFor(logging.INFO):
        fields = msgspec.structs.asdict(line_of(record, 0.0))
        for name in _ENVELOPE:
            del fields[name]
        logger.info(EVENT, extra=fields)


def line_of(record: RequestRecord, now_s: float) -> RequestLine:
    """Tell of a finished request; ``now_s`` is in epoch seconds."""
    request, measured, decision = record.request, record.measurement, record.decision
    line = RequestLine(
        time=int(now_s * 1e3) / 1e3,
        level="info",
        logger=__name__,
        event=EVENT,
        request_id=request.request_id,
        model=request.model,
        outcome=measured.outcome,
        queued_s=record.queued_s,
        attempts=record.attempts,
        streamed=request.streamed,
        endpoint=record.endpoint,
        refused=record.refused,
        waited_for=record.waited_for,
        tier=request.tier,
        status=measured.status,
        prompt_tokens=measured.prompt_tokens,
        cached_tokens=measured.cached_tokens,
        output_tokens=measured.output_tokens,
        ttft_s=record.ttft_s,
        upstream_ttft_s=record.upstream_ttft_s,
        tpot_s=record.tpot_s,
        e2e_s=record.e2e_s,
        reason=record.answered,
        trace_id=request.trace_id,
    )
    if decision is not None:
        line.policy, line.reason = decision.policy, decision.reason
        line.spilled = decision.spilled
        if decision.predictions is not None:
            line.predicted_upstream_ttft_s = decision.predictions.ttft_s.item(decision.chosen)
            line.predicted_tpot_s = decision.predictions.tpot_s.item(decision.chosen)
    return line


def encode(line: RequestLine) -> bytes:
    r"""Give a line as JSON, whatever a client has written into a name.

    >>> encode(RequestLine(1.5, "info", "l", "e", "\ud800", "m", "shed", 0.0, 0, False))[-99:-69]
    b'_id": "\\ud800", "model": "m", '
    """
    try:
        return _encoder.encode(line)
    except UnicodeEncodeError:  # halves of characters, which JSON can escape
        told = msgspec.structs.asdict(line).items()
        return json.dumps({name: value for name, value in told if value is not None}).encode()
