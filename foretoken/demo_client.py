"""Ask a server as a client does, and time what comes: the one client of both demos.

Chunks are only stamped while they come and read at the end, so that the clock stays true.
"""

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from collectors import StreamObserver, Usage, read_usage
from proxy import OutgoingRequest, Upstream, UpstreamError, UpstreamResponse

Chunks = list[tuple[float, bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Hold what one request got; what is unknown or did not come is ``None``.

    Attributes:
        at_s: When it was sent, on the event loop's clock.
        error: Why it failed, ``None`` if it did not.
        body: The whole body as it came.
        ttft_s: Sent to first token; of streams only.
        e2e_s: Sent to the end.
        tpot_s: Mean gap between tokens; ``None`` where all came at once.
        endpoint: Who served it.
        reason: Why there, as the router said.
        predicted_ttft_s: What the router said before it sent it there.
        predicted_tpot_s: Likewise.
        prompt_tokens: As reported by the endpoint.
        cached_tokens: As reported by the endpoint.
    """

    at_s: float
    error: str | None = None
    body: bytes = b""
    ttft_s: float | None = None
    e2e_s: float | None = None
    tpot_s: float | None = None
    endpoint: str | None = None
    reason: str | None = None
    predicted_ttft_s: float | None = None
    predicted_tpot_s: float | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None


def chat_request(
    body: Mapping[str, object], headers: Mapping[str, str] | None = None
) -> OutgoingRequest:
    """Build a chat request; encoded before its time, so that this costs it nothing."""
    payload = json.dumps(body).encode()
    lines = {"content-type": "application/json", **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return OutgoingRequest(
        start=b"POST /v1/chat/completions HTTP/1.1\r\n",
        header_lines=head.encode(),
        body=payload,
    )


def relative_errors(pairs: Iterable[tuple[float | None, float | None]]) -> list[float]:
    """Give ``|predicted - actual| / actual`` of ``(actual, predicted)``; unknown ones are left out.

    >>> relative_errors([(1.0, 1.5), (2.0, None), (4.0, 3.0)])
    [0.5, 0.25]
    """
    return [
        abs(predicted - actual) / actual
        for actual, predicted in pairs
        if predicted is not None and actual is not None and actual > 0
    ]


async def ask(upstream: Upstream, url: str, request: OutgoingRequest) -> Answer:
    """Send a request and hear its answer to the end; a failure is an answer with an error."""
    now = asyncio.get_running_loop().time
    sent_s = now()
    chunks: Chunks = []
    try:
        response = await upstream.send(url, request)
        while data := await response.read():
            chunks.append((now(), data))
    except UpstreamError as error:
        return Answer(at_s=sent_s, error=str(error))
    return _answer(response, chunks, sent_s)


def _answer(response: UpstreamResponse, chunks: Chunks, sent_s: float) -> Answer:
    headers = {bytes(name).decode(): bytes(value).decode() for name, value in response.headers}
    body = b"".join(data for _, data in chunks)
    error = None if response.status == 200 else f"HTTP {response.status}"
    if headers.get("content-type", "").startswith("text/event-stream"):
        first_s, whole, usage = _read_stream(chunks)
        error = error or (None if whole else "the stream broke")
    else:
        first_s, usage = None, read_usage(body)
        error = error or ("no answer of a model" if usage.output_tokens is None else None)
    last_s = chunks[-1][0] if chunks else sent_s
    decode_s = 0.0 if first_s is None else last_s - first_s
    gaps = (usage.output_tokens or 1) - 1
    return Answer(
        at_s=sent_s,
        error=error,
        body=body,
        ttft_s=None if first_s is None else first_s - sent_s,
        e2e_s=last_s - sent_s,
        tpot_s=decode_s / gaps if decode_s and gaps > 0 else None,
        endpoint=headers.get("x-foretoken-endpoint"),
        reason=headers.get("x-foretoken-reason"),
        predicted_ttft_s=_seconds(headers.get("x-foretoken-predicted-ttft-ms")),
        predicted_tpot_s=_seconds(headers.get("x-foretoken-predicted-tpot-ms")),
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
    )


def _read_stream(chunks: Chunks) -> tuple[float | None, bool, Usage]:
    """Give when the first token came, whether the stream is whole, and what it counted."""
    observer = StreamObserver("chat", hide_usage=False)
    first_s: float | None = None
    for came_s, data in chunks:
        observer.feed(data)
        if first_s is None and observer.first_token:
            first_s = came_s
    return first_s, first_s is not None and observer.done and not observer.failed, observer.usage


def _seconds(millis: str | None) -> float | None:
    return None if millis is None else float(millis) / 1e3
