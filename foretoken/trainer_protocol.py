"""What the server and its trainer say to each other over a pipe.

Down: length-prefixed MessagePack frames, each an observation or the word to forget a
fleet. Up: JSON lines, one report per training. Both typed; no pickle.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO, Final

import msgspec
import numpy as np

from predictor.types import Observation

_LENGTH: Final = struct.Struct(">I")
_MAX_FRAME_BYTES: Final = 1 << 20


class Forget(msgspec.Struct, array_like=True, tag="forget", frozen=True):
    """Ask to forget all observations of a fleet; what comes after counts."""

    fleet: str


class Row(msgspec.Struct, array_like=True, tag="row", frozen=True):
    """Carry one observation; features are float64 bytes in table order."""

    endpoint: str
    model: str
    hardware: str | None
    observed_s: float
    features: bytes
    upstream_ttft_s: float | None
    tpot_s: float | None
    output_tokens: int | None
    predicted_ttft_s: float | None
    predicted_tpot_s: float | None
    total_s: float | None


class Report(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tell what one training came to.

    Attributes:
        fleet: Whose model.
        seconds: CPU seconds it took.
        rows: Observations it was given.
        accepted: Whether a version was published.
        reason: Why not: ``too_few_rows``; ``too_few_new`` to judge the last one by;
            ``on_trial`` beside a version from before this process; ``worse`` than what it
            was to replace, or replaced; ``store`` or training ``failed``.
        detail: The same for people.
        version: The published version, or the one put back in use.
        way: ``full``, or ``continued`` from the last one; ``None`` where none was trained.
        refused: Labels the window has refused so far, by reason; ``unread``: observations
            that came faster than rounds could take them.
    """

    fleet: str
    seconds: float
    rows: int
    accepted: bool
    reason: str | None = None
    detail: str | None = None
    version: str | None = None
    way: str | None = None
    refused: dict[str, int] = {}


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Row | Forget)


def frame(word: Observation | Forget) -> bytes:
    """Encode what goes down the pipe."""
    body = _encoder.encode(word if isinstance(word, Forget) else _row(word))
    return _LENGTH.pack(len(body)) + body


def words(pipe: BinaryIO) -> Iterator[Observation | Forget]:
    """Decode what comes down the pipe until it ends, be it in the middle of a frame.

    Raises:
        ValueError: A frame is longer than any of ours.
        msgspec.DecodeError: It is not one of ours.
    """
    while len(head := pipe.read(_LENGTH.size)) == _LENGTH.size:
        (length,) = _LENGTH.unpack(head)
        if length > _MAX_FRAME_BYTES:
            msg = f"a frame of {length} bytes is longer than any observation"
            raise ValueError(msg)
        body = pipe.read(length)
        if len(body) < length:
            return
        word = _decoder.decode(body)
        yield word if isinstance(word, Forget) else _observation(word)


def _row(observation: Observation) -> Row:
    return Row(
        observation.endpoint,
        observation.model,
        observation.hardware,
        observation.observed_s,
        observation.features.tobytes(),
        observation.upstream_ttft_s,
        observation.tpot_s,
        observation.output_tokens,
        observation.predicted_ttft_s,
        observation.predicted_tpot_s,
        observation.total_s,
    )


def _observation(row: Row) -> Observation:
    return Observation(
        endpoint=row.endpoint,
        model=row.model,
        hardware=row.hardware,
        observed_s=row.observed_s,
        features=np.frombuffer(row.features),
        upstream_ttft_s=row.upstream_ttft_s,
        tpot_s=row.tpot_s,
        output_tokens=row.output_tokens,
        predicted_ttft_s=row.predicted_ttft_s,
        predicted_tpot_s=row.predicted_tpot_s,
        total_s=row.total_s,
    )
