"""A request as it comes from Envoy, piece by piece, and as it goes back to it.

Decides when a request is complete, which is when it can be placed, and in which message
Envoy expects the outcome: each way of sending bodies has its own. Pure; one per request,
used by :mod:`proxy.picker.processing` only.
"""

from typing import Final, Literal

from proxy.errors import BodyTooLarge
from proxy.headers import RawHeaders
from proxy.picker import answers
from proxy.picker.questions import SUBSET, BodyMode, Question, header_pairs, subset_hint

Answers = list[bytes]
"""What goes to Envoy, in order."""

_LOCKSTEP: Final = frozenset({BodyMode.BUFFERED, BodyMode.BUFFERED_PARTIAL})
_CHANGEABLE: Final = frozenset({BodyMode.BUFFERED, BodyMode.FULL_DUPLEX_STREAMED})
_UNSEEN: Final = frozenset({BodyMode.NONE, BodyMode.BUFFERED_PARTIAL})  # at least in part


class Upload:
    """Collect one request.

    Attributes:
        mode: How Envoy sends its body.
        response_mode: How it sends the response's.
        observing: Whether Envoy only tells, and reads no answers.
        headers: As they came, what the gateway says instead of what the client does.
        path: What is asked for, with its query.
        body: Once it is complete.
        is_whole: Whether that is all of it.
    """

    __slots__ = (
        "_answered_at",
        "_parts",
        "_size",
        "body",
        "headers",
        "is_whole",
        "mode",
        "observing",
        "path",
        "response_mode",
    )

    def __init__(self) -> None:
        self.mode: int = BodyMode.NONE
        self.response_mode: int = BodyMode.NONE
        self.observing = False
        self.headers: RawHeaders = []
        self.path = b""
        self.body = b""
        self.is_whole = True
        self._parts: list[bytes] = []
        self._size = 0
        self._answered_at: Literal["headers", "body", "trailers"] = "headers"

    def take_headers(self, question: Question) -> bool:
        """Take in the headers, the first that Envoy tells; say whether that is all there is."""
        config = question.protocol_config
        self.mode, self.response_mode = config.request_body_mode, config.response_body_mode
        self.observing = question.observability_mode
        headers = header_pairs(question.request_headers)
        subset = subset_hint(question)
        if subset is not None:
            headers = [header for header in headers if header[0] != SUBSET]
            headers.append((SUBSET, subset))
        self.headers = headers
        self.path = next((value for name, value in headers if name == b":path"), b"")
        if question.request_headers.end_of_stream:
            return True
        if self.observing or self.mode == BodyMode.FULL_DUPLEX_STREAMED or self.is_lockstep:
            return False
        self.is_whole = False  # it goes on before its body is known
        return True

    def take_body(self, body: Question, limit: int) -> bool:
        """Take in a piece of the body; say whether it was the last.

        Raises:
            BodyTooLarge: With it the body is longer than ``limit`` bytes.
        """
        self._size += len(body.body)
        if self._size > limit:
            self._parts.clear()
            raise BodyTooLarge(limit)
        self._parts.append(body.body)
        if not body.end_of_stream and not self.is_lockstep:
            return False
        self._answered_at = "body"
        self.is_whole = body.end_of_stream or self.mode != BodyMode.BUFFERED_PARTIAL
        return True

    def take_trailers(self) -> None:
        """Take in the trailers: the end of a body that has no other."""
        self._answered_at = "trailers"

    def complete(self) -> None:
        """Put the body together."""
        self.body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()

    @property
    def is_lockstep(self) -> bool:
        """Tell whether Envoy waits for the answer to the whole body."""
        return self.mode in _LOCKSTEP and not self.observing

    @property
    def is_timed(self) -> bool:
        """Tell whether Envoy gives up when the outcome is not there in time."""
        return self._answered_at == "headers" or self.is_lockstep

    @property
    def is_changeable(self) -> bool:
        """Tell whether token counts may be asked for: body and response are in our hands."""
        if self.observing or not self.is_whole or self.response_mode in _UNSEEN:
            return False
        return self.mode in _CHANGEABLE

    def acknowledge_headers(self) -> Answers:
        """Answer headers whose body is still to come."""
        return [answers.GO_ON["request_headers"]] if self.is_lockstep else []

    def forward(self, mutation: bytes, metadata: bytes, payload: bytes | None) -> Answers:
        """Give the request back to Envoy, and forget it.

        Args:
            mutation: What becomes of its headers.
            metadata: Where it goes, empty where that is Envoy's to say.
            payload: Its body as it is to go, ``None`` for as it came.
        """
        body, self.body = self.body, b""
        reroute = bool(metadata)
        if self._answered_at == "body" and self.is_lockstep:
            answer = answers.go_on("request_body", headers=mutation, body=payload, reroute=reroute)
            return [answer + metadata]
        found = [answers.go_on("request_headers", headers=mutation, reroute=reroute) + metadata]
        if self._answered_at == "headers":
            return found
        last = self._answered_at == "body"
        sent = body if payload is None else payload
        if sent or last:
            found += answers.streamed("request_body", sent, last=last)
        if not last:
            found.append(answers.REQUEST_TRAILERS_GO_ON)
        return found
