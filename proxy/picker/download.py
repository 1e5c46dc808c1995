"""A response as it passes: what is seen of it, and what of it goes to the client.

Pure; reads no clock. One per request, used by :mod:`proxy.picker.processing` only.
"""

from typing import Final

from collectors.stream import StreamObserver
from predictor.types import Measurement, Outcome
from proxy.headers import RawHeaders
from proxy.incoming import IncomingRequest
from proxy.picker import answers
from proxy.picker.questions import BodyMode, Question
from proxy.response_observer import BodyObserver, ResponseObserver, is_event_stream

_BUFFERED: Final = frozenset({BodyMode.BUFFERED, BodyMode.BUFFERED_PARTIAL})


class Download:
    """Observe one response.

    Attributes:
        mode: How Envoy sends its body.
        status: HTTP status, ``None`` before its headers came.
        streamed: Whether it is a stream of events.
        observer: Sees its body.
    """

    __slots__ = ("_hide_usage", "mode", "observer", "status", "streamed")

    def __init__(self, mode: int) -> None:
        self.mode = mode
        self.status: int | None = None
        self.streamed = False
        self.observer: ResponseObserver = BodyObserver()
        self._hide_usage = False

    def take_headers(self, headers: RawHeaders, incoming: IncomingRequest) -> None:
        """Take in the headers."""
        status = next((value for name, value in headers if name == b":status"), b"")
        self.status = int(status) if status.isdigit() else None
        self.streamed = is_event_stream(headers)
        self._hide_usage = incoming.hide_usage
        if self.streamed:
            self.observer = StreamObserver(incoming.stream_kind, hide_usage=incoming.hide_usage)

    def mutation(self, headers: RawHeaders, told: RawHeaders) -> bytes:
        """Give what becomes of its headers; ``told`` are ours."""
        changed = answers.set_headers(told)
        if self.streamed:
            changed += answers.set_header(b"x-accel-buffering", b"no", replace=False)
            if self._hide_usage and any(name == b"content-length" for name, _ in headers):
                changed += answers.remove_header(b"content-length")
        return changed

    def is_last(self, body: Question) -> bool:
        """Tell whether a piece of the body is the last: there is but one where it is buffered."""
        return bool(body.end_of_stream) or self.mode in _BUFFERED

    def take_body(self, body: Question) -> list[bytes]:
        """Take in a piece of the body; answer it."""
        chunk: bytes = body.body
        shown = self.observer.feed(chunk) if chunk else chunk
        if self.is_last(body):
            shown += self.observer.flush()
        return self.pass_on(chunk, shown, last=body.end_of_stream)

    def pass_on(self, chunk: bytes, shown: bytes, *, last: bool) -> list[bytes]:
        """Answer a piece of the body, of which the client may see ``shown``."""
        if self.mode == BodyMode.FULL_DUPLEX_STREAMED:
            return answers.streamed("response_body", shown, last=last) if shown or last else []
        if shown == chunk:
            return [answers.GO_ON["response_body"]]
        return [answers.go_on("response_body", body=shown)]

    def take_trailers(self) -> list[bytes]:
        """Take in the trailers; answer them, and what of the body was held back."""
        rest = self.observer.flush()
        found = []
        if rest and self.mode == BodyMode.FULL_DUPLEX_STREAMED:
            found = answers.streamed("response_body", rest, last=False)
        return [*found, answers.RESPONSE_TRAILERS_GO_ON]

    @property
    def is_done(self) -> bool:
        """Tell whether a stream has said that it is complete."""
        return isinstance(self.observer, StreamObserver) and self.observer.done

    @property
    def outcome(self) -> Outcome:
        """Say how a request ended whose response is complete."""
        if self.observer.failed:
            return "cut"
        if self.status is None or self.status < 400:
            return "completed"
        return "client_error" if self.status < 500 else "upstream_error"

    def measured(self, outcome: Outcome) -> Measurement:
        """Say what was seen of it."""
        usage, events = self.observer.usage, self.observer.token_events
        counted = usage.output_tokens
        return Measurement(
            outcome=outcome,
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            output_tokens=(events or None) if counted is None else counted,
            token_events=events or None,
            endpoint_ttft_s=usage.ttft_s,
            endpoint_tpot_s=usage.itl_s,
            status=self.status,
        )
