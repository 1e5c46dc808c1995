"""One gRPC call on a connection: what came of it, what waits to go, and who handles it."""

from collections import deque
from typing import Final, Protocol

from proxy.picker import frames
from proxy.picker.header_blocks import END_OK, trailers


class Handler(Protocol):
    """Take in what a call says; all calls are streams of messages here."""

    def message(self, data: bytes) -> None:
        """Take in one message.

        Raises:
            CallFailed: The call cannot go on.
        """
        ...

    def half_closed(self) -> None:
        """Take in that the peer has said all, and still listens."""
        ...

    def ended(self) -> None:
        """Take in that the call is over, whoever ended it; told once, and last."""
        ...


class Line(Protocol):
    """Carry what a call answers."""

    def send(self, call: "Call", message: bytes) -> None:
        """Send a message of the answer."""
        ...

    def finish(self, call: "Call", block: bytes) -> None:
        """End the answer with a block of trailers."""
        ...


class Unheard:
    """Handle a call that nobody handles any more, or yet."""

    def message(self, data: bytes) -> None:
        """Ignore it."""

    def half_closed(self) -> None:
        """Ignore it."""

    def ended(self) -> None:
        """Ignore it."""


_UNHEARD: Final = Unheard()


class Call:
    """Hold one call; its handler answers by :meth:`send` and :meth:`finish`.

    Args:
        line: The connection.
        stream: Its number there.
        window: Bytes the peer takes on it.

    Attributes:
        handler: Hears of it.
        headed: Whether the answer has begun.
        unacknowledged: Bytes that came and that the peer has not been told are taken.
        pending: Payloads, and the flags to send them with, that wait for a window.
        pending_bytes: Their size.
    """

    __slots__ = (
        "_awaited",
        "_line",
        "_pieces",
        "handler",
        "headed",
        "pending",
        "pending_bytes",
        "stream",
        "unacknowledged",
        "window",
    )

    def __init__(self, line: Line, stream: int, window: int) -> None:
        self._line = line
        self.stream = stream
        self.window = window
        self.handler: Handler = _UNHEARD
        self.headed = False
        self._pieces: list[bytes] = []  # of a message that is not complete
        self._awaited = 0  # bytes it still lacks
        self.unacknowledged = 0
        self.pending: deque[tuple[bytes, int]] = deque()
        self.pending_bytes = 0

    def send(self, message: bytes) -> None:
        """Send one message; nothing happens once the call is over."""
        self._line.send(self, message)

    def finish(self, status: int = 0, text: str = "") -> None:
        """End the call with a gRPC status; nothing happens once it is over."""
        self._line.finish(self, END_OK if status == 0 else trailers(status, text))

    def take(self, piece: bytes, limit: int) -> list[bytes]:
        """Take in a piece of the peer's messages; give those that are whole by it.

        Raises:
            CallFailed: One is compressed, or longer than ``limit`` bytes.
        """
        if self._pieces:
            self._pieces.append(piece)
            self._awaited -= len(piece)
            if self._awaited > 0:
                return []
            piece = b"".join(self._pieces)
            self._pieces.clear()
        messages, rest = frames.split_messages(piece, limit)
        if rest:
            self._pieces.append(rest)
            self._awaited = frames.awaited_bytes(rest)
        return messages

    def put_off(self, payload: bytes) -> None:
        """Keep a payload, cut to frames, until the windows let it go."""
        for start in range(0, len(payload), frames.MAX_FRAME_BYTES):
            self.pending.append((payload[start : start + frames.MAX_FRAME_BYTES], 0))
        self.pending_bytes += len(payload)

    def take_pending(self, room: int) -> tuple[bytes, int]:
        """Give of what waits the next piece, at most ``room`` bytes of it, and its flags."""
        payload, flags = self.pending.popleft()
        if flags:
            return payload, flags
        if len(payload) > room:
            self.pending.appendleft((payload[room:], 0))
            payload = payload[:room]
        self.pending_bytes -= len(payload)
        return payload, 0

    def end(self) -> None:
        """Tell its handler, once, that it is over."""
        handler, self.handler = self.handler, _UNHEARD
        handler.ended()
