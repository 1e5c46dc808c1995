"""Send chats over as many connections as told, each as soon as the last was answered.

Raw protocols on the caller's event loop: the generator should not be what is measured.
Every answer is looked at: status 200 and a whole body, and for a stream as many events as
were asked for and the end of it. Anything else is a failure; a benchmark with failures
shows nothing.
"""

import asyncio
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, cast

import httptools

from foretoken.errors import DemoFailed

Make = Callable[[int], bytes]
"""Gives the body of a request by its number."""

PATH: Final = "/v1/chat/completions"
LAST_ANSWER_S: Final = 120.0
"""An answer that takes longer than this after the last request began does not come."""

SLOWEST_S: Final = 0.1
"""Seconds a request may take on average where their number is what ends it."""

_EVENT: Final = b"data: "
_END: Final = b"[DONE]\n\n"


@dataclass(slots=True, kw_only=True)
class Load:
    """Count answers as they come.

    Attributes:
        answered: Requests answered well.
        failed: Others.
        events: Events of streams, ``[DONE]`` included.
        seconds: How long it took.
        latencies_s: Request to end of answer, of those answered well.
        ttfts_s: Request to the first event of a stream.
        gaps_s: From one event of a stream to the next; those read together have none.
    """

    answered: int = 0
    failed: int = 0
    events: int = 0
    seconds: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    ttfts_s: list[float] = field(default_factory=list)
    gaps_s: list[float] = field(default_factory=list)

    @property
    def p50_s(self) -> float:
        """Give the median latency."""
        return statistics.median(self.latencies_s)

    @property
    def rate(self) -> float:
        """Give answers per second."""
        return self.answered / self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Say what is sent, and for how long.

    Attributes:
        make: Bodies.
        connections: So many requests are under way at a time.
        events: What a stream must have before its end; ``None`` where answers are not streamed.
        seconds: No request begins after so long ...
        requests: ... or after so many.
    """

    make: Make
    connections: int
    events: int | None = None
    seconds: float = float("inf")
    requests: float = float("inf")

    @property
    def at_most_s(self) -> float:
        """Give the seconds after which the rest counts as unanswered."""
        return min(self.seconds, SLOWEST_S * self.requests) + LAST_ANSWER_S


async def send(port: int, traffic: Traffic) -> Load:
    """Send it to a server on the loopback address.

    Raises:
        DemoFailed: Nothing was answered well, or something was not.
    """
    load, loop = Load(), asyncio.get_running_loop()
    begun_s = time.perf_counter()
    numbers = _Numbers(traffic, until_s=begun_s + traffic.seconds)
    clients = [_Client(load, traffic, numbers, port) for _ in range(traffic.connections)]
    try:
        for client in clients:
            await loop.create_connection(lambda client=client: client, "127.0.0.1", port)  # type: ignore[misc]  # the default binds
        async with asyncio.timeout(traffic.at_most_s):
            await asyncio.gather(*(client.done for client in clients))
    except OSError as error:  # TimeoutError among them
        raise DemoFailed(f"port {port}: {error or 'no answer'}") from error
    finally:
        for client in clients:
            client.close()
        await asyncio.sleep(0)  # connections end in the loop's next turn
    load.seconds = time.perf_counter() - begun_s
    if load.failed or not load.answered:
        raise DemoFailed(f"port {port}: {load.failed} of {load.failed + load.answered} failed")
    return load


def chat(
    text: str, *, model: str = "stub", max_tokens: int = 1, stream: bool = False, **more: object
) -> bytes:
    """Write the body of a chat.

    >>> chat("hi")
    b'{"model":"stub","messages":[{"role":"user","content":"hi"}],"max_tokens":1}'
    """
    body: dict[str, object] = {"model": model, "messages": [{"role": "user", "content": text}]}
    body["max_tokens"] = max_tokens
    if stream:
        body["stream"] = True
    return json.dumps({**body, **more}, separators=(",", ":")).encode()


def cycle(bodies: Sequence[bytes]) -> Make:
    """Give bodies in turns."""
    return lambda number: bodies[number % len(bodies)]


class _Numbers:
    """Give out the numbers of requests until time or count is over."""

    def __init__(self, traffic: Traffic, *, until_s: float) -> None:
        self._left = traffic.requests
        self._until_s = until_s
        self._next = 0

    def take(self, now_s: float) -> int | None:
        if self._next >= self._left or now_s >= self._until_s:
            return None
        self._next += 1
        return self._next - 1


class _Client(asyncio.Protocol):
    """One connection; also its parser's callbacks."""

    def __init__(self, load: Load, traffic: Traffic, numbers: _Numbers, port: int) -> None:
        self._load = load
        self._traffic = traffic
        self._numbers = numbers
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._head = (
            f"POST {PATH} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n"
            "content-type: application/json\r\ncontent-length: "
        ).encode()
        self._sent_s = self._event_s = 0.0
        self._events = 0
        self._cut = self._last = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the interface without the base class.
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def connection_lost(self, _: Exception | None) -> None:
        if not self.done.done():
            self._load.failed += 1
            self.done.set_result(None)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.close()

    def on_body(self, data: bytes) -> None:
        # What is kept is too short to be counted twice, and long enough for any cut.
        joined = self._cut + data
        events = joined.count(_EVENT)
        if events:
            now_s = time.perf_counter()
            if self._events:
                self._load.gaps_s.append(now_s - self._event_s)
            else:
                self._load.ttfts_s.append(now_s - self._sent_s)
            self._load.gaps_s.extend([0.0] * (events - 1))
            self._events += events
            self._event_s = now_s
        self._cut = joined[1 - len(_EVENT) :]
        self._last = (self._last + data)[-len(_END) :]

    def on_message_complete(self) -> None:
        load, wanted = self._load, self._traffic.events
        well = self._parser.get_status_code() == 200
        if wanted is not None:
            well = well and self._last == _END and self._events > wanted
        if well:
            load.answered += 1
            load.events += self._events
            load.latencies_s.append(time.perf_counter() - self._sent_s)
        else:
            load.failed += 1
        self._send()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _send(self) -> None:
        now_s = time.perf_counter()
        number = self._numbers.take(now_s)
        if number is None or self._transport is None:
            if not self.done.done():
                self.done.set_result(None)
            return
        self._sent_s, self._events = now_s, 0
        self._cut = self._last = b""
        body = self._traffic.make(number)
        self._transport.write(b"%b%d\r\n\r\n%b" % (self._head, len(body), body))
