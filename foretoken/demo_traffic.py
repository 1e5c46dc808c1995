"""Play a fixed workload against a server and time every answer, as a client sees it.

Open loop: each request goes out at its time whether or not others were answered.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from collectors import StreamObserver
from proxy import OutgoingRequest, Upstream, UpstreamError, UpstreamResponse
from simulator import Arrival

# How often the event loop's own lateness is sampled.
LAG_SAMPLE_S: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Hold what one request got.

    Attributes:
        at_s: When it was sent, from the start of the round.
        error: Why it failed, ``None`` if it did not.
        ttft_s: Sent to first token.
        e2e_s: Sent to the end.
        tpot_s: Mean gap between tokens.
        endpoint: Who served it.
        predicted_ttft_s: What the router said before it sent it there.
        predicted_tpot_s: Likewise.
        prompt_tokens: As reported by the endpoint.
        cached_tokens: As reported by the endpoint.
    """

    at_s: float
    error: str | None = None
    ttft_s: float | None = None
    e2e_s: float | None = None
    tpot_s: float | None = None
    endpoint: str | None = None
    predicted_ttft_s: float | None = None
    predicted_tpot_s: float | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """Hold a whole round.

    Attributes:
        answers: One per arrival, in order of their end.
        loop_lag_s: How late this process's event loop was, sampled; high values mean that
            the machine, not the fleet, was slow.
    """

    answers: list[Answer]
    loop_lag_s: list[float]


async def play(
    url: str, model: str, arrivals: Sequence[Arrival], on_answer: Callable[[Answer], None]
) -> Played:
    """Send every arrival at its time and wait for all answers."""
    lag_s: list[float] = []
    async with Upstream() as upstream:
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        watch = asyncio.create_task(_watch_lag(lag_s))
        tasks = []
        for arrival in arrivals:
            request = _outgoing(model, arrival)
            await asyncio.sleep(max(start_s + arrival.at_s - loop.time(), 0.0))
            task = asyncio.create_task(_ask(upstream, url, request, start_s))
            task.add_done_callback(lambda done: on_answer(done.result()))
            tasks.append(task)
        answers = list(await asyncio.gather(*tasks))
        watch.cancel()
    return Played(answers=answers, loop_lag_s=lag_s)


async def _ask(upstream: Upstream, url: str, request: OutgoingRequest, start_s: float) -> Answer:
    now = asyncio.get_running_loop().time
    sent_s = now()
    try:
        response = await upstream.send(url, request)
        return await _listen(response, sent_s, start_s)
    except UpstreamError as error:
        return Answer(at_s=sent_s - start_s, error=str(error))


async def _listen(response: UpstreamResponse, sent_s: float, start_s: float) -> Answer:
    now = asyncio.get_running_loop().time
    observer = StreamObserver("chat", hide_usage=False)
    first_s: float | None = None
    last_s = sent_s
    while data := await response.read():
        observer.feed(data)
        last_s = now()
        if first_s is None and observer.first_token:
            first_s = last_s
    headers = {bytes(name).decode(): bytes(value).decode() for name, value in response.headers}
    error = None
    if response.status != 200:
        error = f"HTTP {response.status}"
    elif first_s is None or not observer.done or observer.failed:
        error = "the stream broke"
    usage, tokens = observer.usage, observer.output_tokens
    decode_s = None if first_s is None else last_s - first_s
    return Answer(
        at_s=sent_s - start_s,
        error=error,
        ttft_s=None if first_s is None else first_s - sent_s,
        e2e_s=last_s - sent_s,
        tpot_s=None if decode_s is None or not tokens or tokens < 2 else decode_s / (tokens - 1),
        endpoint=headers.get("x-foretoken-endpoint"),
        predicted_ttft_s=_seconds(headers.get("x-foretoken-predicted-ttft-ms")),
        predicted_tpot_s=_seconds(headers.get("x-foretoken-predicted-tpot-ms")),
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
    )


async def _watch_lag(lag_s: list[float]) -> None:
    now = asyncio.get_running_loop().time
    while True:
        due_s = now() + LAG_SAMPLE_S
        await asyncio.sleep(LAG_SAMPLE_S)
        lag_s.append(now() - due_s)


def _outgoing(model: str, arrival: Arrival) -> OutgoingRequest:
    body = json.dumps(
        {
            "model": model,
            "messages": [{"role": role, "content": text} for role, text in arrival.messages],
            "max_tokens": 512,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ).encode()
    headers = (
        "content-type: application/json\r\n"
        f"content-length: {len(body)}\r\n"
        f"x-session-id: {arrival.session_id}\r\n"
        f"x-sim-output-tokens: {arrival.output_tokens}\r\n"
        "\r\n"
    )
    return OutgoingRequest(
        start=b"POST /v1/chat/completions HTTP/1.1\r\n", header_lines=headers.encode(), body=body
    )


def _seconds(millis: str | None) -> float | None:
    return None if millis is None else float(millis) / 1e3
