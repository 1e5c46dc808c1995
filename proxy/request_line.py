"""The fields of a log line, as they are encoded by :mod:`proxy.request_log`."""

import msgspec


class RequestLine(msgspec.Struct, omit_defaults=True):
    """Hold the fields of a line; what is unknown is left out."""

    time: float
    level: str
    logger: str
    event: str
    request_id: str
    model: str
    outcome: str
    queued_s: float
    attempts: int
    streamed: bool
    endpoint: str | None = None
    policy: str | None = None
    reason: str | None = None
    spilled: str | None = None
    refused: str | None = None
    waited_for: str | None = None
    tier: str | None = None
    status: int | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    ttft_s: float | None = None
    upstream_ttft_s: float | None = None
    tpot_s: float | None = None
    e2e_s: float | None = None
    predicted_upstream_ttft_s: float | None = None
    predicted_tpot_s: float | None = None
    trace_id: str | None = None
