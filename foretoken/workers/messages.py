"""What workers say to each other, and how it is written.

A frame is a length and a MessagePack list of messages. The words of the schedulers
(:mod:`scheduler.peers`) are among them as they are.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
import numpy as np

from foretoken.trainer_protocol import Report
from predictor.types import EndpointState, Observation, Use
from scheduler.words import First, Left, Sent, Served, Shown, Suspected

_LENGTH: Final = struct.Struct(">I")
MOST_FRAME_BYTES: Final = 256 << 20
"""Beyond the largest body the control plane takes, which one worker may pass to another."""


class Hello(msgspec.Struct, frozen=True, array_like=True, tag="hello"):
    """Say who speaks, first of all on every connection.

    Attributes:
        worker: Its number.
        fresh: Whether it knows nothing yet of what was changed at run time.
    """

    worker: int
    fresh: bool


class Lesson(msgspec.Struct, frozen=True, array_like=True, tag="lesson"):
    """Carry an observation that predictors learn; arrays are float64 bytes."""

    endpoint: str
    model: str
    hardware: str | None
    observed_s: float
    features: bytes
    upstream_ttft_s: float | None
    tpot_s: float | None
    total_s: float | None
    waited_s: float | None
    output_tokens: int | None
    use: Use
    predicted_ttft_s: float | None
    predicted_tpot_s: float | None
    predicted_ttft_p90_s: float | None
    predicted_tpot_p90_s: float | None
    experts: bytes | None


class Fed(msgspec.Struct, frozen=True, array_like=True, tag="fed"):
    """Carry an observation to the trainer, by way of the router that runs it."""

    lesson: Lesson


class Gathered(msgspec.Struct, frozen=True, array_like=True, tag="gathered"):
    """Carry observations to the trainer, by way of the worker that runs it.

    Attributes:
        rows: They, as the trainer reads them (:mod:`foretoken.trainer_protocol`).
        count: How many.
    """

    rows: bytes
    count: int


class States(msgspec.Struct, frozen=True, array_like=True, tag="states"):
    """Carry what was scraped."""

    states: list[EndpointState]


class Discovered(msgspec.Struct, frozen=True, array_like=True, tag="discovered"):
    """Carry the whole present set that a source of discovery found, as JSON of settings."""

    source: str
    endpoints: list[str]


class Trained(msgspec.Struct, frozen=True, array_like=True, tag="trained"):
    """Carry a report of the trainer."""

    report: Report


class Asked(msgspec.Struct, frozen=True, array_like=True, tag="asked"):
    """Carry an HTTP request to another worker.

    Attributes:
        number: To tell answers apart.
        method: ``GET`` and the like.
        path: Decoded.
        query: As received.
        headers: Likewise, names in lower case.
        body: Likewise.
        client: Address it came from, ``None`` for a Unix socket.
    """

    number: int
    method: str
    path: str
    query: bytes = b""
    headers: list[tuple[bytes, bytes]] = []
    body: bytes = b""
    client: tuple[str, int] | None = None


class Answered(msgspec.Struct, frozen=True, array_like=True, tag="answered"):
    """Carry an HTTP response back."""

    number: int
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Journal(msgspec.Struct, frozen=True, array_like=True, tag="journal"):
    """Carry what was changed at run time, oldest first, to a worker that has just begun."""

    changes: list[Asked]


Message = (
    Hello
    | Sent
    | Left
    | Shown
    | Suspected
    | First
    | Served
    | Lesson
    | Gathered
    | States
    | Discovered
    | Trained
    | Asked
    | Answered
    | Journal
)

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(list[Message])


def frame(messages: Sequence[Message]) -> bytes:
    """Write messages as one frame.

    >>> list(frames(bytearray(frame([Hello(1, True)]) + b"xx")))
    [[Hello(worker=1, fresh=True)]]
    """
    body = _encoder.encode(messages)
    return _LENGTH.pack(len(body)) + body


def frames(buffer: bytearray) -> Iterator[list[Message]]:
    """Take the whole frames out of a buffer.

    Raises:
        msgspec.MsgspecError: It holds something else.
    """
    start = 0
    while len(buffer) - start >= _LENGTH.size:
        (length,) = _LENGTH.unpack_from(buffer, start)
        if length > MOST_FRAME_BYTES:
            msg = f"a frame of {length} bytes is none of ours"
            raise msgspec.DecodeError(msg)
        end = start + _LENGTH.size + length
        if len(buffer) < end:
            break
        body = bytes(buffer[start + _LENGTH.size : end])
        start = end
        yield _decoder.decode(body)
    del buffer[:start]


def lesson_of(seen: Observation) -> Lesson:
    """Write an observation."""
    return Lesson(
        seen.endpoint,
        seen.model,
        seen.hardware,
        seen.observed_s,
        seen.features.tobytes(),
        seen.upstream_ttft_s,
        seen.tpot_s,
        seen.total_s,
        seen.waited_s,
        seen.output_tokens,
        seen.use,
        seen.predicted_ttft_s,
        seen.predicted_tpot_s,
        seen.predicted_ttft_p90_s,
        seen.predicted_tpot_p90_s,
        None if seen.experts is None else seen.experts.tobytes(),
    )


def observation_of(lesson: Lesson) -> Observation:
    """Read an observation."""
    experts = None if lesson.experts is None else np.frombuffer(lesson.experts).reshape(2, -1)
    return Observation(
        endpoint=lesson.endpoint,
        model=lesson.model,
        hardware=lesson.hardware,
        observed_s=lesson.observed_s,
        features=np.frombuffer(lesson.features),
        upstream_ttft_s=lesson.upstream_ttft_s,
        tpot_s=lesson.tpot_s,
        total_s=lesson.total_s,
        waited_s=lesson.waited_s,
        output_tokens=lesson.output_tokens,
        use=lesson.use,
        predicted_ttft_s=lesson.predicted_ttft_s,
        predicted_tpot_s=lesson.predicted_tpot_s,
        predicted_ttft_p90_s=lesson.predicted_ttft_p90_s,
        predicted_tpot_p90_s=lesson.predicted_tpot_p90_s,
        experts=experts,
    )
