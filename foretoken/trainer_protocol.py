"""What the server and its trainer say to each other over a pipe.

Down: length-prefixed MessagePack frames, each some observations, the word to forget a
fleet, or until when to publish. Up: JSON lines, one report per training, and empty ones
every few seconds between two rounds. Both typed; no pickle.
"""

import struct
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import BinaryIO, Final

import msgspec
import numpy as np

from predictor.types import Observation

_LENGTH: Final = struct.Struct(">I")
_MAX_FRAME_BYTES: Final = 16 << 20

_NUMBERS: Final = (
    *("observed_s", "upstream_ttft_s", "tpot_s", "output_tokens"),
    *("predicted_ttft_s", "predicted_tpot_s", "total_s"),
)
SIGN_OF_LIFE: Final = b"\n"
"""What the trainer says while it rests; one that says nothing for long is stuck or stopped."""

_numbers_of: Final = attrgetter(*_NUMBERS)


class Forget(msgspec.Struct, array_like=True, tag="forget", frozen=True):
    """Ask to forget all observations of a fleet; what comes after counts."""

    fleet: str


class LeadUntil(msgspec.Struct, array_like=True, tag="until", frozen=True):
    """Allow to publish until an instant of the monotonic clock, which both processes read.

    Sent again and again by a router that trains for others; whoever trains for itself needs
    no leave.
    """

    until_s: float


class Rows(msgspec.Struct, array_like=True, tag="rows", frozen=True):
    """Carry ``n`` observations by columns.

    Attributes:
        endpoints: Of each.
        models: Of each.
        hardware: Of each.
        numbers: ``(n, 7)`` float64: times and counts by ``_NUMBERS``, NaN for unknown.
        features: ``(n, n_features)`` float64, in table order.
    """

    endpoints: list[str]
    models: list[str]
    hardware: list[str | None]
    numbers: bytes
    features: bytes


class Report(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tell what one training came to.

    Attributes:
        fleet: Whose model.
        seconds: CPU seconds it took.
        rows: Observations it was given.
        accepted: Whether a version was published.
        reason: Why not: ``too_few_rows``; ``too_few_new`` to judge the last one by;
            ``on_trial`` beside a version from before this process; ``not_leading`` where
            another router may train by then; ``worse`` than what it
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
_decoder: Final = msgspec.msgpack.Decoder(Rows | Forget | LeadUntil)


class TooLong(ValueError):
    """A frame is longer than any of ours."""


def frame(word: Sequence[Observation] | Forget | LeadUntil) -> bytes:
    """Encode what goes down the pipe.

    Raises:
        TooLong: Names in it are beyond all bounds.
    """
    body = _encoder.encode(word if isinstance(word, Forget | LeadUntil) else _rows(word))
    if len(body) > _MAX_FRAME_BYTES:
        raise TooLong(f"{len(body)} bytes are more than a frame holds")
    return _LENGTH.pack(len(body)) + body


def words(pipe: BinaryIO) -> Iterator[Observation | Forget | LeadUntil]:
    """Decode what comes down the pipe until it ends, be it in the middle of a frame.

    Raises:
        TooLong: A frame is longer than any of ours.
        msgspec.DecodeError: It is not one of ours.
        ValueError: Its columns do not fit together.
    """
    while len(head := pipe.read(_LENGTH.size)) == _LENGTH.size:
        (length,) = _LENGTH.unpack(head)
        if length > _MAX_FRAME_BYTES:
            raise TooLong(f"a frame of {length} bytes is longer than any of ours")
        body = pipe.read(length)
        if len(body) < length:
            return
        word = _decoder.decode(body)
        if isinstance(word, Forget | LeadUntil):
            yield word
        else:
            yield from _observations(word)


def _rows(observations: Sequence[Observation]) -> Rows:
    return Rows(
        [each.endpoint for each in observations],
        [each.model for each in observations],
        [each.hardware for each in observations],
        np.array([_numbers_of(each) for each in observations], dtype=np.float64).tobytes(),
        np.concatenate([each.features for each in observations]).tobytes(),
    )


def _observations(rows: Rows) -> Iterator[Observation]:
    count = len(rows.endpoints)
    names = zip(rows.endpoints, rows.models, rows.hardware, strict=True)
    numbers = np.frombuffer(rows.numbers).reshape(count, len(_NUMBERS))
    features = np.frombuffer(rows.features).reshape(count, -1)
    for (endpoint, model, hardware), known, row in zip(names, numbers, features, strict=True):
        found = {
            name: None if np.isnan(number) else float(number)
            for name, number in zip(_NUMBERS, known, strict=True)
        }
        tokens = found["output_tokens"]
        yield Observation(
            endpoint=endpoint,
            model=model,
            hardware=hardware,
            observed_s=float(known[0]),
            features=row,
            upstream_ttft_s=found["upstream_ttft_s"],
            tpot_s=found["tpot_s"],
            output_tokens=None if tokens is None else int(tokens),
            predicted_ttft_s=found["predicted_ttft_s"],
            predicted_tpot_s=found["predicted_tpot_s"],
            total_s=found["total_s"],
        )
