"""What routers tell each other, and how it is written: MessagePack in a Redis message.

Everybody who uses the same prefix hears every frame, and whoever can reach the server can
write one: what is not one of ours, of another version, too long or impossible is ignored
and counted. A frame carries its own writer's rows only.
"""

from typing import Final

import msgspec

from foretoken.routers.counts import Fault
from foretoken.routers.rows import Row
from foretoken.workers.messages import Fed, Lesson, Trained
from scheduler.words import Left, Sent, Shown, Suspected

MAGIC: Final = "foretoken"
VERSION: Final = 1
"""Of the form. Routers of another version are not understood, and counted as such: while a
fleet of routers is upgraded, the old and the new ones share among themselves."""
MOST_FRAME_BYTES: Final = 8 << 20


class Head(msgspec.Struct, frozen=True, array_like=True):
    """Hold what every frame of every version begins with."""

    magic: str
    version: int


class Name(msgspec.Struct, frozen=True, array_like=True):
    """Name a writer: one process of a router.

    Attributes:
        router: Its name among routers.
        worker: Its number within.
        life: Drawn when it started: who comes again under the same name is another.
    """

    router: str
    worker: int
    life: int

    @property
    def key(self) -> str:
        """Name it in one word."""
        return f"{self.router}/{self.worker}/{self.life:x}"


class Went(msgspec.Struct, frozen=True, array_like=True, tag="went"):
    """Carry :class:`scheduler.words.Sent` with its chain of blocks written short.

    Attributes:
        request_id: Empty without an objective: nobody asks for it then.
        fleet: As there.
        endpoint: Likewise.
        model: Likewise; ``None`` for the fleet's own.
        session_id: Likewise.
        known: Last hash of the beginning that is not sent, 0 for none.
        length: Blocks of that beginning.
        rest: The other hashes.
        ttft_s: As there.
        tpot_s: Likewise.
        priority: Likewise.
    """

    request_id: str
    fleet: str
    endpoint: str
    model: str | None
    session_id: str | None
    known: int
    length: int
    rest: bytes
    ttft_s: float | None = None
    tpot_s: float | None = None
    priority: int = 0


class Missed(msgspec.Struct, frozen=True, array_like=True, tag="missed"):
    """Say that a beginning was referred to which we do not know."""


class Decree(msgspec.Struct, frozen=True, array_like=True):
    """Say what people want of an endpoint; of several the latest holds.

    Attributes:
        draining: Whether it shall get no new requests.
        at_s: When that was said, by the shared clock.
    """

    draining: bool
    at_s: float


Told = Sent | Left | Shown | Suspected | Lesson | Trained
"""What one tells all others."""
Said = Went | Left | Shown | Suspected | Lesson | Trained | Missed
"""The same as it is written."""


class Frame(msgspec.Struct, frozen=True, array_like=True):
    """Carry what one writer has to say.

    Attributes:
        magic: Ours.
        version: Of this form.
        writer: Who.
        number: Of its frames, from 1 on.
        sent_s: When, by the shared clock.
        token: Of the lease by which it trains, 0 where it does not.
        store: Names the models store it reads.
        whole: Whether ``rows`` are all it has; else those that changed.
        rows: Its bookings by endpoint, instants by the shared clock.
        decrees: What it knows to be wanted, by endpoint; in whole frames only.
        said: Everything else, oldest first.
    """

    magic: str
    version: int
    writer: Name
    number: int
    sent_s: float
    token: int
    store: str
    whole: bool
    rows: dict[str, Row]
    decrees: dict[str, Decree]
    said: list[Said]


class Taught(msgspec.Struct, frozen=True, array_like=True):
    """Carry observations to the router that trains."""

    magic: str
    version: int
    writer: Name
    fed: list[Fed]


class FrameIgnored(Exception):
    """What came is none that can be used.

    Attributes:
        fault: Why, of a closed set.
    """

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault: Fault = fault


_encoder: Final = msgspec.msgpack.Encoder()
_heads: Final = msgspec.msgpack.Decoder(Head)
_frames: Final = msgspec.msgpack.Decoder(Frame)
_taught: Final = msgspec.msgpack.Decoder(Taught)


def written(frame: Frame | Taught) -> bytes:
    """Write a frame."""
    return _encoder.encode(frame)


def read(data: bytes) -> Frame:
    """Read a frame.

    Raises:
        FrameIgnored: It is none of ours.
    """
    _check(data)
    try:
        return _frames.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FrameIgnored("unreadable") from error


def read_taught(data: bytes) -> Taught:
    """Read observations for the trainer.

    Raises:
        FrameIgnored: They are none of ours.
    """
    _check(data)
    try:
        return _taught.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FrameIgnored("unreadable") from error


def _check(data: bytes) -> None:
    if len(data) > MOST_FRAME_BYTES:
        raise FrameIgnored("too_long")
    try:
        head = _heads.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FrameIgnored("foreign") from error
    if head.magic != MAGIC:
        raise FrameIgnored("foreign")
    if head.version != VERSION:
        raise FrameIgnored("other_version")
